"""What a controller needs in order to go on with what earlier ones left: questions over slice records."""

import itertools
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select

from tsd.core.messages import RecoveryAsk, RecoveryPage
from tsd.core.records import REPLAYED_STATES, RecoveryMode, SlicerPosition, SliceState, UnfinishedSlice
from tsd.store.counts import counts_of
from tsd.store.executions import source_chain
from tsd.store.records import BEFORE_ALL, follows
from tsd.store.schema import is_unfinished, slices
from tsd.store.sqlite import fetch_packed

PAGE_CHARS_MAX: Final = 4_000_000
"""Text of requests in a page: a message may have four times as many bytes. Slices of replays are large."""
_HELD = frozenset({SliceState.PENDING, SliceState.START})
_UNFINISHED_COLUMNS = (
    "slicer_id",
    "slicer_order",
    "state",
    "created",
    "request",
    "retry_count",
    "slice_id",
)


def recovery_page(connection: Connection, *, ex_id: str, ask: RecoveryAsk) -> RecoveryPage:
    """The answer to a controller's question.

    The execution's own slices that have not ended come first, then those of earlier executions that its
    mode runs again. A slice of an earlier execution that this one has begun to run again is one of
    them whatever its state was before: else it would be lost when the controller dies in the middle.

    Args:
        connection: In a transaction.
        ex_id: The execution that asks.
        ask: The question; its sources are the chain of `ex_id`, newest first.

    Raises:
        NotFound: There is no such execution.
    """
    ex_nos = [ex_no for ex_no, _ in source_chain(connection, ex_id=ex_id)]
    found: list[UnfinishedSlice] = []
    first, *key = ask.after or (0, *BEFORE_ALL)
    room = PAGE_CHARS_MAX
    is_cut = False
    for source, ex_no in enumerate(ex_nos if ask.mode else ex_nos[:1]):
        if source < first or len(found) > ask.limit or is_cut:
            continue
        after = (key[0], key[1]) if source == first else BEFORE_ALL
        wanted = _wanted(ex_nos[0], ask.mode if source else "")
        # One more than asked for tells whether there are more.
        limit = ask.limit + 1 - len(found)
        sizes = _sizes(connection, ex_no, wanted, after, limit)
        fitting = _fitting(sizes, room) or (not found and 1)
        is_cut = fitting < len(sizes)
        rows = _unfinished(connection, ex_no, wanted, after, fitting)
        room -= sum(sizes[:fitting])
        found += [(source, *row) for row in rows]
    is_first = ask.after is None
    return RecoveryPage(
        ask_id=ask.ask_id,
        slices=tuple(found[: ask.limit]),
        is_last=len(found) <= ask.limit and not is_cut,
        positions=slicer_positions(connection, ex_nos) if is_first else (),
        counts=state_counts(connection, ex_nos[0]) if is_first else (0, 0, 0, 0),
        rerun=rerun_counts(connection, ex_nos[0]) if is_first else (0, 0),
    )


def _wanted(own: int, mode: str) -> ColumnElement[bool]:
    """Which unfinished slices of one source are to be run again; mode empty for the execution itself."""
    held = slices.c.state.in_(sorted(_HELD))
    if not mode:
        return held
    return slices.c.state.in_(sorted(REPLAYED_STATES[RecoveryMode(mode)])) | ((slices.c.run_by == own) & held)


def _sizes(
    connection: Connection, ex_no: int, wanted: ColumnElement[bool], after: tuple[int, int], limit: int
) -> list[int]:
    """How long the requests of such slices are, in their order."""
    columns = ("slicer_id", "slicer_order", "size")
    statement = (
        select(slices.c.slicer_id, slices.c.slicer_order, func.length(slices.c.request).label("size"))
        .where(slices.c.ex_no == ex_no, is_unfinished, wanted, follows(after))
        .order_by(slices.c.slicer_id, slices.c.slicer_order)
        .limit(limit)
    )
    return [size for _, _, size in sorted(fetch_packed(connection, statement, columns))]


def _fitting(sizes: list[int], room: int) -> int:
    """How many of the first of them there is room for."""
    return sum(total <= room for total in itertools.accumulate(sizes))


def _unfinished(
    connection: Connection, ex_no: int, wanted: ColumnElement[bool], after: tuple[int, int], limit: int
) -> list[tuple[Any, ...]]:
    statement = (
        select(*(slices.c[name] for name in _UNFINISHED_COLUMNS))
        .where(slices.c.ex_no == ex_no, is_unfinished, wanted, follows(after))
        .order_by(slices.c.slicer_id, slices.c.slicer_order)
        .limit(limit)
    )
    return sorted(fetch_packed(connection, statement, _UNFINISHED_COLUMNS))


def slicer_positions(connection: Connection, ex_nos: list[int]) -> tuple[SlicerPosition, ...]:
    """Where each slicer stood: its last own record, else that of the nearest ancestor that has one.

    Args:
        connection: In a transaction.
        ex_nos: The execution and its ancestors, newest first.
    """
    positions: dict[int, SlicerPosition] = {}
    for depth, ex_no in enumerate(ex_nos):
        for slicer_id, slicer_order, request in _last_records(connection, ex_no):
            positions.setdefault(
                slicer_id,
                SlicerPosition(
                    slicer_id=slicer_id, slicer_order=0 if depth else slicer_order, last_slice=request
                ),
            )
    return tuple(positions[slicer_id] for slicer_id in sorted(positions))


def _last_records(connection: Connection, ex_no: int) -> list[tuple[int, int, str]]:
    """(slicer_id, slicer_order, request) of each slicer's last record; one look into the key a slicer."""
    last = (
        select(slices.c.slicer_id, slices.c.slicer_order, slices.c.request)
        .where(slices.c.ex_no == ex_no)
        .order_by(slices.c.slicer_id.desc(), slices.c.slicer_order.desc())
        .limit(1)
    )
    found: list[tuple[int, int, str]] = []
    row = connection.execute(last).one_or_none()
    while row is not None:
        found.append((row.slicer_id, row.slicer_order, row.request))
        row = connection.execute(last.where(slices.c.slicer_id < row.slicer_id)).one_or_none()
    return found


def state_counts(connection: Connection, ex_no: int) -> tuple[int, int, int, int]:
    """How many records of an execution are in each `SliceState`.

    Those that have ended are counted as they are stored; the others are few, and an index has only them.
    """
    rows = connection.execute(
        select(slices.c.state, func.count().label("records"))
        .where(slices.c.ex_no == ex_no, is_unfinished, slices.c.state.in_(sorted(_HELD)))
        .group_by(slices.c.state)
    )
    held: dict[int, int] = {row.state: row.records for row in rows}
    ended = counts_of(connection, ex_no).own
    return (held.get(SliceState.PENDING, 0), held.get(SliceState.START, 0), ended.completed, ended.failed)


def rerun_counts(connection: Connection, ex_no: int) -> tuple[int, int]:
    """How many records of earlier executions are completed, and in error, since this one ran them again."""
    rerun = counts_of(connection, ex_no).rerun
    return (rerun.completed, rerun.failed)

"""How many slices of each execution have ended: counters that change in the transaction of the records.

Rows of slices are too many to be counted: a controller that starts anew, and the last word on an execution,
read one row here. The rule, in every committed state, for each execution *e*:

* `completed` and `failed` are how many rows of *e* are in that state;
* `rerun_completed` and `rerun_failed` are how many rows of *earlier* executions are in that state because *e*
  ran them again (`slices.run_by` is *e*);
* `letters` is how many dead letters *e* has.

What *e* has done is the sum of the first and the second. To keep the rule it has to be known what a row
replaces. Most rows replace nothing: a short slice is recorded once, when it is done, and stands behind all
rows of its slicer. One look at the end of each slicer tells these from the others, and only the others are
looked up.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import attrs
from sqlalchemy import Connection, RowMapping, Select, func, select

from tsd.core.records import EndedSlices, SliceState
from tsd.store.schema import execution_counts, slices
from tsd.store.sqlite import PLACEHOLDER, listed_numbers

Key = tuple[int, int, int]
"""(ex_no, slicer_id, slicer_order)"""
Standing = tuple[int, int | None]
"""State of a row, and the execution that ran it again, None for its own."""

_COMPLETED = SliceState.COMPLETED.value
_ERROR = SliceState.ERROR.value
_ENDED = {_COMPLETED: "completed", _ERROR: "failed"}
_NAMES = ("completed", "failed", "rerun_completed", "rerun_failed", "letters")
COUNTERS = tuple(execution_counts.c[name] for name in _NAMES)
"""The columns that `counts_in` reads."""
_STEPS = (1000, 100, 10, 1)
"""Keys a statement, as for rows (`tsd.store.records`)."""


@attrs.define
class Changes:
    """By how much the counters of executions change.

    Attributes:
        failed: How many slices came to be in error, also if an earlier error of theirs is gone.
    """

    by: dict[int, dict[str, int]] = attrs.field(factory=dict)
    failed: int = 0

    def add(self, ex_no: int, name: str, number: int) -> None:
        """Change one counter."""
        counters = self.by.setdefault(ex_no, {})
        counters[name] = counters.get(name, 0) + number

    def of(self, ex_no: int, name: str) -> int:
        """By how much a counter changes."""
        return self.by.get(ex_no, {}).get(name, 0)

    def turn(self, ex_no: int, old: Standing | None, new: Standing, times: int = 1) -> None:
        """Rows of `ex_no` stand anew; a completed one stays what it is."""
        if old is not None:
            if old[0] == _COMPLETED:
                return
            self._count(ex_no, old, -times)
        self._count(ex_no, new, times)
        if new[0] == _ERROR and (old is None or old[0] != _ERROR):
            self.failed += times

    def after(self, ex_no: int, before: EndedSlices) -> EndedSlices:
        """What the execution that had done `before` has done then."""
        return EndedSlices(
            completed=before.completed + self.of(ex_no, "completed") + self.of(ex_no, "rerun_completed"),
            failed=before.failed + self.of(ex_no, "failed") + self.of(ex_no, "rerun_failed"),
        )

    def _count(self, ex_no: int, standing: Standing, times: int) -> None:
        state, run_by = standing
        name = _ENDED.get(state)
        if name is None:
            return
        self.add(ex_no, name, times)
        if run_by is not None:
            self.add(run_by, f"rerun_{name}", times)


def note_rows(connection: Connection, rows: Sequence[tuple[Any, ...]], changes: Changes, *, own: int) -> None:
    """Note what storing rows is going to change; to be called before they are stored.

    Args:
        connection: In a transaction.
        rows: In the order of their columns: (ex_no, slicer_id, slicer_order, state, ..., run_by).
        changes: Gets the changes.
        own: The execution whose batch it is.
    """
    # Many rows pass here: what looks at each is a comprehension.
    last = _last_orders(connection, own, {row[1] for row in rows})
    fresh = [row for row in rows if row[-1] is None and row[2] > last[row[1]]]
    is_plain = len({row[:3] for row in rows}) == len(rows)
    if not is_plain:
        _note_one_by_one(connection, rows, changes)
        return
    states = [row[3] for row in fresh]
    for state in _ENDED:
        changes.turn(own, None, (state, None), states.count(state))
    if len(fresh) < len(rows):
        groups: dict[tuple[int, int, int], list[int]] = {}
        for row in rows:
            if row[-1] is not None or row[2] <= last[row[1]]:
                groups.setdefault((row[0], row[1], row[3]), []).append(row[2])
        for (ex_no, slicer_id, state), orders in groups.items():
            new = (state, None if ex_no == own else own)
            _note_others(connection, (ex_no, slicer_id), orders, new, changes)


def _note_others(
    connection: Connection, lane: tuple[int, int], orders: list[int], new: Standing, changes: Changes
) -> None:
    """Note slices of one slicer (ex_no, slicer_id) that may have rows, and stand alike from now on."""
    lowest, highest = min(orders), max(orders)
    statement: Select[Any] = select(slices.c.state, slices.c.run_by, func.count()).where(
        slices.c.ex_no == lane[0], slices.c.slicer_id == lane[1]
    )
    if highest - lowest + 1 == len(orders):
        place = slices.c.slicer_order.between(lowest, highest)
    else:
        place = slices.c.slicer_order.in_(listed_numbers(orders))
    left = len(orders)
    for state, run_by, times in connection.execute(
        statement.where(place).group_by(slices.c.state, slices.c.run_by)
    ):
        changes.turn(lane[0], (state, run_by), new, times)
        left -= times
    changes.turn(lane[0], None, new, left)


def _note_one_by_one(connection: Connection, rows: Sequence[tuple[Any, ...]], changes: Changes) -> None:
    """Note rows of which some have the same key: each replaces the one before."""
    stood: dict[Key, Standing] = {}
    for row in rows:
        key, new = row[:3], (row[3], row[-1])
        old = stood.get(key)
        if old is None:
            statement = select(slices.c.state, slices.c.run_by).where(
                slices.c.ex_no == row[0], slices.c.slicer_id == row[1], slices.c.slicer_order == row[2]
            )
            found = connection.execute(statement).one_or_none()
            old = None if found is None else (found.state, found.run_by)
        changes.turn(row[0], old, new)
        stood[key] = old if old is not None and old[0] == _COMPLETED else new


def _last_orders(connection: Connection, ex_no: int, slicer_ids: set[int]) -> dict[int, int]:
    """The order of the last row of each slicer; 0 where there is none."""
    last: dict[int, int] = {}
    for part in _parts(sorted(slicer_ids)):
        found = connection.exec_driver_sql(_last_statement(len(part)), (*part, ex_no))
        last.update((slicer_id, order or 0) for slicer_id, order in found)
    return last


@cache
def _last_statement(count: int) -> str:
    values = ", ".join([f"({PLACEHOLDER})"] * count)
    return (
        f"WITH lanes (slicer_id) AS (VALUES {values})"  # noqa: S608 - only constants
        " SELECT lanes.slicer_id, (SELECT max(slices.slicer_order) FROM slices"
        f" WHERE slices.ex_no = {PLACEHOLDER} AND slices.slicer_id = lanes.slicer_id) FROM lanes"
    )


def _parts(items: list[Any]) -> Iterable[list[Any]]:
    """The items in few sizes, so that few statements are prepared."""
    start = 0
    for step in _STEPS:
        while len(items) - start >= step:
            yield items[start : start + step]
            start += step


def store_changes(connection: Connection, changes: Changes) -> None:
    """Change the counters."""
    for ex_no, counters in changes.by.items():
        values = tuple(counters.get(name, 0) for name in _NAMES)
        if any(values):
            connection.exec_driver_sql(_COUNT, (ex_no, *values))


_COUNT = (
    f"INSERT INTO execution_counts (ex_no, {', '.join(_NAMES)})"  # noqa: S608 - only constants
    f" VALUES ({', '.join([PLACEHOLDER] * (len(_NAMES) + 1))}) ON CONFLICT (ex_no) DO UPDATE SET "
    + ", ".join(f"{name} = execution_counts.{name} + excluded.{name}" for name in _NAMES)
)


@attrs.frozen(kw_only=True)
class Counts:
    """The counters of one execution.

    Attributes:
        own: Of its rows.
        rerun: Of rows of earlier executions that it ran again.
        letters: How many dead letters it has.
    """

    own: EndedSlices = attrs.field(factory=EndedSlices)
    rerun: EndedSlices = attrs.field(factory=EndedSlices)
    letters: int = 0

    @property
    def ended(self) -> EndedSlices:
        """What it has done."""
        return EndedSlices(
            completed=self.own.completed + self.rerun.completed, failed=self.own.failed + self.rerun.failed
        )


def counts_of(connection: Connection, ex_no: int) -> Counts:
    """The counters of an execution; all 0 when nothing of it was recorded."""
    statement = select(*COUNTERS).where(execution_counts.c.ex_no == ex_no)
    row = connection.execute(statement).mappings().one_or_none()
    return Counts() if row is None else counts_in(row)


def counts_in(row: RowMapping) -> Counts:
    """The counters of a row that has `COUNTERS`; null where nothing was recorded yet."""
    completed, failed, rerun_completed, rerun_failed, letters = (row[name] or 0 for name in _NAMES)
    return Counts(
        own=EndedSlices(completed=completed, failed=failed),
        rerun=EndedSlices(completed=rerun_completed, failed=rerun_failed),
        letters=letters,
    )

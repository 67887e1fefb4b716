"""Slice records in the store: the one statement that must be fast, and what is read of them."""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Final

import attrs
from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, select, tuple_

from tsd.core.fields import ORDER_MAX
from tsd.core.messages import RecordBatch
from tsd.core.records import TERMINAL_STATUSES, EndedSlices, SliceState
from tsd.errors import Conflict, NotFound
from tsd.ids import slice_id as derived_slice_id
from tsd.store.counts import COUNTERS, Changes, counts_in, note_rows, store_changes
from tsd.store.documents import Document, shown_time
from tsd.store.executions import correct_last_stats, source_chain
from tsd.store.fields import ERROR_FIELDS, order_by
from tsd.store.letters import Stored, store_letters
from tsd.store.listing import Page, cut, fetch
from tsd.store.schema import execution_counts, executions, is_error, slices
from tsd.store.sqlite import PLACEHOLDER

_COLUMNS: Final = (
    "ex_no",
    "slicer_id",
    "slicer_order",
    "state",
    "created",
    "updated",
    "request",
    "retry_count",
    "error",
    "slice_id",
    "analytics",
    "run_by",
)
_KEY: Final = _COLUMNS[:3]
_STATE: Final = _COLUMNS.index("state")
_SLICE_ID: Final = _COLUMNS.index("slice_id")
_ERROR: Final = SliceState.ERROR.value
_STEPS: Final = (1000, 100, 10, 1)
"""Rows a statement. The driver gives up the interpreter at each statement and waits for it again, up to
milliseconds in a busy process, so one row a statement is hundreds of times slower than a thousand (12,000
parameters; SQLite takes 32,766). Four fixed sizes keep the statements prepared."""


NO_LETTERS: Final = Stored()


@attrs.frozen(kw_only=True)
class Recorded:
    """What came of a batch.

    Attributes:
        letters: Of its dead letters.
        before: What the execution had done before.
        ended: What it has done now.
        newly_failed: How many slices of the batch came to be in error.
    """

    letters: Stored
    before: EndedSlices
    ended: EndedSlices
    newly_failed: int


_EXECUTION: Final = (
    select(executions.c.generation, executions.c.status, executions.c.ex_no, *COUNTERS)
    .outerjoin(execution_counts, execution_counts.c.ex_no == executions.c.ex_no)
    .where(executions.c.ex_id == bindparam("ex_id"))
)


@attrs.frozen(kw_only=True)
class StoreRecords:
    """Store a batch of slice records of a controller. It waits through an outage.

    A record that is there already is replaced, unless it is of a completed slice: that one is final.

    Attributes:
        letters_max: Dead letters that an execution may have; beyond it the oldest go.
    """

    batch: RecordBatch
    letters_max: int = 100_000
    is_held: ClassVar[bool] = True

    def apply(self, connection: Connection, now_ms: int) -> Recorded:  # noqa: ARG002 - rows have their own times
        """See `Write`; the result tells what came of the dead letters and how many slices have ended.

        Raises:
            NotFound: There is no such execution.
            Conflict: The batch is of an older generation, or of executions it has nothing to do with.
        """
        ex_nos, execution = self._fenced_sources(connection)
        own = ex_nos[0]
        before = counts_in(execution).ended
        # Before the rows: what is stored of a slice decides about its letters.
        letters = NO_LETTERS
        changes = Changes()
        if self.batch.letters:
            letters = store_letters(connection, self.batch, ex_nos, most=self.letters_max, changes=changes)
        # The one long loop: a comprehension, with nothing in it that can be outside.
        rows = [(ex_nos[row[0]], *row[1:], own if row[0] else None) for row in self.batch.rows]
        self._name_errors(rows)
        note_rows(connection, rows, changes, own=own)
        start = 0
        for step in _STEPS:
            statement = upsert(step)
            while len(rows) - start >= step:
                values = tuple(itertools.chain.from_iterable(rows[start : start + step]))
                connection.exec_driver_sql(statement, values)
                start += step
        store_changes(connection, changes)
        ended = changes.after(own, before)
        if execution["status"] in TERMINAL_STATUSES:
            correct_last_stats(connection, own, ended)
        return Recorded(letters=letters, before=before, ended=ended, newly_failed=changes.failed)

    def _name_errors(self, rows: list[tuple[Any, ...]]) -> None:
        """Put into the rows of slices in error the ids that are derived, so that they can be searched."""
        for number in [n for n, row in enumerate(rows) if row[_STATE] == _ERROR and row[_SLICE_ID] is None]:
            row = rows[number]
            source, slicer_id, slicer_order = self.batch.rows[number][:3]
            own_id = derived_slice_id(self.batch.sources[source], slicer_id, slicer_order)
            rows[number] = (*row[:_SLICE_ID], own_id, *row[_SLICE_ID + 1 :])

    def _fenced_sources(self, connection: Connection) -> tuple[list[int], RowMapping]:
        """The `ex_no` of each source, once it is certain that this batch may be stored, and its execution."""
        batch = self.batch
        row = connection.execute(_EXECUTION, {"ex_id": batch.ex_id}).mappings().one_or_none()
        if row is None:
            raise NotFound(f"Unable to find execution {batch.ex_id}")
        if row["generation"] != batch.generation:
            raise Conflict(
                f"records of generation {batch.generation} of execution {batch.ex_id}"
                f" are refused: its generation is {row['generation']}"
            )
        if batch.sources == (batch.ex_id,):
            ex_nos = [row["ex_no"]]
        else:
            chain = {ex_id: ex_no for ex_no, ex_id in source_chain(connection, ex_id=batch.ex_id)}
            if batch.sources[:1] != (batch.ex_id,) or not set(batch.sources) <= set(chain):
                raise Conflict(f"records of execution {batch.ex_id} name sources that it does not recover")
            ex_nos = [chain[ex_id] for ex_id in batch.sources]
        count = len(ex_nos)
        # The order goes back to a controller, which would take no larger one.
        if not all(0 <= row[0] < count and 0 <= row[2] <= ORDER_MAX for row in batch.rows):
            raise Conflict(
                f"records of execution {batch.ex_id} name a source that is not in their list,"
                f" or an order beyond {ORDER_MAX}"
            )
        return ex_nos, row


@cache
def upsert(row_count: int) -> str:
    """The statement that stores so many rows; its parameters are the columns of each row in turn."""
    columns = ", ".join(_COLUMNS)
    row = f"({', '.join([PLACEHOLDER] * len(_COLUMNS))})"
    changes = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY)
    return (
        f"INSERT INTO slices ({columns}) VALUES {', '.join([row] * row_count)}"  # noqa: S608 - only constants
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {changes}"
        f" WHERE slices.state <> {SliceState.COMPLETED.value}"
    )


@attrs.frozen(kw_only=True)
class SliceAnalytics:
    """What the operations of a slice measured.

    Attributes:
        analytics: JSON of the per-operation arrays.
    """

    slicer_id: int
    slicer_order: int
    slice_id: str
    state: SliceState
    analytics: bytes


BEFORE_ALL: Final = (-1, -1)
"""A (slicer_id, slicer_order) that all slices follow."""


def follows(key: tuple[int, int]) -> ColumnElement[bool]:
    """The condition that a slice stands behind (slicer_id, slicer_order) in key order."""
    return tuple_(slices.c.slicer_id, slices.c.slicer_order) > tuple_(*key)


def list_errors(
    connection: Connection, *, page: Page, ex_ids: Sequence[str] | None = None, job_id: str | None = None
) -> list[Document]:
    """Slices that ended in error, as clients see them.

    Args:
        connection: In a transaction.
        page: Which of them.
        ex_ids: Only those of these executions; unknown ones have none.
        job_id: Only those of executions of this job.

    Raises:
        InvalidRequest: The page can not be had.
    """
    statement = (
        select(slices, executions.c.ex_id)
        .join(executions, executions.c.ex_no == slices.c.ex_no)
        .where(is_error)
    )
    if ex_ids is not None:
        statement = statement.where(executions.c.ex_id.in_(ex_ids))
    if job_id is not None:
        statement = statement.where(executions.c.job_id == job_id)
    order = order_by(page.sort, ERROR_FIELDS, slices.c.ex_no, slices.c.slicer_id, slices.c.slicer_order)
    statement = cut(statement, page).order_by(*order)
    return [_shown_error(row) for row in fetch(connection, statement)]


def _shown_error(row: Any) -> Document:
    own_id = derived_slice_id(row["ex_id"], row["slicer_id"], row["slicer_order"])
    shown = {
        "slice_id": row["slice_id"] or own_id,
        "slicer_id": row["slicer_id"],
        "slicer_order": row["slicer_order"],
        "request": row["request"],
        "state": SliceState(row["state"]).word,
        "ex_id": row["ex_id"],
        "_created": shown_time(row["created"]),
        "_updated": shown_time(row["updated"]),
        "error": row["error"] or "",
    }
    if row["retry_count"]:
        shown["retry_count"] = row["retry_count"]
    return shown


def analytics_of(
    connection: Connection, *, ex_id: str, after: tuple[int, int] = BEFORE_ALL, limit: int = 1000
) -> list[SliceAnalytics]:
    """Slices of an execution that have analytics, in key order.

    Args:
        connection: In a transaction.
        ex_id: The execution; an unknown one has none.
        after: (slicer_id, slicer_order) of the last one of the page before.
        limit: At most so many.
    """
    statement = (
        select(slices)
        .join(executions, executions.c.ex_no == slices.c.ex_no)
        .where(executions.c.ex_id == ex_id, slices.c.analytics.is_not(None))
        .where(follows(after))
        .order_by(slices.c.slicer_id, slices.c.slicer_order)
        .limit(limit)
    )
    return [
        SliceAnalytics(
            slicer_id=row["slicer_id"],
            slicer_order=row["slicer_order"],
            slice_id=row["slice_id"] or derived_slice_id(ex_id, row["slicer_id"], row["slicer_order"]),
            state=SliceState(row["state"]),
            analytics=row["analytics"],
        )
        for row in connection.execute(statement).mappings()
    ]

"""Dead letters in the store: taking them in with the records of their slices, reading and deleting them."""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Final

import attrs
import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Table, delete, func, select

from tsd.core.letters import Letter, decode_letters
from tsd.core.messages import RecordBatch
from tsd.core.records import SliceState
from tsd.errors import Conflict, InvalidRequest, NotFound
from tsd.ids import slice_id as derived_slice_id
from tsd.store.counts import Changes, counts_of, store_changes
from tsd.store.documents import Document, shown_time
from tsd.store.fields import LETTER_FIELDS, order_by
from tsd.store.listing import Page, cut, fetch
from tsd.store.schema import dead_letter_losses, dead_letters, executions, jobs, slices
from tsd.store.sqlite import PLACEHOLDER
from tsd.store.words import stored_words

PAGE_B_MAX: Final = 64 * 1024 * 1024
"""Letters are much larger than anything else that is listed; a page of them is in memory as a whole."""
_COLUMNS: Final = (
    "ex_no",
    "job_id",
    "slice_id",
    "number",
    "slicer_id",
    "slicer_order",
    "created",
    "operation",
    "position",
    "attempt",
    "worker",
    "error",
    "error_words",
    "record",
    "form",
    "raw",
    "metadata",
    "truncated",
)
_STEPS: Final = (100, 10, 1)
"""Letters a statement, as for rows of slices (`tsd.store.records`)."""


@attrs.frozen
class Dropped:
    """An execution had more letters than it may have, and the oldest went.

    Attributes:
        ex_no: Number of the execution.
        count: How many went now.
        is_first: None had gone before.
    """

    ex_no: int
    count: int
    is_first: bool


@attrs.frozen
class Stored:
    """What came of the letters of a batch: how many were stored, and executions that had too many."""

    count: int = 0
    dropped: tuple[Dropped, ...] = ()


def store_letters(
    connection: Connection, batch: RecordBatch, ex_nos: Sequence[int], *, most: int, changes: Changes
) -> Stored:
    """Store the letters of a batch; to be called before its rows are stored.

    What a slice had before gives way. Nothing is stored for a slice that is completed, nor when the very
    result is stored already: its letters may have been deleted or replayed since.

    Args:
        connection: In a transaction.
        batch: Of a controller whose generation was checked.
        ex_nos: Of its sources, in their order.
        most: Letters that an execution may have.
        changes: Gets by how much their numbers change.

    Raises:
        Conflict: The letters can not be read, or are of no row of the batch.
    """
    job_ids: dict[int, str] = {}
    touched: dict[int, None] = {}
    count = 0
    place: tuple[int | None, int | None]
    for index, data in batch.letters:
        letters = _decoded(batch, index, data)
        if index < 0:
            ex_no, slice_id, place = ex_nos[0], letters[0].slice_id if letters else "", (None, None)
        else:
            row = batch.rows[index]
            ex_no, place = ex_nos[row[0]], (row[1], row[2])
            slice_id = row[9] or derived_slice_id(batch.sources[row[0]], row[1], row[2])
            if not _is_news(connection, ex_no, row[1:6]):
                continue
            changes.add(ex_no, "letters", -_forget(connection, ex_no, slice_id))
        if not letters:
            continue
        if ex_no not in job_ids:
            found = select(executions.c.job_id).where(executions.c.ex_no == ex_no)
            job_ids[ex_no] = connection.execute(found).scalar_one()
        head = (ex_no, job_ids[ex_no], slice_id)
        rows = [(*head, n, *place, *_values(letter)) for n, letter in enumerate(letters, start=1)]
        changes.add(ex_no, "letters", _insert(connection, rows))
        touched[ex_no] = None
        count += len(letters)
    dropped = (_drop_oldest(connection, ex_no, most, changes) for ex_no in touched)
    return Stored(count, tuple(one for one in dropped if one is not None))


def _decoded(batch: RecordBatch, index: int, data: bytes) -> list[Letter]:
    if not -1 <= index < len(batch.rows):
        raise Conflict(f"dead letters of execution {batch.ex_id} are of row {index}, which is not there")
    try:
        return decode_letters(data)
    except ValueError as error:
        raise Conflict(f"dead letters of execution {batch.ex_id} can not be read: {error}") from error


def _is_news(connection: Connection, ex_no: int, row: tuple[int, int, int, int, int]) -> bool:
    """Whether a row (slicer_id, slicer_order, state, created, updated) is going to change what is stored."""
    slicer_id, slicer_order, state, _, updated = row
    key = (
        slices.c.ex_no == ex_no,
        slices.c.slicer_id == slicer_id,
        slices.c.slicer_order == slicer_order,
    )
    stored = connection.execute(select(slices.c.state, slices.c.updated).where(*key)).one_or_none()
    if stored is None:
        return True
    return stored.state != SliceState.COMPLETED and tuple(stored) != (state, updated)


def _forget(connection: Connection, ex_no: int, slice_id: str) -> int:
    of_slice = (dead_letters.c.ex_no == ex_no) & (dead_letters.c.slice_id == slice_id)
    return connection.execute(delete(dead_letters).where(of_slice)).rowcount


def _values(letter: Letter) -> tuple[Any, ...]:
    return (
        letter.time_ms,
        letter.operation,
        letter.position,
        letter.attempt,
        letter.worker,
        letter.error,
        stored_words(letter.error),
        bytes(letter.record).decode(),
        letter.form.value,
        letter.raw,
        bytes(letter.metadata).decode(),
        int(letter.truncated),
    )


def _insert(connection: Connection, rows: list[tuple[Any, ...]]) -> int:
    """Insert them; returns how many were not there already."""
    start = inserted = 0
    for step in _STEPS:
        while len(rows) - start >= step:
            values = tuple(itertools.chain.from_iterable(rows[start : start + step]))
            inserted += connection.exec_driver_sql(_insertion(step), values).rowcount
            start += step
    return inserted


@cache
def _insertion(row_count: int) -> str:
    """The statement that stores so many letters; those of a flush that is told twice are there already."""
    row = f"({', '.join([PLACEHOLDER] * len(_COLUMNS))})"
    return (
        f"INSERT INTO dead_letters ({', '.join(_COLUMNS)}) VALUES {', '.join([row] * row_count)}"  # noqa: S608 - only constants
        " ON CONFLICT (ex_no, slice_id, number) DO NOTHING"
    )


def _drop_oldest(connection: Connection, ex_no: int, most: int, changes: Changes) -> Dropped | None:
    excess = counts_of(connection, ex_no).letters + changes.of(ex_no, "letters") - most
    if excess <= 0:
        return None
    # In the order of an index, so that the others are not looked at.
    oldest = (
        select(dead_letters.c.letter_no)
        .where(dead_letters.c.ex_no == ex_no)
        .order_by(dead_letters.c.created, dead_letters.c.letter_no)
        .limit(excess)
    )
    connection.execute(delete(dead_letters).where(dead_letters.c.letter_no.in_(oldest)))
    changes.add(ex_no, "letters", -excess)
    before = _dropped(connection, ex_no)
    if before:
        lost = dead_letter_losses.update().where(dead_letter_losses.c.ex_no == ex_no)
        connection.execute(lost.values(dropped=before + excess))
    else:
        connection.execute(dead_letter_losses.insert().values(ex_no=ex_no, dropped=excess))
    return Dropped(ex_no, excess, is_first=not before)


def _dropped(connection: Connection, ex_no: int) -> int:
    found = select(dead_letter_losses.c.dropped).where(dead_letter_losses.c.ex_no == ex_no)
    return connection.execute(found).scalar() or 0


def letter_counts(connection: Connection, ex_no: int) -> Document | None:
    """How many letters an execution has, and how many it had to drop; None for one that never had any."""
    kept = counts_of(connection, ex_no).letters
    dropped = _dropped(connection, ex_no)
    return {"stored": kept, "dropped": dropped} if kept or dropped else None


# --- reading and deleting -----------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Whose:
    """Letters of an execution, of all executions of a job, or with neither all that there are."""

    ex_id: str | None = None
    job_id: str | None = None

    def narrow(self, statement: Select[Any]) -> Select[Any]:
        """The statement with its condition; it is over letters joined with executions."""
        if self.ex_id is not None:
            statement = statement.where(executions.c.ex_id == self.ex_id)
        if self.job_id is not None:
            statement = statement.where(dead_letters.c.job_id == self.job_id)
        return statement

    def check(self, connection: Connection) -> None:
        """Raise NotFound when there is no such execution or job."""
        for word, column, wanted in (
            ("execution", executions.c.ex_id, self.ex_id),
            ("job", jobs.c.job_id, self.job_id),
        ):
            if (
                wanted is not None
                and connection.execute(select(column).where(column == wanted)).first() is None
            ):
                raise NotFound(f"Unable to find {word} {wanted}")


def select_letters(
    whose: Whose, where: ColumnElement[bool] | None, *columns: ColumnElement[Any] | Table
) -> Select[Any]:
    """Columns of letters, and of their executions, that a condition over `LETTER_FIELDS` holds for."""
    joined = select(*columns).join_from(dead_letters, executions, executions.c.ex_no == dead_letters.c.ex_no)
    statement = whose.narrow(joined)
    return statement if where is None else statement.where(where)


letter_size = (
    func.length(dead_letters.c.record)
    + func.length(dead_letters.c.metadata)
    + func.coalesce(func.length(dead_letters.c.raw), 0)
)
"""About how many bytes a letter has."""


def list_letters(connection: Connection, *, page: Page, whose: Whose) -> list[Document]:
    """Letters as clients see them.

    Args:
        connection: In a transaction.
        page: Which of them.
        whose: Only these; an execution or job that there is not has none.

    Raises:
        InvalidRequest: The page can not be had, or is too large.
    """
    chosen = select_letters(whose, None, dead_letters.c.letter_no, letter_size.label("size_b"))
    order = order_by(page.sort, LETTER_FIELDS, dead_letters.c.letter_no)
    found = fetch(connection, cut(chosen, page).order_by(*order))
    if sum(row["size_b"] for row in found) > PAGE_B_MAX:
        raise InvalidRequest(
            f"these dead letters are more than {PAGE_B_MAX // 1024**2} MiB: ask for a smaller size"
        )
    numbers = [row["letter_no"] for row in found]
    whole = select_letters(Whose(), dead_letters.c.letter_no.in_(numbers), dead_letters, executions.c.ex_id)
    shown = {row["letter_no"]: _shown(row) for row in fetch(connection, whole)}
    return [shown[number] for number in numbers]


def _shown(row: Any) -> Document:
    document = {
        "record": msgspec.json.decode(row["record"]),
        "form": row["form"],
        "metadata": msgspec.json.decode(row["metadata"]),
        "error": row["error"],
        "operation": row["operation"],
        "position": row["position"],
        "slice_id": row["slice_id"],
        "slicer_id": row["slicer_id"],
        "slicer_order": row["slicer_order"],
        "attempt": row["attempt"],
        "time": shown_time(row["created"]),
        "ex_id": row["ex_id"],
        "job_id": row["job_id"],
        "worker": row["worker"],
        "truncated": bool(row["truncated"]),
        "raw": row["raw"],
        "replayed": row["replayed"],
    }
    return {name: value for name, value in document.items() if value is not None or name == "record"}


@attrs.frozen(kw_only=True)
class DeleteLetters:
    """Delete letters; the result is how many.

    Attributes:
        where: A condition over `LETTER_FIELDS`; None for all.
    """

    whose: Whose
    where: ColumnElement[bool] | None = None
    is_held: ClassVar[bool] = False

    def apply(self, connection: Connection, now_ms: int) -> int:  # noqa: ARG002 - see `Write`
        """See `Write`.

        Raises:
            NotFound: There is no such execution or job.
        """
        self.whose.check(connection)
        chosen = select_letters(self.whose, self.where, dead_letters.c.letter_no)
        numbers = select_letters(self.whose, self.where, dead_letters.c.ex_no, func.count())
        changes = Changes()
        for ex_no, count in connection.execute(numbers.group_by(dead_letters.c.ex_no)).fetchall():
            changes.add(ex_no, "letters", -count)
        store_changes(connection, changes)
        gone = delete(dead_letters).where(dead_letters.c.letter_no.in_(chosen))
        return connection.execute(gone).rowcount

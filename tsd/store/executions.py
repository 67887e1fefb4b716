"""Executions in the store: what is written, what is read."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, assert_never

import attrs
import msgspec
from sqlalchemy import Connection, RowMapping, exists, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from tsd.core.cluster.events import Save, SaveDrain, SaveGeneration, SaveIntent, SaveMetadata, SaveStatus
from tsd.core.cluster.records import ExecutionRecord, Intent
from tsd.core.records import TERMINAL_STATUSES, EndedSlices, ExecutionStats, RecoveryMode, Status
from tsd.errors import Conflict, NotFound, StoreCorrupt
from tsd.store.assets import check_assets
from tsd.store.counts import counts_of
from tsd.store.documents import Document, decode, encode, shown_execution, stored_execution
from tsd.store.drains import store_drain
from tsd.store.fields import EXECUTION_FIELDS, order_by
from tsd.store.jobs import CreateJob, check_startable
from tsd.store.letters import letter_counts
from tsd.store.listing import Page, cut, fetch
from tsd.store.schema import executions, jobs, slices, unended
from tsd.store.sqlite import is_duplicate
from tsd.store.words import stored_words

CHAIN_MAX: Final = 10_000
"""More recoveries of recoveries than anybody makes; a longer chain is a damaged store."""


@attrs.frozen(kw_only=True)
class Created:
    """An execution that was stored, as clients see it and as the cluster core takes it."""

    document: Document
    record: ExecutionRecord


@attrs.frozen(kw_only=True)
class CreateExecution:
    """Store a new execution as `pending`, with its job when that is new too.

    Attributes:
        document: The complete execution document: defaults filled in, assets resolved. What it says about
            status, times and ids is not taken.
        job: The job as posted, to be stored in the same transaction; None when it is there already.
        recovered_execution: The execution that this one recovers.
        recovered_slice_type: `all`, `errors` or `pending`, only in a recovery.
    """

    ex_id: str
    job_id: str
    document: Mapping[str, Any]
    job: Mapping[str, Any] | None = None
    recovered_execution: str | None = None
    recovered_slice_type: str | None = None
    is_held: ClassVar[bool] = False

    def apply(self, connection: Connection, now_ms: int) -> Created:
        """See `Write`.

        Raises:
            Conflict: An execution of the job has not ended, or a bundle that it uses was deleted.
            NotFound: There is no such job, or no such execution to recover.
            Gone: The job was deleted.
            InvalidRequest: A document is not JSON.
        """
        if self.job is not None:
            CreateJob(job_id=self.job_id, document=self.job).apply(connection, now_ms)
        recovers = self.recovered_execution is not None
        check_startable(connection, self.job_id, verb="recovered" if recovers else "started")
        if self.recovered_execution is not None:
            _row(connection, self.recovered_execution)
            if (
                _makes_none(self.document, self.recovered_slice_type)
                and self.recovered_slice_type != "errors"
            ):
                _check_recorded(connection, self.recovered_execution, self.recovered_slice_type or "")
        check_assets(connection, self.document)
        try:
            connection.execute(insert(executions).values(self._values(now_ms)))
        except DBAPIError as error:
            if is_duplicate(error):
                raise Conflict(f"Execution {self.ex_id} exists already") from error
            raise
        row = _row(connection, self.ex_id)
        return Created(document=shown_execution(row), record=_record(connection, row))

    def _values(self, now_ms: int) -> dict[str, Any]:
        workers = self.document.get("workers")
        intent = Intent(
            workers=workers if isinstance(workers, int) else 1,
            log_level=self.document.get("log_level") or None,
        )
        return {
            "ex_id": self.ex_id,
            "job_id": self.job_id,
            "status": Status.PENDING.value,
            "generation": 0,
            "intent": _encode_intent(intent),
            "created": now_ms,
            "updated": now_ms,
            "has_errors": 0,
            "failure_reason": "",
            "slicer_stats": "{}",
            "recovered_execution": self.recovered_execution,
            "recovered_slice_type": self.recovered_slice_type,
            "deleted": 0,
            "document": stored_execution(self.document),
            "name_words": stored_words(self.document.get("name")),
        }


@attrs.frozen(kw_only=True)
class ApplySaves:
    """Write what the cluster core decided, all of it or nothing. It waits through an outage."""

    saves: tuple[Save, ...]
    is_held: ClassVar[bool] = True

    def apply(self, connection: Connection, now_ms: int) -> None:
        """See `Write`.

        Raises:
            NotFound: There is no such execution.
            Conflict: A status is not the expected one, or a generation would go down.
        """
        for save in self.saves:
            if isinstance(save, SaveDrain):
                store_drain(connection, save)
                continue
            row = _row(connection, save.ex_id)
            values = _changes(save, row, now_ms)
            if isinstance(save, SaveStatus):
                values |= _last_stats(connection, save, row["ex_no"])
            connection.execute(update(executions).where(executions.c.ex_no == row["ex_no"]).values(values))


_SaveOfExecution = SaveStatus | SaveGeneration | SaveIntent | SaveMetadata


def _changes(save: _SaveOfExecution, row: RowMapping, now_ms: int) -> dict[str, Any]:
    match save:
        case SaveStatus():
            return _status_changes(save, row, now_ms)
        case SaveGeneration():
            if save.generation < row["generation"]:
                raise Conflict(
                    f"generation {save.generation} of execution {save.ex_id} is behind {row['generation']}"
                )
            return {"generation": save.generation, "controller_node": save.controller_node}
        case SaveIntent():
            return {"intent": _encode_intent(save.intent)}
        case SaveMetadata():
            document = decode(row["document"]) | {"metadata": decode(save.metadata)}
            return {"document": encode(document), "updated": now_ms}
    assert_never(save)


def _last_stats(connection: Connection, save: SaveStatus, ex_no: int) -> dict[str, Any]:
    """The last counters are those of the records, whatever the controller said last."""
    if save.stats is None or save.status not in TERMINAL_STATUSES:
        return {}
    return {"slicer_stats": _encode_stats(_with_ended(save.stats, counts_of(connection, ex_no).ended))}


def _status_changes(save: SaveStatus, row: RowMapping, now_ms: int) -> dict[str, Any]:
    if row["status"] != save.expected.value:
        raise Conflict(
            f'status of execution {save.ex_id} is "{row["status"]}", not "{save.expected}":'
            f' it can not become "{save.status}"'
        )
    reason = None if save.failure_reason is None else _clean(save.failure_reason)
    changes = {
        "status": save.status.value,
        "updated": now_ms,
        "has_errors": None if save.has_errors is None else int(save.has_errors),
        "failure_reason": reason,
        "failure_words": None if reason is None else stored_words(reason),
        "slicer_stats": None if save.stats is None else _encode_stats(save.stats),
        "slicer_hostname": save.slicer_hostname,
        "slicer_port": save.slicer_port,
        "started": save.started,
        "recorded": save.recorded,
    }
    return {name: value for name, value in changes.items() if value is not None}


def correct_last_stats(connection: Connection, ex_no: int, ended: EndedSlices) -> None:
    """Make the last counters of an execution right when records of it come after its end."""
    found = select(executions.c.slicer_stats).where(
        executions.c.ex_no == ex_no, executions.c.status.in_(TERMINAL_STATUSES)
    )
    text = connection.execute(found).scalar()
    if text is not None:
        stats = _encode_stats(_with_ended(_decode_stats(text), ended))
        connection.execute(update(executions).where(executions.c.ex_no == ex_no).values(slicer_stats=stats))


def _with_ended(stats: ExecutionStats, ended: EndedSlices) -> ExecutionStats:
    return attrs.evolve(stats, processed=ended.processed, failed=ended.failed)


def get_execution(connection: Connection, *, ex_id: str) -> Document:
    """An execution as clients see it, deleted or not; with how many dead letters it has, if it had any.

    Raises:
        NotFound: There is no such execution.
    """
    row = _row(connection, ex_id)
    counts = letter_counts(connection, row["ex_no"])
    return shown_execution(row) | ({} if counts is None else {"_dead_letters": counts})


def execution_number(connection: Connection, ex_id: str) -> int:
    """The number of an execution.

    Raises:
        NotFound: There is no such execution.
    """
    return int(_row(connection, ex_id)["ex_no"])


def latest_executions(connection: Connection, *, job_ids: Sequence[str]) -> dict[str, Document]:
    """The execution that was created last, by job; jobs without one are left out."""
    # One look at the end of an index for each job; to group would read through all of their executions.
    of_job = select(func.max(executions.c.ex_no)).where(executions.c.job_id == jobs.c.job_id)
    last = select(of_job.scalar_subquery()).where(jobs.c.job_id.in_(job_ids))
    rows = connection.execute(select(executions).where(executions.c.ex_no.in_(last))).mappings()
    return {row["job_id"]: shown_execution(row) for row in rows}


def list_executions(
    connection: Connection,
    *,
    page: Page,
    statuses: Sequence[str] = (),
    is_deleted: bool | None = False,
    job_id: str | None = None,
) -> list[Document]:
    """Executions as clients see them.

    Args:
        connection: In a transaction.
        page: Which of them.
        statuses: Only those in one of these statuses; empty for all. Unknown words match nothing.
        is_deleted: Deleted ones only, those that are not, or None for both.
        job_id: Only those of this job.

    Raises:
        InvalidRequest: The page can not be had.
    """
    statement = select(executions)
    if is_deleted is not None:
        statement = statement.where(executions.c.deleted == int(is_deleted))
    if statuses:
        statement = statement.where(executions.c.status.in_(statuses))
    if job_id is not None:
        statement = statement.where(executions.c.job_id == job_id)
    statement = cut(statement, page).order_by(*order_by(page.sort, EXECUTION_FIELDS, executions.c.ex_no))
    return [shown_execution(row) for row in fetch(connection, statement)]


def load_unended(connection: Connection) -> list[ExecutionRecord]:
    """All executions that have not ended, oldest first: what a master that starts has to go on with."""
    rows = connection.execute(select(executions).where(unended).order_by(executions.c.ex_no)).mappings()
    return [_record(connection, row) for row in rows.fetchall()]


def source_chain(connection: Connection, *, ex_id: str) -> tuple[tuple[int, str], ...]:
    """An execution and those it recovers, newest first, as (ex_no, ex_id).

    Raises:
        NotFound: There is no such execution.
    """
    columns = select(executions.c.ex_no, executions.c.ex_id, executions.c.recovered_execution)
    chain: list[tuple[int, str]] = []
    following: str | None = ex_id
    while following is not None:
        row = connection.execute(columns.where(executions.c.ex_id == following)).one_or_none()
        if row is None:
            raise NotFound(f"Unable to find execution {following}")
        if len(chain) == CHAIN_MAX:
            raise StoreCorrupt(f"execution {ex_id} recovers more than {CHAIN_MAX} others")
        chain.append((row.ex_no, row.ex_id))
        following = row.recovered_execution
    return tuple(chain)


def _check_recorded(connection: Connection, ex_id: str, slice_type: str) -> None:
    """Refuse to run slices again when it is not known which there are.

    One that made no slices of its own says nothing about those of the execution that it recovers.

    Raises:
        Conflict: The last slices that were handed out have no records.
    """
    columns = select(executions.c.ex_id, executions.c.recorded)
    for ex_no, _ in source_chain(connection, ex_id=ex_id):
        row = connection.execute(columns.where(executions.c.ex_no == ex_no)).one()
        if row.recorded is None:
            raise Conflict(
                f"cannot recover only the slices of execution {row.ex_id} that are {_SLICES[slice_type]}:"
                " it ended before its controller could record the last slices that it had handed out, so they"
                " are not known. Recover it without cleanup_type: that makes them again, and more after them"
            )
        if row.recorded:
            return


_SLICES: Final = {"all": "not completed", "pending": "pending"}


def _makes_none(document: Mapping[str, Any], slice_type: str | None) -> bool:
    """Whether an execution ends when it has run slices of earlier executions again."""
    return slice_type is not None and document.get("autorecover") is not True


def recovery_mode(document: Mapping[str, Any]) -> str:
    """The `RecoveryMode` word of an execution as clients see it; empty when it recovers nothing.

    A job with `autorecover` that is started again names `pending`; it goes on after that, and takes the
    slices that were being run too.
    """
    if document.get("recovered_execution") is None:
        return ""
    slice_type = document.get("recovered_slice_type")
    if slice_type == RecoveryMode.PENDING and document.get("autorecover") is True:
        return RecoveryMode.AUTORECOVER.value
    return RecoveryMode(slice_type or RecoveryMode.NONE).value


def _record(connection: Connection, row: RowMapping) -> ExecutionRecord:
    document = shown_execution(row)
    slicers = document.get("slicers")
    return ExecutionRecord(
        ex_id=row["ex_id"],
        job_id=row["job_id"],
        name=str(document.get("name", "")),
        created=row["ex_no"],
        intent=msgspec.json.decode(row["intent"], type=Intent),
        document=encode(document),
        slicers=slicers if isinstance(slicers, int) else 1,
        sources=tuple(ex_id for _, ex_id in source_chain(connection, ex_id=row["ex_id"])),
        mode=recovery_mode(document),
        assets=tuple(document.get("assets") or ()),
        env={str(name): str(value) for name, value in (document.get("env_vars") or {}).items()},
        status=Status(row["status"]),
        generation=row["generation"],
        controller_node=row["controller_node"],
        has_errors=bool(row["has_errors"]),
        failure_reason=row["failure_reason"],
        has_slices=bool(connection.execute(select(exists().where(slices.c.ex_no == row["ex_no"]))).scalar()),
        stats=_decode_stats(row["slicer_stats"]),
        makes_none=_makes_none(document, row["recovered_slice_type"]),
        started=row["started"] or "",
        ended=counts_of(connection, row["ex_no"]).ended,
    )


def _encode_intent(intent: Intent) -> str:
    return msgspec.json.encode(intent).decode()


def _encode_stats(stats: ExecutionStats) -> str:
    """Counters as clients see them: `queuing_complete` is absent until slicing has ended."""
    return encode({name: value for name, value in attrs.asdict(stats).items() if value is not None})


def _decode_stats(text: str) -> ExecutionStats:
    return msgspec.convert(decode(text), ExecutionStats)


def _clean(text: str) -> str:
    """Text that a database takes: half surrogate pairs, as in file names that are no UTF-8, become `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _row(connection: Connection, ex_id: str) -> RowMapping:
    statement = select(executions).where(executions.c.ex_id == ex_id)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise NotFound(f"Unable to find execution {ex_id}")
    return row

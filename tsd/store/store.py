"""The store as the master uses it: open it, ask it."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import trio
from sqlalchemy import Connection

from tsd.core.assets import AssetRecord
from tsd.core.cluster.events import Save
from tsd.core.cluster.records import Drain, ExecutionRecord
from tsd.core.messages import RecordBatch, RecoveryAsk, RecoveryPage
from tsd.errors import NotFound, StoreError
from tsd.store import assets, drains, executions, jobs, letters, records, recovery, sqlite
from tsd.store.datalock import check_usable, locked, named
from tsd.store.documents import Document
from tsd.store.listing import Page
from tsd.store.migrate import bring_up_to_date
from tsd.store.reader import Reader
from tsd.store.replay import Replay
from tsd.store.transactions import Write
from tsd.store.writer import StoreHealth, Writer, WriterStatistics

R = TypeVar("R")

DATABASE_NAME: Final = "store.db"
CLOSE_S: Final = 10.0
"""How long closing waits for what was asked before; a transaction takes milliseconds."""


@attrs.frozen(eq=False)
class Store:
    """Jobs, executions, bundles and slice records. Documents are as clients see them.

    Writes return once they are durable and raise `StoreError` when they can not be; those of the cluster
    core and of controllers (`apply_saves`, `store_records`) wait through an outage instead.
    """

    _writer: Writer
    _reader: Reader
    _letters_max: int

    @property
    def health(self) -> StoreHealth:
        """Whether writes succeed, and if not why and since when."""
        return self._writer.health

    def statistics(self) -> WriterStatistics:
        """What was written so far."""
        return self._writer.statistics()

    async def write(self, request: Write[R]) -> R:
        """Write a request, together with whatever others ask for at the same time; see `Writer.write`."""
        return await self._writer.write(request)

    async def unless_failing(self, wait: Callable[[], Awaitable[R]]) -> R:
        """What `wait` returns, unless writes fail meanwhile; see `Writer.unless_failing`."""
        return await self._writer.unless_failing(wait)

    async def read(self, function: Callable[[Connection], R]) -> R:
        """Run a query of this package; see `Reader.read`."""
        return await self._reader.read(function)

    # --- jobs ------------------------------------------------------------------------------------

    async def create_job(self, job_id: str, document: Mapping[str, Any]) -> Document:
        """Store a job as posted."""
        return await self.write(jobs.CreateJob(job_id=job_id, document=document))

    async def update_job(self, job_id: str, document: Mapping[str, Any]) -> Document:
        """Replace the document of a job. Raises NotFound, Gone."""
        return await self.write(jobs.UpdateJob(job_id=job_id, document=document))

    async def set_job_active(self, job_id: str, *, is_active: bool) -> Document:
        """Mark a job as active or not. Raises NotFound, Gone."""
        return await self.write(jobs.SetJobActive(job_id=job_id, is_active=is_active))

    async def delete_job(self, job_id: str) -> Document:
        """Mark a job and its executions as deleted. Raises Conflict while one runs, NotFound, Gone."""
        return await self.write(jobs.DeleteJob(job_id=job_id))

    async def get_job(self, job_id: str) -> Document:
        """A job, deleted or not. Raises NotFound."""
        return await self.read(partial(jobs.get_job, job_id=job_id))

    async def list_jobs(
        self, page: Page, *, is_deleted: bool = False, is_active: bool | None = None
    ) -> list[Document]:
        """Jobs; see `tsd.store.jobs.list_jobs`. Raises InvalidRequest."""
        return await self.read(partial(jobs.list_jobs, page=page, is_deleted=is_deleted, is_active=is_active))

    # --- executions ------------------------------------------------------------------------------

    async def create_execution(self, request: executions.CreateExecution | Replay) -> executions.Created:
        """Store an execution as pending, and its job when that is new; a `Replay` makes a `Replayed`.

        Raises Conflict, NotFound, Gone.
        """
        if isinstance(request, Replay):
            return await self.write(request)
        return await self.write(request)

    async def apply_saves(self, saves: Sequence[Save]) -> None:
        """Write what the cluster core decided, all or nothing. Raises Conflict, NotFound."""
        if saves:
            await self.write(executions.ApplySaves(saves=tuple(saves)))

    async def get_execution(self, ex_id: str) -> Document:
        """An execution, deleted or not. Raises NotFound."""
        return await self.read(partial(executions.get_execution, ex_id=ex_id))

    async def latest_execution(self, job_id: str) -> Document:
        """The last execution of a job, whatever became of it. Raises NotFound when it never ran."""
        found = await self.latest_executions([job_id])
        if job_id not in found:
            raise NotFound(f"No execution was found for job {job_id}")
        return found[job_id]

    async def latest_executions(self, job_ids: Sequence[str]) -> dict[str, Document]:
        """The last execution by job; jobs that never ran are left out."""
        return await self.read(partial(executions.latest_executions, job_ids=job_ids))

    async def list_executions(
        self,
        page: Page,
        *,
        statuses: Sequence[str] = (),
        is_deleted: bool | None = False,
        job_id: str | None = None,
    ) -> list[Document]:
        """Executions; see `tsd.store.executions.list_executions`. Raises InvalidRequest."""
        return await self.read(
            partial(
                executions.list_executions,
                page=page,
                statuses=statuses,
                is_deleted=is_deleted,
                job_id=job_id,
            )
        )

    async def load_unended(self) -> list[ExecutionRecord]:
        """What a master that starts has to go on with, oldest first."""
        return await self.read(executions.load_unended)

    async def load_drains(self) -> list[Drain]:
        """The nodes that are to be drained, by id."""
        return await self.read(drains.load_drains)

    async def source_chain(self, ex_id: str) -> tuple[str, ...]:
        """An execution and the chain of those it recovers, newest first. Raises NotFound."""
        chain = await self.read(partial(executions.source_chain, ex_id=ex_id))
        return tuple(source for _, source in chain)

    # --- bundles ---------------------------------------------------------------------------------

    async def create_asset(self, record: AssetRecord) -> None:
        """Store the record of a bundle. Raises Conflict when another one could be taken for it."""
        await self.write(assets.CreateAsset(record=record))

    async def delete_asset(
        self, asset_id: str, *, is_forced: bool, resolve: assets.Resolve = assets.nothing
    ) -> None:
        """Take the record of a bundle away. Raises NotFound, Conflict while an execution uses it."""
        await self.write(assets.DeleteAsset(asset_id=asset_id, is_forced=is_forced, resolve=resolve))

    async def find_asset(self, asset_id: str) -> AssetRecord | None:
        """The bundle with this id, if there is one."""
        return await self.read(partial(assets.find_asset, asset_id=asset_id))

    async def assets_named(self, name: str) -> list[AssetRecord]:
        """All bundles of a name, newest creation first."""
        return await self.read(partial(assets.assets_named, name=name))

    async def asset_ids(self) -> Collection[str]:
        """The ids of all bundles."""
        return await self.read(assets.asset_ids)

    async def list_assets(
        self, page: Page, *, name: str | None = None, version: str | None = None
    ) -> list[Document]:
        """Bundles; see `tsd.store.assets.list_assets`. Raises InvalidRequest."""
        return await self.read(partial(assets.list_assets, page=page, name=name, version=version))

    # --- slice records ---------------------------------------------------------------------------

    async def store_records(self, batch: RecordBatch) -> records.Recorded:
        """Store slice records and their dead letters; tells what came of them.

        Raises Conflict when the batch is of an older generation, NotFound.
        """
        return await self.write(records.StoreRecords(batch=batch, letters_max=self._letters_max))

    async def list_letters(self, page: Page, whose: letters.Whose) -> list[Document]:
        """Dead letters; see `tsd.store.letters.list_letters`. Raises InvalidRequest."""
        return await self.read(partial(letters.list_letters, page=page, whose=whose))

    async def delete_letters(self, request: letters.DeleteLetters) -> int:
        """Delete dead letters; how many there were. Raises NotFound."""
        return await self.write(request)

    async def list_errors(
        self, page: Page, *, ex_ids: Sequence[str] | None = None, job_id: str | None = None
    ) -> list[Document]:
        """Slices in error; see `tsd.store.records.list_errors`. Raises InvalidRequest."""
        return await self.read(partial(records.list_errors, page=page, ex_ids=ex_ids, job_id=job_id))

    async def analytics_of(
        self, ex_id: str, *, after: tuple[int, int] = records.BEFORE_ALL, limit: int = 1000
    ) -> list[records.SliceAnalytics]:
        """Slices that have analytics, in key order; see `tsd.store.records.analytics_of`."""
        return await self.read(partial(records.analytics_of, ex_id=ex_id, after=after, limit=limit))

    async def recovery_page(self, ex_id: str, ask: RecoveryAsk) -> RecoveryPage:
        """The answer to a controller's question; see `tsd.store.recovery`. Raises NotFound."""
        return await self.read(partial(recovery.recovery_page, ex_id=ex_id, ask=ask))


def _ignore(_health: StoreHealth) -> None:
    """Nobody wants to know."""


@contextlib.asynccontextmanager
async def open_store(
    data_dir: Path,
    *,
    commit_window_s: float = 0.0,
    letters_max: int = 100_000,
    on_health: Callable[[StoreHealth], None] = _ignore,
) -> AsyncIterator[Store]:
    """Open the store of a data folder, which is made when it is missing.

    Leaving it writes what was asked before, for up to `CLOSE_S` seconds.

    Args:
        data_dir: Holds the database and the lock file.
        commit_window_s: How long a transaction waits for more requests after its first one. Those that come
            while another is committed share the next one without that.
        letters_max: Dead letters that an execution may have; beyond it the oldest go.
        on_health: Called when writes begin to fail, fail for another reason, or succeed again.

    Raises:
        StoreLocked: Another process has opened it.
        SchemaTooNew: A newer tsd has written it.
        StoreCorrupt: It can not be read.
        StoreUnusable: Its file cannot be used, and trying again does not help.
        StoreError: The folder can not be used.
    """
    with contextlib.ExitStack() as stack:
        connection, reader = await trio.to_thread.run_sync(_open, data_dir, stack)
        writer = Writer(connection=connection, window_s=commit_window_s, on_health=on_health)
        try:
            async with _running(writer):
                yield Store(writer, reader, letters_max)
        finally:
            # Closing moves the log into the database, and a thread call can not hang longer than that.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(stack.close)


def _open(data_dir: Path, stack: contextlib.ExitStack) -> tuple[Connection, Reader]:
    stack.enter_context(locked(data_dir))
    path = data_dir.absolute() / DATABASE_NAME
    check_usable(path)
    try:
        engine = sqlite.writing_engine(path)
        stack.callback(engine.dispose)
        bring_up_to_date(engine)
    except sqlite3.Error as error:
        raise named(sqlite.error_of(error), path) from error
    except StoreError as error:
        raise named(error, path) from error.__cause__
    connection = engine.connect()
    stack.callback(connection.close)
    reader = Reader.of(path)
    stack.callback(reader.close)
    return connection, reader


@contextlib.asynccontextmanager
async def _running(writer: Writer) -> AsyncIterator[None]:
    """Run a writer beside the body, and until it has written everything after it."""
    scope = trio.CancelScope(shield=True)

    async def run() -> None:
        with scope:
            await writer.run()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            try:
                yield
            finally:
                # The writer's scope is shielded, so this bounds it also when everything is cancelled.
                scope.deadline = trio.current_time() + CLOSE_S
                writer.close()
    except BaseExceptionGroup as group:
        # The nursery is ours alone: callers see the one error that there was.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise

"""What can be done with executions."""

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs
import trio

from tsd.core.cluster.events import (
    LogLevelRequested,
    PauseRequested,
    ResumeRequested,
    Scaled,
    StopRequested,
    WaitFor,
    WorkersRequested,
)
from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.errors import NotActive, Unavailable
from tsd.master.brain import Brain
from tsd.master.clusterview import with_present_stats
from tsd.master.jobs import execution_document
from tsd.master.lists import ListQuery
from tsd.master.roomwatch import with_waiting_reason
from tsd.store.executions import CreateExecution
from tsd.store.fields import ERROR_FIELDS, EXECUTION_FIELDS
from tsd.store.store import Store

Document = dict[str, Any]


@attrs.frozen(kw_only=True)
class StopOptions:
    """How to stop.

    Attributes:
        is_blocking: Answer when it has ended.
        is_forced: Do not wait for running slices.
        within_s: Time that running slices have; None for `shutdown_timeout`.
    """

    is_blocking: bool = True
    is_forced: bool = False
    within_s: float | None = None


@attrs.define(eq=False, kw_only=True)
class ExecutionService:
    """Use cases of executions; documents are as clients see them.

    Attributes:
        confirm_within_s: How long a controller has to confirm a pause; a reload may change it.
    """

    store: Store
    brain: Brain
    confirm_within_s: float

    # --- reads ----------------------------------------------------------------------------------

    async def find(self, query: ListQuery, *, statuses: Sequence[str], is_deleted: bool) -> list[Document]:
        """Executions in one of these statuses; none named for all."""
        page = query.page(EXECUTION_FIELDS)
        found = await self.store.list_executions(page, statuses=statuses, is_deleted=is_deleted)
        return [with_present_stats(self.brain.machine, execution) for execution in found]

    async def get(self, ex_id: str) -> Document:
        """An execution, deleted or not; `_waiting_reason` says why something of it does not run yet.

        Raises:
            NotFound: There is none.
        """
        execution = with_present_stats(self.brain.machine, await self.store.get_execution(ex_id))
        return with_waiting_reason(execution, self.brain.machine)

    async def errors(
        self, query: ListQuery, *, ex_id: str | None = None, job_id: str | None = None
    ) -> list[Document]:
        """Slices in error: of an execution, of all executions of a job, or of all."""
        ex_ids = None if ex_id is None else [ex_id]
        return await self.store.list_errors(query.page(ERROR_FIELDS), ex_ids=ex_ids, job_id=job_id)

    # --- verbs ----------------------------------------------------------------------------------

    async def stop(self, ex_id: str, options: StopOptions) -> Document:
        """End an execution; one that has ended already stays as it is.

        Returns:
            `status`: when blocking a terminal one, whichever was reached.

        Raises:
            NotFound: There is none.
        """
        status = Status((await self.store.get_execution(ex_id))["_status"])
        if status not in TERMINAL_STATUSES:
            status = await self.store.unless_failing(lambda: self._stop(ex_id, options))
        if options.is_forced:
            return {"message": f"Force stop complete for exId {ex_id}", "status": status.value}
        return {"status": status.value}

    async def _stop(self, ex_id: str, options: StopOptions) -> Status:
        with self.brain.watches.watch(ex_id) as watch:
            status = Status((await self.store.get_execution(ex_id))["_status"])
            if status not in TERMINAL_STATUSES:
                await self.brain.ask(
                    StopRequested(ex_id=ex_id, within_s=options.within_s, force=options.is_forced)
                )
                watch.begin_anew()
                wanted = TERMINAL_STATUSES if options.is_blocking else frozenset(Status)
                status = await watch.until(wanted, now=status)
        return status

    async def pause(self, ex_id: str) -> Document:
        """Hand out nothing; returns when the controller has confirmed it.

        Raises:
            NotActive: It has ended, or there is none.
            Unavailable: Its controller is not connected, or does not confirm.
        """
        await self._change(PauseRequested(ex_id=ex_id), frozenset({Status.PAUSED}), "pause")
        return {"status": "paused"}

    async def resume(self, ex_id: str) -> Document:
        """Hand out again; errors as for `pause`."""
        unpaused = frozenset(Status) - TERMINAL_STATUSES - {Status.PAUSED, Status.STOPPING}
        await self._change(ResumeRequested(ex_id=ex_id), unpaused, "resume")
        return {"status": "running"}

    async def change_workers(self, ex_id: str, action: str, count: int) -> Document:
        """`add`, `remove` or set (`total`) workers; the wanted number is kept.

        Raises:
            NotActive: It has ended, or there is none.
            InvalidRequest: No worker would be left.
        """
        scaled = await self.brain.ask(WorkersRequested(ex_id=ex_id, action=action, count=count))
        assert isinstance(scaled, Scaled)
        message = f"{scaled.count} workers have been {scaled.action} for execution: {ex_id}"
        return {"message": message}

    async def set_log_level(self, ex_id: str, level: str) -> Document:
        """Change the log level of its processes.

        Raises:
            NotActive: It has ended, there is none, or its controller is not connected.
        """
        await self.brain.ask(LogLevelRequested(ex_id=ex_id, level=level))
        return {"exId": ex_id, "level": level}

    async def recover(self, ex_id: str, cleanup: str) -> Document:
        """Run what is left of an execution, with the configuration it had; the job's changes do not count.

        Raises:
            NotFound: There is none.
            Conflict: It, or another one of its job, has not ended.
            Gone: The job was deleted.
        """
        source = await self.store.get_execution(ex_id)
        if not cleanup and source.get("autorecover") is True:
            cleanup = "pending"
        new_id = str(uuid.uuid4())
        await self.brain.create(
            CreateExecution(
                ex_id=new_id,
                job_id=source["job_id"],
                document=execution_document(source),
                recovered_execution=ex_id,
                recovered_slice_type=cleanup or None,
            )
        )
        return {"job_id": source["job_id"], "ex_id": new_id}

    # --- helpers --------------------------------------------------------------------------------

    async def _change(
        self, request: PauseRequested | ResumeRequested, wanted: frozenset[Status], verb: str
    ) -> None:
        ex_id = request.ex_id
        with self.brain.watches.watch(ex_id) as watch:
            # Taken before: the core may be ahead of the store, but not when the answer is there.
            view = self.brain.machine.execution_view(ex_id)
            now = Status.PENDING if view is None else view.status
            answer = await self.brain.ask(request)
            watch.begin_anew()
            assert isinstance(answer, WaitFor)
            with trio.move_on_after(self.confirm_within_s):
                status = await self.store.unless_failing(partial(watch.until, answer.statuses, now=now))
                if status in wanted:
                    return
                if status in TERMINAL_STATUSES:
                    raise NotActive(f"no active execution context was found for ex_id: {ex_id}")
        raise Unavailable(f"Execution {ex_id} is not available to {verb}")

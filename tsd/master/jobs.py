"""What can be done with jobs."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import structlog

from tsd.errors import Conflict, Gone, InvalidRequest, NotFound, Unprocessable
from tsd.master.brain import Brain
from tsd.master.clusterview import with_present_stats
from tsd.master.identity import TERASLICE_VERSION
from tsd.master.lists import ListQuery
from tsd.master.roomwatch import capacity_warning, with_waiting_reason
from tsd.master.validation import JobChecker
from tsd.operations.job import ValidatedJob
from tsd.operations.job_warnings import text_of
from tsd.store.executions import CreateExecution
from tsd.store.fields import JOB_FIELDS
from tsd.store.store import Store

Document = dict[str, Any]

LOGGED_MAX = 20
"""So many warnings of a job are in its line of the log; the answer has all."""

log = structlog.get_logger()


@attrs.frozen(eq=False, kw_only=True)
class JobService:
    """Use cases of jobs; documents are as clients see them."""

    store: Store
    brain: Brain
    checker: JobChecker

    # --- definitions ----------------------------------------------------------------------------

    async def submit(self, job: Mapping[str, Any], *, starts: bool) -> Document:
        """Store a job, and run it if it `starts`.

        Returns:
            `job_id`, and `ex_id` and `warnings` where there are any.

        Raises:
            InvalidRequest: It is no job at all.
            Unprocessable: It says its own id.
            JobInvalid: It can not run.
        """
        if "operations" not in job or job["operations"] in (None, False, "", 0):
            has_more = isinstance(job, dict) and job.keys() - {"operations"}
            more = ": it has no `operations`, a list of a reader and processors" if has_more else ""
            raise InvalidRequest(f"No job was posted{more}")
        if job.get("job_id"):
            raise Unprocessable("Job cannot include a job_id on submit")
        checked = await self.checker.check(job)
        job_id = str(uuid.uuid4())
        if starts:
            return await self._run(job_id, checked, job=job)
        await self.store.create_job(job_id, job)
        _log_warnings(job_id, checked)
        return _with_warnings({"job_id": job_id}, checked)

    async def find(
        self,
        query: ListQuery,
        *,
        is_active: bool | None,
        is_deleted: bool,
        ex_fields: Sequence[str] | None,
    ) -> list[Document]:
        """Jobs; with `ex_fields` each with those fields of its latest execution (all if there are none)."""
        page = query.page(JOB_FIELDS)
        found = await self.store.list_jobs(page, is_deleted=is_deleted, is_active=is_active)
        return await self._with_executions(found, ex_fields)

    async def get(self, job_id: str, *, ex_fields: Sequence[str] | None = None) -> Document:
        """A job, deleted or not.

        Raises:
            NotFound: There is none.
        """
        return (await self._with_executions([await self.store.get_job(job_id)], ex_fields))[0]

    async def update(self, job_id: str, job: Mapping[str, Any]) -> Document:
        """Replace a job; an execution that runs is not touched.

        Raises:
            InvalidRequest: There is nothing to replace it by.
            NotFound: There is none.
            Gone: It was deleted.
            JobInvalid: The new one can not run.
        """
        if not job:
            raise InvalidRequest(f"no data was provided to update job {job_id}")
        await self._present(job_id, "updated")
        checked = await self.checker.check(job)
        stored = await self.store.update_job(job_id, job)
        _log_warnings(job_id, checked)
        return _with_warnings(stored, checked)

    async def set_active(self, job_id: str, *, is_active: bool) -> Document:
        """Mark a job as active or not, and change nothing else.

        Raises:
            NotFound: There is none.
            Gone: It was deleted.
        """
        return await self.store.set_job_active(job_id, is_active=is_active)

    async def delete(self, job_id: str) -> Document:
        """Mark a job and its executions as deleted.

        Raises:
            Conflict: An execution of it has not ended.
            NotFound: There is none.
            Gone: It was deleted already.
        """
        return await self.store.delete_job(job_id)

    # --- runs -----------------------------------------------------------------------------------

    async def start(self, job_id: str) -> Document:
        """Run a job; with `autorecover` it goes on where its latest execution was.

        Raises:
            Conflict: An execution of it has not ended.
            NotFound: There is none.
            Gone: It was deleted.
            JobInvalid: It can not run (any more).
        """
        job = await self._startable(job_id, "started")
        checked = await self.checker.check(definition_of(job))
        latest = (await self.store.latest_executions([job_id])).get(job_id)
        if checked.job.get("autorecover") is True and latest is not None:
            return await self._run(job_id, checked, recovers=latest["ex_id"], cleanup="pending")
        return await self._run(job_id, checked)

    async def recover(self, job_id: str, cleanup: str) -> Document:
        """Run what is left of the latest execution, by the job as it is now.

        Args:
            job_id: The job.
            cleanup: `all`, `errors` or `pending` to end after such slices; empty to go on after all of them.

        Raises:
            Conflict: An execution of it has not ended.
            NotFound: There is no such job, or it never ran.
            Gone: It was deleted.
            JobInvalid: It can not run (any more).
        """
        job = await self._startable(job_id, "recovered")
        checked = await self.checker.check(definition_of(job))
        latest = (await self.store.latest_executions([job_id])).get(job_id)
        autorecovers = checked.job.get("autorecover") is True
        if latest is None and autorecovers:
            return await self._run(job_id, checked)
        if latest is None:
            raise NotFound(f"Job {job_id} is missing an execution to recover from")
        cleanup = cleanup or ("pending" if autorecovers else "")
        return await self._run(job_id, checked, recovers=latest["ex_id"], cleanup=cleanup)

    async def latest_execution(self, job_id: str) -> Document:
        """The last execution of a job, whatever became of it.

        Raises:
            NotFound: It never ran.
        """
        execution = with_present_stats(self.brain.machine, await self.store.latest_execution(job_id))
        return with_waiting_reason(execution, self.brain.machine)

    async def latest_ex_id(self, job_id: str) -> str:
        """Its id; see `latest_execution`."""
        return str((await self.store.latest_execution(job_id))["ex_id"])

    # --- helpers --------------------------------------------------------------------------------

    async def _present(self, job_id: str, verb: str) -> Document:
        job = await self.store.get_job(job_id)
        if job.get("_deleted"):
            raise Gone(f"Job {job_id} has been deleted and cannot be {verb}.")
        return job

    async def _startable(self, job_id: str, verb: str) -> Document:
        """The job, if it can run now; the store decides again when the execution is stored."""
        if self.brain.machine.active_of(job_id) is not None:
            raise Conflict(
                f"Job {job_id} is currently running, cannot have the same job concurrently running"
            )
        return await self._present(job_id, verb)

    async def _run(
        self,
        job_id: str,
        checked: ValidatedJob,
        *,
        job: Mapping[str, Any] | None = None,
        recovers: str | None = None,
        cleanup: str = "",
    ) -> Document:
        ex_id = str(uuid.uuid4())
        said = capacity_warning(self.brain.machine.capacity(), checked.job)
        if said is not None:
            checked = attrs.evolve(checked, warnings=(*checked.warnings, said))
        await self.brain.create(
            CreateExecution(
                ex_id=ex_id,
                job_id=job_id,
                document=execution_document(checked.job),
                job=job,
                recovered_execution=recovers,
                recovered_slice_type=cleanup or None,
            )
        )
        _log_warnings(job_id, checked, ex_id=ex_id)
        return _with_warnings({"job_id": job_id, "ex_id": ex_id}, checked)

    async def _with_executions(self, jobs: list[Document], ex_fields: Sequence[str] | None) -> list[Document]:
        if ex_fields is None or not jobs:
            return jobs
        latest = await self.store.latest_executions([job["job_id"] for job in jobs])
        return [job | {"ex": _fields_of(latest.get(job["job_id"]), ex_fields)} for job in jobs]


def execution_document(config: Mapping[str, Any]) -> Document:
    """What a new execution is made of: a checked job, or the document of an earlier execution."""
    return {**config, "metadata": {}, "teraslice_version": f"v{TERASLICE_VERSION}"}


def definition_of(job: Document) -> Document:
    """A stored job without the keys that the store adds."""
    added = {"job_id", "_context", "_created", "_updated", "_deleted", "_deleted_on"}
    return {key: value for key, value in job.items() if key not in added}


def _fields_of(execution: Document | None, fields: Sequence[str]) -> Document:
    if execution is None or execution.get("_deleted"):
        return {}
    return {key: value for key, value in execution.items() if not fields or key in fields}


def _log_warnings(job_id: str, checked: ValidatedJob, ex_id: str | None = None) -> None:
    """One line a job, however much there is to say."""
    if checked.warnings:
        texts = [text_of(each) for each in checked.warnings]
        name = checked.job["name"]
        log.warning("job.warned", job_id=job_id, ex_id=ex_id, name=name, warnings=texts[:LOGGED_MAX])


def _with_warnings(answer: Document, checked: ValidatedJob) -> Document:
    return answer | {"warnings": list(checked.warnings)} if checked.warnings else answer

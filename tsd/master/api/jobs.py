"""`/jobs`: the stored definitions, and what is told to their latest execution."""

from collections.abc import Callable
from typing import Any

from tsd.master.api import queries
from tsd.master.api.documents import (
    Controller,
    Execution,
    Ids,
    Job,
    JobBody,
    LogLevel,
    Message,
    Paused,
    Resumed,
    SliceError,
    Stopped,
)
from tsd.master.api.endpoint import Group
from tsd.master.api.listings import Listing
from tsd.master.executions import StopOptions
from tsd.master.lists import ListQuery
from tsd.master.service import MasterService

Document = dict[str, Any]

_JOBS = Group("Jobs")
_NO_JOB = {404: "there is no such job"}
_DELETED = {410: "the job was deleted"}
_NEVER_RAN = {404: "there is no such job, or it never ran"}
_NOT_RUNNING = {404: "there is no such job, it never ran, or its latest execution does not run"}
_UNREACHED = {500: "the controller is not connected, or does not confirm; or a fault of tsd"}
_RUNS_ALREADY = {409: "an execution of the job has not ended"}

# --- definitions --------------------------------------------------------------------------------


@_JOBS.declare(
    "POST",
    "/jobs",
    query={"starts": queries.STARTS},
    body=JobBody,
    answer=Ids,
    errors={422: "the job says its own `job_id`"},
)
async def submit_job(service: MasterService, *, starts: bool, body: Document) -> Document:
    """Store a job, and run it.

    A job is checked before it is stored; a fault is answered by 400 with every fault and its path.
    """
    return await service.jobs.submit(body, starts=starts)


@_JOBS.declare(
    "GET",
    "/jobs",
    query={
        "listing": queries.JOB_LISTING,
        "is_active": queries.ACTIVE,
        "is_deleted": queries.DELETED,
        "ex_fields": queries.EX_FIELDS,
    },
    answer=list[Job],
)
async def list_jobs(
    service: MasterService,
    *,
    listing: ListQuery,
    is_active: bool | None,
    is_deleted: bool,
    ex_fields: tuple[str, ...] | None,
) -> Listing:
    """List jobs."""
    found = await service.jobs.find(listing, is_active=is_active, is_deleted=is_deleted, ex_fields=ex_fields)
    return await Listing.of(found)


@_JOBS.declare("GET", "/jobs/<job_id>", query={"ex_fields": queries.EX_FIELDS}, answer=Job, errors=_NO_JOB)
async def get_job(service: MasterService, job_id: str, *, ex_fields: tuple[str, ...] | None) -> Document:
    """The job as it was posted, also when it is deleted."""
    return await service.jobs.get(job_id, ex_fields=ex_fields)


@_JOBS.declare("PUT", "/jobs/<job_id>", body=JobBody, answer=Job, errors=_NO_JOB | _DELETED)
async def update_job(service: MasterService, job_id: str, *, body: Document) -> Document:
    """Replace a job.

    A run goes on as it was.
    """
    return await service.jobs.update(job_id, body)


@_JOBS.declare("DELETE", "/jobs/<job_id>", answer=Job, errors=_NO_JOB | _DELETED | _RUNS_ALREADY)
async def delete_job(service: MasterService, job_id: str) -> Document:
    """Mark a job and its executions as deleted."""
    return await service.jobs.delete(job_id)


@_JOBS.declare("POST", "/jobs/<job_id>/_active", answer=Job, errors=_NO_JOB | _DELETED)
async def activate_job(service: MasterService, job_id: str) -> Document:
    """Mark a job as active."""
    return await service.jobs.set_active(job_id, is_active=True)


@_JOBS.declare("POST", "/jobs/<job_id>/_inactive", answer=Job, errors=_NO_JOB | _DELETED)
async def deactivate_job(service: MasterService, job_id: str) -> Document:
    """Mark a job as not active."""
    return await service.jobs.set_active(job_id, is_active=False)


# --- runs ---------------------------------------------------------------------------------------


@_JOBS.declare("POST", "/jobs/<job_id>/_start", answer=Ids, errors=_NO_JOB | _DELETED | _RUNS_ALREADY)
async def start_job(service: MasterService, job_id: str) -> Document:
    """Run a job.

    With `autorecover` it goes on where its latest execution was.
    """
    return await service.jobs.start(job_id)


@_JOBS.declare(
    "POST",
    "/jobs/<job_id>/_recover",
    query={"cleanup": queries.CLEANUP},
    answer=Ids,
    errors=_NEVER_RAN | _DELETED | _RUNS_ALREADY,
)
async def recover_job(service: MasterService, job_id: str, *, cleanup: str) -> Document:
    """Run what is left of the latest execution, by the job as it is now."""
    return await service.jobs.recover(job_id, cleanup)


@_JOBS.declare("GET", "/jobs/<job_id>/ex", answer=Execution, errors=_NEVER_RAN)
async def latest_execution(service: MasterService, job_id: str) -> Document:
    """The latest execution of a job."""
    return await service.jobs.latest_execution(job_id)


@_JOBS.declare(
    "GET",
    "/jobs/<job_id>/errors",
    query={"listing": queries.ERROR_LISTING},
    answer=list[SliceError],
    errors=_NEVER_RAN,
)
async def job_errors(service: MasterService, job_id: str, *, listing: ListQuery) -> Listing:
    """Slices in error of all executions of a job."""
    await service.jobs.latest_ex_id(job_id)
    return await Listing.of(await service.executions.errors(listing, job_id=job_id))


@_JOBS.declare("GET", "/jobs/<job_id>/controller", answer=list[Controller], errors=_NOT_RUNNING)
async def job_controller(service: MasterService, job_id: str) -> list[Document]:
    """The counters of the latest execution, in a list."""
    return [service.cluster.controller(await service.jobs.latest_ex_id(job_id))]


# --- verbs --------------------------------------------------------------------------------------


@_JOBS.declare(
    "POST",
    "/jobs/<job_id>/_stop",
    query={"options": queries.STOP_OPTIONS},
    answer=Stopped,
    errors=_NEVER_RAN,
)
async def stop_job(service: MasterService, job_id: str, *, options: StopOptions) -> Document:
    """End the latest execution; one that has ended already stays as it is."""
    return await service.executions.stop(await service.jobs.latest_ex_id(job_id), options)


@_JOBS.declare("POST", "/jobs/<job_id>/_pause", answer=Paused, errors=_NOT_RUNNING | _UNREACHED)
async def pause_job(service: MasterService, job_id: str) -> Document:
    """Hand out no more slices of the latest execution."""
    return await service.executions.pause(await service.jobs.latest_ex_id(job_id))


@_JOBS.declare("POST", "/jobs/<job_id>/_resume", answer=Resumed, errors=_NOT_RUNNING | _UNREACHED)
async def resume_job(service: MasterService, job_id: str) -> Document:
    """Hand out slices of the latest execution again."""
    return await service.executions.resume(await service.jobs.latest_ex_id(job_id))


@_JOBS.declare(
    "POST",
    "/jobs/<job_id>/_workers",
    query={"change": queries.WORKERS.late()},
    answer=Message,
    errors=_NOT_RUNNING,
)
async def change_job_workers(
    service: MasterService, job_id: str, *, change: Callable[[], tuple[str, int]]
) -> Document:
    """Change the wanted number of workers of the latest execution."""
    ex_id = await service.jobs.latest_ex_id(job_id)
    return await service.executions.change_workers(ex_id, *change())


@_JOBS.declare(
    "POST",
    "/jobs/<job_id>/_settings",
    query={"log_level": queries.LOG_LEVEL.late()},
    answer=LogLevel,
    errors=_NOT_RUNNING,
)
async def change_job_settings(
    service: MasterService, job_id: str, *, log_level: Callable[[], str]
) -> Document:
    """Change the log level of the processes of the latest execution."""
    ex_id = await service.jobs.latest_ex_id(job_id)
    return await service.executions.set_log_level(ex_id, log_level())


ENDPOINTS = (
    submit_job,
    list_jobs,
    get_job,
    update_job,
    delete_job,
    activate_job,
    deactivate_job,
    start_job,
    recover_job,
    latest_execution,
    job_errors,
    job_controller,
    stop_job,
    pause_job,
    resume_job,
    change_job_workers,
    change_job_settings,
)

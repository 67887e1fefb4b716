"""`/ex`: the runs of jobs."""

from typing import Any

from tsd.master.api import queries
from tsd.master.api.documents import (
    Controller,
    Execution,
    Ids,
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

_EXECUTIONS = Group("Executions")
_NO_EXECUTION = {404: "there is no such execution"}
_NOT_RUNNING = {404: "there is no such execution, or it does not run"}
_UNREACHED = {500: "the controller is not connected, or does not confirm; or a fault of tsd"}

# --- reads --------------------------------------------------------------------------------------


@_EXECUTIONS.declare(
    "GET",
    "/ex",
    query={"listing": queries.EXECUTION_LISTING, "statuses": queries.STATUSES, "is_deleted": queries.DELETED},
    answer=list[Execution],
)
async def list_executions(
    service: MasterService, *, listing: ListQuery, statuses: tuple[str, ...], is_deleted: bool
) -> Listing:
    """List executions."""
    return await Listing.of(await service.executions.find(listing, statuses=statuses, is_deleted=is_deleted))


@_EXECUTIONS.declare("GET", "/ex/errors", query={"listing": queries.ERROR_LISTING}, answer=list[SliceError])
async def all_errors(service: MasterService, *, listing: ListQuery) -> Listing:
    """Slices in error of all executions."""
    return await Listing.of(await service.executions.errors(listing))


@_EXECUTIONS.declare("GET", "/ex/<ex_id>", answer=Execution, errors=_NO_EXECUTION)
async def get_execution(service: MasterService, ex_id: str) -> Document:
    """The execution: the job with all defaults, and what became of it."""
    return await service.executions.get(ex_id)


@_EXECUTIONS.declare(
    "GET", "/ex/<ex_id>/errors", query={"listing": queries.ERROR_LISTING}, answer=list[SliceError]
)
async def execution_errors(service: MasterService, ex_id: str, *, listing: ListQuery) -> Listing:
    """Slices in error of an execution; one that there is not has none."""
    return await Listing.of(await service.executions.errors(listing, ex_id=ex_id))


@_EXECUTIONS.declare("GET", "/ex/<ex_id>/controller", answer=list[Controller], errors=_NOT_RUNNING)
async def execution_controller(service: MasterService, ex_id: str) -> list[Document]:
    """The counters of an execution, in a list."""
    return [service.cluster.controller(ex_id)]


# --- verbs --------------------------------------------------------------------------------------


@_EXECUTIONS.declare(
    "POST",
    "/ex/<ex_id>/_stop",
    query={"options": queries.STOP_OPTIONS},
    answer=Stopped,
    errors=_NO_EXECUTION,
)
async def stop_execution(service: MasterService, ex_id: str, *, options: StopOptions) -> Document:
    """End an execution; one that has ended already stays as it is."""
    return await service.executions.stop(ex_id, options)


@_EXECUTIONS.declare("POST", "/ex/<ex_id>/_pause", answer=Paused, errors=_NOT_RUNNING | _UNREACHED)
async def pause_execution(service: MasterService, ex_id: str) -> Document:
    """Hand out no more slices."""
    return await service.executions.pause(ex_id)


@_EXECUTIONS.declare("POST", "/ex/<ex_id>/_resume", answer=Resumed, errors=_NOT_RUNNING | _UNREACHED)
async def resume_execution(service: MasterService, ex_id: str) -> Document:
    """Hand out slices again."""
    return await service.executions.resume(ex_id)


@_EXECUTIONS.declare(
    "POST",
    "/ex/<ex_id>/_recover",
    query={"cleanup": queries.CLEANUP},
    answer=Ids,
    errors=_NO_EXECUTION | {409: "an execution of its job has not ended", 410: "its job was deleted"},
)
async def recover_execution(service: MasterService, ex_id: str, *, cleanup: str) -> Document:
    """Run what is left of an execution, with the configuration that it had."""
    return await service.executions.recover(ex_id, cleanup)


@_EXECUTIONS.declare(
    "POST", "/ex/<ex_id>/_workers", query={"change": queries.WORKERS}, answer=Message, errors=_NOT_RUNNING
)
async def change_workers(service: MasterService, ex_id: str, *, change: tuple[str, int]) -> Document:
    """Change the wanted number of workers, which is kept."""
    return await service.executions.change_workers(ex_id, *change)


ENDPOINTS = (
    list_executions,
    all_errors,
    get_execution,
    execution_errors,
    execution_controller,
    stop_execution,
    pause_execution,
    resume_execution,
    recover_execution,
    change_workers,
)

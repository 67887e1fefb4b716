"""Dead letters: records that operations could not take."""

from collections.abc import Mapping
from typing import Any, Final

from tsd.master.api import queries
from tsd.master.api.documents import DeadLetter, Deleted, ReplayStarted
from tsd.master.api.endpoint import Group, Query
from tsd.master.api.listings import Listing
from tsd.master.lists import ListQuery
from tsd.master.service import MasterService
from tsd.store.letters import Whose

Document = dict[str, Any]

_LETTERS = Group("Dead letters")
_NO_JOB = {404: "there is no such job"}
_NO_EXECUTION = {404: "there is no such execution"}
_LISTING = {"listing": queries.LETTER_LISTING}
_FILTER = {"filter_text": queries.LETTER_FILTER}
_REPLAY: Final[Mapping[str, Query[Any]]] = {**_FILTER, "again": queries.AGAIN}
_NOT_REPLAYED = {
    404: "there is no such {0}, or none of its dead letters can be replayed",
    409: "an operation of the job is not the one that rejected the records",
    410: "the job was deleted",
}


@_LETTERS.declare("GET", "/dead_letters", query=_LISTING, answer=list[DeadLetter])
async def all_dead_letters(service: MasterService, *, listing: ListQuery) -> Listing:
    """Dead letters of all executions."""
    return await Listing.of(await service.letters.find(listing, Whose()))


@_LETTERS.declare("GET", "/ex/<ex_id>/dead_letters", query=_LISTING, answer=list[DeadLetter])
async def execution_dead_letters(service: MasterService, ex_id: str, *, listing: ListQuery) -> Listing:
    """Dead letters of an execution; one that there is not has none."""
    return await Listing.of(await service.letters.find(listing, Whose(ex_id=ex_id)))


@_LETTERS.declare(
    "GET", "/jobs/<job_id>/dead_letters", query=_LISTING, answer=list[DeadLetter], errors=_NO_JOB
)
async def job_dead_letters(service: MasterService, job_id: str, *, listing: ListQuery) -> Listing:
    """Dead letters of all executions of a job."""
    await service.jobs.get(job_id)
    return await Listing.of(await service.letters.find(listing, Whose(job_id=job_id)))


@_LETTERS.declare("DELETE", "/ex/<ex_id>/dead_letters", query=_FILTER, answer=Deleted, errors=_NO_EXECUTION)
async def delete_execution_dead_letters(service: MasterService, ex_id: str, *, filter_text: str) -> Document:
    """Delete dead letters of an execution."""
    return await service.letters.delete(Whose(ex_id=ex_id), filter_text)


@_LETTERS.declare("DELETE", "/jobs/<job_id>/dead_letters", query=_FILTER, answer=Deleted, errors=_NO_JOB)
async def delete_job_dead_letters(service: MasterService, job_id: str, *, filter_text: str) -> Document:
    """Delete dead letters of all executions of a job."""
    return await service.letters.delete(Whose(job_id=job_id), filter_text)


@_LETTERS.declare(
    "POST",
    "/ex/<ex_id>/dead_letters/_replay",
    query=_REPLAY,
    answer=ReplayStarted,
    errors=_NOT_REPLAYED | {404: _NOT_REPLAYED[404].format("execution")},
)
async def replay_execution_dead_letters(
    service: MasterService, ex_id: str, *, filter_text: str, again: bool
) -> Document:
    """Run the records of dead letters of an execution again, in a new job.

    The new job is the job of the execution as it is now, with another reader. Each record enters at the
    operation that rejected it.
    """
    return await service.letters.replay(Whose(ex_id=ex_id), filter_text, again=again)


@_LETTERS.declare(
    "POST",
    "/jobs/<job_id>/dead_letters/_replay",
    query=_REPLAY,
    answer=ReplayStarted,
    errors=_NOT_REPLAYED | {404: _NOT_REPLAYED[404].format("job")},
)
async def replay_job_dead_letters(
    service: MasterService, job_id: str, *, filter_text: str, again: bool
) -> Document:
    """Run the records of dead letters of all executions of a job again, in a new job.

    The new job is the job as it is now, with another reader. Each record enters at the operation that
    rejected it.
    """
    return await service.letters.replay(Whose(job_id=job_id), filter_text, again=again)


ENDPOINTS = (
    all_dead_letters,
    execution_dead_letters,
    job_dead_letters,
    delete_execution_dead_letters,
    delete_job_dead_letters,
    replay_execution_dead_letters,
    replay_job_dead_letters,
)

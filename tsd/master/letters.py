"""What can be done with dead letters."""

import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from tsd.core.letters import REPLAY_READER, REREAD_OPTION, is_reread
from tsd.errors import Gone
from tsd.master.brain import Brain
from tsd.master.jobs import definition_of, execution_document
from tsd.master.lists import ListQuery
from tsd.master.validation import JobChecker
from tsd.store.executions import CreateExecution
from tsd.store.fields import LETTER_FIELDS
from tsd.store.letters import DeleteLetters, Whose
from tsd.store.listing import Page
from tsd.store.replay import Replay, Replayed
from tsd.store.store import Store

Document = dict[str, Any]

NAME_PREFIX = "replay of "
_COMMON_OPTIONS = ("_dead_letter_action",)
"""Of the reader of a job, what the reader of its replays has too."""


@attrs.frozen(eq=False, kw_only=True)
class LetterService:
    """Use cases of dead letters; documents are as clients see them."""

    store: Store
    brain: Brain
    checker: JobChecker

    async def find(self, query: ListQuery, whose: Whose) -> list[Document]:
        """Letters; an execution that there is not has none."""
        return await self.store.list_letters(query.page(LETTER_FIELDS), whose)

    async def delete(self, whose: Whose, filter_text: str) -> Document:
        """Delete letters, all or those that a filter means.

        Raises:
            NotFound: There is no such execution or job.
            InvalidRequest: The filter is none.
        """
        request = DeleteLetters(whose=whose, where=_page(filter_text).where)
        return {"deleted": await self.store.delete_letters(request)}

    async def replay(self, whose: Whose, filter_text: str, *, again: bool) -> Document:
        """Run records again, in a new job that is made of the job as it is now.

        Args:
            whose: Letters of a job, or of an execution.
            filter_text: Only those that it means; empty for all.
            again: Also those that were replayed before.

        Raises:
            NotFound: There is no such job or execution, or nothing to replay.
            Gone: The job was deleted.
            Conflict: An operation of the job is not the one that rejected the records.
            InvalidRequest: The filter is none.
            JobInvalid: The job can not run (any more).
        """
        where = _page(filter_text).where
        job_id = whose.job_id or str((await self.store.get_execution(whose.ex_id or ""))["job_id"])
        job = await self.store.get_job(job_id)
        if job.get("_deleted"):
            raise Gone(f"Job {job_id} has been deleted and its dead letters cannot be replayed.")
        posted = replay_job(definition_of(job))
        checked = await self.checker.check(posted)
        create = CreateExecution(
            ex_id=str(uuid.uuid4()),
            job_id=str(uuid.uuid4()),
            document=execution_document(checked.job),
            job=posted,
        )
        made = await self.brain.create(Replay(create=create, whose=whose, where=where, again=again))
        assert isinstance(made, Replayed)
        return {
            "job_id": create.job_id,
            "ex_id": create.ex_id,
            "letters": made.letters,
            "skipped": dict(made.skipped),
        }


def replay_job(job: Mapping[str, Any]) -> Document:
    """The job that replays letters of a job: the same chain behind another reader, once.

    Args:
        job: As posted.
    """
    name = str(job.get("name", ""))
    operations = [dict(entry) for entry in job["operations"]]
    first = operations[0]
    options = {key: first[key] for key in _COMMON_OPTIONS if key in first}
    reader = first.get(REREAD_OPTION) if first.get("_op") == REPLAY_READER else first
    if isinstance(reader, Mapping) and is_reread(reader):
        options[REREAD_OPTION] = dict(reader)
    operations[0] = {"_op": REPLAY_READER, **options}
    return {
        **job,
        "name": name if name.startswith(NAME_PREFIX) else f"{NAME_PREFIX}{name}",
        "lifecycle": "once",
        "slicers": 1,
        "autorecover": False,
        "operations": operations,
    }


def _page(filter_text: str) -> Page:
    return ListQuery(filter_text=filter_text).page(LETTER_FIELDS)

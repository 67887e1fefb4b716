"""Jobs in the store: what is written, what is read."""

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
from sqlalchemy import Connection, RowMapping, Update, exists, insert, select, update

from tsd.errors import Conflict, Gone, NotFound
from tsd.store import schema
from tsd.store.documents import Document, active_flag, shown_job, stored_job
from tsd.store.fields import JOB_FIELDS, order_by
from tsd.store.listing import Page, cut, fetch
from tsd.store.schema import executions, jobs, unended
from tsd.store.words import stored_words


@attrs.frozen(kw_only=True)
class CreateJob:
    """Store a job as posted; the result is the job as clients see it."""

    job_id: str
    document: Mapping[str, Any]
    is_held: ClassVar[bool] = False

    def apply(self, connection: Connection, now_ms: int) -> Document:
        """See `Write`.

        Raises:
            InvalidRequest: The document is not JSON.
        """
        connection.execute(
            insert(jobs).values(
                job_id=self.job_id,
                created=now_ms,
                updated=now_ms,
                active=active_flag(self.document),
                deleted=0,
                document=stored_job(self.document),
                name_words=stored_words(self.document.get("name")),
            )
        )
        return get_job(connection, job_id=self.job_id)


@attrs.frozen(kw_only=True)
class UpdateJob:
    """Replace the document of a job; only the time of its creation stays."""

    job_id: str
    document: Mapping[str, Any]
    is_held: ClassVar[bool] = False

    def apply(self, connection: Connection, now_ms: int) -> Document:
        """See `Write`.

        Raises:
            NotFound: There is no such job.
            Gone: It was deleted.
            InvalidRequest: The document is not JSON.
        """
        job = _update(connection, self.job_id, now_ms)
        connection.execute(
            job.values(
                active=active_flag(self.document),
                document=stored_job(self.document),
                name_words=stored_words(self.document.get("name")),
            )
        )
        return get_job(connection, job_id=self.job_id)


@attrs.frozen(kw_only=True)
class SetJobActive:
    """Mark a job as active or not."""

    job_id: str
    is_active: bool
    is_held: ClassVar[bool] = False

    def apply(self, connection: Connection, now_ms: int) -> Document:
        """See `Write`.

        Raises:
            NotFound: There is no such job.
            Gone: It was deleted.
        """
        job = _update(connection, self.job_id, now_ms)
        connection.execute(job.values(active=int(self.is_active)))
        return get_job(connection, job_id=self.job_id)


@attrs.frozen(kw_only=True)
class DeleteJob:
    """Mark a job and all of its executions as deleted; they stay readable."""

    job_id: str
    is_held: ClassVar[bool] = False

    def apply(self, connection: Connection, now_ms: int) -> Document:
        """See `Write`.

        Raises:
            Conflict: An execution of it has not ended.
            NotFound: There is no such job.
            Gone: It was deleted already.
        """
        if is_running(connection, self.job_id):
            raise Conflict(f"Job {self.job_id} is currently running, cannot delete a running job.")
        if _row(connection, self.job_id)["deleted"]:
            raise Gone(f"Job {self.job_id} has already been deleted.")
        mark = {"deleted": 1, "deleted_on": now_ms, "updated": now_ms}
        connection.execute(update(executions).where(executions.c.job_id == self.job_id).values(mark))
        connection.execute(update(jobs).where(jobs.c.job_id == self.job_id).values(mark | {"active": 0}))
        return get_job(connection, job_id=self.job_id)


def is_running(connection: Connection, job_id: str) -> bool:
    """Whether an execution of the job has not ended."""
    found = select(exists().where(executions.c.job_id == job_id, unended))
    return bool(connection.execute(found).scalar_one())


def check_startable(connection: Connection, job_id: str, *, verb: str) -> None:
    """Refuse to run a job that runs, is not there or was deleted.

    Args:
        connection: In a transaction.
        job_id: The job.
        verb: What can not be done with it, such as `started`.

    Raises:
        Conflict: An execution of it has not ended.
        NotFound: There is no such job.
        Gone: It was deleted.
    """
    if is_running(connection, job_id):
        raise Conflict(f"Job {job_id} is currently running, cannot have the same job concurrently running")
    if _row(connection, job_id)["deleted"]:
        raise Gone(f"Job {job_id} has been deleted and cannot be {verb}.")


def get_job(connection: Connection, *, job_id: str) -> Document:
    """A job as clients see it, deleted or not.

    Raises:
        NotFound: There is no such job.
    """
    return shown_job(_row(connection, job_id))


def list_jobs(
    connection: Connection, *, page: Page, is_deleted: bool = False, is_active: bool | None = None
) -> list[Document]:
    """Jobs as clients see them.

    Args:
        connection: In a transaction.
        page: Which of them.
        is_deleted: Deleted ones only, else those that are not.
        is_active: None for all; a job that does not say is active.

    Raises:
        InvalidRequest: The page can not be had.
    """
    statement = select(jobs).where(jobs.c.deleted == int(is_deleted))
    if is_active is not None:
        statement = statement.where(schema.is_active == int(is_active))
    statement = cut(statement, page).order_by(*order_by(page.sort, JOB_FIELDS, jobs.c.job_no))
    return [shown_job(row) for row in fetch(connection, statement)]


def _update(connection: Connection, job_id: str, now_ms: int) -> Update:
    """The beginning of a change of a job that can be changed."""
    row = _row(connection, job_id)
    if row["deleted"]:
        raise Gone(f"Job {job_id} has been deleted and cannot be updated.")
    # Clients see by the time that something changed, also when the clock stood still.
    return update(jobs).where(jobs.c.job_id == job_id).values(updated=max(now_ms, row["updated"] + 1))


def _row(connection: Connection, job_id: str) -> RowMapping:
    row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"Unable to find job {job_id}")
    return row

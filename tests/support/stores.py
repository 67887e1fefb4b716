"""Stores with something in them, for tests."""

import contextlib
import os
import tempfile
from pathlib import Path

from sqlalchemy import func, select

from tsd.core.cluster.events import SaveGeneration, SaveStatus
from tsd.core.messages import RecordBatch
from tsd.core.records import SliceState, Status
from tsd.store import sqlite
from tsd.store.executions import CreateExecution
from tsd.store.migrate import bring_up_to_date
from tsd.store.schema import executions, slices
from tsd.store.store import DATABASE_NAME
from tsd.store.transactions import transact

PENDING, START, COMPLETED, ERROR = (state.value for state in SliceState)
POSTED = {"name": "words", "operations": [{"_op": "reader"}, {"_op": "noop"}], "workers": "3"}


def new_execution(ex_id="e1", job_id="j1", *, job=POSTED, **kwargs):
    document = kwargs.pop("document", {"name": "words", "workers": 3, "slicers": 2})
    return CreateExecution(ex_id=ex_id, job_id=job_id, job=job, document=document, **kwargs)


def status_save(ex_id, expected, status, **kwargs):
    return SaveStatus(ex_id=ex_id, expected=Status(expected), status=Status(status), **kwargs)


def generation_save(ex_id, generation, node="n1"):
    return SaveGeneration(ex_id=ex_id, generation=generation, controller_node=node)


def slice_row(order, state=COMPLETED, *, slicer_id=0, source=0, updated=2000, **kwargs):
    request = kwargs.get("request", f'{{"at":{order}}}')
    details = (
        kwargs.get("retry_count", 0),
        kwargs.get("error"),
        kwargs.get("slice_id"),
        kwargs.get("analytics"),
    )
    return (source, slicer_id, order, state, 1000, updated, request, *details)


def batch_of(rows, ex_id="e1", *, generation=1, sources=None):
    return RecordBatch(
        ex_id=ex_id, generation=generation, seq=1, sources=sources or (ex_id,), rows=list(rows)
    )


async def add_execution(store, ex_id="e1", job_id="j1", **kwargs):
    """An execution whose controller has generation 1."""
    created = await store.create_execution(new_execution(ex_id, job_id, **kwargs))
    await store.apply_saves([generation_save(ex_id, 1)])
    return created


async def end_execution(store, ex_id="e1"):
    status = (await store.get_execution(ex_id))["_status"]
    await store.apply_saves([status_save(ex_id, status, "failed")])


async def stored_states(store, ex_id="e1"):
    """(slicer_id, slicer_order) to state of all records of an execution."""

    def read(connection):
        statement = (
            select(slices.c.slicer_id, slices.c.slicer_order, slices.c.state)
            .join(executions, executions.c.ex_no == slices.c.ex_no)
            .where(executions.c.ex_id == ex_id)
        )
        return {(slicer, order): state for slicer, order, state in connection.execute(statement)}

    return await store.read(read)


async def record_count(store):
    return await store.read(
        lambda connection: connection.execute(select(func.count(slices.c.ex_no))).scalar_one()
    )


@contextlib.contextmanager
def connected(data_dir: Path):
    """A writing connection without the store around it."""
    engine = sqlite.writing_engine(data_dir / DATABASE_NAME)
    try:
        bring_up_to_date(engine)
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def do(connection, *requests, now_ms=5000):
    """Run requests in one transaction; returns their results, raises the first refusal."""
    outcomes = transact(connection, requests, now_ms=now_ms, is_probe=False)
    for _, error in outcomes:
        if error is not None:
            raise error
    return [result for result, _ in outcomes]


def open_to_others(folder):
    """Let other users into a folder below the temporary one; pytest-xdist puts it a level deeper."""
    for path in (folder, *folder.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o755)


@contextlib.contextmanager
def unprivileged():
    """As a user to whom file permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)

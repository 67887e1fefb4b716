"""Lists stay fast: pages come from an index in their order, or end after some seconds."""

import json
import sqlite3
from contextlib import closing
from functools import partial

import pytest
from sqlalchemy import event, text

from tests.support.stores import ERROR, add_execution, batch_of, connected, slice_row
from tsd.errors import InvalidRequest
from tsd.ids import slice_id
from tsd.store import sqlite
from tsd.store.executions import latest_executions, list_executions
from tsd.store.fields import ERROR_FIELDS, EXECUTION_FIELDS, JOB_FIELDS
from tsd.store.filters import condition_of
from tsd.store.jobs import list_jobs
from tsd.store.listing import Page, fetch
from tsd.store.migrate import bring_up_to_date, upgrade
from tsd.store.records import list_errors


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    with connected(tmp_path_factory.mktemp("lists")) as opened:
        yield opened


def plan_of(connection, read):
    """How SQLite would find what a function reads."""
    statements = []

    def note(_connection, _cursor, statement, parameters, _context, _is_many):
        statements.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    try:
        read(connection)
    finally:
        event.remove(connection, "before_cursor_execute", note)
    (statement, parameters) = statements[-1]
    rows = connection.connection.driver_connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)
    return "\n".join(row[3] for row in rows)


def ex(sort="_updated:desc", text="", **kwargs):
    where = condition_of(text, EXECUTION_FIELDS, now_ms=0, sort=sort) if text else None
    return partial(list_executions, page=Page(sort=sort, where=where), **kwargs)


def job(sort="_updated:desc", text="", **kwargs):
    where = condition_of(text, JOB_FIELDS, now_ms=0, sort=sort) if text else None
    return partial(list_jobs, page=Page(sort=sort, where=where), **kwargs)


def errors(sort="_updated:desc", text="", **kwargs):
    where = condition_of(text, ERROR_FIELDS, now_ms=0, sort=sort) if text else None
    return partial(list_errors, page=Page(sort=sort, where=where), **kwargs)


SORTS = {
    "_updated": "updated",
    "_created": "created",
    "job_id": "job_id",
    "ex_id": "id",
    "_status": "status",
    "lifecycle": "lifecycle",
    "slicers": "slicers",
    "workers": "workers",
}


@pytest.mark.parametrize(
    ("read", "index"),
    [
        *(
            (ex(f"{sort}:{way}"), f"executions_{name}")
            for sort, name in SORTS.items()
            for way in ("asc", "desc")
        ),
        (ex(is_deleted=True), "executions_updated"),
        (ex(statuses=["running"]), "executions_status_updated"),
        (ex("_created", statuses=["running"]), "executions_status_created"),
        (ex(statuses=["running", "failed"]), "executions_updated"),
        (ex(job_id="j1"), "executions_job_updated"),
        (ex(text="_status:running"), "executions_status_updated"),
        (ex("_created", "_status:running"), "executions_status_created"),
        (ex(text='job_id:"j1"'), "executions_job_updated"),
        (ex("_created", 'job_id:"j1"'), "executions_job_created"),
        (ex(text="job_id:j1 AND _status:failed"), "executions_"),
        (ex(text="ex_id:e1"), "sqlite_autoindex_executions_1"),
        (ex(text="_status:fail*"), "executions_updated"),
        (ex(text="ex_id:a*"), "executions_updated"),
        (ex(text="_created:>2026"), "executions_updated"),
        (ex("_created:desc", "_created:>2026"), "executions_created (deleted=? AND created>?)"),
        (ex("workers", "workers:>=2"), "executions_workers (deleted=? AND <expr>>?)"),
        (ex(text="workers:>=2 AND lifecycle:once"), "executions_updated"),
        (ex(text="name:nightly"), "executions_updated"),
        (ex(text="-_status:failed"), "executions_updated"),
        (job(), "jobs_updated"),
        (job("_created"), "jobs_created"),
        (job("job_id"), "jobs_id"),
        (job("lifecycle"), "jobs_lifecycle"),
        (job("slicers"), "jobs_slicers"),
        (job("workers"), "jobs_workers"),
        (job(is_deleted=True), "jobs_updated"),
        (job(is_active=True), "jobs_active_updated"),
        (job(is_active=False), "jobs_active_updated"),
        (job("_created", is_active=False), "jobs_active_created"),
        (job(text="job_id:j1"), "sqlite_autoindex_jobs_1"),
        (job(text="workers:>=2 AND lifecycle:once"), "jobs_updated"),
        (partial(latest_executions, job_ids=["j1", "j2"]), "COVERING INDEX executions_job (job_id=?)"),
        (errors(), "slices_errors (state=?)"),
        (errors(ex_ids=["e1"]), "slices_errors_updated (ex_no=?)"),
        (errors(text="ex_id:e1"), "slices_errors_updated (ex_no=?)"),
        (errors("slicer_order:asc", ex_ids=["e1"]), "slices_errors_slicer_order (ex_no=?)"),
    ],
)
def test_a_page_comes_from_an_index_in_its_order(connection, read, index):
    plan = plan_of(connection, read)

    assert index in plan
    assert "TEMP B-TREE" not in plan
    assert "SCAN" not in plan


def test_an_id_is_found_by_its_beginning(connection):
    assert "(deleted=? AND ex_id>? AND ex_id<?)" in plan_of(connection, ex(text="ex_id:93ada378*"))


def test_the_errors_of_a_job_are_found_by_its_executions(connection):
    plan = plan_of(connection, errors(job_id="j1"))

    assert "executions_job (job_id=?)" in plan
    assert "(ex_no=?)" in plan


def test_a_completed_slice_is_in_no_index(connection):
    rows = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'slices'"
    )
    conditions = {sql.partition(" WHERE ")[2] for (sql,) in rows if sql}

    assert conditions == {"state != 2", "state = 3"}


def test_a_page_that_takes_too_long_is_given_up(connection):
    endless = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000000) SELECT sum(i) FROM n"
    )

    with pytest.raises(InvalidRequest, match=r"takes longer than 0\.05 s: filter by an id"):
        fetch(connection, endless, within_s=0.05)

    assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1


async def test_pages_of_errors_that_ended_together_never_overlap(store):
    for number in (1, 2):
        await add_execution(store, f"e{number}", f"j{number}")
        rows = [slice_row(order, ERROR, slicer_id=slicer) for slicer in (0, 1) for order in range(3)]
        await store.store_records(batch_of(rows, f"e{number}"))

    pages = [await store.list_errors(Page(size=5, start=start)) for start in range(0, 12, 5)]
    seen = [(one["ex_id"], one["slicer_id"], one["slicer_order"]) for page in pages for one in page]

    assert len(set(seen)) == len(seen) == 12


def test_texts_of_an_older_store_are_searched_too(tmp_path):
    path = tmp_path / "store.db"
    engine = sqlite.writing_engine(path)
    upgrade(engine, to="0001")
    with closing(sqlite3.connect(path)) as old:
        for number, name in enumerate(["Nightly Größe", None, 5]):
            document = json.dumps({"name": name} if name is not None else {})
            old.execute(
                "INSERT INTO jobs (job_id, created, updated, deleted, document) VALUES (?, 1, 1, 0, ?)",
                (f"j{number}", document),
            )
            old.execute(
                "INSERT INTO executions (ex_id, job_id, status, generation, intent, created, updated, has_errors,"
                " failure_reason, slicer_stats, deleted, document)"
                " VALUES (?, ?, 'failed', 0, '{}', 1, 1, 0, 'Out of MEMORY', '{}', 0, ?)",
                (f"e{number}", f"j{number}", document),
            )
        old.execute(
            "INSERT INTO slices (ex_no, slicer_id, slicer_order, state, created, updated, request, retry_count)"
            " VALUES (1, 0, 7, 3, 1, 1, '{}', 0), (1, 0, 8, 2, 1, 1, '{}', 0)"
        )
        old.commit()

    bring_up_to_date(engine)
    with engine.connect() as connection:
        found_jobs = job(text="name:größe")(connection)
        found_errors = errors(text=f"slice_id:{slice_id('e0', 0, 7)}")(connection)
        found = ex(text='name:nightly AND _failureReason:"of memory"')(connection)
    engine.dispose()

    assert [one["job_id"] for one in found_jobs] == ["j0"]
    assert [one["ex_id"] for one in found] == ["e0"]
    assert [one["slicer_order"] for one in found_errors] == [7]

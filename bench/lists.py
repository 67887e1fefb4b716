"""Milliseconds a page of a list takes in a small store and in a large one, and their ratio.

The stores are filled directly, with as many jobs, executions and slices in error as `--sizes` says. Half
of the executions and half of the errors belong to one job and one execution, a tenth is deleted, and ten
executions are `rejected` in either store. Pages have ten rows: what is measured is how they are found.

    python -m bench.lists --sizes 100 100000
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, insert

from bench.up import machine
from tsd.core.records import SliceState
from tsd.store import sqlite
from tsd.store.executions import latest_executions, list_executions
from tsd.store.fields import ERROR_FIELDS, EXECUTION_FIELDS, JOB_FIELDS
from tsd.store.filters import condition_of
from tsd.store.jobs import list_jobs
from tsd.store.listing import Page
from tsd.store.migrate import bring_up_to_date
from tsd.store.records import list_errors
from tsd.store.schema import executions, jobs, slices
from tsd.store.words import stored_words

FIRST_MS = 1_767_225_600_000
"""2026-01-01; each row is a minute later than the one before."""
ROWS = 10
BATCH = 5_000
STATUSES = ("completed", "completed", "completed", "completed", "completed", "failed", "stopped", "running")

Read = Callable[[Connection], list]


def fill(connection: Connection, count: int) -> None:
    connection.exec_driver_sql(sqlite.BEGIN_WRITING)
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        connection.execute(insert(jobs), [_job(number) for number in numbers])
        connection.execute(insert(executions), [_execution(number, count) for number in numbers])
        connection.execute(insert(slices), [_error(number) for number in numbers])
    connection.exec_driver_sql("COMMIT")


def _common(number: int) -> dict:
    document = {
        "name": f"job number {number}",
        "lifecycle": "once" if number % 3 else "persistent",
        "workers": number % 7 + 1,
        "slicers": number % 2 + 1,
        "assets": ["standard"],
        "operations": [{"_op": "data_generator", "size": 1000}, {"_op": "noop", "padding": "x" * 800}],
    }
    at = FIRST_MS + 60_000 * number
    return {
        "created": at,
        # Not in the order of creation, as in life.
        "updated": at + number * 7919 % 100_000_000,
        "deleted": int(number % 10 == 3),
        "deleted_on": at,
        "document": json.dumps(document),
        "name_words": stored_words(document["name"]),
    }


def _job(number: int) -> dict:
    return {"job_id": f"job-{number:08}", "active": (1, 0, None)[number % 3], **_common(number)}


def _execution(number: int, count: int) -> dict:
    every = count // 10
    status = "rejected" if number % every == every - 1 else STATUSES[number % len(STATUSES)]
    # One job has half of the executions, but only one of it can run.
    is_busy = number % 2 == 0 and status != "running"
    return {
        "ex_id": f"ex-{number:08}",
        "job_id": "job-00000000" if is_busy else f"job-{number:08}",
        "status": status,
        "generation": 1,
        "intent": "{}",
        "has_errors": 0,
        "failure_reason": "",
        "failure_words": "[]",
        "slicer_stats": "{}",
        **_common(number),
        "deleted": int(number % 10 == 3 and status != "rejected"),
    }


def _error(number: int) -> dict:
    """Of the second execution, or of one of its own."""
    return {
        "ex_no": 2 if number % 2 == 0 else number + 1,
        "slicer_id": 0,
        "slicer_order": number,
        "state": SliceState.ERROR.value,
        "created": FIRST_MS + 1000 * number,
        "updated": FIRST_MS + 1000 * number + number * 7919 % 1_000_000,
        "request": "{}",
        "retry_count": 0,
        "error": "ValueError: bad record",
    }


def _page(fields: dict, sort: str = "_updated:desc", text: str = "", start: int = 0) -> Page:
    where = condition_of(text, fields, now_ms=FIRST_MS, sort=sort) if text else None
    return Page(size=ROWS, start=start, sort=sort, where=where)


def cases() -> Iterator[tuple[str, Read]]:
    """Lists as the API is asked for them, and how they are read."""
    yield from _execution_cases()
    yield from _job_cases()
    yield from _error_cases()


def _execution_cases() -> Iterator[tuple[str, Read]]:
    def ex(sort: str = "_updated:desc", text: str = "", start: int = 0, **kwargs: object) -> Read:
        return partial(list_executions, page=_page(EXECUTION_FIELDS, sort, text, start), **kwargs)

    yield "/ex", ex()
    yield "/ex?from=50", ex(start=50)
    for field in ("_created", "_status", "job_id", "ex_id", "lifecycle", "slicers", "workers"):
        yield f"/ex?sort={field}", ex(field)
    yield "/ex?sort=max_retries", ex("max_retries")
    yield "/ex?deleted=true", ex(is_deleted=True)
    for statuses in ("completed", "rejected", "running,failed", "running,rejected"):
        yield f"/ex?status={statuses}", ex(statuses=statuses.split(","))
    yield "/ex?status=rejected,paused", ex(statuses=["rejected", "paused"])
    yield "/ex?status=running,failed&sort=_created", ex("_created", statuses=["running", "failed"])
    yield "/ex?status=running,failed&sort=workers", ex("workers", statuses=["running", "failed"])
    for text in (
        "_status:failed",
        "_status:rejected",
        "_status:(failed OR rejected)",
        'job_id:"job-00000000"',
        "ex_id:ex-00000042",
        "ex_id:ex-0000004*",
        'job_id:("job-00000001" OR "job-00000041")',
        "_created:>2026-01-01T01",
        "_created:<2026-01-01T00:30",
        "workers:>=3 AND lifecycle:once",
        "name:number",
        "name:90",
        "nowhere",
    ):
        yield f"/ex?filter={text}", ex(text=text)
    yield "/ex?filter=_created:<2026-01-01T00:30&sort=_created", ex("_created", "_created:<2026-01-01T00:30")
    yield "/ex?filter=_created:>2026-02-20&sort=_created", ex("_created", "_created:>2026-02-20")


def _job_cases() -> Iterator[tuple[str, Read]]:
    def job(sort: str = "_updated:desc", text: str = "", **kwargs: object) -> Read:
        return partial(list_jobs, page=_page(JOB_FIELDS, sort, text), **kwargs)

    yield "/jobs", job()
    for field in ("_created", "job_id", "lifecycle", "slicers", "workers"):
        yield f"/jobs?sort={field}", job(field)
    yield "/jobs?deleted=true", job(is_deleted=True)
    yield "/jobs?active=true", job(is_active=True)
    yield "/jobs?active=false", job(is_active=False)
    yield "/jobs?filter=job_id:job-00000042", job(text="job_id:job-00000042")
    yield "/jobs?filter=workers:>=2 AND lifecycle:once", job(text="workers:>=2 AND lifecycle:once")
    yield "the latest executions of ten jobs", _latest


def _latest(connection: Connection) -> list:
    return list(latest_executions(connection, job_ids=[f"job-{number:08}" for number in range(ROWS)]))


def _error_cases() -> Iterator[tuple[str, Read]]:
    def errors(sort: str = "_updated:desc", text: str = "", **kwargs: object) -> Read:
        return partial(list_errors, page=_page(ERROR_FIELDS, sort, text), **kwargs)

    yield "/ex/errors", errors()
    yield "/ex/errors?filter=ex_id:ex-00000001", errors(text="ex_id:ex-00000001")
    for number in (1, 42, 43):
        yield f"/ex/ex-{number:08}/errors", errors(ex_ids=[f"ex-{number:08}"])
    yield "/ex/ex-00000001/errors?sort=slicer_order", errors("slicer_order:asc", ex_ids=["ex-00000001"])
    yield "/jobs/job-00000000/errors", errors(job_id="job-00000000")
    yield "/jobs/job-00000001/errors", errors(job_id="job-00000001")


def measure(path: Path, turns: int) -> dict[str, dict[str, float]]:
    """Median milliseconds and rows of each list."""
    engine = sqlite.reading_engine(path, size=1)
    found = {}
    with engine.connect() as connection:
        for name, read in cases():
            times = []
            rows = 0
            for _ in range(turns + 1):
                began = time.perf_counter()
                connection.exec_driver_sql(sqlite.BEGIN_READING)
                rows = len(read(connection))
                sqlite.roll_back(connection)
                times.append((time.perf_counter() - began) * 1000)
            # The first turn reads pages from the disk and prepares the statement.
            found[name] = {"ms": statistics.median(times[1:]), "rows": rows}
    engine.dispose()
    return found


def make_store(path: Path, count: int) -> float:
    """Fill a store; returns the seconds it took."""
    engine = sqlite.writing_engine(path)
    bring_up_to_date(engine)
    began = time.perf_counter()
    with engine.connect() as connection:
        fill(connection, count)
    engine.dispose()
    return time.perf_counter() - began


def run(sizes: list[int], turns: int) -> dict:
    before = machine()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = Path(folder) / f"{size}.db"
            seconds = make_store(path, size)
            print(f"# {size:,} jobs, executions and errors were stored in {seconds:.1f} s", flush=True)
            found[size] = measure(path, turns)
    return {"bench": "lists", "machine": before, "turns": turns, "lists": found}


def show(found: dict) -> None:
    lists = found["lists"]
    small, large = min(lists), max(lists)
    print(f"{'milliseconds a page':<48}{small:>10,}{large:>10,}{'ratio':>8}{'rows':>6}")
    for name, row in lists[large].items():
        ratio = row["ms"] / lists[small][name]["ms"]
        print(f"{name:<48}{lists[small][name]['ms']:>10.2f}{row['ms']:>10.2f}{ratio:>8.1f}{row['rows']:>6}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 100_000])
    parser.add_argument("--turns", type=int, default=9)
    args = parser.parse_args()
    found = run(args.sizes, args.turns)
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

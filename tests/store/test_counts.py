"""Counters of slices against the rows that they count."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.store.test_letters import batch as letter_batch
from tests.store.test_letters import letters
from tests.support.stores import (
    COMPLETED,
    ERROR,
    PENDING,
    START,
    add_execution,
    batch_of,
    connected,
    do,
    end_execution,
    generation_save,
    new_execution,
    slice_row,
    status_save,
)
from tsd.core.records import EndedSlices, ExecutionStats
from tsd.store import sqlite
from tsd.store.counts import counts_of
from tsd.store.executions import ApplySaves
from tsd.store.letters import DeleteLetters, Whose
from tsd.store.migrate import upgrade
from tsd.store.records import StoreRecords
from tsd.store.store import DATABASE_NAME

ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),  # source
        st.integers(0, 1),  # slicer
        st.integers(1, 5),  # order
        st.sampled_from([PENDING, START, COMPLETED, ERROR]),
    ),
    max_size=15,
)


def stored_counts(connection, ex_no):
    counts = counts_of(connection, ex_no)
    return (counts.own.completed, counts.own.failed, counts.rerun.completed, counts.rerun.failed)


def counted(connection, ex_no):
    """What counting all rows gives."""
    own = "SELECT count(*) FROM slices WHERE ex_no = ? AND state = ?"
    rerun = "SELECT count(*) FROM slices WHERE run_by = ? AND state = ?"
    return tuple(
        connection.exec_driver_sql(statement, (ex_no, state)).scalar_one()
        for statement in (own, rerun)
        for state in (COMPLETED, ERROR)
    )


@settings(deadline=None, max_examples=60)
@given(history=st.lists(st.tuples(st.integers(0, 2), ROWS), max_size=8))
def test_counters_are_what_counting_all_rows_would_give(history):
    """Also with rows that come twice, out of order, late, or that run errors of earlier executions again."""
    with tempfile.TemporaryDirectory(prefix="tsd-store-") as folder, connected(Path(folder)) as connection:
        for number in range(3):
            before = {"recovered_execution": f"e{number - 1}"} if number else {}
            do(connection, new_execution(f"e{number}", f"j{number}", **before))
            do(connection, ApplySaves(saves=(generation_save(f"e{number}", 1),)))
        for writer, rows in history:
            sources = tuple(f"e{n}" for n in range(writer, -1, -1))
            batch = [
                slice_row(order, state, slicer_id=slicer, source=min(source, writer))
                for source, slicer, order, state in rows
            ]
            [told] = do(connection, StoreRecords(batch=batch_of(batch, f"e{writer}", sources=sources)))

            for ex_no in (1, 2, 3):
                assert stored_counts(connection, ex_no) == counted(connection, ex_no)
            assert told.ended == counts_of(connection, writer + 1).ended
            assert 0 <= told.newly_failed <= len(rows)


@pytest.mark.parametrize(
    ("states", "ended", "newly_failed"),
    [
        ([COMPLETED], (1, 0), 0),
        ([START, COMPLETED], (1, 0), 0),
        ([COMPLETED, COMPLETED], (1, 0), 0),
        ([COMPLETED, ERROR], (1, 0), 0),
        ([ERROR, ERROR], (0, 1), 1),
        ([ERROR, COMPLETED], (1, 0), 1),
        ([ERROR, PENDING], (0, 0), 1),
        ([ERROR, START, ERROR], (0, 1), 2),
    ],
)
@pytest.mark.parametrize("is_one_batch", [False, True])
async def test_each_slice_counts_once_as_it_stands(store, states, ended, newly_failed, is_one_batch):
    await add_execution(store)
    rows = [slice_row(1, state) for state in states]
    batches = [rows] if is_one_batch else [[row] for row in rows]

    told = [await store.store_records(batch_of(batch)) for batch in batches]

    assert told[-1].ended == EndedSlices(completed=ended[0], failed=ended[1])
    assert told[0].before == EndedSlices()
    assert sum(one.newly_failed for one in told) == newly_failed


async def test_an_error_that_a_recovery_runs_again_counts_for_both(store):
    await add_execution(store)
    await store.store_records(batch_of([slice_row(1, ERROR), slice_row(2, COMPLETED)]))
    await end_execution(store)
    await add_execution(store, "e2", job=None, recovered_execution="e1")

    told = await store.store_records(
        batch_of([slice_row(1, COMPLETED, source=1)], "e2", sources=("e2", "e1"))
    )

    assert told.ended == EndedSlices(completed=1)
    assert (await store.read(lambda c: counts_of(c, 1).own)) == EndedSlices(completed=2)


async def test_the_last_counters_are_those_of_the_records_whatever_the_controller_said(store):
    await add_execution(store)
    await store.store_records(batch_of([slice_row(1), slice_row(2), slice_row(3, ERROR)]))
    last = ExecutionStats(processed=1, failed=0, queued=7, workers_joined=2)
    await store.apply_saves([status_save("e1", "pending", "stopping", stats=last)])
    assert (await store.get_execution("e1"))["_slicer_stats"]["processed"] == 1

    await store.apply_saves([status_save("e1", "stopping", "stopped", stats=last)])

    stats = (await store.get_execution("e1"))["_slicer_stats"]
    assert (stats["processed"], stats["failed"], stats["queued"], stats["workers_joined"]) == (3, 1, 7, 2)


async def test_records_that_come_after_the_end_change_the_last_counters(store):
    await add_execution(store)
    await store.apply_saves([status_save("e1", "pending", "failed", stats=ExecutionStats(queued=1))])

    await store.store_records(batch_of([slice_row(1), slice_row(2, ERROR)]))

    stats = (await store.get_execution("e1"))["_slicer_stats"]
    assert (stats["processed"], stats["failed"], stats["queued"]) == (2, 1, 1)


async def test_a_batch_that_is_refused_counts_nothing(store):
    await add_execution(store)
    await store.store_records(batch_of([slice_row(1)]))

    with pytest.raises(Exception, match="generation"):
        await store.store_records(batch_of([slice_row(2)], generation=7))

    assert (await store.read(lambda c: counts_of(c, 1).ended)) == EndedSlices(completed=1)


def test_an_older_store_is_counted_once(tmp_path):
    path = tmp_path / DATABASE_NAME
    engine = sqlite.writing_engine(path)
    upgrade(engine, to="0006")
    engine.dispose()
    execution = (
        "INSERT INTO executions (ex_no, ex_id, job_id, status, generation, intent, created, updated,"
        " has_errors, failure_reason, slicer_stats, recovered_execution, deleted, document)"
        " VALUES (?, ?, ?, ?, 1, '{}', 0, 0, 0, '', '{}', ?, 0, '{}')"
    )
    row = "INSERT INTO slices VALUES (?, ?, ?, ?, 0, 0, '{}', 0, NULL, NULL, ?, NULL)"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "INSERT INTO jobs (job_no, job_id, created, updated, deleted, document) VALUES (1,'j',0,0,0,'{}')"
        )
        old.executemany(
            execution,
            [
                (1, "e1", "j", "stopped", None),
                (2, "e2", "j", "completed", "e1"),
                (3, "e3", "j", "failed", None),
            ],
        )
        old.executemany(
            row,
            [
                *((1, 0, order, COMPLETED, None) for order in range(1, 8)),
                (1, 0, 8, COMPLETED, 2),
                (1, 0, 9, ERROR, 2),
                (1, 1, 1, START, None),
                (2, 0, 1, COMPLETED, None),
                (2, 0, 2, ERROR, None),
            ],
        )

    with connected(tmp_path) as connection:
        for ex_no in (1, 2, 3):
            assert stored_counts(connection, ex_no) == counted(connection, ex_no)
        assert stored_counts(connection, 2) == (1, 1, 1, 1)
        recorded = connection.execute(text("SELECT recorded FROM executions ORDER BY ex_no")).scalars().all()
        assert recorded == [None, 1, None]


# --- dead letters


def letters_there(connection, ex_no=1):
    return connection.exec_driver_sql(
        "SELECT count(*) FROM dead_letters WHERE ex_no = ?", (ex_no,)
    ).scalar_one()


@settings(deadline=None, max_examples=30)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("slice"), st.integers(1, 4), st.integers(0, 4)),
            st.tuples(st.just("flush"), st.integers(1, 3), st.integers(1, 4)),
            st.tuples(st.just("delete"), st.just(0), st.just(0)),
        ),
        max_size=8,
    )
)
def test_letters_are_counted_as_they_come_and_go(steps):
    with tempfile.TemporaryDirectory(prefix="tsd-store-") as folder, connected(Path(folder)) as connection:
        do(connection, new_execution("e1"), ApplySaves(saves=(generation_save("e1", 1),)))
        for number, (kind, order, count) in enumerate(steps):
            told = letters(*range(count))
            if kind == "delete":
                do(connection, DeleteLetters(whose=Whose(ex_id="e1")))
            elif kind == "flush":
                told = letters(*range(count), slice_id=f"flush-{order}")
                do(connection, StoreRecords(batch=letter_batch([], {-1: told}), letters_max=6))
            else:
                rows = [slice_row(order, ERROR, updated=number)]
                do(connection, StoreRecords(batch=letter_batch(rows, {0: told}), letters_max=6))

            assert counts_of(connection, 1).letters == letters_there(connection) <= 6

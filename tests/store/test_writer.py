"""The writer: transactions that many share, requests that go away."""

import pytest
import trio
from attrs import frozen
from sqlalchemy import text

from tests.support.stores import (
    COMPLETED,
    POSTED,
    START,
    add_execution,
    batch_of,
    record_count,
    slice_row,
    stored_states,
)
from tests.support.waiting import wait_for
from tsd.errors import Conflict, Gone, StoreError
from tsd.store.listing import Page
from tsd.store.store import open_store


async def test_what_is_asked_for_at_the_same_time_shares_transactions(store):
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(store.create_job, f"j{number}", POSTED)

    statistics = store.statistics()
    assert statistics.requests == 100
    assert statistics.transactions < 10
    assert len(await store.list_jobs(Page())) == 100


async def test_commits_and_the_records_in_them_are_counted(store):
    await add_execution(store)
    before = store.statistics()
    await store.store_records(batch_of([slice_row(order, START) for order in range(1, 151)]))
    await store.store_records(batch_of([slice_row(order, COMPLETED) for order in range(1, 6)]))
    with pytest.raises(Conflict):
        await store.store_records(batch_of([slice_row(1, START)], generation=7))

    after = store.statistics()
    assert after.records - before.records == 155
    assert (after.rows.count, after.rows.sum) == (2, 155)
    in_bucket = dict(zip(after.rows.bounds, after.rows.counts, strict=False))
    assert {bound: count for bound, count in in_bucket.items() if count} == {10: 1, 1_000: 1}
    assert after.commit_s.count == after.transactions == before.transactions + 3
    assert 0 < after.commit_s.sum < 60
    assert (after.waiting, after.held) == (0, 0)


async def test_a_refused_request_takes_nothing_else_with_it(store):
    await store.create_job("gone", POSTED)
    await store.delete_job("gone")
    before = store.statistics().transactions
    refused = []

    async def update_deleted():
        try:
            await store.update_job("gone", {"name": "back"})
        except Gone as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.create_job, "a", POSTED)
        nursery.start_soon(update_deleted)
        nursery.start_soon(store.create_job, "b", POSTED)

    assert len(refused) == 1
    assert store.statistics().transactions < before + 3
    assert {job["job_id"] for job in await store.list_jobs(Page())} == {"a", "b"}
    assert (await store.get_job("gone"))["name"] == "words"


@frozen
class WriteThenFail:
    """Writes two rows, then fails in one of the ways that concern only itself."""

    error: Exception
    is_held = True

    def apply(self, connection, now_ms):
        connection.execute(text("DELETE FROM jobs"))
        raise self.error


@pytest.mark.parametrize("error", [Gone("x"), StoreError("x"), OverflowError("x")])
async def test_what_a_refused_request_wrote_is_undone(store, error):
    await store.create_job("j1", POSTED)

    with pytest.raises((Gone, StoreError)):
        await store.write(WriteThenFail(error))

    assert len(await store.list_jobs(Page())) == 1


async def test_a_fault_of_ours_ends_the_store_and_leaves_nothing(tmp_path):
    with pytest.RaisesGroup(ZeroDivisionError, StoreError):
        async with open_store(tmp_path) as store:
            await store.create_job("j1", POSTED)
            await store.write(WriteThenFail(ZeroDivisionError()))

    async with open_store(tmp_path) as store:
        assert len(await store.list_jobs(Page())) == 1


async def test_a_write_whose_caller_goes_away_is_whole_or_absent(store):
    """The caller is cancelled after any number of steps of the loop."""
    await add_execution(store)
    for slicer_id in range(30):
        rows = [slice_row(order, START, slicer_id=slicer_id) for order in range(1, 101)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.store_records, batch_of(rows))
            for _ in range(slicer_id):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    await store.create_job("after", POSTED)

    slicers = [slicer for slicer, _ in await stored_states(store)]
    assert {slicers.count(slicer) for slicer in set(slicers)} <= {100}
    assert store.health.is_ok


async def test_leaving_the_store_writes_what_was_asked_before(tmp_path):
    """Also when everything is cancelled: a request that reached the writer is answered or absent."""
    answered = []
    with trio.CancelScope() as scope:
        async with open_store(tmp_path, commit_window_s=0.05) as store, trio.open_nursery() as nursery:

            async def create(job_id):
                with trio.CancelScope(shield=True):
                    await store.create_job(job_id, POSTED)
                answered.append(job_id)

            for number in range(5):
                nursery.start_soon(create, f"j{number}")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

    async with open_store(tmp_path) as store:
        assert len(answered) == 5
        assert {job["job_id"] for job in await store.list_jobs(Page())} == set(answered)


async def test_a_closed_store_takes_nothing(tmp_path):
    async with open_store(tmp_path) as store:
        await store.create_job("j1", POSTED)

    with pytest.raises(StoreError, match="closed"):
        await store.create_job("j2", POSTED)


async def test_an_error_inside_of_the_store_reaches_the_caller_as_it_is(tmp_path):
    with pytest.raises(LookupError, match="mine"):
        async with open_store(tmp_path):
            raise LookupError("mine")


async def test_batches_of_several_executions_share_a_commit(store):
    for number in range(4):
        await add_execution(store, f"e{number}", f"j{number}")
    before = store.statistics().transactions

    async with trio.open_nursery() as nursery:
        for number in range(4):
            for slicer in range(5):
                rows = [slice_row(order, slicer_id=slicer) for order in range(1, 201)]
                nursery.start_soon(store.store_records, batch_of(rows, f"e{number}"))

    assert await record_count(store) == 4 * 5 * 200
    assert store.statistics().transactions < before + 20


async def test_a_read_sees_what_was_acknowledged_before_it(store):
    for number in range(20):
        await store.create_job(f"j{number}", POSTED)
        assert (await store.get_job(f"j{number}"))["job_id"] == f"j{number}"


async def test_a_read_is_of_one_moment(store):
    await store.create_job("j1", POSTED)

    def read_twice(connection):
        first = connection.execute(text("SELECT count(*) FROM jobs")).scalar_one()
        trio.from_thread.run(store.create_job, "j2", POSTED)
        return first, connection.execute(text("SELECT count(*) FROM jobs")).scalar_one()

    assert await store.read(read_twice) == (1, 1)
    assert len(await store.list_jobs(Page())) == 2


async def test_readers_can_not_write(store):
    with pytest.raises(StoreError, match="READONLY"):
        await store.read(lambda connection: connection.execute(text("DELETE FROM jobs")))


async def test_the_log_is_moved_into_the_database_when_nothing_is_written(tmp_path):
    """So that it does not keep its size, and the database file is what one backs up."""
    async with open_store(tmp_path) as store:
        await add_execution(store)
        await store.store_records(batch_of([slice_row(order) for order in range(1, 3001)]))
        database = tmp_path / "store.db"
        await wait_for(lambda: database.stat().st_size > 3000 * 40, "checkpoint")

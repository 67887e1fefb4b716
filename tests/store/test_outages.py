"""Disks that are full, locks of others, damage: nothing is lost, nothing is stored twice, nothing is hidden."""

import contextlib
import functools
import os
import sqlite3
import subprocess

import pytest
import trio
from sqlalchemy import text

from tests.support.stores import (
    COMPLETED,
    POSTED,
    START,
    add_execution,
    batch_of,
    record_count,
    slice_row,
    status_save,
    stored_states,
)
from tests.support.waiting import wait_for
from tsd.errors import NotFound, StoreCorrupt, StoreError
from tsd.store.listing import Page
from tsd.store.store import DATABASE_NAME, open_store


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 6 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(path)]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"can not mount here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk):
    """Take all space that is left; returns the file to remove."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096) == 4096:
            pass
    return filler


class Watch:
    """Gathers changes of health and waits for them."""

    def __init__(self):
        self.seen = []
        self._changed = trio.Event()

    def __call__(self, health):
        self.seen.append(health)
        self._changed.set()
        self._changed = trio.Event()

    async def wait_until(self, is_ok):
        with trio.fail_after(20):
            while not self.seen or self.seen[-1].is_ok != is_ok:
                await self._changed.wait()


BIG = '{"x":"' + "x" * 1000 + '"}'


async def test_a_full_disk_holds_records_and_refuses_jobs_until_there_is_room(small_disk):
    """B8: nothing acknowledged is lost, nothing is stored twice, and relief is noticed without help."""
    watch, acknowledged = Watch(), []

    async def store_batch(number):
        rows = [slice_row(order, START, slicer_id=number, request=BIG) for order in range(1, 201)]
        await store.store_records(batch_of(rows))
        acknowledged.append(number)

    async with open_store(small_disk / "data", on_health=watch) as store:
        await add_execution(store)
        filler = fill(small_disk)
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(store_batch, number)
            await watch.wait_until(is_ok=False)

            assert "the disk is full" in store.health.reason
            assert store.statistics().held >= 1
            with trio.fail_after(5), pytest.raises(StoreError, match="the disk is full"):
                await store.create_job("j2", POSTED)
            assert len(acknowledged) < 10
            reached = await stored_states(store)
            assert {slicer for slicer, _ in reached} <= set(acknowledged)

            filler.unlink()
            await watch.wait_until(is_ok=True)

        assert sorted(acknowledged) == list(range(10))
        assert (store.statistics().held, store.statistics().records) == (0, 10 * 200)
        assert await record_count(store) == 10 * 200
        await store.create_job("j2", POSTED)
        assert watch.seen[-1].since_ms >= watch.seen[0].since_ms

    async with open_store(small_disk / "data") as store:
        assert await record_count(store) == 10 * 200


async def test_a_status_waits_through_a_full_disk(small_disk):
    watch = Watch()
    async with open_store(small_disk / "data", on_health=watch) as store:
        await add_execution(store)
        filler = fill(small_disk)
        async with trio.open_nursery() as nursery:
            reason = "x" * 2_000_000
            save = status_save("e1", "pending", "failed", failure_reason=reason)
            nursery.start_soon(store.apply_saves, [save])
            await watch.wait_until(is_ok=False)
            assert (await store.get_execution("e1"))["_status"] == "pending"
            filler.unlink()

        assert (await store.get_execution("e1"))["_failureReason"] == reason


async def test_a_refused_write_notices_the_end_of_an_outage_though_nothing_waits(small_disk):
    """Else one job that came in a bad moment would close the API for ever."""
    watch = Watch()
    async with open_store(small_disk / "data", on_health=watch) as store:
        filler = fill(small_disk)
        with pytest.raises(StoreError, match="the disk is full"):
            await store.create_job("j1", {"name": "x" * 2_000_000})
        await wait_for(lambda: store.statistics().failures >= 4, "attempts without a request")
        assert [health.is_ok for health in watch.seen] == [False]
        filler.unlink()
        await watch.wait_until(is_ok=True)

        await store.create_job("j1", POSTED)
        assert len(await store.list_jobs(Page())) == 1


async def test_leaving_the_store_in_an_outage_does_not_hang(small_disk):
    watch, errors = Watch(), []

    async def store_batch():
        try:
            await store.store_records(batch_of([slice_row(n, request=BIG) for n in range(1, 3001)]))
        except StoreError as error:
            errors.append(error)

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery, open_store(small_disk / "data", on_health=watch) as store:
            await add_execution(store)
            fill(small_disk)
            nursery.start_soon(store_batch)
            await watch.wait_until(is_ok=False)

    assert len(errors) == 1


async def test_a_lock_of_somebody_else_is_waited_for(tmp_path):
    watch = Watch()
    async with open_store(tmp_path, on_health=watch) as store:
        await add_execution(store)
        other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.store_records, batch_of([slice_row(1)]))
                await watch.wait_until(is_ok=False)
                assert "another process holds a lock" in store.health.reason
                other.execute("ROLLBACK")

        assert await stored_states(store) == {(0, 1): COMPLETED}
        assert store.health.is_ok


async def test_a_held_write_whose_caller_goes_away_in_an_outage_is_not_done_later(tmp_path):
    watch = Watch()
    async with open_store(tmp_path, on_health=watch) as store:
        await add_execution(store)
        other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.store_records, batch_of([slice_row(1)]))
                await watch.wait_until(is_ok=False)
                nursery.cancel_scope.cancel()
            other.execute("ROLLBACK")
        await watch.wait_until(is_ok=True)

        assert await stored_states(store) == {}


async def test_damage_is_told_to_everybody_who_reads_or_writes(tmp_path):
    """The table of slices is damaged, and from then on nothing more is written."""
    watch = Watch()
    async with open_store(tmp_path) as store:
        await add_execution(store)
        await store.store_records(batch_of([slice_row(order) for order in range(1, 3001)]))
        root = await store.read(
            lambda c: c.execute(text("SELECT rootpage FROM sqlite_master WHERE name = 'slices'")).scalar_one()
        )
    with (tmp_path / DATABASE_NAME).open("r+b") as file:
        file.seek((root - 1) * 8192)
        file.write(b"\xff" * 8192)

    async with open_store(tmp_path, on_health=watch) as store:
        await store.get_job("j1")
        with pytest.raises(StoreCorrupt):
            await stored_states(store)
        with pytest.raises(StoreCorrupt, match="damaged"):
            await store.store_records(batch_of([slice_row(1)]))
        with pytest.raises(StoreCorrupt, match="damaged"):
            await store.create_job("j2", POSTED)

        assert [health.is_ok for health in watch.seen] == [False]
        assert not store.health.is_ok


async def test_who_waits_for_what_needs_the_store_is_told_of_an_outage(small_disk):
    """Before it begins at once, and while it waits within a second or two; what others raise passes."""
    watch = Watch()
    async with open_store(small_disk / "data", on_health=watch) as store:
        await add_execution(store)
        assert await store.unless_failing(functools.partial(trio.sleep, 0)) is None
        with pytest.raises(NotFound):
            await store.unless_failing(functools.partial(store.get_execution, "no-such"))
        filler = fill(small_disk)
        async with trio.open_nursery() as nursery:
            rows = [slice_row(order, START, request=BIG) for order in range(1, 2001)]
            nursery.start_soon(store.store_records, batch_of(rows))
            with trio.fail_after(20), pytest.raises(StoreError, match=r"disk is full.*once the store can"):
                await store.unless_failing(trio.sleep_forever)
            with trio.fail_after(1), pytest.raises(StoreError, match="disk is full"):
                await store.unless_failing(trio.sleep_forever)
            filler.unlink()
            await watch.wait_until(is_ok=True)

        assert await store.unless_failing(functools.partial(trio.sleep, 0)) is None

"""A job gives the same through the harness and through a real controller and worker, hooks and files included."""

import json
import os
import signal
from collections import defaultdict

import pytest
import trio

from tests.support.minimaster import running_master, settings_for
from tests.support.waiting import is_alive, wait_for
from tsd.core.records import ProcessRole, SliceState, Status
from tsd.operations.testing import JobHarness


def job_in(folder, **job):
    """A job that has all there is: a seed, expressions, held records, retries, async methods, files."""
    folder.mkdir()
    operations = [
        {
            "_op": "data_generator",
            "size": 70,
            "seed": 4,
            "format": "utcBetween",
            "end": "2020-01-01T00:00:00Z",
        },
        {"_op": "derive", "fields": {"kb": "round(bytes / 1024, 1)"}},
        {"_op": "collect", "size": 25, "wait": "1 hour"},
        {"_op": "hook_writer", "file": str(folder / "hooks")},
        {"_op": "file_exporter", "path": str(folder / "out"), "format": "ldjson", "size": 20},
    ]
    return {"ex_id": "ex", "name": "test", "operations": operations, "analytics": False, **job}


def files_of(folder):
    """Name and content of each file; a flush has the id of its process in the name of its file."""
    files = {path.name: path.read_text() for path in (folder / "out").glob("*.ldjson")}
    return {"flush" if "flush-" in name else name: text for name, text in files.items()}


def hooks_of(folder):
    """Slice to its hooks in order; a slice that was taken in is told of at any later time."""
    hooks = defaultdict(list)
    for line in (folder / "hooks").read_text().splitlines():
        slice_id, _, words = line.partition(" ")
        hooks["flush" if slice_id.startswith("flush") else slice_id].append(words)
    return dict(hooks)


async def in_production(tmp_path, folder):
    job = job_in(folder)
    async with running_master(tmp_path, job.pop("operations"), **job) as master:
        assert await master.wait_end() is Status.COMPLETED
        await master.wait_gone()
        return {place: json.loads(kept.request) for place, kept in master.records.items()}


async def test_a_job_gives_the_same_in_the_harness_as_in_real_processes(tmp_path):
    requests = await in_production(tmp_path, tmp_path / "real")

    with JobHarness(job_in(tmp_path / "test"), modules=["tests.support.ops"]) as harness:
        results = harness.run_to_completion()

    slices = [slice_ for slice_, _ in results if slice_.slicer_order]
    assert {(s.slicer_id, s.slicer_order): s.decode_request() for s in slices} == requests
    assert [len(records) for _, records in results] == [0, 25, 25, 0, 20]
    assert files_of(tmp_path / "test") == files_of(tmp_path / "real")
    assert hooks_of(tmp_path / "test") == hooks_of(tmp_path / "real")
    assert hooks_of(tmp_path / "test")[slices[1].slice_id] == [
        *("initialized", "start 0", "complete 0 20", "started", "start 1", "complete 1 20", "start 2"),
        *("complete 2 25", "start 3", "complete 3 25", "start 4", "complete 4 25"),
        *("completing", "finalizing ok", "finished"),
    ]


@pytest.mark.slow
async def test_however_often_a_worker_is_told_to_end_its_operations_shut_down_once(tmp_path):
    """Point 33; and 30: the slice that was cut short by it is not completed."""
    operations = [
        {"_op": "count", "size": 3},
        {"_op": "hook_writer", "file": str(tmp_path / "hooks")},
        {"_op": "delay", "ms": "10 minutes"},
    ]
    async with running_master(tmp_path, operations) as master:
        await wait_for((tmp_path / "hooks").exists, "a slice runs")
        pid = master.pid_of(ProcessRole.WORKER)
        with trio.fail_after(10):
            while is_alive(pid):
                # The kernel makes one of two that come at once.
                os.kill(pid, signal.SIGTERM)
                await trio.sleep(0.05)
        master.stop("now")
        await master.wait_end()

    lines = [line.split(" ", 1)[1] for line in (tmp_path / "hooks").read_text().splitlines()]
    first = lines[: lines.index("shutdown") + 1]
    assert first.count("shutdown") == 1
    assert not {"completing", "finalizing ok", "finished", "flush_start"} & set(first)
    assert master.states()[SliceState.COMPLETED] == 0


@pytest.mark.slow
async def test_a_plain_method_that_blocks_for_long_delays_no_beat(tmp_path):
    """Point 66: for longer than it takes until a silent worker counts as stalled."""
    sleeper = {"_op": "sleeper", "at": [1], "seconds": 4.0}
    settings = settings_for(tmp_path, **{"teraslice.worker_disconnect_timeout": "1 second"})
    async with running_master(tmp_path, [{"_op": "count", "size": 3}, sleeper], settings=settings) as master:
        assert await master.wait_end() is Status.COMPLETED

    assert len(master.beats) > 10
    assert {(beat.stats.stalled_workers, beat.stats.workers_disconnected) for beat in master.beats} == {
        (0, 0)
    }

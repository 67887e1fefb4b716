"""Ends without time: a forced stop, the death of a controller, the death of everything.

What was done is counted, by the files that were written; what was made is recovered, or it is said that it is not
known.
"""

import json
import os
import signal
import sqlite3
import time
from contextlib import closing, suppress

import pytest

from tests.support.daemons import TERMINAL, cluster_for, until
from tests.support.scrape import series, values_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SLICES = 240
WORKERS = 3
SETTINGS = {"teraslice.shutdown_timeout": "5s", "tsd.controller_lease": "2s"}


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forced")
    with cluster_for(request, folder, workers=WORKERS + 3, **SETTINGS) as cluster:
        cluster.start_master()
        cluster.start_node()
        yield cluster


class Job:
    """A job of slices of one record each, every one of which becomes a file."""

    def __init__(self, cluster, folder, ms, slices=SLICES):
        self.cluster, self.out = cluster, folder / "out"
        self.slices = slices
        (folder / "in").mkdir()
        lines = [json.dumps({"n": f"{n:07}"}) + "\n" for n in range(slices)]
        (folder / "in" / "data").write_text("".join(lines))
        operations = [
            {"_op": "file_reader", "path": str(folder / "in"), "format": "ldjson", "size": len(lines[0])},
            {"_op": "delay", "ms": ms},
            {"_op": "file_exporter", "path": str(self.out), "format": "ldjson", "file_per_slice": True},
        ]
        self.job_id, self.ex_id = cluster.post_job(
            {"name": "forced", "workers": WORKERS, "operations": operations}
        )

    def written(self):
        """The records in the files, with those that are there twice."""
        found = []
        for path in self.out.rglob("*") if self.out.exists() else ():
            if path.is_file() and not path.name.startswith(("_", ".")):
                found += [json.loads(line)["n"] for line in path.read_text().splitlines()]
        return found

    def states(self, ex_id=None):
        """How many records of slices are in each state."""
        with closing(sqlite3.connect(self.cluster.data_dir / "store.db", timeout=20)) as store:
            rows = store.execute(
                "SELECT state, count(*) FROM slices JOIN executions USING (ex_no) WHERE ex_id = ? GROUP BY state",
                (ex_id or self.ex_id,),
            ).fetchall()
        return {("pending", "start", "completed", "error")[state]: count for state, count in rows}

    def stats(self, ex_id=None):
        return self.cluster.get(f"/ex/{ex_id or self.ex_id}")["_slicer_stats"]

    def runs(self):
        return until(lambda: len(self.written()) > 2, "slices are written")

    def recover(self, cleanup_type=""):
        """Recover, wait for the end; the id of the new execution."""
        query = f"?cleanup_type={cleanup_type}" if cleanup_type else ""
        ex_id = self.cluster.post(f"/ex/{self.ex_id}/_recover{query}")["ex_id"]
        self.cluster.wait_status(ex_id, "completed", within_s=90)
        return ex_id


def completed_in_total(cluster):
    text = cluster.request("GET", "/metrics").text
    return values_of(text)[series("tsd_slices_completed_total")]


@pytest.mark.parametrize("cleanup_type", ["all", "pending"])
@pytest.mark.parametrize(("ms", "pause_s"), [(1, 0.1), (30, 0.7), (30, 1.9), (2000, 1.0)])
def test_a_forced_stop_tells_what_was_done_and_the_rest_can_be_recovered(
    cluster, tmp_path, ms, pause_s, cleanup_type
):
    slices = 12 if ms > 1000 else SLICES if ms > 1 else 4000
    before = cluster.get("/cluster/stats")["slicer"]["processed"]
    total_before = completed_in_total(cluster)
    job = Job(cluster, tmp_path, ms, slices)
    if ms < 1000:
        job.runs()
    else:
        cluster.wait_status(job.ex_id, "running")
    time.sleep(pause_s)

    began = time.monotonic()
    cluster.post(f"/ex/{job.ex_id}/_stop?force=true")
    took_s = time.monotonic() - began

    status = cluster.status(job.ex_id)
    assert status in {"stopped", "completed"}
    assert took_s < 5
    written = job.written()
    assert len(written) == len(set(written)) == job.stats()["processed"] == job.states().get("completed", 0)
    assert cluster.get("/cluster/stats")["slicer"]["processed"] - before == len(written)
    assert completed_in_total(cluster) - total_before == len(written)
    if status == "completed":
        return
    left = slices - len(written)
    assert job.states() == {"completed": len(written), "pending": left} or not written
    ex_id = job.recover(cleanup_type)
    assert sorted(job.written()) == [f"{n:07}" for n in range(slices)]
    assert job.stats(ex_id)["processed"] == left


def test_the_counters_of_an_execution_span_all_its_controllers(cluster, tmp_path):
    job = Job(cluster, tmp_path, 60, 150)
    job.runs()
    started = until(lambda: started_of(cluster, job.ex_id), "the counters say when it began")
    time.sleep(1.2)
    [controller] = cluster.processes(job.ex_id, "execution_controller")
    os.kill(controller["pid"], signal.SIGKILL)

    cluster.wait_status(job.ex_id, "completed", within_s=60)

    stats = job.stats()
    assert (stats["processed"], stats["failed"]) == (150, 0)
    assert stats["started"] == started
    assert stats["job_duration"] >= 150 * 0.06 / WORKERS
    assert sorted(set(job.written())) == [f"{n:07}" for n in range(150)]


def started_of(cluster, ex_id):
    return next(
        (each["started"] for each in cluster.get("/cluster/controllers") if each["ex_id"] == ex_id), ""
    )


@pytest.mark.parametrize("ms", [1, 30, 2000])
def test_after_the_death_of_everything_nothing_is_left_out_without_a_word(request, tmp_path, ms):
    """Everything is killed; a master that starts again stops the execution before its next controller is there."""
    with cluster_for(request, tmp_path, workers=WORKERS + 1, **SETTINGS) as cluster:
        cluster.start_master()
        node = cluster.start_node()
        job = Job(cluster, tmp_path, ms, 12 if ms > 1000 else 2000)
        cluster.wait_status(job.ex_id, "running")
        time.sleep(0.8)
        for pid in [cluster.daemons["master"].pid, *node.pids()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait(10)
        cluster.daemons["master"].wait(10)
        written = set(job.written())
        cluster.start_master()
        cluster.post(f"/ex/{job.ex_id}/_stop?force=true&blocking=false")
        cluster.wait_status(job.ex_id, *TERMINAL)
        assert job.stats()["processed"] == job.states().get("completed", 0) <= len(written)

        cluster.start_node("node-2")
        for cleanup_type in ("all", "pending"):
            answer = cluster.request("POST", f"/ex/{job.ex_id}/_recover?cleanup_type={cleanup_type}")
            assert answer.status_code == 409
            assert "Recover it without cleanup_type" in answer.text

        job.recover()
        assert sorted(set(job.written())) == [f"{n:07}" for n in range(job.slices)]


def test_a_stop_with_a_timeout_records_what_it_cuts_short(cluster, tmp_path):
    job = Job(cluster, tmp_path, 30_000, 8)
    cluster.wait_status(job.ex_id, "running")
    until(lambda: cluster.get(f"/ex/{job.ex_id}/controller")[0]["workers_active"] == WORKERS, "slices run")

    began = time.monotonic()
    cluster.post(f"/ex/{job.ex_id}/_stop?timeout=1s")

    assert time.monotonic() - began < 8
    assert cluster.status(job.ex_id) == "stopped"
    assert job.states() == {"pending": 8}
    assert job.stats()["processed"] == 0

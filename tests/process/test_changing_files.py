"""Files that change while real daemons read them, and the mark of outputs: whatever dies, right or refused."""

import os
import re
import signal
from collections import Counter

import pytest

from tests.support.daemons import cluster_for, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LINES = 1_000


@pytest.fixture
def cluster(request, tmp_path):
    settings = {"teraslice.worker_disconnect_timeout": "2s", "tsd.controller_lease": "2s"}
    with cluster_for(request, tmp_path, workers=4, **settings) as cluster:
        cluster.start_master()
        cluster.start_node("node-1")
        yield cluster


class Reading:
    """A job that reads the files of a folder in small slices, so slowly that something can happen meanwhile."""

    def __init__(self, cluster, *, files=2, workers=2, delay_ms=20, size=200):
        self.cluster = cluster
        self.source, self.sink = cluster.folder / "in", cluster.folder / "out"
        self.source.mkdir(exist_ok=True)
        for name in ("b", "c", "d")[:files]:
            (self.source / name).write_text(self.lines(name))
        self.job = {
            "name": "reading",
            "workers": workers,
            "max_retries": 1,
            "operations": [
                {"_op": "file_reader", "path": str(self.source), "format": "raw", "size": size},
                {"_op": "delay", "ms": delay_ms},
                {"_op": "file_exporter", "path": str(self.sink), "format": "raw", "extension": ".txt"},
            ],
        }
        self.job_id, self.ex_id = cluster.post_job(self.job)

    @staticmethod
    def lines(name, count=LINES):
        return "".join(f"{name}{i:06}\n" for i in range(count))

    def written(self):
        return Counter(line for path in self.sink.glob("*.txt") for line in path.read_text().splitlines())

    def wait_until_busy(self, slices=10):
        until(lambda: len(list(self.sink.glob("*.txt"))) >= slices, f"{slices} slices are written", 60)

    def kill_the_controller(self):
        (controller,) = until(
            lambda: self.cluster.processes(self.ex_id, "execution_controller"), "the controller runs"
        )
        os.kill(controller["pid"], signal.SIGKILL)

    def is_marked(self):
        return (self.sink / "_SUCCESS").exists()

    def replace(self, name, text):
        new = self.cluster.folder / "new"
        new.write_text(text)
        new.replace(self.source / name)


def test_a_file_that_is_replaced_during_a_run_fails_the_slices_that_are_left_by_name(cluster):
    reading = Reading(cluster, files=1)
    reading.wait_until_busy()

    reading.replace("b", reading.lines("X", LINES + 500))
    cluster.wait_status(reading.ex_id, "failed", within_s=90)

    assert {line[0] for line in reading.written()} == {"b"}
    assert set(reading.written().values()) == {1}
    bad = [record for record in cluster.records(reading.ex_id) if record["state"] == "error"]
    assert bad
    assert all(f"file {reading.source}/b was replaced" in record["error"] for record in bad)
    assert not reading.is_marked()


@pytest.mark.parametrize("slices", [3, 40, 70])
def test_a_controller_that_dies_while_a_file_is_appended_to_loses_and_doubles_nothing(cluster, slices):
    reading = Reading(cluster)
    reading.wait_until_busy(slices)

    with (reading.source / "b").open("a") as file:
        file.write(reading.lines("X"))
    reading.kill_the_controller()
    cluster.wait_status(reading.ex_id, "completed", within_s=90)

    written = reading.written()
    assert {line: count for line, count in written.items() if line[0] != "X"} == dict.fromkeys(
        (reading.lines("b") + reading.lines("c")).split(), 1
    )
    assert reading.is_marked()


def test_a_recovery_goes_on_where_it_was_with_another_size_and_a_file_that_has_grown(cluster):
    reading = Reading(cluster, files=1, workers=1, delay_ms=150)
    reading.wait_until_busy(5)
    cluster.post(f"/jobs/{reading.job_id}/_stop?blocking=true")
    assert cluster.status(reading.ex_id) == "stopped"
    assert not reading.is_marked()

    with (reading.source / "b").open("a") as file:
        file.write(reading.lines("X"))
    reading.job["operations"][0]["size"] = 777
    reading.job["operations"][1]["ms"] = 1
    cluster.request("PUT", f"/jobs/{reading.job_id}", json=reading.job).raise_for_status()
    ex_id = cluster.post(f"/jobs/{reading.job_id}/_recover")["ex_id"]
    cluster.wait_status(ex_id, "completed", within_s=90)

    assert reading.written() == dict.fromkeys(reading.lines("b").split(), 1)
    assert reading.is_marked()


def test_a_controller_that_cannot_go_on_says_why_and_how(cluster):
    """There are more slices than may wait, so the slicer is not done; where it stands is where records end."""
    reading = Reading(cluster, files=3, size=1, delay_ms=0)
    reading.wait_until_busy(20)
    reading.kill_the_controller()
    for name in "bcd":
        reading.replace(name, reading.lines("X"))

    reason = cluster.wait_status(reading.ex_id, "failed", within_s=120)["_failureReason"]

    assert re.search(rf"file {reading.source}/[bcd] was replaced by another one since it was cut", reason)
    assert "start the job anew" in reason
    assert not reading.is_marked()
    assert not {line for line in reading.written() if line[0] == "X"}


def test_an_output_is_marked_when_its_execution_is_completed_and_not_before(cluster):
    reading = Reading(cluster, files=1)
    seen = set()

    def has_ended():
        seen.add((cluster.status(reading.ex_id), reading.is_marked()))
        return ("completed", True) in seen

    until(has_ended, "the execution is completed and marked", 90)

    assert ("completed", False) not in seen
    ex_id = cluster.post(f"/jobs/{reading.job_id}/_start")["ex_id"]
    until(lambda: cluster.status(ex_id) == "running", "it runs again")
    until(lambda: cluster.processes(ex_id, "worker"), "it has workers")
    assert not reading.is_marked() or cluster.status(ex_id) == "completed"
    cluster.post(f"/jobs/{reading.job_id}/_stop?blocking=true")
    assert reading.is_marked() == (cluster.status(ex_id) == "completed")

"""Operations that hold records back, in real processes that are killed: no record is lost, none is doubled."""

import os
import signal

import msgspec
import pytest

from tests.support.daemons import cluster_for, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RECORDS = 4_000


@pytest.fixture
def cluster(request, tmp_path):
    settings = {"teraslice.worker_disconnect_timeout": "2s", "tsd.controller_lease": "2s"}
    settings["teraslice.node_disconnect_timeout"] = "3s"
    with cluster_for(request, tmp_path, workers=4, **settings) as cluster:
        cluster.start_master()
        cluster.first_node = cluster.start_node("node-1")
        yield cluster


class Run:
    """A job that numbers pass through, and that holds all of them back until its end."""

    def __init__(self, cluster, tmp_path, **options):
        self.cluster = cluster
        self.sink = tmp_path / "out"
        source = tmp_path / "numbers.ldjson"
        source.write_bytes(b"".join(b'{"n":%d}\n' % n for n in range(RECORDS)))
        self.job_id, self.ex_id = cluster.post_job(
            {
                "name": "held back",
                "lifecycle": "once",
                "workers": 3,
                "operations": [
                    {"_op": "file_reader", "path": str(source), "format": "ldjson", "size": 200},
                    {"_op": "delay", "ms": 20},
                    {"_op": "collect", "size": 1_000_000, "wait": "1 hour"},
                    {"_op": "file_exporter", "path": str(self.sink), "format": "ldjson"},
                ],
                **options,
            }
        )

    def count(self, *states):
        return sum(record["state"] in states for record in self.cluster.records(self.ex_id))

    def wait_until_busy(self):
        until(lambda: self.count("start") >= 40, "40 slices have begun", 60)

    def a_pid(self, assignment):
        processes = self.cluster.processes(self.ex_id, assignment)
        return next(process["pid"] for process in processes if process["pid"] > 0)

    def written(self):
        lines = [line for path in self.sink.glob("*.ldjson") for line in path.read_bytes().splitlines()]
        return sorted(msgspec.json.decode(line)["n"] for line in lines)


@pytest.mark.parametrize("victim", ["worker", "execution_controller", "node", "nobody"])
def test_records_that_are_held_back_outlive_a_sudden_death(cluster, tmp_path, victim):
    run = Run(cluster, tmp_path)
    run.wait_until_busy()
    assert run.count("completed") == 0
    if victim == "node":
        cluster.first_node.kill()
        cluster.start_node("node-1")
    elif victim != "nobody":
        os.kill(run.a_pid(victim), signal.SIGKILL)

    cluster.wait_status(run.ex_id, "completed", within_s=90)

    assert run.written() == list(range(RECORDS))
    assert {record["state"] for record in cluster.records(run.ex_id)} == {"completed"}


def test_a_stop_releases_what_is_held_back_and_a_recovery_reads_the_rest(cluster, tmp_path):
    run = Run(cluster, tmp_path)
    run.wait_until_busy()
    cluster.post(f"/jobs/{run.job_id}/_stop")
    written = run.written()
    assert 0 < len(written) < RECORDS
    assert run.count("start") == 0

    answer = cluster.post(f"/ex/{run.ex_id}/_recover")
    cluster.wait_status(answer["ex_id"], "completed", within_s=90)

    assert run.written() == list(range(RECORDS))

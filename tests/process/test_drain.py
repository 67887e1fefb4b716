"""Nodes are drained under work, with real daemons: nothing fails, no slice runs twice, none is lost.

Which numbers went through is told by two that do not know of each other: an operation that writes down each
number that it sees, and the files that the job writes.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.support.daemons import ROOT, cluster_for, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OTHER = {"node-1": "node-2", "node-2": "node-1"}
DISCONNECT_S = 1.5
MISSED_S = 3 * DISCONNECT_S
"""So long nothing must fail although no worker is there: that can only be seen by waiting."""


@pytest.fixture
def cluster(request, tmp_path):
    settings = {
        "tsd.operation_modules": ["tests.support.ops"],
        "teraslice.worker_disconnect_timeout": f"{DISCONNECT_S}s",
        "tsd.controller_lease": "2s",
    }
    with cluster_for(request, tmp_path / "cluster-files", **settings) as cluster:
        cluster.start_master()
        yield cluster


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    (tmp_path / "cluster-files").mkdir()


class Job:
    """Numbers that are written down by a witness, and then to files."""

    def __init__(self, cluster, tmp_path, *operations, size=100_000, workers=2, **more):
        self.cluster = cluster
        self.seen = tmp_path / "seen"
        self.sink = tmp_path / "out"
        self.job_id, self.ex_id = cluster.post_job(
            {
                "name": "drained",
                "workers": workers,
                "max_retries": 0,
                "operations": [
                    {"_op": "count", "size": size, **more.pop("reader", {})},
                    {"_op": "witness", "file": str(self.seen)},
                    *operations,
                    {"_op": "file_exporter", "path": str(self.sink), "format": "ldjson"},
                ],
                **more,
            }
        )

    def witnessed(self):
        text = self.seen.read_text() if self.seen.exists() else ""
        return Counter(
            int(line.split()[0]) for line in text.splitlines() if line.endswith(tuple("0123456789"))
        )

    def written(self):
        lines = [line for path in self.sink.glob("*.ldjson") for line in path.read_text().splitlines()]
        return Counter(json.loads(line)["number"] for line in lines)

    def completed(self):
        return {r["request"]["number"] for r in self.cluster.records(self.ex_id) if r["state"] == "completed"}

    def nodes(self, assignment):
        """The nodes of its processes of a kind, one entry a process."""
        state = self.cluster.get("/cluster/state")
        return sorted(
            node["node_id"]
            for node in state.values()
            for process in node["active"]
            if process.get("ex_id") == self.ex_id and process["assignment"] == assignment
        )

    @property
    def workers(self):
        return self.nodes("worker")

    @property
    def controller(self):
        return (self.nodes("execution_controller") or [None])[0]

    def wait_for_more(self, count=20):
        goal = sum(self.witnessed().values()) + count
        until(lambda: sum(self.witnessed().values()) >= goal, f"{count} more slices have begun", 60)

    def wait_for_workers(self, *nodes):
        until(lambda: self.workers == sorted(nodes), f"its workers are on {nodes}")

    @property
    def generation(self):
        ((generation,),) = self.cluster.rows("SELECT generation FROM executions WHERE ex_id = ?", self.ex_id)
        return generation

    def check_nothing_was_lost_or_doubled(self):
        assert self.written() == self.witnessed()
        assert set(self.written().values()) == {1}
        assert self.completed() == set(self.written())


def node(cluster, node_id):
    return cluster.get(f"/v1/cluster/nodes/{node_id}")


def wait_drained(cluster, node_id):
    until(lambda: node(cluster, node_id)["state"] == "drained", f"{node_id} is drained", 40)


def tsd(cluster, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "tsd.cli.main", *arguments, "--url", cluster.url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("of_controller", [False, True], ids=["workers", "controller"])
def test_a_persistent_job_that_holds_records_back_goes_on_elsewhere(cluster, tmp_path, of_controller):
    cluster.start_node("node-1", workers=4)
    cluster.start_node("node-2", workers=4)
    hold = {"_op": "collect", "size": 1_000_000, "wait": "1 hour"}
    job = Job(cluster, tmp_path, {"_op": "waiter", "seconds": 0.01}, hold, workers=3, lifecycle="persistent")
    job.wait_for_more(60)
    assert job.completed() == set()
    here, there = job.controller, OTHER[job.controller]
    assert set(job.workers) == {here, there}
    away = here if of_controller else there

    answer = cluster.post(f"/v1/cluster/nodes/{away}/_drain")

    assert (answer["state"], answer["processes"]) == ("drained", 0)
    job.wait_for_workers(*[OTHER[away]] * 3)
    assert job.controller == OTHER[away]
    assert job.generation == (2 if of_controller else 1)
    assert job.completed() != set()  # what was held back there has left
    job.wait_for_more(60)
    assert cluster.status(job.ex_id) == "running"
    assert cluster.post(f"/ex/{job.ex_id}/_stop")["status"] == "stopped"
    job.check_nothing_was_lost_or_doubled()
    assert len(job.written()) >= 120


def test_a_job_that_ends_is_complete_after_all_its_nodes_were_drained_in_turn(cluster, tmp_path):
    """As in maintenance of one host after the other; the node daemons are started again meanwhile."""
    daemons = {name: cluster.start_node(name, workers=3) for name in ("node-1", "node-2")}
    job = Job(cluster, tmp_path, {"_op": "waiter", "seconds": 0.02}, size=400)
    job.wait_for_more()
    for name in ("node-1", "node-2"):
        cluster.post(f"/v1/cluster/nodes/{name}/_drain")
        assert daemons[name].stop() == 0
        until(lambda name=name: name not in cluster.nodes(), f"{name} is away")
        cluster.start_node(name, workers=3)
        assert node(cluster, name)["state"] == "drained"
        assert cluster.post(f"/v1/cluster/nodes/{name}/_undrain")["state"] == "connected"
        job.wait_for_more()

    cluster.wait_status(job.ex_id, "completed", within_s=60)

    assert job.generation >= 2
    assert job.written() == Counter(range(400))
    job.check_nothing_was_lost_or_doubled()


def test_the_master_is_killed_in_the_middle_of_a_drain(cluster, tmp_path):
    """A running slice is not cut short, and its worker is not taken for the one that has its place."""
    cluster.start_node("node-1", workers=3)
    cluster.start_node("node-2", workers=3)
    job = Job(cluster, tmp_path, {"_op": "sleeper", "seconds": 4.0}, size=8, workers=3)
    until(lambda: len(job.witnessed()) == 3, "three slices run")
    away = OTHER[job.controller]
    pids = {each["pid"] for each in cluster.nodes()[away]["active"]}

    answer = cluster.post(f"/v1/cluster/nodes/{away}/_drain?blocking=false")
    assert (answer["state"], answer["processes"]) == ("draining", len(pids))
    cluster.daemons["master"].kill()
    assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
    cluster.start_master()
    assert node(cluster, away)["drain_since"] == answer["drain_since"]

    wait_drained(cluster, away)
    cluster.wait_status(job.ex_id, "completed", within_s=60)
    assert job.generation == 1
    assert job.written() == Counter(range(8))
    job.check_nothing_was_lost_or_doubled()


def test_with_one_node_the_work_waits_until_it_is_used_again(cluster, tmp_path):
    cluster.start_node("node-1", workers=4)
    job = Job(cluster, tmp_path, {"_op": "waiter", "seconds": 0.02}, size=300)
    job.wait_for_more()

    answer = cluster.post("/v1/cluster/nodes/node-1/_drain")
    assert [each["ex_id"] for each in answer["waiting"]] == [job.ex_id]
    assert "no node takes work" in answer["waiting"][0]["reason"]
    capacity = cluster.get("/ready")["checks"]["capacity"]
    assert capacity == answer["capacity"]
    assert (capacity["ok"], capacity["nodes_drained"], capacity["slots_free"]) == (False, 1, 0)
    begun = job.witnessed()
    time.sleep(MISSED_S)

    assert job.witnessed() == begun
    assert (cluster.status(job.ex_id), job.controller, job.workers) == ("running", None, [])
    cluster.post("/v1/cluster/nodes/node-1/_undrain")
    cluster.wait_status(job.ex_id, "completed", within_s=60)
    assert job.generation == 2
    assert job.written() == Counter(range(300))
    job.check_nothing_was_lost_or_doubled()


def test_a_controller_whose_workers_have_no_room_waits_for_it(cluster, tmp_path):
    """Also longer than `worker_disconnect_timeout`, which holds for workers that nobody drained."""
    cluster.start_node("node-1", workers=1)
    cluster.start_node("node-2", workers=1)
    job = Job(cluster, tmp_path, {"_op": "waiter", "seconds": 0.02}, size=200, workers=1)
    job.wait_for_more()
    controller, worker = job.controller, job.workers[0]

    cluster.post(f"/v1/cluster/nodes/{worker}/_drain")
    time.sleep(MISSED_S)

    assert (cluster.status(job.ex_id), job.controller, job.workers) == ("running", controller, [])
    cluster.post(f"/v1/cluster/nodes/{worker}/_undrain")
    cluster.wait_status(job.ex_id, "completed", within_s=60)
    assert job.generation == 1
    job.check_nothing_was_lost_or_doubled()
    assert job.written() == Counter(range(200))


def test_a_job_whose_slicer_can_not_go_on_elsewhere_ends_where_it_is(cluster, tmp_path):
    cluster.start_node("node-1", workers=2)
    cluster.start_node("node-2", workers=2)
    job = Job(cluster, tmp_path, {"_op": "waiter", "seconds": 0.05}, size=80, reader={"can_recover": False})
    job.wait_for_more(10)
    away = job.controller

    answer = cluster.post(f"/v1/cluster/nodes/{away}/_drain?blocking=false")
    until(lambda: node(cluster, away)["processes"] == 1, "only the controller is left")
    assert node(cluster, away)["staying"] == [job.ex_id]
    cluster.wait_status(job.ex_id, "completed", within_s=60)

    wait_drained(cluster, away)
    assert answer["state"] == "draining"
    assert job.written() == Counter(range(80))
    job.check_nothing_was_lost_or_doubled()


def test_a_time_limit_cuts_a_slice_short_which_then_runs_elsewhere(cluster, tmp_path):
    cluster.start_node("node-1", workers=2)
    cluster.start_node("node-2", workers=2)
    job = Job(cluster, tmp_path, {"_op": "sleeper", "seconds": 8.0}, size=2)
    until(lambda: len(job.witnessed()) == 2, "both slices run")
    away = OTHER[job.controller]

    answer = cluster.post(f"/v1/cluster/nodes/{away}/_drain?timeout=500ms")

    assert answer["state"] == "drained"
    assert job.written() == Counter()  # so the slice there was cut short
    cluster.wait_status(job.ex_id, "completed", within_s=60)
    assert set(job.witnessed()) == {0, 1}
    assert job.written() == Counter(range(2))


def test_what_the_api_says_of_nodes(cluster):
    cluster.start_node("node-1", workers=4)
    daemon = cluster.start_node("node-2", workers=2)
    unknown = cluster.request("POST", "/v1/cluster/nodes/node-9/_drain")
    assert (unknown.status_code, unknown.json()["message"]) == (
        404,
        "no node has the id node-9: known are node-1, node-2",
    )
    assert cluster.request("GET", "/cluster/nodes/node-9").status_code == 404

    first = cluster.post("/cluster/nodes/node-2/_drain")
    assert cluster.post("/cluster/nodes/node-2/_drain?blocking=false") == first
    assert (first["state"], first["total"], first["available"]) == ("drained", 2, 2)
    assert first["capacity"] == {"ok": True, "nodes": 2, "nodes_drained": 1, "slots": 6, "slots_free": 4}
    assert cluster.get("/cluster/state")["node-2"]["state"] == "drained"
    lines = cluster.request("GET", "/txt/nodes?fields=node_id,state").text.split()
    assert lines[lines.index("node-2") + 1] == "drained"
    metrics = cluster.request("GET", "/metrics").text
    counts = [line for line in metrics.splitlines() if line.startswith("tsd_nodes{")]
    assert [line.rpartition(" ")[2] for line in counts] == ["1.0", "0.0", "1.0", "0.0"]

    daemon.stop()
    until(lambda: "hostname" not in node(cluster, "node-2"), "it is not waited for")
    away = node(cluster, "node-2")
    assert (away["state"], away["drain_since"]) == ("disconnected", first["drain_since"])
    assert [each["node_id"] for each in cluster.get("/cluster/nodes")] == ["node-1", "node-2"]
    cluster.post("/cluster/nodes/node-2/_undrain")
    assert cluster.request("POST", "/cluster/nodes/node-2/_undrain").status_code == 404


def test_the_command_shows_how_a_node_becomes_empty(cluster, tmp_path):
    cluster.start_node("node-1", workers=3)
    cluster.start_node("node-2", workers=3)
    job = Job(cluster, tmp_path, {"_op": "sleeper", "seconds": 2.0}, size=4)
    until(lambda: len(job.witnessed()) == 2, "both slices run")
    away = OTHER[job.controller]

    done = tsd(cluster, "drain", away)

    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith(f"{away}: 1 process left")
    assert lines[-1] == f"{away}: drained"
    table = [line.split() for line in tsd(cluster, "nodes").stdout.splitlines()]
    (row,) = [each for each in table if each[0] == away]
    assert row[:5] == [away, "drained", "3", "3", "0"]
    assert row[-1] == node(cluster, away)["drain_since"]
    assert tsd(cluster, "undrain", away).stdout == f"{away} is used again: connected\n"
    cluster.wait_status(job.ex_id, "completed", within_s=60)
    job.check_nothing_was_lost_or_doubled()


def test_ctrl_c_ends_the_waiting_and_not_the_drain(cluster, tmp_path):
    cluster.start_node("node-1", workers=3)
    job = Job(cluster, tmp_path, {"_op": "sleeper", "seconds": 4.0}, size=2)
    until(lambda: len(job.witnessed()) == 2, "both slices run")
    command = [sys.executable, "-u", "-m", "tsd.cli.main", "drain", "node-1", "--url", cluster.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert "3 processes left" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)

    assert process.returncode == 2
    assert rest == "node-1 goes on to be drained, 3 processes left; `tsd undrain node-1` takes that back\n"
    wait_drained(cluster, "node-1")
    assert tsd(cluster, "undrain", "node-1").returncode == 0
    cluster.wait_status(job.ex_id, "completed", within_s=60)
    job.check_nothing_was_lost_or_doubled()


def test_the_command_says_what_is_wrong(cluster):
    cluster.start_node("node-1", workers=3)
    for command in ("drain", "undrain"):
        done = tsd(cluster, command, "node-9")
        assert (done.returncode, done.stderr) == (
            1,
            "tsd: no node has the id node-9: known are node-1\n",
        )
    done = tsd(cluster, "drain", "node-1", "--timeout", "soon")
    assert (done.returncode, "timeout" in done.stderr) == (1, True)
    done = tsd(cluster, "drain", "node-1", "--no-wait")
    assert (done.returncode, done.stdout) == (0, "node-1: drained\n")

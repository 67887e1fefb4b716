"""Each row of the failure table: real daemons, real signals, and an independent look at what came out."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import flight_job
from tests.support.daemons import Cluster, cluster_for, until
from tests.support.scrape import series, values_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

QUICK_TO_NOTICE = {
    "teraslice.worker_disconnect_timeout": "2s",
    "teraslice.node_disconnect_timeout": "3s",
    "tsd.controller_lease": "2s",
    "tsd.operation_modules": ["tests.support.ops"],
}


@pytest.fixture(scope="session")
def flights(tmp_path_factory):
    """The input of all tests here, and what must come out of it."""
    path = tmp_path_factory.mktemp("flights") / "flights.csv"
    flight_job.write_flights(path)
    return path, flight_job.expected(path)


@pytest.fixture
def cluster(request, tmp_path):
    with cluster_for(request, tmp_path, workers=4, **QUICK_TO_NOTICE) as cluster:
        cluster.start_master()
        cluster.start_node("node-1")
        yield cluster


class Run:
    """The flights job on a cluster, from its POST to the check of its output."""

    def __init__(self, cluster: Cluster, flights, **options):
        self.cluster = cluster
        self.source, self.expected = flights
        self.sink = cluster.folder / "out"
        self.job_id, self.ex_id = cluster.post_job(flight_job.job(self.source, self.sink, **options))

    def count(self, *states: str) -> int:
        return sum(record["state"] in states for record in self.cluster.records(self.ex_id))

    def wait_until_busy(self, completed: int = 20) -> None:
        until(lambda: self.count("completed") >= completed, f"{completed} slices are completed", 60)

    def pids(self, assignment: str) -> list[int]:
        return [p["pid"] for p in self.cluster.processes(self.ex_id, assignment) if p["pid"] > 0]

    def a_pid(self, assignment: str) -> int:
        return until(lambda: self.pids(assignment), f"a {assignment} runs", 20)[0]

    def check_completed(self, within_s: float = 90.0) -> None:
        """Completed; nothing lost, nothing doubled; every record says so."""
        execution = self.cluster.wait_status(self.ex_id, "completed", within_s=within_s)
        self.check_output()

        assert execution["_has_errors"] is False
        assert {record["state"] for record in self.cluster.records(self.ex_id)} == {"completed"}

    def check_output(self) -> None:
        assert flight_job.written(self.sink) == self.expected
        assert not [path for path in self.sink.rglob("*") if "tmp" in path.suffix]


def kill(pid: int, number: int = signal.SIGKILL) -> float:
    """Signal a process; the moment."""
    assert pid > 1
    os.kill(pid, number)
    return time.monotonic()


def report(what: str, since: float) -> None:
    """Say how long it took: the figures of the failure table come from here."""
    print(f"TOOK {what}: {time.monotonic() - since:.2f} s")


# --- workers -----------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_its_slice_runs_elsewhere(cluster, flights):
    """B1; cluster 17: SIGKILL in the middle of slices, several times."""
    run = Run(cluster, flights)
    run.wait_until_busy()
    for _ in range(3):
        victim = run.a_pid("worker")
        since = kill(victim)
        until(lambda victim=victim: victim not in run.pids("worker"), "the death is noticed")
        report("worker killed, noticed", since)
        until(lambda: len(run.pids("worker")) == 3, "the wanted number of workers runs again", 10)
        report("worker killed, replaced", since)

    run.check_completed()


def test_all_workers_killed_at_once_are_replaced(cluster, flights):
    run = Run(cluster, flights)
    run.wait_until_busy()
    victims = run.pids("worker")
    for victim in victims:
        since = kill(victim)
    done = run.count("completed")
    until(lambda: run.count("completed") > done + 3, "work goes on")
    report("all workers killed, work goes on", since)

    run.check_completed()


def test_a_frozen_worker_loses_its_slices_and_is_refused_when_it_comes_back(cluster, flights):
    run = Run(cluster, flights)
    run.wait_until_busy()
    victim = run.a_pid("worker")
    since = kill(victim, signal.SIGSTOP)
    until(lambda: victim not in run.pids("worker"), "the frozen worker is given up", 40)
    report("worker frozen, given up", since)
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGCONT)

    run.check_completed()


def test_a_worker_frozen_for_a_moment_goes_on(cluster, flights):
    """E24: a short freeze loses nobody."""
    run = Run(cluster, flights)
    run.wait_until_busy()
    victim = run.a_pid("worker")
    kill(victim, signal.SIGSTOP)
    done = run.count("completed")
    until(lambda: run.count("completed") > done + 10, "the others go on")
    os.kill(victim, signal.SIGCONT)

    run.check_completed()
    assert "worker.lost" not in cluster.logs()


def test_a_slice_that_kills_its_worker_ends_in_error_and_no_other_does(cluster, tmp_path):
    """A poison slice is tried `max_retries` + 1 times and says what killed it."""
    deaths = tmp_path / "deaths"
    job = {
        "name": "poison",
        "workers": 3,
        "max_retries": 2,
        "operations": [
            {"_op": "count", "size": 40},
            {"_op": "killer", "at": [17], "file": str(deaths)},
        ],
    }
    _, ex_id = cluster.post_job(job)
    execution = cluster.wait_status(ex_id, "failed", within_s=60)
    records = cluster.records(ex_id)
    bad = [record for record in records if record["state"] != "completed"]

    assert len(records) == 40
    assert [record["request"]["number"] for record in bad] == [17]
    assert bad[0]["state"] == "error"
    assert "9" in bad[0]["error"] or "KILL" in bad[0]["error"]
    assert deaths.read_text() == "..."
    assert "had 1 slice failure" in execution["_failureReason"]


def test_a_worker_that_holds_the_interpreter_is_not_taken_for_dead(cluster):
    """Three signals kept apart: 20 s without a word, ten times the disconnect timeout, and nothing happens."""
    job = {
        "name": "hog",
        "workers": 1,
        "operations": [
            {"_op": "count", "size": 3},
            {"_op": "hog", "at": [2], "seconds": 20.0},
        ],
    }
    _, ex_id = cluster.post_job(job)
    until(lambda: cluster.processes(ex_id, "worker"), "the worker runs")
    pid = cluster.processes(ex_id, "worker")[0]["pid"]

    def is_stalled():
        found = [c for c in cluster.get("/cluster/controllers") if c["ex_id"] == ex_id]
        return found and found[0].get("stalled_workers")

    until(is_stalled, "the controller shows it as stalled", 15)
    cluster.wait_status(ex_id, "completed", within_s=60)

    assert [r["state"] for r in cluster.records(ex_id)] == ["completed"] * 3
    assert f'"about_pid": {pid}' in cluster.logs()
    assert "worker.lost" not in cluster.logs()


# --- controllers -------------------------------------------------------------------------------


def test_a_controller_killed_before_its_first_record_starts_again(cluster, flights):
    """B7"""
    run = Run(cluster, flights)
    since = kill(run.a_pid("execution_controller"))
    run.wait_until_busy(1)
    report("controller killed before its first record, work goes on", since)

    run.check_completed()


def test_a_controller_killed_in_the_middle_is_replaced_by_one_that_knows(cluster, flights):
    """B7: twice, so that the second recovers what the first recovered."""
    run = Run(cluster, flights)
    for _ in range(2):
        run.wait_until_busy(20)
        done = run.count("completed")
        since = kill(run.a_pid("execution_controller"))
        until(lambda done=done: run.count("completed") > done + 5, "work goes on")
        report("controller killed, work goes on", since)

    run.check_completed()


def test_a_controller_killed_while_stopping_still_stops(cluster, flights):
    """A stop always ends in a terminal status; what is left is recovered to the last record."""
    run = Run(cluster, flights, delay_ms=100)
    run.wait_until_busy()
    pid = run.a_pid("execution_controller")
    cluster.post(f"/ex/{run.ex_id}/_stop?blocking=false")
    since = kill(pid)
    cluster.wait_status(run.ex_id, "stopped", within_s=30)
    report("controller killed while stopping, stopped", since)
    until(lambda: not cluster.processes(run.ex_id), "nothing of it is left")

    recovered = cluster.post(f"/jobs/{run.job_id}/_recover")["ex_id"]
    cluster.wait_status(recovered, "completed", within_s=90)
    counts, _ = flight_job.written(run.sink)
    # What was handed out but not recorded when the controller died is made again by another execution.
    assert all(counts[carrier] >= count for carrier, count in run.expected[0].items())


def test_a_frozen_controller_is_replaced_and_fenced(cluster, flights):
    """Late results and stale generations are refused."""
    run = Run(cluster, flights, delay_ms=40)
    run.wait_until_busy()
    frozen = run.a_pid("execution_controller")
    since = kill(frozen, signal.SIGSTOP)
    until(lambda: run.pids("execution_controller") not in ([], [frozen]), "a new controller runs", 60)
    report("controller frozen, replaced", since)
    with contextlib.suppress(ProcessLookupError):
        os.kill(frozen, signal.SIGCONT)

    run.check_completed()


def test_a_controller_frozen_for_less_than_its_lease_goes_on(cluster, flights):
    run = Run(cluster, flights, delay_ms=40)
    run.wait_until_busy()
    pid = run.a_pid("execution_controller")
    kill(pid, signal.SIGSTOP)
    time.sleep(1.0)  # half of its lease: the freeze itself is what is tested
    os.kill(pid, signal.SIGCONT)

    run.check_completed()
    assert cluster.rows("SELECT generation FROM executions WHERE ex_id = ?", run.ex_id) == [(1,)]


# --- nodes -------------------------------------------------------------------------------------


def test_a_killed_node_takes_its_processes_along_and_another_node_takes_over(cluster, flights):
    cluster.start_node("node-2")
    run = Run(cluster, flights, workers=4, delay_ms=40)
    run.wait_until_busy()
    node = cluster.daemons["node-1"]
    since = time.monotonic()
    node.kill()
    until(lambda: not node.pids(), "its processes are gone", 5)
    report("node killed, its processes gone", since)
    done = run.count("completed")
    until(lambda: run.count("completed") > done + 5, "work goes on at the other node", 40)
    report("node killed, work goes on elsewhere", since)

    run.check_completed()


def test_a_killed_node_that_returns_is_given_work_again(cluster, flights):
    run = Run(cluster, flights)
    run.wait_until_busy()
    node = cluster.daemons["node-1"]
    node.kill()
    until(lambda: not node.pids(), "its processes are gone", 5)
    since = time.monotonic()
    cluster.start_node("node-1")
    done = run.count("completed")
    until(lambda: run.count("completed") > done + 5, "work goes on", 40)
    report("node killed and started again, work goes on", since)

    run.check_completed()


# --- master ------------------------------------------------------------------------------------


def test_a_killed_master_stops_nobody(cluster, flights):
    """B9: work goes on without a master; on its return everything is as it should be."""
    run = Run(cluster, flights)
    run.wait_until_busy()
    workers = sorted(run.pids("worker"))
    cluster.daemons["master"].kill()
    files = len(list(run.sink.rglob("*.ldjson")))
    until(lambda: len(list(run.sink.rglob("*.ldjson"))) > files + 20, "output grows without a master")
    since = time.monotonic()
    cluster.start_master()
    until(lambda: sorted(run.pids("worker")) == workers, "the same workers are known again")
    report("master killed, started again, reconciled", since)

    run.check_completed()
    assert cluster.rows("SELECT generation FROM executions WHERE ex_id = ?", run.ex_id) == [(1,)]


def test_a_job_answered_by_a_master_that_dies_at_once_still_runs(cluster, flights):
    """B9, E4: between the answer of a POST and placement."""
    run = Run(cluster, flights)
    since = time.monotonic()
    cluster.daemons["master"].kill()
    cluster.start_master()
    run.wait_until_busy(1)
    report("master killed after the answer of a POST, first slice", since)

    run.check_completed()


# --- disk --------------------------------------------------------------------------------------


def test_a_full_disk_under_the_store_holds_everything_and_loses_nothing(request, tmp_path, flights):
    """B8: nothing is acknowledged, new jobs get 503, `/ready` says why; after relief it goes on by itself."""
    if os.geteuid() != 0:
        pytest.skip("a small tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"can not mount a tmpfs here: {mounted.stderr.decode()}")
    folder = tmp_path / "cluster"
    folder.mkdir()
    try:
        settings = {**QUICK_TO_NOTICE, "tsd.data_dir": str(disk / "data")}
        with cluster_for(request, folder, workers=4, **settings) as cluster:
            cluster.data_dir = disk / "data"
            cluster.start_master()
            cluster.start_node("node-1")
            run = Run(cluster, flights)
            run.wait_until_busy()
            since = time.monotonic()
            ballast = fill(disk)
            refused = until(lambda: not_ready(cluster), "/ready says that the store fails")
            report("disk full, /ready says so", since)
            answer = cluster.request("POST", "/jobs", json=flight_job.job(run.source, run.sink))
            assert answer.status_code == 503, answer.text
            assert "Retry-After" in answer.headers
            assert "full" in refused.lower()
            down = values_of(cluster.request("GET", "/metrics").text)
            assert down[series("tsd_store_up")] == 0
            assert down[series("tsd_store_held_writes")] >= 1
            since = time.monotonic()
            ballast.unlink()
            until(
                lambda: cluster.request("GET", "/ready").status_code == 200,
                "/ready is well again",
            )
            report("disk relieved, ready", since)

            run.check_completed()
            up = values_of(cluster.request("GET", "/metrics").text)
            assert (up[series("tsd_store_up")], up[series("tsd_store_held_writes")]) == (1, 0)
            assert up[series("tsd_store_commit_failures_total")] >= 1
            assert len(cluster.get("/jobs")) == 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0")
    return ballast


def not_ready(cluster: Cluster) -> str:
    answer = cluster.request("GET", "/ready")
    return answer.text if answer.status_code == 503 else ""


# --- drain -------------------------------------------------------------------------------------


def test_a_drained_cluster_goes_on_where_it_was(request, tmp_path, flights):
    """SIGTERM to `tsd up` drains; the next one on the same folder continues the execution."""
    with cluster_for(request, tmp_path, workers=4, **QUICK_TO_NOTICE) as cluster:
        up = cluster.start_up()
        run = Run(cluster, flights, delay_ms=40)
        run.wait_until_busy()
        since = time.monotonic()
        assert up.stop() == 0
        report("tsd up told to stop, gone", since)
        assert not up.pids()
        cluster.start_up()

        run.check_completed()


def test_a_drained_cluster_flushes_what_its_operations_keep(request, tmp_path):
    """E43: also when the whole cluster is told to end."""
    kept = tmp_path / "kept"
    operations = [
        {"_op": "count", "size": 1_000_000},
        {"_op": "waiter", "seconds": 0.01},
        {"_op": "hoarder", "file": str(kept), "seconds": 0.5},
    ]
    with cluster_for(request, tmp_path, workers=4, **QUICK_TO_NOTICE) as cluster:
        up = cluster.start_up()
        job = {"name": "hoard", "lifecycle": "persistent", "workers": 3, "operations": operations}
        _, ex_id = cluster.post_job(job)
        until(lambda: len(cluster.records(ex_id)) > 100, "it works")
        assert up.stop() == 0

        completed = [record for record in cluster.records(ex_id) if record["state"] == "completed"]
        assert sum(map(int, kept.read_text().split())) == len(completed)

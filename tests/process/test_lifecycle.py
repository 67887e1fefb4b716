"""Whole lives of jobs with real processes: waiting, pausing, scaling, stopping, and every kind of recovery.

`tests/api/test_lifecycle.py` has what the API answers meanwhile.
"""

import json
import time
from collections import Counter

import pytest

from tests.support.daemons import TERMINAL, cluster_for, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SLOTS = 6


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    settings = {
        "tsd.operation_modules": ["tests.support.ops"],
        "teraslice.shutdown_timeout": "1s",
        "tsd.controller_lease": "1s",
    }
    folder = tmp_path_factory.mktemp("lifecycle")
    with cluster_for(request, folder, workers=SLOTS, **settings) as cluster:
        cluster.start_master()
        cluster.start_node()
        yield cluster


@pytest.fixture(autouse=True)
def _room(cluster):
    """Every test begins with an empty node, also after one that failed."""
    yield
    for execution in cluster.get("/ex?size=1000"):
        if execution["_status"] not in TERMINAL:
            cluster.post(f"/ex/{execution['ex_id']}/_stop?force=true")
    until(lambda: free_slots(cluster) == SLOTS, "the node is free")


@pytest.fixture
def witness(tmp_path):
    return Witness(tmp_path / "seen")


class Witness:
    """What an operation in the middle of a job wrote down."""

    def __init__(self, file):
        self.file = file
        self.operation = {"_op": "witness", "file": str(file)}

    def lines(self):
        return [line.split() for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def numbers(self):
        return Counter(int(number) for number, _ in self.lines())

    def pids(self):
        return {int(pid) for _, pid in self.lines()}

    def forget(self):
        self.file.unlink(missing_ok=True)


def job(*operations, **more):
    return {"name": "lifecycle", "workers": 2, "max_retries": 0, "operations": operations, **more}


def by_state(records):
    """Numbers of slices by the state of their records."""
    numbers = {"pending": set(), "start": set(), "completed": set(), "error": set()}
    for record in records:
        numbers[record["state"]].add(record["request"]["number"])
    return numbers


def count_completed(cluster, ex_id):
    return len(by_state(cluster.records(ex_id))["completed"])


def in_work(cluster, ex_id):
    return sum(c["workers_active"] for c in cluster.get("/cluster/controllers") if c["ex_id"] == ex_id)


# --- pause, resume, stop -----------------------------------------------------------------------


def test_a_persistent_job_goes_on_when_its_slicer_has_nothing_for_now(cluster):
    """E14"""
    _, ex_id = cluster.post_job(job({"_op": "count", "size": 30}, {"_op": "noop"}, lifecycle="persistent"))
    until(lambda: count_completed(cluster, ex_id) == 30, "all that there is now is completed")
    beats = [c["ex_id"] for c in cluster.get("/cluster/controllers")]

    assert ex_id in beats
    assert cluster.status(ex_id) == "running"
    assert cluster.post(f"/ex/{ex_id}/_stop") == {"status": "stopped"}
    assert cluster.get(f"/ex/{ex_id}")["_slicer_stats"]["processed"] == 30


def test_a_paused_job_ends_what_it_runs_and_begins_nothing(cluster, witness):
    """E25: and after the resume nothing was lost or run twice."""
    operations = [{"_op": "count", "size": 150}, witness.operation, {"_op": "waiter", "seconds": 0.02}]
    _, ex_id = cluster.post_job(job(*operations))
    until(lambda: count_completed(cluster, ex_id) > 5, "it runs")
    assert cluster.post(f"/ex/{ex_id}/_pause") == {"status": "paused"}
    until(lambda: in_work(cluster, ex_id) == 0, "what ran has ended")
    seen = witness.numbers()
    time.sleep(1.0)  # that nothing begins can only be seen by waiting: 50 slices' worth

    assert witness.numbers() == seen
    until(lambda: by_state(cluster.records(ex_id))["completed"] == set(seen), "what began is recorded")
    assert cluster.post(f"/ex/{ex_id}/_resume") == {"status": "running"}
    cluster.wait_status(ex_id, "completed")
    assert witness.numbers() == Counter(range(150))


def test_a_paused_job_can_be_stopped_and_recovered(cluster, witness):
    operations = [{"_op": "count", "size": 100}, witness.operation, {"_op": "waiter", "seconds": 0.02}]
    job_id, ex_id = cluster.post_job(job(*operations))
    until(lambda: count_completed(cluster, ex_id) > 5, "it runs")
    cluster.post(f"/ex/{ex_id}/_pause")

    assert cluster.post(f"/ex/{ex_id}/_stop") == {"status": "stopped"}
    until(lambda: not cluster.processes(ex_id), "nothing of it is left")
    second = cluster.post(f"/jobs/{job_id}/_recover")["ex_id"]
    cluster.wait_status(second, "completed")
    assert witness.numbers() == Counter(range(100))


def test_what_is_stopped_in_the_middle_of_slices_ends_them_first(cluster, witness):
    """E27, B5: slices that end within shutdown_timeout are completed, not begun again."""
    operations = [{"_op": "count", "size": 100}, {"_op": "waiter", "seconds": 0.4}, witness.operation]
    _, ex_id = cluster.post_job(job(*operations))
    until(lambda: in_work(cluster, ex_id) == 2, "both workers run a slice")

    assert cluster.post(f"/ex/{ex_id}/_stop") == {"status": "stopped"}
    states = by_state(cluster.records(ex_id))
    assert states["completed"] == set(witness.numbers())
    assert not states["start"]


def test_what_is_stopped_flushes_what_its_operations_keep(cluster, tmp_path):
    """E43: a slice counts as completed while a record of it is still kept, so a stop must not cut the flush."""
    kept = tmp_path / "kept"
    hoarder = {"_op": "hoarder", "file": str(kept), "seconds": 0.3}
    operations = [{"_op": "count", "size": 1_000_000}, {"_op": "waiter", "seconds": 0.01}, hoarder]
    _, ex_id = cluster.post_job(job(*operations, lifecycle="persistent", workers=3))
    until(lambda: count_completed(cluster, ex_id) > 100, "it works")

    assert cluster.post(f"/ex/{ex_id}/_stop") == {"status": "stopped"}
    assert sum(map(int, kept.read_text().split())) == count_completed(cluster, ex_id)


# --- scaling -----------------------------------------------------------------------------------


def test_scaling_up_and_down_at_work_loses_nothing(cluster, witness):
    """E40: new workers get work, and those that go finish theirs."""
    operations = [{"_op": "count", "size": 400}, {"_op": "sleeper", "seconds": 0.02}, witness.operation]
    _, ex_id = cluster.post_job(job(*operations, workers=1))
    until(witness.numbers, "it runs")
    assert len(witness.pids()) == 1

    cluster.post(f"/ex/{ex_id}/_workers?add=3")
    until(lambda: len(witness.pids()) == 4, "all four get work")
    cluster.post(f"/ex/{ex_id}/_workers?total=2")
    until(lambda: len(cluster.processes(ex_id, "worker")) == 2, "two have left")
    assert cluster.status(ex_id) == "running"
    cluster.post(f"/ex/{ex_id}/_workers?remove=1")
    until(lambda: len(cluster.processes(ex_id, "worker")) == 1, "one more has left")
    execution = cluster.wait_status(ex_id, "completed")

    assert witness.numbers() == Counter(range(400))
    assert execution["_slicer_stats"]["processed"] == 400


# --- the waiting list --------------------------------------------------------------------------


def endless(cluster, workers):
    operations = [{"_op": "count", "size": 1_000_000}, {"_op": "waiter", "seconds": 0.05}]
    return cluster.post_job(job(*operations, workers=workers, lifecycle="persistent"))[1]


def placed(cluster):
    """Executions in the order in which their controllers were given a node."""
    lines = map(json.loads, cluster.daemons["master"].log.splitlines())
    return [line["ex_id"] for line in lines if line["msg"] == "controller.placed"]


def free_slots(cluster):
    return sum(node["available"] for node in cluster.nodes().values())


def test_jobs_that_do_not_fit_wait_in_order_also_over_a_restart_of_the_master(cluster):
    """E4, E5: a controller and one worker must fit."""
    until(lambda: free_slots(cluster) == SLOTS, "the node is free")
    big = endless(cluster, workers=4)
    until(lambda: len(cluster.processes(big, "worker")) == 4, "it has all its workers")
    waiting = [cluster.post_job(job({"_op": "count"}, {"_op": "noop"}, workers=1))[1] for _ in range(3)]
    assert free_slots(cluster) == 1
    cluster.daemons["master"].kill()
    cluster.start_master()
    until(cluster.nodes, "the node is back")
    until(lambda: len(cluster.processes(big)) == 5, "the big one is known again")
    assert {cluster.status(ex_id) for ex_id in waiting} == {"pending"}
    assert cluster.status(big) == "running"

    cluster.post(f"/ex/{big}/_stop")
    for ex_id in waiting:
        cluster.wait_status(ex_id, "completed")
    assert [ex_id for ex_id in placed(cluster) if ex_id in waiting] == waiting


def test_a_job_that_lacks_workers_does_not_hold_up_one_that_fits(cluster, witness):
    """B10"""
    until(lambda: free_slots(cluster) == SLOTS, "the node is free")
    first = endless(cluster, workers=3)
    until(lambda: len(cluster.processes(first)) == 4, "it has all its workers")
    starved = endless(cluster, workers=50)
    until(lambda: len(cluster.processes(starved)) == 2, "it has what is left")
    assert free_slots(cluster) == 0
    _, small = cluster.post_job(job({"_op": "count"}, witness.operation, workers=1))
    assert cluster.status(small) == "pending"
    cluster.post(f"/ex/{first}/_stop")

    cluster.wait_status(small, "completed")
    assert witness.numbers() == Counter(range(10))
    until(lambda: len(cluster.processes(starved, "worker")) == SLOTS - 1, "then it has the whole node")
    assert cluster.status(starved) == "running"
    cluster.post(f"/ex/{starved}/_stop")


# --- recovery ----------------------------------------------------------------------------------

STUCK = {10, 1010}
BAD = {3, 1005}


@pytest.fixture
def broken(cluster, witness):
    """A stopped job of two slicers that has slices in all states; (job_id, ex_id, numbers by state)."""
    job_id, ex_id = cluster.post_job(
        job(
            {"_op": "count-many", "size": 30},
            {"_op": "raiser", "at": sorted(BAD)},
            {"_op": "sleeper", "at": sorted(STUCK), "seconds": 600.0},
            slicers=2,
        )
    )

    def is_stuck():
        states = by_state(cluster.records(ex_id))
        recorded = sum(map(len, states.values()))
        return states["start"] == STUCK and states["error"] == BAD and recorded == 60

    until(is_stuck, "both workers are stuck and everything else is recorded")
    assert cluster.request("POST", f"/ex/{ex_id}/_stop").json() == {"status": "stopped"}
    until(lambda: not cluster.processes(ex_id), "nothing of it is left")
    states = by_state(cluster.records(ex_id))
    assert states["error"] == BAD
    assert states["start"] | states["pending"] >= STUCK
    mend(cluster, job_id, witness, size=30)
    return job_id, ex_id, states


def mend(cluster, job_id, witness, *, size):
    operations = [{"_op": "count-many", "size": size}, witness.operation]
    answer = cluster.request("PUT", f"/jobs/{job_id}", json=job(*operations, slicers=2))
    assert answer.status_code == 200, answer.text
    witness.forget()


def recover(cluster, job_id, cleanup=""):
    query = f"?cleanup={cleanup}" if cleanup else ""
    ex_id = cluster.post(f"/jobs/{job_id}/_recover{query}")["ex_id"]
    return cluster.wait_status(ex_id, "completed")


def identities(records):
    return {(r["slicer_id"], r["slicer_order"], r["request"]["number"]) for r in records}


def test_recovering_errors_pending_and_all_takes_exactly_those_of_both_slicers(cluster, witness, broken):
    """E30, E32, B4: one after another, each along the chain of those before it."""
    job_id, first, states = broken
    records = cluster.records(first)
    unfinished = {"errors": BAD, "pending": states["pending"], "all": states["start"]}
    for cleanup, numbers in unfinished.items():
        witness.forget()
        execution = recover(cluster, job_id, cleanup)
        assert witness.numbers() == Counter(numbers), cleanup
        assert execution["recovered_slice_type"] == cleanup
        assert execution["_slicer_stats"]["processed"] == len(numbers)
        assert cluster.records(execution["ex_id"]) == []

    assert by_state(cluster.records(first))["completed"] == {*range(30), *range(1000, 1030)}
    assert identities(cluster.records(first)) == identities(records)


def test_a_recovery_without_a_kind_takes_all_that_is_left_and_goes_on(cluster, witness, broken):
    """E31, E12, B4: the slicers go on where each of them was."""
    job_id, first, states = broken
    mend(cluster, job_id, witness, size=40)
    execution = recover(cluster, job_id)
    left = states["pending"] | states["start"] | states["error"]
    more = {*range(30, 40), *range(1030, 1040)}

    assert "recovered_slice_type" not in execution
    assert witness.numbers() == Counter(left | more)
    assert by_state(cluster.records(first))["completed"] == {*range(30), *range(1000, 1030)}
    records = cluster.records(execution["ex_id"])
    assert by_state(records)["completed"] == more
    assert [(r["slicer_id"], r["slicer_order"]) for r in records] == [
        (slicer_id, order) for slicer_id in (0, 1) for order in range(1, 11)
    ]


def test_a_recovery_that_was_itself_stopped_is_recovered_to_the_very_first(cluster, witness, broken):
    """B4: an execution that has recorded nothing of its own still leads back to the one before it."""
    job_id, first, states = broken
    left = states["pending"] | states["start"] | states["error"]
    operations = [{"_op": "count-many", "size": 40}, {"_op": "waiter", "seconds": 600.0}]
    assert cluster.request("PUT", f"/jobs/{job_id}", json=job(*operations, slicers=2)).status_code == 200
    second = cluster.post(f"/jobs/{job_id}/_recover")["ex_id"]
    until(lambda: in_work(cluster, second) == 2, "it runs what was left")
    cluster.wait_status(second, "recovering")
    assert cluster.post(f"/ex/{second}/_stop") == {"status": "stopped"}
    mend(cluster, job_id, witness, size=40)
    third = recover(cluster, job_id)

    assert third["recovered_execution"] == second
    assert cluster.records(second) == []
    assert witness.numbers() == Counter(left | {*range(30, 40), *range(1030, 1040)})
    assert by_state(cluster.records(first))["completed"] == {*range(30), *range(1000, 1030)}


def test_a_slice_that_fails_in_a_recovery_fails_it(cluster, broken):
    """E20"""
    job_id, first, _ = broken
    operations = [{"_op": "count-many", "size": 30}, {"_op": "raiser", "at": sorted(BAD)}]
    cluster.request("PUT", f"/jobs/{job_id}", json=job(*operations, slicers=2))
    ex_id = cluster.post(f"/jobs/{job_id}/_recover?cleanup=errors")["ex_id"]

    assert "bad number" in cluster.wait_status(ex_id, "failed")["_failureReason"]
    assert by_state(cluster.records(first))["error"] >= BAD - {3} or by_state(cluster.records(first))["error"]


def test_a_job_with_autorecover_goes_on_at_every_start(cluster, witness):
    """E35: the first start is fresh; a stop and a start lose and repeat nothing."""
    operations = [
        {"_op": "count-many", "size": 200},
        {"_op": "waiter", "seconds": 0.03},
        witness.operation,
    ]
    job_id, first = cluster.post_job(job(*operations, slicers=2, autorecover=True))
    assert "recovered_execution" not in cluster.get(f"/ex/{first}")
    seen = first
    for _ in range(2):
        cluster.wait_status(seen, "running", "recovering")
        before = len(witness.numbers())
        until(lambda before=before: len(witness.numbers()) > before + 20, "it works")
        assert cluster.post(f"/jobs/{job_id}/_stop") == {"status": "stopped"}
        again = cluster.post(f"/jobs/{job_id}/_start")["ex_id"]
        execution = cluster.get(f"/ex/{again}")
        assert (execution["recovered_execution"], execution["recovered_slice_type"]) == (seen, "pending")
        seen = again
    cluster.wait_status(seen, "completed")

    assert witness.numbers() == Counter([*range(200), *range(1000, 1200)])


def test_what_its_slicer_can_not_recover_fails_with_the_reason(cluster):
    """E33"""
    operations = [{"_op": "count", "size": 1000, "can_recover": False}, {"_op": "waiter", "seconds": 0.02}]
    job_id, first = cluster.post_job(job(*operations))
    until(lambda: count_completed(cluster, first) > 5, "it runs")
    cluster.post(f"/ex/{first}/_stop")
    again = cluster.post(f"/jobs/{job_id}/_recover")["ex_id"]

    assert "Slicer is not recoverable" in cluster.wait_status(again, "failed")["_failureReason"]

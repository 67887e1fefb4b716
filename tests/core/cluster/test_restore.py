import pytest

from tests.support.cluster import Cluster
from tsd.core.cluster.events import PauseRequested, StopRequested, WorkersRequested
from tsd.core.messages import NodeHello
from tsd.core.records import ProcessRole, Status


def restart(cluster, away_s=2.0):
    cluster.crash_master()
    cluster.run(away_s)
    cluster.start_master()


def test_a_restarted_master_finds_everything_as_it_was():
    """B9."""
    cluster = Cluster(a=4, b=4)
    cluster.start("x", 3)
    cluster.start("y", 1)
    before = cluster.running()

    restart(cluster)
    cluster.run(40)

    assert cluster.running() == before
    assert cluster.record("x").generation == 1
    assert cluster.status("x") is Status.RUNNING
    view = cluster.master.execution_view("x")
    assert (view.workers_running, view.is_connected, view.waiting_reason) == (3, True, "")
    assert cluster.master.cluster_state()["a"].available == 4 - len(cluster.host("a").running)


def test_waiting_executions_are_placed_in_their_order_after_a_restart():
    """E4, cluster 22."""
    cluster = Cluster()
    for ex_id in ("b", "c", "a"):
        cluster.post(ex_id)

    restart(cluster)
    cluster.join("n", 4)
    cluster.run(3)

    assert [cluster.status(ex_id) for ex_id in ("b", "c", "a")] == [
        Status.RUNNING,
        Status.RUNNING,
        Status.PENDING,
    ]


def test_a_worker_that_ended_while_the_master_was_away_is_replaced():
    """B9: from the wanted number that was saved."""
    cluster = Cluster(a=6)
    cluster.start("x", 2)
    cluster.feed(WorkersRequested(ex_id="x", action="total", count=4))
    cluster.run(2)
    cluster.crash_master()
    cluster.end("x/1/w1.1")
    cluster.end("x/1/w3.1")
    cluster.start_master()

    cluster.run(20)

    assert len(cluster.workers("x")) == 4
    assert "x/1/w1.1" in cluster.controller("x").exits


def test_process_ids_are_not_used_again_after_a_restart():
    cluster = Cluster(a=6)
    cluster.start("x", 2)
    cluster.end("x/1/w1.1")
    cluster.run(2)

    restart(cluster)
    cluster.run(5)
    cluster.end("x/1/w1.2")
    cluster.run_until(lambda: len(cluster.workers("x")) == 2)

    started = [proc_id for proc_id in cluster.host("a").started if "/w1." in proc_id]
    assert len(set(started)) == len(started) == 3


def test_a_controller_that_ended_while_the_master_was_away_is_replaced_at_once():
    """B9, B7."""
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.crash_master()
    cluster.end("x/1/c")
    cluster.start_master()

    cluster.run(4)

    assert cluster.controller("x").spec.generation == 2
    assert [proc_id.split("/")[1] for proc_id in cluster.workers("x")] == ["2", "2"]


def test_a_controller_whose_node_does_not_return_is_replaced_after_one_lease():
    """B9."""
    cluster = Cluster(a=4, b=4)
    cluster.start("x", 2)
    cluster.crash_master()
    cluster.lose(cluster.host("a"))
    cluster.start_master()

    cluster.run(12)
    assert cluster.record("x").generation == 1
    cluster.run(8)

    assert cluster.record("x").generation == 2
    assert cluster.status("x") is Status.RUNNING
    assert cluster.spread("x") == {"b": 2}


def test_a_silent_controller_that_its_node_still_runs_is_kept():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.controller("x").is_silent = True

    restart(cluster)
    cluster.run(60)

    assert cluster.record("x").generation == 1
    assert cluster.status("x") is Status.RUNNING


def test_everything_goes_on_after_a_restart_of_the_whole_cluster():
    cluster = Cluster(a=4, b=4)
    cluster.start("x", 3)
    cluster.crash_master()
    for host in list(cluster.hosts.values()):
        cluster.lose(host)
    cluster.run(5)
    cluster.start_master()
    cluster.join("a", 4)
    cluster.join("b", 4)

    cluster.run(5)

    assert cluster.record("x").generation == 2
    assert cluster.status("x") is Status.RUNNING
    assert len(cluster.workers("x")) == 3


def test_a_stop_goes_on_over_a_restart():
    """E36, cluster 23: until the deadline that was saved."""
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.controller("x").lazy = True
    cluster.feed(StopRequested(ex_id="x", within_s=30))
    cluster.run(10)

    restart(cluster)
    cluster.run(2)
    assert cluster.status("x") is Status.STOPPING
    assert cluster.controller("x").wanted.stop == "drain"
    cluster.run(22)

    assert cluster.status("x") is Status.STOPPED
    assert cluster.running() == []


def test_a_stop_without_any_process_left_ends_after_a_restart():
    """E36."""
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.controller("x").lazy = True
    cluster.feed(StopRequested(ex_id="x"))
    cluster.crash_master()
    cluster.lose(cluster.host("a"))
    cluster.start_master()

    cluster.run_until(lambda: cluster.status("x") is Status.STOPPED, 20)


def test_a_pause_goes_on_over_a_restart():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.feed(PauseRequested(ex_id="x"))
    cluster.run(2)

    restart(cluster)
    cluster.run(5)

    assert cluster.status("x") is Status.PAUSED
    assert cluster.controller("x").wanted.paused


@pytest.mark.parametrize("status", [Status.SCHEDULING, Status.INITIALIZING])
def test_a_start_that_was_under_way_goes_on(status):
    """B9: weakness 11."""
    cluster = Cluster(a=4)
    cluster.lazy = True
    if status is Status.SCHEDULING:
        cluster.keeps = lambda peer, message: "/" not in peer
    cluster.post("x")
    cluster.run_until(lambda: cluster.status("x") is status)
    cluster.lazy = False
    cluster.keeps = lambda peer, message: True
    for controller in cluster.host("a").controllers.values():
        controller.lazy = False

    restart(cluster)
    cluster.run(10)

    assert cluster.status("x") is Status.RUNNING


def test_a_start_that_is_never_finished_fails_also_after_a_restart():
    cluster = Cluster(a=4)
    cluster.keeps = lambda peer, message: "/" not in peer
    cluster.post("x")
    cluster.run(2)

    restart(cluster)
    cluster.run_until(lambda: cluster.status("x") is Status.FAILED, 200)


def test_what_an_ended_execution_left_behind_is_killed_after_a_restart():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.host("a").ignores_term = True
    cluster.controller("x").report("failed")
    cluster.run_until(lambda: cluster.status("x") is Status.FAILED)
    assert cluster.running()

    restart(cluster, away_s=0.5)
    cluster.run(2)

    assert cluster.running() == []


def test_two_restarts_in_a_row_are_like_one():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    before = cluster.running()
    restart(cluster, away_s=0.25)
    cluster.run(0.25)
    restart(cluster, away_s=0.25)
    cluster.run(20)

    assert cluster.running() == before


def test_a_node_that_calls_late_keeps_the_workers_it_runs():
    cluster = Cluster(a=3, b=3)
    cluster.start("x", 4)
    before = cluster.running()
    cluster.crash_master()
    silent = cluster.host("b").peer
    cluster.keeps = lambda peer, message: not (peer == silent and isinstance(message, NodeHello))
    cluster.start_master()
    cluster.run(8)
    cluster.keeps = lambda peer, message: True

    cluster.run(20)

    assert cluster.running() == before
    assert len(cluster.running("x", ProcessRole.CONTROLLER)) == 1

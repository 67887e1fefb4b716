import pytest

from tests.support.cluster import Cluster
from tsd.core.cluster.events import FromController, Scaled, WorkersRequested
from tsd.core.messages import ControllerBeat
from tsd.core.records import ExecutionStats, Status
from tsd.errors import InvalidRequest, NotActive


def scale(cluster, action, count, ex_id="x"):
    answer = cluster.feed(WorkersRequested(ex_id=ex_id, action=action, count=count)).answer
    cluster.settle()
    return answer


def numbers(cluster, ex_id="x"):
    return sorted(int(proc_id.rpartition("/w")[2].partition(".")[0]) for proc_id in cluster.workers(ex_id))


def test_workers_start_with_the_address_of_their_controller():
    cluster = Cluster(a=4)
    cluster.start("x", 2, env={"KEY": "value"})

    specs = [spec for spec in cluster.host("a").running.values() if spec.number]

    assert {spec.dial for spec in specs} == {"tcp://10.0.0.1:45680"}
    assert {spec.number for spec in specs} == {1, 2}
    assert specs[0].env == {"KEY": "value"}


def test_workers_beyond_the_room_start_when_a_slot_is_free():
    """Cluster 6, 7."""
    cluster = Cluster(a=4)
    cluster.post("x", 5)
    cluster.run(3)
    assert len(cluster.workers("x")) == 3
    assert "2 of 5 workers wait" in cluster.master.waiting_reason("x")

    cluster.join("b", 1)
    cluster.run(3)
    assert len(cluster.workers("x")) == 4

    cluster.join("c", 1)
    cluster.run(3)
    assert len(cluster.workers("x")) == 5
    assert cluster.master.waiting_reason("x") == ""


def test_an_execution_that_wants_more_than_there_is_holds_nobody_back():
    """B10."""
    cluster = Cluster(a=4)
    cluster.post("greedy", 50)
    cluster.post("small", 1)
    cluster.run(3)
    assert cluster.status("small") is Status.PENDING

    cluster.join("b", 4)
    cluster.run(3)

    assert cluster.status("small") is Status.RUNNING
    assert len(cluster.workers("greedy")) == 5


def test_a_killed_worker_is_replaced_at_once_and_its_controller_is_told():
    """Weakness 15, cluster 17."""
    cluster = Cluster(a=4)
    cluster.start("x", 2)

    cluster.end("x/1/w1.1", signal=9, running=17, detail="killed")

    assert cluster.workers("x") == ["x/1/w1.2", "x/1/w2.1"]
    told = cluster.controller("x").exits["x/1/w1.1"]
    assert (told.signal, told.running) == (9, 17)


def test_an_exit_is_told_until_it_is_acknowledged():
    cluster = Cluster(a=4)
    cluster.start("x", 1)
    cluster.keeps = lambda peer, message: not isinstance(message, ControllerBeat)
    cluster.end("x/1/w1.1")
    cluster.run(2)
    assert [each.proc_id for each in cluster.controller("x").wanted.exits] == ["x/1/w1.1"]

    cluster.keeps = lambda peer, message: True
    cluster.run(2)
    scale(cluster, "add", 1)

    assert cluster.controller("x").wanted.exits == ()


def test_a_worker_that_keeps_dying_young_comes_back_later_and_later():
    cluster = Cluster(a=2)
    cluster.start("x", 1)
    gaps = []
    for _ in range(12):
        cluster.end(cluster.workers("x")[0], exit_code=1)
        since = cluster.now
        cluster.run_until(lambda: cluster.workers("x"), 60)
        gaps.append(cluster.now - since)

    assert gaps[0] == 0
    assert gaps == sorted(gaps)
    assert gaps[-1] == 30


def test_a_worker_that_lived_long_is_replaced_at_once_again():
    cluster = Cluster(a=2)
    cluster.start("x", 1)
    for _ in range(6):
        cluster.run(11)
        cluster.end(cluster.workers("x")[0])

        assert len(cluster.workers("x")) == 1


def test_a_worker_that_died_at_work_does_not_wait_long():
    cluster = Cluster(a=2)
    cluster.start("x", 1)
    for _ in range(12):
        cluster.end(cluster.workers("x")[0], signal=11, running=3)
        cluster.run_until(lambda: cluster.workers("x"), 1.25)


def test_a_worker_that_its_controller_has_given_up_is_killed_and_replaced():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.controller("x").lost = ("x/1/w2.1",)

    cluster.run(3)

    assert cluster.workers("x") == ["x/1/w1.1", "x/1/w2.2"]


def test_add_remove_and_total_change_the_wanted_number():
    """E40."""
    cluster = Cluster(a=12)
    cluster.start("x", 3)

    assert scale(cluster, "add", 2) == Scaled(count=2, action="enqueued")
    assert len(cluster.workers("x")) == 5
    assert scale(cluster, "remove", 1) == Scaled(count=1, action="remove")
    assert len(cluster.workers("x")) == 4
    assert scale(cluster, "total", 7) == Scaled(count=3, action="enqueued")
    assert scale(cluster, "total", 2) == Scaled(count=5, action="remove")
    assert numbers(cluster) == [1, 2]
    assert cluster.record("x").intent.workers == 2
    assert cluster.controller("x").wanted.workers == 2


def test_total_is_idempotent_while_workers_wait_for_room():
    """Cluster 10."""
    cluster = Cluster(a=3)
    cluster.start("x", 1)
    assert scale(cluster, "total", 6) == Scaled(count=5, action="enqueued")

    assert scale(cluster, "total", 6) == Scaled(count=6, action="set")

    cluster.join("b", 20)
    cluster.run(2)
    assert len(cluster.workers("x")) == 6


def test_the_wanted_number_is_kept_over_losses():
    cluster = Cluster(a=3, b=3, c=3)
    cluster.start("x", 2)
    scale(cluster, "total", 4)

    cluster.end(cluster.workers("x")[0])
    cluster.end("x/1/c")
    cluster.run(2)
    cluster.lose(cluster.host("c"))
    cluster.run(40)

    assert len(cluster.workers("x")) == 4


def test_workers_that_are_too_many_drain():
    cluster = Cluster(a=6)
    cluster.start("x", 4)
    host = cluster.host("a")
    host.ignores_term = True

    scale(cluster, "remove", 3)
    cluster.run(30)
    assert numbers(cluster) == [1, 2, 3, 4]
    assert [(each.proc_id, each.signal) for each in host.signals] == [
        (f"x/1/w{number}.1", "term") for number in (2, 3, 4)
    ]
    cluster.run(35)
    assert numbers(cluster) == [1]


def test_a_number_that_is_used_again_gets_a_new_process_id():
    cluster = Cluster(a=6)
    cluster.start("x", 2)
    scale(cluster, "remove", 1)

    scale(cluster, "add", 1)

    assert cluster.workers("x") == ["x/1/w1.1", "x/1/w2.2"]


@pytest.mark.parametrize("count", [4, 5])
def test_removing_all_workers_is_refused(count):
    """E40, cluster 9."""
    cluster = Cluster(a=6)
    cluster.start("x", 4)

    with pytest.raises(InvalidRequest) as caught:
        scale(cluster, "remove", count)

    assert str(caught.value) == f"workers to be removed: {count} cannot be >= to current workers: 4"
    assert len(cluster.workers("x")) == 4


@pytest.mark.parametrize(("action", "count"), [("add", 0), ("total", -1), ("multiply", 2)])
def test_senseless_numbers_are_refused(action, count):
    """E40, cluster 9."""
    cluster = Cluster(a=6)
    cluster.start("x", 1)

    with pytest.raises(InvalidRequest, match="Must provide a valid worker parameter"):
        scale(cluster, action, count)


def test_scaling_something_that_is_not_there_is_refused():
    """E26, E40."""
    with pytest.raises(NotActive, match="no active execution context was found for ex_id: x"):
        scale(Cluster(a=6), "add", 1)


def test_a_waiting_execution_can_be_scaled():
    cluster = Cluster()
    cluster.post("x", 1)

    assert scale(cluster, "add", 2) == Scaled(count=2, action="enqueued")

    cluster.join("a", 9)
    cluster.run(2)
    assert len(cluster.workers("x")) == 3


def test_a_wish_for_very_many_workers_costs_nothing():
    cluster = Cluster(a=6)
    cluster.start("x", 1)

    scale(cluster, "total", 1_000_000_000)

    assert len(cluster.workers("x")) == 5


def test_a_thousand_workers_are_dealt_evenly_over_two_hundred_nodes():
    cluster = Cluster(**{f"n{number:03}": 6 for number in range(200)})
    cluster.start("x", 1000)

    assert set(cluster.spread("x").values()) == {5}


def test_a_late_word_about_a_worker_that_was_replaced_changes_nothing():
    cluster = Cluster(a=4)
    cluster.start("x", 1)
    cluster.end("x/1/w1.1")
    beat = ControllerBeat(
        ex_id="x",
        generation=1,
        sent_at=0.0,
        revision=0,
        workers=(),
        lost_workers=("x/1/w1.1",),
        exits_seen=(),
        stats=ExecutionStats(),
    )

    cluster.feed(FromController(peer="x/1/c", message=beat))
    cluster.settle()

    assert cluster.workers("x") == ["x/1/w1.2"]


def with_blocked_host():
    """A cluster with the controller of `x` on one host; workers on the other one can not reach it."""
    cluster = Cluster(a=2, b=2)
    cluster.start("x", 3)
    controller = cluster.controller("x")
    home = cluster.controller_host("x").node_id
    away = "b" if home == "a" else "a"
    controller.never_reached_by = (away,)
    cluster.run(8)
    return cluster, controller, away


def problems(cluster):
    return {each.problem for node in cluster.master.cluster_state().values() for each in node.active}


def test_a_worker_that_its_controller_does_not_know_is_told_with_node_and_address():
    cluster, _, away = with_blocked_host()

    lonely = sorted(proc_id for proc_id in cluster.host(away).running if "/w" in proc_id)
    words = f"worker {lonely[0]} on node {away} is not connected to its controller at tcp://10.0.0.1:45680"
    assert words in problems(cluster)
    assert "" in problems(cluster), "the others are well"
    assert words in cluster.master.waiting_reason("x")
    told = [each.facts for each in cluster.log if each.event == "worker.unconnected"]
    assert sorted(each["proc_id"] for each in told) == lonely, "once each"


def test_an_execution_that_fails_for_want_of_workers_names_those_that_are_not_connected():
    cluster, controller, away = with_blocked_host()

    controller.report("failed", "No workers have connected to slicer in the allotted time")
    cluster.run(2)

    reason = cluster.store.records["x"].failure_reason
    assert reason.startswith("No workers have connected to slicer in the allotted time: worker x/1/w")
    assert f"on node {away} is not connected to its controller at tcp://10.0.0.1:45680" in reason


def test_workers_that_connect_later_are_no_problem_any_more():
    cluster, controller, _ = with_blocked_host()

    controller.never_reached_by = ()
    cluster.run(2)

    assert problems(cluster) == {""}
    assert cluster.master.waiting_reason("x") == ""


def test_workers_that_gave_up_just_before_are_named_too():
    """They wait as long as their controller does, so they may be gone when it says that none has come."""
    cluster = Cluster(a=2, b=2)
    cluster.start("x", 1)
    controller = cluster.controller("x")
    controller.never_reached_by = ("a", "b")
    cluster.run(8)
    (worker,) = cluster.workers("x")
    cluster.end(worker, exit_code=1)

    controller.report("failed", "No workers have connected to slicer in the allotted time")
    cluster.run(2)

    assert f"worker {worker} on node" in cluster.store.records["x"].failure_reason

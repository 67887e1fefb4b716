"""Nodes that an operator drains."""

import math

import attrs
import pytest

from tests.support.cluster import SETTINGS, Cluster
from tsd.core.cluster.events import (
    DrainNode,
    Happened,
    NodeChanged,
    PauseRequested,
    SaveDrain,
    StopRequested,
    UndrainNode,
    WorkersRequested,
)
from tsd.core.cluster.node import Terminate
from tsd.core.cluster.records import Drain
from tsd.core.messages import NodeWanted
from tsd.core.records import ProcessRole, Status
from tsd.errors import NotFound


def state(cluster, node_id):
    return cluster.master.node(node_id).state


def drain(cluster, node_id, **options):
    effects = cluster.feed(DrainNode(node_id=node_id, **options))
    cluster.settle()
    return effects


def undrain(cluster, node_id):
    cluster.feed(UndrainNode(node_id=node_id))
    cluster.settle()


def restart_master(cluster):
    cluster.crash_master()
    cluster.run(1)
    cluster.start_master()


def events(cluster):
    return [each.event for each in cluster.log if isinstance(each, Happened)]


def a_worker_on_b(**settings):
    """Controller and a worker on a, two workers on b, and room for them elsewhere."""
    cluster = Cluster(attrs.evolve(SETTINGS, **settings), a=2, b=2)
    cluster.start("x", 3)
    assert cluster.spread("x") == {"a": 1, "b": 2}
    return cluster


# --- workers ------------------------------------------------------------------------------------


def test_a_worker_is_replaced_before_it_has_ended_its_slice():
    cluster = a_worker_on_b()
    cluster.join("c", 2)
    cluster.host("b").ignores_term = True

    drain(cluster, "b")
    cluster.run(2)

    assert cluster.spread("x") == {"a": 1, "b": 2, "c": 2}
    assert state(cluster, "b") == "draining"
    for _, proc_id in [each for each in cluster.running() if each[0] == "b"]:
        cluster.end(proc_id, exit_code=0)
    cluster.run(2)
    assert cluster.spread("x") == {"a": 1, "c": 2}
    assert state(cluster, "b") == "drained"
    assert cluster.record("x").generation == 1


def test_a_worker_is_asked_to_end_and_is_not_killed():
    cluster = a_worker_on_b()
    cluster.host("b").ignores_term = True

    drain(cluster, "b")
    cluster.run(3600, step=5)

    assert {each.signal for each in cluster.host("b").signals} == {"term"}
    assert cluster.spread("x") == {"a": 1, "b": 2}


def test_a_time_that_was_given_bounds_the_running_slices():
    cluster = a_worker_on_b()
    cluster.host("b").ignores_term = True

    drain(cluster, "b", within_s=10)
    cluster.run(8)
    assert cluster.spread("x") == {"a": 1, "b": 2}

    cluster.run(4)
    assert state(cluster, "b") == "drained"


def test_a_second_drain_can_shorten_the_time_but_not_prolong_it():
    cluster = a_worker_on_b()
    cluster.host("b").ignores_term = True
    drain(cluster, "b")
    cluster.run(60)
    assert drain(cluster, "b").saves == ()

    drain(cluster, "b", within_s=10)
    first = cluster.store.drains["b"]
    assert drain(cluster, "b", within_s=500).saves == ()
    assert drain(cluster, "b").saves == ()

    assert (first.since, first.until) == (cluster.now - 60, cluster.now + 10)
    cluster.run(12)
    assert state(cluster, "b") == "drained"


def test_workers_without_room_wait_for_it():
    cluster = a_worker_on_b()

    drain(cluster, "b")
    cluster.run(60)

    assert (state(cluster, "b"), cluster.spread("x")) == ("drained", {"a": 1})
    assert cluster.status("x") is Status.RUNNING
    assert "2 of 3 workers wait for a free slot" in cluster.master.waiting(10)[0].reason


def test_workers_that_wait_for_their_controller_to_leave_do_not_say_that_they_wait_for_a_slot():
    cluster = Cluster(a=4)
    cluster.start("x", 3)
    cluster.join("b", 4)
    cluster.run(2)
    cluster.feed(DrainNode(node_id="a"))

    (waiting,) = cluster.master.waiting(10)
    assert waiting.reason == "3 of 3 workers wait for the controller, which leaves node a"


def test_the_controller_is_told_to_miss_no_worker_while_a_drain_leaves_no_slot():
    """Its watch over workers would fail the execution otherwise."""
    cluster = Cluster(a=1, b=1)
    cluster.start("x", 1)
    assert cluster.controller_host("x").node_id == "a"
    assert cluster.controller("x").wanted.workers == 1

    drain(cluster, "b")
    cluster.run(2)
    assert cluster.workers("x") == []
    assert cluster.controller("x").wanted.workers == 0
    (waiting,) = cluster.master.waiting(10)
    assert (waiting.ex_id, waiting.reason) == (
        "x",
        "1 of 1 workers wait for a free slot: 0 slots are free on 1 nodes",
    )

    restart_master(cluster)
    cluster.run(40)
    assert cluster.controller("x").wanted.workers == 0

    undrain(cluster, "b")
    cluster.run(2)
    assert cluster.spread("x") == {"b": 1}
    assert cluster.controller("x").wanted.workers == 1
    assert cluster.record("x").generation == 1


def test_a_worker_that_a_crash_took_is_missed_also_beside_a_drained_node():
    cluster = Cluster(a=1, b=1, c=1)
    drain(cluster, "c")
    cluster.start("x", 1)

    cluster.lose(cluster.host("b"))
    cluster.run(60)

    assert cluster.workers("x") == []
    assert cluster.controller("x").wanted.workers == 1


def test_a_slot_that_was_held_on_the_node_is_let_go():
    cluster = Cluster(a=1, b=1)
    cluster.keeps = lambda peer, message: not (isinstance(message, NodeWanted) and message.processes)
    cluster.post("x")
    assert cluster.master.cluster_state()["b"].available == 0

    drain(cluster, "b")
    cluster.keeps = lambda peer, message: True
    cluster.run(3)

    assert cluster.running() == [("a", "x/1/c")]
    assert cluster.controller("x").wanted.workers == 0


# --- controllers --------------------------------------------------------------------------------


def test_a_controller_hands_over_to_a_new_generation_on_another_node():
    cluster = Cluster(a=6, b=6)
    cluster.start("x", 2)
    cluster.start("y", 2)
    node_id = cluster.controller_host("x").node_id

    drain(cluster, node_id)
    cluster.run(3)

    assert cluster.controller_host("x").node_id != node_id
    assert cluster.record("x").generation == 2
    assert cluster.history("x")[-1] is Status.RUNNING
    assert cluster.master._roster.get("x").restarts == 0


def test_a_controller_that_takes_its_time_gets_no_more_workers_and_no_successor():
    cluster = Cluster(a=2, b=5)
    cluster.start("x", 2)
    host = cluster.controller_host("x")
    host.ignores_term = True

    drain(cluster, host.node_id)
    cluster.feed(WorkersRequested(ex_id="x", action="add", count=2))
    before = cluster.workers("x")
    cluster.run(30)
    assert cluster.record("x").generation == 1
    assert set(cluster.workers("x")) <= set(before)

    for _, proc_id in [each for each in cluster.running() if each[0] == host.node_id]:
        cluster.end(proc_id, exit_code=0)
    cluster.run(3)
    assert cluster.record("x").generation == 2
    assert state(cluster, host.node_id) == "drained"


def test_draining_again_and_again_never_fails_an_execution():
    cluster = Cluster(a=3, b=3)
    cluster.start("x", 2)
    for _ in range(3 * SETTINGS.controller_restarts):
        node_id = cluster.controller_host("x").node_id
        drain(cluster, node_id)
        cluster.run(2)
        undrain(cluster, node_id)
        cluster.run(2)

    assert cluster.history("x") == [
        Status.PENDING,
        Status.SCHEDULING,
        Status.INITIALIZING,
        Status.RUNNING,
    ]
    assert len(cluster.workers("x")) == 2
    assert cluster.record("x").generation > SETTINGS.controller_restarts


def test_a_controller_that_ends_after_an_undrain_has_made_no_fault():
    cluster = Cluster(a=3)
    cluster.start("x", 2)
    cluster.run(2)
    cluster.host("a").ignores_term = True
    drain(cluster, "a")
    undrain(cluster, "a")
    assert state(cluster, "a") == "connected"

    for _, proc_id in cluster.running(role=ProcessRole.CONTROLLER):
        cluster.end(proc_id, exit_code=0)
    cluster.run(0.25)

    assert cluster.master._roster.get("x").restarts == 0


def test_a_controller_that_has_not_begun_is_placed_elsewhere_and_costs_no_attempt():
    cluster = Cluster(a=2)
    cluster.lazy = True
    cluster.post("x")
    assert cluster.running() == [("a", "x/1/c")]

    drain(cluster, "a")
    cluster.run(2)
    assert cluster.status("x") is Status.PENDING
    cluster.lazy = False
    cluster.join("b", 2)
    cluster.run(3)

    assert cluster.status("x") is Status.RUNNING
    assert cluster.master._roster.get("x").attempts == 0


def test_a_paused_execution_stays_paused_on_its_new_node():
    cluster = Cluster(a=3, b=3)
    cluster.start("x", 1)
    cluster.feed(PauseRequested(ex_id="x"))
    cluster.run(2)
    assert cluster.status("x") is Status.PAUSED

    drain(cluster, cluster.controller_host("x").node_id)
    cluster.run(3)

    assert cluster.record("x").generation == 2
    assert cluster.status("x") is Status.PAUSED
    assert cluster.controller("x").wanted.paused


def test_what_is_being_stopped_is_stopped_all_the_same():
    cluster = Cluster(a=3, b=3)
    cluster.start("x", 2)
    cluster.host("a").ignores_term = cluster.host("b").ignores_term = True
    drain(cluster, cluster.controller_host("x").node_id)

    cluster.feed(StopRequested(ex_id="x", within_s=5.0))
    cluster.run(12)

    assert cluster.status("x") is Status.STOPPED
    assert cluster.running() == []


def an_execution_that_can_not_be_continued(**nodes):
    cluster = Cluster(**nodes)
    cluster.start("x", 1)
    cluster.controller("x").is_replaceable = False
    cluster.run(2)
    return cluster


def test_a_controller_whose_slicer_is_not_recoverable_stays_until_its_execution_ends():
    """Its successor could only fail the execution."""
    cluster = an_execution_that_can_not_be_continued(a=2, b=2)
    node_id = cluster.controller_host("x").node_id

    drain(cluster, "a")
    drain(cluster, "b")
    restart_master(cluster)
    cluster.run(60)
    assert cluster.running() == [(node_id, "x/1/c")]
    assert (state(cluster, node_id), cluster.master.staying(node_id)) == ("draining", ["x"])
    assert events(cluster).count("controller.stays") == 2  # each master says it once

    cluster.join("c", 2)
    cluster.run(2)
    assert cluster.spread("x") == {"c": 1}
    cluster.finish("x")
    assert cluster.status("x") is Status.COMPLETED
    assert (state(cluster, node_id), cluster.master.staying(node_id)) == ("drained", [])


def test_a_time_that_was_given_ends_also_a_controller_that_stays():
    cluster = an_execution_that_can_not_be_continued(a=2)

    drain(cluster, "a", within_s=20)
    cluster.run(15)
    assert cluster.running() == [("a", "x/1/c")]

    cluster.run(10)
    assert cluster.running() == []


# --- one node -----------------------------------------------------------------------------------


def test_with_one_node_everything_waits_until_it_is_used_again():
    cluster = Cluster(a=5)
    cluster.start("x", 2)
    drain(cluster, "a")
    cluster.post("y")
    cluster.run(400, step=1)

    assert (cluster.status("x"), cluster.status("y")) == (Status.RUNNING, Status.PENDING)
    assert cluster.running() == []
    assert state(cluster, "a") == "drained"
    assert cluster.master.capacity().nodes_taking_work == 0
    assert [each.ex_id for each in cluster.master.waiting(10)] == ["x", "y"]
    assert "no node takes work" in cluster.master.waiting(1)[0].reason

    undrain(cluster, "a")
    cluster.run(5)

    assert (len(cluster.workers("x")), cluster.record("x").generation) == (2, 2)
    assert cluster.history("x")[-1] is Status.RUNNING


# --- the wish -----------------------------------------------------------------------------------


def test_the_wish_is_saved_and_taken_back():
    cluster = Cluster(a=2)

    assert drain(cluster, "a").saves == (
        SaveDrain(node_id="a", drain=Drain(node_id="a", since=cluster.now, until=None)),
    )
    assert cluster.feed(UndrainNode(node_id="a")).saves == (SaveDrain(node_id="a", drain=None),)
    assert cluster.feed(UndrainNode(node_id="a")).saves == ()


def test_an_unknown_node_is_refused_with_the_known_ones():
    cluster = Cluster(a=2, b=2)
    for request in (DrainNode(node_id="nowhere"), UndrainNode(node_id="nowhere")):
        with pytest.raises(NotFound, match="no node has the id nowhere: known are a, b"):
            cluster.feed(request)
    with pytest.raises(NotFound, match="no node is known"):
        Cluster().feed(DrainNode(node_id="nowhere"))


def test_the_wish_survives_the_node():
    cluster = Cluster(a=3)
    drain(cluster, "a")
    cluster.host("a").feed(Terminate())
    cluster.run(2)
    assert cluster.master.cluster_state() == {}
    absent = cluster.master.node("a")
    assert (absent.state, absent.is_known, absent.drain) == ("disconnected", False, cluster.store.drains["a"])
    assert cluster.master.nodes() == [absent]

    cluster.join("a", 3)
    cluster.post("x")
    cluster.run(2)
    assert (state(cluster, "a"), cluster.running()) == ("drained", [])

    undrain(cluster, "a")
    cluster.run(2)
    assert cluster.status("x") is Status.RUNNING


def test_a_node_that_is_away_is_drained_when_it_is_back():
    cluster = a_worker_on_b()
    cluster.host("b").is_cut = True
    cluster.run(5)
    assert state(cluster, "b") == "disconnected"

    drain(cluster, "b")
    cluster.host("b").is_cut = False
    cluster.run(5)

    assert state(cluster, "b") == "drained"
    assert cluster.spread("x") == {"a": 1}


def test_the_wish_survives_the_master_and_the_drain_goes_on():
    """Two workers have the same number then, of which only one has the seat; none is killed."""
    cluster = a_worker_on_b()
    cluster.join("c", 2)
    for node_id in ("a", "b", "c"):
        cluster.host(node_id).ignores_term = True
    drain(cluster, "b")
    cluster.run(1)
    before = cluster.running()
    assert cluster.spread("x") == {"a": 1, "b": 2, "c": 2}

    restart_master(cluster)
    cluster.run(40)

    assert cluster.running() == before
    assert state(cluster, "b") == "draining"
    assert "kill" not in {each.signal for each in cluster.host("b").signals}


def test_a_worker_that_was_told_to_end_goes_on_ending_under_the_next_master():
    """Also when its node is used again: its seat may be another one's by now."""
    cluster = a_worker_on_b()
    cluster.join("c", 2)
    cluster.host("b").ignores_term = True
    drain(cluster, "b")
    undrain(cluster, "b")
    cluster.run(1)
    before = cluster.running()

    restart_master(cluster)
    cluster.run(40)

    assert cluster.running() == before
    assert {each.signal for each in cluster.host("b").signals} == {"term"}


def test_whoever_waits_is_told_once_when_nothing_runs_there_any_more():
    cluster = a_worker_on_b()
    drain(cluster, "b")
    cluster.run(5)

    assert events(cluster).count("node.drain") == 1
    assert events(cluster).count("node.drained") == 1
    assert cluster.log.count(NodeChanged(node_id="b")) == 1
    undrain(cluster, "b")
    assert cluster.log.count(NodeChanged(node_id="b")) == 2


def test_an_empty_node_is_drained_at_once():
    cluster = Cluster(a=2)

    effects = cluster.feed(DrainNode(node_id="a"))

    assert NodeChanged(node_id="a") in effects.actions
    assert state(cluster, "a") == "drained"


def test_a_node_daemon_that_ends_is_emptied_in_the_same_way():
    cluster = a_worker_on_b()
    cluster.join("c", 2)
    cluster.host("b").ignores_term = True

    cluster.host("b").feed(Terminate())
    cluster.run(2)

    assert cluster.spread("x") == {"a": 1, "b": 2, "c": 2}
    assert state(cluster, "b") == "draining"


def test_what_ends_without_a_limit_is_told_so_to_the_node():
    cluster = a_worker_on_b()
    cluster.host("b").ignores_term = True

    effects = cluster.feed(DrainNode(node_id="b"))

    (wanted,) = [send.message for send in effects.sends if isinstance(send.message, NodeWanted)]
    assert wanted.processes == ()
    assert set(wanted.endings.values()) == {math.inf}

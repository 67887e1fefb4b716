import attrs
import pytest

from tests.support.cluster import SETTINGS, START, Cluster
from tsd.core.cluster.events import DrainNode, FromNode, Happened, StopRequested, UndrainNode
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.membership import Members
from tsd.core.cluster.node import Terminate
from tsd.core.messages import (
    PROTOCOL,
    Again,
    NodeBeat,
    NodeHello,
    NodeWanted,
    NodeWelcome,
    ProcessSpec,
    Refused,
)
from tsd.core.records import ProcessRole, Status
from tsd.errors import NotFound

HELLO = NodeHello(
    protocol=PROTOCOL,
    version="1",
    python="3.11",
    node_id="a",
    hostname="host-a",
    pid=7,
    slots=3,
    runs=(),
    exits=(),
)


def machine():
    return ClusterMachine.restore([], settings=SETTINGS, now=START)


def sent(effects):
    return [(send.peer, type(send.message)) for send in effects.sends]


def test_a_node_that_joins_is_welcomed_and_told_what_to_run():
    """Cluster 1, 34."""
    master = machine()

    effects = master.handle(FromNode(peer="a~1", message=HELLO), now=START)

    assert sent(effects) == [("a~1", NodeWelcome), ("a~1", NodeWanted)]
    view = master.cluster_state()["a"]
    assert (view.total, view.available, view.active, view.state) == (3, 3, (), "connected")


def test_a_node_that_is_not_known_is_asked_for_its_hello():
    beat = NodeBeat(revision=4, runs=(), exits=())

    effects = machine().handle(FromNode(peer="a~1", message=beat), now=START)

    assert sent(effects) == [("a~1", Again)]


def test_a_node_with_another_protocol_is_refused_with_the_reason():
    hello = attrs.evolve(HELLO, protocol=PROTOCOL + 1)

    (send,) = machine().handle(FromNode(peer="a~1", message=hello), now=START).sends

    assert isinstance(send.message, Refused)
    assert "protocol" in send.message.reason


def test_the_active_processes_of_a_node_are_listed():
    """Cluster 34."""
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.run(1)

    view = cluster.master.cluster_state()["a"]

    assert view.available == 1
    assert [each.assignment for each in view.active] == ["execution_controller", "worker", "worker"]
    assert all(each.pid for each in view.active)
    assert len({each.worker_id for each in view.active}) == 3


def test_an_idle_node_that_vanishes_leaves_at_once():
    """Cluster 12."""
    cluster = Cluster(a=2, b=2)
    cluster.lose(cluster.host("b"))

    cluster.run(4)

    assert list(cluster.master.cluster_state()) == ["a"]


def test_a_busy_node_that_vanishes_is_shown_until_its_time_is_over():
    """Cluster 12."""
    cluster = Cluster(a=2, b=2)
    cluster.start("x", 2)
    cluster.host("b").is_cut = True

    cluster.run(10)
    assert cluster.master.cluster_state()["b"].state == "disconnected"
    cluster.run(30)
    assert "b" not in cluster.master.cluster_state()


def test_a_node_that_returns_in_time_keeps_what_it_runs():
    """Cluster 13."""
    cluster = Cluster(a=2, b=3)
    cluster.start("x", 4)
    before = cluster.running()
    for host in cluster.hosts.values():
        host.is_cut = True
    cluster.run(25)
    for host in cluster.hosts.values():
        host.is_cut = False

    cluster.run(5)

    assert cluster.running() == before
    assert cluster.record("x").generation == 1
    assert {node.state for node in cluster.master.cluster_state().values()} == {"connected"}


def test_workers_of_a_lost_node_are_started_elsewhere_exactly_once():
    """E46, cluster 14."""
    cluster = Cluster(a=3, b=3, c=3)
    cluster.start("x", 4)
    assert cluster.controller_host("x").node_id == "a"
    cluster.lose(cluster.host("b"))

    cluster.run(40)

    assert len(cluster.workers("x")) == 4
    assert "b" not in cluster.spread("x")
    assert cluster.record("x").generation == 1


def test_the_controller_of_a_lost_node_gets_a_new_generation_elsewhere():
    """E46, cluster 14: the execution goes on."""
    cluster = Cluster(a=3, b=3)
    cluster.start("x", 2)
    cluster.lose(cluster.host("a"))

    cluster.run(40)

    assert cluster.record("x").generation == 2
    assert cluster.status("x") is Status.RUNNING
    assert cluster.spread("x") == {"b": 2}


def test_a_lost_node_gets_nothing():
    cluster = Cluster(a=2, b=9)
    cluster.start("x", 1)
    cluster.lose(cluster.host(cluster.controller_host("x").node_id))
    cluster.run(2)

    cluster.post("y", 1)
    cluster.run(2)

    assert cluster.running("y", ProcessRole.CONTROLLER) == [("a", "y/1/c")]


def test_what_a_node_still_runs_when_it_returns_too_late_is_killed():
    """Cluster 15."""
    cluster = Cluster(a=3, b=3)
    cluster.start("x", 2)
    host = cluster.host("a")
    host.is_cut = True
    cluster.run(60)
    assert cluster.record("x").generation == 2
    assert [each for each in cluster.running("x") if "/1/" in each[1]]
    host.is_cut = False

    cluster.run(5)

    assert {proc_id.split("/")[1] for _, proc_id in cluster.running("x")} == {"2"}
    assert len(cluster.workers("x")) == 2


def test_a_node_that_restarts_gets_its_work_again_at_once():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.lose(cluster.host("a"))
    cluster.run(0.5)

    cluster.join("a", 4)
    cluster.run(4)

    assert cluster.record("x").generation == 2
    assert len(cluster.workers("x")) == 2
    assert cluster.status("x") is Status.RUNNING


def test_a_second_live_process_with_the_same_node_id_is_refused():
    cluster = Cluster(a=4)
    cluster.start("x", 1)
    first = cluster.host("a")
    second = cluster.join("a", 4)

    cluster.run(6)

    assert first.exit is None
    assert second.exit.code
    assert "node id a is taken" in second.exit.reason
    assert cluster.record("x").generation == 1


def test_the_newer_process_of_a_node_id_wins_when_the_older_is_down():
    cluster = Cluster(a=4)
    first = cluster.host("a")
    cluster.lose(first)
    second = cluster.join("a", 4)

    cluster.run(6)

    assert second.exit is None
    assert cluster.master.cluster_state()["a"].pid == second.machine.settings.pid


def test_nothing_is_placed_on_a_node_that_an_operator_drains():
    cluster = Cluster(a=4)
    cluster.feed(DrainNode(node_id="a"))
    cluster.post("x")
    cluster.run(2)
    assert cluster.status("x") is Status.PENDING

    cluster.feed(UndrainNode(node_id="a"))
    cluster.run(2)
    assert cluster.status("x") is Status.RUNNING

    with pytest.raises(NotFound):
        cluster.feed(DrainNode(node_id="nowhere"))


def test_the_work_of_a_node_that_shuts_down_goes_on_elsewhere():
    cluster = Cluster(a=3, b=3)
    cluster.start("x", 2)
    assert cluster.controller_host("x").node_id == "a"

    cluster.host("a").feed(Terminate())
    cluster.run(5)

    assert list(cluster.master.cluster_state()) == ["b"]
    assert cluster.status("x") is Status.RUNNING
    assert cluster.spread("x") == {"b": 2}


def test_an_execution_waits_with_its_status_when_the_last_node_shuts_down():
    cluster = Cluster(a=3)
    cluster.start("x", 2)
    for _ in range(8):
        cluster.host("a").feed(Terminate())
        cluster.run(5)
        assert cluster.status("x") is Status.RUNNING
        assert "no node" in cluster.master.waiting_reason("x")
        cluster.join("a", 3)
        cluster.run(3)

    assert cluster.history("x")[-1] is Status.RUNNING
    assert len(cluster.workers("x")) == 2


def test_a_frozen_node_daemon_is_not_lost_while_its_link_is_up():
    cluster = Cluster(a=3)
    cluster.start("x", 2)
    before = cluster.running()
    cluster.host("a").is_frozen = True

    cluster.run(120)

    assert cluster.master.cluster_state()["a"].state == "connected"
    assert cluster.running() == before


def test_a_lost_list_is_sent_again():
    cluster = Cluster(a=3)
    lost = []

    def lose_the_first_wanted(peer, message):
        if isinstance(message, NodeWanted) and message.processes and not lost:
            lost.append(message)
            return False
        return True

    cluster.keeps = lose_the_first_wanted
    cluster.start("x", 2)

    assert lost


def test_a_slot_is_taken_until_what_ran_in_it_is_really_gone():
    """Cluster 7."""
    cluster = Cluster(a=2)
    cluster.start("x", 1)
    cluster.host("a").dies_slowly = True
    cluster.post("y", 1)

    cluster.feed(StopRequested(ex_id="x", force=True))
    cluster.settle()
    assert cluster.status("y") is Status.PENDING
    cluster.run(2)

    assert cluster.status("y") is Status.RUNNING


def test_a_controller_that_lives_on_a_lost_node_loses_its_lease_before_another_starts():
    cluster = Cluster(attrs.evolve(SETTINGS, node_disconnect_timeout_s=3.0), a=4, b=4)
    cluster.start("x", 1)
    controller = cluster.controller("x")
    cluster.host("a").is_daemon_cut = True

    cluster.run_until(lambda: cluster.record("x").generation == 2)

    assert cluster.now >= controller.leases[-1]


def test_a_list_of_processes_that_never_left_needs_no_answer():
    members = Members()
    node = members.add("a~1", HELLO, beat_s=1.0, now=START)
    spec = ProcessSpec(
        proc_id="x/1/c",
        role=ProcessRole.CONTROLLER,
        ex_id="x",
        job_id="j",
        generation=1,
        number=0,
        dial="",
    )
    for end in (members.kill, lambda ex_id, proc_id: members.end(ex_id, proc_id, until=START + 9)):
        members.want(node, spec)
        assert node.free == 2

        end("x", "x/1/c")

        assert node.free == 3
        assert not members.has_processes("x", reachable=False)


def test_the_end_of_a_node_is_a_warning_unless_it_said_that_it_ends():
    cluster = Cluster(a=3, b=3)
    cluster.run(2)
    cluster.host("a").feed(Terminate())
    cluster.lose(cluster.host("b"))
    cluster.run(10)

    told = {
        each.facts["node_id"]: each.is_warning
        for each in cluster.log
        if isinstance(each, Happened) and each.event == "node.unreachable"
    }
    assert told == {"a": False, "b": True}

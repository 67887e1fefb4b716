"""What processes count reaches the master and never falls, whatever becomes of them."""

from tests.support.cluster import Cluster
from tsd.core.counts import ControllerCounts, MeshCounts, WorkCounts
from tsd.core.records import Status


def counts(completed, failed=0, messages=0):
    return ControllerCounts(
        work=WorkCounts(completed=completed, failed=failed, busy_us=completed * 10),
        mesh=MeshCounts(messages_in=messages),
        workers=MeshCounts(messages_out=2 * messages, bad_frames=messages),
    )


def totals(cluster):
    return cluster.master.figures().counts


def work(cluster):
    return (totals(cluster).work.completed, totals(cluster).work.failed)


def test_beats_of_a_controller_are_added_up():
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").counts = counts(5, 1, messages=7)
    cluster.run(2)

    assert totals(cluster).work == WorkCounts(completed=5, failed=1, busy_us=50)
    assert totals(cluster).controllers == MeshCounts(messages_in=7)
    assert totals(cluster).workers == MeshCounts(messages_out=14, bad_frames=7)


def test_an_execution_that_ends_takes_nothing_away():
    cluster = Cluster(a=4)
    cluster.start("x")
    controller = cluster.controller("x")
    controller.counts = counts(5)
    cluster.run(2)
    controller.counts = counts(8)  # said with the last report, no beat follows
    controller.report("completed")
    cluster.run_until(lambda: cluster.status("x") is Status.COMPLETED)
    cluster.run(20)

    assert work(cluster) == (8, 0)
    assert cluster.master.figures().executions == ()
    cluster.start("y")
    cluster.controller("y").counts = counts(2)
    cluster.run(2)
    assert work(cluster) == (10, 0)


def test_a_controller_that_is_replaced_goes_on_from_where_the_one_before_was():
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").counts = counts(5, 1)
    cluster.run(2)
    first = cluster.controller("x")
    cluster.end(first.spec.proc_id, signal=9)
    cluster.run_until(lambda: cluster.controller("x") not in (None, first))
    assert work(cluster) == (5, 1)

    cluster.run(2)
    cluster.controller("x").counts = counts(3)
    cluster.run(2)

    assert work(cluster) == (8, 1)


def test_a_master_that_starts_counts_from_its_own_start():
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").counts = counts(500)
    cluster.run(2)
    cluster.crash_master()
    cluster.controller("x").counts = counts(600)
    cluster.start_master()
    cluster.run(5)
    assert work(cluster) == (0, 0)

    cluster.controller("x").counts = counts(604)
    cluster.run(2)

    assert work(cluster) == (4, 0)


def test_a_node_that_reconnects_says_so():
    cluster = Cluster(a=4)
    cluster.run(2)
    assert totals(cluster).nodes.reconnects == 0
    cluster.crash_master()
    cluster.run(5)
    cluster.start_master()
    cluster.run(5)

    assert totals(cluster).nodes.reconnects == 1


def test_capacity_is_that_of_the_nodes_that_are_there():
    cluster = Cluster(a=4, b=3)
    cluster.start("x", workers=2)
    capacity = cluster.master.capacity()
    assert (capacity.nodes_connected, capacity.nodes_away, capacity.slots, capacity.slots_free) == (
        2,
        0,
        7,
        4,
    )

    cluster.host("a").is_cut = True
    cluster.run(10)
    capacity = cluster.master.capacity()
    assert (capacity.nodes_connected, capacity.nodes_away) == (1, 1)
    assert capacity.slots == 3


def test_figures_of_an_execution_follow_its_status():
    cluster = Cluster(a=4)
    cluster.post("x", workers=2)
    cluster.post("y", workers=9)
    cluster.run(5)

    found = {each.ex_id: each for each in cluster.master.figures().executions}
    assert (found["x"].status, found["x"].workers, found["x"].is_listed) == (Status.RUNNING, 2, True)
    assert (found["y"].status, found["y"].workers, found["y"].is_listed) == (Status.PENDING, 9, False)

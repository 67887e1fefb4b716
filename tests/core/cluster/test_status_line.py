"""The one line of `systemctl status` of the master."""

import attrs

from tests.support.cluster import Cluster
from tsd.core.cluster.events import DrainNode
from tsd.core.counts import ControllerCounts, WorkCounts
from tsd.master.statusline import StatusLine


def line_of(cluster):
    return StatusLine(machine=cluster.master, now=lambda: cluster.now)


def work(controller, *, completed, failed=0):
    """What it says that came of slices, in both of its counts."""
    controller.counts = ControllerCounts(work=WorkCounts(completed=completed, failed=failed))
    controller.stats = attrs.evolve(controller.stats, processed=completed, failed=failed)


def test_the_rate_is_that_since_the_last_time():
    cluster = Cluster(a=4)
    cluster.start("x")
    line = line_of(cluster)
    line.text()
    work(cluster.controller("x"), completed=90, failed=10)
    cluster.run(4)

    assert line.text() == "1 node, 1 execution, 25 slices/s"
    cluster.run(4)
    assert line.text() == "1 node, 1 execution, 0 slices/s"


def test_a_master_that_starts_does_not_count_what_came_before_it():
    cluster = Cluster(a=4)
    cluster.start("x")
    work(cluster.controller("x"), completed=100_000)
    cluster.run(4)
    cluster.crash_master()
    cluster.start_master()
    line = line_of(cluster)
    line.text()
    cluster.run(4)

    assert line.text() == "1 node, 1 execution, 0 slices/s"


def test_nodes_on_which_nothing_is_to_run_are_named():
    cluster = Cluster(a=4, b=4)
    cluster.run(2)
    cluster.feed(DrainNode(node_id="b"))
    cluster.settle()

    assert line_of(cluster).text() == "2 nodes (1 drained), 0 executions, 0 slices/s"

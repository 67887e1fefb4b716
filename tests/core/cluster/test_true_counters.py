"""What the master says of slices at the end is what their records say, whoever said what before."""

import attrs
import pytest

from tests.support.cluster import Cluster
from tsd.core.cluster.events import StopRequested
from tsd.core.counts import ControllerCounts, WorkCounts
from tsd.core.records import EndedSlices, ExecutionStats, Status

BEGAN = "2023-11-14T22:13:20.000Z"
"""The moment at which the clock of a `Cluster` begins."""


def started(cluster, workers=1):
    cluster.start("x", workers, ended=EndedSlices())
    says(cluster, started=BEGAN)
    return cluster.controller("x")


def says(cluster, **stats):
    controller = cluster.controller("x")
    controller.stats = ExecutionStats(**{"started": BEGAN, **stats})
    cluster.run(1.5)
    return controller


def stop(cluster):
    cluster.feed(StopRequested(ex_id="x", within_s=None, force=True))


def shown(cluster):
    view = cluster.master.execution_view("x")
    return (view.stats.processed, view.stats.failed)


def last(cluster):
    stats = cluster.record("x").stats
    return (stats.processed, stats.failed)


def work(cluster):
    counts = cluster.master.figures().counts.work
    return (counts.completed, counts.failed)


def test_what_was_recorded_after_the_last_beat_is_in_the_last_counters():
    cluster = Cluster(a=4)
    started(cluster)
    says(cluster, processed=3)
    cluster.stored("x", completed=57, failed=2)

    stop(cluster)
    cluster.run_until(lambda: cluster.status("x") is Status.STOPPED)

    assert last(cluster) == (59, 2)
    assert (cluster.master.cluster_stats().processed, cluster.master.cluster_stats().failed) == (59, 2)
    assert work(cluster) == (57, 2)


def test_what_was_said_and_never_recorded_is_not_in_the_last_counters():
    """A worker's results came to a controller that was killed before it had recorded them."""
    cluster = Cluster(a=4)
    started(cluster)
    cluster.stored("x", completed=5)
    says(cluster, processed=9)
    assert shown(cluster) == (9, 0)

    stop(cluster)
    cluster.run_until(lambda: cluster.status("x") is Status.STOPPED)

    assert last(cluster) == (5, 0)
    assert cluster.master.cluster_stats().processed == 5


def test_a_controller_that_has_just_started_takes_nothing_away():
    cluster = Cluster(a=4)
    first = started(cluster)
    cluster.stored("x", completed=40, failed=1)
    cluster.end(first.spec.proc_id, signal=9)
    cluster.run_until(lambda: cluster.controller("x") is not first and cluster.controller("x").welcomed)

    says(cluster, processed=0)

    assert shown(cluster) == (41, 1)


def test_counters_of_a_replaced_controller_begin_with_the_first_generation():
    cluster = Cluster(a=4)
    first = started(cluster)
    cluster.run(10)
    cluster.end(first.spec.proc_id, signal=9)
    cluster.run_until(lambda: cluster.controller("x") is not first and cluster.controller("x").welcomed)
    says(cluster, started="2023-11-14T22:20:00.000Z", job_duration=1)
    cluster.controller("x").report("completed")
    cluster.run_until(lambda: cluster.status("x") is Status.COMPLETED)

    assert cluster.record("x").stats.started == BEGAN
    assert cluster.record("x").stats.job_duration >= 10


def test_a_master_that_starts_anew_knows_when_the_run_began_and_what_is_done():
    cluster = Cluster(a=4)
    first = started(cluster)
    cluster.stored("x", completed=7)
    cluster.crash_master()
    cluster.end(first.spec.proc_id, signal=9)
    record = attrs.evolve(cluster.record("x"), ended=EndedSlices(completed=7))
    cluster.store.records["x"] = record
    cluster.start_master()
    cluster.run(60)

    says(cluster, started="2023-11-14T22:20:00.000Z")
    assert shown(cluster) == (7, 0)
    cluster.controller("x").report("failed", "broken")
    cluster.run_until(lambda: cluster.status("x") is Status.FAILED)

    assert cluster.record("x").stats.started == BEGAN
    assert last(cluster) == (7, 0)
    assert work(cluster) == (0, 0)


def test_records_that_become_durable_after_the_end_are_added():
    cluster = Cluster(a=4)
    started(cluster)
    cluster.stored("x", completed=5)
    stop(cluster)
    cluster.run_until(lambda: cluster.status("x") is Status.STOPPED)
    cluster.run(5)

    cluster.stored("x", completed=8, failed=1)

    stats = cluster.master.cluster_stats()
    assert (stats.processed, stats.failed) == (9, 1)
    assert work(cluster) == (8, 1)


def test_slices_are_counted_by_their_records_and_the_rest_by_beats():
    cluster = Cluster(a=4)
    controller = started(cluster)
    controller.counts = ControllerCounts(work=WorkCounts(completed=50, failed=5, refused=2, busy_us=99))
    cluster.stored("x", completed=6, failed=1)
    cluster.run(2)

    assert cluster.master.figures().counts.work == WorkCounts(completed=6, failed=1, refused=2, busy_us=99)


def test_an_error_that_is_run_again_leaves_the_counters_that_never_fall():
    cluster = Cluster(a=4)
    started(cluster)
    cluster.stored("x", failed=1)
    cluster.stored("x", completed=1, failed=0, newly_failed=0)

    assert shown(cluster) == (1, 0)
    assert work(cluster) == (1, 1)


@pytest.mark.parametrize("text", ["", "yesterday", "2023-13-99", "9" * 400])
def test_a_start_that_is_no_time_ends_nothing(text):
    cluster = Cluster(a=4)
    started(cluster)
    says(cluster, started=text)
    cluster.controller("x").report("completed")

    cluster.run_until(lambda: cluster.status("x") is Status.COMPLETED)

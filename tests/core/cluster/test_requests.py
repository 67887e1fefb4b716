import pytest

from tests.support.cluster import Cluster
from tsd.core.cluster.events import (
    LogLevelRequested,
    PauseRequested,
    ResumeRequested,
    StopRequested,
    WorkersRequested,
)
from tsd.core.execution.lifecycle import LifecycleEvent
from tsd.core.messages import LAST_WORDS_S, Refused, Wanted
from tsd.core.records import ExecutionStats, Status
from tsd.errors import NotActive, Unavailable


def ask(cluster, event):
    answer = cluster.feed(event).answer
    cluster.settle()
    return answer


def test_stop_goes_over_stopping_to_stopped_and_ends_all_processes():
    """E27."""
    cluster = Cluster(a=4)
    cluster.start("x", 3)

    ask(cluster, StopRequested(ex_id="x"))
    cluster.run(2)

    assert cluster.history("x")[-2:] == [Status.STOPPING, Status.STOPPED]
    assert cluster.running() == []
    assert cluster.master.cluster_state()["a"].available == 4


def test_workers_of_a_drained_execution_may_flush_before_they_leave():
    """E43: its controller leaves first, and that is no loss."""
    cluster = Cluster(a=4)
    cluster.start("x", 3)
    cluster.host("a").ignores_term = True  # they are busy flushing

    ask(cluster, StopRequested(ex_id="x"))
    cluster.run(2)

    assert cluster.status("x") is Status.STOPPING
    assert len(cluster.workers("x")) == 3
    assert {each.signal for each in cluster.host("a").signals} == {"term"}


def test_the_controller_is_told_how_long_it_may_drain():
    cluster = Cluster(a=4)
    cluster.start("x", 1)
    cluster.controller("x").lazy = True

    ask(cluster, StopRequested(ex_id="x", within_s=20))

    wanted = cluster.controller("x").wanted
    assert (wanted.stop, wanted.stop_within_s) == ("drain", 20)
    assert cluster.status("x") is Status.STOPPING
    assert len(cluster.running()) == 2


def test_a_stop_that_does_not_end_is_killed_in_time():
    """E27, E36, cluster 23."""
    cluster = Cluster(a=4)
    cluster.start("x", 1)
    cluster.controller("x").lazy = True
    ask(cluster, StopRequested(ex_id="x"))
    cluster.run(59)
    assert cluster.status("x") is Status.STOPPING

    cluster.run(4)

    assert cluster.status("x") is Status.STOPPED
    assert cluster.running() == []


def test_a_stop_ends_even_if_nothing_answers_any_more():
    """E36: nothing stays stopping."""
    cluster = Cluster(a=4)
    cluster.start("x", 1)
    cluster.controller("x").lazy = True
    cluster.host("a").is_frozen = True

    ask(cluster, StopRequested(ex_id="x", within_s=5))
    cluster.run(9 + LAST_WORDS_S)

    assert cluster.status("x") is Status.STOPPED
    cluster.host("a").is_frozen = False
    cluster.run(3)
    assert cluster.running() == []


def test_a_repeated_stop_changes_nothing_and_never_prolongs():
    cluster = Cluster(a=4)
    cluster.start("x", 1)
    cluster.controller("x").lazy = True
    ask(cluster, StopRequested(ex_id="x", within_s=10))
    cluster.run(5)

    ask(cluster, StopRequested(ex_id="x", within_s=100))
    cluster.run(9)

    assert cluster.status("x") is Status.STOPPED
    assert cluster.history("x").count(Status.STOPPING) == 1


def test_a_waiting_execution_is_stopped_at_once():
    """Cluster 21."""
    cluster = Cluster()
    cluster.post("x", 4)

    ask(cluster, StopRequested(ex_id="x"))

    assert cluster.history("x") == [Status.PENDING, Status.STOPPING, Status.STOPPED]
    cluster.join("a", 9)
    cluster.run(2)
    assert cluster.running() == []


def test_workers_that_wait_for_room_are_forgotten_on_stop():
    """Cluster 21."""
    cluster = Cluster(a=3)
    cluster.start("x", 1)
    ask(cluster, WorkersRequested(ex_id="x", action="total", count=9))
    cluster.controller("x").lazy = True

    ask(cluster, StopRequested(ex_id="x"))
    cluster.join("b", 9)
    cluster.run(2)

    assert cluster.spread("x") == {"a": 2}


def test_force_kills_at_once():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.host("a").ignores_term = True

    ask(cluster, StopRequested(ex_id="x", force=True))

    assert cluster.status("x") is Status.STOPPED
    assert cluster.running() == []
    assert {each.signal for each in cluster.host("a").signals} == {"kill"}


def test_force_hurries_a_stop_that_drains():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.controller("x").lazy = True
    ask(cluster, StopRequested(ex_id="x"))
    assert cluster.status("x") is Status.STOPPING

    ask(cluster, StopRequested(ex_id="x", force=True))
    assert (cluster.controller("x").wanted.stop, cluster.controller("x").wanted.stop_within_s) == ("now", 0)
    # The controller has so long for its last words, and uses it all.
    cluster.run(LAST_WORDS_S + 0.25)

    assert cluster.status("x") is Status.STOPPED
    assert isinstance(cluster.master.turn_away("x", 1, "x/1/c"), Refused)


def test_a_stop_of_something_that_has_ended_does_nothing():
    """E27."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").report("completed")
    cluster.run(2)
    saves = len(cluster.store.saves)

    ask(cluster, StopRequested(ex_id="x"))
    ask(cluster, StopRequested(ex_id="unknown", force=True))

    assert len(cluster.store.saves) == saves


def test_a_controller_that_dies_while_stopping_is_not_replaced():
    """B7."""
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.controller("x").lazy = True
    ask(cluster, StopRequested(ex_id="x"))

    cluster.end("x/1/c")

    assert cluster.status("x") is Status.STOPPED
    assert cluster.record("x").generation == 1
    assert cluster.running() == []


def test_a_worker_that_ends_while_stopping_is_not_replaced():
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.controller("x").lazy = True
    ask(cluster, StopRequested(ex_id="x"))

    cluster.end("x/1/w1.1", exit_code=0)
    cluster.run(3)

    assert cluster.workers("x") == ["x/1/w2.1"]
    assert cluster.status("x") is Status.STOPPING


def test_a_stop_during_the_start_ends_the_start():
    cluster = Cluster(a=4)
    cluster.keeps = lambda peer, message: "/" not in peer  # the controller never gets through
    cluster.post("x")
    cluster.run(2)
    assert cluster.status("x") is Status.SCHEDULING

    ask(cluster, StopRequested(ex_id="x"))

    assert cluster.status("x") is Status.STOPPED
    assert cluster.running() == []


def test_a_stop_between_two_controllers_ends_at_once():
    cluster = Cluster(a=3)
    cluster.start("x", 1)
    for _ in range(2):
        cluster.end(cluster.controller("x").spec.proc_id)
    assert cluster.controller("x") is None

    ask(cluster, StopRequested(ex_id="x"))

    assert cluster.status("x") is Status.STOPPED


def test_a_stop_after_errors_keeps_them_and_the_counters():
    """E29, weakness 17."""
    cluster = Cluster(a=4)
    cluster.start("x")
    stats = ExecutionStats(processed=5, failed=2)
    cluster.controller("x").stats = stats
    cluster.run(1)

    ask(cluster, StopRequested(ex_id="x"))
    cluster.run(2)

    record = cluster.record("x")
    assert record.status is Status.STOPPED
    assert record.stats == stats
    assert record.has_errors
    assert "had 2 slice failure" in record.failure_reason


def test_a_clean_stop_has_no_errors_and_saves_the_counters():
    """E29."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").stats = ExecutionStats(processed=5)
    cluster.run(1)

    ask(cluster, StopRequested(ex_id="x"))
    cluster.run(2)

    record = cluster.record("x")
    assert (record.has_errors, record.failure_reason, record.stats.processed) == (False, "", 5)


def test_an_execution_that_completes_while_it_stops_is_completed():
    cluster = Cluster(a=4)
    cluster.start("x")
    controller = cluster.controller("x")
    controller.lazy = True
    ask(cluster, StopRequested(ex_id="x"))

    controller.report("completed")
    cluster.run(2)

    assert cluster.status("x") is Status.COMPLETED


def test_a_failure_while_stopping_ends_stopped_with_the_reason():
    cluster = Cluster(a=4)
    cluster.start("x")
    controller = cluster.controller("x")
    controller.lazy = True
    ask(cluster, StopRequested(ex_id="x"))

    controller.report("failed", reason="slicer had an error")
    cluster.run(2)

    record = cluster.record("x")
    assert (record.status, record.has_errors) == (Status.STOPPED, True)
    assert record.failure_reason == "slicer had an error"


def test_pause_waits_for_the_controller_and_resume_goes_on():
    """E25."""
    cluster = Cluster(a=4)
    cluster.start("x")

    effects = cluster.feed(PauseRequested(ex_id="x"))
    assert cluster.status("x") is Status.RUNNING
    assert Status.PAUSED in effects.answer.statuses
    assert Status.RUNNING not in effects.answer.statuses
    cluster.settle()
    cluster.run(1)
    assert cluster.status("x") is Status.PAUSED
    assert ("x", Status.PAUSED) in cluster.changes

    effects = cluster.feed(ResumeRequested(ex_id="x"))
    assert Status.RUNNING in effects.answer.statuses
    assert Status.PAUSED not in effects.answer.statuses
    cluster.settle()
    cluster.run(1)
    assert cluster.status("x") is Status.RUNNING


@pytest.mark.parametrize(("request_", "verb"), [(PauseRequested, "pause"), (ResumeRequested, "resume")])
def test_pause_and_resume_need_a_connected_controller(request_, verb):
    cluster = Cluster()
    cluster.post("x")

    with pytest.raises(Unavailable) as caught:
        ask(cluster, request_(ex_id="x"))

    assert str(caught.value) == f"Execution x is not available to {verb}"


@pytest.mark.parametrize("request_", [PauseRequested, ResumeRequested])
def test_a_stopping_execution_can_not_be_paused_or_resumed(request_):
    """B11: nothing overwrites stopping."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").lazy = True
    ask(cluster, StopRequested(ex_id="x"))

    with pytest.raises(Unavailable):
        ask(cluster, request_(ex_id="x"))

    assert cluster.status("x") is Status.STOPPING


@pytest.mark.parametrize(
    "request_",
    [
        PauseRequested(ex_id="x"),
        ResumeRequested(ex_id="x"),
        WorkersRequested(ex_id="x", action="add", count=1),
        LogLevelRequested(ex_id="x", level="debug"),
    ],
)
def test_requests_to_something_that_has_ended_are_refused(request_):
    """E26."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").report("completed")
    cluster.run_until(lambda: cluster.status("x") is Status.COMPLETED)

    with pytest.raises(NotActive) as caught:
        ask(cluster, request_)

    assert str(caught.value) == "no active execution context was found for ex_id: x"


def test_a_late_word_of_the_watchdog_does_not_unpause():
    """B11."""
    cluster = Cluster(a=4)
    cluster.start("x")
    ask(cluster, PauseRequested(ex_id="x"))
    cluster.run(1)

    cluster.controller("x").report(LifecycleEvent.PROBATION_PASSED)
    cluster.run(1)

    assert cluster.status("x") is Status.PAUSED


def test_a_late_word_of_the_watchdog_does_not_end_a_stop():
    """B11."""
    cluster = Cluster(a=4)
    cluster.start("x")
    controller = cluster.controller("x")
    controller.lazy = True
    ask(cluster, StopRequested(ex_id="x"))

    for event in (LifecycleEvent.PROBATION_PASSED, LifecycleEvent.RESUMED, LifecycleEvent.SLICE_FAILED):
        controller.report(event)
    cluster.run(1)

    assert cluster.status("x") is Status.STOPPING
    assert cluster.record("x").has_errors


def test_a_replaced_controller_is_told_that_it_is_paused():
    cluster = Cluster(a=4)
    cluster.start("x")
    ask(cluster, PauseRequested(ex_id="x"))
    cluster.run(1)

    cluster.end("x/1/c")
    cluster.run(2)

    assert cluster.controller("x").welcome.wanted.paused
    assert cluster.status("x") is Status.PAUSED


def test_an_execution_that_was_resumed_without_its_controller_runs():
    cluster = Cluster(a=4)
    cluster.start("x")
    ask(cluster, PauseRequested(ex_id="x"))
    cluster.run(1)
    cluster.controller("x").lazy = True
    ask(cluster, ResumeRequested(ex_id="x"))

    cluster.end("x/1/c")
    cluster.run(2)

    assert cluster.status("x") is Status.RUNNING


def test_a_log_level_reaches_the_controller_and_later_processes():
    """Cluster 30."""
    cluster = Cluster(a=4)
    cluster.start("x")

    ask(cluster, LogLevelRequested(ex_id="x", level="debug"))
    cluster.end("x/1/w1.1")

    assert cluster.controller("x").wanted.log_level == "debug"
    assert cluster.host("a").running["x/1/w1.2"].log_level == "debug"


def test_a_log_level_needs_a_connected_controller():
    cluster = Cluster()
    cluster.post("x")

    with pytest.raises(NotActive, match="Execution x is not available"):
        ask(cluster, LogLevelRequested(ex_id="x", level="debug"))


def test_a_wish_that_was_lost_on_the_way_is_sent_again():
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.keeps = lambda peer, message: not isinstance(message, Wanted)
    ask(cluster, PauseRequested(ex_id="x"))
    cluster.keeps = lambda peer, message: True

    cluster.run(3)

    assert cluster.status("x") is Status.PAUSED

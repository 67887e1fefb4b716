"""Failing, pause, stop and the other ends in the controller core."""

import attrs
import pytest

from tests.support.execution_rig import EX, Rig, numbers
from tsd.core.execution import events as ev
from tsd.core.execution.ending import LAST_RESULTS_S
from tsd.core.messages import CUT_SHORT_S, LAST_WORDS_S, StatusIs, StatusReport, StopWorker
from tsd.core.records import SliceState


def bad(*wrong):
    return lambda item: (3, 1, "Slice failed processing, caused by bad", None) if item[0] in wrong else None


def test_a_once_execution_with_a_failed_slice_goes_on_and_ends_failed():
    """E18, B3."""
    rig = Rig(numbers(20))
    rig.worker(1, outcome=bad(3), duration_s=0.1)
    rig.run(1)
    assert rig.master.status == "failing"

    rig.run_until(lambda: rig.exit)
    assert rig.states() == {"completed": 19, "error": 1}
    assert rig.master.status == "failed"
    assert rig.master.reports[-1].reason == (
        f"execution: {EX} had 1 slice failure during processing,"
        " caused by Slice failed processing, caused by bad"
    )
    assert (
        rig.master.records[0, 0, 3][3],
        rig.master.records[0, 0, 3][7],
        rig.master.records[0, 0, 3][8],
    ) == (3, 1, "Slice failed processing, caused by bad")


def test_what_is_failing_says_why_at_once():
    rig = Rig([], persistent=True)
    rig.worker(1, outcome=lambda item: (3, 0, f"op (operations[1]): {item[0]}\n  File\n\nTraceback", None))
    rig.slicer.left[0].extend(numbers(3))
    rig.run(1)

    assert rig.master.status == "failing"
    assert [report.reason for report in rig.master.reports if report.event == "slice_failed"] == [
        f"execution {EX} has encountered a processing error, reason: op (operations[1]): 1\n  File"
    ]


def test_the_reason_of_a_later_failing_is_that_of_its_own_error():
    rig = Rig([], persistent=True)
    rig.worker(1, outcome=lambda item: (3, 0, f"error {item[0]}", None) if item[0] in (1, 3) else None)
    rig.slicer.left[0].extend(numbers(1))
    rig.run(1)
    rig.slicer.left[0].extend(numbers(1))
    rig.run(7)
    assert rig.master.status == "running"
    rig.slicer.left[0].extend(numbers(1))
    rig.run(1)

    reasons = [report.reason for report in rig.master.reports if report.event == "slice_failed"]
    assert [reason.rpartition(": ")[2] for reason in reasons] == ["error 1", "error 3"]


def test_several_failures_are_reported_once_and_counted():
    rig = Rig(numbers(20))
    rig.worker(1, outcome=bad(3, 4, 9))
    rig.run_until(lambda: rig.exit)

    assert rig.master.events().count("slice_failed") == 1
    assert "had 3 slice failures" in rig.master.reports[-1].reason


def test_a_slice_that_succeeds_after_retries_says_how_many():
    """E16: the number of retries is on the final record."""
    rig = Rig(numbers(2))
    rig.worker(1, outcome=lambda item: (2, 3, None, b"{}") if item[0] == 2 else None)
    rig.run_until(lambda: rig.exit)

    assert [
        (rig.master.records[0, 0, n][3], rig.master.records[0, 0, n][7], rig.master.records[0, 0, n][10])
        for n in (1, 2)
    ] == [(2, 0, None), (2, 3, b"{}")]
    assert rig.master.status == "completed"


def test_probation_is_passed_after_a_whole_window_with_progress_and_no_new_error():
    """E19: the window is 3 s here."""
    rig = Rig([], persistent=True)
    rig.worker(1, outcome=bad(1, 3))
    rig.slicer.left[0].extend(numbers(1))
    rig.run(1)
    assert rig.master.status == "failing"

    rig.run(10)
    assert rig.master.status == "failing", "an idle execution stays failing"

    rig.slicer.left[0].extend(numbers(2))
    rig.run(3)
    assert rig.master.status == "failing", "a new error in the window"

    rig.slicer.left[0].extend(numbers(1))
    rig.run(7)
    assert rig.master.status == "running"
    assert rig.master.events().count("probation_passed") == 1

    rig.slicer.left[0].extend(numbers(2))
    rig.worker(2, outcome=bad(5, 6))
    rig.workers[f"{EX}/1/w1.1"].outcome = bad(5, 6)
    rig.run(1)
    assert rig.master.status == "failing"


def test_probation_does_not_end_a_pause():
    """B11."""
    rig = Rig([], persistent=True)
    rig.worker(1, outcome=bad(1))
    rig.slicer.left[0].extend(numbers(1))
    rig.run(1)
    rig.slicer.left[0].extend(numbers(1))
    rig.run(1)
    rig.master.want(paused=True)
    rig.run(10)

    assert rig.master.status == "paused"
    assert rig.master.illegal == []


def test_pause_takes_back_what_is_not_begun_and_lets_the_running_slice_end():
    """E25."""
    rig = Rig(numbers(2_000))
    worker = rig.worker(1, duration_s=lambda item: 0.002 if item[0] < 200 else 1.0)
    rig.run(1)
    assert worker.queue
    rig.master.want(paused=True)
    rig.run(3)

    assert rig.master.status == "paused"
    assert worker.running is None
    assert len(worker.queue) == 0
    ran = len(worker.ran)
    rig.run(20)
    assert ran == len(worker.ran)

    worker.duration_s = 0.002
    rig.master.want(paused=False)
    rig.run_until(lambda: rig.exit)
    assert rig.master.statuses == ["initializing", "running", "paused", "running", "completed"]
    assert rig.states() == {"completed": 2_000}
    assert dict.fromkeys(range(1, 2001), 1) == rig.runs()


def test_a_paused_execution_makes_no_slices():
    """E25."""
    rig = Rig(numbers(3), start=False)
    rig.master.wanted = attrs.evolve(rig.master.wanted, paused=True)
    rig.feed(ev.Tick())
    rig.worker(1)
    rig.run(5)

    assert rig.slicer.handed_out == []
    assert rig.master.status == "paused"
    rig.master.want(paused=False)
    rig.run_until(lambda: rig.exit)
    assert rig.master.status == "completed"


def test_an_execution_with_errors_is_failing_again_after_a_pause():
    rig = Rig(numbers(400))
    rig.worker(1, outcome=bad(2), duration_s=0.05)
    rig.run(1)
    rig.master.want(paused=True)
    rig.run(1)
    rig.master.want(paused=False)
    rig.run(1)

    assert rig.master.status == "failing"


def test_a_stop_lets_running_slices_end_and_records_the_rest_as_pending():
    """E27, E29: everything made is recorded before the report, which carries the counters."""
    rig = Rig(numbers(500))
    worker = rig.worker(1, duration_s=0.3, outcome=bad(2))
    rig.run(1)
    rig.master.want(stop="drain", stop_within_s=30.0)
    rig.run_until(lambda: rig.exit)

    assert rig.master.events()[-1] == "stopped"
    assert {"completed", "error", "pending"} == set(rig.states())
    assert sum(rig.states().values()) == 500
    assert worker.running is None
    stats = rig.master.reports[-1].stats
    assert (len(worker.ran), 1) == (stats.processed, stats.failed)
    assert rig.now < 102
    assert isinstance(rig.sent[-1][2], StopWorker)
    rig.run(1)
    assert (worker.exit.code, worker.flushes) == (0, 1)


def test_a_stop_does_not_wait_longer_than_it_may():
    """E27: the slice that still runs is put down, and is recorded as waiting again."""
    rig = Rig(numbers(5))
    rig.worker(1, duration_s=60.0)
    rig.run(1)
    rig.master.want(stop="drain", stop_within_s=5.0)
    rig.run(6)

    assert rig.master.events()[-1] == "stopped"
    assert rig.states() == {"pending": 5}
    assert rig.exit is not None


def test_a_stop_while_the_store_is_away_reports_when_its_time_is_over():
    rig = Rig(numbers(5))
    rig.worker(1, duration_s=0.1)
    rig.run(0.05)
    rig.master.saves = False
    rig.master.want(stop="drain", stop_within_s=5.0)
    rig.run(4)
    assert "stopped" not in rig.master.events()

    rig.run(2)
    assert rig.master.events()[-1] == "stopped"


def test_a_stop_at_once_ends_workers_at_once():
    rig = Rig(numbers(5))
    worker = rig.worker(1, duration_s=60.0)
    rig.run(1)
    rig.master.want(stop="now", stop_within_s=5.0)
    rig.run(0.5)

    assert rig.exit is not None
    assert worker.exit is not None
    assert worker.ran == []
    assert rig.master.events()[-1] == "stopped"
    assert sum(rig.states().values()) == 5


def test_a_stop_that_finds_everything_completed_reports_completed():
    rig = Rig(numbers(2))
    rig.worker(1, duration_s=1.0)
    rig.worker(2, duration_s=1.0)
    rig.run(0.5)
    rig.master.want(stop="drain", stop_within_s=30.0)
    rig.run_until(lambda: rig.exit)

    assert rig.master.events()[-1] == "completed"


def test_a_stop_during_slicing_records_the_slices_that_were_just_made():
    rig = Rig(numbers(500), max_queue_length=10)
    rig.worker(1, duration_s=0.1)
    rig.run(1)
    rig.slicer.answers = False
    rig.run_until(lambda: rig.machine._slicing.is_asked)
    rig.master.want(stop="drain", stop_within_s=30.0)
    rig.run(1)
    assert "stopped" not in rig.master.events()

    rig.feed(rig.slicer.make(5))
    rig.run(1)
    assert rig.master.events()[-1] == "stopped"
    assert len(rig.slicer.handed_out) == sum(rig.states().values())


def test_a_controller_that_is_told_to_end_leaves_without_a_last_status():
    """E28 is deliberately different: another generation goes on."""
    rig = Rig(numbers(500))
    worker = rig.worker(1, duration_s=0.3)
    rig.run(1)
    rig.feed(ev.Terminate())
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "running"
    assert rig.master.events() == ["slicing_started"]
    assert sum(rig.states().values()) == 500
    assert {"completed", "pending"} == set(rig.states())
    assert rig.exit.code == 0
    rig.run(1)
    assert worker.exit is not None


@pytest.mark.parametrize("is_recoverable", [True, False])
def test_a_controller_says_whether_another_one_could_go_on(is_recoverable):
    """A drained node keeps one that can have no successor."""
    rig = Rig(numbers(500), recoverable=is_recoverable)
    rig.worker(1, duration_s=0.3)
    rig.run(3)

    said = [beat.replaceable for beat in rig.master.beats]
    assert set(said) <= {None, is_recoverable}
    assert said[-1] is is_recoverable


def test_a_controller_in_a_hurry_sends_what_it_knows_and_ends():
    rig = Rig(numbers(500))
    rig.worker(1, duration_s=5.0)
    rig.run(0.05)
    rig.feed(ev.Terminate())
    rig.feed(ev.Terminate(hurry=True))
    assert rig.exit is not None
    rig.run(1)

    assert sum(rig.states().values()) == 500
    assert SliceState.START in {row[3] for row in rig.master.records.values()}


def test_a_stop_comes_before_the_drain_of_the_node():
    rig = Rig(numbers(500))
    rig.worker(1, duration_s=3.0)
    rig.run(1)
    rig.feed(ev.Terminate())
    rig.master.want(stop="drain", stop_within_s=30.0)
    rig.run_until(lambda: rig.exit)

    assert rig.master.events()[-1] == "stopped"


def test_the_last_report_waits_for_every_record():
    """COMPLETED is reported after the last acknowledgement, never before; `Rig` checks it each time."""
    rig = Rig(numbers(30))
    rig.worker(1, duration_s=0.001)
    rig.master.saves = False
    rig.run(5)
    assert rig.master.events() == ["slicing_started"]

    rig.master.saves = True
    rig.run_until(lambda: rig.exit, limit_s=40)
    assert rig.master.events()[-1] == "completed"


def test_reports_are_repeated_in_order_until_they_are_answered():
    rig = Rig(numbers(3))
    rig.worker(1)
    lost = []
    receive = rig.master.receive

    def lose(message):
        if isinstance(message, StatusReport) and len(lost) < 3:
            lost.append(message)
        else:
            receive(message)

    rig.master.receive = lose
    rig.run_until(lambda: rig.exit)

    assert [report.seq for report in lost] == [1, 1, 1]
    assert rig.master.events() == ["slicing_started", "completed"]
    assert [report.seq for report in rig.master.reports] == [1, 2]


def test_a_terminal_answer_to_any_report_ends_the_controller():
    """The master decided meanwhile."""
    rig = Rig(numbers(100))
    rig.worker(1, outcome=bad(5), duration_s=0.1)
    rig.run(0.3)
    rig.master.report = lambda report: rig.to_controller(StatusIs(seq=report.seq, status="terminated"))
    rig.run(2)

    assert "terminated" in rig.exit.reason


def test_after_the_end_nothing_happens():
    rig = Rig(numbers(1))
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert rig.machine.wake_at() is None
    effects = rig.machine.handle(ev.Tick(), now=rig.now + 100)
    assert (effects.sends, effects.actions) == ([], [])


# --- completing the output -----------------------------------------------------------------------


def completing(count=5, *, duration_s=0.1, outcome=None):
    """A job that has something to do when all its slices are done."""
    rig = Rig(numbers(count))
    rig.slicer.completes = True
    rig.worker(1, duration_s=duration_s, outcome=outcome)
    return rig


def test_the_output_is_completed_when_all_is_recorded_and_before_the_report():
    rig = completing()
    rig.slicer.completion_answers = False
    rig.run_until(lambda: rig.slicer.completions)

    assert rig.states() == {"completed": 5}
    assert rig.slicer.completed_with == ev.CompleteOutput({0: 5}, has_predecessor=False)
    rig.run(60)
    assert (rig.slicer.completions, rig.master.events()[-1]) == (1, "slicing_started")
    rig.feed(ev.OutputCompleted())
    rig.run_until(lambda: rig.exit)
    assert rig.master.status == "completed"


def test_an_execution_whose_output_cannot_be_completed_fails_with_the_reason():
    rig = completing()
    rig.slicer.completion_error = "OperationError: folder /out cannot be written"
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert rig.master.reports[-1].reason == (
        f"execution: {EX} ran all slices, but its output could not be completed, caused by OperationError: folder "
        "/out cannot be written"
    )


def test_the_output_of_an_execution_that_failed_or_was_stopped_is_not_completed():
    failed = completing(outcome=bad(2))
    failed.run_until(lambda: failed.exit)
    stopped = completing(500, duration_s=0.3)
    stopped.run(1)
    stopped.master.want(stop="drain", stop_within_s=30.0)
    stopped.run_until(lambda: stopped.exit)

    assert (failed.master.status, failed.slicer.completions) == ("failed", 0)
    assert (stopped.master.events()[-1], stopped.slicer.completions) == ("stopped", 0)


def test_the_next_controller_completes_the_output_again():
    rig = completing()
    rig.slicer.completion_answers = False
    rig.run_until(lambda: rig.slicer.completions)
    rig.restart()
    rig.slicer.completion_answers = True
    rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert (rig.master.status, rig.slicer.completions) == ("completed", 2)
    assert rig.slicer.completed_with == ev.CompleteOutput({0: 5}, has_predecessor=True)


def test_a_stop_waits_for_the_output_no_longer_than_it_may():
    rig = completing()
    rig.slicer.completion_answers = False
    rig.run_until(lambda: rig.slicer.completions)
    rig.master.want(stop="drain", stop_within_s=5.0)
    rig.run(4)
    assert rig.exit is None

    rig.run(2)
    assert rig.master.events()[-1] == "stopped"


def test_a_stop_that_finds_all_slices_done_completes_the_output():
    rig = completing(1)
    rig.run_until(lambda: rig.states() == {"completed": 1} or rig.exit)
    rig.master.want(stop="drain", stop_within_s=30.0)
    rig.run_until(lambda: rig.exit)

    assert (rig.master.status, rig.slicer.completions) == ("completed", 1)


# --- the last words of a stop whose time is over


def forced(rig):
    rig.master.want(stop="now", stop_within_s=0.0)
    return rig.run_until(lambda: rig.exit, limit_s=5.0)


def test_a_forced_stop_records_all_that_was_made_and_all_that_was_done():
    """Also what ended so shortly before that no beat and no batch had told it."""
    rig = Rig(numbers(300))
    workers = [rig.worker(number, duration_s=0.03) for number in (1, 2, 3)]
    rig.run(1.013)
    forced(rig)

    done = sum(len(worker.ran) for worker in workers)
    assert rig.states() == {"completed": done, "pending": 300 - done}
    assert rig.master.reports[-1].stats.processed == done
    assert rig.master.reports[-1].is_recorded
    assert all(worker.exit.code == 0 for worker in workers)


@pytest.mark.parametrize("duration_s", [0.001, 0.03, 2.0])
def test_a_forced_stop_at_any_moment_loses_no_result(duration_s):
    for number in range(20):
        rig = Rig(numbers(400))
        workers = [rig.worker(number, duration_s=duration_s) for number in (1, 2, 3)]
        rig.run(0.05 + number * 0.0137)
        forced(rig)

        done = sum(len(worker.ran) for worker in workers)
        assert rig.states().get("completed", 0) == done == rig.master.reports[-1].stats.processed
        assert sum(rig.states().values()) == 400
        assert rig.master.reports[-1].is_recorded


def test_a_forced_stop_does_not_wait_for_a_worker_that_says_nothing():
    """User code that holds the interpreter: what it runs stays recorded as started."""
    rig = Rig(numbers(5))
    rig.worker(1, duration_s=60.0).is_frozen = False
    rig.run(1)
    next(iter(rig.workers.values())).is_frozen = True
    began = rig.now
    forced(rig)

    assert rig.now - began < LAST_RESULTS_S + 0.2
    assert rig.states() == {"pending": 3, "start": 2}
    assert rig.master.reports[-1].is_recorded


def test_a_slice_that_can_not_be_cut_short_is_given_back_while_it_runs():
    rig = Rig(numbers(5))
    worker = rig.worker(1, duration_s=60.0)
    worker.can_be_cut = False
    rig.run(1)
    began = rig.now
    forced(rig)

    assert CUT_SHORT_S <= rig.now - began < LAST_RESULTS_S
    assert rig.states() == {"pending": 5}
    assert worker.exit is not None


def test_what_ends_by_itself_while_a_stop_waits_is_counted():
    rig = Rig(numbers(5))
    worker = rig.worker(1, duration_s=1.2)
    worker.can_be_cut = False
    rig.run(1)
    forced(rig)

    assert len(worker.ran) == 1
    assert rig.states() == {"completed": 1, "pending": 4}


def test_a_forced_stop_without_a_store_says_that_its_records_are_missing():
    rig = Rig(numbers(50))
    rig.worker(1, duration_s=0.1)
    rig.run(0.05)
    rig.master.saves = False
    began = rig.now
    forced(rig)

    assert rig.now - began < LAST_WORDS_S
    assert rig.master.events()[-1] == "stopped"
    assert not rig.master.reports[-1].is_recorded


def test_force_hurries_a_drain_and_is_not_hurried_itself():
    rig = Rig(numbers(50))
    rig.worker(1, duration_s=20.0)
    rig.run(1)
    rig.master.want(stop="drain", stop_within_s=60.0)
    rig.run(1)
    rig.master.want(stop="now", stop_within_s=0.0)
    rig.run(0.002)
    rig.master.want(stop="now", stop_within_s=0.0)
    rig.run_until(lambda: rig.exit, limit_s=2.0)

    assert rig.states() == {"pending": 50}
    assert rig.master.reports[-1].is_recorded


def test_a_replaced_controller_does_not_claim_to_know_what_the_one_before_handed_out():
    """Not before it has made that again, and handed out for a while."""
    rig = Rig(numbers(400), max_queue_length=10)
    rig.worker(1, duration_s=0.1)
    rig.run(0.5)
    rig.restart()
    rig.worker(1, duration_s=0.1)
    rig.run(0.3)
    forced(rig)

    assert not rig.master.reports[-1].is_recorded


def test_a_replaced_controller_knows_it_after_a_while():
    rig = Rig(numbers(400), max_queue_length=10)
    rig.worker(1, duration_s=0.1)
    rig.run(0.5)
    rig.restart()
    rig.worker(1, duration_s=0.1)
    rig.run(2)
    forced(rig)

    assert rig.master.reports[-1].is_recorded


def test_a_replaced_controller_whose_slicer_fails_does_not_know_what_was_handed_out():
    """Such as a reader whose input is another one now."""
    rig = Rig(numbers(400), max_queue_length=10)
    rig.worker(1, duration_s=0.1)
    rig.run(0.5)
    rig.restart()
    rig.slicer.error = "the file was replaced"
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert not rig.master.reports[-1].is_recorded


def test_the_first_controller_whose_slicer_fails_knows_what_it_handed_out():
    rig = Rig(numbers(400), max_queue_length=10)
    rig.worker(1, duration_s=0.1)
    rig.run(0.5)
    rig.slicer.error = "the file was replaced"
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert rig.master.reports[-1].is_recorded


def test_a_replaced_controller_knows_it_when_nothing_more_can_be_made():
    rig = Rig(numbers(40))
    rig.worker(1, duration_s=0.1)
    rig.run(0.5)
    rig.restart()
    rig.worker(1, duration_s=0.1)
    rig.run(0.3)
    forced(rig)

    assert rig.master.reports[-1].is_recorded

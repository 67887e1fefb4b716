"""Workers that join, die, vanish and come back, as the controller core sees them."""

import attrs
import pytest

from tests.support.execution_rig import EX, LIMITS, Rig, hello, numbers
from tsd.core.execution import events as ev
from tsd.core.messages import (
    Again,
    Alive,
    GiveBack,
    ProcessExit,
    Refused,
    Results,
    ResultsSeen,
    Slices,
    WorkerBeat,
    WorkerSettings,
    WorkerWelcome,
)


def ok(seq, done=(), returned=(), full=()):
    return Results(seq=seq, done=list(done), full=list(full), returned=list(returned), busy_us=100)


def tell(rig, peer, message):
    """Feed a message of a worker; return what is sent to it."""
    effects = rig.machine.handle(ev.FromWorker(peer, message), now=rig.now)
    return [sent for to, sent in effects.sends if to == peer]


def killed(peer, *, running=None, signal=9):
    return ProcessExit(proc_id=peer, ex_id=EX, exit_code=None, signal=signal, running=running)


def given(sent):
    return [item[0] for message in sent if isinstance(message, Slices) for item in message.items]


def test_a_slice_of_a_killed_worker_is_run_by_another_at_once():
    """B1: the once job ends, and counts the slice once."""
    rig = Rig(numbers(4))
    first = rig.worker(1, duration_s=5.0)
    rig.run(1)
    second = rig.worker(2, duration_s=0.1)
    rig.run(0.5)
    first.die()
    rig.run(0.5)

    assert 1 in {item[0] for item in second.ran}
    rig.run_until(lambda: rig.exit)
    assert rig.master.status == "completed"
    assert rig.master.reports[-1].stats.processed == 4


def test_a_slice_that_kills_its_workers_ends_in_error_and_names_the_killer():
    """With max_retries 1 two deaths are one too many; innocent slices are not blamed."""
    rig = Rig(numbers(40))
    killed = 0
    for start in (1, 2, 3):
        worker = rig.worker(1, start=start, duration_s=lambda item: 1.0 if item[0] == 7 else 0.01)
        rig.run_until(lambda: rig.exit or (worker.running and worker.running[0] == 7))  # noqa: B023
        if rig.exit is None:
            worker.die(signal=11)
            killed += 1

    assert killed == 2
    assert rig.master.status == "failed"
    assert rig.states() == {"completed": 39, "error": 1}
    error = rig.master.records[0, 0, 7][8]
    assert "ended 2 times while it ran this slice" in error
    assert "signal 11 (SIGSEGV)" in error
    assert rig.master.records[0, 0, 7][7] == 1


def test_with_no_retries_the_first_death_ends_the_slice_in_error():
    rig = Rig(numbers(3), job={"max_retries": 0})
    worker = rig.worker(1, duration_s=lambda item: 0.01 if item[0] < 2 else 9.0)
    rig.run(1)
    worker.die(exit_code=3)
    rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 2, "error": 1}
    assert "exit code 3" in rig.master.records[0, 0, 2][8]


def test_a_slice_that_killed_a_worker_is_run_again_alone():
    """Nothing else is given to that worker meanwhile, and it had to hold nothing."""
    rig = Rig(numbers(3_000))
    first = rig.worker(1, duration_s=lambda item: 9.0 if item[0] == 1 else 0.002)
    rig.run(0.3)
    second = rig.worker(2, duration_s=lambda item: 1.0 if item[0] == 1 else 0.002)
    rig.run(0.3)
    first.die()
    rig.run_until(lambda: second.running and second.running[0] == 1)
    for _ in range(9):
        rig.run(0.1)
        assert len(second.queue) == 0
        assert second.running[0] == 1

    rig.run_until(lambda: rig.exit)
    assert rig.states() == {"completed": 3_000}


def test_a_worker_that_was_given_up_is_not_blamed_for_the_slice_it_ran():
    rig = Rig(numbers(2), job={"max_retries": 0})
    first = rig.worker(1, duration_s=60.0)
    rig.run(1)
    first.is_cut_off = True
    rig.run(20)
    first.die()
    rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 2}


def test_a_worker_that_was_told_to_end_is_not_blamed_when_it_is_killed():
    rig = Rig(numbers(5), job={"max_retries": 0})
    first = rig.worker(1, duration_s=60.0)
    rig.run(1)
    first.feed(ev.Terminate())
    rig.run(1)
    first.die()
    rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 5}


def test_a_draining_worker_gives_back_and_gets_nothing_more():
    rig = Rig(numbers(2_000))
    first = rig.worker(1, duration_s=lambda item: 0.002 if item[0] < 200 else 3.0)
    rig.run(1)
    first.feed(ev.Terminate())
    rig.run(0.5)
    before = len(rig.dispatched)
    rig.run(1)

    assert before == len(rig.dispatched)
    assert len(first.queue) == 0
    assert first.running is not None
    rig.run(3)
    assert first.exit.code == 0
    assert first.flushes == 1


def test_a_worker_whose_link_stays_down_is_lost_and_refused_later():
    """The slices are run elsewhere, the master is told until the process is gone."""
    rig = Rig(numbers(200))
    first = rig.worker(1, duration_s=0.5)
    second = rig.worker(2, duration_s=0.5)
    rig.run(2)
    first.is_cut_off = True
    rig.run(9)
    assert rig.last_beat.lost_workers == ()
    assert rig.stats.workers_disconnected == 0

    rig.run(4)
    assert (first.peer,) == rig.last_beat.lost_workers
    assert rig.stats.workers_disconnected == 1
    assert (second.peer,) == rig.last_beat.workers

    first.is_cut_off = False
    rig.run(3)
    assert first.exit.code == 0
    assert "given up" in first.exit.reason

    first.die()
    rig.run(3)
    assert rig.last_beat.lost_workers == ()
    assert (first.peer,) == rig.last_beat.exits_seen


def test_a_worker_that_was_cut_off_for_a_moment_finishes_its_slice_and_is_counted_once():
    """E24, B6: it is reconnected, its completion counts, and it has work again within a beat."""
    rig = Rig(numbers(6))
    worker = rig.worker(1, duration_s=1.0)
    rig.run(0.5)
    worker.is_cut_off = True
    rig.run(4)
    worker.is_cut_off = False
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 6}
    assert rig.master.reports[-1].stats.processed == 6
    assert 1 <= rig.master.reports[-1].stats.workers_reconnected <= 2
    assert rig.master.reports[-1].stats.workers_joined == 1
    assert dict.fromkeys(range(1, 7), 1) == rig.runs()


def test_a_silent_worker_on_a_healthy_link_is_only_counted_as_stalled():
    rig = Rig(numbers(3))
    worker = rig.worker(1, duration_s=60.0)
    rig.run(1)
    worker.is_frozen = True
    rig.run(40)

    assert rig.stats.stalled_workers == 1
    assert rig.stats.workers_disconnected == 0
    worker.thaw()
    rig.run(3)
    assert rig.stats.stalled_workers == 0


def test_a_doubled_result_is_counted_once():
    """B2: it is acknowledged again and counted as refused."""
    rig = Rig(numbers(10))
    rig.run(0.1)
    given_items = given(tell(rig, f"{EX}/1/w1.1", hello(1)))
    n = given_items[0]

    assert ResultsSeen(seq=1) in tell(rig, f"{EX}/1/w1.1", ok(1, [n]))
    assert ResultsSeen(seq=1) in tell(rig, f"{EX}/1/w1.1", ok(1, [n]))
    assert (rig.stats.processed, rig.stats.refused_results) == (1, 1)


def test_results_are_taken_in_order_so_that_none_is_skipped():
    rig = Rig(numbers(10))
    rig.run(0.1)
    first, second, *_ = given(tell(rig, f"{EX}/1/w1.1", hello(1)))

    assert [ResultsSeen(seq=0)] == tell(rig, f"{EX}/1/w1.1", ok(2, [second]))
    tell(rig, f"{EX}/1/w1.1", ok(1, [first]))
    tell(rig, f"{EX}/1/w1.1", ok(2, [second]))

    assert rig.stats.processed == 2


def test_a_late_completion_of_a_slice_that_waits_again_is_accepted_and_its_copy_dropped():
    """E24: it was run by a worker that said it did not hold it."""
    rig = Rig(numbers(2))
    rig.run(0.1)
    assert given(tell(rig, f"{EX}/1/w1.1", hello(1))) == [1, 2]
    rig.machine.handle(ev.FromMaster(attrs.evolve(rig.master.wanted, revision=9, paused=True)), now=rig.now)
    tell(rig, f"{EX}/1/w1.1", hello(1))
    assert rig.stats.queued == 2

    tell(rig, f"{EX}/1/w1.1", ok(1, [1]))
    assert (rig.stats.queued, rig.stats.processed, rig.stats.refused_results) == (1, 1, 0)

    rig.machine.handle(ev.FromMaster(attrs.evolve(rig.master.wanted, revision=10)), now=rig.now)
    assert rig.stats.workers_active == 1
    tell(rig, f"{EX}/1/w1.1", ok(2, [2]))
    assert (rig.stats.queued, rig.stats.processed, rig.stats.refused_results) == (0, 2, 0)


def test_the_first_of_two_results_of_one_slice_wins():
    """B2: the slice is at another worker by now; whoever comes first is counted, the other is refused."""
    rig = Rig(numbers(1))
    rig.run(0.1)
    tell(rig, f"{EX}/1/w1.1", hello(1))
    tell(rig, f"{EX}/1/w1.1", hello(1))
    tell(rig, f"{EX}/1/w2.1", hello(2))
    holder = f"{EX}/1/w1.1" if rig.stats.workers_active else f"{EX}/1/w2.1"
    assert rig.stats.workers_active == 1

    other = f"{EX}/1/w2.1" if holder == f"{EX}/1/w1.1" else f"{EX}/1/w1.1"
    tell(rig, other, ok(1, [1]))
    tell(rig, holder, ok(1, full=[(1, 3, 1, "late", None)]))

    assert (rig.stats.processed, rig.stats.failed, rig.stats.refused_results) == (1, 0, 1)
    assert rig.stats.workers_active == 0


def test_what_a_reconnecting_worker_does_not_hold_waits_again_at_the_head():
    """E23: slices lost on the way come back in order; those it holds are kept."""
    rig = Rig(numbers(10))
    rig.run(0.1)
    assert given(tell(rig, f"{EX}/1/w1.1", hello(1))) == [1, 2]
    tell(rig, f"{EX}/1/w1.1", WorkerBeat(running=1, running_for_s=0, held=0))
    sent = tell(rig, f"{EX}/1/w1.1", hello(1, holds=[1, 77]))

    welcome = next(message for message in sent if isinstance(message, WorkerWelcome))
    assert welcome.keep == [1]
    assert given(sent) == [2]
    assert rig.stats.workers_reconnected == 1


def test_slices_that_could_not_be_sent_wait_again_at_the_head():
    rig = Rig(numbers(10))
    rig.run(0.1)
    sent = tell(rig, f"{EX}/1/w1.1", hello(1))
    slices = next(message for message in sent if isinstance(message, Slices))
    effects = rig.machine.handle(ev.NotSent(f"{EX}/1/w1.1", slices, unreachable=False), now=rig.now)

    assert [message for _peer, message in effects.sends if isinstance(message, Slices)] == []
    assert rig.stats.queued == 10
    assert given(tell(rig, f"{EX}/1/w1.1", WorkerBeat(running=None, running_for_s=0, held=0))) == [1, 2]


def test_slices_that_never_arrived_are_noticed_by_the_beats():
    """Idle while work is said to be held is a fault that is mended within two beats."""
    rig = Rig(numbers(1))
    rig.run(0.1)
    tell(rig, f"{EX}/1/w1.1", hello(1))
    idle = WorkerBeat(running=None, running_for_s=0, held=0)
    assert [Alive()] == tell(rig, f"{EX}/1/w1.1", idle)
    assert [Alive(), Again()] == tell(rig, f"{EX}/1/w1.1", idle)

    assert given(tell(rig, f"{EX}/1/w1.1", hello(1))) == [1]


def test_a_slice_that_was_passed_over_is_noticed_by_the_beats():
    rig = Rig(numbers(10))
    rig.run(0.1)
    assert given(tell(rig, f"{EX}/1/w1.1", hello(1))) == [1, 2]
    passes = WorkerBeat(running=2, running_for_s=0, held=0)
    tell(rig, f"{EX}/1/w1.1", passes)

    assert Again() in tell(rig, f"{EX}/1/w1.1", passes)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"generation": 2}, "generation 2"), ({"ex_id": "other"}, "other"), ({"protocol": 9}, "protocol 9")],
)
def test_a_worker_of_something_else_is_refused(wrong, words):
    rig = Rig(numbers(3))
    rig.run(0.1)
    (answer,) = tell(rig, f"{EX}/1/w1.1", hello(1, **wrong))

    assert isinstance(answer, Refused)
    assert words in answer.reason


def test_a_worker_that_comes_before_the_master_is_welcomed_afterwards():
    rig = Rig(numbers(3), start=False)
    rig.worker(1)
    rig.feed(ev.Tick())
    rig.run(0.1)

    assert rig.stats.workers_joined == 1


def test_a_worker_that_can_not_start_fails_the_execution():
    rig = Rig(numbers(3))
    worker = rig.worker(1, outcome="no such operation: foo")
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert "no such operation: foo" in rig.master.reports[-1].reason
    assert worker.exit.code == 1


def test_without_any_worker_the_execution_fails_after_the_slicer_timeout():
    """E7."""
    rig = Rig(numbers(3))
    rig.run(15)
    assert rig.exit is None

    rig.run(10)
    assert rig.master.status == "failed"
    assert "No workers have connected to slicer in the allotted time" in rig.master.reports[-1].reason
    assert rig.states() == {"pending": 3}


def test_time_paused_does_not_count_against_missing_workers():
    """E7."""
    rig = Rig(numbers(3))
    rig.run(10)
    rig.master.want(paused=True)
    rig.run(60)
    rig.master.want(paused=False)
    rig.run(5)
    assert rig.exit is None

    rig.run(10)
    assert rig.master.status == "failed"


def test_an_execution_that_wants_no_workers_waits_for_ever():
    rig = Rig(numbers(3), start=False)
    rig.master.wanted = attrs.evolve(rig.master.wanted, workers=0)
    rig.feed(ev.Tick())
    rig.run(300)

    assert rig.exit is None


def test_when_all_workers_are_gone_for_long_the_execution_fails():
    """E8."""
    rig = Rig(numbers(100))
    worker = rig.worker(1, duration_s=0.5)
    rig.run(3)
    worker.die()
    rig.run(9)
    assert rig.exit is None

    rig.run(4)
    assert rig.master.status == "failed"
    assert "All workers of execution ex-1 have disconnected" in rig.master.reports[-1].reason


def test_a_worker_that_comes_in_time_lets_the_execution_go_on():
    """E8."""
    rig = Rig(numbers(20))
    worker = rig.worker(1, duration_s=0.5)
    rig.run(3)
    worker.die()
    rig.run(9)
    rig.worker(2, duration_s=0.5)
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "completed"


def test_log_levels_reach_all_workers_also_when_the_first_try_got_lost():
    """E41, the core's part."""
    rig = Rig(numbers(3))
    worker = rig.worker(1, duration_s=30.0)
    rig.run(1)
    worker.is_cut_off = True
    rig.master.want(log_level="debug")
    rig.run(1)
    worker.is_cut_off = False
    rig.run(3)

    assert rig.log_levels == ["debug"]
    assert worker.log_levels[-1] == "debug"


def test_results_of_a_worker_that_has_just_died_still_count():
    rig = Rig(numbers(5))
    rig.run(0.1)
    first, *_ = given(tell(rig, f"{EX}/1/w1.1", hello(1)))
    tell(rig, f"{EX}/1/w1.1", WorkerBeat(running=first, running_for_s=0, held=1))
    rig.machine.handle(
        ev.FromMaster(
            attrs.evolve(
                rig.master.wanted,
                revision=5,
                exits=(killed(f"{EX}/1/w1.1"),),
            )
        ),
        now=rig.now,
    )
    assert rig.stats.queued == 5

    assert tell(rig, f"{EX}/1/w1.1", ok(1, [first])) == []
    assert (rig.stats.queued, rig.stats.processed) == (4, 1)


def test_many_workers_share_what_there_is():
    rig = Rig(numbers(3_000), limits=attrs.evolve(LIMITS, credit_max=64))
    for number in range(1, 301):
        rig.worker(number, duration_s=0.05)
    rig.run_until(lambda: rig.exit)

    counts = [len(worker.ran) for worker in rig.workers.values()]
    assert sum(counts) == 3_000
    assert min(counts) >= 5


def test_a_worker_is_asked_for_slices_only_once_at_a_time():
    rig = Rig(numbers(100))
    rig.worker(1, duration_s=lambda item: 0.001 if item[0] < 60 else 60.0)
    rig.run(0.5)
    first = next(iter(rig.workers.values()))
    first.is_frozen = True
    rig.worker(2, duration_s=0.001)
    rig.run(5)

    asked = [m for _at, peer, m in rig.sent if isinstance(m, GiveBack) and peer == first.peer]
    assert 1 <= len(asked) <= 2


def test_settings_are_not_sent_again_to_workers_that_have_them():
    rig = Rig(numbers(3))
    rig.worker(1, duration_s=30.0)
    rig.run(10)

    assert [m for _at, _peer, m in rig.sent if isinstance(m, WorkerSettings)] == []

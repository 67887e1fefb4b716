"""Slices whose records an operation holds back: run, but not done until they have left."""

import pytest

from tests.core.execution.test_worker_machine import Bench
from tests.support.execution_rig import EX, Rig, numbers
from tsd.core.execution import events as ev
from tsd.core.messages import FlushKept, Results, WorkerBye, WorkerHello, WorkerWelcome


def kept(rig):
    return rig.machine._ledger.kept


def test_an_execution_ends_when_what_operations_hold_back_was_flushed():
    rig = Rig(numbers(10))
    worker = rig.worker(1, keeps=1_000)
    rig.run_until(lambda: rig.exit)

    assert worker.flushes >= 1
    assert rig.states() == {"completed": 10}
    assert rig.master.status == "completed"
    assert [item[0] for item in worker.ran] == list(range(1, 11))


def test_kept_slices_need_no_credit():
    """An operation that waits for more slices than a worker may hold gets them."""
    rig = Rig(numbers(500))
    worker = rig.worker(1, keeps=400, duration_s=0.5)
    rig.run_until(lambda: len(worker.kept) == 400, limit_s=400)

    assert worker.flushes == 0
    assert rig.stats.workers_active == 1


def test_kept_slices_are_recorded_as_begun_and_not_as_completed():
    rig = Rig(numbers(5), persistent=True)
    rig.worker(1, keeps=100)
    rig.run(5)
    assert kept(rig) == 5
    assert rig.states() == {"start": 5}
    assert rig.stats.processed == 0


def test_kept_slices_of_a_dead_worker_are_run_again_elsewhere():
    rig = Rig(numbers(8), persistent=True)
    first = rig.worker(1, keeps=100)
    rig.run(3)
    assert kept(rig) == 8
    first.die()

    second = rig.worker(2)
    rig.run(3)

    assert first.ran == []
    assert sorted(item[0] for item in second.ran) == list(range(1, 9))
    assert rig.states() == {"completed": 8}
    assert kept(rig) == 0


def test_no_slice_is_blamed_for_the_death_of_a_worker_that_only_kept_it():
    rig = Rig(numbers(3), persistent=True)
    for start in range(1, 5):
        worker = rig.worker(1, start=start, keeps=100)
        rig.run(2)
        worker.die()
    rig.worker(1, start=5)
    rig.run(3)
    assert rig.states() == {"completed": 3}


@pytest.mark.parametrize("stop", ["drain", "terminate"])
def test_what_is_kept_is_flushed_when_the_execution_stops_or_its_controller_leaves(stop):
    rig = Rig(numbers(20), persistent=True)
    rig.worker(1, keeps=100)
    rig.worker(2, keeps=100)
    rig.run(3)
    if stop == "drain":
        rig.master.want(stop="drain", stop_within_s=30.0)
    else:
        rig.feed(ev.Terminate())
    rig.run_until(lambda: rig.exit)
    assert rig.states() == {"completed": 20}


def test_a_worker_that_is_told_to_end_flushes_what_it_keeps():
    rig = Rig(numbers(6), persistent=True)
    worker = rig.worker(1, keeps=100)
    rig.run(2)
    worker.feed(ev.Terminate())
    rig.run(2)
    assert worker.exit.code == 0
    assert rig.states() == {"completed": 6}


def test_a_pause_does_not_make_operations_release_anything():
    rig = Rig(numbers(6))
    worker = rig.worker(1, keeps=100, duration_s=1.0)
    rig.run(2.5)
    rig.master.want(paused=True)
    rig.run(20)
    assert worker.flushes == 0
    assert worker.kept
    rig.master.want(paused=False)
    rig.run_until(lambda: rig.exit)
    assert rig.states() == {"completed": 6}


def test_what_was_kept_when_the_controller_died_is_run_again():
    rig = Rig(numbers(6), persistent=True)
    rig.worker(1, keeps=100)
    rig.run(3)
    assert rig.states() == {"start": 6}
    rig.restart()
    again = rig.worker(1, start=2)
    rig.run(3)
    assert len(again.ran) == 6
    assert rig.states() == {"completed": 6}


def test_what_is_kept_while_recovering_is_flushed_before_the_slicer_goes_on():
    records = {(1, 0, n): (1, 0, n, 3, 1, 2, f'{{"old": {n}}}', 0, "boom", None, None) for n in (1, 2, 3)}
    rig = Rig(numbers(2), master={"mode": "none", "records": records, "sources": (EX, "old")})
    rig.worker(1, keeps=100)
    rig.run_until(lambda: rig.exit)
    assert rig.master.status == "completed"
    assert {row[3] for row in rig.master.records.values()} == {2}


# --- the worker core


def test_a_worker_reports_what_it_keeps_and_later_what_became_of_it():
    bench = Bench()
    bench.give(1, 2)
    bench.feed(ev.SlicesRan([], [], 100, kept=[1]))
    assert [m.kept for m in bench.sends if isinstance(m, Results)] == [[1]]
    bench.ran(1, 2)
    assert [m.done for m in bench.sends if isinstance(m, Results)] == [[1, 2]]


def test_a_kept_slice_that_comes_once_more_is_not_run_twice():
    bench = Bench()
    bench.give(1)
    bench.feed(ev.SlicesRan([], [], 100, kept=[1]))
    bench.give(1)
    assert bench.actions == []


def test_a_hello_names_what_is_kept_and_a_welcome_takes_nothing_of_it_away():
    bench = Bench()
    bench.give(1, 2)
    bench.feed(ev.SlicesRan([], [], 100, kept=[1]))
    bench.sleep(60)
    hellos = [m for m in bench.sleep(30) if isinstance(m, WorkerHello)]
    assert hellos
    assert all(hello.kept == [1] for hello in hellos)
    assert all(hello.holds == [2] for hello in hellos)
    bench.tell(WorkerWelcome(execution="{}", beat_interval_s=1.0, keep=[]))
    bench.tell(FlushKept())
    assert bench.actions == [ev.Flush()]


def test_a_flush_waits_for_what_is_to_be_run_and_comes_once():
    bench = Bench()
    bench.give(1, 2)
    bench.feed(ev.SlicesRan([], [], 100, kept=[1]))
    bench.tell(FlushKept())
    assert bench.actions == []
    bench.feed(ev.SlicesRan([], [], 100, kept=[2]))
    assert bench.actions == [ev.Flush()]
    bench.tell(FlushKept())
    assert bench.actions == []
    bench.ran(1, 2)
    bench.feed(ev.Flushed())
    assert bench.actions == []
    bench.give(3)
    assert [type(action) for action in bench.actions] == [ev.Run]


def test_a_worker_that_keeps_nothing_is_not_flushed():
    bench = Bench()
    bench.tell(FlushKept())
    assert bench.actions == []


def test_a_worker_that_ends_while_it_flushes_flushes_what_came_meanwhile():
    bench = Bench()
    bench.give(1)
    bench.feed(ev.SlicesRan([], [], 100, kept=[1]))
    bench.tell(FlushKept())
    bench.feed(ev.Terminate())
    assert ev.Flush() not in bench.actions
    bench.ran(1)
    bench.feed(ev.Flushed())
    assert bench.actions == [ev.Flush()]
    bench.feed(ev.Flushed())
    assert any(isinstance(m, WorkerBye) for m in bench.sleep(10))


def test_a_worker_that_can_not_go_on_gives_what_it_keeps_back_with_its_last_word():
    rig = Rig(numbers(4), persistent=True)
    first = rig.worker(1, keeps=100)
    rig.run(2)
    first.feed(ev.SlicesRan([], [], 0, fatal="no memory"))
    rig.run(10)
    assert first.exit.code == 1
    assert first.flushes == 0
    rig.worker(2)
    rig.run(3)
    assert rig.states() == {"completed": 4}

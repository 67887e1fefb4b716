"""Handing out and stealing when queues hold entries of slices that are done already."""

import attrs
import pytest

from tests.support.execution_rig import EX, Rig, hello, numbers
from tsd.core.execution import events as ev
from tsd.core.execution.workers import PAST_KEPT, PastProcesses, WorkerTable
from tsd.core.messages import GiveBack, ProcessExit, Results, Slices


def peer_of(number):
    return f"{EX}/1/w{number}.1"


W1, W2, W3 = map(peer_of, (1, 2, 3))


def ok(seq, *done):
    return Results(seq=seq, done=list(done), full=[], returned=[], busy_us=100 * len(done))


def tell(rig, peer, message):
    """Feed a message of a worker; return what is sent, by peer."""
    return sends_of(rig, ev.FromWorker(peer, message))


def sends_of(rig, event, *, after_s=0.0):
    rig.now += after_s
    return rig.machine.handle(event, now=rig.now).sends


def given(sends, peer):
    return [item[0] for to, sent in sends if to == peer and isinstance(sent, Slices) for item in sent.items]


def asked_back(sends):
    return [to for to, sent in sends if isinstance(sent, GiveBack)]


def dies(rig, peer, running=None, revision=5):
    exit_ = ProcessExit(proc_id=peer, ex_id=EX, exit_code=None, signal=9, running=running)
    wanted = attrs.evolve(rig.master.wanted, revision=revision, exits=(exit_,))
    return sends_of(rig, ev.FromMaster(wanted))


def rig_with_three_full_workers(requests=None):
    rig = Rig(requests or numbers(6))
    rig.run(0.1)
    for number in (1, 2, 3):
        assert len(given(tell(rig, peer_of(number), hello(number)), peer_of(number))) == 2
    return rig


def test_idle_workers_get_slices_of_others_after_results_that_came_late():
    """The slices of a dead worker wait again, and then its results come: nothing waits any more."""
    rig = rig_with_three_full_workers()
    dies(rig, W1)
    assert rig.stats.queued == 2
    tell(rig, W1, ok(1, 1, 2))
    assert rig.stats.queued == 0

    tell(rig, W2, ok(1, 3, 4))

    assert asked_back(sends_of(rig, ev.Tick(), after_s=0.1)) == [W3]


def test_a_worker_that_runs_what_another_has_ended_gives_away_all_that_it_holds():
    """It runs the slice of a dead worker, whose result comes late, and holds one more: it has not begun that."""
    rig = rig_with_three_full_workers()
    dies(rig, W1)
    assert given(tell(rig, W2, ok(1, 3, 4)), W2) == [1, 2]
    tell(rig, W1, ok(1, 1))
    tell(rig, W3, ok(1, 5, 6))

    assert asked_back(sends_of(rig, ev.Tick(), after_s=0.1)) == [W2]
    tell(rig, W2, ok(2, 1))
    assert rig.stats.refused_results == 1
    assert asked_back(sends_of(rig, ev.Tick(), after_s=1.1)) == []


def test_what_comes_back_is_handed_out_behind_entries_that_are_done():
    rig = rig_with_three_full_workers()
    dies(rig, W1)
    tell(rig, W1, ok(1, 1, 2))
    tell(rig, W2, ok(1, 3, 4))
    sends_of(rig, ev.Tick(), after_s=0.1)

    sends = tell(rig, W3, Results(seq=1, done=[], full=[], returned=[6], busy_us=0))

    assert given(sends, W2) == [6]


def test_stealing_goes_on_while_a_slice_waits_for_a_worker_that_is_not_there():
    """A pinned slice waits for its worker alone, whoever else has nothing to do."""
    rig = Rig([*numbers(4), {"i": 5, "request_worker": "9"}])
    rig.run(0.1)
    for number in (1, 2):
        tell(rig, peer_of(number), hello(number))
    assert rig.stats.queued == 1

    tell(rig, W1, ok(1, 1, 2))

    assert asked_back(sends_of(rig, ev.Tick(), after_s=0.1)) == [W2]


def test_stealing_goes_on_after_a_late_result_of_a_slice_that_was_to_run_alone():
    rig = rig_with_three_full_workers()
    dies(rig, W1, running=1)
    tell(rig, W1, ok(1, 1, 2))
    tell(rig, W2, ok(1, 3, 4))

    assert asked_back(sends_of(rig, ev.Tick(), after_s=0.1)) == [W3]


def test_entries_of_slices_that_are_done_leave_the_queues_within_a_beat():
    """Also those of a worker by whose name nobody ever comes."""
    pinned = [{"i": i, "request_worker": "1"} for i in (1, 2)]
    rig = Rig([*pinned, *numbers(4, start=3)])
    rig.run(0.1)
    for number in (1, 2, 3):
        tell(rig, peer_of(number), hello(number))
    dies(rig, W1)
    tell(rig, W1, ok(1, 1, 2))
    sends_of(rig, ev.Tick(), after_s=1.1)

    dispatcher = rig.machine._dispatcher
    assert not dispatcher._pinned
    assert not dispatcher._queue


# --- what is remembered of processes that are over


def test_a_hundred_thousand_deaths_of_workers_leave_nothing_that_grows():
    rig = Rig(numbers(3), persistent=True)
    rig.run(0.1)
    for start in range(1, 100_001):
        peer = f"{EX}/1/w1.{start}"
        tell(rig, peer, hello(1))
        dies(rig, peer, revision=10 + start)
    table = rig.machine._table

    assert len(table.ended) <= PAST_KEPT
    assert len(rig.machine._exits_taken) <= PAST_KEPT
    assert not table.members
    assert not table.lost
    assert len(rig.machine._ledger.deaths) <= 3
    assert (rig.stats.workers_joined, rig.stats.workers_disconnected) == (100_000, 100_000)


def test_workers_that_were_given_up_are_remembered_without_growing():
    table = WorkerTable(disconnect_timeout_s=1)
    for start in range(1, 100_001):
        table.join(f"x/1/w3.{start}", 3, None, 0.0)
        table.remove(f"x/1/w3.{start}", is_lost=True)
        table.lost.pop(f"x/1/w3.{start}")

    assert len(table._fenced) <= PAST_KEPT
    assert table.is_fenced("x/1/w3.100000")
    assert table.is_fenced("x/1/w3.1")
    assert not table.is_fenced("x/1/w3.100001")
    assert not table.is_fenced("x/1/w4.1")


@pytest.mark.parametrize("is_exact", [False, True])
def test_a_worker_that_outlives_its_successors_is_not_taken_for_a_past_one(is_exact):
    """A drained node keeps a worker until its slice has ended, while others have its seat already."""
    past = PastProcesses(is_exact=is_exact)
    for start in range(2, 2 + PAST_KEPT):
        past.add(f"x/1/w1.{start}")

    assert "x/1/w1.1" not in past
    past.add("x/1/w1.99")
    assert ("x/1/w1.1" in past) is not is_exact
    assert "x/1/w1.50" not in past


def test_an_exit_is_taken_in_once_however_many_are_told_with_it():
    """The list of exits is repeated until the controller's answer to it arrives."""
    rig = Rig(numbers(1), job={"max_retries": 200})
    rig.run(0.1)
    exits = tuple(
        ProcessExit(proc_id=f"{EX}/1/w1.{start}", ex_id=EX, exit_code=None, signal=9, running=1)
        for start in range(1, 41)
    )
    for revision in (5, 6, 7):
        sends_of(rig, ev.FromMaster(attrs.evolve(rig.master.wanted, revision=revision, exits=exits)))

    assert rig.machine._ledger.deaths == {1: 40}


# --- after a pause


def test_counters_are_told_again_when_the_last_slice_after_a_pause_has_ended():
    rig = Rig(numbers(10))
    rig.worker(1, duration_s=0.4)
    rig.run(0.2)
    rig.master.want(paused=True)
    rig.run(0.05)
    assert rig.master.status == "paused"

    rig.run_until(lambda: rig.stats.processed == 1)
    rig.run(0.12)

    assert rig.last_beat.stats.processed == 1
    assert rig.last_beat.stats.workers_active == 0

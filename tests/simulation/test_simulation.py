"""The simulated cluster as a test: seeds that once broke something, fresh ones, and a core that is broken on purpose."""

import pytest

from tests.simulation.store import BrokenPromise
from tests.simulation.world import simulate, simulate_busy_days, simulate_good_days
from tsd.core.cluster.membership import Members
from tsd.core.execution.desk import WorkerDesk
from tsd.core.execution.dispatch import Dispatcher
from tsd.core.execution.ledger import SliceLedger
from tsd.core.messages import ResultsSeen

ONCE_BROKEN = [2, 3, 5, 381, 449, 1374, 1782]
"""Found: slices lost on a link that stays up, batches out of order, a changed record that was never due."""


@pytest.mark.parametrize("seed", ONCE_BROKEN)
def test_a_seed_that_once_broke_a_promise_keeps_all_of_them(seed):
    simulate(seed, is_harsh=False)


def simulate_all(seeds):
    for seed in seeds:
        simulate(seed)


def test_every_promise_holds_over_seeds():
    simulate_all(range(5000, 5040))


def simulate_all_good_days(seeds):
    for seed in seeds:
        simulate_good_days(seed)


def test_draining_nodes_fails_nothing_and_runs_no_slice_twice():
    simulate_all_good_days(range(7000, 7030))


def test_a_core_that_kills_instead_of_draining_is_caught(monkeypatch):
    monkeypatch.setattr(Members, "end", lambda self, ex_id, proc_id, *, until: self.kill(ex_id, proc_id))

    with pytest.raises(BrokenPromise):
        simulate_all_good_days(range(20))


def simulate_all_busy_days(seeds):
    for seed in seeds:
        simulate_busy_days(seed)


def test_nobody_idles_while_there_is_work_and_nothing_is_hoarded():
    simulate_all_busy_days(range(8000, 8010))


def test_a_core_that_never_takes_slices_back_from_busy_workers_is_caught(monkeypatch):
    monkeypatch.setattr(Dispatcher, "arm", lambda self, now: None)

    with pytest.raises(BrokenPromise, match="has nothing to do"):
        simulate_all_busy_days(range(100))


def test_a_core_that_says_everything_forty_times_is_caught(monkeypatch):
    monkeypatch.setattr(WorkerDesk, "_results", _results_with_echo)

    with pytest.raises(BrokenPromise, match="messages for"):
        simulate_all_busy_days(range(20))


def test_a_core_that_remembers_slices_that_are_done_is_caught(monkeypatch):
    monkeypatch.setattr(SliceLedger, "_forget", lambda self, ended: None)

    with pytest.raises(BrokenPromise, match="at most"):
        simulate_all_busy_days(range(100))


_results = WorkerDesk._results


def _results_with_echo(self, worker, message, *args):
    for _ in range(40):
        self.outbox.send(worker.peer, ResultsSeen(seq=worker.seq))
    _results(self, worker, message, *args)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_promise_holds_over_many_seeds():
    for seed in range(10_000, 10_100):
        simulate(seed)


def test_a_core_that_forgets_the_slices_of_a_lost_worker_is_caught(monkeypatch):
    """The checker is worth something: without the requeue on worker loss some seed breaks a promise."""
    monkeypatch.setattr(WorkerDesk, "_release", _release_and_forget)

    with pytest.raises(BrokenPromise):
        simulate_all(range(20))


_release = WorkerDesk._release


def _release_and_forget(self, peer, *args, **options):
    worker = self.table.members.get(peer)
    if worker is not None:
        worker.held.clear()
    return _release(self, peer, *args, **options)

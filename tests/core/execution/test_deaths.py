"""Whose fault the end of a worker is: slices that freeze it, end it just behind themselves, or never begin."""

import attrs
import pytest

from tests.support.execution_rig import EX, Rig, numbers
from tsd.core.execution import events as ev
from tsd.core.execution.deaths import described, name_of_signal, told_of
from tsd.core.messages import ProcessExit, WorkerBye


def ended(peer="ex-1/1/w1.1", **how):
    return ProcessExit(**{"proc_id": peer, "ex_id": EX, "exit_code": None, "signal": None, **how})


def tell(rig, *exits):
    rig.master.want(exits=(*rig.master.wanted.exits, *exits))


@pytest.mark.parametrize(("max_retries", "freezes"), [(0, 1), (1, 2), (3, 4)])
def test_a_slice_that_freezes_its_worker_is_in_error_after_its_retries(max_retries, freezes):
    """Its link is lost; the page says that it stood still in that slice. The others are run."""
    rig = Rig(numbers(5), job={"max_retries": max_retries})
    seen = 0
    for start in range(1, 10):
        worker = rig.worker(1, start=start, duration_s=lambda item: 1e9 if item[0] == 2 else 0.01)
        rig.run_until(lambda: rig.exit or (worker.running and worker.running[0] == 2))  # noqa: B023
        if rig.exit:
            break
        seen += 1
        worker.is_cut_off = True
        rig.run_until(lambda: worker.peer in rig.machine._table.lost)  # noqa: B023
        tell(rig, attrs.evolve(worker.die(tell=False), was_frozen=True))

    assert seen == freezes
    assert rig.states() == {"completed": 4, "error": 1}
    error = rig.master.records[0, 0, 2][8]
    assert "caused by a worker process that stood still" in error
    assert rig.master.records[0, 0, 2][7] == max_retries
    assert rig.master.status == "failed"


def test_the_slice_of_a_lost_worker_is_run_elsewhere_though_nobody_tells_how_that_ended():
    """Its node may be lost as well."""
    rig = Rig(numbers(3), job={"max_retries": 0})
    first = rig.worker(1, duration_s=1e9)
    rig.run_until(lambda: first.running)
    first.is_cut_off = True
    rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 3}


def test_what_was_begun_behind_which_a_worker_died_is_run_alone_and_only_then_blamed():
    """Slice 2 leaves something behind that ends the process a moment later: 1 and 3 are not to pay for it."""
    rig = Rig(numbers(6), job={"max_retries": 1})
    first = rig.worker(1)
    rig.run_until(lambda: first.running)
    held = list(rig.machine._table.members[first.peer].held)
    assert held[:2] == [1, 2]
    tell(rig, attrs.evolve(first.die(tell=False), signal=None, exit_code=3, running=None, behind=2))
    alone = []
    for start in range(2, 9):
        worker = rig.worker(1, start=start, duration_s=0.01)
        rig.run_until(lambda: rig.exit or (worker.running and worker.running[0] == 2))  # noqa: B023
        if rig.exit:
            break
        alone.append(list(rig.machine._table.members[worker.peer].held))
        tell(rig, attrs.evolve(worker.die(tell=False), signal=None, exit_code=3, running=None, behind=2))

    assert alone == [[2]]
    assert rig.states() == {"completed": 5, "error": 1}
    assert "it ended 2 times just behind this slice" in rig.master.records[0, 0, 2][8]


def test_a_death_between_slices_whose_results_have_arrived_blames_nobody():
    rig = Rig(numbers(4), job={"max_retries": 0})
    first = rig.worker(1, duration_s=lambda item: 0.01 if item[0] < 2 else 1e9)
    rig.run_until(lambda: first.running and first.running[0] == 2)
    tell(rig, attrs.evolve(first.die(tell=False), running=None, behind=1))
    rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 4}
    assert rig.master.status == "completed"


def test_workers_that_end_before_they_are_ready_fail_the_execution_with_what_they_did():
    rig = Rig(numbers(4))
    doing = "initializing operation bad (operations[1])"
    for start in range(1, 7):
        assert rig.exit is None
        peer = f"{EX}/1/w1.{start}"
        tell(rig, ended(peer, exit_code=3, doing=doing, detail="its last words"))
        rig.run(0.1)
    rig.run_until(lambda: rig.exit)

    reason = rig.master.reports[-1].reason
    assert reason == (
        f"worker {EX}/1/w1.6 exited with code 3 while {doing}; 6 workers in a row ended before they could run a"
        " slice\nits last words"
    )
    assert rig.master.status == "failed"


def test_workers_that_end_before_they_are_ready_fail_nothing_while_another_one_works():
    rig = Rig(numbers(20))
    rig.worker(2, duration_s=1.0)
    rig.run(2)
    for start in range(1, 20):
        tell(rig, ended(f"{EX}/1/w1.{start}", signal=11, doing="initializing operation bad (operations[1])"))
        rig.run(0.1)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 20}


def test_workers_that_end_behind_their_goodbye_had_begun():
    """An exit in `shutdown` is no failed start, however often it comes."""
    rig = Rig(numbers(60))
    for start in range(1, 10):
        worker = rig.worker(1, start=start, duration_s=1e9)
        rig.run_until(lambda: worker.running or rig.exit)  # noqa: B023
        worker.is_dead = True
        rig.machine.handle(ev.FromWorker(worker.peer, WorkerBye(reason="told to end")), now=rig.now)
        tell(rig, ended(worker.peer, exit_code=3, doing="shutting down hostile (operations[1])"))
        rig.run(0.1)
    rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 60}


def test_an_execution_without_workers_says_how_the_last_one_ended():
    rig = Rig(numbers(4), job={"max_retries": 9})
    worker = rig.worker(1, duration_s=1e9)
    rig.run_until(lambda: worker.running)
    worker.die(exit_code=3)
    rig.run_until(lambda: rig.exit)

    assert rig.master.reports[-1].reason == (
        f"All workers of execution {EX} have disconnected; at last worker {worker.peer} exited with code 3"
    )


def test_every_signal_has_a_name():
    assert name_of_signal(14) == "signal 14 (SIGALRM)"
    assert name_of_signal(34) == "signal 34 (SIGRTMIN)"
    assert name_of_signal(40) == "signal 40 (SIGRTMIN+6)"


def test_ends_are_told_in_words():
    killed = ended(signal=9, running=3)

    assert "signal 9 (SIGKILL), as the kernel does when memory runs out, as ex-1/1/w1.1" in told_of(killed, 1)
    counted = attrs.evolve(killed, detail="out of memory: the kernel ended it")
    first, *rest = told_of(counted, 1).splitlines()
    assert first.endswith("at last with signal 9 (SIGKILL), out of memory, as ex-1/1/w1.1")
    assert rest == ["out of memory: the kernel ended it"]
    assert described(ended(doing="it was to be started")) == "worker ex-1/1/w1.1 could not be started"
    assert (
        described(ended(exit_code=0, doing="flushing"))
        == "worker ex-1/1/w1.1 exited with code 0 while flushing"
    )

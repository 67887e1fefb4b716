"""Dead letters in the cores: with the result of their slice into the batch that has its row."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.execution_rig import EX, Rig, numbers
from tsd.core.execution import events as ev
from tsd.core.execution.recording import LETTERS_B_MAX
from tsd.core.execution.recovery import RecoveryPlan
from tsd.core.letters import entry_point
from tsd.core.messages import RecoveryPage, Results, Slices
from tsd.core.records import SliceState
from tsd.errors import Conflict


def letters_of(item):
    """What a worker says of a slice, so that one of another slice would be seen."""
    return b"[%d]" % json.loads(item[3])["i"]


def rejecting(item):
    """Even slices are completed with letters, every sixth ends in error with some, the rest is clean."""
    number = json.loads(item[3])["i"]
    if number % 6 == 0:
        return (SliceState.ERROR, 3, "boom", None, letters_of(item))
    return (SliceState.COMPLETED, 0, None, None, letters_of(item)) if number % 2 == 0 else None


def stored(rig):
    """Letters by the request of their slice, after all batches in order; and those of flushes."""
    found, flushed = {}, []
    for batch in rig.master.batches:
        for index, data in batch.letters:
            if index < 0:
                flushed.append(data)
            elif data:
                found[json.loads(batch.rows[index][6])["i"]] = data
            else:
                found.pop(json.loads(batch.rows[index][6])["i"], None)
    return found, flushed


def expected(count):
    return {number: b"[%d]" % number for number in range(1, count + 1) if number % 2 == 0}


def test_letters_are_in_the_batch_that_has_the_row_of_their_slice():
    rig = Rig(numbers(50))
    rig.worker(1, outcome=rejecting)
    rig.worker(2, outcome=rejecting)
    rig.run_until(lambda: rig.exit)

    assert stored(rig) == (expected(50), [])
    for batch in rig.master.batches:
        for index, data in batch.letters:
            assert json.loads(batch.rows[index][6])["i"] == json.loads(data)[0]


def test_slices_without_letters_say_nothing_of_them():
    rig = Rig(numbers(50))
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert [batch.letters for batch in rig.master.batches] == [[]] * len(rig.master.batches)


def test_letters_of_a_late_result_are_refused_with_it():
    """The slice was given to another worker, whose result came first."""
    rig = Rig(numbers(1))
    slow = rig.worker(1, duration_s=30, outcome=lambda _: (SliceState.COMPLETED, 0, None, None, b"[1]"))
    rig.run(1)
    slow.is_cut_off = True
    rig.worker(2, outcome=lambda _: (SliceState.COMPLETED, 0, None, None, b"[2]"))
    rig.run_until(lambda: rig.exit)
    n = slow.running[0]
    late = Results(seq=1, done=[], full=[(n, 2, 0, None, None, b"[1]")], returned=[], busy_us=1)
    rig.machine.handle(ev.FromWorker(slow.peer, late), now=rig.now)

    assert stored(rig)[0] == {1: b"[2]"}


def test_letters_that_died_with_their_worker_come_once_from_the_next():
    rig = Rig(numbers(60))
    for number in (1, 2):
        rig.worker(number, duration_s=0.05, outcome=rejecting)
    rig.run(0.8)
    rig.workers[f"{EX}/1/w1.1"].die()
    rig.worker(1, start=2, outcome=rejecting)
    rig.run_until(lambda: rig.exit)

    assert stored(rig)[0] == expected(60)


def test_letters_outlive_a_controller_and_its_generation():
    rig = Rig(numbers(60))
    rig.worker(1, duration_s=0.05, outcome=rejecting)
    rig.run(1.2)
    rig.restart()
    rig.worker(1, outcome=rejecting)
    rig.run_until(lambda: rig.exit)

    assert stored(rig)[0] == expected(60)


def test_a_slice_that_is_run_again_without_letters_says_that_it_has_none_now():
    row = (1, 0, 1, 3, 1000, 1000, '{"i": 1}', 3, "boom", None, None)
    rig = Rig(numbers(1), master={"mode": "errors", "sources": (EX, "older"), "records": {row[:3]: row}})
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert [data for batch in rig.master.batches for index, data in batch.letters] == [b""]


def test_with_too_many_letters_under_way_nothing_is_handed_out():
    """A master that is away must not make controllers grow without end."""
    large = bytes(4 * 1024 * 1024)
    rig = Rig(numbers(200))
    rig.worker(1, outcome=lambda _: (SliceState.COMPLETED, 0, None, None, large), duration_s=0.2)
    rig.run(0.5)
    rig.master.saves = False
    rig.run(4)
    rig.master.lease_s = 1000.0
    rig.run(60)
    rows = sum(isinstance(message, Slices) for _, _, message in rig.sent)
    waiting_b = rig.machine._recorder.letters_b
    rig.run(20)

    assert LETTERS_B_MAX < waiting_b < LETTERS_B_MAX + 8 * len(large)
    assert rows == sum(isinstance(message, Slices) for _, _, message in rig.sent)
    rig.master.saves = True
    rig.run_until(lambda: rig.exit)
    assert rig.machine._recorder.letters_b == 0
    assert max(len(batch.letters) for batch in rig.master.batches) == 1


def test_letters_of_a_flush_are_stored_before_the_worker_leaves():
    rig = Rig([], persistent=True)
    worker = rig.worker(1)
    worker.flush_letters = b"[7]"
    rig.run(1)
    worker.feed(ev.Terminate())
    rig.run_until(lambda: worker.exit)
    rig.run(1)

    assert stored(rig) == ({}, [b"[7]"])


def test_a_worker_knows_which_letters_of_its_flush_nobody_took():
    rig = Rig([], persistent=True)
    worker = rig.worker(1)
    worker.flush_letters = b"[7]"
    rig.run(1)
    worker.is_cut_off = True
    worker.feed(ev.Terminate())
    rig.run_until(lambda: worker.exit)

    assert worker.machine.unseen_letters() == [b"[7]"]
    assert stored(rig) == ({}, [])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.05]), st.sampled_from([0.0, 0.1]))
def test_letters_come_through_a_rough_network_once(seed, loss, doubling):
    rig = Rig(numbers(40))
    rig.rng.seed(seed)
    rig.loss, rig.doubling = loss, doubling
    rig.worker(1, outcome=rejecting)
    rig.worker(2, outcome=rejecting)
    rig.run_until(lambda: rig.exit, limit_s=600)

    assert stored(rig)[0] == expected(40)


OPERATIONS = [
    {"_op": "file_reader", "_api_name": "files"},
    {"_op": "a@0123", "_api_name": "client:x"},
    {"_op": "b"},
]


@pytest.mark.parametrize(
    ("position", "operation", "entry"),
    [
        ("operations[0]", "file_reader", 1),
        ("operations[1]", "a", 1),
        ("operations[1]", "a@4567", 1),
        ("operations[2]", "b", 2),
        ("apis[0]", "files", 1),
        ("apis[3]", "client:x", 1),
        ("apis[3]", "client@89:x", 1),
    ],
)
def test_a_replayed_record_enters_at_the_operation_that_rejected_it(position, operation, entry):
    assert entry_point(OPERATIONS, position, operation) == entry


@pytest.mark.parametrize(
    ("position", "operation", "reason"),
    [
        ("operations[1]", "b", "there is a@0123 now"),
        ("operations[3]", "b", "no such operation now"),
        ("operations[0]", "other_reader", "there is file_reader now"),
        ("apis[0]", "client", "no operation names it now"),
        ("apis[0]", "client:y", "no operation names it now"),
        ("", "b", "no such operation now"),
    ],
)
def test_a_record_of_an_operation_that_is_another_one_now_enters_nowhere(position, operation, reason):
    with pytest.raises(Conflict, match=reason):
        entry_point(OPERATIONS, position, operation)


def unfinished(*orders):
    return tuple((0, 0, order, 0, 1000, "{}", 0, None) for order in orders)


def test_after_a_short_page_fewer_slices_wait_before_the_next_is_asked_for():
    """Slices of a replay are large: a page of them ends before it has as many as were asked for."""
    plan = RecoveryPlan(generation=1, mode="", page_limit=100, autorecover=False)
    assert plan.wants_page(99)
    question = plan.ask()
    plan.take(RecoveryPage(ask_id=question.ask_id, slices=unfinished(1, 2, 3), is_last=False))

    assert [plan.wants_page(waiting) for waiting in (0, 2, 3, 99)] == [True, True, False, False]
    question = plan.ask()
    assert question.after == (0, 0, 3)
    plan.take(RecoveryPage(ask_id=question.ask_id, slices=unfinished(4), is_last=True))
    assert not plan.wants_page(0)

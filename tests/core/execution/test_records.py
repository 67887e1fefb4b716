"""Records, leases and the link to the master in the controller core."""

from collections import deque
from itertools import pairwise

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.execution_rig import EX, LIMITS, Rig, numbers
from tsd.core.execution import events as ev
from tsd.core.execution.ledger import COMPLETED, START, Slice
from tsd.core.execution.recording import (
    BATCHES_UNACKED_MAX,
    SMALL_BATCH_PAUSE,
    SMALL_BATCH_ROWS,
    Recorder,
)
from tsd.core.messages import Again, ControllerHello, RecordBatch, Refused, Slices, StopWorker


def test_a_master_that_is_away_stops_no_running_work_but_new_work_after_the_lease():
    """Results are taken and records kept; nothing is handed out without a lease."""
    rig = Rig(numbers(400))
    worker = rig.worker(1, duration_s=0.1)
    rig.run(2)
    rig.master.is_away = True
    rig.run(10)
    ran = len(worker.ran)
    assert 50 < ran < 80
    rig.run(5)
    assert ran == len(worker.ran)

    rig.master.is_away = False
    rig.run_until(lambda: rig.exit)
    assert rig.states() == {"completed": 400}
    assert dict.fromkeys(range(1, 401), 1) == rig.runs()


def test_a_master_that_is_away_for_a_moment_stops_nobody():
    rig = Rig(numbers(100))
    worker = rig.worker(1, duration_s=0.1)
    rig.run(2)
    rig.master.is_away = True
    rig.run(3)
    rig.master.is_away = False
    rig.run(0.5)

    assert len(worker.ran) >= 53


def test_the_lease_runs_from_the_beat_that_was_answered():
    rig = Rig(numbers(1_000))
    worker = rig.worker(1, duration_s=0.1)
    rig.run(3.01)
    last = rig.master.beats[-1].sent_at
    rig.master.is_away = True
    rig.run(10)

    times = [at for at, _peer, message in rig.sent if isinstance(message, Slices)]
    assert last + 4.8 < max(times) < last + 5
    assert worker.running is None


def test_hello_is_said_ever_more_seldom_until_it_is_answered():
    rig = Rig(numbers(3), start=False)
    rig.master.is_away = True
    rig.feed(ev.Tick())
    rig.run(130)

    times = [
        round(at - rig.sent[0][0]) for at, _peer, message in rig.sent if isinstance(message, ControllerHello)
    ]
    assert times == [0, 1, 3, 7, 15, 31, 61, 91, 121]
    assert rig.sent[0][2].address == "tcp://c:1"


def test_hello_is_said_at_once_when_the_link_to_the_master_comes_up():
    rig = Rig(numbers(3), start=False)
    rig.master.is_away = True
    rig.feed(ev.LinkChanged(is_up=False))
    rig.feed(ev.Tick())
    rig.run(600)
    assert [type(message) for _at, _peer, message in rig.sent] == [ControllerHello]

    rig.master.is_away = False
    rig.feed(ev.LinkChanged(is_up=True))
    rig.run(0.1)

    assert rig.master.hellos == 1
    assert rig.sent[1][0] - rig.sent[0][0] >= 600


def test_a_restarted_master_gets_hello_and_the_batches_that_it_did_not_answer():
    """What is unacknowledged is sent again in order after the welcome, and says which is the oldest."""
    rig = Rig(numbers(2_000))
    rig.worker(1, duration_s=0.001)
    rig.run(0.2)
    rig.master.saves = False
    rig.run(0.5)
    seqs = [message.seq for _at, _peer, message in rig.sent if isinstance(message, RecordBatch)]
    oldest = rig.master.batches[-1].seq + 1
    assert seqs[-1] - oldest + 1 == BATCHES_UNACKED_MAX

    rig.sent.clear()
    rig.master.saves = True
    rig.to_controller(Again())
    rig.to_controller(Again())
    rig.run(0.05)
    again = [message for _at, _peer, message in rig.sent if isinstance(message, RecordBatch)]
    assert [oldest, oldest + 1] == [batch.seq for batch in again[:2]]
    assert [oldest, oldest] == [batch.first for batch in again[:2]]
    assert sum(isinstance(message, ControllerHello) for _at, _peer, message in rig.sent) == 1

    rig.run_until(lambda: rig.exit)
    assert rig.states() == {"completed": 2_000}


def test_lost_answers_are_asked_for_again_while_the_master_stays():
    rig = Rig(numbers(5))
    rig.worker(1)
    rig.master.saves = False
    rig.run(10)
    assert rig.exit is None
    assert rig.master.status == "running"

    rig.master.saves = True
    rig.run_until(lambda: rig.exit, limit_s=40)
    assert rig.master.status == "completed"


def test_a_store_that_is_away_stops_dispatch_when_the_buffers_are_full_and_loses_nothing():
    """B8: buffers are bounded, and no slice is lost or counted twice."""
    limits = attrs.evolve(LIMITS, max_buffered_records=200)
    rig = Rig(numbers(3_000), limits=limits)
    worker = rig.worker(1, duration_s=0.001)
    rig.run(0.3)
    rig.master.saves = False
    rig.run(20)
    handed_out = len(rig.dispatched)
    saved = sum(len(batch.rows) for batch in rig.master.batches)
    assert 200 <= handed_out - saved <= 200 + limits.credit_max
    assert handed_out == len(worker.ran)

    rig.master.saves = True
    rig.run_until(lambda: rig.exit, limit_s=60)
    assert rig.states() == {"completed": 3_000}
    assert rig.master.reports[-1].stats.processed == 3_000


def test_a_refused_controller_ends_at_once_and_its_workers_with_it():
    rig = Rig(numbers(50))
    worker = rig.worker(1, duration_s=5.0)
    rig.run(1)
    rig.to_controller(Refused(reason="generation 2 has taken over"))
    rig.run(0.1)

    assert "generation 2 has taken over" in rig.exit.reason
    assert isinstance(rig.sent[-1][2], StopWorker)
    assert worker.exit is not None
    assert rig.master.status == "running"


def test_batches_are_bounded_in_rows_and_text():
    long = "x" * 300_000
    rig = Rig([{"t": long} for _ in range(30)] + numbers(20))
    rig.worker(1, duration_s=0.001)
    rig.run_until(lambda: rig.exit)

    sizes = [sum(len(row[6]) for row in batch.rows) for batch in rig.master.batches]
    assert max(sizes) < 2_500_000
    messages = [message for _at, _peer, message in rig.sent if isinstance(message, Slices)]
    assert max(sum(len(item[3]) for item in message.items) for message in messages) < 2_500_000


def test_nothing_wakes_a_controller_that_waits():
    """No polling: with an idle persistent slicer only beats and the slicer's pauses are left."""
    rig = Rig(numbers(30))
    worker = rig.worker(1, duration_s=1_000.0)
    rig.run(5)
    worker.is_frozen = True
    calls = 0
    handle = rig.machine.handle

    def count(event, *, now):
        nonlocal calls
        calls += 1
        return handle(event, now=now)

    rig.machine.handle = count
    rig.run(20)

    assert calls < 20 * 6


def entries(count):
    return [Slice((n, 0, n, "{}", None, None), 0, 0, 0) for n in range(1, count + 1)]


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["start", "end", "wait", "flush", "save"]), st.integers(0, 29)),
        max_size=120,
    )
)
def test_no_record_is_sent_before_those_that_precede_it(steps):
    """The prefix rule, at every batch, whatever order slices start and end in."""
    recorder = Recorder(
        ex_id=EX, generation=1, sources=(EX,), limits=attrs.evolve(LIMITS, batch_rows=7), pinned={}
    )
    slices = entries(30)
    recorder.lanes[0] = deque(slices)
    now, sent, rows = 0.0, set(), {}
    for step, index in steps:
        entry = slices[index]
        now += 0.03
        if step == "start" and entry.state == 0:
            entry.state, entry.at_ms = START, int(now * 1000)
            recorder.mark(entry)
        elif step == "end" and entry.state == START:
            entry.state, entry.at_ms = COMPLETED, int(now * 1000)
            recorder.mark(entry)
        elif step == "wait":
            now += 0.5
        elif step == "save" and recorder.batches:
            recorder.saved(recorder.batches[0].seq, now)
        elif step == "flush":
            for batch in recorder.flush(now, int(now * 1000), force=False):
                sent |= {row[2] for row in batch.rows}
                rows |= {row[2]: row[3] for row in batch.rows}
                assert sent == set(range(1, len(sent) + 1))
                assert len(batch.rows) <= 7
        assert len(recorder.batches) <= BATCHES_UNACKED_MAX
        unsaved = sum(len(batch.rows) for batch in recorder.batches)
        assert recorder.owed == sum(entry.owed for entry in slices)
        assert recorder.buffered() == recorder.owed + unsaved

    while recorder.batches or recorder.flush(now, int(now * 1000), force=True):
        for batch in recorder.batches:
            rows |= {row[2]: row[3] for row in batch.rows}
        recorder.saved(recorder.batches[-1].seq, now)
    assert recorder.all_saved()
    assert {entry.item[0]: entry.state for entry in slices} == rows


def test_small_batches_keep_a_distance_and_the_last_one_does_not_wait():
    """A transaction costs the same for one row and for many; who waits for the end does not pay for that."""
    rig = Rig(numbers(300))
    rig.worker(1, duration_s=0.005)
    rig.run_until(lambda: rig.exit)

    times = [at for at, _peer, message in rig.sent if isinstance(message, RecordBatch)]
    between = [later - earlier for earlier, later in pairwise(times)]
    assert rig.states() == {"completed": 300}
    assert len(times) > 20
    assert min(between[:-1]) >= SMALL_BATCH_PAUSE * LIMITS.commit_interval_s - 1e-9
    assert between[-1] < SMALL_BATCH_PAUSE * LIMITS.commit_interval_s


def test_large_batches_follow_each_other_at_once():
    rig = Rig(numbers(20_000))
    rig.worker(1, duration_s=0.00001)
    rig.run_until(lambda: rig.exit)

    sent = [(at, len(message.rows)) for at, _peer, message in rig.sent if isinstance(message, RecordBatch)]
    after_large = [
        later - earlier
        for (earlier, rows), (later, _) in pairwise(sent)
        if rows >= SMALL_BATCH_ROWS and later > earlier
    ]
    assert after_large
    assert min(after_large) < SMALL_BATCH_PAUSE * LIMITS.commit_interval_s

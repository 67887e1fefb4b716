"""Slicing, the queue, and the life of a slice in the controller core."""

from tests.support.execution_rig import EX, Rig, numbers
from tsd.core.execution import events as ev
from tsd.core.messages import Again, Slices, WorkerBeat
from tsd.core.records import SliceState


def test_an_execution_of_a_few_slices_ends_completed():
    """E3, E15: initializing, running, completed, and every record is completed."""
    rig = Rig(numbers(10))
    rig.worker()
    rig.run_until(lambda: rig.exit)

    assert rig.master.statuses == ["initializing", "running", "completed"]
    assert rig.states() == {"completed": 10}
    assert dict.fromkeys(range(1, 11), 1) == rig.runs()
    assert rig.exit.code == 0


def test_slices_are_numbered_from_one_for_each_slicer_and_lists_get_consecutive_orders():
    """E12."""
    rig = Rig(slicers=[[{"a": 1}, [{"a": 2}, {"a": 3}], {"a": 4}], [{"b": 1}, {"b": 2}]])
    rig.worker()
    rig.run_until(lambda: rig.exit)

    assert sorted(rig.master.records) == [(0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4), (0, 1, 1), (0, 1, 2)]
    assert rig.master.records[0, 0, 3][6] == '{"a": 3}'
    assert rig.stats.subslice_by_key == 1
    assert rig.stats.slicers == 2


def test_slicing_starts_without_workers_and_stops_at_the_length_of_the_queue():
    """E9: the queue never exceeds its length by more than one slicer result."""
    rig = Rig([[{"i": i}, {"i": i + 0.5}, {"i": i + 0.7}] for i in range(100)], max_queue_length=10)
    rig.run(3)

    assert rig.stats.queued == 12
    assert rig.master.status == "running"


def test_the_length_of_the_queue_is_read_again_while_the_execution_runs():
    """E10: it grows and shrinks with what the slicer says, also when the queue was full or 0 long."""
    rig = Rig(numbers(500), max_queue_length=0)
    rig.run(2)
    assert rig.stats.queued == 0

    rig.slicer.max_queue_length = 8
    rig.run(2)
    assert rig.stats.queued == 8

    rig.slicer.max_queue_length = 4
    worker = rig.worker(duration_s=0.2)
    rig.run_until(lambda: len(worker.ran) > 20)
    assert rig.stats.queued <= 4

    rig.slicer.max_queue_length = 60
    rig.run(2)
    assert 50 < rig.stats.queued <= 60


def test_a_slicer_that_has_nothing_now_is_asked_again_after_growing_pauses():
    """E14, persistent: nothing now means try again later."""
    rig = Rig([], persistent=True)
    rig.worker()
    rig.run(10)
    few = len(rig.slicer.rooms)
    assert 40 < few < 60

    rig.slicer.left[0].extend(numbers(3))
    rig.run(1)

    assert rig.states() == {"completed": 3}
    assert rig.exit is None
    assert rig.master.status == "running"


def test_a_persistent_slicer_that_says_it_is_done_leaves_the_execution_running():
    """E14."""
    rig = Rig(numbers(3), persistent=True)
    rig.slicer.persistent = False
    rig.worker()
    rig.run(10)

    assert rig.states() == {"completed": 3}
    assert rig.exit is None


def test_a_slicer_error_fails_the_execution_and_lets_running_slices_end():
    """E13, E21: the reason names the error; what waits stays pending."""
    rig = Rig(numbers(40), max_queue_length=10)
    worker = rig.worker(duration_s=0.5)
    rig.run(1.7)
    rig.slicer.error = "boom at 17"
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert "had an error, shutting down execution, caused by boom at 17" in rig.master.reports[-1].reason
    assert {"completed", "pending"} == set(rig.states())
    assert rig.states()["completed"] == len(worker.ran)


def test_a_slicer_that_can_not_be_built_fails_the_execution():
    """B7."""
    rig = Rig(start=False)
    rig.act = lambda action: (
        rig.after(0, lambda: rig.feed(ev.SlicerFailed("no such asset")))
        if isinstance(action, ev.BuildSlicer)
        else Rig.act(rig, action)
    )
    rig.feed(ev.Tick())
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert "no such asset" in rig.master.reports[-1].reason


def test_an_execution_without_slices_completes_at_once():
    rig = Rig([])
    rig.run(1)

    assert rig.master.status == "completed"
    assert rig.exit.code == 0


def test_a_slice_keeps_the_id_that_the_slicer_gave_it():
    """E32 in part: the id is None where it is derived."""
    rig = Rig([{"slice_id": "mine"}, {"i": 2}])
    rig.worker()
    rig.run_until(lambda: rig.exit)

    assert [rig.master.records[0, 0, order][9] for order in (1, 2)] == ["mine", None]
    assert [item[5] for _peer, item in rig.dispatched] == ["mine", None]


def test_a_short_slice_is_one_row_and_a_long_one_is_recorded_when_it_starts():
    """E15: pending, start, completed as far as time allows."""
    rig = Rig(numbers(3))
    rig.worker(duration_s=lambda item: 0.001 if item[0] < 3 else 5.0)
    rig.run(2)

    assert [rig.master.records[0, 0, order][3] for order in (1, 2, 3)] == [2, 2, 1]
    assert sum(len(batch.rows) for batch in rig.master.batches) == 3

    rig.run_until(lambda: rig.exit)
    assert sum(len(batch.rows) for batch in rig.master.batches) == 4


def test_slices_that_wait_are_recorded_as_pending():
    rig = Rig(numbers(20))
    rig.run(0.5)
    assert rig.states() == {}

    rig.run(1)
    assert rig.states() == {"pending": 20}
    row = rig.master.records[0, 0, 1]
    assert row[4] == row[5] == 1_700_000_100_002 + 0


def test_slices_reach_workers_in_order():
    rig = Rig(numbers(50))
    rig.worker(1)
    rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert sorted(rig.dispatched, key=lambda entry: entry[1][0]) == rig.dispatched


def test_short_slices_are_handed_out_ahead_and_long_ones_one_by_one():
    """E23: one slice at a time where a slice is long; about 50 ms of work ahead where it is short."""
    short = Rig(numbers(3_000))
    worker = short.worker(duration_s=0.001)
    short.run(1)
    assert 40 <= len(worker.queue) + 1 <= 60

    long = Rig(numbers(30))
    worker = long.worker(duration_s=0.2)
    long.run(1.05)
    assert len(worker.queue) == 0
    assert worker.running is not None


def test_many_short_slices_travel_in_few_messages():
    rig = Rig(numbers(20_000))
    rig.worker(duration_s=0.0001)
    rig.run_until(lambda: rig.exit)

    messages = [message for _at, _peer, message in rig.sent if isinstance(message, Slices)]
    assert len(messages) < 600
    assert max(len(message.items) for message in messages) <= 256


def test_an_idle_worker_gets_what_another_one_has_not_begun():
    rig = Rig(numbers(12))
    slow = rig.worker(1, duration_s=lambda item: 0.004 if item[0] < 5 else 30.0)
    rig.run(0.5)
    assert len(slow.queue) > 0

    quick = rig.worker(2, duration_s=0.01)
    rig.run(1)

    assert len(slow.queue) == 0
    assert {7, 8, 9, 10, 11, 12} <= {item[0] for item in quick.ran}
    assert max(rig.runs().values()) == 1


def test_giving_back_does_not_go_to_and_fro():
    """Two workers at the very end of their work do not exchange slices for ever."""
    rig = Rig(numbers(400))
    rig.worker(1, duration_s=0.0005)
    rig.worker(2, duration_s=0.0005)
    rig.run_until(lambda: rig.exit)

    assert len(rig.dispatched) < 500
    assert max(rig.runs().values()) == 1


def test_a_slice_that_asks_for_a_worker_goes_there_and_nowhere_else():
    """E22: by number or by process id; others are not held up, and nothing spins while it is absent."""
    rig = Rig(
        [
            {"i": 1, "request_worker": "3"},
            {"i": 2, "request_worker": f"{EX}/1/w2.1"},
            *numbers(20, 3),
        ]
    )
    rig.worker(1)
    second = rig.worker(2)
    rig.run(2)

    assert rig.states() == {"completed": 21, "pending": 1}
    assert 2 in {item[0] for item in second.ran}
    assert rig.master.records[0, 0, 1][3] == SliceState.PENDING
    assert len(rig.sent) < 200

    third = rig.worker(3)
    rig.run_until(lambda: rig.exit)

    assert [item[0] for item in third.ran] == [1]
    assert rig.master.status == "completed"


def test_hooks_are_told_only_if_the_slicer_has_some():
    without = Rig(numbers(3))
    without.worker()
    without.run_until(lambda: without.exit)
    assert without.hook_calls == []

    rig = Rig(numbers(3), hooks=True)
    rig.worker(outcome=lambda item: (3, 1, "bad", None) if item[0] == 2 else None)
    rig.run_until(lambda: rig.exit)

    told = {kind: [] for kind in ("enqueued", "dispatched", "completed")}
    for call in rig.hook_calls:
        told[call.kind] += call.payload
    assert [item[0] for item in told["enqueued"]] == [1, 2, 3]
    assert [item[0] for item in told["dispatched"]] == [1, 2, 3]
    assert [(item[0], state, error) for item, state, error in told["completed"]] == [
        (1, 2, None),
        (2, 3, "bad"),
        (3, 2, None),
    ]


def test_a_frame_of_an_unknown_worker_is_answered_with_again():
    rig = Rig(numbers(3))
    rig.run(0.1)
    effects = rig.machine.handle(
        ev.FromWorker("stranger", WorkerBeat(running=None, running_for_s=0, held=0)), now=rig.now
    )

    assert [("stranger", Again())] == effects.sends


def test_statistics_count_what_they_say():
    """E38: processed includes failed, and the duration is at least 1."""
    rig = Rig(numbers(6))
    for number in (1, 2):
        rig.worker(number, outcome=lambda item: (3, 1, "bad", None) if item[0] == 4 else None)
    rig.run_until(lambda: rig.exit)
    stats = rig.master.reports[-1].stats

    assert (
        stats.processed,
        stats.failed,
        stats.queued,
        stats.workers_joined,
        stats.workers_reconnected,
        stats.workers_disconnected,
    ) == (6, 1, 0, 2, 0, 0)
    assert (stats.workers_available, stats.workers_active) == (2, 0)
    assert stats.job_duration == 1
    assert stats.started.startswith("2023-11-14T22:15:00")
    assert stats.queuing_complete is not None

"""A new generation, and executions that recover others, in the controller core."""

import json

import pytest

from tests.support.execution_rig import EX, Rig, numbers
from tsd.core.messages import RecoveryAsk
from tsd.core.records import SlicerPosition, SliceState, Status

P, S, C, E = (int(state) for state in SliceState)


def row(source, slicer_id, order, state, *, slice_id=None, **request):
    return (source, slicer_id, order, state, 1_000, 2_000, json.dumps(request), 0, None, slice_id, None)


def stored(*rows):
    return {r[:3]: r for r in rows}


def resumed(records, requests=(), *, status=Status.RUNNING, **options):
    return Rig(
        requests,
        generation=2,
        master={"resume": True, "records": records, "status": status},
        **options,
    )


def recovering(records, mode, requests=(), *, sources=(EX, "old"), **options):
    return Rig(requests, master={"mode": mode, "records": records, "sources": sources}, **options)


def test_a_new_generation_runs_what_was_unfinished_and_goes_on_where_each_slicer_stood():
    """B4, B7: leftovers of every slicer, beyond one page; ids and keys stay."""
    records = stored(
        *(row(0, 0, n, S if n % 2 else C, i=n) for n in range(1, 21)),
        *(row(0, 1, n, P, i=n, slice_id=f"own-{n}") for n in range(1, 9)),
    )
    rig = resumed(records, slicers=[[{"new": 0}], [{"new": 1}]])
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 30}
    assert [
        SlicerPosition(slicer_id=0, slicer_order=20, last_slice='{"i": 20}'),
        SlicerPosition(slicer_id=1, slicer_order=8, last_slice='{"i": 8}'),
    ] == rig.slicer.started_with
    assert {(0, 0, 21), (0, 1, 9)} <= set(rig.master.records)
    assert rig.master.records[0, 1, 3][9] == "own-3"
    assert len(rig.dispatched) == 18 + 2
    assert len(rig.master.asks) >= 3
    assert rig.master.reports[-1].stats.processed == 30
    assert rig.master.status == "completed"


def test_a_new_generation_that_finds_nothing_starts_afresh():
    rig = resumed({}, numbers(3), recoverable=False, status=Status.INITIALIZING)
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert rig.slicer.started_with == []
    assert rig.master.status == "completed"


def test_a_slicer_that_is_not_recoverable_can_not_be_continued():
    """E33: a terminal status instead of a stuck one."""
    rig = resumed(stored(row(0, 0, 1, C, i=1)), numbers(3), recoverable=False)
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert "Slicer is not recoverable" in rig.master.reports[-1].reason
    assert rig.slicer.started_with is None


def test_an_execution_that_recovers_another_needs_a_recoverable_slicer():
    """E33."""
    rig = recovering(stored(row(1, 0, 1, S, i=1)), "none", recoverable=False)
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert "Slicer is not recoverable" in rig.master.reports[-1].reason


def test_errors_of_an_earlier_generation_still_fail_the_execution_at_its_end():
    rig = resumed(stored(row(0, 0, 1, C, i=1), row(0, 0, 2, E, i=2), row(0, 0, 3, S, i=3)), numbers(2))
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 4, "error": 1}
    assert rig.master.status == "failed"
    assert f"execution: {EX} had 1 slice failure during processing" == rig.master.reports[-1].reason
    assert (rig.master.reports[-1].stats.processed, rig.master.reports[-1].stats.failed) == (5, 1)
    assert "failing" in rig.master.statuses


def test_an_own_slice_that_fails_when_it_is_run_again_is_an_error_like_any_other():
    rig = resumed(stored(row(0, 0, 1, S, i=1)), numbers(5, 100))
    rig.worker(1, outcome=lambda item: (3, 1, "bad", None) if item[0] == 1 else None)
    rig.run_until(lambda: rig.exit)

    assert rig.states() == {"completed": 5, "error": 1}
    assert "had 1 slice failure" in rig.master.reports[-1].reason


@pytest.mark.parametrize(
    ("mode", "again", "goes_on"),
    [
        ("none", {P, S, E}, True),
        ("all", {P, S, E}, False),
        ("errors", {E}, False),
        ("pending", {P}, False),
        ("autorecover", {P, S}, True),
    ],
)
def test_each_recovery_mode_runs_its_states_and_goes_on_or_ends(mode, again, goes_on):
    """E30, E31, E35: nothing else is run again; without a type the slicer goes on."""
    states = [C, P, S, E, C]
    records = stored(*(row(1, 0, n, state, i=n) for n, state in enumerate(states, start=1)))
    rig = recovering(records, mode, [{"new": 1}])
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert {n for n, state in enumerate(states, start=1) if state in again} == {
        item[2] for _peer, item in rig.dispatched if item[4] == "old"
    }
    assert rig.master.status == "completed"
    assert "recovering" in rig.master.statuses
    assert goes_on is ((0, 0, 1) in rig.master.records)
    if goes_on:
        assert [SlicerPosition(slicer_id=0, slicer_order=0, last_slice='{"i": 5}')] == rig.slicer.started_with
        assert "running" in rig.master.statuses
    else:
        assert rig.slicer.started_with is None


def test_a_job_that_recovers_by_itself_goes_on_after_any_type():
    """E30: autorecover with an explicit type continues."""
    rig = recovering(stored(row(1, 0, 1, P, i=1)), "pending", [{"new": 1}], job={"autorecover": True})
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert (0, 0, 1) in rig.master.records


def test_slices_of_earlier_executions_keep_id_and_execution_and_new_ones_are_own():
    """E32, B4: along the chain."""
    records = stored(row(1, 0, 2, S, i=2, slice_id="a"), row(2, 0, 7, P, i=7), row(2, 1, 4, E, i=4))
    rig = recovering(records, "none", slicers=[[{"new": 0}], [{"new": 1}]], sources=(EX, "old", "older"))
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    sent = {(item[4], item[1], item[2], item[5]) for _peer, item in rig.dispatched}
    assert {
        ("old", 0, 2, "a"),
        ("older", 0, 7, None),
        ("older", 1, 4, None),
        (None, 0, 1, None),
        (None, 1, 1, None),
    } == sent
    assert all(batch.sources == (EX, "old", "older") for batch in rig.master.batches)
    assert [position.last_slice for position in rig.slicer.started_with] == ['{"i": 2}', '{"i": 4}']


def test_slicing_waits_until_what_is_recovered_has_ended():
    rig = recovering(stored(row(1, 0, 1, S, i=1)), "none", numbers(3))
    rig.worker(1, duration_s=5.0)
    rig.run(4)

    assert rig.master.status == "recovering"
    assert rig.slicer.started_with is None
    rig.run_until(lambda: rig.exit)
    assert rig.master.status == "completed"


def test_a_slice_that_fails_while_recovering_fails_the_execution_at_once():
    """E20."""
    records = stored(*(row(1, 0, n, S, i=n) for n in range(1, 30)))
    rig = recovering(records, "none", numbers(3))
    rig.worker(1, duration_s=0.1, outcome=lambda item: (3, 1, "no way", None) if item[2] == 3 else None)
    rig.run_until(lambda: rig.exit)

    assert rig.master.status == "failed"
    assert rig.master.reports[-1].reason == "Slice failed while recovering, caused by no way"
    assert rig.now < 102
    assert rig.master.records[1, 0, 3][3] == E


def test_a_recovery_of_nothing_completes():
    rig = recovering({}, "all", numbers(3))
    rig.run(1)

    assert rig.master.status == "completed"


def test_a_new_generation_of_a_recovered_execution_goes_on_where_the_earlier_one_stood():
    """B4: recovery is done, and nothing of its own is recorded yet."""
    rig = Rig(
        [{"new": 1}],
        generation=2,
        master={
            "resume": True,
            "records": stored(row(1, 0, 4, C, i=4)),
            "sources": (EX, "old"),
            "status": Status.RUNNING,
        },
    )
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert rig.slicer.started_with == [SlicerPosition(slicer_id=0, slicer_order=0, last_slice='{"i": 4}')]
    assert rig.states() == {"completed": 2}


def test_questions_are_repeated_until_they_are_answered():
    rig = resumed(stored(row(0, 0, 1, S, i=1)), numbers(2, 100))
    lost = []
    receive = rig.master.receive

    def lose_first(message):
        if isinstance(message, RecoveryAsk) and len(lost) < 2:
            lost.append(message)
        else:
            receive(message)

    rig.master.receive = lose_first
    rig.worker(1)
    rig.run_until(lambda: rig.exit)

    assert len(lost) == 2
    assert rig.states() == {"completed": 3}


def test_pages_do_not_flood_the_queue():
    """A page is asked for only when the one before is mostly handed out."""
    records = stored(*(row(0, 0, n, P, i=n) for n in range(1, 201)))
    rig = resumed(records)
    rig.run(3)

    assert rig.stats.queued <= 2 * rig.limits.replay_page
    rig.worker(1)
    rig.run_until(lambda: rig.exit)
    assert rig.states() == {"completed": 200}


def test_an_execution_resumed_while_no_controller_was_there_is_running_again():
    """E25, B11: the status says paused, the wish does not."""
    rig = resumed(stored(row(0, 0, 1, C, i=1)), numbers(300), status=Status.PAUSED)
    rig.worker(1, duration_s=0.1)
    rig.run(3)

    assert rig.master.status == "running"


def test_pinned_slices_stay_pinned_when_they_are_run_again():
    """E22."""
    rig = resumed(stored(row(0, 0, 1, S, i=1, request_worker="2"), row(0, 0, 2, S, i=2)))
    first, second = rig.worker(1), rig.worker(2)
    rig.run_until(lambda: rig.exit)

    assert [item[2] for item in second.ran if item[2] == 1] == [1]
    assert 1 not in [item[2] for item in first.ran]

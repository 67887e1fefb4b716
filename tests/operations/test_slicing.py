"""The controller's side: operations.md points 1 to 13, E9, E12 to E14."""

import json

import pytest
import trio

from tests.support.pipelines import make_runner
from tsd.error_texts import error_line
from tsd.errors import OperationError
from tsd.operations.context import OpContext
from tsd.operations.outcome import SliceOutcome
from tsd.operations.slice import Slice
from tsd.operations.slicers import RecoveryEntry

FOREVER_S = 60.0


def listed(*slices, **options):
    return {"_op": "list_reader", "slices": list(slices), **options}


def made_by(runner, room=1000, budget_s=FOREVER_S):
    made = runner.make(room, budget_s)
    return [(slicer, [json.loads(r) for r in requests]) for slicer, requests in made.slices], made


def test_requests_come_in_the_order_in_which_the_slicer_made_them():
    """Point 2: the elements of a list stand one after another."""
    runner = make_runner(listed({"a": 1}, [{"a": 2}, {"a": 3}], [], {"a": 4}))

    slices, made = made_by(runner)

    assert slices == [(0, [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}])]
    assert (made.count, runner.subslice_by_key) == (4, 2)


def test_null_ends_a_slicer_of_a_once_job():
    """Point 4, E14."""
    done = []
    context = OpContext()
    context.events.on("slicer:done", done.append)
    runner = make_runner(listed({"a": 1}, "null", {"a": 2}), context=context)

    assert made_by(runner)[1].is_finished
    assert (runner.make(10, FOREVER_S).is_finished, runner.make(10, FOREVER_S).count) == (True, 0)
    assert done == [0]


def test_null_means_nothing_for_now_in_a_persistent_job():
    """Point 5, E14."""
    runner = make_runner(listed({"a": 1}, "null", {"a": 2}), lifecycle="persistent")

    first, second, third = (runner.make(10, FOREVER_S) for _ in range(3))

    assert [(m.count, m.is_idle, m.is_finished) for m in (first, second, third)] == [
        (1, True, False),
        (1, True, False),
        (0, True, False),
    ]


def test_an_empty_list_is_neither_the_end_nor_a_slice():
    """Point 6."""
    runner = make_runner(listed([], [], {"a": 1}))

    assert made_by(runner)[0] == [(0, [{"a": 1}])]


def test_no_more_is_made_than_there_is_room_for_but_a_list_is_taken_whole():
    """Point 12, E9."""
    runner = make_runner(listed({"a": 1}, [{"a": 2}, {"a": 3}, {"a": 4}], {"a": 5}))

    assert [runner.make(room, FOREVER_S).count for room in (0, 2, 1, 1)] == [0, 4, 1, 0]


def test_a_call_ends_when_its_time_is_up():
    runner = make_runner(listed({"a": 1}, {"a": 2}))

    assert [runner.make(10, 0.0).count for _ in range(3)] == [1, 1, 0]


def test_an_exception_in_a_slicer_is_an_error_that_names_it():
    """Points 10 and E21."""
    runner = make_runner(listed("raise"))

    with pytest.raises(OperationError) as caught:
        runner.make(10, FOREVER_S)

    assert error_line(caught.value) == (
        "slicer 0 of list_reader (operations[0]) failed, caused by RuntimeError: the slicer broke"
    )


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (5, "slicer 0 of list_reader returned 5, which is no object"),
        ("text", "returned 'text', which is no object"),
        ([1], "returned 1, which is no object"),
        ([None], "returned None, which is no object"),
        ({"slice_id": "x"}, "with the reserved key slice_id"),
        ({"a": {1, object}}, r"request\.a is .* of type set, which JSON does not have: give a list"),
        (
            {"a": "x" * 1000, "b": object},
            r"request\.b is <class 'object'> of type type, which JSON does not have",
        ),
        ({"a": [{"b": (1, 2)}]}, r"request\.a\[0\]\.b is \(1, 2\) of type tuple"),
        ({"a": float("nan")}, "request.a is nan, which JSON does not have"),
        ({"a": "x" * 16_777_216}, r"is 16.8 MB as JSON; at most 16.8 MB can be sent"),
    ],
    ids=range(10),
)
def test_a_result_that_is_no_request_is_an_error_that_shows_it(result, message):
    runner = make_runner(listed())
    runner.slicer.results.append(result)

    with pytest.raises(OperationError, match=message) as info:
        runner.make(10, FOREVER_S)
    assert len(str(info.value)) < 500


def test_a_request_may_name_its_worker():
    """Point 15; the controller reads it from the request."""
    assert made_by(make_runner(listed({"request_worker": "w"})))[0] == [(0, [{"request_worker": "w"}])]


def test_the_defaults_of_a_slicer():
    """Point 11."""
    runner = make_runner("several_slicers")

    assert (runner.max_queue_length(), runner.is_recoverable) == (10_000, False)
    assert not runner.slicer.is_relocatable()


def test_a_slicer_that_can_not_resume_refuses_to():
    """Points 13 and E33."""
    entry = RecoveryEntry(slicer_id=0, last_slice={"a": 1}, slicer_order=3)

    with pytest.raises(OperationError, match="Slicer is not recoverable"):
        make_runner(listed(), recovery=[entry])
    assert make_runner(listed(recoverable=True), recovery=[entry]).slicer.last_slice() == {"a": 1}
    assert (
        make_runner(listed(), recovery=[RecoveryEntry(slicer_id=0, last_slice=None)]).slicer.last_slice()
        is None
    )


def test_parallel_slicers_number_their_functions_and_leave_out_what_is_none():
    """Points 7 and 8, E13."""
    runner = make_runner({"_op": "several_slicers", "wanted": [0, 2], "counts": [1, 9, 2]}, slicers=3)

    slices, made = made_by(runner)

    assert (runner.slicer_count, made.is_finished) == (2, True)
    assert sorted((slicer, request["n"]) for slicer, requests in slices for request in requests) == [
        (0, 0),
        (2, 0),
        (2, 1),
    ]


def test_without_any_function_a_parallel_slicer_is_finished_at_once():
    """Point 8."""
    runner = make_runner({"_op": "several_slicers", "wanted": []}, slicers=3, lifecycle="persistent")

    assert runner.make(10, FOREVER_S).is_finished


async def test_a_slow_async_function_does_not_hold_up_the_others():
    """Point 9."""
    async with trio.open_nursery() as nursery:

        def spawn(afn):
            trio.from_thread.run_sync(nursery.start_soon, afn)

        context = OpContext(run_async=trio.from_thread.run, spawn=spawn)
        spec = {"_op": "several_slicers", "counts": [1, 2, 3], "is_async": True}
        runner = await trio.to_thread.run_sync(lambda: make_runner(spec, context=context, slicers=3))

        with trio.fail_after(20):
            early = await trio.to_thread.run_sync(runner.make, 5, FOREVER_S)
            quiet = await trio.to_thread.run_sync(runner.make, 5, 0.01)
            runner.slicer.gate.set()
            late = await trio.to_thread.run_sync(runner.make, 5, FOREVER_S)

    assert sorted((slicer, len(requests)) for slicer, requests in early.slices if slicer) != []
    assert (early.count, {slicer for slicer, _ in early.slices}) == (5, {1, 2})
    assert (quiet.count, quiet.is_idle, quiet.is_finished) == (0, True, False)
    assert (late.slices, late.is_finished) == ([(0, ['{"slicer":0,"n":0}'])], True)


def test_async_functions_run_in_turn_where_nothing_can_be_spawned():
    runner = make_runner(
        {"_op": "several_slicers", "wanted": [1, 2], "counts": [0, 1, 1], "is_async": True}, slicers=3
    )

    assert runner.make(10, FOREVER_S).count == 2


def test_hooks_are_called_only_where_they_are_defined():
    runner = make_runner(listed())
    stats = {"workers": {"connected": 4}}

    runner.execution_stats(stats)
    runner.slice_enqueued(Slice.of({}))
    runner.slice_dispatched(Slice.of({}))
    runner.slice_completed(Slice.of({}), SliceOutcome(state="completed"))

    assert (runner.wants_enqueued, runner.wants_dispatch, runner.wants_complete) == (False, False, False)
    assert runner.slicer.workers_connected == 4

"""The worker's side: operations.md points 16 to 38 and 58 to 66."""

import itertools
import threading

import pytest
import trio

from tests.support.pipelines import REGISTRY, checked, make_pipeline, run
from tsd.errors import OperationError
from tsd.operations.context import Interrupted, OpContext
from tsd.operations.pipeline import Pipeline
from tsd.operations.slice import Slice

FAST = {"_op": "break", "times": 99}


def logbook(pipeline, name="logbook"):
    return next(op for op in pipeline.operations if op.name == name)


def test_hooks_of_a_slice_that_succeeds_come_in_order():
    """Points 16 and 26, E42."""
    pipeline = make_pipeline("logbook", "noop")

    outcome = run(pipeline, {"n": 1}, {"n": 2})
    pipeline.finished("id")

    assert outcome.state == "completed"
    assert logbook(pipeline).lines == [
        ("initialized",),
        ("start", 0),
        ("complete", 0, 2),
        ("started",),
        ("start", 1),
        ("complete", 1, 2),
        ("start", 2),
        ("complete", 2, 2),
        ("completing",),
        ("finalizing", "ok"),
        ("finished",),
    ]


@pytest.mark.parametrize("analytics", [True, False])
def test_records_of_the_reader_are_counted_in_every_attempt(analytics):
    pipeline = make_pipeline({"_op": "break", "times": 1}, analytics=analytics)
    run(pipeline, {"n": 1}, {"n": 2}, {"n": 3})

    assert pipeline.records_read == 6


def test_initialized_comes_once_and_started_with_each_attempt():
    """Point 17."""
    pipeline = make_pipeline("logbook", {"_op": "break", "times": 2})

    assert run(pipeline).state == "completed"

    names = [line[0] for line in logbook(pipeline).lines]
    assert [names.count(name) for name in ("initialized", "started", "retry", "finalizing")] == [1, 3, 2, 1]


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 2), (3, 4)])
def test_there_are_max_retries_attempts_more_than_one(max_retries, attempts):
    """Points 18 and 19."""
    pipeline = make_pipeline("logbook", FAST, max_retries=max_retries)

    outcome = run(pipeline)

    assert (outcome.state, outcome.retry_count) == ("error", max_retries)
    assert pipeline.operations[2].attempts == attempts
    assert [line[0] for line in logbook(pipeline).lines].count("retry") == max_retries


def test_a_clean_slice_has_no_retries_and_a_mended_one_counts_them():
    """Point 19."""
    pipeline = make_pipeline({"_op": "break", "times": 2})

    assert [run(pipeline).retry_count, run(pipeline).retry_count] == [2, 0]


def test_waits_between_attempts_double_and_a_bit():
    """operations.md 4.3: from 100 ms, times 1.8 to 2.6 each, at most a minute."""
    waits = []
    pipeline = make_pipeline(FAST, context=OpContext(sleep=waits.append), max_retries=15)

    run(pipeline)

    assert 0.18 <= waits[0] < 0.26
    ratios = [later / earlier for earlier, later in itertools.pairwise(waits) if later < 60]
    assert all(1.8 <= ratio < 2.6 for ratio in ratios)
    assert waits[-1] == 60


def test_raising_in_on_slice_retry_ends_the_slice():
    """Point 20, E17."""
    pipeline = make_pipeline({"_op": "break", "times": 99, "veto": True})

    outcome = run(pipeline)

    assert (outcome.state, outcome.retry_count, pipeline.operations[1].attempts) == ("error", 0, 1)
    assert "Slice failed to retry" in outcome.error
    assert "attempt 1 broke" in outcome.error


@pytest.mark.parametrize(("kind", "is_fatal"), [("final", False), ("attribute", False), ("fatal", True)])
def test_some_errors_stop_retries_after_one_attempt(kind, is_fatal):
    """Point 21."""
    pipeline = make_pipeline({"_op": "break", "times": 99, "kind": kind})

    outcome = run(pipeline)

    assert (outcome.state, outcome.is_fatal, outcome.retry_count) == ("error", is_fatal, 0)
    assert pipeline.operations[1].attempts == 1


def test_a_failure_is_told_before_the_finalizing_hook_and_never_finished():
    """Point 22."""
    pipeline = make_pipeline("logbook", FAST, max_retries=0)

    run(pipeline)

    assert logbook(pipeline).lines[-2:] == [("failed",), ("finalizing", "failed")]
    assert ("complete", 2, 0) not in logbook(pipeline).lines


def test_an_error_in_the_finalizing_hook_changes_nothing():
    """Point 24."""
    pipeline = make_pipeline({"_op": "logbook", "fail_in": "finalizing"})

    assert run(pipeline).state == "completed"


def test_an_error_while_completing_fails_the_attempt():
    pipeline = make_pipeline({"_op": "logbook", "fail_in": "completing"}, max_retries=1)

    outcome = run(pipeline)

    assert (outcome.state, outcome.retry_count) == ("error", 1)
    assert "completing broke" in outcome.error


def test_an_error_before_the_first_attempt_fails_the_slice():
    pipeline = make_pipeline({"_op": "logbook", "fail_in": "initialized"})

    outcome = run(pipeline)

    assert (outcome.state, pipeline.operations[0].seen) == ("error", [])


def test_each_attempt_gets_a_new_copy_of_the_request():
    """Point 25."""
    pipeline = make_pipeline({"_op": "break", "times": 2})

    run(pipeline, {"n": 1})

    assert pipeline.operations[0].seen == [{"records": [{"n": 1}]}] * 3


def test_an_error_text_says_first_where_in_the_job_it_happened():
    pipeline = make_pipeline({"_op": "returns", "value": [5]}, max_retries=0)

    assert run(pipeline).error == (
        "returns (operations[1]): returns returned something that is no record:"
        " a record is made of a mapping, not of int"
    )


def test_below_it_shows_the_code_of_the_user_and_then_the_traceback():
    outcome = run(make_pipeline(FAST, max_retries=0))

    head, _, rest = outcome.error.partition("\n\n")
    first, *frames = head.splitlines()
    assert first == "break (operations[1]): RuntimeError: attempt 1 broke"
    assert all("/tests/support/" in line for line in frames[::2])
    assert rest.startswith("Traceback (most recent call last):")
    assert "tsd/operations/pipeline.py" in rest


def test_the_error_text_is_that_of_the_last_attempt_only():
    outcome = run(make_pipeline(FAST, max_retries=2))

    assert outcome.error.endswith("RuntimeError: attempt 3 broke")
    assert "attempt 2" not in outcome.error


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, []), ([], []), ({"a": 1}, [{"a": 1}]), ([{"a": 1}, {"b": 2}], [{"a": 1}, {"b": 2}])],
)
def test_what_an_operation_returns_becomes_records(value, expected):
    """Point 65: None means no records."""
    assert run(make_pipeline({"_op": "returns", "value": value})).records == expected


@pytest.mark.parametrize("value", [5, "text", [None], [{"a": 1}, 5]])
def test_what_is_no_record_fails_the_slice_and_names_the_operation(value):
    outcome = run(make_pipeline({"_op": "returns", "value": value}, max_retries=0))

    assert "returns returned" in outcome.error


def test_map_drops_what_becomes_none_and_filter_keeps_what_is_true():
    records = [{"n": n} for n in range(6)]

    assert run(make_pipeline("upper"), *records).records == [{"n": 0}, {"n": 4}, {"n": 8}]
    assert run(make_pipeline("small"), *records).records == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_async_methods_run_on_the_loop_and_plain_ones_in_one_thread():
    """Points 65 and 66."""
    job = checked("list_reader", "async_upper", "async_small", "logbook")
    context = OpContext(run_async=trio.from_thread.run)
    pipeline = Pipeline(job, REGISTRY, context, keep_records=True)

    def work():
        pipeline.initialize()
        outcomes = [run(pipeline, *({"n": n} for n in range(6)), order=i) for i in (1, 2)]
        pipeline.shutdown()
        return outcomes, threading.get_ident()

    outcomes, thread = await trio.to_thread.run_sync(work)

    assert [outcome.records for outcome in outcomes] == [[{"n": 0}, {"n": 2}]] * 2
    assert logbook(pipeline).threads == {thread}


def test_metadata_survives_operations_that_return_the_same_record():
    """Point 56."""
    pipeline = make_pipeline("small", "noop", "logbook")
    records = run(pipeline, {"n": 1}).records
    records[0].set_key("k")

    again = pipeline._steps[0](records)

    assert again[0].get_key() == "k"


def test_a_flush_runs_processors_with_nothing_and_never_the_fetcher():
    """Points 28 and 31."""
    pipeline = make_pipeline("logbook", analytics=True)
    first = run(pipeline, {"n": 1})
    logbook(pipeline).lines.clear()

    outcome = pipeline.flush()

    assert logbook(pipeline).lines == [
        ("flush_start",),
        ("start", 1),
        ("complete", 1, 0),
        ("completing",),
        ("finalizing", "ok"),
        ("flush_end",),
    ]
    assert (len(pipeline.operations[0].seen), outcome.analytics.size) == (1, [1, 1])
    assert outcome.analytics.time[0] == first.analytics.time[0]


def test_a_plain_processor_is_not_called_by_a_flush_that_releases_nothing():
    """`on_batch` that takes the first of its records is right for every slice of this job."""
    pipeline = make_pipeline("first-of", {"_op": "noop"}, max_retries=3)
    run(pipeline, {"n": 1})

    outcome = pipeline.flush()

    assert (outcome.state, outcome.retry_count, outcome.error) == ("completed", 0, None)
    assert pipeline.operations[1].sizes == [1]


def test_a_plain_processor_gets_what_a_flush_has_released_in_front_of_it():
    pipeline = make_pipeline({"_op": "collect", "size": 3, "wait": 60_000}, "first-of")
    run(pipeline, {"n": 1}, {"n": 2}, {"n": 3}, {"n": 4})

    assert pipeline.flush().records == [{"n": 4}]
    assert pipeline.operations[2].sizes == [3, 1]


def test_there_is_nothing_to_flush_before_a_slice_or_after_a_failed_one():
    """Point 29."""
    fresh, failed = make_pipeline("noop"), make_pipeline(FAST, max_retries=0)
    run(failed)

    assert (fresh.flush(), failed.flush()) == (None, None)


@pytest.mark.parametrize("times", [2, 9])
def test_what_a_flush_rejects_is_delivered_once_however_often_it_is_tried(times):
    pipeline = make_pipeline(
        {"_op": "collect", "size": 100, "wait": "1 hour"},
        {"_op": "reject_then_break", "times": times, "_dead_letter_action": "sink"},
        apis=[{"_name": "sink"}],
    )
    run(pipeline, {"n": 1})
    assert pipeline.flush().state == ("completed" if times == 2 else "error")
    assert pipeline.apis.components[0].taken == [({"n": 1}, "no")]


def test_what_is_held_is_flushed_also_after_a_failed_slice():
    pipeline = make_pipeline(
        {"_op": "collect", "size": 100, "wait": "1 hour"}, {"_op": "break", "times": 0}, max_retries=0
    )
    run(pipeline, {"n": 1})
    pipeline.operations[2].attempts, pipeline.operations[2].config.times = 0, 1
    assert run(pipeline, {"n": 2}, order=2).state == "error"
    assert pipeline.held_since() == 1

    assert pipeline.flush().records == [{"n": 1}]
    assert pipeline.held_since() is None


def test_a_pipeline_tells_the_oldest_slice_that_any_operation_holds():
    pipeline = make_pipeline(
        {"_op": "collect", "size": 2, "wait": "1 hour"}, {"_op": "collect", "size": 4, "wait": "1 hour"}
    )
    assert pipeline.may_hold
    told = []
    for order in range(1, 5):
        run(pipeline, {"n": order}, order=order)
        told.append(pipeline.held_since())
    assert told == [1, 1, 1, None]
    assert not make_pipeline("noop").may_hold


def test_a_second_flush_does_nothing_and_a_slice_after_a_flush_is_normal():
    """Point 32."""
    pipeline = make_pipeline("noop")
    run(pipeline, {"n": 1})

    assert pipeline.flush().state == "completed"
    assert pipeline.flush() is None
    assert run(pipeline, {"n": 2}, order=2).records == [{"n": 2}]


def test_what_was_released_in_a_flush_is_not_lost_when_a_later_operation_fails():
    pipeline = make_pipeline({"_op": "collect", "size": 100, "wait": "1 hour"}, {"_op": "break", "times": 2})
    pipeline.operations[2].attempts = 9
    run(pipeline, {"n": 1}, {"n": 2})
    pipeline.operations[2].attempts = 0

    outcome = pipeline.flush()

    assert (outcome.state, outcome.retry_count, outcome.records) == ("completed", 2, [{"n": 1}, {"n": 2}])


def test_shutdown_runs_once_and_survives_operations_that_raise():
    """Point 33."""
    pipeline = make_pipeline({"_op": "logbook", "fail_in": "shutdown"}, "logbook")

    pipeline.shutdown()
    pipeline.shutdown()

    assert [op.lines for op in pipeline.operations[1:]] == [[("shutdown",)]] * 2


def test_an_interrupted_wait_leaves_the_slice_undone():
    """Point 30: a slice that a shutdown cuts short is not done."""

    def stop(_s):
        raise Interrupted("stopping")

    pipeline = make_pipeline("logbook", FAST, context=OpContext(sleep=stop))

    with pytest.raises(Interrupted):
        run(pipeline)
    assert "finalizing" not in [line[0] for line in logbook(pipeline).lines]
    assert pipeline.flush() is None


def test_analytics_have_a_place_for_each_operation():
    """Point 61, E25."""
    pipeline = make_pipeline("small", "noop", analytics=True)

    analytics = run(pipeline, *({"n": n} for n in range(5))).analytics

    assert analytics.size == [5, 3, 3]
    assert all(ms >= 0 for ms in analytics.time)
    assert run(make_pipeline("noop")).analytics is None


def test_a_slice_that_never_reaches_an_operation_shows_no_numbers_for_it():
    pipeline = make_pipeline(FAST, "noop", analytics=True, max_retries=0)

    assert run(pipeline).analytics is None
    assert pipeline._analytics.size == [0, -1, -1]


# --- APIs and dead letters ----------------------------------------------------------------------


def test_an_api_is_ready_before_any_operation_initializes():
    """Points 34 and 38."""
    pipeline = make_pipeline({"_op": "needs_api", "_api_name": "lines:a"}, apis=[{"_name": "lines:a"}])

    assert pipeline.operations[1].lines == ["initialized", "created"]
    assert pipeline.apis.create("lines:a", "late") is pipeline.operations[1].product


def test_an_unknown_api_is_an_error_that_names_it():
    """Points 35 and 36."""
    pipeline = make_pipeline("noop", apis=[{"_name": "watcher"}])

    with pytest.raises(OperationError, match='"absent"'):
        pipeline.apis.get("absent")
    with pytest.raises(OperationError, match="observer"):
        pipeline.apis.get("watcher")
    assert pipeline.apis.observer("watcher").slices == []


def test_observers_hear_hooks():
    """Point 27."""
    pipeline = make_pipeline("noop", apis=[{"_name": "watcher"}])

    run(pipeline)

    assert pipeline.apis.observer("watcher").slices == [Slice.of({}, ex_id="ex").slice_id]


def test_a_factory_refuses_a_name_that_is_taken_and_forgets_what_is_removed():
    """Point 37."""
    pipeline = make_pipeline("noop", apis=[{"_name": "factory"}])
    registry = pipeline.apis.get("factory")

    assert registry.create("a", {"x": 1}) == "client a"
    with pytest.raises(OperationError, match="already has a client"):
        registry.create("a")
    registry.remove("a")

    assert (registry.size, registry.get("a"), registry.get_config("a")) == (0, None, None)
    assert pipeline.apis.components[0].removed == ["a"]


def test_throw_fails_the_slice_with_the_original_error():
    """Point 58."""
    outcome = run(make_pipeline("upper", max_retries=0), {"n": "x"})

    assert outcome.error.endswith("ValueError: n is text")


@pytest.mark.parametrize("action", ["throw", "store"])
def test_a_record_that_is_rejected_is_not_tried_again(action):
    """It would be as bad then; nor are 1,001 of them."""
    records = [{"n": "x"}] * (1 if action == "throw" else 1001)

    outcome = run(make_pipeline({"_op": "upper", "_dead_letter_action": action}, max_retries=3), *records)

    assert (outcome.state, outcome.retry_count) == ("error", 0)
    assert "n is text" in outcome.error


def test_what_the_function_of_a_user_raises_is_tried_again():
    pipeline = make_pipeline({"_op": "tries", "_dead_letter_action": "throw"}, max_retries=1)

    outcome = run(pipeline, {"n": "x"})

    assert (outcome.state, outcome.retry_count, pipeline.operations[1].calls) == ("error", 1, 2)


@pytest.mark.parametrize("action", ["none", "log"])
def test_none_and_log_drop_the_record(action):
    """Point 58."""
    seen = []
    context = OpContext(on_reject=seen.append)
    pipeline = make_pipeline({"_op": "upper", "_dead_letter_action": action}, context=context)

    assert run(pipeline, {"n": "x"}, {"n": 2}).records == [{"n": 4}]
    assert [(r.record, r.operation, r.attempt) for r in seen] == [({"n": "x"}, "upper", 1)]


def dead_letter_pipeline(*more, **fields):
    return make_pipeline(
        {"_op": "upper", "_dead_letter_action": "sink"}, *more, apis=[{"_name": "sink"}], **fields
    )


def test_an_api_takes_rejected_records_by_the_end_of_the_slice():
    """Points 58 and 59."""
    pipeline = dead_letter_pipeline()

    run(pipeline, {"n": "x"}, {"n": 2})

    assert pipeline.apis.components[0].taken == [({"n": "x"}, "n is text")]


def test_an_api_takes_rejected_records_of_a_failed_slice_too():
    """Point 59."""
    pipeline = dead_letter_pipeline(FAST, max_retries=0)

    run(pipeline, {"n": "x"})

    assert pipeline.apis.components[0].taken == [({"n": "x"}, "n is text")]


def test_records_rejected_in_an_attempt_that_is_retried_are_not_delivered_twice():
    """Point 60."""
    pipeline = dead_letter_pipeline({"_op": "break", "times": 2})

    assert run(pipeline, {"n": "x"}).retry_count == 2
    assert pipeline.apis.components[0].taken == [({"n": "x"}, "n is text")]

"""accumulate, accumulate_by_key, window, group_by, data_window_to_array: connectors.md points 15 to 19."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import checked, make_pipeline, run
from tsd.errors import JobInvalid
from tsd.operations.context import OpContext
from tsd.operations.record import Record
from tsd.operations.standard import window
from tsd.operations.standard.held import HeldGroups
from tsd.operations.windows import DataWindow


def numbers(outcome):
    """The numbers in each window that left."""
    assert outcome.error is None
    return [[record["n"] for record in each.records] for each in outcome.records]


def contents(records):
    """(key, numbers) of each window."""
    return [(w.get_metadata("_key"), [record["n"] for record in w.records]) for w in records]


def n(*values):
    return [{"n": value} for value in values]


# --- what is held ---------------------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.sampled_from("abc"), st.integers(1, 3)),
        st.tuples(st.just("pop"), st.sampled_from("abc"), st.just(0)),
    ),
    max_size=8,
)


def play(held, model, moves, slice_number):
    for move, key, count in moves:
        if move == "extend":
            records = [Record(n=len(model.get(key, ())) + i) for i in range(count)]
            held.extend(key, records, slice_number)
            model[key] = (*model.get(key, ()), *(record["n"] for record in records))
        elif key in model:
            assert [record["n"] for record in held.pop(key)] == list(model.pop(key))


@given(st.lists(st.tuples(steps, steps), max_size=5))
def test_held_groups_come_back_as_they_were_at_the_mark(slices):
    """Against a dictionary of tuples, which is copied whole."""
    held, model = HeldGroups(), {}
    for number, (failing, working) in enumerate(slices):
        mark, before = held.mark(), dict(model)
        for _ in range(2):
            play(held, model, failing, number)
            held.roll_back(mark)
            model = dict(before)
            assert (held.keys(), held.count) == (list(model), sum(map(len, model.values())))
        play(held, model, working, number)
    assert {key: [record["n"] for record in held.pop(key)] for key in held.keys()} == {  # noqa: SIM118 - no dict
        key: list(values) for key, values in model.items()
    }


def test_only_the_newest_mark_can_be_rolled_back_to():
    held = HeldGroups()
    old = held.mark()
    held.mark()

    with pytest.raises(ValueError, match="newest mark"):
        held.roll_back(old)


# --- accumulate -----------------------------------------------------------------------------------


def test_accumulate_emits_one_window_after_so_many_empty_slices_in_a_row():
    """connectors.md point 15."""
    pipeline = make_pipeline({"_op": "accumulate", "empty_after": 2})

    inputs = [n(1, 2), [], n(3), [], [], [], n(4), [], []]

    assert [numbers(run(pipeline, *each)) for each in inputs] == [
        [],
        [],
        [],
        [],
        [[1, 2, 3]],
        [],
        [],
        [],
        [[4]],
    ]


def test_accumulate_waits_for_ten_by_default_and_may_not_wait_at_all():
    """connectors.md point 15."""
    patient, hasty = make_pipeline("accumulate"), make_pipeline({"_op": "accumulate", "empty_after": 0})
    run(patient, *n(1))

    assert [numbers(run(patient)) for _ in range(10)] == [[]] * 9 + [[[1]]]
    assert numbers(run(hasty, *n(1, 2))) == [[1, 2]]


@pytest.mark.parametrize("op", ["accumulate", "accumulate_by_key", "window"])
@pytest.mark.parametrize("says", [True, False])
def test_what_is_held_leaves_with_a_flush_whatever_the_job_says(op, says):
    """Not as connectors.md point 15: what was read is never lost."""
    more = {} if op == "window" else {"flush_data_on_shutdown": says}
    fields = {"window": {"time_field": "n"}, "accumulate_by_key": {"key_field": "k"}}.get(op, {})
    pipeline = make_pipeline({"_op": op, **fields, **more})
    run(pipeline, {"n": 10_000, "k": "a"}, {"n": 20_000, "k": "a"})

    assert numbers(pipeline.flush()) == [[10_000, 20_000]]
    pipeline.operations[1].shutdown()


@pytest.mark.parametrize("flaw", ["retry", "failure"])
def test_a_failed_attempt_puts_back_what_was_held_and_how_many_slices_were_empty(flaw):
    retries = 2 if flaw == "retry" else 0
    pipeline = make_pipeline(
        {"_op": "accumulate", "empty_after": 2}, {"_op": "break", "times": 99}, max_retries=retries
    )
    breaks = pipeline.operations[2]

    def attempt(*records, fails):
        breaks.attempts = 99 - fails
        return run(pipeline, *records)

    attempt(*n(1), fails=0)
    attempt(fails=0)
    outcome = attempt(fails=1)
    if flaw == "failure":
        assert outcome.state == "error"
        outcome = attempt(fails=0)

    assert numbers(outcome) == [[1]]


def test_operations_behind_can_not_change_what_is_put_back():
    pipeline = make_pipeline(
        {"_op": "accumulate", "empty_after": 1},
        "data_window_to_array",
        {"_op": "derive", "fields": {"n": "n + 1"}},
        {"_op": "break", "times": 99},
    )
    pipeline.operations[4].attempts = 99
    run(pipeline, *n(1))
    pipeline.operations[4].attempts = 97

    outcome = run(pipeline)

    assert (outcome.retry_count, outcome.records) == (2, [{"n": 2}])


def test_a_processor_says_since_which_slice_it_holds_records():
    pipeline = make_pipeline(
        {"_op": "accumulate_by_key", "key_field": "k", "empty_after": 1, "batch_return": True}
    )
    operation = pipeline.operations[1]
    for record in ({"k": "a"}, {"k": "b"}, {"k": "a"}):
        run(pipeline, record)
    pipeline.operations[1].config.batch_size = 1

    seen = [operation.held_since()]
    for _ in range(2):
        run(pipeline)
        seen.append(operation.held_since())

    assert seen == [1, 2, None]


# --- accumulate_by_key ----------------------------------------------------------------------------


def keyed(key, number):
    return {"n": number, "meta": {"_key": key}}


def test_accumulate_by_key_emits_one_window_for_each_key():
    """connectors.md point 16."""
    pipeline = make_pipeline("with_metadata", {"_op": "accumulate_by_key", "empty_after": 1})
    run(pipeline, keyed("b", 1), keyed("a", 2))
    run(pipeline, keyed("b", 3), keyed(7, 4))

    assert contents(run(pipeline).records) == [("b", [1, 3]), ("a", [2]), (7, [4])]


def test_portions_have_whole_windows_until_they_are_large_enough():
    """connectors.md point 16."""
    options = {"key_field": "k", "empty_after": 2, "batch_return": True, "batch_size": 3}
    pipeline = make_pipeline({"_op": "accumulate_by_key", **options})
    keys = "aabbccccd"
    run(pipeline, *({"n": i, "k": key} for i, key in enumerate(keys)))

    assert [numbers(run(pipeline)) for _ in range(5)] == [[], [[0, 1], [2, 3]], [[4, 5, 6, 7]], [[8]], []]


def test_a_flush_releases_all_portions_at_once():
    options = {"key_field": "k", "batch_return": True, "batch_size": 1}
    pipeline = make_pipeline({"_op": "accumulate_by_key", **options})
    run(pipeline, *({"n": i, "k": i} for i in range(5)))

    assert numbers(pipeline.flush()) == [[i] for i in range(5)]


def test_a_record_without_key_is_rejected_and_not_lost_silently():
    seen = []
    spec = {"_op": "accumulate_by_key", "key_field": "k", "empty_after": 0, "_dead_letter_action": "none"}
    pipeline = make_pipeline(spec, context=OpContext(on_reject=seen.append, sleep=lambda _s: None))

    outcome = run(pipeline, {"n": 1}, {"n": 2, "k": None}, {"n": 3, "k": 0})

    assert numbers(outcome) == [[3]]
    assert [rejection.record["n"] for rejection in seen] == [1, 2]


# --- window ---------------------------------------------------------------------------------------


def timed(*slices, flush=True, **options):
    """What leaves with each slice of times, and with the flush."""
    pipeline = make_pipeline({"_op": "window", "time_field": "n", "window_length": 1000, **options})
    left = [numbers(run(pipeline, *n(*times))) for times in slices]
    return [*left, numbers(pipeline.flush())] if flush else left


def test_a_tumbling_window_has_both_its_ends():
    """connectors.md point 17."""
    assert timed([1000, 2000, 2001]) == [[[1000, 2000]], [[2001]]]


def test_windows_go_on_over_slices():
    assert timed([1000], [1500, 2000], [], [2001], [5000]) == [
        [],
        [],
        [],
        [[1000, 1500, 2000]],
        [[2001]],
        [[5000]],
    ]


def test_times_may_be_written_in_any_form():
    pipeline = make_pipeline({"_op": "window", "window_length": 1000})
    times = ["1970-01-01T00:00:10Z", 10_500, "1970-01-01T01:00:11+01:00", "11001"]

    outcome = run(pipeline, *({"@timestamp": each, "n": i} for i, each in enumerate(times)))

    assert numbers(outcome) == [[0, 1, 2]]


def test_a_late_record_joins_its_window_while_that_is_open_else_begins_one():
    assert timed([1000], [1900], [1200], [2500], [1300]) == [
        [],
        [],
        [],
        [[1000, 1900, 1200]],
        [[1300]],
        [[2500]],
    ]


def test_a_window_never_waits_for_times_to_fall():
    """The watermark only grows: an old time does not keep newer windows open."""
    assert timed([5000], [10], [6001]) == [[], [[10]], [[5000]], [[6001]]]


def test_sliding_windows_begin_an_interval_apart_and_overlap():
    options = {"window_type": "sliding", "sliding_window_interval": 500}

    assert timed([1000, 1400, 1500, 2000, 2001], [2600], **options) == [
        [[1000, 1400, 1500, 2000]],
        [[1500, 2000, 2001]],
        [[2000, 2001, 2600], [2600]],
    ]


def test_sliding_windows_with_equal_start_keep_all_records():
    """connectors.md point 17."""
    pipeline = make_pipeline(
        {"_op": "window", "time_field": "t", "window_length": 1000, "window_type": "sliding"}
    )
    run(pipeline, {"n": 1, "t": 5}, {"n": 2, "t": 5}, {"n": 3, "t": 5})

    assert numbers(pipeline.flush()) == [[1, 2, 3], [2, 3], [3]]


def test_a_record_in_several_windows_may_be_changed_in_one():
    pipeline = make_pipeline(
        {"_op": "window", "time_field": "n", "window_type": "sliding"},
        "data_window_to_array",
        {"_op": "derive", "fields": {"n": "n + 1"}},
    )
    run(pipeline, *n(1, 2))

    assert pipeline.flush().records == n(2, 3, 3)


def expiring(monkeypatch, expiration):
    clock = [50.0]
    monkeypatch.setattr(window.time, "monotonic", lambda: clock[0])
    spec = {"_op": "window", "time_field": "n", "event_window_expiration": expiration}
    pipeline = make_pipeline(spec)
    run(pipeline, *n(1, 2))
    return pipeline, clock


def test_event_windows_expire_on_empty_slices_only(monkeypatch):
    pipeline, clock = expiring(monkeypatch, 2000)
    clock[0] += 1.9
    assert numbers(run(pipeline)) == []
    clock[0] += 5
    assert numbers(run(pipeline, *n(3))) == []
    assert numbers(run(pipeline)) == []
    clock[0] += 2

    assert numbers(run(pipeline)) == [[1, 2, 3]]


def test_an_expiration_of_zero_is_never(monkeypatch):
    """connectors.md point 18."""
    pipeline, clock = expiring(monkeypatch, 0)
    clock[0] += 1e9

    assert numbers(run(pipeline)) == []


def test_clock_windows_close_by_the_clock_also_without_records(monkeypatch):
    clock = [50.0]
    monkeypatch.setattr(window.time, "monotonic", lambda: clock[0])
    pipeline = make_pipeline({"_op": "window", "window_time_setting": "clock", "window_length": 1000})
    left = []
    for seconds, records in [(0, n(1)), (1.0, n(2)), (0.001, []), (0, n(3)), (1.5, n(4))]:
        clock[0] += seconds
        left.append(numbers(run(pipeline, *records)))

    assert left == [[], [], [[1, 2]], [], [[3]]]


def test_a_record_without_time_is_rejected():
    seen = []
    spec = {"_op": "window", "_dead_letter_action": "none"}
    pipeline = make_pipeline(spec, context=OpContext(on_reject=seen.append, sleep=lambda _s: None))

    run(pipeline, {"n": 1}, {"n": 2, "@timestamp": "soon"}, {"n": 3, "@timestamp": 5})

    assert numbers(pipeline.flush()) == [[3]]
    assert [rejection.record["n"] for rejection in seen] == [1, 2]


@given(st.lists(st.lists(st.integers(0, 5000), max_size=6), min_size=1, max_size=8), st.integers(1, 2000))
def test_each_record_is_in_one_tumbling_window_that_is_no_longer_than_allowed(slices, length):
    left = timed(*slices, window_length=length)
    windows = [each for group in left for each in group]

    assert Counter(time for each in windows for time in each) == Counter(t for times in slices for t in times)
    assert all(max(each) - min(each) <= length for each in windows)
    for seen, emitted in zip(range(1, len(slices) + 1), left, strict=False):
        newest = max((t for times in slices[:seen] for t in times), default=0)
        assert all(newest - min(each) > length for each in emitted)


@given(st.lists(st.integers(0, 300), max_size=12).map(sorted), st.integers(1, 100), st.data())
def test_sliding_windows_hold_what_a_search_over_all_times_finds(times, length, data):
    """For times in order: every window [s, s + length] holds exactly the times in it."""
    interval = data.draw(st.integers(1, length))
    starts = []
    for time in times:
        if not starts or time - starts[-1] >= interval:
            starts.append(time)

    left = timed(times, window_length=length, window_type="sliding", sliding_window_interval=interval)

    expected = [[time for time in times if start <= time <= start + length] for start in starts]
    assert [each for group in left for each in group] == expected


@given(st.lists(st.lists(st.integers(0, 300), max_size=4), min_size=1, max_size=6), st.data())
def test_failed_attempts_leave_no_trace_in_windows(slices, data):
    spec = {"_op": "window", "time_field": "n", "window_length": 50}
    pipeline = make_pipeline(spec, {"_op": "break", "times": 99})
    left = []
    for times in slices:
        pipeline.operations[2].attempts = 99 - data.draw(st.integers(0, 2))
        left.append(numbers(run(pipeline, *n(*times))))

    assert [*left, numbers(pipeline.flush())] == timed(*slices, window_length=50)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"window_length": 0}, "window_length"),
        ({"window_type": "hopping"}, "window_type"),
        ({"window_time_setting": "sun"}, "window_time_setting"),
        ({"event_window_expiration": -1}, "event_window_expiration"),
        ({"window_type": "sliding", "sliding_window_interval": 30_001}, "sliding_window_interval"),
    ],
    ids=range(5),
)
def test_window_options_that_can_not_work_are_refused(options, field):
    with pytest.raises(JobInvalid) as info:
        checked("list_reader", {"_op": "window", **options})

    assert [path for path, _ in info.value.faults] == [f"operations[1].{field}"]


# --- group_by and back ----------------------------------------------------------------------------


def test_group_by_makes_a_window_of_each_value_and_one_of_those_without():
    """connectors.md point 19."""
    values = ["b", 1, True, "b", 1.0, None, [1], {"x": 1}, "true", [1], ""]
    records = [{"n": i, "v": value} for i, value in enumerate(values)]

    outcome = run(make_pipeline({"_op": "group_by", "field": "v"}), *records, {"n": 11})

    assert contents(outcome.records) == [
        ("b", [0, 3]),
        (1, [1, 4]),
        ("true", [2]),
        (None, [5, 11]),
        ("[1]", [6, 9]),
        ('{"x":1}', [7]),
        ("true", [8]),
        (None, [10]),
    ]


def test_group_by_splits_windows_and_leaves_them_apart():
    """connectors.md point 19."""
    pipeline = make_pipeline({"_op": "group_by", "field": "a"}, {"_op": "group_by", "field": "b.c"})
    records = [{"n": i, "a": a, "b": {"c": c}} for i, (a, c) in enumerate(["xp", "yp", "xq", "xp", "yp"])]

    assert contents(run(pipeline, *records).records) == [("p", [0, 3]), ("q", [2]), ("p", [1, 4])]


def test_a_part_of_a_window_has_its_metadata_and_another_key():
    whole = DataWindow.of([Record(n=1), Record(n=2)], "whole")
    whole.set_metadata("origin", "here")

    part = whole.part(whole.records[:1], "part")

    assert (part.get_key(), part.get_metadata("origin"), part.records) == ("part", "here", [{"n": 1}])


@given(st.lists(st.integers(0, 3)))
def test_data_window_to_array_inverts_group_by(keys):
    """connectors.md point 19."""
    records = [{"n": i, "k": key} for i, key in enumerate(keys)]

    outcome = run(make_pipeline({"_op": "group_by", "field": "k"}, "data_window_to_array"), *records)

    order = list(dict.fromkeys(keys))
    assert outcome.records == sorted(records, key=lambda record: order.index(record["k"]))


def test_records_beside_windows_pass_through_data_window_to_array():
    to_array = make_pipeline("data_window_to_array").operations[1]

    assert to_array.on_batch([Record(n=1), DataWindow.of([Record(n=2)]), Record(n=3)]) == n(1, 2, 3)

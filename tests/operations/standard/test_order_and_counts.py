"""sort, count_unique, count_by_field: connectors.md point 20, and section 5 rank 22."""

import json
import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support.pipelines import make_pipeline, run
from tsd.operations.context import OpContext
from tsd.operations.record import Record
from tsd.operations.windows import DataWindow

values = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, math.nan])
    | st.text("ab", max_size=2)
)


def sorted_numbers(records, **options):
    return [
        record["n"]
        for record in run(make_pipeline({"_op": "sort", "field": "v", **options}), *records).records
    ]


def column(*values):
    return [{"n": i, "v": value} for i, value in enumerate(values)]


def test_sort_is_stable_and_puts_missing_values_last_in_both_orders():
    """connectors.md point 20."""
    records = [*column(3, None, 1, 3, 2, 1), {"n": 6}]

    assert sorted_numbers(records) == [2, 5, 4, 0, 3, 1, 6]
    assert sorted_numbers(records, order="desc") == [0, 3, 4, 2, 5, 1, 6]


def test_values_of_different_types_have_an_order():
    records = column({"a": 1}, "b", 2, True, [1], False, 1.5, "a", {"A": 1})

    assert sorted_numbers(records) == [5, 3, 6, 2, 7, 1, 4, 8, 0]


def test_sort_works_per_window_and_by_path():
    """connectors.md point 20."""
    pipeline = make_pipeline({"_op": "group_by", "field": "k"}, {"_op": "sort", "field": "a.b"})
    records = [{"k": k, "a": {"b": b}} for k, b in ["x3", "y2", "x1", "y1"]]

    windows = run(pipeline, *records).records

    assert [[record["a"]["b"] for record in each.records] for each in windows] == [["1", "3"], ["1", "2"]]


@given(st.lists(values), st.booleans())
def test_sort_agrees_with_comparing_two_at_a_time(column_values, is_descending):
    """Against an insertion sort by pairs."""

    def absent(value):
        return value is None or value != value  # noqa: PLR0124 - NaN

    def compare(left, right):
        if absent(left) or absent(right):
            return absent(left) - absent(right)
        ranks = [0 if isinstance(v, bool) else 2 if isinstance(v, str) else 1 for v in (left, right)]
        if ranks[0] == ranks[1]:
            ranks = [left, right]
        sign = (ranks[0] > ranks[1]) - (ranks[0] < ranks[1])
        return -sign if is_descending else sign

    order = []
    for i, value in enumerate(column_values):
        place = next((p for p, j in enumerate(order) if compare(value, column_values[j]) < 0), len(order))
        order.insert(place, i)

    operation = make_pipeline(
        {"_op": "sort", "field": "v", "order": "desc" if is_descending else "asc"}
    ).operations[1]
    assert [record["n"] for record in operation.on_batch(Record.make_many(column(*column_values)))] == order


# --- count_unique ---------------------------------------------------------------------------------


def test_count_unique_makes_a_record_of_each_key():
    pipeline = make_pipeline("with_metadata", {"_op": "count_unique", "preserve_fields": ["a", "b.c"]})
    records = [
        {"meta": {"_key": "x"}, "a": 1, "b": {"c": 5}},
        {"meta": {"_key": "y"}},
        {"meta": {"_key": "x"}, "a": 2, "b": {"c": None}},
        {"meta": {"_key": "x"}, "a": None},
    ]

    counted = run(pipeline, *records).records

    assert counted == [{"count": 3, "_key": "x", "a": 2, "b.c": 5}, {"count": 1, "_key": "y"}]
    assert [record.get_key() for record in counted] == ["x", "y"]


@given(st.lists(st.sampled_from(["a", "b", 1, 2.5, True, 0, False]), max_size=20))
def test_count_unique_counts_as_a_counter_of_json_texts_does(column_values):
    operation = make_pipeline({"_op": "count_unique", "field": "v", "is_meta_field": False}).operations[1]

    counted = operation.on_batch(Record.make_many(column(*column_values)))

    assert {json.dumps(r["_key"]): r["count"] for r in counted} == Counter(map(json.dumps, column_values))


def test_count_unique_rejects_what_has_nothing_to_count():
    seen = []
    spec = {"_op": "count_unique", "_dead_letter_action": "none"}
    pipeline = make_pipeline(spec, context=OpContext(on_reject=seen.append, sleep=lambda _s: None))

    assert run(pipeline, {"n": 1}).records == []
    assert [rejection.record for rejection in seen] == [{"n": 1}]


# --- count_by_field -------------------------------------------------------------------------------


def counts_of(pipeline):
    with capture_logs() as lines:
        pipeline.shutdown()
    return [line["counts"] for line in lines if line["event"] == "field.counted"]


def test_count_by_field_passes_records_on_and_tells_its_counts_at_the_end():
    pipeline = make_pipeline({"_op": "count_by_field", "field": "a.v", "collect_metrics": True})
    slices = [["x", 1, "x"], [None, "1", True]]

    for each in slices:
        assert run(pipeline, *({"a": {"v": v}} for v in each)).records == [{"a": {"v": v}} for v in each]
    run(pipeline, {"n": 1})

    assert counts_of(pipeline) == [{'"x"': 2, "1": 1, "null": 2, '"1"': 1, "true": 1}]


def test_count_by_field_counts_nothing_unless_asked():
    pipeline = make_pipeline({"_op": "count_by_field", "field": "v"})
    run(pipeline, {"v": 1})

    assert counts_of(pipeline) == []


def test_failed_slices_and_repeated_attempts_are_not_counted():
    spec = {"_op": "count_by_field", "field": "v", "collect_metrics": True}
    pipeline = make_pipeline(spec, {"_op": "break", "times": 5}, max_retries=2)

    states = [run(pipeline, {"v": value}).state for value in "abc"]

    assert states == ["error", "completed", "completed"]
    assert counts_of(pipeline) == [{'"b"': 1, '"c"': 1}]


def test_endless_values_are_counted_together():
    pipeline = make_pipeline({"_op": "count_by_field", "field": "v", "collect_metrics": True})
    run(pipeline, *({"v": i} for i in range(1500)))
    run(pipeline, {"v": 3}, {"v": 1499})

    (counts,) = counts_of(pipeline)

    assert (len(counts), counts["others"], counts["3"]) == (1001, 501, 2)


def test_a_window_is_one_record_to_those_that_do_not_look_into_windows():
    operation = make_pipeline({"_op": "count_unique"}).operations[1]
    windows = [DataWindow.of([Record(n=1), Record(n=2)], key) for key in "aab"]

    assert [(r["_key"], r["count"]) for r in operation.on_batch(windows)] == [("a", 2), ("b", 1)]

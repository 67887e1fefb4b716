"""Operations that let records through or not: connectors.md points 9 to 14."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import checked, make_pipeline, run
from tsd.errors import JobInvalid
from tsd.operations import DataWindow, Record


def out(op, *records, order=1):
    outcome = run(make_pipeline(op), *records, order=order)
    assert outcome.error is None, outcome.error
    return outcome.records


def near(**delta):
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def test_the_action_says_plainly_what_invert_means():
    records = [{"a": 1}, {"a": 2}]
    op = {"_op": "filter", "field": "a", "value": 1}
    assert out(op | {"action": "drop"}, *records) == out(op, *records) == [{"a": 2}]
    assert out(op | {"action": "keep"}, *records) == out(op | {"invert": True}, *records) == [{"a": 1}]
    with pytest.raises(JobInvalid, match="contradict"):
        checked("list_reader", op | {"action": "drop", "invert": True})


def test_dates_between_the_limits_stay_and_others_go():
    """Point 12."""
    op = {"_op": "filter_by_date", "date_field": "at.time", "limit_past": "2 days", "limit_future": "1week"}
    stay = [near(days=-1), near(days=6), int(datetime.now(UTC).timestamp() * 1000)]
    go = [near(days=-3), near(days=8), "yesterday", None, "now", [1], {}]
    records = [{"at": {"time": value}} for value in (*stay, *go)] + [{}]
    assert [record["at"]["time"] for record in out(op, *records)] == stay


def test_both_limits_count():
    op = {"_op": "filter_by_date", "limit_past": "2020-01-01", "limit_future": "2020-01-02T00:00:00Z"}
    days = ["2019-12-31T23:59:59.999Z", "2020-01-01", "2020-01-02", "2020-01-02T00:00:00.001Z"]
    assert [record["date"] for record in out(op, *[{"date": day} for day in days])] == days[1:3]


@pytest.mark.parametrize(
    "options",
    [
        {"limit_past": "now"},
        {"limit_past": "5 parsecs"},
        {"limit_past": "2021-01-01", "limit_future": "2020-01-01"},
    ],
)
def test_limits_that_can_not_be_are_refused(options):
    with pytest.raises(JobInvalid, match="limit_past"):
        checked("list_reader", {"_op": "filter_by_date", **options})


def test_records_with_unknown_fields_go():
    op = {"_op": "filter_by_unknown_fields", "known_fields": ["a", "b"]}
    records = [{"a": 1}, {"a": 1, "c": None}, {}, {"a": 1, "b": 2}]
    assert out(op, *records) == [{"a": 1}, {}, {"a": 1, "b": 2}]
    assert out(op | {"invert": True}, *records) == [{"a": 1, "c": None}]
    with pytest.raises(JobInvalid, match="known_fields"):
        checked("list_reader", op | {"known_fields": []})


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from(["", "0", "a"])
    | st.just([1])
    | st.just({"x": 1})
)


@given(st.lists(st.fixed_dictionaries({}, optional={"id": VALUES, "n": st.integers(0, 9)}), max_size=12))
def test_the_first_of_each_key_stays_and_all_without_one(records):
    """Point 13; against a search through all that came before."""
    expected = []
    for position, record in enumerate(records):
        value = record.get("id")
        twins = [
            other
            for other in records[:position]
            if other.get("id") == value and type(other.get("id")) is type(value)
        ]
        if value is None or not twins:
            expected.append(record)
    assert out({"_op": "dedupe", "field": "id"}, *records) == expected


def test_dedupe_takes_the_key_of_the_record_when_no_field_is_named():
    pipeline = make_pipeline({"_op": "set_key", "field": "id"}, "dedupe")
    assert run(pipeline, {"id": 1, "n": 1}, {"id": 2}, {"id": 1, "n": 2}).records == [
        {"id": 1, "n": 1},
        {"id": 2},
    ]


def test_the_survivor_gets_the_preferred_time():
    op = {
        "_op": "dedupe",
        "field": "id",
        "adjust_time": [
            {"field": "seen.first", "preference": "oldest"},
            {"field": "last", "preference": "newest"},
        ],
    }
    records = [
        {"id": 1, "seen": {"first": "2020-01-02"}, "last": "2020-01-02"},
        {"id": 1, "seen": {"first": "2020-01-01"}, "last": "soon"},
        {"id": 1, "seen": {"first": "2020-01-03"}, "last": 1577923200001},
    ]
    assert out(op, *records) == [{"id": 1, "seen": {"first": "2020-01-01"}, "last": 1577923200001}]
    with pytest.raises(JobInvalid, match="adjust_time"):
        checked("list_reader", op | {"adjust_time": [{"field": "a", "preference": "latest"}]})


def test_each_window_is_deduped_by_itself():
    pipeline = make_pipeline({"_op": "dedupe", "field": "id"})
    windows = [DataWindow.of([Record(id=1), Record(id=1)]), DataWindow.of([Record(id=1), Record(id=2)])]
    assert [window.records for window in pipeline._steps[0](list(windows))] == [
        [{"id": 1}],
        [{"id": 1}, {"id": 2}],
    ]


@given(st.integers(0, 40), st.floats(0, 100))
def test_an_exact_sample_has_that_share_rounded_down(count, percent):
    """Point 14."""
    records = [{"n": n} for n in range(count)]
    kept = [record["n"] for record in out({"_op": "sample_exact", "percent_kept": percent}, *records)]
    assert len(kept) == int(count * percent / 100)
    assert len(set(kept)) == len(kept)
    assert set(kept) <= set(range(count))


def test_a_random_sample_keeps_about_its_share_and_fractions_count():
    """Point 14."""
    records = [{"n": n} for n in range(20_000)]

    def count(percent):
        return len(out({"_op": "sample_random", "probability_to_keep": percent}, *records))

    assert (count(0), count(100)) == (0, 20_000)
    assert 9_500 < count(50) < 10_500
    assert 50 < count(0.5) < 160


@pytest.mark.parametrize(
    "op", [{"_op": "sample_random", "probability_to_keep": 50}, {"_op": "sample_exact", "percent_kept": 50}]
)
def test_a_slice_that_is_run_again_keeps_the_same_sample(op):
    records = [{"n": n} for n in range(100)]
    first = out(op, *records)
    assert out(op, *records) == first
    assert out(op, *records, order=2) != first
    assert out(op | {"seed": 1}, *records) != first


@pytest.mark.parametrize("value", [-1, 101, "fifty", "102", None])
def test_shares_are_percent(value):
    for op, name in (("sample_exact", "percent_kept"), ("sample_random", "probability_to_keep")):
        with pytest.raises(JobInvalid, match=name):
            checked("list_reader", {"_op": op, name: value})

"""Operations that edit fields, parse, or print: connectors.md points 26 to 28."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import checked, make_pipeline, run
from tsd.errors import JobInvalid, NonRetryable
from tsd.operations import DataWindow, Record
from tsd.operations.standard.paths import MISSING, drop_path, get_path, set_path


def out(*ops):
    def of(*records):
        outcome = run(make_pipeline(*ops), *records)
        assert outcome.error is None, outcome.error
        return outcome.records

    return of


def raw(*texts, **metadata):
    """Records that hold raw bytes."""
    records = []
    for text in texts:
        record = Record()
        if text is not None:
            record.set_raw_data(text)
        record.metadata.update(metadata)
        records.append(record)
    return records


def parsed(pipeline, *records):
    return pipeline._steps[0](list(records))


def test_raw_bytes_become_the_record_and_metadata_stays():
    """Point 26."""
    (record,) = parsed(make_pipeline("json_parser"), *raw('{"a": {"b": [1]}}', _key="k", topic="t"))
    assert record == {"a": {"b": [1]}}
    assert (record.get_key(), record.get_metadata("topic")) == ("k", "t")


@pytest.mark.parametrize("bad", ["{", "[1]", "7", "null", b"\xff", "", None])
def test_what_is_no_object_is_dropped_and_logged_by_default(bad):
    """Point 26; also where there are no bytes at all."""
    assert parsed(make_pipeline("json_parser"), *raw(bad, '{"a": 1}')) == [{"a": 1}]
    pipeline = make_pipeline({"_op": "json_parser", "_dead_letter_action": "throw"})
    with pytest.raises(ValueError):
        parsed(pipeline, *raw(bad, '{"a": 1}'))


@pytest.mark.parametrize("action", ["log", "none", "throw"])
def test_a_slice_without_any_raw_bytes_is_not_dropped_record_by_record(action):
    """A reader that keeps none would lose all of its records."""
    pipeline = make_pipeline({"_op": "json_parser", "_dead_letter_action": action})
    with pytest.raises(NonRetryable, match=r'"_encoding": "raw"'):
        parsed(pipeline, *raw(None, None))
    assert parsed(pipeline) == []


def test_a_field_is_set_when_another_has_one_of_the_values():
    op = {
        "_op": "set_field_conditional",
        "conditional_field": "a.kind",
        "conditional_values": [1, "x", None],
        "set_field": "b.c",
        "value": {"n": [1]},
    }
    records = [{"a": {"kind": kind}} for kind in (1, "x", None, True, 1.5, "y")] + [{"b": {"c": "old"}}]
    results = out(op)(*records)
    assert ["b" in record for record in results] == [True, True, True, False, False, False, True]
    assert results[-1]["b"]["c"] == {"n": [1]}
    results[0]["b"]["c"]["n"].append(2)
    assert results[1]["b"]["c"] == {"n": [1]}


def test_without_a_value_it_is_set_to_null():
    op = {
        "_op": "set_field_conditional",
        "conditional_field": "a",
        "conditional_values": [1],
        "set_field": "b",
    }
    assert out(op)({"a": 1}) == [{"a": 1, "b": None}]


def test_a_field_is_dropped_when_its_text_matches():
    op = {"_op": "drop_field_conditional", "field": "a.b", "regex": "/^x/i"}
    records = [{"a": {"b": value}} for value in ("Xy", "y", 5, None)] + [{}]
    assert out(op)(*copy.deepcopy(records)) == [{"a": {}}, *records[1:]]
    assert out(op | {"invert": True})(*copy.deepcopy(records)) == [
        records[0],
        {"a": {}},
        {"a": {}},
        {"a": {}},
        {},
    ]


def test_a_field_is_dropped_when_a_validator_says_so():
    op = {"_op": "drop_field_conditional", "field": "a", "validation_method": "isIP"}
    assert out(op)({"a": "10.0.0.1"}, {"a": "ten"}) == [{}, {"a": "ten"}]
    length = {"_op": "drop_field_conditional", "field": "a", "validation_method": "isLength"}
    assert out(length | {"validation_method_args": {"max": 2}})({"a": "xy"}, {"a": "xyz"}) == [
        {},
        {"a": "xyz"},
    ]


@pytest.mark.parametrize(
    "options",
    [{}, {"regex": "a", "validation_method": "isIP"}, {"regex": "/(/"}, {"validation_method": "isNice"}],
)
def test_a_condition_is_one_test_that_exists(options):
    with pytest.raises(JobInvalid):
        checked("list_reader", {"_op": "drop_field_conditional", "field": "a", **options})


def test_empty_fields_go_and_numbers_booleans_and_dates_stay():
    """Point 28."""
    op = out("remove_empty_fields")
    stay = {"zero": 0, "no": False, "nulls": [None], "inside": {"a": None}, "text": " x "}
    assert op({**stay, "null": None, "text2": "", "blank": " \t", "list": [], "object": {}}) == [stay]
    pipeline = make_pipeline("remove_empty_fields")
    from datetime import UTC, datetime  # noqa: PLC0415 - the one use

    dated = Record(at=datetime(2020, 1, 1, tzinfo=UTC))
    assert parsed(pipeline, dated) == [{"at": datetime(2020, 1, 1, tzinfo=UTC)}]


def test_metadata_is_copied_into_a_field():
    pipeline = make_pipeline(
        {"_op": "set_key", "field": "id"}, {"_op": "copy_metadata_field", "destination": "meta.key"}
    )
    assert run(pipeline, {"id": 5}).records == [{"id": 5, "meta": {"key": 5}}]
    assert out({"_op": "copy_metadata_field", "destination": "a", "meta_key": "nothing"})({}) == [{}]


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ({"_op": "set_field", "field": "b", "value": 1}, {"a": 1, "b": 1}),
        ({"_op": "copy_field", "source": "a", "destination": "c"}, {"a": 1, "c": 1}),
        ({"_op": "drop_field", "field": "a"}, {}),
        ({"_op": "drop_field_conditional", "field": "a", "validation_method": "isNumber"}, {}),
    ],
)
def test_fields_are_edited_inside_windows(op, expected):
    window = DataWindow.of([Record(a=1)])
    (result,) = parsed(make_pipeline(op), window)
    assert result is window
    assert window.records == [expected]


NAMES = st.sampled_from(["a", "b", "0", "1", "3"])
TREES = st.recursive(
    st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, TREES, max_size=3), st.lists(NAMES, min_size=1, max_size=4))
def test_what_was_set_at_a_path_is_found_there_and_the_rest_stays(record, steps):
    path = ".".join(steps)
    before = copy.deepcopy(record)
    try:
        set_path(record, path, "new")
    except ValueError:  # an array is in the way, and nothing changes
        assert record == before
        return
    assert get_path(record, path) == "new"
    for other in before:
        if other != steps[0]:
            assert record[other] == before[other]


def test_a_path_leads_through_lists():
    record = {"a": [{"b": 1}, 2]}
    set_path(record, "a.0.b", 5)
    set_path(record, "a.1", 6)
    assert record == {"a": [{"b": 5}, 6]}
    set_path(record, "a.2.b", 7)
    assert record == {"a": [{"b": 5}, 6, {"b": 7}]}
    assert get_path(record, "a.2.c") is MISSING
    drop_path(record, "a.1")
    assert record == {"a": [{"b": 5}, {"b": 7}]}


@pytest.mark.parametrize("path", ["a.7", "a.7.b", "a.b", "a.-1", "a.01", "a.0.c.x", "a.1.\u0661"])
def test_an_array_in_the_way_is_never_overwritten(path):
    record = {"a": [{"b": 1, "c": [1]}, []]}
    before = copy.deepcopy(record)
    with pytest.raises(ValueError, match="is an array and has no place"):
        set_path(record, path, 1)
    assert record == before


def test_stdout_prints_a_record_a_line_and_passes_all_on(capsys):
    records = [{"n": n, "text": "é\n"} for n in range(5)]
    assert out({"_op": "stdout", "limit": 2})(*records) == records
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == records[:2]
    out("stdout")(*records)
    assert len(capsys.readouterr().out.splitlines()) == 5
    out("stdout")()
    assert capsys.readouterr().out == ""


def test_debug_routes_counts_them(capsys):
    ops = ({"_op": "field_router", "fields": ["a"], "include_field_names": False}, "debug_routes")
    assert len(out(*ops)({"a": 1}, {"a": 2}, {"a": 1})) == 3
    assert capsys.readouterr().out == "1: 2, 2: 1\n"
    out("debug_routes")({})
    assert capsys.readouterr().out == "null: 1\n"

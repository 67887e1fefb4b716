"""Standard operations: operations.md points 62 to 64, connectors.md points 1 to 5, 9 to 11, 27."""

import contextlib
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import REGISTRY, checked, make_pipeline, make_runner, run
from tsd.errors import JobInvalid
from tsd.operations.context import OpContext
from tsd.operations.pipeline import Pipeline
from tsd.operations.slice import Slice
from tsd.operations.slicers import RecoveryEntry
from tsd.operations.slicing import SlicerRunner
from tsd.operations.standard import collect
from tsd.operations.standard.expressions import ExpressionError, compile_expression


def requests_of(reader, *operations, recovery=(), room=50, apis=(), **fields):
    runner = SlicerRunner(
        checked(reader, *(operations or ["noop"]), apis=apis, **fields), REGISTRY, OpContext()
    )
    runner.initialize(recovery)
    made = runner.make(room, 60)
    return [json.loads(text) for _, texts in made.slices for text in texts], made


def generated(request, **options):
    job = checked({"_op": "data_generator", **options}, "noop")
    pipeline = Pipeline(job, REGISTRY, OpContext(sleep=lambda _s: None), keep_records=True)
    pipeline.initialize()
    outcome = pipeline.run(Slice.of(request))
    assert outcome.error is None
    return outcome.records


def faults_of(*operations, **fields):
    with pytest.raises(JobInvalid) as info:
        checked(*operations, **fields)
    return [path for path, _ in info.value.faults]


# --- data_generator -----------------------------------------------------------------------------


def test_records_are_counted_out_in_slices_of_the_last_operations_size():
    """connectors.md point 1."""
    requests, made = requests_of({"_op": "data_generator", "size": 10}, {"_op": "noop", "size": 4})

    assert requests == [
        {"count": 4, "processed": 4},
        {"count": 4, "processed": 8},
        {"count": 2, "processed": 10},
    ]
    assert made.is_finished


def test_without_a_size_downstream_one_slice_holds_all():
    """connectors.md point 1."""
    assert requests_of({"_op": "data_generator", "size": 10})[0] == [{"count": 10, "processed": 10}]


def test_the_size_comes_from_the_api_that_the_last_operation_names():
    """connectors.md point 3."""
    apis = [{"_name": "lines:a", "size": 9}, {"_name": "lines:b", "size": 4}]

    requests, _ = requests_of(
        {"_op": "data_generator", "size": 8}, {"_op": "noop", "_api_name": "lines:b"}, apis=apis
    )

    assert [request["count"] for request in requests] == [4, 4]


def test_a_persistent_generator_never_ends_and_queues_by_workers():
    """connectors.md point 2."""
    runner = make_runner({"_op": "data_generator", "size": 10}, lifecycle="persistent")
    runner.execution_stats({"workers": {"connected": 4}})

    assert (runner.make(25, 60).count, runner.make(25, 60).is_finished) == (25, False)
    assert runner.max_queue_length() == 12


def test_a_generator_goes_on_from_what_was_processed():
    """connectors.md point 2."""
    entry = RecoveryEntry(slicer_id=0, last_slice={"count": 4, "processed": 8}, slicer_order=2)

    requests, _ = requests_of(
        {"_op": "data_generator", "size": 10}, {"_op": "noop", "size": 4}, recovery=[entry]
    )

    assert requests == [{"count": 2, "processed": 10}]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"stress_test": True, "delay": 1}, "stress_test"),
        ({"id_start_key": "a"}, "id_start_key"),
        ({"set_id": "hexadecimal", "id_start_key": "[a"}, "id_start_key"),
        ({"start": "2024-01-02", "end": "2024-01-01"}, "start"),
        ({"start": "whenever"}, "start"),
        ({"format": "usDate"}, "format"),
        ({"size": 0}, "size"),
        ({"delay": -1}, "delay"),
        ({"set_id": "uuid"}, "set_id"),
    ],
    ids=range(9),
)
def test_generator_options_that_can_not_work_are_refused(options, field):
    """connectors.md point 4."""
    assert faults_of({"_op": "data_generator", **options}, "noop") == [f"operations[0].{field}"]


def test_the_default_fields():
    (record,) = generated({"count": 1, "processed": 1})

    assert list(record) == ["ip", "userAgent", "url", "uuid", "created", "ipv6", "location", "bytes"]
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", record["uuid"]
    )
    assert 7850 <= record["bytes"] <= 5_642_867
    datetime.fromisoformat(record["created"])


@pytest.mark.parametrize("form", ["isoBetween", "utcBetween"])
def test_dates_between_stay_between(form):
    """connectors.md point 5."""
    low, high = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
    options = {"format": form, "start": low.isoformat(), "end": high.isoformat(), "date_key": "when"}

    records = generated({"count": 200, "processed": 200}, **options)

    moments = [datetime.fromisoformat(record["when"]) for record in records]
    assert all(low <= moment <= high for moment in moments)
    assert len(set(moments)) > 100
    assert "created" not in records[0]


@pytest.mark.parametrize("form", ["utcDate", "utcBetween"])
def test_utc_dates_end_in_z(form):
    """connectors.md point 5."""
    assert generated({"count": 1, "processed": 1}, format=form)[0]["created"].endswith("Z")


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"set_id": "base64url"}, "[A-Za-z0-9_-]{9}"),
        ({"set_id": "hexadecimal"}, "[0-9a-f]{8}"),
        ({"set_id": "HEXADECIMAL", "id_start_key": "[ab]x[0-3]"}, "[ab]x[0-3][0-9A-F]{5}"),
    ],
    ids=range(3),
)
def test_ids_have_their_form(options, pattern):
    records = generated({"count": 50, "processed": 50}, **options)

    assert all(re.fullmatch(pattern, record["id"]) for record in records)
    assert len({record["id"] for record in records}) > 40


def test_a_seed_makes_the_same_records_each_time_and_others_in_each_slice():
    first, again, other = (
        generated({"count": 3, "processed": n}, seed=5, format="utcBetween", end=1_700_000_000_000)
        for n in (3, 3, 6)
    )

    assert first == again
    assert first != other


def test_a_stress_test_repeats_one_record_that_may_be_changed_alone():
    records = generated({"count": 3, "processed": 3}, stress_test=True)
    records[0]["ip"] = "changed"

    assert records[1] == records[2] != records[0]


def test_a_schema_describes_other_fields(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(
        '{"n": {"$int": [1, 3]}, "w": {"$choice": ["a"]}, "i": {"$field": "ip"}, "k": 5, "f": {"$float": [0, 1]}}'
    )

    (record,) = generated(
        {"count": 1, "processed": 1}, json_schema=str(path), set_id="hexadecimal", date_key="d"
    )

    assert set(record) == {"n", "w", "i", "k", "f", "d", "id"}
    assert (record["n"] in {1, 2, 3}, record["w"], record["k"], 0 <= record["f"] <= 1) == (True, "a", 5, True)


# --- noop, delay, test-reader, collect ----------------------------------------------------------


def test_noop_passes_its_input_on():
    """Point 62."""
    assert run(make_pipeline("noop"), {"a": 1}).records == [{"a": 1}]


def test_delay_waits():
    """Point 62."""
    waits = []
    run(make_pipeline({"_op": "delay", "ms": "2 seconds"}, context=OpContext(sleep=waits.append)), {"a": 1})

    assert waits == [2.0]


def test_a_flush_that_releases_nothing_is_not_delayed_and_one_that_does_is():
    waits = []
    chain = make_pipeline(
        {"_op": "delay", "ms": 1000}, {"_op": "collect", "size": 5, "wait": 60_000}, {"_op": "delay", "ms": 2000},
        context=OpContext(sleep=waits.append),
    )  # fmt: skip
    run(chain, {"a": 1})
    assert waits == [1.0, 2.0]

    chain.flush()
    assert waits == [1.0, 2.0, 2.0]


def test_the_test_reader_hands_out_its_canned_slices_and_records():
    requests, made = requests_of("test-reader")
    pipeline = make_pipeline("noop", reader="test-reader")

    assert (len(requests), made.is_finished) == (10, True)
    assert len(pipeline.run(Slice.of(requests[0])).records) == 187


def test_a_persistent_test_reader_cycles_over_all_its_slices(tmp_path):
    """Point 64."""
    (tmp_path / "slices").write_text('[{"n":1},{"n":2},{"n":3}]')
    spec = {"_op": "test-reader", "slicer_data_file_path": str(tmp_path / "slices")}

    requests, made = requests_of(spec, lifecycle="persistent", room=7)

    assert [request["n"] for request in requests] == [1, 2, 3, 1, 2, 3, 1]
    assert not made.is_finished


def test_the_test_reader_passes_a_list_through(tmp_path):
    """Point 64."""
    pipeline = make_pipeline("noop", reader={"_op": "test-reader", "passthrough_slice": True})
    (tmp_path / "records").write_text('[{"r":1}]')
    canned = make_pipeline(
        "noop", reader={"_op": "test-reader", "fetcher_data_file_path": str(tmp_path / "records")}
    )

    assert pipeline.run(Slice.of([{"a": 1}, {"a": 2}])).records == [{"a": 1}, {"a": 2}]
    assert canned.run(Slice.of({})).records == [{"r": 1}]


def collecting(monkeypatch, *more, size=3, **fields):
    clock = [1000.0]
    monkeypatch.setattr(collect.time, "monotonic", lambda: clock[0])
    pipeline = make_pipeline({"_op": "collect", "size": size, "wait": "10 seconds"}, *more, **fields)
    return pipeline, clock


def numbers(outcome):
    return [record["n"] for record in outcome.records]


def test_collect_releases_when_there_are_enough(monkeypatch):
    """Point 63."""
    pipeline, _ = collecting(monkeypatch)

    assert numbers(run(pipeline, {"n": 1}, {"n": 2})) == []
    assert numbers(run(pipeline, {"n": 3}, {"n": 4})) == [1, 2, 3]
    assert numbers(run(pipeline, *({"n": n} for n in range(5, 12)))) == [4, 5, 6, 7, 8, 9]


def test_collect_releases_by_the_age_of_the_oldest_and_leftovers_too(monkeypatch):
    """Point 63."""
    pipeline, clock = collecting(monkeypatch)
    run(pipeline, {"n": 1}, {"n": 2}, {"n": 3}, {"n": 4})
    clock[0] += 9.9
    assert numbers(run(pipeline, {"n": 5})) == []
    clock[0] += 0.2

    assert numbers(run(pipeline)) == [4, 5]
    clock[0] += 9.9
    assert numbers(run(pipeline, {"n": 6})) == []


def test_collect_releases_all_on_flush_and_shuts_down_clean(monkeypatch):
    """Point 63."""
    pipeline, _ = collecting(monkeypatch)
    run(pipeline, {"n": 1}, {"n": 2})

    assert numbers(pipeline.flush()) == [1, 2]
    assert numbers(run(pipeline, {"n": 3})) == []
    pipeline.flush()
    pipeline.operations[1].shutdown()


def test_a_retry_neither_loses_nor_doubles_what_was_collected_before(monkeypatch):
    pipeline, _ = collecting(monkeypatch, {"_op": "break", "times": 99})
    pipeline.operations[2].attempts = 99
    run(pipeline, {"n": 1}, {"n": 2})
    pipeline.operations[2].attempts = 97

    outcome = run(pipeline, {"n": 3}, {"n": 4})

    assert (outcome.retry_count, numbers(outcome)) == (2, [1, 2, 3])
    assert numbers(pipeline.flush()) == [4]


def test_a_failed_slice_leaves_only_what_earlier_slices_brought(monkeypatch):
    pipeline, _ = collecting(monkeypatch, {"_op": "break", "times": 99}, max_retries=0)
    pipeline.operations[2].attempts = 99
    run(pipeline, {"n": 1}, {"n": 2})
    pipeline.operations[2].attempts = 98
    assert run(pipeline, {"n": 3}).state == "error"

    assert numbers(run(pipeline, {"n": 4})) == [1, 2, 4]


# --- filters ------------------------------------------------------------------------------------


def kept(records, **options):
    return run(make_pipeline({"_op": "filter", **options}), *records).records


def test_filter_removes_what_matches_and_invert_keeps_it():
    """connectors.md point 9."""
    records = [{"a": 1}, {"a": 2}, {"a": True}, {"a": "1"}, {}, {"a": None}]

    assert kept(records, field="a", value=1) == [{"a": 2}, {"a": True}, {"a": "1"}, {}, {"a": None}]
    assert kept(records, field="a", value=1, invert=True) == [{"a": 1}]
    assert kept(records, field="a", value=[1, 2, True]) == [{"a": "1"}, {}, {"a": None}]
    assert kept(records, field="a", value=None) == [{"a": 1}, {"a": 2}, {"a": True}, {"a": "1"}]


def test_any_field_and_any_element_counts():
    """connectors.md point 9."""
    records = [{"a": {"b": "x"}}, {"c": ["y", "x"]}, {"a.b": "x"}, {"a": [{"b": "x"}]}, {"a": {"b": "z"}}]

    assert kept(records, field=["a.b", "c"], value="x") == [{"a": [{"b": "x"}]}, {"a": {"b": "z"}}]
    assert kept([{"c": ["y", "x"]}, {"c": "x"}], field="c", value="x", array_index=0) == [
        {"c": ["y", "x"]},
        {"c": "x"},
    ]
    assert kept([{"c": ["y", "x"]}], field="c", value="x", array_index=1) == []


def test_an_exception_rule_keeps_what_would_be_removed():
    """connectors.md point 9."""
    rules = [{"field": "b", "value": "keep"}, {"field": "b", "value": "/^K/", "regex": True}]
    records = [{"a": 1, "b": "keep"}, {"a": 1, "b": "Keep"}, {"a": 1, "b": "no"}]

    assert kept(records, field="a", value=1, exception_rules=rules) == records[:2]


@pytest.mark.parametrize("flags", ["", "g", "gy", "i"])
def test_a_regex_gives_the_same_answer_for_equal_values(flags):
    """connectors.md point 10."""
    records = [{"a": "abc"}] * 4

    assert kept(records, field="a", value=f"/(?<x>b)c/{flags}", filter_by="regex") == []


def test_the_other_kinds_of_filter():
    ips = [{"a": "10.1.2.3"}, {"a": "11.0.0.1"}, {"a": "no"}, {}]
    mails = [{"a": "x@y.org"}, {"a": "x"}, {"a": 5}]

    assert kept(ips, field="a", value="10.0.0.0/8", filter_by="ip_range") == ips[1:]
    assert kept(mails, field="a", filter_by="validator", validation_function="isEmail") == mails[1:]
    assert kept([{"a": "xx"}, {"a": "xxx"}], field="a", value=4, filter_by="size") == [{"a": "xx"}]
    assert kept([{"a": "x", "b": 1}, {"c": True}], field="doc", value=8, filter_by="size") == [{"c": True}]


def test_removed_records_may_be_rejected():
    seen = []
    spec = {
        "_op": "filter",
        "field": "a",
        "value": 1,
        "filtered_to_dead_letter_queue": True,
        "_dead_letter_action": "none",
    }
    pipeline = make_pipeline(spec, context=OpContext(on_reject=seen.append))

    run(pipeline, {"a": 1}, {"a": 2})

    assert [rejection.record for rejection in seen] == [{"a": 1}]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"field": "a", "value": "/(/", "filter_by": "regex"}, "value"),
        ({"field": "a", "value": "10.0.0.0/99", "filter_by": "ip_range"}, "value"),
        ({"field": "a", "value": "x", "filter_by": "size"}, "value"),
        ({"field": "a", "filter_by": "validator"}, "validation_function"),
        ({"field": "a", "filter_by": "validator", "validation_function": "isNice"}, "validation_function"),
        ({"field": "a", "filter_by": "magic"}, "filter_by"),
        ({"field": []}, "field"),
        ({}, "field"),
        ({"field": "a", "exception_rules": [{"value": 1}]}, "exception_rules"),
        ({"field": "a", "exception_rules": [{"field": "b", "value": "(", "regex": True}]}, "exception_rules"),
    ],
    ids=range(10),
)
def test_filter_options_that_can_not_work_are_refused(options, field):
    assert faults_of("list_reader", {"_op": "filter", **options}) == [f"operations[1].{field}"]


@pytest.mark.parametrize("word", ["OR", "or", "Or"])
def test_required_fields_may_be_any_in_any_case(word):
    """connectors.md point 11."""
    records = [{"a": 1, "b": 0}, {"a": 1}, {"a": None}]
    spec = {"_op": "filter_by_required_fields", "required_fields": ["a", "b"]}

    assert run(make_pipeline(spec), *records).records == records[:1]
    assert run(make_pipeline({**spec, "filter_type": word}), *records).records == records[:2]
    assert run(make_pipeline({**spec, "invert": True}), *records).records == records[1:]


# --- fields and expressions ---------------------------------------------------------------------


def test_set_field_leaves_an_existing_key_unless_told():
    """connectors.md point 27."""
    spec = {"_op": "set_field", "field": "a.b", "value": [1]}
    records = [{}, {"a": {"b": None}}, {"a": 5}]

    plain = run(make_pipeline(spec), *records).records
    over = run(make_pipeline({**spec, "overwrite": True}), *records).records

    assert plain == [{"a": {"b": [1]}}, {"a": {"b": None}}, {"a": {"b": [1]}}]
    assert over == [{"a": {"b": [1]}}] * 3
    assert plain[0]["a"]["b"] is not plain[2]["a"]["b"]


def test_copy_field_copies_what_is_there_and_deletes_nested_sources():
    """connectors.md point 27."""
    spec = {"_op": "copy_field", "source": "a.b", "destination": "c", "delete_source": True}

    records = run(make_pipeline(spec), {"a": {"b": 1}}, {"a": {"b": None, "x": 1}}, {}).records

    assert records == [{"a": {}, "c": 1}, {"a": {"x": 1}}, {}]


def test_drop_field_drops_nested_fields_too():
    """connectors.md point 27."""
    pipeline = make_pipeline({"_op": "drop_field", "field": ["a.b", "c", "gone"]})

    assert run(pipeline, {"a": {"b": 1, "x": 2}, "c": 3}, {"a.b": 1}).records == [{"a": {"x": 2}}, {}]


def test_set_field_needs_a_value():
    assert faults_of("list_reader", {"_op": "set_field", "field": "a", "value": None}) == [
        "operations[1].value"
    ]


def derived(expression, **record):
    return compile_expression(expression).evaluate(record)


@pytest.mark.parametrize(
    ("expression", "record", "expected"),
    [
        ("round(float(distance) / float(air_time) * 60, 1)", {"distance": "1400", "air_time": "227"}, 370.0),
        ("int(a) > 15 and not int(b) == 2", {"a": "16", "b": "3"}, True),
        ("-a ** 2 + b % 3 - c // 2", {"a": 3, "b": 5, "c": 5}, -9),
        ("min(a, b, max(1, abs(c)))", {"a": 5, "b": 6, "c": -4}, 4),
        ('origin + "-" + dest', {"origin": "EWR", "dest": "IAH"}, "EWR-IAH"),
        ('field("dep time") + 1', {"dep time": 1}, 2),
        ('origin in "EWR LGA"', {"origin": "LGA"}, True),
        ("1 < a <= 3", {"a": 3}, True),
        ("len(str(a))", {"a": 123}, 3),
        ("true and not false", {}, True),
        ("a or b", {"a": 0, "b": 7}, 7),
        ("len + 1", {"len": 1}, 2),
        ("record + f0 + g_len", {"record": 1, "f0": 2, "g_len": 3}, 6),
        ("a + 1", {"a": None}, None),
        ("a + 1", {"a": ""}, None),
        ("a + b", {"a": 1}, None),
        ("a + 1", {"a": 0}, 1),
    ],
    ids=range(17),
)
def test_expressions(expression, record, expected):
    assert derived(expression, **record) == expected


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("a +", "column 4: invalid syntax"),
        ("", "column 1: "),
        ("a.b", "column 1: a.b is nothing"),
        ("1 + a[0]", "column 5: "),
        ("open('x')", "column 1: open"),
        ("__import__('os')", "column 1: "),
        ("(lambda: 1)()", "column 1: "),
        ("[x for x in a]", "column 1: "),
        ("f'{a}'", "column 1: "),
        ("a if b else c", "column 1: "),
        ("(a := 1)", "column 2: "),
        ("round(a, ndigits=1)", "column 1: "),
        ("min(*a)", "column 5: "),
        ("9 ** 9 ** 9", "column 1: an exponent"),
        ("2 ** a", "column 1: an exponent"),
        ("'x' * 99", "column 1: text can be added"),
        ("'%d' % a", "column 1: text can be added"),
        ("a | b", "column 1: "),
        ("a is b", "column 1: "),
        ("field(a)", "column 1: field takes"),
        ("b'x'", "column 1: "),
        ("1j", "column 1: "),
        ("a; b", "column 2: "),
        ("(" * 500, "column"),
        ("1" * 2000, "is longer"),
    ],
    ids=range(25),
)
def test_anything_else_is_no_expression_and_says_where(expression, fault):
    with pytest.raises(ExpressionError, match=f"^{re.escape(fault)}"):
        compile_expression(expression)


@given(st.text("ab1+-*/%()<>=,.'\" ifnotrdelx[]", max_size=30))
def test_no_text_gets_more_than_an_expression_error(text):
    try:
        made = compile_expression(text)
    except ExpressionError:
        return
    with contextlib.suppress(ArithmeticError, TypeError, ValueError):
        made.evaluate({"a": 1, "b": "x"})


def test_derive_sets_fields_in_order_and_rejects_what_it_can_not_compute():
    seen = []
    spec = {"_op": "derive", "fields": {"b": "int(a) * 2", "c": "b + 1"}, "_dead_letter_action": "none"}
    pipeline = make_pipeline(spec, context=OpContext(on_reject=seen.append))

    outcome = run(pipeline, {"a": "1"}, {"a": "x"}, {})

    assert outcome.records == [{"a": "1", "b": 2, "c": 3}, {"b": None, "c": None}]
    assert [rejection.record["a"] for rejection in seen] == ["x"]


def test_a_bad_expression_is_a_fault_of_the_job_with_its_place():
    with pytest.raises(JobInvalid) as info:
        checked("list_reader", {"_op": "derive", "fields": {"ok": "a", "bad": "a +"}})

    assert info.value.faults == (("operations[1].fields.bad", "column 4: invalid syntax"),)

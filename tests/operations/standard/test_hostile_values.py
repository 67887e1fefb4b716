"""One bad record takes nothing with it: every processor that comes with tsd, with values that hurt.

Each hostile record stands between two good ones. Whatever becomes of it, the good ones come out as they do
without it, nothing fails, and a record is either there or rejected once.
"""

import copy
import json
import math

import pytest

from tests.support.pipelines import make_pipeline, run
from tsd.operations import DataWindow, Record
from tsd.operations.base import Kind
from tsd.operations.context import OpContext
from tsd.operations.registry import Registry
from tsd.operations.standard.paths import drop_path


def nested(depth, kind=list):
    value = 1
    for _ in range(depth):
        value = [value] if kind is list else {"v": value}
    return value


HOSTILE = {
    "deep list": nested(900),
    "deeper list": nested(5000),
    "deep object": nested(900, dict),
    "deeper object": nested(5000, dict),
    "deep floats": nested(400, dict) | {"f": 1.5},
    "huge integer": 10**4000,
    "huger integer": 10**5000,
    "large float": 1e308,
    "negative": -1,
    "lone surrogate": "a\ud800",
    "lone surrogate within": {"a": ["\udfff"]},
    "microseconds": 1706695200000000,
    "nanoseconds": 1706695200000000000,
    "digits of a date": "20240131",
    "digits of no date": "20241399",
    "too many digits": "9" * 5000,
    "date out of range": "10000-01-01",
    "first moment": "0001-01-01T00:00:00+14:00",
    "now": "now",
    "null character": "a\0b",
    "empty": "",
    "dots": "..",
    "slash": "/",
    "true": True,
    "null": None,
    "list": [1, [2, None], True],
    "object": {"x": 1, "": 2},
    "empty name": {"": {"": ""}},
    "long text": "x" * 100_000,
    "not a number text": "nan",
    "underscores": "1_000",
}
GOOD = {"v": 5, "when": "2024-01-31T10:00:00Z", "name": "n", "id": "k1", "nest": {"v": 1}, "tags": ["a"]}
GOOD_TOO = {"v": 7, "when": "2024-01-31T10:00:01Z", "name": "m", "id": "k2", "nest": {"v": 2}, "tags": ["b"]}

V = {"field": "v"}
OPTIONS = {
    "accumulate": [{}],
    "accumulate_by_key": [{"key_field": "v"}],
    "add_key": [
        {},
        {"style": "teraslice"},
        {"key_fields": ["v"], "truncate_location": ["v"]},
        {"key_name": "v.x"},
        {"key_fields": ["v.x"], "invert_key_fields": True},
    ],
    "add_short_id": [V, {"field": "v.x"}, {"field": "tags.5"}],
    "collect": [{"size": 2, "wait": 1000}],
    "copy_field": [
        {"source": "v", "destination": "w"},
        {"source": "v", "destination": "v.x"},
        {"source": "name", "destination": "v.x", "delete_source": True},
    ],
    "copy_metadata_field": [{"destination": "v.x"}],
    "count_by_field": [V | {"collect_metrics": True}],
    "count_unique": [{"field": "v", "is_meta_field": False, "preserve_fields": ["name", "v.x"]}],
    "date_router": [V, V | {"epoch_unit": "us", "resolution": "weekly"}, V | {"resolution": "weekly_epoch"}],
    "debug_routes": [{}],
    "dedupe": [V, V | {"adjust_time": [{"field": "v", "preference": "newest"}]}],
    "delay": [{"ms": 0}],
    "derive": [
        {"fields": {"w": text}}
        for text in (
            "v * 3", "v + v", "v + 'x'", "v ** 16", "v / 0", "v // v", "v % 7", "-v", "float(v)", "int(v)", "str(v)",
            "len(v)", "round(v, 2)", "abs(v)", "min(v, 1)", "v < 3", "v == v", "1 in v", "not v", "v or 1",
            "float(v) / v * 1e308", 'field("v.x") + 1',
        )
    ]
    + [{"fields": {"a": "v", "b": "a + a", "v.x": "1"}}, {"fields": {"v": "v + 1", "w": "v * v * v"}}],
    "drop_field": [{"field": ["v.x", "v.0", "v"]}],
    "drop_field_conditional": [
        V | {"regex": "/^.*$/"},
        V | {"validation_method": "isISO8601"},
        V | {"validation_method": "isGeoPoint"},
        V | {"validation_method": "inNumberRange", "validation_args": {"min": 0}},
        V | {"validation_method": "equals", "validation_args": {"value": {"a": [1]}}},
        V | {"validation_method": "isISDN"},
    ],
    "data_window_to_array": [{}],
    "field_router": [{"fields": ["v", "nest.v"]}],
    "filter": [
        V | {"value": [1, "a", None, {"x": 1}, [1]]},
        V | {"value": "/a.*b/i", "filter_by": "regex"},
        V | {"value": 10, "filter_by": "size"},
        {"field": "doc", "value": 10, "filter_by": "size"},
        V | {"value": "10.0.0.0/8", "filter_by": "ip_range"},
        V | {"filter_by": "validator", "validation_function": "isNumber"},
    ],
    "filter_by_date": [{"date_field": "v", "limit_past": "2000-01-01"}],
    "filter_by_required_fields": [{"required_fields": ["v", "v.x"]}],
    "filter_by_unknown_fields": [{"known_fields": ["v.x.y", "when", "name", "id", "nest.v", "tags"]}],
    "group_by": [V],
    "hash_router": [{"fields": ["v"], "partitions": 5}],
    "json_parser": [{}],
    "key_router": [{}],
    "noop": [{}],
    "remove_empty_fields": [{}],
    "remove_key": [{}],
    "sample_exact": [{"percent_kept": 100}],
    "sample_random": [{"probability_to_keep": 100}],
    "script": [{"command": "cat"}, {"command": "cat", "protocol": "lines"}],
    "set_field": [{"field": "w", "value": {"a": 1}}, {"field": "v.x.y", "value": 1}, {"field": "tags.9", "value": 1}],
    "set_field_conditional": [
        {"conditional_field": "v", "conditional_values": [None, {"x": [1]}], "set_field": "v.x", "value": 1}
    ],
    "set_key": [V],
    "sort": [V, V | {"order": "desc"}],
    "stdout": [{}],
    "window": [{"time_field": "v"}, {"time_field": "v", "epoch_unit": "ns"}],
}  # fmt: skip
ELSEWHERE = {"routed_sender": "test_routed_sender.py", "file_exporter": "test_file_odd_data.py"}
PROCESSORS = [each.name for each in Registry().definitions() if each.kind is Kind.PROCESSOR]
CASES = [
    pytest.param({"_op": name, **options}, id=f"{name}-{number}")
    for name in sorted(OPTIONS)
    for number, options in enumerate(OPTIONS[name])
]


def test_every_processor_is_tried():
    assert set(OPTIONS) | set(ELSEWHERE) == set(PROCESSORS)


def result_of(op, *values):
    """The records that come out, windows taken apart, and those that are rejected."""
    seen = []
    pipeline = make_pipeline(
        {**op, "_dead_letter_action": "none"}, context=OpContext(on_reject=seen.append), max_retries=0
    )
    records = []
    for value in values:
        record = Record(copied(value))
        record.set_raw_data(shown(value).encode("utf-8", "surrogatepass"))
        if isinstance(value.get("id"), str):
            record.set_key(value["id"])
        records.append(record)
    operation = pipeline.operations[1]
    flush = getattr(operation, "on_flush_start", None)
    if flush is not None:
        flush()
    results = flat(operation.on_batch(records))
    if op["_op"] == "add_short_id":  # another one for each
        for record in results:
            drop_path(record, op["field"])
    return results, seen


def copied(value):
    """A copy of a record that is not stopped by depth."""
    return {
        name: each if name == "v" and is_deep(each) else copy.deepcopy(each) for name, each in value.items()
    }


def is_deep(value):
    for _ in range(50):
        if isinstance(value, list) and value:
            value = value[0]
        elif isinstance(value, dict) and "v" in value:
            value = value["v"]
        else:
            return False
    return True


def flat(records):
    found = []
    for record in records:
        found += flat(record.records) if isinstance(record, DataWindow) else [record]
    return found


@pytest.mark.parametrize("op", CASES)
def test_a_hostile_value_takes_no_neighbour_with_it(op, capsys):
    del capsys  # debug_routes and stdout print
    alone, rejected_alone = result_of(op, GOOD, GOOD_TOO)
    for name, value in HOSTILE.items():
        bad = {**GOOD, "v": value, "id": "bad", "name": "bad"}

        together, rejected = result_of(op, GOOD, bad, GOOD_TOO)

        assert [shown(each) for each in good(together)] == [shown(each) for each in good(alone)], name
        assert len([each for each in rejected if not is_bad(each.record)]) == len(rejected_alone), name
        check_rejects([each for each in rejected if is_bad(each.record)], together, value)
        assert not any(has_nan(each) for each in together), name


def check_rejects(rejects, results, value):
    """A bad record is rejected once, as it came, and then it is not among the results."""
    assert len(rejects) <= 1
    for reject in rejects:
        assert not any(map(is_bad, results))
        assert str(reject.error).strip()
        assert "None" not in str(reject.error)
        assert reject.record.get("v") is value or shown(reject.record["v"]) == shown(value)


def is_bad(record):
    return "bad" in (record.get("name"), record.get("id"))


def good(records):
    return sorted((each for each in records if not is_bad(each)), key=shown)


def shown(value):
    try:
        return json.dumps(value, sort_keys=True)
    except (RecursionError, ValueError):
        return "deep or huge"


def has_nan(value):
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, float) and not math.isfinite(each):
            return True
        stack += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return False


@pytest.mark.parametrize("name", HOSTILE)
def test_a_slice_with_it_is_completed(name):
    """Through the pipeline, with the operations that make groups and keys behind one another."""
    ops = [
        {"_op": "derive", "fields": {"w": "float(v) * 2"}},
        {"_op": "sort", "field": "v"},
        {"_op": "add_key", "key_fields": ["v"]},
        {"_op": "dedupe", "field": "v"},
        {"_op": "group_by", "field": "v"},
        {"_op": "data_window_to_array"},
    ]
    pipeline = make_pipeline(*[op | {"_dead_letter_action": "none"} for op in ops], max_retries=0)
    good_records = [{**GOOD, "v": "5"}, {**GOOD_TOO, "v": "7"}]
    bad = {**GOOD, "v": HOSTILE[name], "name": "bad"}
    outcome = run(pipeline, good_records[0], good_records[1])
    assert outcome.state == "completed"
    batch = [Record(good_records[0]), Record(bad), Record(good_records[1])]
    for operation in pipeline.operations[1:]:
        batch = operation.on_batch(batch)
    names = [record["name"] for record in batch if record["name"] != "bad"]
    assert sorted(names) == ["m", "n"]


@pytest.mark.parametrize(
    "text", [b'{"v":' + b"[" * 5000 + b"]" * 5000 + b"}", b"[" * 99999, b'{"v":1e999}', b"\xff", b""]
)
def test_bytes_that_no_parser_takes_are_rejected_alone(text):
    records = [Record(), Record(), Record()]
    for record, raw in zip(records, (b'{"a":1}', text, b'{"a":2}'), strict=True):
        record.set_raw_data(raw)
    seen = []
    op = {"_op": "json_parser", "_dead_letter_action": "none"}
    pipeline = make_pipeline(op, context=OpContext(on_reject=seen.append))

    assert pipeline.operations[1].on_batch(records) == [{"a": 1}, {"a": 2}]
    assert [each.record for each in seen] == [records[1]]

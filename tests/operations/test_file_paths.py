"""Names in the options of files are paths, as everywhere: docs/operations.md, Paths."""

import csv
import io
import json

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import make_pipeline, run
from tsd.operations.context import OpContext
from tsd.operations.record import Record
from tsd.operations.standard.file_encode import NO_VALUE, group_by_folder
from tsd.operations.standard.output_fields import Chosen

NESTED = {"id": 1, "user": {"name": "x", "age": 2, "tags": ["p", "q"]}, "a.b": 3, "a": {"b": 4}}


def written(tmp_path, *records, **options):
    """Content by folder, and what was rejected."""
    seen = []
    op = {"_op": "file_exporter", "path": str(tmp_path / "out"), "_dead_letter_action": "none", **options}
    outcome = run(
        make_pipeline(op, context=OpContext(sleep=lambda _s: None, on_reject=seen.append)), *records
    )
    assert outcome.error is None, outcome.error
    root = tmp_path / "out"
    files = [path for path in root.rglob("*") if path.is_file() and ".tsd" not in path.parts]
    return {str(path.parent.relative_to(root)): path.read_text() for path in files}, seen


def test_partitions_are_made_by_path(tmp_path):
    records = [{"u": {"c": "DE"}, "n": 1}, {"u": {"c": "FR"}, "n": 2}, {"u": {"c": None}}, {"u.c": "IT"}, {}]
    files, _ = written(tmp_path, *records, format="ldjson", partition_by=["u.c"])
    assert sorted(files) == ["u.c=DE", "u.c=FR", "u.c=IT", f"u.c={NO_VALUE}"]
    assert files["u.c=DE"] == '{"u":{"c":"DE"},"n":1}\n'


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["id", "user.name"], {"id": 1, "user": {"name": "x"}}),
        (["user.name", "user.age"], {"user": {"name": "x", "age": 2}}),
        (["a.b"], {"a.b": 3}),
        (["user.tags.1"], {"user": {"tags": ["q"]}}),
        (["user.tags"], {"user": {"tags": ["p", "q"]}}),
        (["user", "user.name"], {"user": {"name": "x"}}),
        (["user", "name"], {"user": {"name": "x"}}),
        (["id", "user.nowhere", "user.name.x"], {"id": 1}),
    ],
)
@pytest.mark.parametrize("form", ["ldjson", "json"])
def test_chosen_fields_of_json_are_paths(tmp_path, fields, expected, form):
    files, rejected = written(tmp_path, NESTED, format=form, fields=fields)
    assert json.loads(files["."]) == ([expected] if form == "json" else expected)
    assert rejected == []


def test_columns_are_paths(tmp_path):
    fields = ["id", "user.name", "a.b", "user.tags.0", "nowhere"]
    files, _ = written(tmp_path, NESTED, {"id": 2}, format="csv", fields=fields, include_header=True)
    rows = list(csv.reader(io.StringIO(files["."])))
    assert rows == [fields, ["1", "x", "3", "p", ""], ["2", "", "", "", ""]]


@pytest.mark.parametrize("form", ["ldjson", "json", "csv", "tsv"])
@pytest.mark.parametrize("fields", [["a"], ["a", "x.y"]])
def test_a_record_with_none_of_the_fields_is_rejected_and_not_written_as_nothing(tmp_path, form, fields):
    files, rejected = written(tmp_path, {"a": 1}, {"b": 2}, {"a": None}, format=form, fields=fields)
    assert [each.record for each in rejected] == [{"b": 2}]
    assert "none of the fields that are to be written: a" in str(rejected[0].error)
    assert files["."].count("1") == 1


def test_a_name_that_is_nowhere_is_told_once(tmp_path):
    with structlog.testing.capture_logs() as logged:
        log = structlog.get_logger()
        context = OpContext(sleep=lambda _s: None, log=log)
        options = {"partition_by": ["contry"], "fields": ["inner", "nope.x"]}
        op = {"_op": "file_exporter", "path": str(tmp_path), "format": "ldjson", **options}
        pipeline = make_pipeline(op, context=context)
        record = {"a": {"inner": 1}, "country": "DE"}
        run(pipeline, record, order=1)
        run(pipeline, record, order=2)
    told = [(each["option"], each["field"]) for each in logged if each["event"] == "field.missing"]
    assert told == [("fields", "nope.x"), ("partition_by", "contry")]


NAMES = st.sampled_from(["a", "b", "a.b", "0"])
TREES = st.recursive(
    st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(NAMES, TREES, max_size=3), st.sampled_from(["a.b", "a.0", "b.a.b"]))
def test_a_path_chooses_what_stands_there_and_nothing_else(record, path):
    """Against a walk that goes down step by step."""

    def walk(value, steps):
        if not steps:
            return value
        if isinstance(value, dict) and steps[0] in value:
            return walk(value[steps[0]], steps[1:])
        if isinstance(value, list) and steps[0].isdigit() and int(steps[0]) < len(value):
            return walk(value[int(steps[0])], steps[1:])
        return None

    found = record[path] if path in record else walk(record, path.split("."))
    if found is None:
        if record:
            with pytest.raises(ValueError, match="none of the fields"):
                Chosen([path])(record)
        return
    chosen = Chosen([path])(record)
    leaves = json.dumps(found)
    assert leaves in json.dumps(chosen)
    assert list(chosen) == ([path] if path in record else [path.split(".")[0]])
    groups = group_by_folder([Record(record)], [path])
    assert len(groups) == 1
    assert NO_VALUE not in next(iter(groups))

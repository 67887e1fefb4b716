"""Options of files that are as in Teraslice, or stand in for what tsd does by itself."""

import pytest

from tests.support.pipelines import make_pipeline, run
from tsd.errors import JobInvalid
from tsd.operations.config import load
from tsd.operations.standard.file_exporter import FileExporterConfig


def content_of(tmp_path, record, **options):
    """What is written for a record."""
    spec = {"_op": "file_exporter", "path": str(tmp_path), "durable": False, **options}
    assert run(make_pipeline(spec), record).state == "completed"
    (path,) = (path for path in tmp_path.iterdir() if path.is_file())
    return path.read_bytes()


@pytest.mark.parametrize("form", ["ldjson", "json"])
def test_fields_are_the_only_keys_of_json_at_any_depth_and_in_their_order(tmp_path, form):
    record = {"x": 0, "b": {"a": 1, "x": 2}, "a": [{"b": 3, "x": 4}, 5, [{"x": 6}]]}
    expected = b'{"a":[{"b":3},5,[{}]],"b":{"a":1}}'

    content = content_of(tmp_path, record, format=form, fields=["a", "b"])
    assert content == (expected if form == "ldjson" else b"[" + expected + b"]") + b"\n"


def test_fields_of_a_table_name_its_columns_and_leave_values_whole(tmp_path):
    record = {"x": 0, "b": {"a": 1, "x": 2}}

    content = content_of(tmp_path, record, format="csv", fields=["a", "b"], include_header=True)
    assert content == b'a,b\n,"{""a"":1,""x"":2}"\n'


@pytest.mark.parametrize(
    ("value", "message"), [(0, "greater than zero"), (-1, "greater"), ("five", "number")]
)
def test_concurrency_is_checked_and_has_no_effect(tmp_path, value, message):
    assert content_of(tmp_path, {"a": 1}, format="ldjson", concurrency=3) == b'{"a":1}\n'
    with pytest.raises(JobInvalid, match=f"concurrency: .*{message}"):
        load(
            FileExporterConfig,
            {"_op": "file_exporter", "path": "x", "format": "ldjson", "concurrency": value},
        )


def test_a_writer_takes_no_path_with_a_tilde():
    with pytest.raises(JobInvalid, match="path: ~ is not expanded"):
        load(FileExporterConfig, {"_op": "file_exporter", "path": "~/out", "format": "ldjson"})

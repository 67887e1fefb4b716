"""What a reader rejected, read again when its dead letters are replayed; or the replay is refused."""

import json

import pytest

from tests.support.pipelines import REGISTRY, checked
from tsd.core.letters import READ_AGAIN, REPLAY_READER, decode_letters, entry_point, join_letters
from tsd.errors import Conflict
from tsd.master.letters import replay_job
from tsd.operations.context import OpContext
from tsd.operations.pipeline import Pipeline
from tsd.operations.slice import Slice


def reader(path, form, **options):
    return {
        "_op": "file_reader",
        "path": str(path),
        "format": form,
        "_dead_letter_action": "store",
        **options,
    }


def run(job, request):
    pipeline = Pipeline(job, REGISTRY, OpContext(), keep_records=True)
    pipeline.initialize()
    outcome = pipeline.run(Slice.of(request))
    assert outcome.state == "completed", outcome.error
    return outcome.records, decode_letters(join_letters(outcome.letters or []))


def rejected(tmp_path, data, form, **options):
    """The job that was run, and its letters as a replay's request has them."""
    path = tmp_path / "in"
    path.write_bytes(data)
    job = {"name": "j", "operations": [reader(path, form, **options), {"_op": "noop"}]}
    _, letters = run(
        checked(*job["operations"]), {"path": str(path), "offset": 0, "length": len(data), "total": len(data)}
    )
    return job, [
        {
            "record": json.loads(bytes(one.record)),
            "form": one.form,
            "metadata": json.loads(bytes(one.metadata)),
        }
        for one in letters
    ]


def replayed(job, letters):
    """Records and letters of a replay."""
    operations = replay_job(job)["operations"]
    place = entry_point(checked(*operations)["operations"], "operations[0]", "file_reader", is_unread=True)
    assert place == READ_AGAIN
    return run(checked(*operations), {"position": place, "letters": letters})


CASES = {
    "ldjson": (b'{"a":1}\n{"a":2,}\n[1]\n', {}, [b'{"a":2,}', b"[1]"]),
    "json": (b'[{"a":1},5,{"b":NaN},[{"c":1}]]', {}, [b"5", b'{"b":NaN}', b'[{"c":1}]']),
    "csv": (b"a,b\n1,2\n3,x\ry\n4\xff,5\n", {}, [b"3,x\ry", b"4\xff,5"]),
    "raw": (b"a\n\xff\n", {}, [b"\xff"]),
}


@pytest.mark.parametrize("form", CASES)
def test_what_still_is_no_record_is_rejected_again_and_nothing_empty_is_made(tmp_path, form):
    data, options, bad = CASES[form]
    job, letters = rejected(tmp_path, data, form, **options)
    assert len(letters) == len(bad)

    records, again = replayed(job, letters)
    assert records == []
    texts = [json.loads(bytes(one.record)) for one in again]
    assert texts == [letter["record"] for letter in letters]
    assert all(f"file {tmp_path}/in, line " in one.error for one in again)


CHECKED = {"extra_args": {"checkColumn": True}}
MENDED = {
    "columns": (b"a,b\n1,2,3\n", CHECKED, {}, [{"a": "1", "b": "2", "field3": "3"}]),
    "quotes": (b'a,b\n1,"2\n', {}, {"extra_args": {"quote": "off"}}, [{"a": "1", "b": '"2'}]),
    "fields": (
        b"x,y\n1,2,3\n",
        {**CHECKED, "fields": ["a", "b"]},
        {"fields": ["a", "b", "c"]},
        [{"a": "1", "b": "2", "c": "3"}],
    ),
    "header": (b"b,a\n1,2,3\n", {**CHECKED, "fields": ["a", "b"]}, {}, [{"b": "1", "a": "2", "field3": "3"}]),
}


@pytest.mark.parametrize("case", MENDED)
def test_what_the_job_can_read_now_becomes_records_with_their_columns(tmp_path, case):
    data, before, after, expected = MENDED[case]
    job, letters = rejected(tmp_path, data, "csv", **before)
    job["operations"][0] |= {"extra_args": {}, **after}

    records, again = replayed(job, letters)
    assert (records, again) == (expected, [])
    assert {record.get_metadata("path") for record in records} == {str(tmp_path / "in")}
    assert not any("columns" in record.metadata or "line" in record.metadata for record in records)


def test_letters_that_were_mended_are_read(tmp_path):
    job, letters = rejected(tmp_path, b'{"a":1}\n{"a":2,}\n', "ldjson")
    letters[0]["record"] = '{"a":2}'

    assert replayed(job, letters)[0] == [{"a": 2}]


def test_letters_without_their_columns_are_rejected_again(tmp_path):
    job, letters = rejected(tmp_path, b"a,b\n3,x\ry\n", "csv")
    letters[0] = {"record": "3,4", "form": "text", "metadata": {}}

    records, (again,) = replayed(job, letters)
    assert records == []
    assert "names of its columns" in again.error
    job["operations"][0]["fields"] = ["a", "b"]
    assert replayed(job, letters)[0] == [{"a": "3", "b": "4"}]


def test_the_options_may_stand_on_an_api(tmp_path):
    job, letters = rejected(tmp_path, b'{"a":2,}\n', "ldjson")
    letters[0]["record"] = '{"a":2}'
    api = {"_name": "file_reader_api:in", "path": str(tmp_path), "format": "ldjson"}
    job["operations"][0] = {
        "_op": "file_reader",
        "_api_name": "file_reader_api:in",
        "_dead_letter_action": "store",
    }
    operations = replay_job(job)["operations"]

    for position, name in (("operations[0]", "file_reader"), ("apis[0]", "file_reader_api:in")):
        assert entry_point(operations, position, name, is_unread=True) == READ_AGAIN
    records, _ = run(checked(*operations, apis=[api]), {"position": READ_AGAIN, "letters": letters})
    assert records == [{"a": 2}]


def test_the_replay_of_a_replay_has_the_reader_of_the_first(tmp_path):
    job = {"name": "j", "operations": [reader(tmp_path, "ldjson"), {"_op": "noop"}]}

    once = replay_job(job)
    twice = replay_job(once)
    assert twice["operations"] == once["operations"]
    assert once["operations"][0] == {
        "_op": REPLAY_READER,
        "_dead_letter_action": "store",
        "reader": job["operations"][0],
    }
    assert entry_point(twice["operations"], "operations[0]", REPLAY_READER, is_unread=True) == READ_AGAIN


def test_what_nothing_reads_again_is_refused_and_records_are_not():
    def operations(*names):
        return replay_job({"operations": [{"_op": name} for name in names]})["operations"]

    with pytest.raises(Conflict, match="it is no record, and only file_reader, or json_parser"):
        entry_point(operations("http_reader", "noop"), "operations[0]", "http_reader", is_unread=True)
    assert (
        entry_point(operations("http_reader", "json_parser"), "operations[0]", "http_reader", is_unread=True)
        == 1
    )
    assert entry_point(operations("http_reader", "noop"), "operations[0]", "http_reader") == 1
    assert (
        entry_point(
            operations("file_reader", "noop", "json_parser"), "operations[2]", "json_parser", is_unread=True
        )
        == 2
    )

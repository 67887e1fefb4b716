"""dead_letter_file, and how rejected records reach a sink: connectors.md point 59."""

import base64
import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import make_pipeline, run
from tsd.errors import OperationError
from tsd.ids import slice_id
from tsd.operations.context import DeadLetterSink, OpContext
from tsd.operations.record import Record

NEED_A = {
    "_op": "filter",
    "field": "a",
    "value": None,
    "filtered_to_dead_letter_queue": True,
    "_dead_letter_action": "dead_letter_file",
}


def made(tmp_path, *operations, context=None, **fields):
    entry = {"_name": "dead_letter_file", "path": str(tmp_path / "dead"), "durable": False}
    return make_pipeline(*(operations or (NEED_A,)), apis=[entry], context=context, job_id="job", **fields)


def files(tmp_path):
    """The letters in each file."""
    return {
        path.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((tmp_path / "dead").glob("*.ldjson"))
    }


def letters(tmp_path):
    return [letter for each in files(tmp_path).values() for letter in each]


def name(order):
    return f"ex-{slice_id('ex', 0, order)}.ldjson"


def test_each_slice_with_rejected_records_has_a_file_of_them(tmp_path):
    """connectors.md point 59."""
    pipeline = made(tmp_path)

    run(pipeline, {"n": 1}, {"a": 1}, {"n": 2}, order=1)
    run(pipeline, {"a": 1}, order=2)
    run(pipeline, {"n": 3}, order=3)

    found = {file: [letter["record"]["n"] for letter in each] for file, each in files(tmp_path).items()}
    assert found == {name(1): [1, 2], name(3): [3]}


def test_a_letter_tells_all_that_is_known(tmp_path):
    """connectors.md point 59."""
    spec = {"_op": "derive", "fields": {"b": "int(a)"}, "_dead_letter_action": "dead_letter_file"}
    pipeline = made(tmp_path, "with_metadata", spec)

    run(pipeline, {"a": "x", "meta": {"_key": "k", "from": [1]}})

    (letter,) = letters(tmp_path)
    time, metadata, error = letter.pop("time"), letter.pop("metadata"), letter.pop("error")
    assert letter == {
        "record": {"a": "x"},
        "operation": "derive",
        "slice_id": slice_id("ex", 0, 1),
        "attempt": 1,
        "ex_id": "ex",
        "job_id": "job",
    }
    assert datetime.fromisoformat(time).tzinfo is not None
    assert (metadata["_key"], metadata["from"]) == ("k", [1])
    assert error.startswith('ValueError: b: int("x"): the text is no whole number')


def test_letters_of_a_failed_slice_are_written_too(tmp_path):
    """connectors.md point 59."""
    pipeline = made(tmp_path, NEED_A, {"_op": "break", "times": 9}, max_retries=1)

    assert run(pipeline, {"n": 1}).state == "error"
    assert [(letter["record"]["n"], letter["attempt"]) for letter in letters(tmp_path)] == [(1, 2)]


def test_a_retry_does_not_write_them_twice(tmp_path):
    pipeline = made(tmp_path, NEED_A, {"_op": "break", "times": 2})

    assert run(pipeline, {"n": 1}).retry_count == 2
    assert [letter["attempt"] for letter in letters(tmp_path)] == [3]


def test_a_slice_that_runs_again_replaces_its_letters_or_removes_them(tmp_path):
    run(made(tmp_path), {"n": 1}, {"n": 2})
    run(made(tmp_path), {"n": 3})
    assert [letter["record"]["n"] for letter in letters(tmp_path)] == [3]

    run(made(tmp_path), {"a": 1})
    assert files(tmp_path) == {}


def test_letters_that_can_not_be_written_fail_the_attempt(tmp_path):
    pipeline = made(tmp_path)
    (work,) = tmp_path.rglob(".tsd/work")
    work.rmdir()
    work.write_text("a file where a folder should be")

    def mend(_seconds):
        if work.is_file():
            work.unlink()
            work.mkdir()

    pipeline.context.sleep = mend
    outcome = run(pipeline, {"n": 1})

    assert (outcome.state, outcome.retry_count) == ("completed", 1)
    assert [(letter["record"]["n"], letter["attempt"]) for letter in letters(tmp_path)] == [(1, 2)]


def test_what_is_rejected_in_a_flush_has_a_file_of_its_own(tmp_path):
    pipeline = made(tmp_path, {"_op": "accumulate", "empty_after": 5}, "data_window_to_array", NEED_A)
    run(pipeline, {"n": 1})

    pipeline.flush()

    assert [(file.startswith("ex-flush-"), each[0]["record"]) for file, each in files(tmp_path).items()] == [
        (True, {"n": 1})
    ]


def test_what_is_rejected_after_the_last_slice_is_added_to_its_file(tmp_path):
    pipeline = made(tmp_path)
    run(pipeline, {"n": 1})
    pipeline.operations[1].reject(Record(n=2), "late")

    pipeline.shutdown()

    assert [letter["record"]["n"] for letter in files(tmp_path)[name(1)]] == [1, 2]


def test_what_is_rejected_outside_of_slices_stays(tmp_path):
    for number in (1, 2):
        pipeline = made(tmp_path)
        pipeline.operations[1].reject(Record(n=number), "early")
        pipeline.shutdown()

    assert sorted((letter["record"]["n"], letter["slice_id"]) for letter in letters(tmp_path)) == [
        (1, None),
        (2, None),
    ]


@given(st.binary())
def test_bytes_come_back_from_a_letter(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("letters")
    pipeline = made(tmp_path)
    record = Record()
    record.set_raw_data(data)
    for rejected in (data, record):
        pipeline.operations[1].reject(rejected, "no")
    pipeline.shutdown()

    first, second = letters(tmp_path)
    for told in (first["record"], second["raw"]):
        assert (told.encode() if isinstance(told, str) else base64.b64decode(told["base64"])) == data


@pytest.mark.parametrize("odd", [object(), {"a": {1, 2}, "b": object()}, {(1, 2): 3}], ids=range(3))
def test_what_json_can_not_hold_is_told_somehow(tmp_path, odd):
    pipeline = made(tmp_path)
    pipeline.operations[1].reject(odd, ValueError("no"))
    pipeline.shutdown()

    (letter,) = letters(tmp_path)
    assert letter["error"] == "ValueError: no"
    assert letter["record"]


def test_a_folder_that_can_not_be_written_is_told_at_the_start(tmp_path):
    (tmp_path / "dead").write_text("a file")

    with pytest.raises(OperationError, match="can not be written"):
        made(tmp_path)


# --- sinks beside plain functions -----------------------------------------------------------------


class Apis:
    """APIs by name, as `OpContext.apis` offers them."""

    def __init__(self, **products):
        self.get = products.__getitem__
        self.place_of = str


class NotingSink(DeadLetterSink):
    def __init__(self):
        self.taken = []
        self.fails = 0

    def take(self, rejections):
        if self.fails:
            self.fails -= 1
            raise OSError("away")
        self.taken.append([each.record for each in rejections])


def test_a_sink_takes_all_of_its_letters_at_once_and_functions_one_by_one():
    sink, one_by_one = NotingSink(), []
    context = OpContext()
    context.attach_apis(Apis(sink=sink, function=lambda record, error: one_by_one.append((record, error))))
    for record, action in enumerate(["sink", "function", "sink", "function"]):
        context.reject(record, "no", operation="op", action=action)

    context.deliver_rejections()

    assert (sink.taken, one_by_one, context.rejections) == ([[0, 2]], [(1, "no"), (3, "no")], [])


def test_letters_that_a_sink_does_not_take_stay():
    sink = NotingSink()
    sink.fails = 1
    context = OpContext()
    context.attach_apis(Apis(sink=sink))
    context.reject(1, "no", operation="op", action="sink")

    with pytest.raises(OSError, match="away"):
        context.deliver_rejections()
    context.deliver_rejections()

    assert sink.taken == [[1]]

"""Dead letters of the pipeline: what they hold, which attempt they are of, how many there may be."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import checked, make_pipeline, run
from tsd.core.letters import LETTER_B_MAX, SLICE_LETTERS_B_MAX, decode_letters, encode_letter, join_letters
from tsd.errors import JobInvalid, OperationError
from tsd.operations.context import Interrupted, OpContext
from tsd.operations.letters import ERROR_CHARS_MAX, LetterBox, letter_of, record_of
from tsd.operations.pipeline import Pipeline
from tsd.operations.record import Record
from tsd.operations.registry import Registry
from tsd.operations.slice import Slice

STORING = {"_op": "upper", "_dead_letter_action": "store"}


def read(outcome):
    return decode_letters(join_letters(outcome.letters or []))


def records(outcome):
    return [json.loads(bytes(letter.record)) for letter in read(outcome)]


def make_letter(value, error="no", **changes):
    where = {"operation": "op", "position": "operations[1]", "slice_id": "s", "attempt": 1, "worker": "w"}
    return letter_of(value, error, **{**where, **changes})


def through(value):
    """The record that a rejected value is when it is replayed."""
    letter = make_letter(value)
    record, metadata = (json.loads(bytes(part)) for part in (letter.record, letter.metadata))
    shown = {"record": record, "form": letter.form, "metadata": metadata}
    return record_of(shown | ({"raw": letter.raw} if letter.raw else {}))


def test_a_rejected_record_is_a_letter_of_its_slice():
    outcome = run(make_pipeline(STORING), {"n": "x"}, {"n": 2})

    assert outcome.records == [{"n": 4}]
    (letter,) = read(outcome)
    assert records(outcome) == [{"n": "x"}]
    assert (letter.operation, letter.position, letter.attempt) == ("upper", "operations[1]", 1)
    assert letter.slice_id == Slice.of({}, ex_id="ex").slice_id
    assert letter.error.endswith("n is text")


@pytest.mark.parametrize("depth", [499, 501, 950, 990, 5_000])
def test_a_record_that_is_nested_too_deep_to_be_read_everywhere_is_shown_only(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]

    letter = make_letter(Record(deep=value))

    assert (letter.form, letter.truncated) == (("json", False) if depth < 500 else ("text", True))
    assert decode_letters(join_letters([encode_letter(letter)])) == [letter]


def test_a_slice_without_rejects_has_no_letters():
    pipeline = make_pipeline(STORING)

    assert read(run(pipeline, {"n": "x"})) != []
    assert run(pipeline, {"n": 2}).letters is None


def test_letters_of_attempts_that_are_retried_are_forgotten():
    pipeline = make_pipeline(STORING, {"_op": "break", "times": 2})

    outcome = run(pipeline, {"n": "x"})

    assert (outcome.retry_count, records(outcome)) == (2, [{"n": "x"}])
    assert [letter.attempt for letter in read(outcome)] == [3]


def test_a_slice_that_fails_delivers_the_letters_of_its_last_attempt():
    outcome = run(
        make_pipeline(STORING, {"_op": "break", "times": 99}, max_retries=1), {"n": "x"}, {"n": "y"}
    )

    assert (outcome.state, records(outcome)) == ("error", [{"n": "x"}, {"n": "y"}])
    assert {letter.attempt for letter in read(outcome)} == {2}


def test_more_than_a_thousand_fail_the_slice_with_the_operation_and_the_first_reason():
    pipeline = make_pipeline(STORING, max_retries=0)
    values = [{"n": f"x{number}"} for number in range(1001)]

    outcome = run(pipeline, *values)

    assert outcome.state == "error"
    assert "upper at operations[1] rejects too many records of one slice" in outcome.error
    assert "The first reason was, of upper at operations[1]: ValueError: n is text" in outcome.error
    assert records(outcome) == values[:1000]
    assert run(pipeline, *values[:1000]).state == "completed"


def test_more_than_four_mib_fail_the_slice():
    box = LetterBox()
    letter = make_letter({"n": "x" * 50_000})

    taken = 0
    while box.put(letter):
        taken += 1

    assert SLICE_LETTERS_B_MAX - 60_000 < len(join_letters(box.letters)) <= SLICE_LETTERS_B_MAX
    assert "4 MiB" in box.fault
    assert len(box.take()) == taken
    assert box.put(letter)


def test_an_operation_that_catches_what_reject_raises_does_not_hide_that_there_are_too_many():
    pipeline = make_pipeline(STORING, max_retries=0)
    operation = pipeline.operations[1]
    reject = operation.reject

    def quiet(record, error):
        try:
            reject(record, error)
        except OperationError:
            return

    operation.reject = quiet
    outcome = run(pipeline, *({"n": "x"} for _ in range(1002)))

    assert outcome.state == "error"
    assert "rejects too many records" in outcome.error


def test_letters_of_a_slice_that_is_put_down_are_forgotten():
    pipeline = make_pipeline(STORING)
    chain = pipeline._chain

    def interrupted(slice_):
        chain(slice_)
        raise Interrupted("stop")

    pipeline._chain = interrupted
    with pytest.raises(Interrupted):
        run(pipeline, {"n": "x"})
    pipeline._chain = chain

    assert run(pipeline, {"n": 2}, order=2).letters is None


def test_an_api_that_is_named_store_gets_the_records_as_any_other():
    pipeline = make_pipeline({"_op": "upper", "_dead_letter_action": "sink"}, apis=[{"_name": "sink"}])
    # The name of an API class can not be chosen by a job, so the component is put where a bundle's would be.
    pipeline.apis.add("store", pipeline.apis.components[0])
    pipeline.apis._products["store"] = pipeline.apis.get("sink")
    pipeline.operations[1].config.dead_letter_action = "store"

    outcome = run(pipeline, {"n": "x"})

    assert outcome.letters is None
    assert pipeline.apis.components[0].taken == [({"n": "x"}, "n is text")]


def test_store_is_a_word_that_a_job_may_use():
    assert checked("list_reader", STORING)["operations"][1]["_dead_letter_action"] == "store"
    with pytest.raises(JobInvalid, match="none of throw, log, none, store,"):
        checked("list_reader", {"_op": "upper", "_dead_letter_action": "stor"})


def test_what_is_rejected_where_no_slice_is_in_work_is_logged():
    context = OpContext()
    pipeline = make_pipeline(STORING, context=context)

    pipeline.operations[1].reject({"n": 1}, "early")

    assert run(pipeline, {"n": 2}).letters is None


# --- what a letter holds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        ({"a": 1}, "json", {"a": 1}),
        ([1, None], "json", [1, None]),
        (b"\x00\xff", "base64", "AP8="),
        ("plain", "text", "plain"),
        ("half \ud800", "text", "half ?"),
        ({"at": datetime(2026, 1, 2, tzinfo=UTC)}, "json", {"at": "2026-01-02T00:00:00Z"}),
        ({"odd": 1j}, "json", {"odd": "1j"}),
    ],
)
def test_a_value_is_kept_as_json_or_as_what_comes_nearest(value, form, shown):
    letter = make_letter(value)

    assert (letter.form, json.loads(bytes(letter.record))) == (form, shown)
    assert not letter.truncated


def test_a_long_error_keeps_its_start_and_its_end():
    error = make_letter({}, "the start" + "x" * 5000 + "the end").error

    assert len(error) <= ERROR_CHARS_MAX
    assert error.startswith("the startxxx")
    assert error.endswith("xxxthe end")
    assert "characters left out" in error


def test_an_error_that_was_never_raised_is_its_message():
    assert make_letter({}, ValueError("never raised")).error == "ValueError: never raised"


@pytest.mark.parametrize(
    "value",
    [
        {"text": "x" * 70_000},
        {"quotes": '"\\' * 40_000},
        {"controls": "\x01" * 30_000},
        b"x" * 100_000,
        "é" * 50_000,
        Record.make({"a": 1}, {"_key": "k" * 70_000}),
    ],
)
def test_what_is_too_large_is_cut_and_says_so(value):
    letter = make_letter(value, "e\x00" * 2000)
    encoded = join_letters([encode_letter(letter)])

    assert letter.truncated
    assert len(encoded) <= LETTER_B_MAX + 2
    assert decode_letters(encoded) == [letter]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), JSON, max_size=5),
    st.binary(max_size=20),
)
def test_a_record_comes_back_from_its_letter_as_it_was(data, raw):
    record = Record.make(data, {"_key": "k", "own": [1]})
    if raw and data:
        record.set_raw_data(raw)

    back = through(record)

    assert (back, back.metadata) == (record, record.metadata)
    if raw and data:
        assert back.get_raw_data() == raw


def test_raw_data_becomes_a_record_when_it_is_a_json_object_now():
    assert through(b'{"a": 1}') == {"a": 1}
    assert through('{"a": 1}') == {"a": 1}
    assert through(b"no json").get_raw_data() == b"no json"
    assert through(Record.from_bytes(b"\xff", "raw")).get_raw_data() == b"\xff"


# --- entering the chain -------------------------------------------------------------------------


def replayed(position, *letters, **fields):
    registry = Registry(["tests.support.letter_ops", "tests.support.sample_operations"])
    job = checked("list_reader", "upper", "noop", **fields) | {"ex_id": "ex"}
    job["operations"][0] = {"_op": "dead_letter_reader"}
    pipeline = Pipeline(job, registry, OpContext(), keep_records=True)
    pipeline.initialize()
    letters = [{"record": one, "form": "json", "metadata": {}} for one in letters]
    return pipeline.run(Slice.of({"position": position, "letters": letters}))


@pytest.mark.parametrize(("position", "result"), [(1, 4), (2, 2)])
@pytest.mark.parametrize("analytics", [True, False])
def test_records_of_a_replay_pass_only_the_operations_from_their_place_on(position, result, analytics):
    outcome = replayed(position, {"n": 2}, analytics=analytics)

    assert outcome.records == [{"n": result}]
    if analytics:
        assert [size >= 0 for size in outcome.analytics.size] == [True, position == 1, True]

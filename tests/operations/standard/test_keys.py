"""Keys and ids: connectors.md points 6 to 8."""

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import checked, make_pipeline, run
from tsd.errors import JobInvalid
from tsd.operations import DataWindow, Record
from tsd.operations.standard.geo import truncated
from tsd.operations.standard.texts import joined, text_of


def out(op, *records, **fields):
    outcome = run(make_pipeline(op, **fields), *records)
    assert outcome.error is None, outcome.error
    return outcome.records


def key_of(record, **options):
    (made,) = out({"_op": "add_key", **options}, record)
    assert made["_key"] == made.get_key()
    return made["_key"]


def md5(text):
    return base64.urlsafe_b64encode(hashlib.md5(text.encode()).digest()).decode().rstrip("=")


def test_a_key_is_the_unpadded_hash_of_all_values_in_the_order_of_their_names():
    """Point 6."""
    assert key_of({"b": 2, "a": "x"}, style="teraslice") == md5("x2")
    assert key_of({"b": 2, "a": "x"}) == key_of({"a": "x", "b": 2})
    assert re.fullmatch(r"[\w-]{22}", key_of({"a": 1}))


def test_key_fields_count_in_their_order_and_may_be_nested():
    record = {"a": {"b": "deep"}, "c": 3, "d": True}
    assert key_of(record, key_fields=["c", "a.b"], style="teraslice") == md5("3deep")
    assert key_of(record, key_fields=["a.b", "c"], style="teraslice") == md5("deep3")
    assert key_of(record, key_fields=["a"], invert_key_fields=True, style="teraslice") == md5("3true")


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_other_hashes(algorithm):
    made = key_of({"a": "x"}, hash_algorithm=algorithm, style="teraslice")
    assert made == base64.urlsafe_b64encode(hashlib.new(algorithm, b"x").digest()).decode().rstrip("=")


def test_a_hash_that_this_python_lacks_is_refused_when_the_job_is_checked():
    with pytest.raises(JobInvalid, match=r"operations\[1\].hash_algorithm: .*no whirlpool|others are"):
        checked("list_reader", {"_op": "add_key", "hash_algorithm": "whirlpool"})


def test_too_few_values_drop_the_record_and_empty_ones_do_not_count():
    op = {"_op": "add_key", "minimum_field_count": 2}
    assert (
        len(out(op, {"a": 1, "b": 2}, {"a": 1, "b": None}, {"a": 1, "b": [], "c": {}}, {"a": 0, "b": ""}))
        == 2
    )


def test_values_that_run_together_have_one_key_in_the_style_of_teraslice_only():
    """Point 7."""
    one, other = {"a": "1", "b": "23"}, {"a": "12", "b": "3"}
    assert key_of(one) != key_of(other)
    assert key_of(one, style="teraslice") == key_of(other, style="teraslice") == md5("123")


VALUES = st.none() | st.text(max_size=3) | st.integers(-3, 3) | st.booleans()


@given(
    st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
    st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
)
def test_safe_keys_are_equal_for_equal_texts_of_values_only(one, other):
    def meaning(record):
        return {name: text_of(value) for name, value in record.items() if value is not None}

    assert (key_of(one) == key_of(other)) == (meaning(one) == meaning(other))


def test_what_was_the_key_before_can_be_kept():
    pipeline = make_pipeline(
        {"_op": "set_key", "field": "id"},
        {"_op": "add_key", "key_fields": ["a"], "preserve_original_key": True, "delete_original": True},
    )
    (made,) = run(pipeline, {"id": "old", "a": 1}).records
    assert made["_original_key"] == "old"
    assert made.get_metadata("_delete_id") == "old"


def test_another_name_of_the_key():
    (made,) = out({"_op": "add_key", "key_name": "hash"}, {"a": 1})
    assert made["hash"] == made.get_metadata("hash")
    assert made.get_metadata("_key") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("33.43519, -111.87334", "33.4351, -111.8733"),
        ({"lat": 33.43519, "lon": -111.87334}, {"lat": 33.4351, "lon": -111.8733}),
        ([-111.87334, 33.43519], [-111.8733, 33.4351]),
        (
            {"type": "Point", "coordinates": [-111.87334, 33.43519]},
            {"type": "Point", "coordinates": [-111.8733, 33.4351]},
        ),
        ("POINT (-111.87334 33.43519)", "POINT (-111.8733 33.4351)"),
        ("ezs42", "ezs42"),
        (-0.00001, 0),
        ("-111.87339", -111.8733),
    ],
)
def test_places_are_cut_off_toward_zero(value, expected):
    assert truncated(value, 4) == expected


def test_places_near_each_other_have_one_key_and_stay_as_they_are():
    op = {"_op": "add_key", "truncate_location": ["at"], "truncate_location_places": 1}
    one, other = out(op, {"at": "33.41,-111.01"}, {"at": "33.49,-111.09"})
    assert one["_key"] == other["_key"]
    assert (one["at"], other["at"]) == ("33.41,-111.01", "33.49,-111.09")


def test_set_key_takes_a_field_and_remove_key_takes_it_away():
    """Point 8."""
    first, second = out({"_op": "set_key", "field": "a.id"}, {"a": {"id": 7}}, {"a": {"id": "x"}})
    assert (first.get_key(), second.get_key()) == (7, "x")
    pipeline = make_pipeline({"_op": "set_key", "field": "id"}, "remove_key")
    (without,) = run(pipeline, {"id": 1}).records
    with pytest.raises(LookupError):
        without.get_key()


@pytest.mark.parametrize("bad", [{}, {"id": None}, {"id": ""}, {"id": True}, {"id": [1]}])
def test_a_record_without_a_key_to_set_is_rejected(bad):
    op = {"_op": "set_key", "field": "id"}
    assert out(op | {"_dead_letter_action": "none"}, {"id": 1}, bad) == [{"id": 1}]
    assert run(make_pipeline(op, max_retries=0), bad).state == "error"


@pytest.mark.parametrize(
    ("dictionary", "letters"),
    [("number", r"\d"), ("alpha_upper", "[A-Z]"), ("alphanum_lower", "[a-z0-9]"), ("hex", "[a-f0-9]")],
)
def test_short_ids_have_the_wanted_letters(dictionary, letters):
    op = {"_op": "add_short_id", "field": "id", "length": 12, "dictionary": dictionary}
    records = out(op, *[{"n": n} for n in range(50)])
    assert all(re.fullmatch(letters + "{12}", record["id"]) for record in records)
    assert len({record["id"] for record in records}) == 50


def test_short_ids_are_the_same_when_a_slice_is_run_again_and_others_in_another_slice():
    def ids(order):
        pipeline = make_pipeline({"_op": "add_short_id", "field": "id"})
        return [record["id"] for record in run(pipeline, {}, {}, order=order).records]

    assert ids(1) == ids(1) != ids(2)


@pytest.mark.parametrize("op", ["set_key", "remove_key", "add_key", "add_short_id"])
def test_records_in_windows_are_treated_as_those_outside(op):
    options = {"set_key": {"field": "id"}, "add_short_id": {"field": "id"}}.get(op, {})
    pipeline = make_pipeline({"_op": op, **options})
    inside = [Record(id=str(n)) for n in range(3)]
    window = DataWindow.of(inside, key="w")
    result = pipeline._steps[0]([window, Record(id="9")])
    assert result[0] is window
    assert window.get_key() == "w"
    assert len(window.records) == 3
    keys = [record.metadata.get("_key") for record in window.records]
    assert keys == {"set_key": ["0", "1", "2"], "remove_key": [None] * 3, "add_short_id": [None] * 3}.get(
        op, keys
    )
    assert (op != "add_key") or all(keys)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (1e21, "1e+21"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e300, "1e+300"),
        (True, "true"),
        (None, "null"),
        ([1, "a"], '[1,"a"]'),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_values_are_written_as_javascript_does(value, text):
    assert text_of(value) == text


def test_arrays_are_joined_by_commas_where_routes_are_made():
    assert joined([1, [2, None], "x"]) == "1,2,,x"

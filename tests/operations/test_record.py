"""Records: operations.md points 50 to 57."""

import pickle
from datetime import UTC, datetime

import pytest

from tsd.operations.record import Record


def test_a_record_copies_its_data_and_has_a_create_time_that_never_changes():
    """Point 50."""
    data = {"a": 1}

    record = Record(data)
    record["a"] = 2

    assert data == {"a": 1}
    created = record.get_create_time()
    with pytest.raises(ValueError, match="never changes"):
        record.set_metadata("_createTime", 0)
    assert record.get_create_time() == created


@pytest.mark.parametrize("key", ["k", 0, 1.5, -3])
def test_text_and_numbers_are_keys(key):
    """Point 51."""
    record = Record()
    record.set_key(key)

    assert record.get_key() == key


@pytest.mark.parametrize("key", ["", None, float("nan"), True, [], b"k"])
def test_anything_else_is_no_key(key):
    """Point 51."""
    with pytest.raises(ValueError, match="no key"):
        Record().set_key(key)
    with pytest.raises(ValueError, match="no key"):
        Record().set_metadata("_key", key)


def test_reading_a_key_that_was_not_set_is_an_error():
    """Point 51."""
    with pytest.raises(LookupError):
        Record().get_key()


def test_the_three_times_are_independent():
    """Point 52."""
    record = Record()
    record.set_ingest_time(1000)
    record.set_process_time("2024-01-02T03:04:05Z")
    record.set_event_time(datetime(2020, 1, 1, tzinfo=UTC))

    assert record.get_ingest_time() == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert record.get_process_time() == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert record.get_event_time() == datetime(2020, 1, 1, tzinfo=UTC)


def test_a_time_set_to_nothing_is_now_and_garbage_is_refused():
    """Point 53."""
    record = Record()
    before = datetime.now(UTC)
    record.set_event_time()

    assert abs((record.get_event_time() - before).total_seconds()) < 60
    assert record.get_ingest_time() is None
    with pytest.raises(ValueError, match="no point in time"):
        record.set_event_time("soon")


def test_date_math_counts_from_now():
    """Point 53."""
    record = Record()
    record.set_event_time("now-1h")
    record.set_ingest_time("now")

    elapsed_s = (record.get_ingest_time() - record.get_event_time()).total_seconds()
    assert 3600 <= elapsed_s < 3660


def test_json_holds_only_the_data():
    """Point 54."""
    record = Record({"a": [1, None]})
    record.set_key("k")
    record.set_raw_data("raw")

    assert record.to_bytes() == b'{"a":[1,null]}'
    assert Record.from_bytes(record.to_bytes()) == {"a": [1, None]}


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b"{", b""])
def test_bytes_that_are_no_json_object_are_refused(data):
    """Point 54."""
    with pytest.raises(ValueError):
        Record.from_bytes(data)


def test_raw_encoding_keeps_the_bytes_and_needs_some():
    """Point 54."""
    record = Record.from_bytes(b"\xff", "raw")

    assert (dict(record), record.to_bytes("raw")) == ({}, b"\xff")
    record.set_raw_data(None)
    with pytest.raises(ValueError, match="no raw data"):
        record.to_bytes("raw")


def test_a_fork_is_distinct_with_equal_data_and_metadata():
    """Point 55."""
    record = Record({"a": 1})
    record.set_key("k")
    record.set_raw_data(b"x")

    full, bare = record.fork(), record.fork(with_data=False)
    full["a"] = 2
    full.set_key("other")

    assert (record["a"], record.get_key(), full.get_raw_data()) == (1, "k", b"x")
    assert (dict(bare), bare.get_key()) == ({}, "k")


def test_metadata_survives_a_pickle():
    """Point 56: a hop to another process."""
    record = Record({"a": 1})
    record.set_key("k")
    record.set_raw_data(b"x")

    copy = pickle.loads(pickle.dumps(record))

    assert (copy, copy.metadata, copy.get_raw_data()) == ({"a": 1}, record.metadata, b"x")


def test_make_many_makes_a_record_of_each_value():
    """Point 57."""
    first = Record({"a": 1})

    made = Record.make_many([first, {"a": 2}])

    assert made[0] is first
    assert [type(record) for record in made] == [Record, Record]
    with pytest.raises(TypeError):
        Record.make_many([{}, 5])


def test_an_origin_is_metadata_that_records_share_without_changing_each_other():
    origin = {"path": "f", "_createTime": 5}
    one, two = records = [Record(), Record()]
    Record.stamp(records, origin)
    one.set_metadata("path", "g")
    two.set_key("k")

    assert (one.metadata["path"], two.metadata["path"], two.get_key()) == ("g", "f", "k")
    assert one.get_create_time() == two.get_create_time() == datetime(1970, 1, 1, 0, 0, 0, 5000, tzinfo=UTC)
    assert origin == {"path": "f", "_createTime": 5}

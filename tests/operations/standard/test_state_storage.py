"""state_storage: connectors.md section 5 rank 25."""

import math
import multiprocessing
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipelines import make_pipeline
from tsd.errors import OperationError
from tsd.operations.config import load
from tsd.operations.standard.state_storage import StateStorage, StateStorageConfig


def opened(path, **options):
    config, _ = load(
        StateStorageConfig, {"_name": "state_storage", "path": str(path), "durable": False, **options}
    )
    return StateStorage(config)


@pytest.fixture
def two(tmp_path):
    """Two openings of one file, as two workers have them."""
    both = [opened(tmp_path / "state.db") for _ in range(2)]
    yield both
    for each in both:
        each.close()


def test_values_are_found_by_their_key(two):
    storage = two[0]
    storage.mset({"a": [1, {"b": None}], 1: "number", "1": "text", 2.5: True})

    assert storage.get("a") == [1, {"b": None}]
    assert storage.mget([1, "1", 1.0, "none", 2.5]) == {1: "number", "1": "text", 2.5: True}
    assert (storage.get("none"), storage.count()) == (None, 4)


def test_what_one_worker_sets_the_other_sees_although_it_had_looked_before(two):
    one, other = two
    one.set("a", 1)
    assert (other.get("a"), other.get("b")) == (1, None)
    one.mset({"a": 2, "b": 3})
    assert other.mget(["a", "b"]) == {"a": 2, "b": 3}
    other.delete("a")

    assert one.get("a") is None


def test_a_value_may_be_changed_without_changing_what_is_stored(two):
    value = {"n": [1]}
    two[0].set("a", value)
    value["n"].append(2)
    two[0].get("a")["n"].append(3)

    assert two[0].get("a") == {"n": [1]}


def test_values_outlive_the_process(tmp_path):
    first = opened(tmp_path / "deep" / "state.db")
    first.set("a", 1)
    first.close()

    second = opened(tmp_path / "deep" / "state.db")
    assert second.mget(["a", "b"]) == {"a": 1}
    second.close()


@pytest.mark.parametrize(("key", "value"), [("b", object()), ("b", None), ("", 1), (True, 1), (math.nan, 1)])
def test_what_can_not_be_stored_changes_nothing(two, key, value):
    two[0].set("a", 1)

    with pytest.raises(ValueError, match=r"key|value"):
        two[0].mset({"a": 2, key: value})
    assert (two[0].get("a"), two[1].get("a"), two[0].count()) == (1, 1, 1)


keys = st.sampled_from([*string.ascii_lowercase[:5], 1, 2])
moves = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["set", "delete", "get"]), st.lists(keys, max_size=3)),
    max_size=20,
)


@settings(deadline=None)
@given(moves, st.integers(1, 3))
def test_two_workers_with_small_caches_agree_with_a_dictionary(tmp_path_factory, moves, cache_size):
    path = tmp_path_factory.mktemp("state") / "state.db"
    workers, model = [opened(path, cache_size=cache_size) for _ in range(2)], {}
    for number, (who, move, some) in enumerate(moves):
        if move == "set":
            workers[who].mset(dict.fromkeys(some, number))
            model |= dict.fromkeys(some, number)
        elif move == "delete":
            workers[who].delete(some)
            model = {key: value for key, value in model.items() if key not in some}
        assert workers[who].mget(some) == {key: model[key] for key in some if key in model}
    assert [worker.count() for worker in workers] == [len(model)] * 2
    for worker in workers:
        worker.close()


def _count_up(path, first, done):
    storage = opened(path)
    for number in range(first, first + 50):
        storage.set(number, number)
        storage.get("shared")
    storage.close()
    done.put(first)


def test_several_processes_open_and_write_at_once(tmp_path):
    spawning = multiprocessing.get_context("spawn")
    done = spawning.Queue()
    writers = [
        spawning.Process(target=_count_up, args=(tmp_path / "state.db", first, done))
        for first in (0, 100, 200)
    ]
    for writer in writers:
        writer.start()
    assert sorted(done.get(timeout=60) for _ in writers) == [0, 100, 200]
    for writer in writers:
        writer.join()
    done.close()

    storage = opened(tmp_path / "state.db")
    assert storage.count() == 150
    storage.close()


def test_a_file_that_is_none_of_ours_is_told_at_the_start(tmp_path):
    (tmp_path / "state.db").write_text("no database at all, but long enough to be looked at" * 20)

    with pytest.raises(OperationError, match="state can not be kept"):
        opened(tmp_path / "state.db")


def test_operations_get_it_as_an_api(tmp_path):
    entry = {"_name": "state_storage", "path": str(tmp_path / "state.db")}
    pipeline = make_pipeline("noop", apis=[entry])
    storage = pipeline.operations[1].get_api("state_storage")

    storage.set("a", 1)

    assert storage.get("a") == 1
    pipeline.shutdown()

"""collect: what it holds over slices that fail, and copies that can not spoil it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipelines import make_pipeline, run
from tsd.operations.record import Record
from tsd.operations.windows import DataWindow

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=1, max_size=12), st.integers(1, 4))
def test_collect_agrees_with_a_list_that_is_copied_for_each_slice(slices, size):
    """Slices that fail leave no trace, and operations behind change only what they got."""
    pipeline = make_pipeline(
        {"_op": "collect", "size": size, "wait": "1 hour"},
        {"_op": "derive", "fields": {"seen": "seen + 1"}},
        {"_op": "break", "times": 99},
        max_retries=0,
    )
    held, number, left = [], 0, []
    for count, fails in slices:
        numbers = list(range(number, number + count))
        number += count
        pipeline.operations[3].attempts = 98 if fails else 99
        outcome = run(pipeline, *({"n": each, "seen": 0} for each in numbers))
        if fails:
            assert outcome.state == "error"
            continue
        held += numbers
        leaving = len(held) // size * size
        left.append(([(r["n"], r["seen"]) for r in outcome.records], [(n, 1) for n in held[:leaving]]))
        held = held[leaving:]
        assert (pipeline.operations[1].held_since() is None) == (not held)

    assert all(got == expected for got, expected in left)


@given(st.dictionaries(st.text(max_size=2), json_values, max_size=4), st.none() | st.binary(max_size=3))
def test_a_clone_is_equal_and_shares_nothing_that_can_be_changed(fields, raw):
    record = Record(fields)
    record.set_key("k")
    record.set_raw_data(raw)
    window = DataWindow.of([record], "w")

    (copy,) = window.clone().records

    assert (copy, copy.metadata, copy.get_raw_data_or_none()) == (record, record.metadata, raw)
    assert changeable(copy).isdisjoint(changeable(record))


def changeable(value):
    """Identities of all objects in a value that can be changed."""
    if isinstance(value, dict):
        inner = [*value.values(), value.metadata] if isinstance(value, Record) else list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return set()
    return {id(value)}.union(*map(changeable, inner))


def test_a_clone_shares_the_origin_that_nobody_has_looked_at():
    records = [Record(n=1)]
    Record.stamp(records, {"path": "/a", "_createTime": 5})

    copy = records[0].clone()
    copy.set_metadata("path", "/b")

    assert (copy.metadata, records[0].metadata) == (
        {"path": "/b", "_createTime": 5},
        {"path": "/a", "_createTime": 5},
    )

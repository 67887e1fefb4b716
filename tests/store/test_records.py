"""Slice records: fencing, replacing, errors, analytics."""

import pytest
from attrs import evolve

from tests.support.stores import (
    COMPLETED,
    ERROR,
    PENDING,
    START,
    add_execution,
    batch_of,
    end_execution,
    generation_save,
    slice_row,
    stored_states,
)
from tsd.errors import Conflict, InvalidRequest, NotFound, StoreError
from tsd.ids import slice_id
from tsd.store.listing import Page


@pytest.mark.parametrize("count", [0, 1, 9, 11, 1234])
async def test_all_rows_of_a_batch_are_stored(store, count):
    await add_execution(store)

    await store.store_records(batch_of(slice_row(order) for order in range(1, count + 1)))

    assert await stored_states(store) == {(0, order): COMPLETED for order in range(1, count + 1)}


@pytest.mark.parametrize("generation", [0, 2])
async def test_records_of_another_generation_are_refused(store, generation):
    """E11, section 7 of the design: a replaced controller writes nothing."""
    await add_execution(store)

    with pytest.raises(Conflict, match="its generation is 1"):
        await store.store_records(batch_of([slice_row(1)], generation=generation))

    assert await stored_states(store) == {}


async def test_a_new_generation_fences_the_one_before(store):
    await add_execution(store)
    await store.store_records(batch_of([slice_row(1, START)]))

    await store.apply_saves([generation_save("e1", 2)])
    with pytest.raises(Conflict):
        await store.store_records(batch_of([slice_row(1, ERROR)]))
    await store.store_records(batch_of([slice_row(2, START)], generation=2))

    assert await stored_states(store) == {(0, 1): START, (0, 2): START}


async def test_records_of_an_unknown_execution_are_refused(store):
    with pytest.raises(NotFound):
        await store.store_records(batch_of([slice_row(1)], "e9"))


async def test_a_later_record_replaces_an_earlier_one_but_a_completed_slice_is_final(store):
    """E15, B2."""
    await add_execution(store)

    await store.store_records(batch_of([slice_row(1, PENDING), slice_row(2, START)]))
    await store.store_records(batch_of([slice_row(1, START), slice_row(2, COMPLETED)]))
    await store.store_records(batch_of([slice_row(1, ERROR), slice_row(2, START)]))

    assert await stored_states(store) == {(0, 1): ERROR, (0, 2): COMPLETED}


async def test_a_repeated_batch_changes_nothing(store):
    await add_execution(store)
    batch = batch_of([slice_row(1, COMPLETED), slice_row(2, ERROR, error="x"), slice_row(3, START)])

    await store.store_records(batch)
    once = await stored_states(store), await store.list_errors(Page())
    await store.store_records(batch)

    assert (await stored_states(store), await store.list_errors(Page())) == once


async def test_a_recovered_execution_writes_into_the_records_of_those_it_recovers(store):
    """E32: recovered slices keep their execution."""
    await add_execution(store, "e1")
    await store.store_records(batch_of([slice_row(1, ERROR), slice_row(2, ERROR)]))
    await end_execution(store, "e1")
    await add_execution(store, "e2", job=None, recovered_execution="e1")

    await store.store_records(
        batch_of([slice_row(1, COMPLETED, source=1), slice_row(1, START)], "e2", sources=("e2", "e1"))
    )

    assert await stored_states(store, "e1") == {(0, 1): COMPLETED, (0, 2): ERROR}
    assert await stored_states(store, "e2") == {(0, 1): START}


@pytest.mark.parametrize(
    ("sources", "source"), [(("e2", "e3"), 1), (("e1",), 0), ((), 0), (("e2",), 1), (("e2",), -1)]
)
async def test_records_for_an_execution_that_is_not_recovered_are_refused(store, sources, source):
    await add_execution(store, "e1")
    await end_execution(store, "e1")
    await add_execution(store, "e3", "j3")
    await add_execution(store, "e2", job=None, recovered_execution="e1")
    batch = batch_of([slice_row(1, source=source)], "e2", sources=("e2",))

    with pytest.raises(Conflict, match="source"):
        await store.store_records(evolve(batch, sources=sources))
    for ex_id in ("e1", "e2", "e3"):
        assert await stored_states(store, ex_id) == {}


@pytest.mark.parametrize(
    "row", [slice_row(2, slicer_id=2**70), slice_row(2, request="\ud800"), slice_row(2, request=None)]
)
async def test_a_batch_that_can_not_be_stored_is_refused_whole_and_ends_nobody(store, row):
    await add_execution(store)

    with pytest.raises(StoreError):
        await store.store_records(batch_of([slice_row(1), row]))
    assert await stored_states(store) == {}

    await store.store_records(batch_of([slice_row(1)]))
    assert await stored_states(store) == {(0, 1): COMPLETED}


async def test_an_order_that_no_slicer_comes_to_is_refused(store):
    """It would come back in a page of recovery that no controller can read."""
    await add_execution(store)

    with pytest.raises(Conflict, match="order beyond"):
        await store.store_records(batch_of([slice_row(1), slice_row(2**53)]))
    assert await stored_states(store) == {}


async def test_errors_are_shown_as_clients_expect(store):
    """REST 86, section 4.3."""
    await add_execution(store)
    await store.store_records(
        batch_of(
            [
                slice_row(1, COMPLETED),
                slice_row(2, ERROR, slicer_id=1, error="Error: no\n  at x", retry_count=3, updated=2001),
                slice_row(3, ERROR, slice_id="given", updated=2000),
                slice_row(4, START),
            ]
        )
    )

    assert await store.list_errors(Page(), ex_ids=["e1"]) == [
        {
            "slice_id": slice_id("e1", 1, 2),
            "slicer_id": 1,
            "slicer_order": 2,
            "request": '{"at":2}',
            "state": "error",
            "ex_id": "e1",
            "_created": "1970-01-01T00:00:01.000Z",
            "_updated": "1970-01-01T00:00:02.001Z",
            "error": "Error: no\n  at x",
            "retry_count": 3,
        },
        {
            "slice_id": "given",
            "slicer_id": 0,
            "slicer_order": 3,
            "request": '{"at":3}',
            "state": "error",
            "ex_id": "e1",
            "_created": "1970-01-01T00:00:01.000Z",
            "_updated": "1970-01-01T00:00:02.000Z",
            "error": "",
        },
    ]


async def test_errors_are_chosen_by_execution_or_job_and_paged(store):
    """REST 86, 87, 88."""
    for ex_id, job_id in (("e1", "j1"), ("e2", "j2"), ("e3", "j3")):
        await add_execution(store, ex_id, job_id)
        await store.store_records(batch_of([slice_row(order, ERROR) for order in (3, 1, 2)], ex_id))

    async def listed(page=None, **chosen):
        page = page or Page(sort="ex_id,slicer_order")
        return [(found["ex_id"], found["slicer_order"]) for found in await store.list_errors(page, **chosen)]

    assert await listed() == [(f"e{ex}", order) for ex in (1, 2, 3) for order in (1, 2, 3)]
    assert await listed(ex_ids=["e2", "unknown"]) == [("e2", order) for order in (1, 2, 3)]
    assert await listed(job_id="j3") == [("e3", order) for order in (1, 2, 3)]
    assert await listed(ex_ids=["unknown"]) == []
    assert await listed(ex_ids=[]) == []
    assert await listed(Page(size=2, start=1, sort="slicer_order:desc"), ex_ids=["e1"]) == [
        ("e1", 2),
        ("e1", 1),
    ]
    with pytest.raises(InvalidRequest):
        await listed(Page(sort="request"))


async def test_an_error_that_is_run_again_with_success_is_gone(store):
    await add_execution(store)
    await store.store_records(batch_of([slice_row(1, ERROR)]))
    await store.store_records(batch_of([slice_row(1, COMPLETED)]))

    assert await store.list_errors(Page()) == []


async def test_analytics_are_read_in_pages_in_key_order(store):
    """E37."""
    await add_execution(store)
    rows = [
        slice_row(order, slicer_id=slicer, analytics=b'{"time":[1]}' if order % 2 else None)
        for slicer in (1, 0)
        for order in range(1, 6)
    ]
    await store.store_records(batch_of(rows))

    first = await store.analytics_of("e1", limit=4)
    second = await store.analytics_of("e1", after=(first[-1].slicer_id, first[-1].slicer_order), limit=4)

    found = [(entry.slicer_id, entry.slicer_order) for entry in first + second]
    assert found == [(slicer, order) for slicer in (0, 1) for order in (1, 3, 5)]
    assert first[0].analytics == b'{"time":[1]}'
    assert first[0].slice_id == slice_id("e1", 0, 1)
    assert await store.analytics_of("unknown") == []

"""Recovery pages against a plain dict of what was recorded."""

import tempfile
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from tests.support.stores import (
    COMPLETED,
    ERROR,
    PENDING,
    START,
    add_execution,
    batch_of,
    connected,
    do,
    end_execution,
    generation_save,
    new_execution,
    slice_row,
    status_save,
)
from tsd.core.messages import RecoveryAsk
from tsd.core.records import REPLAYED_STATES, RecoveryMode, SlicerPosition
from tsd.errors import Conflict, NotFound
from tsd.ids import slice_id
from tsd.store.executions import ApplySaves
from tsd.store.listing import Page
from tsd.store.records import StoreRecords, list_errors
from tsd.store.recovery import recovery_page, state_counts


def ask(mode="", after=None, limit=1000):
    return RecoveryAsk(ask_id=1, generation=1, mode=mode, after=after, limit=limit)


def all_pages(connection, ex_id, mode, limit):
    """The slices of all pages, and the first page."""
    found, after, first = [], None, None
    while True:
        page = recovery_page(connection, ex_id=ex_id, ask=ask(mode, after, limit))
        first = first or page
        assert len(page.slices) <= limit
        found += page.slices
        if page.is_last:
            return found, first
        after = page.slices[-1][:3]


@attrs.define
class Model:
    """What a chain of executions recorded: `records[(execution, slicer, order)] = (state, request, run by)`."""

    records: dict = attrs.field(factory=dict)

    def store(self, writer, source, row):
        """`writer` stores a record of the `source`-th one before it."""
        slicer, order, state, request = row
        key = (writer - source, slicer, order)
        if self.records.get(key, (None,))[0] != COMPLETED:
            self.records[key] = (state, request, writer if source else None)

    def unfinished(self, asker, mode):
        wanted = []
        for (execution, slicer, order), (state, request, run_by) in sorted(self.records.items()):
            source = asker - execution
            if source == 0:
                is_wanted = state in {PENDING, START}
            else:
                is_resumed = run_by == asker and state in {PENDING, START}
                is_wanted = bool(mode) and (state in REPLAYED_STATES[RecoveryMode(mode)] or is_resumed)
            if source >= 0 and is_wanted:
                # The ids of slices in error are stored, so that they can be searched.
                own_id = slice_id(f"e{execution}", slicer, order) if state == ERROR else None
                wanted.append((source, slicer, order, state, 1000, request, 0, own_id))
        return sorted(wanted, key=lambda found: found[:3])

    def counts(self, asker):
        own = [state for (execution, _, _), (state, _, _) in self.records.items() if execution == asker]
        return tuple(own.count(state) for state in (PENDING, START, COMPLETED, ERROR))

    def positions(self, asker):
        positions = {}
        for execution in range(asker, -1, -1):
            last = {}
            for (found, slicer, order), (_, request, _) in sorted(self.records.items()):
                if found == execution:
                    last[slicer] = (order if execution == asker else 0, request)
            for slicer, (order, request) in last.items():
                position = SlicerPosition(slicer_id=slicer, slicer_order=order, last_slice=request)
                positions.setdefault(slicer, position)
        return tuple(positions[slicer] for slicer in sorted(positions))


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(1, 6),
        st.sampled_from([PENDING, START, COMPLETED, ERROR]),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=40)
@given(
    history=st.lists(st.lists(ROWS, max_size=3), min_size=1, max_size=3),
    limit=st.integers(1, 7),
    mode=st.sampled_from(["", *RecoveryMode]),
)
def test_pages_are_what_a_plain_dict_says(history, limit, mode):
    """E30, E31, E32, B4: every mode, every page size, chains of recoveries, batches that repeat keys."""
    with tempfile.TemporaryDirectory(prefix="tsd-store-") as folder, connected(Path(folder)) as connection:
        model, request_number = Model(), 0
        for writer, batches in enumerate(history):
            ex_ids = tuple(f"e{writer - source}" for source in range(writer + 1))
            recovered = ex_ids[1] if writer else None
            job = None if writer else {}
            do(connection, new_execution(ex_ids[0], job=job, recovered_execution=recovered))
            for rows in batches:
                stored = []
                for source, slicer, order, state in rows:
                    request_number += 1
                    depth = min(source, writer)
                    model.store(writer, depth, (slicer, order, state, f"{request_number}"))
                    stored.append(
                        slice_row(order, state, slicer_id=slicer, source=depth, request=f"{request_number}")
                    )
                do(connection, StoreRecords(batch=batch_of(stored, ex_ids[0], generation=0, sources=ex_ids)))
            do(connection, ApplySaves(saves=(status_save(ex_ids[0], "pending", "failed"),)))

        found, first = all_pages(connection, ex_ids[0], mode, limit)

        asker = len(history) - 1
        assert found == model.unfinished(asker, mode)
        assert first.counts == model.counts(asker)
        assert first.positions == model.positions(asker)


async def test_an_execution_without_records_starts_at_the_beginning(store):
    await add_execution(store)

    page = await store.recovery_page("e1", ask())

    assert (page.slices, page.is_last, page.positions, page.counts) == ((), True, (), (0, 0, 0, 0))
    with pytest.raises(NotFound):
        await store.recovery_page("e9", ask())


async def test_only_the_first_page_has_positions_and_counts(store):
    await add_execution(store)
    await store.store_records(batch_of([slice_row(1, START), slice_row(2, START)]))

    first = await store.recovery_page("e1", ask(limit=1))
    second = await store.recovery_page("e1", ask(after=first.slices[-1][:3], limit=1))

    assert (first.is_last, first.counts, len(first.positions)) == (False, (0, 2, 0, 0), 1)
    assert (second.is_last, second.counts, second.positions) == (True, (0, 0, 0, 0), ())
    assert second.slices == ((0, 0, 2, START, 1000, '{"at":2}', 0, None),)


async def test_own_slices_come_before_those_of_earlier_executions(store):
    """Also when an earlier execution has lower slicers and orders."""
    await add_execution(store, "e1")
    await store.store_records(batch_of([slice_row(1, ERROR), slice_row(2, START, slice_id="given")]))
    await end_execution(store, "e1")
    await add_execution(store, "e2", job=None, recovered_execution="e1")
    await store.store_records(batch_of([slice_row(5, PENDING, slicer_id=1)], "e2"))

    page = await store.recovery_page("e2", ask("none"))

    assert [found[:3] for found in page.slices] == [(0, 1, 5), (1, 0, 1), (1, 0, 2)]
    assert page.slices[2][7] == "given"


async def test_a_slice_that_was_being_run_again_is_not_lost_with_its_controller(store):
    """B7: replayed for its error, it is `start` when the controller dies; the next generation asks for errors."""
    await add_execution(store, "e1")
    await store.store_records(batch_of([slice_row(1, ERROR), slice_row(2, START)]))
    await end_execution(store, "e1")
    await add_execution(store, "e2", job=None, recovered_execution="e1", recovered_slice_type="errors")
    await store.store_records(batch_of([slice_row(1, START, source=1)], "e2", sources=("e2", "e1")))

    await store.apply_saves([generation_save("e2", 2)])
    page = await store.recovery_page("e2", ask("errors"))

    assert [found[:4] for found in page.slices] == [(1, 0, 1, START)]


async def test_many_unfinished_slices_are_read_in_pages_without_gaps(store):
    """B4: beyond one page, of every slicer."""
    await add_execution(store)
    rows = [
        slice_row(order, START if order % 3 else COMPLETED, slicer_id=slicer)
        for slicer in range(3)
        for order in range(1, 1001)
    ]
    await store.store_records(batch_of(rows))

    found = await store.read(lambda connection: all_pages(connection, "e1", "", 500)[0])

    assert [entry[1:3] for entry in found] == [row[1:3] for row in rows if row[3] == START]


@pytest.mark.parametrize("sort", ["_updated:desc", "slicer_order", "_created:desc,slicer_id", "error"])
@pytest.mark.parametrize("ex_ids", [None, ["e1"], ["e1", "e2"]])
async def test_lists_of_errors_read_an_index_of_errors(store, sort, ex_ids):
    """A million completed slices must not make them slow."""
    await add_execution(store, "e1")
    await add_execution(store, "e2", "j2")

    plans = await store.read(
        lambda connection: plans_of(
            connection, lambda: list_errors(connection, page=Page(sort=sort), ex_ids=ex_ids)
        )
    )

    assert any("slices_errors" in plan or "slices_unfinished" in plan for plan in plans)
    assert [plan for plan in plans if "PRIMARY KEY" in plan and "slices" in plan] == []


@pytest.mark.parametrize("after", [(0, 0, 5), (0, -1, -1), (1, 2, 3)])
async def test_pages_of_unfinished_slices_read_their_index(store, after):
    """A million completed slices must not make them slow."""
    await add_execution(store, "e1")
    await end_execution(store, "e1")
    await add_execution(store, "e2", job=None, recovered_execution="e1")

    plans = await store.read(
        lambda connection: plans_of(
            connection, lambda: recovery_page(connection, ex_id="e2", ask=ask("none", after=after))
        )
    )

    reads = [plan for plan in plans if "slices" in plan]
    # Once for how long the requests are, once for the slices.
    assert len(reads) == 2 * (2 - after[0])
    assert all("slices_unfinished" in plan for plan in reads)


async def test_no_slices_are_counted_but_the_few_that_have_not_ended(store):
    await add_execution(store)

    plans = await store.read(lambda connection: plans_of(connection, lambda: state_counts(connection, 1)))

    assert ["slices_unfinished" in plan for plan in plans if "slices" in plan] == [True]


def plans_of(connection, read):
    """How the database finds what `read` asks for, one line for each table it looks into."""
    plans = []

    def explain(_connection, _cursor, statement, parameters, *_):
        driver = connection.connection.driver_connection
        plans.extend(row[-1] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    event.listen(connection, "before_cursor_execute", explain)
    read()
    return plans


async def test_a_damaged_index_would_be_noticed(store):
    """The index of unfinished slices follows every change of state."""
    await add_execution(store)
    for state in (PENDING, START, ERROR, START, COMPLETED, START):
        await store.store_records(batch_of([slice_row(order, state) for order in range(1, 50)]))

    assert await store.read(lambda c: c.execute(text("PRAGMA integrity_check")).scalar_one()) == "ok"
    page = await store.recovery_page("e1", ask())
    assert page.slices == ()
    assert page.counts == (0, 0, 49, 0)


# --- what is known of the last slices that were handed out


async def ended_with(store, ex_id, recorded, **kwargs):
    await add_execution(store, ex_id, **kwargs)
    await store.apply_saves([status_save(ex_id, "pending", "failed", recorded=recorded)])


def recovery_of(ex_id, slice_type, **document):
    whole = {"name": "words", "workers": 3, "slicers": 2, **document}
    return new_execution(
        "r", job=None, recovered_execution=ex_id, recovered_slice_type=slice_type, document=whole
    )


@pytest.mark.parametrize("slice_type", ["all", "pending"])
async def test_slices_that_are_not_known_can_not_be_all_that_run_again(store, slice_type):
    await ended_with(store, "e1", None)

    with pytest.raises(Conflict, match=r"execution e1 that are .*Recover it without cleanup_type"):
        await store.create_execution(recovery_of("e1", slice_type))

    assert await store.create_execution(recovery_of("e1", None))


@pytest.mark.parametrize(
    ("recorded", "slice_type", "document"),
    [
        (1, "all", {}),
        (1, "pending", {}),
        (0, "all", {}),
        (None, "errors", {}),
        (None, None, {}),
        (None, "pending", {"autorecover": True}),
        (None, "all", {"autorecover": True}),
    ],
)
async def test_what_is_known_or_made_again_can_be_recovered(store, recorded, slice_type, document):
    """A job with `autorecover` goes on after its recovery, so nothing is left out."""
    await ended_with(store, "e1", recorded)

    assert await store.create_execution(recovery_of("e1", slice_type, **document))


async def test_an_execution_that_made_nothing_knows_as_much_as_the_one_that_it_recovered(store):
    await ended_with(store, "e1", None)
    await ended_with(store, "e2", 0, job=None, recovered_execution="e1", recovered_slice_type="errors")

    with pytest.raises(Conflict, match="execution e1 that are not completed"):
        await store.create_execution(recovery_of("e2", "all"))


async def test_an_execution_that_went_on_has_made_again_what_was_not_known(store):
    await ended_with(store, "e1", None)
    await ended_with(store, "e2", 1, job=None, recovered_execution="e1")

    assert await store.create_execution(recovery_of("e2", "all"))

"""Dead letters in the store: with their slice, replaced, bounded, listed, deleted, replayed."""

import sqlite3
from contextlib import closing

import msgspec
import pytest

from tests.support.stores import (
    COMPLETED,
    ERROR,
    PENDING,
    add_execution,
    batch_of,
    connected,
    do,
    end_execution,
    new_execution,
    slice_row,
    stored_states,
)
from tsd.core.letters import Form, Letter, encode_letter, join_letters
from tsd.core.messages import RecoveryAsk
from tsd.errors import Conflict, InvalidRequest, NotFound
from tsd.ids import slice_id
from tsd.store import sqlite
from tsd.store.fields import LETTER_FIELDS
from tsd.store.filters import condition_of
from tsd.store.letters import DeleteLetters, Whose, list_letters
from tsd.store.listing import Page
from tsd.store.migrate import upgrade
from tsd.store.records import StoreRecords
from tsd.store.recovery import PAGE_CHARS_MAX, recovery_page
from tsd.store.replay import SLICE_MAX, Replay
from tsd.store.store import DATABASE_NAME, open_store

ALL = Whose()
OF_JOB = Whose(job_id="j1")
EVERYTHING = Page(sort="ex_id,slicer_id,slicer_order,time", size=10_000)
OPERATIONS = [{"_op": "dead_letter_reader"}, {"_op": "a"}, {"_op": "b"}]


def letter(number, *, operation="a", position="operations[1]", error="bad", **changes):
    return Letter(
        record=msgspec.Raw(b'{"n":%d}' % number),
        metadata=msgspec.Raw(b'{"_key":"k"}'),
        error=error,
        operation=operation,
        position=position,
        slice_id=changes.pop("slice_id", "s"),
        time_ms=number,
        worker="w",
        **changes,
    )


def letters(*numbers, **changes):
    return join_letters([encode_letter(letter(number, **changes)) for number in numbers])


def batch(rows, told, ex_id="e1", **changes):
    """Rows, and letters by the place of their row."""
    made = batch_of(rows, ex_id, **changes)
    made.letters.extend(told.items())
    return made


async def listed(store, whose=ALL, page=EVERYTHING):
    return [one["record"]["n"] for one in await store.list_letters(page, whose)]


async def test_letters_are_stored_with_the_record_of_their_slice_and_shown_whole(store):
    await add_execution(store)

    await store.store_records(batch([slice_row(1), slice_row(2)], {1: letters(7, raw="cmF3")}))

    assert await store.list_letters(Page(sort="time"), Whose()) == [
        {
            "record": {"n": 7},
            "form": "json",
            "raw": "cmF3",
            "metadata": {"_key": "k"},
            "error": "bad",
            "operation": "a",
            "position": "operations[1]",
            "slice_id": slice_id("e1", 0, 2),
            "slicer_id": 0,
            "slicer_order": 2,
            "attempt": 1,
            "time": "1970-01-01T00:00:00.007Z",
            "ex_id": "e1",
            "job_id": "j1",
            "worker": "w",
            "truncated": False,
        }
    ]
    assert (await store.get_execution("e1"))["_dead_letters"] == {"stored": 1, "dropped": 0}


async def test_a_batch_that_is_refused_stores_no_letters(store):
    await add_execution(store)

    with pytest.raises(Conflict):
        await store.store_records(batch([slice_row(1)], {0: letters(1)}, generation=0))
    nested = letters(1).replace(b'{"n":1}', b"[" * 5_000 + b"]" * 5_000)
    late = letters(1).replace(b'"time_ms":1', b'"time_ms":9223372036854775808')
    assert nested != letters(1) != late
    for told in ({1: letters(1)}, {-2: letters(1)}, {0: b"{"}, {0: b"[1]"}, {0: nested}, {0: late}):
        with pytest.raises(Conflict):
            await store.store_records(batch([slice_row(1)], told))

    assert await listed(store) == []
    assert await stored_states(store) == {}


async def test_a_slice_that_is_run_again_replaces_its_letters(store):
    await add_execution(store)
    await store.store_records(
        batch([slice_row(1, ERROR), slice_row(2, ERROR)], {0: letters(1, 2, 3), 1: letters(9)})
    )

    await store.store_records(batch([slice_row(1, ERROR, updated=3000)], {0: letters(4, 5)}))
    assert await listed(store) == [4, 5, 9]
    await store.store_records(batch([slice_row(1, COMPLETED, updated=4000)], {0: b""}))
    assert await listed(store) == [9]


async def test_a_completed_slice_takes_no_letters_any_more(store):
    await add_execution(store)
    await store.store_records(batch([slice_row(1)], {0: letters(1)}))

    await store.store_records(batch([slice_row(1, ERROR, updated=9)], {0: letters(2, 3)}))

    assert await listed(store) == [1]


@pytest.mark.parametrize("state", [COMPLETED, ERROR])
async def test_a_repeated_batch_brings_no_deleted_letter_back(store, state):
    await add_execution(store)
    told = batch([slice_row(1, state)], {0: letters(1, 2)})
    await store.store_records(told)
    await store.store_records(told)
    assert await listed(store) == [1, 2]

    assert await store.delete_letters(DeleteLetters(whose=Whose(ex_id="e1"))) == 2
    await store.store_records(told)

    assert await listed(store) == []


async def test_letters_of_a_slice_of_an_earlier_execution_are_of_that_one(store):
    await add_execution(store, "e1")
    await store.store_records(batch([slice_row(1, ERROR)], {0: letters(1)}))
    await end_execution(store, "e1")
    await add_execution(store, "e2", job=None, recovered_execution="e1")

    rows = [slice_row(1, ERROR, source=1, updated=3000), slice_row(1)]
    await store.store_records(batch(rows, {0: letters(2), 1: letters(3)}, "e2", sources=("e2", "e1")))

    assert await listed(store, Whose(ex_id="e1")) == [2]
    assert await listed(store, Whose(ex_id="e2")) == [3]
    assert await listed(store, Whose(job_id="j1")) == [2, 3]


async def test_letters_of_a_flush_are_stored_once_under_its_id(store):
    await add_execution(store)
    told = batch([], {-1: letters(1, 2, slice_id="flush-w-1")})

    await store.store_records(told)
    await store.store_records(told)

    found = await store.list_letters(EVERYTHING, Whose(ex_id="e1"))
    assert [(one["record"]["n"], one["slice_id"]) for one in found] == [(1, "flush-w-1"), (2, "flush-w-1")]
    assert all("slicer_id" not in one for one in found)


async def test_of_too_many_letters_the_oldest_go_and_are_counted(tmp_path):
    async with open_store(tmp_path, letters_max=5) as store:
        await add_execution(store)
        await add_execution(store, "e2", "j2")
        await store.store_records(batch([slice_row(1)], {0: letters(90)}, "e2"))

        first = await store.store_records(batch([slice_row(1)], {0: letters(*range(1, 8))}))
        second = await store.store_records(batch([slice_row(2)], {0: letters(8, 9)}))

        assert (first.letters.count, second.letters.count) == (7, 2)
        assert [(one.count, one.is_first) for one in first.letters.dropped + second.letters.dropped] == [
            (2, True),
            (2, False),
        ]
        assert await listed(store, Whose(ex_id="e1")) == [5, 6, 7, 8, 9]
        assert await listed(store, Whose(ex_id="e2")) == [90]
        assert (await store.get_execution("e1"))["_dead_letters"] == {"stored": 5, "dropped": 4}


async def test_letters_are_filtered_as_other_lists(store):
    await add_execution(store)
    await store.store_records(
        batch(
            [slice_row(1), slice_row(2)],
            {0: letters(1, 2, error="Timeout: gone"), 1: letters(3, operation="b", position="operations[2]")},
        )
    )

    async def found(text):
        where = condition_of(text, LETTER_FIELDS, now_ms=5000)
        return await listed(store, page=Page(sort="time", where=where))

    assert await found("error:timeout") == [1, 2]
    assert await found("operation:b") == [3]
    assert await found(f"slice_id:{slice_id('e1', 0, 2)}") == [3]
    assert await found("NOT _exists_:replayed AND slicer_order:<2") == [1, 2]
    assert await found("time:>=1970-01-01T00:00:00.002Z") == [2, 3]
    with pytest.raises(InvalidRequest):
        await found("record:x")
    where = condition_of("operation:a", LETTER_FIELDS, now_ms=5000)
    assert await store.delete_letters(DeleteLetters(whose=Whose(job_id="j1"), where=where)) == 2
    assert await listed(store) == [3]


async def test_letters_of_what_there_is_not_are_none_and_can_not_be_deleted(store):
    assert await listed(store, Whose(ex_id="e9")) == []
    for whose in (Whose(ex_id="e9"), Whose(job_id="j9")):
        with pytest.raises(NotFound):
            await store.delete_letters(DeleteLetters(whose=whose))


@pytest.mark.parametrize("whose", [Whose(), Whose(ex_id="e1"), Whose(job_id="j1")])
async def test_the_default_list_reads_an_index_in_its_order(store, whose):
    await add_execution(store)

    def plan(connection):
        statements = []
        connection.connection.driver_connection.set_trace_callback(statements.append)
        list_letters(connection, page=Page(sort="time:desc"), whose=whose)
        connection.connection.driver_connection.set_trace_callback(None)
        statement = next(one for one in statements if "ORDER BY" in one)
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]

    found = await store.read(plan)
    assert any("dead_letters" in line and "USING INDEX" in line for line in found), found
    assert [line for line in found if "TEMP B-TREE" in line] == []


def test_a_store_with_data_gets_the_tables_of_letters(tmp_path):
    path = tmp_path / DATABASE_NAME
    with connected(tmp_path) as connection:
        do(connection, new_execution("e1"))
        connection.exec_driver_sql("UPDATE executions SET generation = 1")
        do(connection, StoreRecords(batch=batch_of([slice_row(1, PENDING)])))
        connection.exec_driver_sql("DROP TABLE execution_counts")
        connection.exec_driver_sql("ALTER TABLE executions DROP COLUMN started")
        connection.exec_driver_sql("ALTER TABLE executions DROP COLUMN recorded")
        connection.exec_driver_sql("DROP TABLE dead_letters")
        connection.exec_driver_sql("DROP TABLE dead_letter_losses")
        connection.exec_driver_sql("DROP TABLE node_drains")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    engine = sqlite.writing_engine(path)
    upgrade(engine)
    engine.dispose()

    with connected(tmp_path) as connection:
        do(connection, StoreRecords(batch=batch([slice_row(1)], {0: letters(1)})))
        found = list_letters(connection, page=EVERYTHING, whose=Whose())
    assert [one["record"] for one in found] == [{"n": 1}]
    with closing(sqlite3.connect(path)) as opened:
        assert opened.execute(
            "SELECT strict FROM pragma_table_list WHERE name = 'dead_letters'"
        ).fetchone() == (1,)


# --- replays ------------------------------------------------------------------------------------


def replay(number, *, whose=OF_JOB, operations=OPERATIONS, **changes):
    document = {"name": "replay", "workers": 1, "operations": operations}
    create = new_execution(f"r{number}", f"rj{number}", document=document)
    return Replay(create=create, whose=whose, **changes)


async def requests(store, ex_id):
    ask = RecoveryAsk(ask_id=1, generation=1, mode="", after=None, limit=2000)
    page = await store.recovery_page(ex_id, ask)
    return [msgspec.json.decode(found[5]) for found in page.slices]


async def test_a_replay_stores_its_letters_as_pending_slices_of_a_new_execution(store):
    await add_execution(store)
    told = {
        0: letters(1, 2),
        1: letters(3, operation="b", position="operations[2]", raw="cmF3"),
        2: letters(4, form=Form.TEXT, truncated=True),
    }
    await store.store_records(batch([slice_row(1), slice_row(2), slice_row(3)], told))

    made = await store.create_execution(replay(1))

    assert (made.letters, made.skipped) == (3, {"truncated": 1, "replayed": 0, "left": 0})
    assert made.record.has_slices
    (record,) = [one for one in await store.load_unended() if one.ex_id == "r1"]
    assert record.has_slices
    kept = {"form": "json", "metadata": {"_key": "k"}}
    assert await requests(store, "r1") == [
        {"position": 1, "letters": [{"record": {"n": 1}, **kept}, {"record": {"n": 2}, **kept}]},
        {"position": 2, "letters": [{"record": {"n": 3}, "raw": "cmF3", **kept}]},
    ]
    found = await store.list_letters(EVERYTHING, Whose())
    assert [one.get("replayed") for one in found] == ["r1", "r1", "r1", None]


async def test_two_replays_never_take_one_letter_twice_unless_told_to(store):
    await add_execution(store)
    await store.store_records(batch([slice_row(1)], {0: letters(1, 2)}))
    await store.create_execution(replay(1))

    with pytest.raises(NotFound, match="2 replayed"):
        await store.create_execution(replay(2))
    with pytest.raises(NotFound):
        await store.get_execution("r2")
    await store.store_records(batch([slice_row(2)], {0: letters(3)}))
    third = await store.create_execution(replay(3))
    assert (third.letters, third.skipped["replayed"]) == (1, 2)
    assert (await store.create_execution(replay(4, again=True))).letters == 3


async def test_a_replay_into_another_operation_is_refused_and_changes_nothing(store):
    await add_execution(store)
    await store.store_records(batch([slice_row(1)], {0: letters(1)}))

    with pytest.raises(Conflict, match=r"a rejected at operations\[1\] can not be replayed: there is c now"):
        await store.create_execution(replay(1, operations=[OPERATIONS[0], {"_op": "c"}]))

    with pytest.raises(NotFound):
        await store.get_job("rj1")
    assert [one.get("replayed") for one in await store.list_letters(EVERYTHING, Whose())] == [None]


async def test_slices_of_a_replay_are_bounded_in_number_and_size(store):
    await add_execution(store)
    rows = [slice_row(order) for order in range(1, 4)]
    large = join_letters(
        [
            encode_letter(letter(n, raw="x" * 60_000, operation="b", position="operations[2]"))
            for n in range(40)
        ]
    )
    small = letters(*range(600))
    await store.store_records(batch(rows, {0: small, 1: small, 2: large}))

    await store.create_execution(replay(1))

    sizes = [(one["position"], len(one["letters"])) for one in await requests(store, "r1")]
    assert sizes == [(1, SLICE_MAX), (1, SLICE_MAX), (1, 200), (2, 17), (2, 17), (2, 6)]


async def test_pages_of_large_slices_are_short_and_lead_through_all_of_them(store):
    await add_execution(store)
    text = '{"x":"' + "y" * (PAGE_CHARS_MAX // 3) + '"}'
    await store.store_records(batch_of([slice_row(order, PENDING, request=text) for order in range(1, 6)]))

    def read(connection):
        pages, after = [], None
        while True:
            ask = RecoveryAsk(ask_id=1, generation=1, mode="", after=after, limit=2000)
            page = recovery_page(connection, ex_id="e1", ask=ask)
            pages.append([found[2] for found in page.slices])
            if page.is_last:
                return pages
            after = page.slices[-1][:3]

    assert await store.read(read) == [[1, 2], [3, 4], [5]]

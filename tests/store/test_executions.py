"""Executions: creation, what the cluster core saves, what a master that restarts finds."""

import json

import pytest
import trio
from sqlalchemy import insert

from tests.support.stores import (
    POSTED,
    add_execution,
    end_execution,
    generation_save,
    new_execution,
    status_save,
)
from tsd.core.assets import AssetRecord
from tsd.core.cluster.events import SaveIntent, SaveMetadata
from tsd.core.cluster.records import Intent
from tsd.core.records import TERMINAL_STATUSES, ExecutionStats, Status
from tsd.errors import Conflict, InvalidRequest, NotFound, StoreError
from tsd.store.executions import CreateExecution
from tsd.store.listing import Page
from tsd.store.schema import executions


async def test_a_new_execution_has_all_fields_clients_expect(store):
    """E47, REST 61."""
    await store.create_asset(AssetRecord(asset_id="a1", name="ex", version="1.0.0"))
    created = await store.create_execution(
        new_execution(document={"workers": 3, "assets": ["a1"], "slicer_port": 1, "_status": "running"})
    )

    assert created.document == {
        "workers": 3,
        "assets": ["a1"],
        "metadata": {},
        "ex_id": "e1",
        "job_id": "j1",
        "_context": "ex",
        "_status": "pending",
        "_created": created.document["_created"],
        "_updated": created.document["_created"],
        "_has_errors": False,
        "_failureReason": "",
        "_slicer_stats": {},
    }
    assert created.document == await store.get_execution("e1")


async def test_a_job_and_its_first_execution_are_stored_together_or_not_at_all(store):
    await store.create_execution(new_execution("e1", "j1"))
    await end_execution(store, "e1")

    with pytest.raises(Conflict, match="exists already"):
        await store.create_execution(new_execution("e1", "j2"))

    assert POSTED.items() <= (await store.get_job("j1")).items()
    with pytest.raises(NotFound):
        await store.get_job("j2")


async def test_an_execution_needs_its_job_and_the_one_it_recovers(store):
    with pytest.raises(NotFound, match="job j9"):
        await store.create_execution(new_execution("e1", "j9", job=None))
    with pytest.raises(NotFound, match="execution e9"):
        await store.create_execution(new_execution("e1", "j1", recovered_execution="e9"))


async def test_a_job_that_runs_can_not_be_started_again(store):
    """REST 59, 60."""
    await add_execution(store, "e1")
    message = "^Job j1 is currently running, cannot have the same job concurrently running$"
    with pytest.raises(Conflict, match=message):
        await add_execution(store, "e2", job=None)

    await end_execution(store, "e1")
    await add_execution(store, "e2", job=None)

    assert (await store.latest_execution("j1"))["ex_id"] == "e2"


async def test_of_many_starts_at_the_same_time_exactly_one_succeeds(store):
    """B12."""
    await store.create_job("j1", POSTED)
    outcomes = []

    async def start(number):
        try:
            created = await store.create_execution(new_execution(f"e{number}", job=None))
            outcomes.append(created.record.ex_id)
        except Conflict:
            outcomes.append(None)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(start, number)

    assert len(outcomes) == 50
    winners = [ex_id for ex_id in outcomes if ex_id]
    assert len(winners) == 1
    assert [ex["ex_id"] for ex in await store.list_executions(Page())] == winners


async def test_the_database_itself_refuses_a_second_running_execution(store):
    """The check before is not what it rests on."""

    class Careless(CreateExecution):
        def apply(self, connection, now_ms):
            connection.execute(insert(executions).values(self._values(now_ms)))

    await store.create_execution(new_execution("e1"))
    with pytest.raises(StoreError, match="UNIQUE"):
        await store.write(Careless(ex_id="e2", job_id="j1", document={}))


async def test_status_saves_compare_before_they_set(store):
    """B11, E2."""
    await add_execution(store)

    await store.apply_saves([status_save("e1", "pending", "scheduling")])
    with pytest.raises(Conflict, match='"scheduling", not "pending"'):
        await store.apply_saves([status_save("e1", "pending", "stopping")])
    with pytest.raises(NotFound):
        await store.apply_saves([status_save("e9", "pending", "stopping")])

    assert (await store.get_execution("e1"))["_status"] == "scheduling"


async def test_a_status_save_writes_its_fields_and_leaves_the_others(store):
    """E29: counters of the controller stay when the status changes."""
    await add_execution(store)
    await store.apply_saves(
        [status_save("e1", "pending", "initializing", slicer_hostname="host", slicer_port=45680)]
    )
    stats = ExecutionStats(processed=5, failed=1, started="2026-01-31T01:02:03.004Z")
    await store.apply_saves(
        [
            status_save(
                "e1", "initializing", "failing", has_errors=True, failure_reason="no\ud800", stats=stats
            )
        ]
    )
    await store.apply_saves([status_save("e1", "failing", "stopping")])

    found = await store.get_execution("e1")
    assert found["_status"] == "stopping"
    assert found["_has_errors"] is True
    assert found["_failureReason"] == "no?"
    assert (found["slicer_hostname"], found["slicer_port"]) == ("host", 45680)
    assert found["_slicer_stats"]["processed"] == 5
    assert "queuing_complete" not in found["_slicer_stats"]
    assert (await store.load_unended())[0].stats == stats


async def test_saves_are_applied_together_or_not_at_all(store):
    await add_execution(store)

    with pytest.raises(Conflict):
        await store.apply_saves([generation_save("e1", 7), status_save("e1", "running", "paused")])

    assert (await store.load_unended())[0].generation == 1


async def test_a_generation_never_goes_down(store):
    await add_execution(store)
    await store.apply_saves([generation_save("e1", 3), generation_save("e1", 3, None)])

    with pytest.raises(Conflict, match="generation 2 of execution e1 is behind 3"):
        await store.apply_saves([generation_save("e1", 2)])

    record = (await store.load_unended())[0]
    assert (record.generation, record.controller_node) == (3, None)


async def test_a_master_that_restarts_finds_everything_that_has_not_ended(store):
    """B9, E4: oldest first, as it was saved last."""
    for number, status in enumerate(Status):
        await add_execution(store, f"e{number}", f"j{number}")
        await store.apply_saves([status_save(f"e{number}", "pending", status)])
    intent = Intent(workers=7, paused=True, stop_deadline=12.5, log_level="debug")
    await store.apply_saves([SaveIntent(ex_id="e1", intent=intent), generation_save("e1", 4, "n2")])

    found = await store.load_unended()

    expected = [f"e{number}" for number, status in enumerate(Status) if status not in TERMINAL_STATUSES]
    assert [record.ex_id for record in found] == expected
    record = found[1]
    assert record.intent == intent
    assert (record.generation, record.controller_node, record.slicers) == (4, "n2", 2)
    assert (record.name, record.sources, record.mode) == ("words", ("e1",), "")


async def test_metadata_of_an_execution_is_stored_and_shown_and_replaced_as_a_whole(store):
    await add_execution(store)
    for metadata in ('{"a":1,"b":[2]}', '{"a":{"c":null}}'):
        await store.apply_saves([SaveMetadata(ex_id="e1", metadata=metadata)])

        assert (await store.get_execution("e1"))["metadata"] == json.loads(metadata)

    (record,) = await store.load_unended()
    assert json.loads(record.document)["metadata"] == {"a": {"c": None}}


async def test_the_record_for_the_cluster_core_is_the_same_at_creation_and_after_a_restart(store):
    created = await store.create_execution(
        new_execution(document={"workers": 4, "env_vars": {"A": 1}, "labels": None})
    )

    assert [created.record] == await store.load_unended()
    assert created.record.intent == Intent(workers=4)
    assert created.record.env == {"A": "1"}


@pytest.mark.parametrize(
    ("autorecover", "slice_type", "mode"),
    [
        (False, None, "none"),
        (False, "all", "all"),
        (False, "errors", "errors"),
        (False, "pending", "pending"),
        (True, "pending", "autorecover"),
        (True, "errors", "errors"),
    ],
)
async def test_the_mode_of_a_recovery_follows_from_its_document(store, autorecover, slice_type, mode):
    """E30, E35."""
    await add_execution(store, "e1")
    await store.apply_saves([status_save("e1", "pending", "failed", recorded=1)])

    created = await store.create_execution(
        new_execution(
            "e2",
            job=None,
            document={"autorecover": autorecover},
            recovered_execution="e1",
            recovered_slice_type=slice_type,
        )
    )

    assert created.record.mode == mode
    assert created.record.sources == ("e2", "e1")
    assert created.document["recovered_execution"] == "e1"
    assert created.document.get("recovered_slice_type") == slice_type


async def test_the_chain_of_recoveries_is_followed_to_its_beginning(store):
    """B4."""
    for number in range(5):
        recovered = f"e{number - 1}" if number else None
        await add_execution(
            store, f"e{number}", job=None if number else POSTED, recovered_execution=recovered
        )
        await end_execution(store, f"e{number}")

    assert await store.source_chain("e4") == ("e4", "e3", "e2", "e1", "e0")
    with pytest.raises(NotFound):
        await store.source_chain("e9")


async def test_the_latest_execution_of_a_job_is_the_last_created(store):
    """REST 43, 46."""
    await store.create_job("never", POSTED)
    for ex_id, job in (("e1", POSTED), ("e2", None)):
        await add_execution(store, ex_id, job=job)
        await end_execution(store, ex_id)
    await store.apply_saves([status_save("e1", "failed", "failed")])

    found = await store.latest_executions(["j1", "never", "unknown"])

    assert {job_id: execution["ex_id"] for job_id, execution in found.items()} == {"j1": "e2"}
    with pytest.raises(NotFound, match=r"^No execution was found for job never$"):
        await store.latest_execution("never")


async def test_executions_are_listed_by_status_and_job(store):
    """REST 85, E1."""
    for number, status in enumerate(["running", "failed", "completed"]):
        await add_execution(store, f"e{number}", f"j{number}")
        await store.apply_saves([status_save(f"e{number}", "pending", status)])

    async def listed(**chosen):
        found = await store.list_executions(Page(sort="_created:asc"), **chosen)
        return [execution["ex_id"] for execution in found]

    assert await listed() == ["e0", "e1", "e2"]
    assert await listed(statuses=["running", "failed", "nonsense"]) == ["e0", "e1"]
    assert await listed(statuses=["rejected"]) == []
    assert await listed(job_id="j2") == ["e2"]
    assert [ex["ex_id"] for ex in await store.list_executions(Page(sort="_status:asc"))] == ["e2", "e1", "e0"]
    with pytest.raises(InvalidRequest):
        await store.list_executions(Page(sort="_failureReason"))

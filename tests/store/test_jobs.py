"""Jobs: as posted in, as clients see them out."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stores import POSTED, add_execution, end_execution
from tsd.errors import Conflict, Gone, InvalidRequest, NotFound
from tsd.store.documents import decode, shown_time, stored_job
from tsd.store.listing import Page
from tsd.store.schema import jobs

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


async def test_a_job_has_what_was_posted_and_four_keys_of_the_server(store):
    """REST 28, 29, 30."""
    created = await store.create_job("j1", POSTED)

    assert set(created) == {*POSTED, "job_id", "_context", "_created", "_updated"}
    assert POSTED.items() <= created.items()
    assert created["job_id"] == "j1"
    assert created["_context"] == "job"
    assert created == await store.get_job("j1")


@given(posted=st.dictionaries(st.text(), JSON, max_size=4))
def test_any_json_object_is_stored_unchanged_but_for_the_keys_of_the_server(posted):
    servers = {"job_id", "_context", "_created", "_updated", "_deleted", "_deleted_on"}

    assert decode(stored_job(posted)) == {key: posted[key] for key in posted.keys() - servers}


async def test_text_that_is_no_unicode_and_huge_numbers_survive(store):
    posted = {"name": "a\ud800\x00b", "n": 2**80}

    await store.create_job("j1", posted)

    assert posted.items() <= (await store.get_job("j1")).items()


async def test_what_is_not_json_is_refused(store):
    with pytest.raises(InvalidRequest, match="not JSON"):
        await store.create_job("j1", {"ratio": float("nan")})
    with pytest.raises(NotFound):
        await store.get_job("j1")


async def test_an_update_replaces_all_but_the_time_of_creation(store):
    """REST 47, 51."""
    created = await store.create_job("j1", POSTED | {"slicers": 2, "active": False})

    updated = await store.update_job("j1", {"name": "new", "job_id": "other", "_created": "never"})

    assert updated == {
        "name": "new",
        "job_id": "j1",
        "_context": "job",
        "_created": created["_created"],
        "_updated": updated["_updated"],
    }
    assert updated["_updated"] > created["_updated"]


async def test_activating_changes_nothing_else(store):
    """REST 52, 53."""
    created = await store.create_job("j1", POSTED | {"active": True})

    inactive = await store.set_job_active("j1", is_active=False)
    active = await store.set_job_active("j1", is_active=True)

    assert inactive == created | {"active": False, "_updated": inactive["_updated"]}
    assert active == created | {"_updated": active["_updated"]}
    with pytest.raises(NotFound):
        await store.set_job_active("unknown", is_active=True)


async def test_a_deleted_job_is_readable_and_takes_its_executions_with_it(store):
    """REST 55, 58."""
    await add_execution(store)
    await end_execution(store)

    deleted = await store.delete_job("j1")

    assert deleted["_deleted"] is True
    assert deleted["active"] is False
    assert deleted["_deleted_on"] == deleted["_updated"]
    assert deleted == await store.get_job("j1")
    assert (await store.get_execution("e1"))["_deleted"] is True
    assert await store.list_executions(Page()) == []
    assert len(await store.list_executions(Page(), is_deleted=True)) == 1


async def test_a_running_job_can_not_be_deleted(store):
    """REST 54."""
    await add_execution(store)

    with pytest.raises(Conflict, match=r"^Job j1 is currently running, cannot delete a running job\.$"):
        await store.delete_job("j1")
    assert "_deleted" not in await store.get_job("j1")


async def test_a_deleted_job_can_be_nothing_but_read(store):
    """REST 56, 57."""
    await store.create_job("j1", POSTED)
    await store.delete_job("j1")

    with pytest.raises(Gone, match=r"^Job j1 has already been deleted\.$"):
        await store.delete_job("j1")
    with pytest.raises(Gone, match=r"^Job j1 has been deleted and cannot be updated\.$"):
        await store.update_job("j1", POSTED)
    with pytest.raises(Gone, match=r"^Job j1 has been deleted and cannot be updated\.$"):
        await store.set_job_active("j1", is_active=True)
    with pytest.raises(Gone, match=r"^Job j1 has been deleted and cannot be started\.$"):
        await add_execution(store, job=None)
    with pytest.raises(Gone, match=r"^Job j1 has been deleted and cannot be recovered\.$"):
        await add_execution(store, job=None, recovered_execution="e0")


async def test_unknown_jobs_are_not_found(store):
    """REST 17, 49."""
    for attempt in (store.get_job("x"), store.delete_job("x"), store.update_job("x", {})):
        with pytest.raises(NotFound):
            await attempt


async def test_lists_show_the_last_updated_first_and_no_deleted_ones(store):
    """REST 32, 37."""
    for job_id in ("j1", "j2", "j3"):
        await store.create_job(job_id, POSTED)
    await trio.sleep(0.002)  # times are milliseconds; within one, the last created is first
    await store.update_job("j1", POSTED)
    await store.delete_job("j2")

    assert [job["job_id"] for job in await store.list_jobs(Page())] == ["j1", "j3"]
    assert [job["job_id"] for job in await store.list_jobs(Page(), is_deleted=True)] == ["j2"]


@pytest.mark.parametrize(("spelled", "meant"), [("true", True), ("0", False), (1, True), ("false", False)])
async def test_a_job_is_active_or_not_however_that_is_spelled(store, spelled, meant):
    created = await store.create_job("j1", POSTED | {"active": spelled})

    assert created["active"] is meant
    assert [job["job_id"] for job in await store.list_jobs(Page(), is_active=meant)] == ["j1"]
    assert await store.list_jobs(Page(), is_active=not meant) == []


async def test_jobs_that_do_not_say_so_are_active(store):
    """REST 38."""
    await store.create_job("says", {"active": True})
    await store.create_job("silent", {})
    await store.create_job("off", {"active": False})

    active = await store.list_jobs(Page(sort="_created"), is_active=True)

    assert [job["job_id"] for job in active] == ["says", "silent"]
    assert [job["job_id"] for job in await store.list_jobs(Page(), is_active=False)] == ["off"]


async def test_pages_cut_lists_without_overlap_whatever_the_clock_does(store):
    """REST 33, 34: all of these may have been created within one millisecond."""
    async with trio.open_nursery() as nursery:
        for number in range(7):
            nursery.start_soon(store.create_job, f"j{number}", POSTED)

    pages = [await store.list_jobs(Page(size=3, start=start)) for start in (0, 3, 6, 9)]

    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert len({job["job_id"] for page in pages for job in page}) == 7
    assert await store.list_jobs(Page(size=0)) == []


async def test_lists_are_sorted_by_columns_and_by_fields_of_documents(store):
    """REST 39."""
    for job_id, workers in (("a", 3), ("b", 1), ("c", 3)):
        await store.create_job(job_id, {"workers": workers})

    found = await store.list_jobs(Page(sort="workers:desc, job_id:asc"))

    assert [job["job_id"] for job in found] == ["a", "c", "b"]


@pytest.mark.parametrize(
    "page",
    [
        Page(sort="name"),
        Page(sort="operations:asc"),
        Page(sort="_updated:down"),
        Page(sort="document"),
        Page(sort="_updated," * 20),
        Page(size=-1),
        Page(start=-1),
        Page(size=1, start=10_000),
    ],
)
async def test_a_page_that_can_not_be_had_is_the_fault_of_the_request(store, page):
    with pytest.raises(InvalidRequest):
        await store.list_jobs(page)


async def test_a_further_condition_narrows_a_list(store):
    """REST 40: what filters become."""
    for job_id in ("j1", "j2"):
        await store.create_job(job_id, POSTED)

    found = await store.list_jobs(Page(where=jobs.c.job_id == "j2"))

    assert [job["job_id"] for job in found] == ["j2"]


@given(unix_ms=st.integers(0, 4_000_000_000_000))
def test_times_are_shown_as_iso_in_utc_and_sort_as_text(unix_ms):
    shown = shown_time(unix_ms)

    assert len(shown) == 24
    assert shown.endswith("Z")
    assert shown < shown_time(unix_ms + 1)


def test_a_time_is_shown_with_milliseconds():
    assert shown_time(1_769_821_323_004) == "2026-01-31T01:02:03.004Z"

"""The records of bundles."""

import sqlite3
from contextlib import closing

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stores import add_execution, end_execution
from tsd.core.assets import AssetRecord
from tsd.errors import Conflict, InvalidRequest, NotFound, StoreError
from tsd.store.assets import _overlap
from tsd.store.listing import Page
from tsd.store.store import DATABASE_NAME

PAGE = Page(sort="_created:desc")


def asset(number=1, **fields):
    fields = {"name": "ex", "version": f"1.{number}.0"} | fields
    return AssetRecord(asset_id=f"{number:040x}", **fields)


RESTRICTED = st.builds(
    asset,
    platform=st.sampled_from([None, "linux", "darwin"]),
    arch=st.sampled_from([None, "x64", "arm64"]),
    node_version=st.sampled_from([None, 22]),
    python_version=st.sampled_from([None, "3.11", "3.12"]),
)


@given(RESTRICTED, RESTRICTED)
def test_whether_two_bundles_may_share_a_version_does_not_depend_on_their_order(one, other):
    """Point 4 of bundles."""
    assert _overlap(one, other) == _overlap(other, one)
    assert _overlap(one, one)


async def test_a_record_comes_back_as_it_was(store):
    record = attrs.evolve(
        asset(),
        description="déjà",
        platform="linux",
        arch="x64",
        node_version=22,
        python_version="3.11",
        language="python",
        is_compiled=True,
        size_b=5,
        manifest='{"a":1}',
    )
    await store.create_asset(record)

    assert await store.find_asset(record.asset_id) == record
    assert await store.assets_named("ex") == [record]
    assert await store.asset_ids() == {record.asset_id}
    assert await store.find_asset("0" * 40) is None


async def test_a_record_that_is_there_stays_as_it_is(store):
    await store.create_asset(asset())
    await store.create_asset(asset(description="another"))

    assert (await store.find_asset(asset().asset_id)).description is None


async def test_a_bundle_that_could_be_taken_for_another_is_refused(store):
    await store.create_asset(asset(1, version="1.0.0", platform="linux"))

    with pytest.raises(Conflict, match=r'Asset name:"ex" AND version:"1\.0\.0" already exists'):
        await store.create_asset(asset(2, version="1.0.0"))
    await store.create_asset(asset(3, version="1.0.0", platform="darwin"))


async def test_pages_of_bundles(store):
    for number in range(1, 6):
        await store.create_asset(asset(number))

    found = await store.list_assets(Page(size=2, start=1, sort="version:desc"))
    assert [each["version"] for each in found] == ["1.4.0", "1.3.0"]
    found = await store.list_assets(PAGE, name="e*", version="1.?.0")
    assert found == []
    with pytest.raises(InvalidRequest):
        await store.list_assets(Page(sort="manifest"))


async def test_a_bundle_is_kept_while_an_execution_uses_it(store):
    await store.create_asset(asset())
    document = {"name": "words", "workers": 1, "assets": [asset().asset_id]}
    await add_execution(store, document=document)

    with pytest.raises(Conflict, match="is used by execution e1"):
        await store.delete_asset(asset().asset_id, is_forced=False)
    await end_execution(store)
    await store.delete_asset(asset().asset_id, is_forced=False)
    with pytest.raises(NotFound, match=f"Unable to find asset {asset().asset_id}"):
        await store.delete_asset(asset().asset_id, is_forced=True)


async def test_an_execution_of_a_bundle_that_was_deleted_is_refused(store):
    with pytest.raises(Conflict, match="which the execution uses, was deleted"):
        await add_execution(store, document={"name": "words", "workers": 1, "assets": ["gone"]})


async def test_a_store_that_takes_no_writes_does_not_say_that_a_bundle_is_unknown(store, tmp_path):
    """Point 15 of bundles."""
    await store.create_asset(asset())
    with closing(sqlite3.connect(tmp_path / "data" / DATABASE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="lock"):
            await store.delete_asset(asset().asset_id, is_forced=False)
        other.execute("ROLLBACK")

    assert await store.find_asset(asset().asset_id) == asset()

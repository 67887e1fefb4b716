"""Which nodes are drained is stored, and survives the master."""

import pytest

from tests.support.stores import status_save
from tsd.core.cluster.events import SaveDrain
from tsd.core.cluster.records import Drain
from tsd.errors import NotFound
from tsd.store.store import open_store

FIRST = Drain(node_id="a", since=1_700_000_000.123)
LATER = Drain(node_id="b", since=1_700_000_100.0, until=1_700_000_160.5)


async def test_what_was_wished_is_there_after_a_restart(tmp_path):
    async with open_store(tmp_path) as store:
        await store.apply_saves([SaveDrain(node_id="b", drain=LATER), SaveDrain(node_id="a", drain=FIRST)])

    async with open_store(tmp_path) as store:
        assert await store.load_drains() == [FIRST, LATER]


async def test_a_wish_takes_the_place_of_the_one_before_and_can_be_taken_back(store):
    shorter = Drain(node_id="a", since=FIRST.since, until=1_700_000_010.0)
    await store.apply_saves([SaveDrain(node_id="a", drain=FIRST)])
    await store.apply_saves([SaveDrain(node_id="a", drain=shorter)])
    assert await store.load_drains() == [shorter]

    await store.apply_saves([SaveDrain(node_id="a", drain=None)])
    await store.apply_saves([SaveDrain(node_id="a", drain=None)])
    assert await store.load_drains() == []


async def test_a_wish_is_written_with_what_else_is_saved_or_not_at_all(store):
    saves = [SaveDrain(node_id="a", drain=FIRST), status_save("nobody", "pending", "stopping")]
    with pytest.raises(NotFound):
        await store.apply_saves(saves)

    assert await store.load_drains() == []

"""A store in a folder of its own."""

import pytest

from tsd.store.store import open_store


@pytest.fixture
async def store(tmp_path):
    async with open_store(tmp_path / "data") as opened:
        yield opened

"""What a slicer sets as metadata of its execution leaves its process with reports and beats."""

import json

from tests.support.minimaster import running_master
from tsd.core.records import Status


async def test_metadata_of_the_slicer_reaches_the_master_by_the_end_of_the_execution(tmp_path):
    operations = [{"_op": "noting-count", "size": 5}, {"_op": "noop"}]
    async with running_master(tmp_path, operations, metadata={"begun": "yesterday"}) as master:
        assert await master.wait_end() is Status.COMPLETED

    assert json.loads(master.metadata) == {
        "begun": "yesterday",
        "number": 4,
        "refusals": ["metadata of an execution must be JSON: m", "metadata of an execution may have 16384 "],
    }


async def test_without_any_nothing_is_sent(tmp_path):
    async with running_master(tmp_path, [{"_op": "count", "size": 5}, {"_op": "noop"}]) as master:
        assert await master.wait_end() is Status.COMPLETED

    assert master.metadata == ""

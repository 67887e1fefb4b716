"""A process that stores records and says what was acknowledged, until it is killed.

    python -m tests.support.store_writer DATA_DIR

Several batches are always under way. Each has `ROWS` rows of one slicer, whose number is that of the batch, and
two versions: the first as started, the second as completed. A line `<slicer_id> <state>` follows each answer.
"""

import os
import sys
from pathlib import Path

import trio

from tests.support.stores import COMPLETED, START, add_execution, batch_of, slice_row
from tsd.store.store import open_store

ROWS = 300
TASKS = 4


async def write_for_ever(store, first):
    slicer_id = first
    while True:
        for state in (START, COMPLETED):
            await store.store_records(
                batch_of(slice_row(order, state, slicer_id=slicer_id) for order in range(1, ROWS + 1))
            )
            os.write(1, f"{slicer_id} {state}\n".encode())
        slicer_id += TASKS


async def main():
    async with open_store(Path(sys.argv[1])) as store, trio.open_nursery() as nursery:
        await add_execution(store)
        for first in range(TASKS):
            nursery.start_soon(write_for_ever, store, first)


if __name__ == "__main__":
    trio.run(main)

"""A process that is killed in the middle of commits loses nothing that it had acknowledged."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio
from sqlalchemy import text

from tests.support.store_writer import ROWS
from tests.support.stores import COMPLETED, stored_states
from tsd.store.store import open_store

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("acknowledged_first", [1, 40, 150])
async def test_every_acknowledged_batch_survives_a_kill(tmp_path, acknowledged_first):
    """Section 6 of the design: what was acknowledged is durable, every batch is whole or absent."""
    lines = []
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(
                [sys.executable, "-m", "tests.support.store_writer", str(tmp_path)],
                stdout=subprocess.PIPE,
                cwd=ROOT,
                check=False,
                task_status=task_status,
            )
        )
        try:
            with trio.fail_after(60):
                rest = b""
                async for chunk in process.stdout:
                    *complete, rest = (rest + chunk).split(b"\n")
                    lines += complete
                    if len(lines) >= acknowledged_first and process.poll() is None:
                        process.send_signal(signal.SIGKILL)
        finally:
            process.kill()

    assert process.returncode == -signal.SIGKILL
    acknowledged = {int(slicer): int(state) for slicer, state in (line.split() for line in lines)}
    async with open_store(tmp_path) as store:
        states = await stored_states(store)
        check = await store.read(
            lambda connection: connection.execute(text("PRAGMA integrity_check")).scalar()
        )

    rows = Counter((slicer, state) for (slicer, _), state in states.items())
    assert len(acknowledged) >= acknowledged_first / 2
    for slicer, state in acknowledged.items():
        assert rows[slicer, state] == ROWS or (rows[slicer, COMPLETED] == ROWS and state != COMPLETED)
    assert set(rows.values()) == {ROWS}
    assert check == "ok"

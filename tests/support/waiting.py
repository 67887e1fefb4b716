"""Waiting for conditions outside of this process, with a deadline."""

import os
from collections.abc import Callable
from pathlib import Path

import trio


async def wait_for(condition: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    """Wait until a condition of the outside world holds, for which there is no event to await."""
    with trio.move_on_after(within_s):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(f"not within {within_s:g} s: {what}")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False

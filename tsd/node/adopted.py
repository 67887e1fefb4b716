"""Processes that outlive the one that has started them, and whose they are.

A process that an operation starts in a session of its own, or that forks twice, is in no process group of its
worker, and it is nobody's child once its parent has ended. The fork server is a *subreaper*: the kernel makes
it the parent of all that its descendants leave behind. So there is one place where these processes come
together, which reaps them, and ends them when the worker has ended that they belong to.

Whose a process is:

* one that was forked has the shared page of its worker in its memory maps, whatever it calls itself;
* one that was executed has the variable `TSD_PROCESS` in its environment, unless somebody took it out;
* one that has neither may belong to any process that ran when it was first seen.

Invariants: a process is ended only when all to which it may belong have ended; and when all have, no
descendant of theirs is left. Children of one that is ended are adopted in their turn, so the look is repeated
for each end.
"""

import contextlib
import os
import re
import signal
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

MARK = "TSD_PROCESS"
"""Environment variable of every process of a node, and so of what it executes: the ProcessId."""

_PROC = Path("/proc")
_BOX = re.compile(rb" (\d+) +/memfd:tsd-blackbox")


class Adopted:
    """The adopted children of a process, which is a subreaper.

    A pid stays the same process for as long as this process has not reaped it.
    """

    def __init__(self) -> None:
        self._owners: dict[int, set[str]] = {}
        self._ended: set[int] = set()

    def sweep(self, own: Collection[int], living: Mapping[int, str]) -> None:
        """End all adopted children whose owners have ended.

        Args:
            own: Pids of children that are not adopted.
            living: ProcessIds of those that run, by the inode of their shared page.
        """
        names = set(living.values())
        for pid in children():
            if pid in own or pid in self._ended:
                continue
            owners = owners_of(pid, living)
            if owners is None:
                owners = self._owners.setdefault(pid, set(names))
            if names.isdisjoint(owners):
                self._ended.add(pid)
                kill(pid)

    def reaped(self, pid: int) -> bool:
        """An adopted child was reaped; whether it had been ended here, so that its children come next."""
        self._owners.pop(pid, None)
        was_ended = pid in self._ended
        self._ended.discard(pid)
        return was_ended


def owners_of(pid: int, living: Mapping[int, str]) -> set[str] | None:
    """To whom a process belongs: ProcessIds, which need not live any more; None when it can not be told."""
    with contextlib.suppress(OSError):
        inodes = {int(inode) for inode in _BOX.findall((_PROC / str(pid) / "maps").read_bytes())}
        if inodes:
            return {living[inode] for inode in inodes if inode in living}
    with contextlib.suppress(OSError):
        mark = f"{MARK}=".encode()
        for variable in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if variable.startswith(mark):
                return {os.fsdecode(variable[len(mark) :])}
    return None


def children() -> list[int]:
    """Pids of the children of this process, those that have ended and are not reaped among them."""
    try:
        return [
            int(pid)
            for path in (_PROC / "self/task").iterdir()
            for pid in (path / "children").read_text().split()
        ]
    except OSError:
        return [pid for pid in _all_pids() if _parent_of(pid) == os.getpid()]


def kill(pid: int) -> None:
    """End a child at once; no effect when it has ended, or changed its user."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def next_ended() -> int | None:
    """The pid of a child that has ended and is not reaped yet; None when there is none."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid


def reap(pids: Iterable[int]) -> list[int]:
    """Reap those of these children that have ended; the pids of the others."""
    left = []
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                left.append(pid)
    return left


def _all_pids() -> Iterable[int]:
    with contextlib.suppress(OSError):
        yield from [int(path.name) for path in _PROC.iterdir() if path.name.isdigit()]


def _parent_of(pid: int) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name of the program stands in brackets and may contain any character.
        return int((_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[1])
    return None

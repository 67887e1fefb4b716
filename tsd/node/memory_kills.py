"""How often the kernel has ended processes because memory ran out.

A process that is killed for that dies by SIGKILL and cannot say why. The kernel counts: in the memory cgroup
of this process (`memory.events` of version 2, which includes the groups below it, `memory.oom_control` of
version 1), and for the whole host in /proc/vmstat. See cgroup-v2.rst and cgroup-v1/memory.rst of the kernel.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class MemoryKills:
    """Looks whether the kernel has ended more processes since the last look.

    Args:
        files: That have a line `oom_kill N`; by default those of this process that can be read.
    """

    def __init__(self, files: tuple[Path, ...] | None = None) -> None:
        self._files = tuple(_files_of_this_process()) if files is None else files
        self._seen = self._count()

    def look(self) -> bool:
        """Whether there are more than at the last look; never raises."""
        count, seen = self._count(), self._seen
        self._seen = count
        return count > seen

    def _count(self) -> int:
        """Of the first file that can be read: those behind it count more than our own processes."""
        for file in self._files:
            with suppress(OSError):
                if found := _COUNT.search(file.read_text(encoding="ascii", errors="replace")):
                    return int(found[1])
        return 0


def _files_of_this_process() -> Iterator[Path]:
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                yield _ROOT / "memory" / path.lstrip("/") / "memory.oom_control"
                # In a container it may be mounted as the root.
                yield _ROOT / "memory" / "memory.oom_control"
            elif not controllers:
                yield _ROOT / path.lstrip("/") / "memory.events"
                yield _ROOT / "memory.events"
    yield Path("/proc/vmstat")

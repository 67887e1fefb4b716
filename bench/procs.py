"""What processes take, from `/proc`."""

import os
import re
from pathlib import Path

import attrs

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Process:
    """A process of a cluster; `title` is such as `tsd: master`."""

    pid: int
    title: str

    def memory_mb(self) -> dict[str, float]:
        """`pss`: its share of what it has in memory; `uss`: what nobody else has."""
        sizes = {"pss": 0.0, "uss": 0.0}
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Pss":
                sizes["pss"] += int(rest.split()[0]) / 1024
            elif name in ("Private_Clean", "Private_Dirty"):
                sizes["uss"] += int(rest.split()[0]) / 1024
        return sizes

    def cpu_s(self) -> float:
        """Processor time so far, also that of threads that have ended; in steps of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def processes_of(root: int) -> list[Process]:
    """A process and its descendants."""
    parents, titles = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text()
            title = (path / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace").strip()
        except OSError:
            continue
        parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])
        titles[int(path.name)] = title
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(Process(pid=pid, title=titles.get(pid, "")))
        todo += [child for child, parent in parents.items() if parent == pid]
    return found


def named(processes: list[Process], pattern: str) -> list[Process]:
    """Those whose title fits."""
    return [process for process in processes if re.search(pattern, process.title)]

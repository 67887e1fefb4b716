"""A cluster on real hosts, one cluster file for all, and jobs over the flights whose output is known."""

import contextlib
import json
import shutil
import sqlite3
import time
import uuid
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import yaml
from typing_extensions import override

import tsd
from tests.support import flights
from tests.support.daemons import TERMINAL, Api, until
from tests.support.hosts import ROOT, Host, Lab

MASTER = "one"
SLOTS = {"one": 2, "two": 4, "three": 4}
SOME_LINES = 60_000
"""Lines of the flights that most jobs read; one reads all."""
UNITS = ("tsd-master", "tsd-node")

SETTINGS: dict[str, dict[str, Any]] = {
    "teraslice": {
        "master_hostname": MASTER,
        "shutdown_timeout": "10s",
        "node_disconnect_timeout": "6s",
        "worker_disconnect_timeout": "4s",
        "action_timeout": "10s",
    },
    "tsd": {
        "listen": "0.0.0.0",
        "allow_anonymous": True,
        "mesh_listen": "0.0.0.0",
        "allow_plaintext": True,
        "heartbeat_interval": "500ms",
        "controller_lease": "3s",
        "nodes": {name: {"workers": slots} for name, slots in SLOTS.items()},
    },
}

timings: list[tuple[str, float]] = []


def report(what: str, since: float) -> None:
    """Note how long it took from a fault to normal."""
    seconds = time.monotonic() - since
    timings.append((what, seconds))
    print(f"TOOK {what}: {seconds:.2f} s", flush=True)


class HostCluster(Api):
    """Three hosts with tsd installed and enabled; the first runs the master, all run a node."""

    NEXT_VERSION = "9.9.9"

    def __init__(self, lab: Lab, zipped: Path) -> None:
        self.lab = lab
        self._source_of_next = lab.folder / "source-next"
        self._source_of_next.mkdir()  # hosts see such folders, which have to be there when they boot
        self.inputs = _Inputs(lab, zipped)
        lab.make_template()
        self.inputs.place(lab.template)
        for name in SLOTS:
            lab.add(name)
        lab.introduce()
        self.hosts: dict[str, Host] = lab.hosts
        self.master = self.hosts[MASTER]
        self.write_settings()

    # --- operation ------------------------------------------------------------------------------

    def write_settings(self, *hosts: Host, **changes: Any) -> None:
        """Put the cluster file on hosts, all by default, with changes by `section__setting`."""
        settings = {section: dict(values) for section, values in SETTINGS.items()}
        for name, value in changes.items():
            section, _, key = name.partition("__")
            settings.setdefault(section, {})[key] = value
        for host in hosts or self.hosts.values():
            host.write("/etc/tsd/tsd.yaml", yaml.safe_dump(settings))

    def next_version(self) -> Path:
        """A source folder of tsd that is like this one but for its version."""
        folder = self._source_of_next
        for name in ("tsd", "systemd", "packaging", "config"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder / name)
        version = folder / "tsd/__init__.py"
        version.write_text(version.read_text().replace(f'"{tsd.__version__}"', f'"{self.NEXT_VERSION}"'))
        return folder

    def units_of(self, host: Host) -> list[str]:
        return list(UNITS) if host is self.master else ["tsd-node"]

    def boot(self) -> None:
        """Power on what is off, and enable the units on new hosts."""
        started = [host for host in self.hosts.values() if not host.is_on]
        for host in started:
            host.boot()
        for host in started:
            host.wait_up()
            host.systemctl("enable", "--now", "tsd.target", *self.units_of(host))

    def ensure_well(self) -> None:
        """Bring the cluster to where each test begins, whatever the one before left."""
        self.boot()
        self.write_settings()
        for host in self.hosts.values():
            host.heal_link()
            host.systemctl("reset-failed")
            host.systemctl("start", "tsd.target", *self.units_of(host))
        self.wait_nodes()
        for execution in self.get("/ex?size=1000"):
            if execution["_status"] not in TERMINAL:
                self.post(f"/ex/{execution['ex_id']}/_stop")

    def wait_nodes(self, *names: str, within_s: float = 40.0) -> None:
        """Wait until these nodes, all by default, are connected."""
        wanted = set(names or self.hosts)
        until(
            lambda: self.is_ready() and wanted == set(self.nodes()),
            f"{sorted(wanted)} are connected",
            within_s,
        )

    def stop(self, host: Host) -> float:
        """`systemctl stop tsd.target`; how long it took."""
        since = time.monotonic()
        host.systemctl("stop", "tsd.target")
        return time.monotonic() - since

    def faults(self) -> list[str]:
        """What is not as it should be when no job runs."""
        found = []
        for host in self.hosts.values():
            found += [f"{host.name}: {unit}" for unit in host.failed_units()]
            for pid, (unit, title) in host.processes().items():
                if unit not in {"tsd-master.service", "tsd-node.service"}:
                    found.append(f"{host.name}: {pid} {title} belongs to {unit}")
                elif title.startswith(("tsd: worker", "tsd: controller")):
                    found.append(f"{host.name}: {pid} {title} is left")
        return found

    def faults_after_a_while(self) -> list[str]:
        """The same, once processes that are ending have had the time for it."""
        with contextlib.suppress(AssertionError):
            until(lambda: not self.faults(), "all is as it should be", 15)
        return self.faults()

    def show_journals(self, lines: int = 60) -> None:
        """Print what the daemons of all hosts have said last."""
        for host in self.hosts.values():
            print(f"--- {host.name} ---")
            if host.is_on:
                print(host.run("journalctl", "-u", "tsd*", "-o", "short-precise", "-n", lines, check=False))
            else:
                print(host.console.read_text(errors="replace")[-4000:])

    # --- API ------------------------------------------------------------------------------------

    @property
    @override
    def url(self) -> str:
        return f"http://{self.master.address}:5678"

    @override
    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request that is made again while the master is away."""
        deadline = time.monotonic() + 40
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.request(method, self.url + path, timeout=10, **options)
                if answer.status_code != 503:
                    return answer
            assert time.monotonic() < deadline, f"the master does not answer {method} {path}"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    @override
    def nodes(self) -> dict[str, dict[str, Any]]:
        state = self.get("/cluster/state")
        return {
            node["node_id"]: node
            for node in state.values()
            if node["node_id"] in self.hosts and is_there(node)
        }

    def where(self, ex_id: str, assignment: str) -> list[tuple[Host, int]]:
        """(host, pid) of each such process of an execution."""
        return [
            (self.hosts[node["node_id"]], process["pid"])
            for node in self.get("/cluster/state").values()
            for process in node["active"]
            if process.get("ex_id") == ex_id and process["assignment"] == assignment and process["pid"] > 0
        ]

    def a_process(self, ex_id: str, assignment: str) -> tuple[Host, int]:
        return until(lambda: self.where(ex_id, assignment), f"a {assignment} runs")[0]


def is_there(node: dict[str, Any]) -> bool:
    return node["state"] == "connected"


class _Inputs:
    """The flights on each host, and what a plain script makes of them."""

    def __init__(self, lab: Lab, zipped: Path) -> None:
        some = lab.folder / "some.zip"
        with zipfile.ZipFile(zipped) as archive, archive.open("flights.csv") as file:
            lines = [line for line, _ in zip(file, range(SOME_LINES), strict=False)]
        with zipfile.ZipFile(some, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("flights.csv", b"".join(lines))
        self._zips = {"all": zipped, "some": some}
        self.expected = {name: flights.expected(path) for name, path in self._zips.items()}

    def place(self, root: Path) -> None:
        (root / "srv/out").mkdir(parents=True)
        account = next(
            line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("tsd:")
        )
        uid, gid = map(int, account.split(":")[2:4])
        shutil.chown(root / "srv/out", uid, gid)
        for name, path in self._zips.items():
            with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as source:
                (root / f"srv/{name}.csv").write_bytes(source.read())


class _Run:
    """A job on the hosts; each host writes its own sink."""

    OUTPUT = "*.ldjson"
    """Where its files are in the sink."""

    def __init__(self, cluster: HostCluster, sink: str, job: dict[str, Any]) -> None:
        self.cluster = cluster
        self.sink = sink
        self.job_id, self.ex_id = cluster.post_job(job)

    def files(self) -> dict[Path, Path]:
        """Files that the sinks of all hosts have together, one of each name, each where it is."""
        found: dict[Path, Path] = {}
        for host in self.cluster.hosts.values():
            sink = host.root / self.sink
            for path in sink.glob(self.OUTPUT):
                found.setdefault(path.relative_to(sink), path)
        return found

    def slices(self) -> int:
        """How many slices have left something."""
        return len({path.name for path in self.files()})

    def wait_busy(self, more: int = 10, within_s: float = 40.0) -> None:
        """Wait until so many more slices have come out."""
        before = self.slices()
        until(lambda: self.slices() >= before + more, f"{more} slices come out", within_s)

    def check_copies(self) -> None:
        """What ran on several hosts gave the same on each."""
        for host in self.cluster.hosts.values():
            sink = host.root / self.sink
            for name, path in self.files().items():
                copy = sink / name
                assert not copy.exists() or copy.read_bytes() == path.read_bytes(), (
                    f"{name} differs on {host.name}"
                )

    def remove_output(self) -> None:
        for host in self.cluster.hosts.values():
            shutil.rmtree(host.root / self.sink, ignore_errors=True)


class PersistentRun(_Run):
    """A job without end; each slice makes its own hundred records, the same whenever it runs."""

    RECORDS = 100

    def __init__(self, cluster: HostCluster) -> None:
        sink = f"srv/out/{uuid.uuid4().hex[:8]}"
        dates = {"format": "isoBetween", "start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
        operations = [
            {"_op": "data_generator", "size": self.RECORDS, "seed": 7, **dates},
            {"_op": "delay", "ms": 200},
            {"_op": "file_exporter", "path": f"/{sink}", "format": "ldjson", "size": self.RECORDS},
        ]
        job = {"name": "endless", "lifecycle": "persistent", "workers": 6, "operations": operations}
        super().__init__(cluster, sink, job)

    def stop_and_check(self) -> None:
        """No slice is missing, and those that were handed out are completed, with their records there once."""
        self.cluster.post(f"/ex/{self.ex_id}/_stop")
        self.cluster.wait_status(self.ex_id, "stopped", within_s=40)
        self.check_copies()
        records = self.recorded()
        assert [(slicer, number) for slicer, number, _ in records] == [
            (0, n) for n in range(1, len(records) + 1)
        ]
        states = Counter(state for _, _, state in records)
        # A stop leaves what no worker held; it would be run by a recovery.
        assert set(states) <= {"completed", "pending"}, states
        lines = {path.name: len(path.read_bytes().splitlines()) for path in self.files().values()}
        assert len(lines) == states["completed"]
        assert set(lines.values()) == {self.RECORDS}
        self.remove_output()

    def recorded(self) -> list[tuple[int, int, str]]:
        """(slicer, number, state) of each slice in the store."""
        path = self.cluster.master.root / "var/lib/tsd-master/store.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as store:
            rows = store.execute(
                "SELECT slicer_id, slicer_order, state FROM slices JOIN executions USING (ex_no) WHERE ex_id = ?"
                " ORDER BY slicer_id, slicer_order",
                (self.ex_id,),
            ).fetchall()
        words = ("pending", "start", "completed", "error")
        return [(slicer, number, words[state]) for slicer, number, state in rows]


class FlightsRun(_Run):
    """The flights job on all hosts: each reads its own copy."""

    OUTPUT = "carrier=*/*.ldjson"

    def __init__(self, cluster: HostCluster, *, data: str = "some", size: int = 40_000, delay_ms: int = 150,
                 workers: int = 6, **more: Any) -> None:  # fmt: skip
        self.data = data
        sink = f"srv/out/{uuid.uuid4().hex[:8]}"
        job = json.loads((ROOT / "examples/flights.json").read_text())
        reader, *rest, exporter = job["operations"]
        reader |= {"path": f"/srv/{data}.csv", "size": size}
        exporter |= {"path": f"/{sink}"}
        job |= {
            "workers": workers,
            "operations": [reader, *rest, {"_op": "delay", "ms": delay_ms}, exporter],
            **more,
        }
        super().__init__(cluster, sink, job)

    def hosts_that_wrote(self) -> set[str]:
        return {
            name
            for name, host in self.cluster.hosts.items()
            if any((host.root / self.sink).glob("carrier=*"))
        }

    def check_completed(self, within_s: float = 90.0) -> None:
        """Completed, nothing lost, nothing doubled, whatever ran twice gave the same."""
        execution = self.cluster.wait_status(self.ex_id, "completed", within_s=within_s)
        assert execution["_has_errors"] is False
        self.check_copies()
        union = self.cluster.lab.folder / "union"
        for name, path in self.files().items():
            (union / name.parent).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, union / name)
        try:
            assert flights.found(union) == self.cluster.inputs.expected[self.data]
        finally:
            shutil.rmtree(union)
        self.remove_output()

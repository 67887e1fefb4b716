"""Real daemons as users start them, in a folder of their own, ended and checked at the end of a test.

Everything here is plain blocking code, so that it serves fixtures of any scope, and tests with and
without trio. What a daemon writes goes to a file and is shown when a test fails.
"""

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml
from typing_extensions import override

ROOT = Path(__file__).resolve().parents[2]
START_WITHIN_S = 30.0
STOP_WITHIN_S = 30.0
PORTS = range(20_000, 30_000)
TERMINAL = {"completed", "stopped", "rejected", "failed", "terminated"}


def until(condition: Callable[[], Any], what: str, within_s: float = 20.0) -> Any:
    """Wait until a condition of the outside world holds; return what it returned."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """A port that nobody uses now, and that the kernel gives to nobody: it stays free over a restart."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def pids_of_session(session: int) -> list[int]:
    """The processes of a session that run (zombies do not)."""
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] not in {"Z", "X"}:
                    pids.append(int(folder.name))
    return sorted(pids)


class Daemon:
    """One `tsd` command in a session of its own."""

    def __init__(
        self, name: str, arguments: list[str], log_path: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.log_path = log_path
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("TSD_", "NOTIFY_"))
        }
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tsd.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=inherited | (environment or {}),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def pids(self) -> list[int]:
        """All its processes: itself and its descendants."""
        return pids_of_session(self.pid)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, within_s: float = STOP_WITHIN_S) -> int:
        """SIGTERM; the exit code."""
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)
        return self.wait(within_s)

    def kill(self) -> int:
        """SIGKILL to the daemon alone; the exit code."""
        self._process.kill()
        return self.wait(5)

    def wait(self, within_s: float) -> int:
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end within {within_s:g} s\n{self.log[-4000:]}"
            ) from None

    def sigstop(self) -> None:
        """Freeze all processes of the daemon."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def sigcont(self) -> None:
        """Let them go on."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


class Api:
    """What tests ask a master, whatever runs it."""

    @property
    def url(self) -> str:
        raise NotImplementedError

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=60, **options)

    def get(self, path: str) -> Any:
        answer = self.request("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.request("POST", path, **({} if body is None else {"json": body}))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post_job(self, job: dict[str, Any]) -> tuple[str, str]:
        """Post and start a job; its job_id and ex_id."""
        answer = self.post("/jobs", job)
        return answer["job_id"], answer["ex_id"]

    def status(self, ex_id: str) -> str:
        return self.get(f"/ex/{ex_id}")["_status"]

    def wait_status(self, ex_id: str, *wanted: str, within_s: float = 30.0) -> dict[str, Any]:
        """Wait for one of these statuses, or, without any, for a terminal one; the execution."""
        statuses = set(wanted) or TERMINAL

        def seen() -> dict[str, Any] | None:
            execution = self.get(f"/ex/{ex_id}")
            if execution["_status"] in TERMINAL - statuses:
                raise AssertionError(f"{execution['_status']} instead of {sorted(statuses)}: {execution}")
            return execution if execution["_status"] in statuses else None

        return until(seen, f"{ex_id} is {' or '.join(sorted(statuses))}", within_s)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The connected nodes, without the master."""
        return {
            node_id: node
            for node_id, node in self.get("/cluster/state").items()
            if node["state"] != "disconnected"
            and not any(process["assignment"] == "cluster_master" for process in node["active"])
        }

    def processes(self, ex_id: str, assignment: str | None = None) -> list[dict[str, Any]]:
        """The processes of an execution as the cluster state has them."""
        return [
            process
            for node in self.get("/cluster/state").values()
            for process in node["active"]
            if process.get("ex_id") == ex_id and assignment in {None, process["assignment"]}
        ]


class Cluster(Api):
    """A cluster of separate daemons (`start_master`, `start_node`) or of one `tsd up` (`start_up`).

    Args:
        folder: Empty; everything goes there.
        workers: Slots of each node.
        settings: More of the cluster file, by dotted name.

    Attributes:
        environment: More variables of the daemons started from now on.
    """

    def __init__(self, folder: Path, *, workers: int = 4, **settings: Any) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.daemons: dict[str, Daemon] = {}
        self.environment: dict[str, str] = {}
        self._clients: list[httpx.Client] = []
        self._settings: dict[str, dict[str, Any]] = {
            "terafoundation": {"log_level": "debug"},
            "teraslice": {
                "port": free_port(),
                "workers": workers,
                "shutdown_timeout": "5s",
                "slicer_port_range": f"{PORTS.stop}:32767",
            },
            "tsd": {"mesh_port": free_port(), "heartbeat_interval": "200ms", "data_dir": str(self.data_dir)},
        }
        self.configure(**settings)

    def configure(self, **settings: Any) -> None:
        """Change settings by dotted name; daemons started from now on have them."""
        for name, value in settings.items():
            section, _, key = name.partition(".")
            self._settings[section][key] = value

    def write_config(self, name: str) -> Path:
        """Write the cluster file of a daemon as the settings are now; a running one may read it again."""
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(self._settings))
        return config

    # --- daemons --------------------------------------------------------------------------------

    def start_master(self) -> Daemon:
        """Start the master and wait until it is ready; a later start has the same ports."""
        (self.data_dir / "api.json").unlink(missing_ok=True)
        daemon = self._start("master", ["master"])
        self._wait_ready(daemon)
        return daemon

    def start_node(self, name: str = "node-1", *, workers: int | None = None) -> Daemon:
        """Start a node daemon and wait until the master knows it."""
        arguments = ["node", "--node-id", name, "--data-dir", str(self.folder / name)]
        arguments += ["--workers", str(workers)] if workers is not None else []
        daemon = self._start(name, arguments)

        def is_known() -> bool:
            self._check_runs(daemon)
            return name in self.nodes()

        until(is_known, f"{name} is connected", START_WITHIN_S)
        return daemon

    def start_up(self) -> Daemon:
        """Start `tsd up` and wait until the master is ready and the node connected."""
        (self.data_dir / "api.json").unlink(missing_ok=True)
        daemon = self._start("up", ["up"])
        self._wait_ready(daemon)
        until(self.nodes, "the node is connected", START_WITHIN_S)
        return daemon

    def start_refused(self, *arguments: str, within_s: float = START_WITHIN_S) -> tuple[int, str]:
        """Start something that ends by itself; its exit code and what it wrote."""
        daemon = self._start(f"refused-{len(self.daemons)}", list(arguments))
        return daemon.wait(within_s), daemon.log

    def close(self) -> None:
        """Stop every daemon that still runs, nodes first, and check that each left well and left nothing."""
        faults = []
        try:
            for daemon in reversed(list(self.daemons.values())):
                if daemon.exit_code is None:
                    code = daemon.stop()
                    if code != 0:
                        faults.append(f"{daemon.name} ended with exit code {code}")
                with contextlib.suppress(AssertionError):
                    until(lambda daemon=daemon: not daemon.pids(), "no process is left", 5)
                if left := daemon.pids():
                    faults.append(f"{daemon.name} left processes behind: {left}")
        finally:
            for client in self._clients:
                client.close()
            for daemon in self.daemons.values():
                daemon.end()
        assert not faults, faults

    def logs(self) -> str:
        """What all daemons wrote, for the report of a failed test."""
        return "\n".join(
            f"--- {path.name} ---\n{path.read_text(errors='replace')[-20_000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _start(self, name: str, arguments: list[str]) -> Daemon:
        config = self.write_config(name)
        daemon = Daemon(
            name,
            [arguments[0], "--config", str(config), *arguments[1:]],
            self.folder / f"{name}.log",
            self.environment,
        )
        self.daemons[name] = daemon
        return daemon

    def _wait_ready(self, daemon: Daemon) -> None:
        def is_ready() -> bool:
            self._check_runs(daemon)
            try:
                return httpx.get(f"{self.announced()['url']}/ready", timeout=5).status_code == 200
            except (FileNotFoundError, httpx.TransportError):
                return False

        until(is_ready, f"{daemon.name} is ready", START_WITHIN_S)

    @staticmethod
    def _check_runs(daemon: Daemon) -> None:
        if daemon.exit_code is not None:
            raise AssertionError(f"{daemon.name} ended with {daemon.exit_code}\n{daemon.log[-4000:]}")

    # --- API ----------------------------------------------------------------------------------

    def announced(self) -> dict[str, Any]:
        """What the master wrote to api.json."""
        return json.loads((self.data_dir / "api.json").read_text())

    @property
    @override
    def url(self) -> str:
        return self.announced()["url"]

    def client(self) -> httpx.Client:
        """A client of the API, closed with the cluster."""
        client = httpx.Client(base_url=self.url, timeout=60)
        self._clients.append(client)
        return client

    # --- store ----------------------------------------------------------------------------------

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the store's file as it is now."""
        path = self.data_dir / "store.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(statement, values).fetchall()

    def records(self, ex_id: str) -> list[dict[str, Any]]:
        """All slice records of an execution, in order."""
        words = ("pending", "start", "completed", "error")
        found = self.rows(
            "SELECT slicer_id, slicer_order, state, request, retry_count, error FROM slices"
            " JOIN executions USING (ex_no) WHERE ex_id = ? ORDER BY slicer_id, slicer_order",
            ex_id,
        )
        return [
            {
                "slicer_id": slicer_id,
                "slicer_order": slicer_order,
                "state": words[state],
                "request": json.loads(request),
                "retry_count": retry_count,
                "error": error,
            }
            for slicer_id, slicer_order, state, request, retry_count, error in found
        ]


@contextlib.contextmanager
def cluster_for(request: Any, folder: Path, **options: Any) -> Iterator[Cluster]:
    """A cluster for a fixture of any scope; its logs are printed when a test that used it failed."""
    failed_before = request.session.testsfailed
    cluster = Cluster(folder, **options)
    try:
        yield cluster
        cluster.close()
    except BaseException:
        print(cluster.logs())
        raise
    finally:
        for daemon in cluster.daemons.values():
            daemon.end()
        if request.session.testsfailed > failed_before:
            print(cluster.logs())

"""A cluster for the benches: `tsd up` as users start it, in a folder of its own, on free ports."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tsd.cli.client import ApiFile, MasterClient

START_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
TERMINAL = {"completed", "stopped", "rejected", "failed", "terminated"}


class Up:
    """A running `tsd up`.

    Attributes:
        client: Of its API.
    """

    def __init__(self, config: Path, data_dir: Path, *, needs_node: bool) -> None:
        self._config = config
        self._data_dir = data_dir
        self._needs_node = needs_node
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "tsd.cli.main", "up", "--config", str(self._config)]
        ApiFile.in_folder(self._data_dir).remove()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
        )
        self.client = _wait_until_ready(self._process, self._data_dir, needs_node=self._needs_node)

    @property
    def pid(self) -> int:
        """Its session holds all processes of the cluster."""
        return self._process.pid

    @property
    def store_path(self) -> Path:
        """Its database."""
        return self._data_dir / "store.db"

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """While it is down; it is started again on the way out."""
        self.end()
        yield
        self._start()

    def end(self) -> None:
        """End all of its processes."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def run(self, job: dict, *, look_every_s: float = 0.1) -> dict:
        """Run a job to its end; the execution as the API has it.

        Args:
            job: The job file.
            look_every_s: Time between two looks, each of which takes milliseconds from the master.

        Raises:
            RuntimeError: It did not complete.
        """
        return self.wait(self.client.post("/v1/jobs", job)["ex_id"], look_every_s=look_every_s)

    def wait(self, ex_id: str, *, look_every_s: float = 0.1) -> dict:
        """Wait for the end of an execution; as `run`."""
        while (execution := self.client.get(f"/v1/ex/{ex_id}"))["_status"] not in TERMINAL:
            time.sleep(look_every_s)
        if execution["_status"] != "completed":
            raise RuntimeError(f"{execution['_status']}: {execution.get('_failureReason')}")
        return execution

    def ended_between(self, ex_id: str) -> tuple[int, int]:
        """When the first and the last slice of an execution ended (Unix ms)."""
        with contextlib.closing(sqlite3.connect(f"file:{self.store_path}?mode=ro", uri=True)) as store:
            return store.execute(
                "SELECT min(slices.updated), max(slices.updated) FROM slices JOIN executions USING (ex_no)"
                " WHERE ex_id = ? AND state = 2",
                (ex_id,),
            ).fetchone()

    def second_half(self, ex_id: str) -> tuple[int, int]:
        """When half of the slices of an execution had ended, and when all (Unix ms)."""
        with contextlib.closing(sqlite3.connect(f"file:{self.store_path}?mode=ro", uri=True)) as store:
            found = store.execute(
                "SELECT slices.updated FROM slices JOIN executions USING (ex_no) WHERE ex_id = ? ORDER BY 1",
                (ex_id,),
            ).fetchall()
        return found[len(found) // 2][0], found[-1][0]

    def slices(self, ex_id: str) -> tuple[int, int]:
        """How many slices are stored as completed, and when the first of them ended (Unix ms)."""
        path = f"file:{self.store_path}?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=10)) as store:
            return store.execute(
                "SELECT count(*), min(slices.updated) FROM slices JOIN executions USING (ex_no)"
                " WHERE ex_id = ? AND state = 2",
                (ex_id,),
            ).fetchone()


@contextlib.contextmanager
def running_up(slots: int, *, needs_node: bool = True, **settings: object) -> Iterator[Up]:
    """A cluster on this host, ended on the way out, also when SIGTERM ends the bench.

    Args:
        slots: Of its node.
        needs_node: Wait for the node, too; else only until the master is ready.
        settings: More of the section `tsd` of its cluster file.
    """
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="tsd-bench-") as folder:
        data_dir = Path(folder) / "data"
        config = Path(folder) / "tsd.yaml"
        document = {
            "terafoundation": {"log_level": os.environ.get("BENCH_LOG", "warn")},
            "teraslice": {"port": 0, "workers": slots, "slicer_port_range": "30000:32767"},
            "tsd": {"mesh_port": 0, "data_dir": str(data_dir), **settings},
        }
        config.write_text(json.dumps(document))  # JSON is YAML
        up = Up(config, data_dir, needs_node=needs_node)
        try:
            yield up
        finally:
            up.end()


def wait_status(up: Up, job_id: str, wanted: str) -> None:
    """Wait until the latest execution of a job has a status.

    Raises:
        RuntimeError: It ended in another one.
    """
    while (status := up.client.get(f"/v1/jobs/{job_id}/ex")["_status"]) != wanted:
        if status in TERMINAL:
            raise RuntimeError(f"it is {status}")
        time.sleep(0.02)


def _wait_until_ready(process: subprocess.Popen, data_dir: Path, *, needs_node: bool) -> MasterClient:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        url = ApiFile.in_folder(data_dir).read_url()
        if url is not None:
            client = MasterClient(url)
            if client.is_ready() and (not needs_node or _node_count(client)):
                return client
        time.sleep(0.01)
    raise RuntimeError("the cluster did not start")


def _node_count(client: MasterClient) -> int:
    """Connected nodes; the entry of the master itself has no room for work."""
    return sum(node["total"] > 0 for node in client.get("/v1/cluster/state").values())


def machine() -> dict:
    """What the figures were got on: processors, load, Python."""
    return {
        "processors": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "python": sys.version.split()[0],
    }

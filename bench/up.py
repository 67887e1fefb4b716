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
        pid: Its session holds all processes of the cluster.
        client: Of its API.
    """

    def __init__(self, pid: int, client: MasterClient, data_dir: Path) -> None:
        self.pid = pid
        self.client = client
        self._data_dir = data_dir

    def run(self, job: dict) -> dict:
        """Run a job to its end; the execution as the API has it.

        Raises:
            RuntimeError: It did not complete.
        """
        ex_id = self.client.post("/v1/jobs", job)["ex_id"]
        while (execution := self.client.get(f"/v1/ex/{ex_id}"))["_status"] not in TERMINAL:
            time.sleep(0.1)
        if execution["_status"] != "completed":
            raise RuntimeError(f"{execution['_status']}: {execution.get('_failureReason')}")
        return execution

    def slices(self, ex_id: str) -> tuple[int, int]:
        """How many slices are stored as completed, and when the first of them ended (Unix ms)."""
        path = self._data_dir / "store.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as store:
            return store.execute(
                "SELECT count(*), min(slices.updated) FROM slices JOIN executions USING (ex_no)"
                " WHERE ex_id = ? AND state = 2",
                (ex_id,),
            ).fetchone()


@contextlib.contextmanager
def running_up(slots: int) -> Iterator[Up]:
    """A cluster on this host, ended on the way out, also when SIGTERM ends the bench."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="tsd-bench-") as folder:
        data_dir = Path(folder) / "data"
        config = Path(folder) / "tsd.yaml"
        document = {
            "terafoundation": {"log_level": "warn"},
            "teraslice": {"port": 0, "workers": slots, "slicer_port_range": "30000:32767"},
            "tsd": {"mesh_port": 0, "data_dir": str(data_dir)},
        }
        config.write_text(json.dumps(document))  # JSON is YAML
        command = [sys.executable, "-m", "tsd.cli.main", "up", "--config", str(config)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
        )
        try:
            yield Up(process.pid, _wait_until_ready(process, data_dir), data_dir)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_until_ready(process: subprocess.Popen, data_dir: Path) -> MasterClient:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        url = ApiFile.in_folder(data_dir).read_url()
        if url is not None:
            client = MasterClient(url)
            if client.is_ready() and _node_count(client):
                return client
        time.sleep(0.05)
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

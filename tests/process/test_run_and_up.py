"""`tsd run` and `tsd up` as users start them: real daemons, real signals, nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


class Command:
    """A `tsd` command that runs in a folder of its own, by which its processes are known."""

    def __init__(self, folder, *arguments):
        self.folder = folder
        self._out = folder / "out.txt"
        with self._out.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tsd.cli.main", *map(str, arguments)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self):
        return self._out.read_text()

    async def until(self, text):
        await wait_for(lambda: text in self.output, f"{text!r} in {self.output}", 60)

    async def exit_code(self):
        await wait_for(lambda: self.process.poll() is not None, f"the end: {self.output}", 60)
        return self.process.returncode

    def pids(self):
        """All processes that work in the folder."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and Path(os.readlink(entry / "cwd")).is_relative_to(self.folder):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    async def leaves_nothing(self):
        await wait_for(lambda: not self.pids(), "no process is left")


@pytest.fixture
def tsd(tmp_path):
    (tmp_path / "tmp").mkdir()
    config = tmp_path / "tsd.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "teraslice": {"port": 0, "workers": 4, "shutdown_timeout": "10s"},
                "tsd": {"mesh_port": 0, "operation_modules": ["tests.support.ops"], "data_dir": "data"},
            }
        )
    )
    commands = []

    def start(*arguments):
        commands.append(Command(tmp_path, arguments[0], "--config", config, *arguments[1:]))
        return commands[-1]

    yield start
    for command in commands:
        for pid in command.pids():
            os.kill(pid, signal.SIGKILL)
        command.process.wait()


@pytest.fixture
def job_file(tmp_path):
    def write(*operations, lifecycle="once", **more):
        path = tmp_path / "job.json"
        document = {"name": "a job", "workers": 2, "lifecycle": lifecycle, "operations": operations, **more}
        path.write_text(json.dumps(document))
        return path

    return write


async def test_run_takes_a_job_to_its_end_and_leaves_nothing(tsd, job_file, tmp_path):
    job = job_file({"_op": "count", "size": 50}, {"_op": "witness", "file": str(tmp_path / "seen")})

    command = tsd("run", job)

    assert await command.exit_code() == 0
    assert "completed: 50 slices, 0 failed" in command.output
    assert set(range(50)) == {int(line.split()[0]) for line in (tmp_path / "seen").read_text().splitlines()}
    await command.leaves_nothing()
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_run_says_every_fault_of_a_job_and_exits_with_78(tsd, job_file):
    command = tsd("run", job_file({"_op": "count"}, workers=0))

    assert await command.exit_code() == 78
    assert "workers" in command.output
    assert "at least two operations" in command.output
    await command.leaves_nothing()


async def test_run_says_why_a_job_failed_and_exits_with_1(tsd, job_file):
    job = job_file({"_op": "count", "size": 5}, {"_op": "raiser", "at": [3]}, max_retries=0)

    command = tsd("run", job, "--keep")

    assert await command.exit_code() == 1
    assert "failed: 5 slices, 1 failed" in command.output
    assert "had 1 slice failure" in command.output
    assert re.search(r"slice [0-9a-f-]{36}: raiser \(operations\[1\]\): ", command.output)
    assert re.search(r"of the request .*number.*3", command.output)
    (kept,) = re.findall(r"The data folder is (\S+),", command.output)
    assert (Path(kept) / "tsd.log").stat().st_size > 0
    await command.leaves_nothing()


async def test_run_stops_the_job_at_the_first_signal_and_exits_with_2(tsd, job_file):
    command = tsd("run", job_file({"_op": "count", "size": 10**6}, {"_op": "sleeper", "seconds": 0.05}))
    await command.until("running: ")

    command.process.send_signal(signal.SIGINT)

    assert await command.exit_code() == 2
    assert "stopping after the running slices" in command.output
    assert re.search(r"^stopped: [\d,]+ slices, 0 failed", command.output, re.MULTILINE)
    await command.leaves_nothing()


async def test_run_hurries_at_the_second_signal(tsd, job_file):
    command = tsd("run", job_file({"_op": "count", "size": 10}, {"_op": "sleeper", "seconds": 600}))
    await command.until("running: ")
    command.process.send_signal(signal.SIGINT)
    await command.until("stopping after the running slices")

    command.process.send_signal(signal.SIGINT)

    assert await command.exit_code() == 2
    assert "stopping at once" in command.output
    await command.leaves_nothing()


async def test_a_killed_run_takes_its_cluster_with_it(tsd, job_file):
    command = tsd("run", job_file({"_op": "count", "size": 10**6}, {"_op": "sleeper", "seconds": 0.05}))
    await command.until("running: ")

    command.process.kill()

    await command.leaves_nothing()


async def test_up_says_where_it_serves_and_drains_at_ctrl_c(tsd, tmp_path):
    command = tsd("up")
    await command.until("tsd is up: http://127.0.0.1:")
    url = re.search(r"tsd is up: (\S+) ", command.output)[1]

    with urllib.request.urlopen(f"{url}/v1/cluster/state", timeout=10) as answer:
        assert answer.status == 200
    os.killpg(command.process.pid, signal.SIGINT)

    assert await command.exit_code() == 0
    await command.leaves_nothing()
    assert not (tmp_path / "data" / "api.json").exists()


async def test_a_second_up_in_the_same_data_folder_is_refused_at_once(tsd):
    first = tsd("up")
    await first.until("tsd is up")

    second = tsd("up")

    assert await second.exit_code() == 75
    assert f"is in use by another tsd (pid {first.process.pid})" in second.output
    assert first.process.poll() is None


async def test_up_starts_again_after_it_was_killed(tsd):
    first = tsd("up")
    await first.until("tsd is up")
    first.process.kill()
    await first.exit_code()

    second = tsd("up")

    await wait_for(lambda: second.output.count("tsd is up") == 2, "the second is up", 60)
    second.process.send_signal(signal.SIGTERM)
    assert await second.exit_code() == 0
    await second.leaves_nothing()


async def test_a_job_goes_on_when_up_was_killed_and_started_again(tsd, job_file, tmp_path):
    """All of a cluster ends at once and only its data folder stays: no slice is lost, the job completes."""
    witness = {"_op": "witness", "file": str(tmp_path / "seen")}
    job = job_file({"_op": "count", "size": 200}, witness, {"_op": "sleeper", "seconds": 0.05})
    first = tsd("up")
    await first.until("tsd is up")
    ex_id = call(tmp_path, "/v1/jobs", job.read_bytes())["ex_id"]
    await wait_for((tmp_path / "seen").exists, "a slice ran", 60)
    first.process.kill()
    await first.exit_code()

    second = tsd("up")

    await wait_for(lambda: second.output.count("tsd is up") == 2, "the second is up", 60)
    await wait_for(lambda: call(tmp_path, f"/v1/ex/{ex_id}")["_status"] == "completed", "it completes", 60)
    assert set(range(200)) == {int(line.split()[0]) for line in (tmp_path / "seen").read_text().splitlines()}
    second.process.send_signal(signal.SIGTERM)
    assert await second.exit_code() == 0
    await second.leaves_nothing()


def call(folder, path, body=None):
    """What the master of a data folder answers."""
    url = json.loads((folder / "data" / "api.json").read_text())["url"]
    with urllib.request.urlopen(f"{url}{path}", body, timeout=10) as answer:
        return json.load(answer)


async def test_up_keeps_its_address_when_its_master_is_killed(tsd, tmp_path):
    command = tsd("up")
    await command.until("tsd is up")
    api = json.loads((tmp_path / "data" / "api.json").read_text())

    os.kill(api["pid"], signal.SIGKILL)

    def is_back():
        try:
            with urllib.request.urlopen(f"{api['url']}/ready", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    await wait_for(is_back, "the master is back", 60)
    command.process.send_signal(signal.SIGTERM)
    assert await command.exit_code() == 0

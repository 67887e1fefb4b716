"""The supervisor of `tsd up` with real processes and real signals; the daemons are small stand-ins."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import is_alive, wait_for

FAKE_UP = Path(__file__).resolve().parents[1] / "support/fake_up.py"


class FakeUp:
    """A running `fake_up.py` and what its log says."""

    def __init__(self, log, *acts, drain_s=30.0):
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE_UP), str(log), str(drain_s), *acts],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": "."},
            start_new_session=True,
        )

    def events(self):
        """(name, word) pairs in order."""
        return [tuple(line.split()[:2]) for line in self._lines()]

    def times(self, name, word):
        return [float(line.split()[3]) for line in self._lines() if line.startswith(f"{name} {word} ")]

    def pids(self, name, word="started"):
        return [int(line.split()[2]) for line in self._lines() if line.startswith(f"{name} {word} ")]

    async def until(self, name, word, times=1):
        await wait_for(
            lambda: self.events().count((name, word)) >= times,
            f"{name} {word} {times} times: {self.events()}",
        )

    async def exit_code(self):
        await wait_for(lambda: self.process.poll() is not None, "the supervisor ends")
        return self.process.returncode

    def _lines(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def start(tmp_path):
    started = []

    def start_up(*acts, **kwargs):
        started.append(FakeUp(tmp_path / "log", *acts, **kwargs))
        return started[-1]

    yield start_up
    for up in started:
        if up.process.poll() is None:
            up.process.kill()
        up.process.wait()
        for line in up._lines():
            pid = int(line.split()[2])
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
                pytest.fail(f"left behind: {line}")


async def test_the_node_drains_before_the_master_is_told(start):
    up = start("master=serve", "node=serve")
    await up.until("up", "ready")

    up.process.send_signal(signal.SIGINT)

    assert await up.exit_code() == 0
    assert up.events()[-5:] == [
        ("up", "stopping"),
        ("node", "SIGTERM"),
        ("node", "stopped"),
        ("master", "SIGTERM"),
        ("master", "stopped"),
    ]


async def test_a_second_signal_hurries_the_draining_child(start):
    up = start("master=serve", "node=slow")
    await up.until("up", "ready")
    up.process.send_signal(signal.SIGTERM)
    await up.until("node", "SIGTERM")

    up.process.send_signal(signal.SIGTERM)

    assert await up.exit_code() == 0
    assert ("node", "hurried") in up.events()
    assert up.events()[-1] == ("master", "stopped")


async def test_a_child_that_does_not_end_in_time_is_killed_and_the_master_still_drains(start):
    up = start("master=serve", "node=deaf", drain_s=0.1)
    await up.until("up", "ready")

    up.process.send_signal(signal.SIGTERM)

    assert await up.exit_code() == 1
    assert ("node", "stopped") not in up.events()
    assert up.events()[-1] == ("master", "stopped")


async def test_a_child_that_died_is_started_again(start):
    up = start("master=serve", "node=serve")
    await up.until("up", "ready")

    os.kill(up.pids("node")[0], signal.SIGKILL)

    await up.until("node", "started", times=2)
    up.process.send_signal(signal.SIGTERM)
    assert await up.exit_code() == 0
    assert len(up.pids("master")) == 1


async def test_a_child_that_fails_at_first_is_tried_until_it_serves(start):
    up = start("master=fail-once", "node=serve")

    await up.until("master", "started", times=2)
    await up.until("up", "ready")

    up.process.send_signal(signal.SIGTERM)
    assert await up.exit_code() == 0


async def test_restarts_of_a_failing_child_are_spaced_out(start):
    up = start("master=serve", "node=fail")

    await up.until("node", "started", times=3)

    first, second, third = up.times("node", "started")[:3]
    assert second - first >= 0.1
    assert third - second >= 0.2
    up.process.send_signal(signal.SIGTERM)
    assert await up.exit_code() == 0


async def test_a_misconfigured_child_ends_the_cluster_with_its_exit_code(start):
    up = start("master=serve", "node=misconfigured")

    assert await up.exit_code() == 78
    assert len(up.pids("node")) == 1
    assert up.events()[-1] == ("master", "stopped")


async def test_what_a_dead_child_leaves_behind_is_ended(start):
    up = start("master=serve", "node=orphan")
    await up.until("up", "ready")
    (orphan,) = up.pids("node", "orphaned")

    os.kill(up.pids("node")[0], signal.SIGKILL)

    await wait_for(lambda: not is_alive(orphan), "the orphan is ended")
    await up.until("node", "started", times=2)
    up.process.send_signal(signal.SIGTERM)
    assert await up.exit_code() == 0


async def test_children_drain_when_their_supervisor_is_killed(start):
    up = start("master=serve", "node=serve")
    await up.until("up", "ready")

    up.process.kill()

    await up.until("node", "stopped")
    await up.until("master", "stopped")


async def test_ctrl_c_on_the_terminal_reaches_the_supervisor_alone(start):
    up = start("master=serve", "node=serve")
    await up.until("up", "ready")

    os.killpg(up.process.pid, signal.SIGINT)

    assert await up.exit_code() == 0
    assert ("node", "SIGINT") not in up.events()
    assert ("master", "SIGINT") not in up.events()

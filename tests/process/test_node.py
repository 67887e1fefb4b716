"""The node daemon as a process, against a master that this test plays."""

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio

from tests.support.waiting import is_alive, wait_for
from tsd.core.kinds import KINDS
from tsd.core.messages import (
    NodeBeat,
    NodeHello,
    NodeWanted,
    NodeWelcome,
    ProcessSpec,
)
from tsd.core.records import ProcessRole
from tsd.ids import parse_process_id
from tsd.mesh.codec import Codec
from tsd.mesh.socket import listen_tcp

pytestmark = pytest.mark.slow

NODE = """
import sys
from tsd.node.daemon import run_node
from tsd.settings import load_settings

overrides = {
    "tsd.data_dir": sys.argv[1],
    "tsd.mesh_port": int(sys.argv[2]),
    "tsd.heartbeat_interval": "200 ms",
    # The port of the test is any free one, which could be in the default range.
    "teraslice.slicer_port_range": "1024:1025",
    "teraslice.workers": 3,
    "teraslice.shutdown_timeout": "2 seconds",
}
sys.exit(run_node(load_settings(None, overrides, environ={}), "n1"))
"""


class Master:
    """Plays the master: welcomes, says what is wanted, and remembers what it hears."""

    def __init__(self, listener):
        self.listener = listener
        self.hellos = []
        self.beats = []
        self.peer = None
        self.revision = 0
        self.wanted = ()
        self.endings = {}
        self.exits_seen = ()
        self._heard = trio.Event()

    async def serve(self):
        while True:
            for received in await self.listener.receive():
                self._take(received.peer, received.message)
            self._heard.set()
            self._heard = trio.Event()

    def _take(self, peer, message):
        self.peer = peer
        match message:
            case NodeHello():
                self.hellos.append(message)
                self.listener.send(peer, NodeWelcome(version="test", beat_interval_s=0.2))
                self._say_wanted()
            case NodeBeat():
                self.beats.append(message)

    def _say_wanted(self):
        self.revision += 1
        self.listener.send(
            self.peer,
            NodeWanted(
                revision=self.revision,
                processes=tuple(self.wanted),
                endings=self.endings,
                exits_seen=tuple(self.exits_seen),
            ),
        )

    def want(self, *specs, endings=None, exits_seen=()):
        self.wanted, self.endings, self.exits_seen = specs, endings or {}, exits_seen
        self._say_wanted()

    @property
    def runs(self):
        return {report.proc_id: report.pid for report in self.beats[-1].runs} if self.beats else {}

    async def wait(self, condition, what):
        with trio.move_on_after(30):
            while not condition(self):
                await self._heard.wait()
            return
        raise AssertionError(f"not within 30 s: {what}; last beat {self.beats[-1:]}")


@asynccontextmanager
async def master_at(port=0):
    async with listen_tcp(f"tcp://127.0.0.1:{port}", codec=Codec(KINDS)) as listener:
        master = Master(listener)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(master.serve)
            yield master
            nursery.cancel_scope.cancel()


def port_of(master):
    return int(master.listener.address.rpartition(":")[2])


@asynccontextmanager
async def running_node(data_dir, port):
    node = subprocess.Popen([sys.executable, "-c", NODE, str(data_dir), str(port)], stderr=subprocess.PIPE)
    try:
        yield node
    finally:
        node.kill()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(node.wait)
        node.stderr.close()


def worker(name="ex/1/w1.1", dial="tcp://127.0.0.1:1"):
    """A worker whose controller is not there: it goes on dialing."""
    number = parse_process_id(name).number
    return ProcessSpec(
        proc_id=name,
        role=ProcessRole.WORKER,
        ex_id="ex",
        job_id="job",
        generation=1,
        number=number,
        dial=dial,
    )


async def test_a_node_runs_what_is_wanted_and_says_how_it_ended(tmp_path):
    async with master_at() as master, running_node(tmp_path, port_of(master)):
        await master.wait(lambda m: m.hellos, "the node says hello")
        master.want(worker())
        await master.wait(lambda m: m.runs.get("ex/1/w1.1"), "the worker runs")
        pid = master.runs["ex/1/w1.1"]
        os.kill(pid, signal.SIGKILL)
        await master.wait(lambda m: m.beats[-1].exits, "its end is told")
        ended = master.beats[-1].exits[0]
        master.want(exits_seen=["ex/1/w1.1"])
        await master.wait(lambda m: not m.beats[-1].exits, "it is told no more")

        hello = master.hellos[0]
        assert (hello.node_id, hello.slots, hello.runs) == ("n1", 3, ())
        assert master.peer.startswith("n1~")
        assert (ended.proc_id, ended.signal, ended.exit_code) == ("ex/1/w1.1", signal.SIGKILL, None)


async def test_what_is_no_longer_wanted_is_ended(tmp_path):
    async with master_at() as master, running_node(tmp_path, port_of(master)):
        await master.wait(lambda m: m.hellos, "the node says hello")
        master.want(worker("ex/1/w1.1"), worker("ex/1/w2.2"))
        await master.wait(lambda m: all(m.runs.values()) and len(m.runs) == 2, "both run")
        master.want(worker("ex/1/w2.2"), endings={"ex/1/w2.2": 20.0})
        await master.wait(lambda m: len(m.beats[-1].exits) == 2, "both ended")
        ends = {end.proc_id: (end.exit_code, end.signal) for end in master.beats[-1].exits}

        assert ends["ex/1/w1.1"] == (None, signal.SIGKILL)
        assert ends["ex/1/w2.2"] == (0, None)


async def test_processes_go_on_while_the_master_is_away(tmp_path):
    async with master_at() as master:
        port = port_of(master)
    async with running_node(tmp_path, port):
        async with master_at(port) as master:
            await master.wait(lambda m: m.hellos, "the node says hello")
            master.want(worker())
            await master.wait(lambda m: m.runs.get("ex/1/w1.1"), "the worker runs")
            pid = master.runs["ex/1/w1.1"]
        async with master_at(port) as master:
            master.wanted = (worker(),)
            await master.wait(lambda m: m.hellos, "the node says hello again")

            assert [(report.proc_id, report.pid) for report in master.hellos[0].runs] == [("ex/1/w1.1", pid)]
            assert is_alive(pid)


async def test_sigterm_drains_and_ends_with_zero(tmp_path):
    async with master_at() as master, running_node(tmp_path, port_of(master)) as node:
        await master.wait(lambda m: m.hellos, "the node says hello")
        master.want(worker())
        await master.wait(lambda m: m.runs.get("ex/1/w1.1"), "the worker runs")
        pid = master.runs["ex/1/w1.1"]
        node.send_signal(signal.SIGTERM)
        with trio.fail_after(20):
            code = await trio.to_thread.run_sync(node.wait, abandon_on_cancel=True)
        await master.wait(lambda m: m.beats[-1].draining, "it said that it drains")

        assert code == 0
        assert not is_alive(pid)
        await master.wait(lambda m: m.beats[-1].exits and not m.beats[-1].runs, "its last word names the end")


async def test_when_the_daemon_is_killed_its_processes_are_gone(tmp_path):
    async with master_at() as master, running_node(tmp_path, port_of(master)) as node:
        await master.wait(lambda m: m.hellos, "the node says hello")
        master.want(worker())
        await master.wait(lambda m: m.runs.get("ex/1/w1.1"), "the worker runs")
        pid = master.runs["ex/1/w1.1"]
        node.kill()

        await wait_for(lambda: not is_alive(pid), "the worker died")


async def test_a_second_daemon_of_the_same_node_says_so(tmp_path):
    async with master_at() as master, running_node(tmp_path, port_of(master)):
        await master.wait(lambda m: m.hellos, "the node says hello")
        async with running_node(tmp_path, port_of(master)) as second:
            with trio.fail_after(20):
                _, words = await trio.to_thread.run_sync(second.communicate, abandon_on_cancel=True)

        assert second.returncode == 75
        assert b"another daemon runs as node n1" in words


async def test_a_data_folder_that_can_not_be_made_is_a_fault_of_the_settings(tmp_path):
    (tmp_path / "file").write_text("")
    async with running_node(tmp_path / "file", 1) as node:
        with trio.fail_after(20):
            _, words = await trio.to_thread.run_sync(node.communicate, abandon_on_cancel=True)

        assert node.returncode == 78
        assert b"tsd.data_dir" in words

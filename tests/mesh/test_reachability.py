"""Who counts as reachable: real processes that die, freeze, or hold the interpreter."""

import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.support import mesh_peer
from tests.support.mesh import CODEC, PAD, Note
from tests.support.waiting import wait_for
from tsd.mesh.endpoint import Sent
from tsd.mesh.socket import listen_tcp

ROOT = Path(__file__).parents[2]
HEARTBEAT_S = 0.2
PROBE = Note(n=0, text="probe")


@asynccontextmanager
async def peer_process():
    """A listener with one peer in a process of its own, both with quick heartbeats."""
    options = mesh_peer.options(HEARTBEAT_S)
    async with listen_tcp("tcp://127.0.0.1:0", codec=CODEC, options=options) as listener:
        command = [sys.executable, "-m", "tests.support.mesh_peer"]
        process = subprocess.Popen([*command, listener.address, "w1", str(HEARTBEAT_S)], cwd=ROOT)
        try:
            await expect(listener, "ready")
            yield listener, process
        finally:
            process.kill()
            process.wait(10)


async def expect(listener, text):
    with trio.fail_after(20):
        [received] = await listener.receive()
    assert received.message.text == text
    return received.message.n


def probe(listener):
    return listener.send("w1", PROBE)


async def wait_until_unreachable(listener):
    await wait_for(lambda: probe(listener) is Sent.UNREACHABLE, "w1 is unreachable")


async def test_a_killed_peer_is_unreachable():
    async with peer_process() as (listener, process):
        assert probe(listener) is Sent.SENT
        process.kill()
        await wait_until_unreachable(listener)


async def test_a_peer_that_ends_by_itself_is_unreachable():
    async with peer_process() as (listener, process):
        assert listener.send("w1", Note(n=0, text="leave")) is Sent.SENT
        await wait_until_unreachable(listener)
        assert process.wait(10) == 0


async def test_a_frozen_peer_is_unreachable_and_comes_back_when_it_thaws():
    async with peer_process() as (listener, process):
        process.send_signal(signal.SIGSTOP)
        await wait_until_unreachable(listener)

        process.send_signal(signal.SIGCONT)
        await wait_for(lambda: probe(listener) is Sent.SENT, "w1 is back")
        listener.send("w1", Note(n=0, text="count"))
        assert await expect(listener, "counted") >= 1


async def test_a_frozen_peer_to_which_nothing_more_can_be_written_is_unreachable_too():
    async with peer_process() as (listener, process):
        process.send_signal(signal.SIGSTOP)
        with trio.fail_after(20):
            while (sent := listener.send("w1", Note(n=0, text=PAD))) is Sent.SENT:
                await trio.lowlevel.checkpoint()
        assert sent is Sent.FULL

        await wait_until_unreachable(listener)
        assert listener.statistics().dropped > 0


async def test_a_peer_that_holds_its_interpreter_stays_reachable_and_loses_nothing():
    hold_ms = round(HEARTBEAT_S * 3 * 4 * 1000)
    async with peer_process() as (listener, _process):
        listener.send("w1", Note(n=hold_ms, text="hold"))
        end = trio.current_time() + hold_ms / 1000
        count = 0
        while trio.current_time() < end:
            assert probe(listener) is Sent.SENT
            count += 1
            await trio.sleep(0.02)
        listener.send("w1", Note(n=0, text="count"))

        assert await expect(listener, "counted") == count


async def test_a_listener_that_holds_its_interpreter_keeps_its_peers():
    async with peer_process() as (listener, _process):
        mesh_peer.hold_interpreter(round(HEARTBEAT_S * 3 * 4 * 1000))

        assert probe(listener) is Sent.SENT
        listener.send("w1", Note(n=0, text="count"))
        assert await expect(listener, "counted") == 1

"""An outage of the store of hours, with thousands of dialers: memory stays as it is, and all are back at once."""

import contextlib
import heapq
import random

import pytest
import trio
import trio.testing

from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.node import FromMaster, NodeMachine, NodeSettings, Tick
from tsd.core.cluster.records import ClusterSettings, ExecutionRecord, Intent
from tsd.core.hellos import LinkChanged
from tsd.core.kinds import KINDS
from tsd.core.messages import PROTOCOL, ControllerBeat, NodeHello
from tsd.core.records import ExecutionStats
from tsd.errors import StoreError
from tsd.master.brain import Brain
from tsd.mesh.codec import Codec
from tsd.mesh.memory import MemoryNetwork

CODEC = Codec(KINDS)
HOUR_S = 3600


class FullStore:
    """Takes nothing in until it is relieved; then says how often it was asked."""

    def __init__(self):
        self.relieved = trio.Event()
        self.fault = None

    async def apply_saves(self, saves):
        if self.fault is not None:
            raise self.fault
        if saves:
            await self.relieved.wait()


@contextlib.asynccontextmanager
async def brain_of(store):
    """A brain whose store is full, and that has something to save at once."""
    network = MemoryNetwork()
    record = ExecutionRecord(ex_id="x", job_id="j", name="n", created=1, intent=Intent(workers=1))
    async with network.listen("master", codec=CODEC) as listener:
        machine = ClusterMachine.restore([record], settings=ClusterSettings(), now=trio.current_time())
        brain = Brain(machine=machine, store=store, listener=listener, now=trio.current_time)
        async with trio.open_nursery() as nursery:
            await nursery.start(brain.run)
            yield brain, network
            nursery.cancel_scope.cancel()


class Dialer:
    """A node machine on the network in memory."""

    def __init__(self, number, dialer):
        self.dialer = dialer
        self.machine = NodeMachine(
            settings=NodeSettings(
                node_id=f"n{number}", hostname="h", pid=1, slots=2, heartbeat_interval_s=1.0
            )
        )
        self.hellos = 0
        self.feed(LinkChanged(is_up=dialer.is_up))
        self.feed(Tick())

    def feed(self, event):
        for message in self.machine.handle(event, now=trio.current_time()).sends:
            self.hellos += isinstance(message, NodeHello)
            self.dialer.send(message)

    async def hear(self):
        while True:
            for message in await self.dialer.receive():
                self.feed(FromMaster(message=message))


async def pass_time(dialers, seconds):
    """Let virtual time pass, in seconds; every machine wakes in the second in which it wants to."""
    end = trio.current_time() + seconds
    due = [(each.machine.wake_at(), number) for number, each in enumerate(dialers)]
    heapq.heapify(due)
    while trio.current_time() < end:
        await trio.sleep(1)
        while due[0][0] <= trio.current_time():
            each = dialers[due[0][1]]
            each.feed(Tick())
            heapq.heapreplace(due, (each.machine.wake_at(), due[0][1]))
        await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("count", "hours"),
    [(200, 2), pytest.param(2_000, 3, marks=pytest.mark.slow)],
    ids=["hundreds", "thousands"],
)
async def test_an_outage_of_hours_queues_one_word_a_dialer(autojump_clock, count, hours):
    """Virtual hours; every dialer is welcome as soon as the store is relieved."""
    store = FullStore()
    async with brain_of(store) as (brain, network), contextlib.AsyncExitStack() as stack:
        dialers = [
            Dialer(
                n, await stack.enter_async_context(network.dial("master", identity=f"n{n}~1", codec=CODEC))
            )
            for n in range(count)
        ]
        async with trio.open_nursery() as nursery:
            await pass_time(dialers, 60)
            waiting = brain.waiting_count
            await pass_time(dialers, hours * HOUR_S)

            assert brain.waiting_count <= waiting <= count + 1
            assert brain.listener.statistics().queued == 0
            assert max(each.hellos for each in dialers) < hours * HOUR_S / 30 + 10, "they back off to 30 s"

            store.relieved.set()
            for each in dialers:
                nursery.start_soon(each.hear)
            with trio.move_on_after(1):
                while not all(each.machine.is_welcome for each in dialers):
                    await trio.sleep(0.01)
            assert all(each.machine.is_welcome for each in dialers)
            nursery.cancel_scope.cancel()


def beat(number, workers=()):
    return ControllerBeat(
        ex_id="x",
        generation=1,
        sent_at=float(number),
        revision=0,
        workers=workers,
        lost_workers=(),
        exits_seen=(),
        stats=ExecutionStats(),
    )


async def test_of_each_peer_and_kind_the_newest_word_waits(autojump_clock):
    store = FullStore()
    async with (
        brain_of(store) as (brain, network),
        network.dial("master", identity="n1~1", codec=CODEC) as node,
        network.dial("master", identity="x/1/c", codec=CODEC) as controller,
    ):
        node.send(hello())
        await trio.testing.wait_all_tasks_blocked()
        for number in range(5_000):
            controller.send(beat(number))
            if number % 500 == 0:
                node.send(hello(pid=number))
                await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()

        waiting = [item.event.message for item in brain._queue.values() if hasattr(item.event, "message")]
        assert [getattr(each, "sent_at", None) or each.pid for each in waiting] == [4500, 4999.0]


def hello(pid=1):
    return NodeHello(
        protocol=PROTOCOL,
        version="1",
        python="3.11",
        node_id="n1",
        hostname="h",
        pid=pid,
        slots=4,
        runs=(),
        exits=(),
    )


async def test_a_store_that_is_damaged_leaves_nothing_waiting(autojump_clock):
    """That state is for good, so whatever it kept it would keep for ever."""
    store = FullStore()
    store.fault = StoreError("the disk is gone")
    async with (
        brain_of(store) as (brain, network),
        network.dial("master", identity="n1~1", codec=CODEC) as node,
    ):
        rng = random.Random(1)
        for _ in range(3_000):
            node.send(hello(pid=rng.randrange(1000)))
            if rng.random() < 0.01:
                await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()

        assert brain.fault
        assert brain.waiting_count == 0

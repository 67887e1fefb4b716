"""Real sockets with hardly any room, cancelled receivers, garbage, and peers that come and go.

A message that lies ready while its receiver sleeps shows as a round or a life that does not end in time. In
each round everything is quiet before the next one begins, so that no later message can wake a receiver
that missed its own.
"""

import random
from contextlib import AsyncExitStack

import pytest
import trio
import zmq

from tests.support.mesh import CODEC, Ack, Note
from tsd.mesh.endpoint import MeshOptions, Sent
from tsd.mesh.socket import dial_tcp, listen_tcp

PEERS = ["a", "b", "c", "d"]
STALL_S = 10


def narrow_options(rng):
    return MeshOptions(
        send_hwm=rng.randint(1, 5),
        outbox_count=rng.randint(1, 5),
        inbox_count=rng.randint(1, 5),
        linger_s=rng.choice([0, 0.05, 0.5]),
        kernel_buffer_b=rng.choice([4096, None]),
    )


async def send_when_possible(send, messages, rng):
    for message in messages:
        while (sent := send(message)) is Sent.FULL:
            await trio.sleep(rng.choice([0, 0, 0.001]))
        assert sent is Sent.SENT
        if rng.random() < 0.3:
            await trio.lowlevel.checkpoint()


async def receive_with_cancels(endpoint, rng):
    """Receive once, after being cancelled any number of times."""
    with trio.fail_after(STALL_S):
        while True:
            with trio.move_on_after(rng.choice([0, 0.0002, 0.001, 1])):
                return await endpoint.receive()


class Garbage:
    """Bare sockets that send what is no message."""

    def __init__(self, address, rng):
        self.address = address
        self.rng = rng
        self.context = zmq.Context()
        self.count = 0

    def throw(self):
        rng = self.rng
        with self.context.socket(zmq.DEALER) as raw:
            raw.linger = 200
            if rng.random() < 0.5:
                raw.routing_id = f"garbage-{rng.randrange(1000)}".encode()
            raw.connect(self.address)
            for _ in range(rng.randrange(1, 4)):
                kinds = [b"note", b"ack", b"", rng.randbytes(5)]
                parts = [
                    rng.choice(kinds),
                    *[rng.randbytes(rng.randrange(40)) for _ in range(rng.randrange(3))],
                ]
                if len(parts) == 2:
                    parts[1] = b"\xc1" + parts[1]  # never MessagePack
                raw.send_multipart(parts)
                self.count += 1


async def run_rounds(seed, seconds):
    """Bursts both ways between a listener and its peers; each must arrive once, whole and in order."""
    rng = random.Random(seed)
    async with listen_tcp("tcp://127.0.0.1:0", codec=CODEC, options=narrow_options(rng)) as listener:
        garbage = Garbage(listener.address, rng)
        with garbage.context:
            await _run_rounds(rng, seconds, listener, garbage)
        assert 0 < listener.statistics().bad_frames <= garbage.count


async def _run_rounds(rng, seconds, listener, garbage):
    rounds = 0
    dialers = {}
    async with AsyncExitStack() as stack:
        for name in PEERS:
            dialing = dial_tcp(listener.address, identity=name, codec=CODEC, options=narrow_options(rng))
            dialers[name] = await stack.enter_async_context(dialing)
        for name, dialer in dialers.items():
            while listener.send(name, Note(n=-1)) is Sent.UNREACHABLE:
                await trio.sleep(0.005)
            assert await receive_with_cancels(dialer, rng) == [Note(n=-1)]
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            rounds += 1
            if rng.random() < 0.2:
                garbage.throw()
            await run_round(rng, listener, dialers)
    assert rounds > 10


async def run_round(rng, listener, dialers):
    def burst():
        length = rng.choice([1, 1, 2, 20])
        return [Note(n=n, text="x" * rng.choice([0, 10, 3000])) for n in range(length)]

    up = {name: burst() for name in dialers if rng.random() < 0.8}
    down = {name: burst() for name in dialers if rng.random() < 0.8}
    got_up = {name: [] for name in up}
    got_down = {name: [] for name in down}

    async def receive_up():
        while got_up != up:
            for item in await receive_with_cancels(listener, rng):
                got_up[item.peer].append(item.message)
                assert len(got_up[item.peer]) <= len(up[item.peer])

    async def receive_down(name):
        while len(got_down[name]) < len(down[name]):
            got_down[name] += await receive_with_cancels(dialers[name], rng)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_up)
        for name, notes in up.items():
            nursery.start_soon(send_when_possible, dialers[name].send, notes, rng)
        for name, notes in down.items():
            nursery.start_soon(receive_down, name)
            nursery.start_soon(
                send_when_possible, lambda note, name=name: listener.send(name, note), notes, rng
            )

    assert got_up == up
    assert got_down == down


class Correspondent:
    """One end of a conversation that repeats what is not acknowledged, as the links of tsd do."""

    def __init__(self, send, rng):
        self.send = send
        self.rng = rng
        self.next_n = 0
        self.unacknowledged = {}
        self.arrived = set()
        self.acks_due = set()

    def write(self):
        self.unacknowledged[self.next_n] = Note(n=self.next_n, text="x" * self.rng.choice([0, 500]))
        self.next_n += 1

    def take(self, message):
        if isinstance(message, Ack):
            self.unacknowledged.pop(message.n, None)
        else:
            self.arrived.add(message.n)
            self.acks_due.add(message.n)

    def send_what_is_due(self):
        """Send acknowledgements and unacknowledged notes until there is no room."""
        for n in sorted(self.acks_due):
            if self.send(Ack(n=n)) is not Sent.SENT:
                return
            self.acks_due.discard(n)
        for note in list(self.unacknowledged.values()):
            if self.send(note) is not Sent.SENT:
                return


async def run_lives(seed, seconds):
    """Peers vanish and return under their old names; in the end every note has arrived everywhere."""
    rng = random.Random(seed)
    async with listen_tcp("tcp://127.0.0.1:0", codec=CODEC, options=narrow_options(rng)) as listener:
        ends = {
            name: Correspondent(lambda message, name=name: listener.send(name, message), rng)
            for name in PEERS
        }
        others = {name: Correspondent(None, rng) for name in PEERS}
        garbage = Garbage(listener.address, rng)

        def is_settled():
            return not any(end.unacknowledged for end in (*ends.values(), *others.values()))

        async def listen():
            while True:
                with trio.move_on_after(rng.choice([0, 0.001, 0.01])):
                    for item in await listener.receive():
                        ends[item.peer].take(item.message)

        async def repeat(end):
            while True:
                end.send_what_is_due()
                await trio.sleep(0.02)

        async def write_down():
            while True:
                rng.choice(list(ends.values())).write()
                if rng.random() < 0.1:
                    garbage.throw()
                await trio.sleep(rng.choice([0, 0.01, 0.03]))

        async def live(name, until):
            other = others[name]
            options = narrow_options(rng)
            async with dial_tcp(listener.address, identity=name, codec=CODEC, options=options) as dialer:
                other.send = dialer.send
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(repeat, other)
                    nursery.start_soon(receive_down, dialer, other)
                    await until()
                    nursery.cancel_scope.cancel()

        async def receive_down(dialer, other):
            while True:
                with trio.move_on_after(rng.choice([0, 0.001, 0.01])):
                    for message in await dialer.receive():
                        other.take(message)

        async def live_often(name):
            async def a_while():
                end = trio.current_time() + rng.choice([0, 0.01, 0.1, 0.4])
                while trio.current_time() < end:
                    others[name].write()
                    await trio.sleep(0.01)

            while trio.current_time() < end_of_lives:
                await live(name, a_while)
                await trio.sleep(rng.choice([0, 0.01, 0.1]))

        async def settle():
            with trio.fail_after(STALL_S):
                while not is_settled():
                    await trio.sleep(0.01)

        end_of_lives = trio.current_time() + seconds
        with garbage.context:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                for end in ends.values():
                    nursery.start_soon(repeat, end)
                async with trio.open_nursery() as lives:
                    writing = trio.CancelScope()

                    async def write():
                        with writing:
                            await write_down()

                    lives.start_soon(write)
                    async with trio.open_nursery() as peers:
                        for name in PEERS:
                            peers.start_soon(live_often, name)
                    writing.cancel()
                async with trio.open_nursery() as last_lives:
                    for name in PEERS:
                        last_lives.start_soon(live, name, settle)
                nursery.cancel_scope.cancel()

        for name in PEERS:
            assert ends[name].arrived == set(range(others[name].next_n))
            assert others[name].arrived == set(range(ends[name].next_n))
            assert others[name].next_n > 0
        assert listener.statistics().bad_frames <= garbage.count


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_with_hardly_any_room_everything_arrives_once_and_in_order(seed):
    await run_rounds(seed, seconds=1.5)


@pytest.mark.parametrize("seed", [1, 2])
async def test_with_peers_that_vanish_and_return_every_note_arrives(seed):
    await run_lives(seed, seconds=1.5)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(100, 110))
async def test_with_hardly_any_room_everything_arrives_for_long(seed):
    await run_rounds(seed, seconds=10)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(200, 205))
async def test_with_peers_that_vanish_and_return_every_note_arrives_for_long(seed):
    await run_lives(seed, seconds=10)

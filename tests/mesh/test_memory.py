"""What only the network in memory can: be cut, be healed, and run under a mock clock."""

import trio

from tests.support.mesh import MemoryMesh, Note, linked, reach
from tsd.mesh.endpoint import Received, Sent


async def test_a_cut_peer_is_unreachable_until_it_is_healed(autojump_clock):
    mesh = MemoryMesh()
    async with linked(mesh) as (listener, dialer):
        mesh.network.cut("w1")
        assert mesh.network.is_cut("w1")
        assert listener.send("w1", Note(n=1)) is Sent.UNREACHABLE
        assert dialer.send(Note(n=2)) is Sent.SENT
        with trio.move_on_after(60) as waited:
            await listener.receive()
        assert waited.cancelled_caught

        mesh.network.heal("w1")

        assert await listener.receive() == [Received("w1", Note(n=2))]
        assert listener.send("w1", Note(n=3)) is Sent.SENT
        assert await dialer.receive() == [Note(n=3)]


async def test_a_cut_loses_what_is_on_its_way_in_both_directions(autojump_clock):
    mesh = MemoryMesh()
    async with linked(mesh) as (listener, dialer):
        listener.send("w1", Note(n=1))
        dialer.send(Note(n=2))
        mesh.network.cut("w1")
        dialer.send(Note(n=3))
        mesh.network.heal("w1")
        listener.send("w1", Note(n=4))

        assert await listener.receive() == [Received("w1", Note(n=3))]
        assert await dialer.receive() == [Note(n=4)]
        assert listener.statistics().dropped == 1


async def test_a_cut_leaves_other_peers_alone(autojump_clock):
    mesh = MemoryMesh()
    async with linked(mesh, identity="a") as (listener, a), mesh.dial(listener.address, "b") as b:
        await reach(listener, "b", b)
        mesh.network.cut("b")
        a.send(Note(n=1))

        assert await listener.receive() == [Received("a", Note(n=1))]
        assert listener.send("a", Note(n=2)) is Sent.SENT
        assert await a.receive() == [Note(n=2)]


async def test_a_receiver_that_waits_is_woken_by_healing(autojump_clock):
    mesh = MemoryMesh()
    async with linked(mesh) as (listener, dialer), trio.open_nursery() as nursery:
        mesh.network.cut("w1")
        dialer.send(Note(n=1))

        async def heal_later():
            await trio.sleep(3600)
            mesh.network.heal("w1")

        nursery.start_soon(heal_later)
        started = trio.current_time()

        assert await listener.receive() == [Received("w1", Note(n=1))]
        assert trio.current_time() - started >= 3600


async def test_a_busy_peer_does_not_starve_another(autojump_clock):
    mesh = MemoryMesh()
    async with (
        mesh.listen() as listener,
        mesh.dial(listener.address, "busy") as busy,
        mesh.dial(listener.address, "quiet") as quiet,
    ):
        for _ in range(3):
            quiet.send(Note(n=0))
            senders = set()
            for _ in range(2):
                while busy.send(Note(n=1)) is Sent.SENT:
                    pass
                senders |= {item.peer for item in await listener.receive()}

            assert senders == {"busy", "quiet"}

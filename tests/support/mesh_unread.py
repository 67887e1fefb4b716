"""Endpoints that are sent more than they read, for longer than heartbeats may fail, while connections break.

Run as a process of its own, because with a receive mark libzmq would abort it.
"""

import sys

import attrs
import trio

from tests.support.mesh import NARROW, PAD, Note, TcpMesh, reach, receive_count, send_all
from tests.support.waiting import wait_for
from tsd.mesh.endpoint import Received, Sent

OPTIONS = attrs.evolve(NARROW, heartbeat_interval_s=0.1, heartbeat_timeout_s=0.3)
NOTES = [Note(n=n, text=PAD) for n in range(15)]
"""More than a receive mark of 2 lets through, and what the sender can hold besides."""


async def leave_dialer_unread():
    mesh = TcpMesh()
    async with mesh.dial(mesh.address, "w1", options=OPTIONS) as dialer:
        async with mesh.listen(mesh.address, options=OPTIONS) as listener:
            await reach(listener, "w1", dialer)
            await send_all(lambda note: listener.send("w1", note), NOTES)
            await trio.sleep(1)
            assert await receive_count(dialer, len(NOTES)) == NOTES
            await send_all(lambda note: listener.send("w1", note), NOTES)
            await trio.sleep(1)
        async with mesh.listen_again(mesh.address, options=OPTIONS) as listener:
            last = Note(n=99)
            await wait_for(lambda: listener.send("w1", last) is Sent.SENT, "w1 dials again")
            await trio.sleep(0.1)
            assert await receive_count(dialer, len(NOTES) + 1) == [*NOTES, last]


async def leave_listener_unread():
    mesh = TcpMesh()
    async with mesh.listen(options=OPTIONS) as listener:
        for n in range(3):
            options = attrs.evolve(OPTIONS, linger_s=0)
            async with mesh.dial(listener.address, f"w{n}", options=options) as dialer:
                await reach(listener, f"w{n}", dialer)
                await send_all(dialer.send, NOTES)
            await trio.sleep(1)
        async with mesh.dial(listener.address, "last", options=OPTIONS) as dialer:
            await send_all(dialer.send, [Note(n=99)])
            with trio.fail_after(20):
                while Received("last", Note(n=99)) not in await listener.receive():
                    pass


if __name__ == "__main__":
    trio.run({"dialer": leave_dialer_unread, "listener": leave_listener_unread}[sys.argv[1]])

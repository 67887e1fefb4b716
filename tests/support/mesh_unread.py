"""A dialer that is sent more than it reads, for longer than heartbeats may fail, and over a reconnection."""

import attrs
import trio

from tests.support.mesh import NARROW, PAD, Note, TcpMesh, reach, receive_count, send_all
from tests.support.waiting import wait_for
from tsd.mesh.endpoint import Sent

OPTIONS = attrs.evolve(NARROW, heartbeat_interval_s=0.1, heartbeat_timeout_s=0.3)
NOTES = [Note(n=n, text=PAD) for n in range(15)]
"""More than a receive mark of 2 lets through, and what the sender can hold besides."""


async def main():
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


if __name__ == "__main__":
    trio.run(main)

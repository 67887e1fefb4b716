"""Whether the connection of a dialing ZeroMQ socket is up, as libzmq's monitor tells it."""

import trio
import zmq
from zmq.utils.monitor import parse_monitor_message

_UP = zmq.EVENT_HANDSHAKE_SUCCEEDED
_DOWN = zmq.EVENT_DISCONNECTED


class LinkState:
    """Follows one socket with one connection; make it before the socket connects.

    The monitor is a socket of its own, which only the task of `follow` reads. Like every ZeroMQ
    descriptor its is edge-triggered: after an edge everything that is there is read.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.is_up = False
        self._socket = socket
        self._changes = 0
        self._seen = 0
        self._changed = trio.Event()
        self._lifetime = trio.CancelScope()
        self._monitor: zmq.Socket[bytes] = socket.get_monitor_socket(_UP | _DOWN)

    async def wait_change(self) -> bool:
        """See `Dialer.wait_link_change`."""
        while self._seen == self._changes:
            await self._changed.wait()
        self._seen = self._changes
        return self.is_up

    async def follow(self) -> None:
        """Follow the socket until `end`, then close; the socket must be open as long."""
        try:
            descriptor = self._monitor.getsockopt(zmq.FD)
            assert isinstance(descriptor, int)
            with self._lifetime:
                while True:
                    self._read()
                    await trio.lowlevel.wait_readable(descriptor)
        finally:
            self.close()

    def end(self) -> None:
        """Let `follow` end."""
        self._lifetime.cancel()

    def close(self) -> None:
        """Close the monitor; for whoever does not follow the socket."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _read(self) -> None:
        while True:
            try:
                frames = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.is_up = parse_monitor_message(frames)["event"] == _UP
            self._changes += 1
            self._changed.set()
            self._changed = trio.Event()

"""The two ends of a mesh link, as the rest of tsd sees them.

A link has a listener (ROUTER) that many dialers (DEALER) connect to. `tsd.mesh.socket` makes both ends
over TCP, `tsd.mesh.memory` in memory; one contract suite holds them to the same behaviour:

* Messages from one peer arrive in the order in which it sent them. Some can be missing: what was on
  its way when a connection broke is lost, so what must arrive is acknowledged and repeated above.
* `send` never waits. Its answer says what became of the message, and every message that was not
  taken is still the caller's.
* A frame that is no message of this link is counted, reported (ever more seldom) and dropped;
  `receive` never raises for it.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import attrs

from tsd.errors import LocalWireError

OnBadFrame = Callable[[str, str, int], None]
"""Called with (peer, reason, count) for the first, 10th, 100th, ... bad frame of a peer.

It must not raise or block."""

RECEIVE_COUNT_MAX = 1024
"""One `receive` returns at most so many messages, so that its caller yields now and then."""


class Sent(StrEnum):
    """What became of a message given to `send`."""

    SENT = "sent"
    """Taken: it leaves as soon as the peer can take it. Not a promise that it arrives."""
    FULL = "full"
    """Not taken: as much as is allowed already waits for this peer. Keep it and try again later."""
    UNREACHABLE = "unreachable"
    """Not taken: no connection has this identity (any more). Only a listener answers this."""


@attrs.frozen
class Received:
    """A message with its sender.

    Attributes:
        peer: The dialer's identity; empty for what a dialer received.
        message: An instance of one of the codec's classes.
    """

    peer: str
    message: object


@attrs.frozen(kw_only=True)
class MeshStatistics:
    """Counters of one endpoint since it was made.

    Attributes:
        frames_in: Messages (kind and body) read from the network, bad ones included.
        frames_out: Messages that `send` took.
        bytes_in: Kind and body bytes of `frames_in`.
        bytes_out: Kind and body bytes of `frames_out`.
        bad_frames: Messages of `frames_in` that were dropped because they could not be read.
        nameless: Messages of `frames_in` that a listener dropped because their connection had no identity:
            it gave none, or another connection had taken its identity over before they were read.
        unreachable: Times `send` answered unreachable.
        full: Times `send` answered full.
        refused: Times `send` raised `LocalWireError`.
        dropped: Messages of `frames_out` that waited here for a peer and were dropped when it became
            unreachable. What libzmq or the kernel held for it is not counted anywhere.
        queued: Messages that wait here for peers now, on top of what libzmq holds.
    """

    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bad_frames: int = 0
    nameless: int = 0
    unreachable: int = 0
    full: int = 0
    refused: int = 0
    dropped: int = 0
    queued: int = 0


@attrs.frozen(kw_only=True)
class MeshOptions:
    """Bounds and times of one endpoint.

    Attributes:
        send_hwm: Messages that libzmq holds for each peer on the way out.
        outbox_count: Messages held for each peer on top of `send_hwm`; beyond it `send` answers full.
        inbox_count: Messages held for `receive`; what more arrives stays in libzmq, undecoded
            and without bound (`tsd.mesh.socket` says why): credits are to keep links far from that.
        heartbeat_interval_s: Pause between ZMQ's own pings, which libzmq's thread sends and answers.
        heartbeat_timeout_s: A connection is closed when for so long nothing comes after a ping.
        linger_s: How long closing goes on sending what still waits. If the peer reads so slowly that
            the kernel is full, the last messages can be lost even so (libzmq #4660).
        reconnect_s: First pause of a dialer before it dials again; doubles up to `reconnect_max_s`.
        reconnect_max_s: Longest such pause.
        connect_timeout_s: Time for one attempt to connect, and for the handshake after it.
        kernel_buffer_b: Size of the kernel's send and receive buffers; None leaves it to the kernel.
    """

    send_hwm: int = 1000
    outbox_count: int = 1000
    inbox_count: int = 4096
    heartbeat_interval_s: float = 2.0
    heartbeat_timeout_s: float = 6.0
    linger_s: float = 0.5
    reconnect_s: float = 0.05
    reconnect_max_s: float = 1.0
    connect_timeout_s: float = 5.0
    kernel_buffer_b: int | None = None


DEFAULT_OPTIONS = MeshOptions()


class Listener(Protocol):
    """The side that peers connect to."""

    @property
    def address(self) -> str:
        """Where dialers reach it, with the real port, for example `tcp://127.0.0.1:45701`."""
        ...

    async def receive(self) -> list[Received]:
        """Wait for messages; return all that are there now, at least one.

        At most `RECEIVE_COUNT_MAX`, in order for each peer. If cancelled, no message is lost.

        Raises:
            trio.ClosedResourceError: The endpoint was closed.
        """
        ...

    def send(self, peer: str, message: object) -> Sent:
        """Send to the dialer with this identity, without waiting.

        Reachable means that a connection is up: a peer whose Python is busy is reachable, a peer that
        died or whose heartbeats ceased is not.

        Raises:
            LocalWireError: The message is of no class of the codec, or too big.
            trio.ClosedResourceError: The endpoint was closed.
        """
        ...

    def count_bad(self, peer: str, reason: str) -> None:
        """Count a message that was received as a bad frame: this peer has no business to send it."""
        ...

    def statistics(self) -> MeshStatistics:
        """Return the counters as they are now."""
        ...


class Dialer(Protocol):
    """The side that connects, to one address, again and again until it is closed."""

    @property
    def is_up(self) -> bool:
        """Whether a connection is up: the listener's transport has answered, and nothing has broken since."""
        ...

    async def wait_link_change(self) -> bool:
        """Wait until the link has come up or gone down since the last call; return whether it is up now.

        What was on its way when it went down is lost, also when it is up again by now. One task may wait.
        """
        ...

    async def receive(self) -> list[object]:
        """Wait for messages; return all that are there now, at least one.

        At most `RECEIVE_COUNT_MAX`, in order. If cancelled, no message is lost.

        Raises:
            trio.ClosedResourceError: The endpoint was closed.
        """
        ...

    def send(self, message: object) -> Sent:
        """Send to the listener, without waiting; while not connected, messages wait.

        Returns:
            `SENT` or `FULL`, never `UNREACHABLE`.

        Raises:
            LocalWireError: The message is of no class of the codec, or too big.
            trio.ClosedResourceError: The endpoint was closed.
        """
        ...

    def statistics(self) -> MeshStatistics:
        """Return the counters as they are now."""
        ...


def check_identity(identity: str) -> bytes:
    """Return the identity as ZeroMQ takes it.

    Raises:
        LocalWireError: It is empty, longer than 255 bytes, or starts with NUL.
    """
    routing_id = identity.encode()
    if not 0 < len(routing_id) <= 255 or routing_id.startswith(b"\0"):
        raise LocalWireError(f"{identity!r} is no identity of a peer")
    return routing_id

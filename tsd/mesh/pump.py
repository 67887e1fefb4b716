"""One ZeroMQ socket under trio: its owner task, and the process's ZeroMQ context.

Each socket has one owner task that reads it, and that sends what could not be sent at once. ZeroMQ's file
descriptor is edge-triggered: it becomes readable when something changed, and any call on the socket can eat
that edge. So every call is followed by a look at ZMQ_EVENTS or by waking the owner, and the owner waits for
the descriptor only when a look after its last call showed nothing to do.
"""

import errno
import math
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import trio
import zmq

from tsd.mesh.endpoint import RECEIVE_COUNT_MAX, MeshOptions, Sent
from tsd.mesh.linkstate import LinkState
from tsd.mesh.tally import Tally

T = TypeVar("T")

_TURN_COUNT = 256
"""Messages that the owner moves each way before it lets other tasks run ..."""
_TURN_BYTES = 1024 * 1024
"""... and bytes that it reads: decoding them takes milliseconds."""

_RETRY_S = 0.002
_RETRY_MAX_S = 0.1
"""Pauses before the owner tries blocked peers again, doubling from the first to the second.

Only a fallback: a peer that can take more makes the descriptor readable. But with several blocked peers the
attempt for one can eat the edge of another, and ZMQ_EVENTS says only whether any peer has room.
"""


# --- context -----------------------------------------------------------------------------------


class SharedContext:
    """The process's ZeroMQ context, there only while a socket is open.

    Never made at import: it starts threads, and a process with threads must not be forked.
    """

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket_count = 0
        self._lock = threading.Lock()

    def open_socket(self, socket_type: int) -> zmq.Socket[bytes]:
        """Open a socket, to be closed with `close_socket`."""
        with self._lock:
            if self._context is None:
                self._context = zmq.Context()
            socket = self._context.socket(socket_type)
            self._socket_count += 1
            return socket

    async def close_socket(self, socket: zmq.Socket[bytes], *, linger_s: float) -> None:
        """Close the socket; with the last one, wait until what lingers is sent or given up."""
        socket.close(linger=math.ceil(linger_s * 1000))
        with self._lock:
            self._socket_count -= 1
            if self._socket_count:
                return
            context, self._context = self._context, None
        assert context is not None
        # term() blocks for as long as sockets linger, which all of them do for a bounded time.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(context.term, limiter=trio.CapacityLimiter(1))


shared_context = SharedContext()


# --- owner -------------------------------------------------------------------------------------


class Pump(Generic[T]):
    """Moves messages between one socket and the tasks that use it.

    All methods run in the trio thread. Outboxes are kept by key: the identity of a listener's peer, empty on
    a dialer. A key has an outbox only while something waits in it, so that order is kept: with
    nothing waiting a message goes straight to the socket.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        read: Callable[[list[bytes]], T | None],
        *,
        options: MeshOptions,
        tally: Tally,
    ) -> None:
        self._socket = socket
        self._descriptor = _get_int(socket, zmq.FD)
        self._read = read
        self._options = options
        self._tally = tally
        self._inbox: deque[T] = deque()
        self._outboxes: dict[bytes, deque[list[bytes]]] = {}
        self._readers = trio.lowlevel.ParkingLot()
        self._flushed = trio.Event()
        self._lifetime = trio.CancelScope(shield=True)
        self._nap: trio.CancelScope | None = None
        self._is_poked = False
        self._is_closed = False

    @property
    def queued(self) -> int:
        """Messages that wait in outboxes."""
        return sum(map(len, self._outboxes.values()))

    async def receive(self) -> list[T]:
        """Wait for messages; see `Listener.receive`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        has_parked = False
        while not self._inbox and not self._is_closed:
            await self._readers.park()
            has_parked = True
        if self._is_closed:
            raise trio.ClosedResourceError
        inbox = self._inbox
        if len(inbox) >= self._options.inbox_count:
            self._poke()  # the owner had stopped reading
        if len(inbox) <= RECEIVE_COUNT_MAX:
            batch = list(inbox)
            inbox.clear()
        else:
            batch = [inbox.popleft() for _ in range(RECEIVE_COUNT_MAX)]
        if not has_parked:
            # Shielded, because a Cancelled here would lose the batch.
            await trio.lowlevel.cancel_shielded_checkpoint()
        return batch

    def send(self, key: bytes, frames: list[bytes]) -> Sent:
        """Send at once, or put the frames in the key's outbox; see `Listener.send`."""
        if self._is_closed:
            raise trio.ClosedResourceError
        outbox = self._outboxes.get(key)
        if outbox is not None:
            if len(outbox) >= self._options.outbox_count:
                return Sent.FULL
            outbox.append(frames)
            return Sent.SENT
        sent = self._try_send(frames)
        if sent is Sent.FULL and self._options.outbox_count > 0:
            self._outboxes[key] = deque([frames])
            sent = Sent.SENT
        # The call may have eaten the edge of an arrival or of a peer that can take more.
        if not self._is_poked and (self._outboxes or self._can_read()):
            self._poke()
        return sent

    async def own(self) -> None:
        """Run the socket until `close` is done with it, whatever is cancelled outside."""
        with self._lifetime:
            pause_s = _RETRY_S
            while True:
                self._is_poked = False
                has_moved = self._read_turn()
                has_moved |= self._send_turn()
                if has_moved:
                    pause_s = _RETRY_S
                if has_moved or self._can_read():
                    await trio.lowlevel.checkpoint()
                    continue
                await self._wait(pause_s if self._outboxes else math.inf)
                pause_s = min(2 * pause_s, _RETRY_MAX_S)

    async def close(self) -> float:
        """Refuse further use, send what waits within `linger_s`, end the owner.

        Returns:
            Seconds left of `linger_s`, for libzmq to send what it holds.
        """
        self._is_closed = True
        self._readers.unpark_all()
        deadline = trio.current_time() + self._options.linger_s
        with trio.CancelScope(deadline=deadline, shield=True):
            if self._outboxes:
                await self._flushed.wait()
        self._lifetime.cancel()
        return max(0.0, deadline - trio.current_time())

    def _poke(self) -> None:
        self._is_poked = True
        if self._nap is not None:
            self._nap.cancel()

    async def _wait(self, seconds: float) -> None:
        """Wait for an edge, a poke or the time to pass."""
        self._nap = trio.move_on_after(0 if self._is_poked else seconds)
        with self._nap:
            await trio.lowlevel.wait_readable(self._descriptor)
        self._nap = None

    def _can_read(self) -> bool:
        # ZMQ_EVENTS is read in any case: that clears an edge that we can not act on now.
        events = _get_int(self._socket, zmq.EVENTS)
        return bool(events & zmq.POLLIN) and len(self._inbox) < self._options.inbox_count

    def _read_turn(self) -> bool:
        """Read into the inbox for one turn; say whether anything was read."""
        byte_count = message_count = 0
        while (
            len(self._inbox) < self._options.inbox_count
            and message_count < _TURN_COUNT
            and byte_count < _TURN_BYTES
        ):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            message_count += 1
            byte_count += sum(map(len, frames))
            message = self._read(frames)
            if message is not None:
                self._inbox.append(message)
        if self._inbox:
            self._readers.unpark_all()
        return message_count > 0

    def _send_turn(self) -> bool:
        """Send from each outbox for one turn; say whether any of them got shorter."""
        has_moved = False
        for key, outbox in list(self._outboxes.items()):
            for _ in range(min(len(outbox), _TURN_COUNT)):
                sent = self._try_send(outbox[0])
                if sent is Sent.FULL:
                    break
                has_moved = True
                if sent is Sent.UNREACHABLE:
                    self._tally.dropped += len(outbox)
                    outbox.clear()
                    break
                outbox.popleft()
            if not outbox:
                del self._outboxes[key]
        if self._is_closed and not self._outboxes:
            self._flushed.set()
        return has_moved

    def _try_send(self, frames: list[bytes]) -> Sent:
        try:
            # All or nothing: only the first frame can be refused on a ROUTER. On a DEALER whose connection
            # breaks between two frames libzmq takes the first one back.
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return Sent.FULL
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return Sent.UNREACHABLE
            raise
        return Sent.SENT


@asynccontextmanager
async def run(pump: Pump[T], socket: zmq.Socket[bytes], link: LinkState | None = None) -> AsyncIterator[None]:
    """Run the pump's owner task around the body, and follow the link of a dialer; then close all."""
    linger_s = 0.0
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.own)
            if link is not None:
                nursery.start_soon(link.follow)
            try:
                yield
            finally:
                if link is not None:
                    link.end()
                linger_s = await pump.close()
    except BaseExceptionGroup as group:
        # The nursery is our own affair: a single error leaves as what it is.
        if len(group.exceptions) > 1:
            raise
        failure = group.exceptions[0]
    finally:
        await shared_context.close_socket(socket, linger_s=linger_s)
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # it holds this frame


def _get_int(socket: zmq.Socket[bytes], option: int) -> int:
    value = socket.getsockopt(option)
    assert isinstance(value, int)
    return value

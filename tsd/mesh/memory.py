"""A mesh in memory, with the contract of `tsd.mesh.socket` and connections that can be cut.

Everything is as soon there as it is sent, no task runs behind it, and all waiting is trio's: it works
under a mock clock. Messages pass through the codec as frames, as on a real connection.

Cutting a connection loses what is on its way in both directions, the worst that TCP does.
"""

from collections import deque
from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager

import attrs
import trio

from tsd.errors import ConfigError, RemoteWireError
from tsd.mesh.codec import Codec
from tsd.mesh.endpoint import (
    DEFAULT_OPTIONS,
    RECEIVE_COUNT_MAX,
    Dialer,
    Listener,
    MeshOptions,
    MeshStatistics,
    OnBadFrame,
    Received,
    Sent,
    check_identity,
)
from tsd.mesh.tally import Tally, encode_counted


@attrs.define(eq=False)
class _Link:
    """What is on its way between a dialer and the listener at its address."""

    identity: str
    up: deque[list[bytes]] = attrs.field(factory=deque)
    down: deque[list[bytes]] = attrs.field(factory=deque)
    dialer_wakes: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    changes: int = 0
    changed: trio.Event = attrs.field(factory=trio.Event)

    def note_change(self) -> None:
        """The link came up or went down."""
        self.changes += 1
        self.changed.set()
        self.changed = trio.Event()


@attrs.define(eq=False)
class _Place:
    """An address: its listener, if there is one now, and the links to it."""

    listener: "_MemoryListener | None" = None
    links: dict[str, _Link] = attrs.field(factory=dict)
    """The newest link of each identity whose dialer is open."""
    departed: list[_Link] = attrs.field(factory=list)
    """Links whose dialer has closed with messages still on their way up."""

    def drop_down(self, link: _Link) -> None:
        """Drop what is on its way to the dialer, and count it."""
        if self.listener is not None:
            self.listener.tally.dropped += len(link.down)
        link.down.clear()


class MemoryNetwork:
    """Addresses, and the connections between them."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._cut: set[str] = set()

    @asynccontextmanager
    async def listen(
        self,
        address: str | None = None,
        *,
        codec: Codec,
        options: MeshOptions = DEFAULT_OPTIONS,
        on_bad_frame: OnBadFrame | None = None,
    ) -> AsyncIterator[Listener]:
        """Listen for dialers while the body runs; the counterpart of `listen_tcp`.

        Args:
            address: Any text; None for a new one.
            codec: The messages of this link.
            options: Only the counts matter here.
            on_bad_frame: Told of the first bad frame of each peer.

        Yields:
            The listener.

        Raises:
            ConfigError: Somebody listens at this address.
        """
        if address is None:
            address = f"memory://{len(self._places) + 1}"
        place = self._places.setdefault(address, _Place())
        if place.listener is not None:
            raise ConfigError("The mesh can not listen", [("", f"{address} is in use")])
        listener = _MemoryListener(
            self, place, address=address, codec=codec, options=options, tally=Tally(on_bad_frame)
        )
        place.listener = listener
        for link in place.links.values():
            link.note_change()
        try:
            yield listener
        finally:
            listener.close()

    @asynccontextmanager
    async def dial(
        self,
        address: str,
        *,
        identity: str,
        codec: Codec,
        options: MeshOptions = DEFAULT_OPTIONS,
        on_bad_frame: OnBadFrame | None = None,
    ) -> AsyncIterator[Dialer]:
        """Be connected to the address while the body runs; the counterpart of `dial_tcp`.

        Args:
            address: Where a listener is or will be.
            identity: The name that the listener knows this peer by; takes over from a dialer that has it.
            codec: The messages of this link.
            options: Only the counts matter here.
            on_bad_frame: Told of the listener's first bad frame, with the peer empty.

        Yields:
            The dialer.

        Raises:
            LocalWireError: The identity is empty, too long or starts with NUL.
        """
        check_identity(identity)
        place = self._places.setdefault(address, _Place())
        displaced = place.links.get(identity)
        if displaced is not None:
            displaced.up.clear()
        link = place.links[identity] = _Link(identity)
        dialer = _MemoryDialer(self, place, link, codec=codec, options=options, tally=Tally(on_bad_frame))
        try:
            yield dialer
        finally:
            dialer.close()

    def cut(self, peer: str) -> None:
        """Break the connections of the dialer with this identity, and lose what is on its way.

        A listener then finds it unreachable; what the dialer sends waits until `heal`.
        """
        self._cut.add(peer)
        for place in self._places.values():
            place.departed = [link for link in place.departed if link.identity != peer]
            link = place.links.get(peer)
            if link is not None:
                link.up.clear()
                place.drop_down(link)
                link.note_change()

    def heal(self, peer: str) -> None:
        """Connect the dialer with this identity again."""
        self._cut.discard(peer)
        for place in self._places.values():
            if peer in place.links:
                place.links[peer].note_change()
            if peer in place.links and place.listener is not None:
                place.listener.wakes.unpark_all()

    def is_cut(self, peer: str) -> bool:
        """Say whether the dialer with this identity is cut off."""
        return peer in self._cut


class _MemoryListener:
    def __init__(
        self,
        network: MemoryNetwork,
        place: _Place,
        *,
        address: str,
        codec: Codec,
        options: MeshOptions,
        tally: Tally,
    ) -> None:
        self.address = address
        self.tally = tally
        self.wakes = trio.lowlevel.ParkingLot()
        self._network = network
        self._place = place
        self._codec = codec
        self._options = options
        self._is_closed = False

    async def receive(self) -> list[Received]:
        await trio.lowlevel.checkpoint_if_cancelled()
        has_parked = False
        while not (batch := self._take()):
            await self.wakes.park()
            has_parked = True
        if not has_parked:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return batch

    def send(self, peer: str, message: object) -> Sent:
        if self._is_closed:
            raise trio.ClosedResourceError
        frames = encode_counted(self._codec, self.tally, message)
        link = self._place.links.get(peer)
        if link is None or self._network.is_cut(peer):
            sent = Sent.UNREACHABLE
        elif len(link.down) >= _limit(self._options):
            sent = Sent.FULL
        else:
            link.down.append(frames)
            link.dialer_wakes.unpark_all()
            sent = Sent.SENT
        self.tally.count_out(sent, frames)
        return sent

    def count_bad(self, peer: str, reason: str) -> None:
        self.tally.count_bad(peer, reason)

    def statistics(self) -> MeshStatistics:
        links = self._place.links.values()
        return self.tally.statistics(queued=sum(_queued(link.down, self._options) for link in links))

    def close(self) -> None:
        self._is_closed = True
        self.wakes.unpark_all()
        self._place.listener = None
        self._place.departed.clear()
        for link in self._place.links.values():
            link.up.clear()
            link.note_change()

    def _take(self) -> list[Received]:
        """Take what is there, from those that left first, then from one peer after the other."""
        if self._is_closed:
            raise trio.ClosedResourceError
        batch: list[Received] = []
        links = self._place.links
        for link in [*self._place.departed, *links.values()]:
            while not self._network.is_cut(link.identity) and link.up and len(batch) < RECEIVE_COUNT_MAX:
                self._read(link.identity, link.up.popleft(), batch)
            if link.identity in links and links[link.identity] is link:
                # To the end, so that a busy peer does not starve the others.
                links[link.identity] = links.pop(link.identity)
            if len(batch) >= RECEIVE_COUNT_MAX:
                break
        self._place.departed = [link for link in self._place.departed if link.up]
        return batch

    def _read(self, peer: str, frames: list[bytes], batch: list[Received]) -> None:
        self.tally.count_in(frames)
        try:
            batch.append(Received(peer, self._codec.decode(frames)))
        except RemoteWireError as error:
            self.tally.count_bad(peer, str(error))


class _MemoryDialer:
    def __init__(
        self,
        network: MemoryNetwork,
        place: _Place,
        link: _Link,
        *,
        codec: Codec,
        options: MeshOptions,
        tally: Tally,
    ) -> None:
        self._network = network
        self._place = place
        self._link = link
        self._codec = codec
        self._options = options
        self._tally = tally
        self._is_closed = False
        self._seen = link.changes

    @property
    def is_up(self) -> bool:
        return self._place.listener is not None and not self._network.is_cut(self._link.identity)

    async def wait_link_change(self) -> bool:
        while self._seen == self._link.changes:
            await self._link.changed.wait()
        self._seen = self._link.changes
        return self.is_up

    async def receive(self) -> list[object]:
        await trio.lowlevel.checkpoint_if_cancelled()
        has_parked = False
        while not (batch := self._take()):
            await self._link.dialer_wakes.park()
            has_parked = True
        if not has_parked:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return batch

    def send(self, message: object) -> Sent:
        if self._is_closed:
            raise trio.ClosedResourceError
        frames = encode_counted(self._codec, self._tally, message)
        sent = Sent.FULL
        if len(self._link.up) < _limit(self._options):
            sent = Sent.SENT
            self._link.up.append(frames)
            if self._place.listener is not None:
                self._place.listener.wakes.unpark_all()
        self._tally.count_out(sent, frames)
        return sent

    def statistics(self) -> MeshStatistics:
        return self._tally.statistics(queued=_queued(self._link.up, self._options))

    def close(self) -> None:
        self._is_closed = True
        self._link.dialer_wakes.unpark_all()
        place, link = self._place, self._link
        if place.links.get(link.identity) is not link:
            return  # another dialer has taken the identity over
        del place.links[link.identity]
        place.drop_down(link)
        if place.listener is not None and not self._network.is_cut(link.identity):
            place.departed.append(link)

    def _take(self) -> list[object]:
        if self._is_closed:
            raise trio.ClosedResourceError
        batch: list[object] = []
        while self._link.down and len(batch) < RECEIVE_COUNT_MAX:
            frames = self._link.down.popleft()
            self._tally.count_in(frames)
            try:
                batch.append(self._codec.decode(frames))
            except RemoteWireError as error:
                self._tally.count_bad("", str(error))
        return batch


def _limit(options: MeshOptions) -> int:
    """Messages that may wait in one direction of a link."""
    return options.send_hwm + options.outbox_count


def _queued(waiting: Sized, options: MeshOptions) -> int:
    """How many of these a real endpoint would hold itself, because libzmq takes no more."""
    return max(0, len(waiting) - options.send_hwm)

"""A virtual network and clock: everything that happens follows from one seed."""

import heapq
from collections.abc import Callable
from random import Random

import attrs

from tsd.core.kinds import KINDS
from tsd.core.messages import Message
from tsd.mesh.codec import Codec

CODEC = Codec(KINDS)
HEARTBEAT_TIMEOUT_S = 3.0
"""After so long without its peer's transport heartbeats a link is down, as libzmq would have it."""


@attrs.define
class Weather:
    """How bad the network is."""

    delay_s: float = 0.001
    jitter_s: float = 0.004
    drop: float = 0.0
    double: float = 0.0
    reorder: float = 0.0
    is_ordered: bool = False
    """What goes from one host to another arrives in order, as over one connection."""


@attrs.define(eq=False)
class Host:
    """A machine of the virtual network; what runs on it dies with it."""

    name: str
    frozen_until: float = 0.0


class Clock:
    """Events in time order; equal times keep the order in which they were planned."""

    def __init__(self) -> None:
        # Not near 0: masters count on from their clocks, and some of these are set back.
        self.now = 100_000.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, call))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self.at(self.now + delay_s, call)

    def step(self) -> bool:
        if not self._queue:
            return False
        self.now, _, call = heapq.heappop(self._queue)
        call()
        return True


class Network:
    """Carries encoded messages between endpoints on hosts.

    A link between two processes is down when their hosts are cut from each other, or one of them is
    frozen or dead, for longer than the transport's heartbeat timeout; a send over a link that is down
    is answered `False` at the listener's side and held (and lost) at the dialer's side.
    """

    def __init__(self, clock: Clock, rng: Random, weather: Weather) -> None:
        self.clock, self.rng, self.weather = clock, rng, weather
        self._cuts: dict[frozenset[str], float] = {}
        self._slow: dict[tuple[str, str], float] = {}
        self._last_at: dict[tuple[str, str], float] = {}
        self.carried = 0
        self.dropped = 0

    def cut(self, a: str, b: str) -> None:
        self._cuts.setdefault(frozenset((a, b)), self.clock.now)

    def heal(self, a: str, b: str) -> None:
        self._cuts.pop(frozenset((a, b)), None)

    def slow_down(self, a: str, b: str, seconds: float) -> None:
        """What goes from one host to another takes longer by so much; 0 ends that."""
        self._slow[a, b] = seconds

    def heal_all(self) -> list[tuple[str, str]]:
        """Heal everything; the pairs that were cut."""
        pairs = [(min(pair), max(pair)) for pair in self._cuts]
        self._cuts.clear()
        return pairs

    def is_cut(self, a: str, b: str) -> bool:
        return frozenset((a, b)) in self._cuts

    def is_down(self, a: str, b: str) -> bool:
        """Whether the transport has noticed the cut."""
        since = self._cuts.get(frozenset((a, b)))
        return since is not None and self.clock.now - since >= HEARTBEAT_TIMEOUT_S

    def carry(self, a: str, b: str, message: Message, deliver: Callable[[Message], None]) -> None:
        """Deliver a copy of `message` at `b` some time later, or never, or twice."""
        weather, rng = self.weather, self.rng
        frames = CODEC.encode(message)
        copies = 2 if rng.random() < weather.double else 1
        for _ in range(copies):
            if self.is_cut(a, b) or rng.random() < weather.drop:
                self.dropped += 1
                continue
            delay = weather.delay_s + rng.random() * weather.jitter_s
            if rng.random() < weather.reorder:
                delay += rng.random() * 0.5
            if weather.is_ordered:
                at = max(self._last_at.get((a, b), 0.0), self.clock.now + delay + self._slow.get((a, b), 0.0))
                self._last_at[a, b] = at
                delay = at - self.clock.now
            self.carried += 1

            def arrive() -> None:
                if self.is_cut(a, b):
                    self.dropped += 1
                else:
                    deliver(CODEC.decode(frames))

            self.clock.after(delay, arrive)

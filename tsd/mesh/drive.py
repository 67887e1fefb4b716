"""Drives a machine: the loop around `handle` that all shells share.

Everything runs in the trio thread and `feed` never waits, so events are handled whole and in the order in
which they come, whichever task brings them.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import attrs
import trio

from tsd.core.execution.events import Effects, Exit, NotSent
from tsd.core.hellos import LinkChanged
from tsd.core.messages import Message
from tsd.mesh.endpoint import Dialer, Sent

EffectsT = TypeVar("EffectsT")
EffectsT_co = TypeVar("EffectsT_co", covariant=True)


class Machine(Protocol[EffectsT_co]):
    """What is driven; the cores say how in their modules."""

    def handle(self, event: Any, *, now: float) -> EffectsT_co:
        """Take in an event."""
        ...

    def wake_at(self) -> float | None:
        """When it wants a tick."""
        ...


@attrs.frozen
class End:
    """The process is over.

    Attributes:
        code: Its exit code.
        reason: Why, for people.
    """

    code: int
    reason: str


class Driver(Generic[EffectsT]):
    """Feeds a machine and has its effects carried out.

    Args:
        machine: The machine; nobody else may feed it.
        tick: The event that says that the time of `wake_at` has come.
        perform: Carries out effects. It may call `feed` (the event is handled next) and `end`.
    """

    def __init__(
        self, machine: Machine[EffectsT], *, tick: object, perform: Callable[[EffectsT], None]
    ) -> None:
        self._machine = machine
        self._tick = tick
        self._perform = perform
        self._events: deque[Any] = deque()
        self._is_feeding = False
        self._tick_at: float | None = None
        self._tick_moved = trio.Event()
        self._ended = trio.Event()
        self._end: End | None = None

    def feed(self, event: Any) -> None:
        """Have an event handled, its effects carried out, and what follows; nothing after the end."""
        self._events.append(event)
        if self._is_feeding:
            return
        self._is_feeding = True
        try:
            while self._events and self._end is None:
                self._perform(self._machine.handle(self._events.popleft(), now=trio.current_time()))
        finally:
            self._is_feeding = False
        self._set_alarm()

    def end(self, code: int, reason: str) -> None:
        """Let the process end; the first one counts."""
        if self._end is None:
            self._end = End(code, reason)
            self._ended.set()

    async def wait_end(self) -> End:
        """Wait for `end`."""
        await self._ended.wait()
        assert self._end is not None
        return self._end

    async def keep_time(self) -> None:
        """Feed the first tick now and then one whenever the machine wants it, until cancelled."""
        self.feed(self._tick)
        while True:
            self._tick_moved = trio.Event()
            # An alarm in the past still lets other tasks run first.
            with trio.move_on_at(float("inf") if self._tick_at is None else self._tick_at) as alarm:
                await self._tick_moved.wait()
            if alarm.cancelled_caught:
                self.feed(self._tick)

    def _set_alarm(self) -> None:
        at = self._machine.wake_at()
        if at != self._tick_at:
            # Only an earlier alarm must wake the sleeper; at a later one it looks again when it wakes.
            is_earlier = at is not None and (self._tick_at is None or at < self._tick_at)
            self._tick_at = at
            if is_earlier:
                self._tick_moved.set()


async def follow_link(dialer: Dialer, driver: Driver[Any]) -> None:
    """Tell a machine whenever the link that its process dials comes up or goes down, until cancelled.

    The first word, on how the link is at the start, is the caller's, before the first tick.
    """
    while True:
        driver.feed(LinkChanged(is_up=await dialer.wait_link_change()))


def perform_effects(
    effects: Effects,
    driver: Driver[Effects],
    *,
    send: Callable[[str, Message], Sent],
    act: Callable[[Any], None],
) -> None:
    """Carry out the effects of one of the two machines of an execution.

    Args:
        effects: What to do.
        driver: Of the machine.
        send: Gives a message to the mesh; peer `""` is the listener that this process dials.
        act: Carries out an action other than `Exit`.
    """
    for peer, message in effects.sends:
        sent = send(peer, message)
        if sent is not Sent.SENT:
            driver.feed(NotSent(peer, message, unreachable=sent is Sent.UNREACHABLE))
    for action in effects.actions:
        if isinstance(action, Exit):
            driver.end(action.code, action.reason)
            return
        act(action)

"""Drives one of the two machines of an execution: the loop around `handle` that both shells share.

Everything runs in the trio thread and `feed` never waits, so events are handled whole and in the order in
which they come, whichever task brings them.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import trio

from tsd.core.execution.events import Effects, Exit, NotSent, Tick
from tsd.core.messages import Message
from tsd.mesh.endpoint import Sent


class Machine(Protocol):
    """What is driven; see `tsd.core.execution.events`."""

    def handle(self, event: Any, *, now: float) -> Effects:
        """Take in an event."""
        ...

    def wake_at(self) -> float | None:
        """When it wants a `Tick`."""
        ...


class Driver:
    """Feeds a machine and carries out what it says.

    Args:
        machine: The machine; nobody else may feed it.
        send: Gives a message to the mesh; peer `""` is the listener that this process dials.
        act: Carries out an action other than `Exit`. It may call `feed`; the event is then handled next.
    """

    def __init__(
        self, machine: Machine, *, send: Callable[[str, Message], Sent], act: Callable[[Any], None]
    ) -> None:
        self._machine = machine
        self._send = send
        self._act = act
        self._events: deque[Any] = deque()
        self._is_feeding = False
        self._tick_at: float | None = None
        self._tick_moved = trio.Event()
        self._ended = trio.Event()
        self._exit: Exit | None = None

    def feed(self, event: Any) -> None:
        """Handle an event and carry out its effects, and those of what follows from it."""
        self._events.append(event)
        if self._is_feeding:
            return
        self._is_feeding = True
        try:
            while self._events:
                self._handle(self._events.popleft())
        finally:
            self._is_feeding = False
        self._set_alarm()

    async def wait_exit(self) -> Exit:
        """Wait until the machine says that the process is to end."""
        await self._ended.wait()
        assert self._exit is not None
        return self._exit

    async def keep_time(self, before_tick: Callable[[], None] = lambda: None) -> None:
        """Feed `Tick` whenever the machine wants one, until cancelled.

        Args:
            before_tick: Called before each, to feed what only matters then.
        """
        self._set_alarm()
        while True:
            self._tick_moved = trio.Event()
            # An alarm in the past still lets other tasks run first.
            with trio.move_on_at(float("inf") if self._tick_at is None else self._tick_at) as alarm:
                await self._tick_moved.wait()
            if alarm.cancelled_caught:
                before_tick()
                self.feed(Tick())

    def _handle(self, event: Any) -> None:
        if self._exit is not None:
            return
        effects = self._machine.handle(event, now=trio.current_time())
        for peer, message in effects.sends:
            sent = self._send(peer, message)
            if sent is not Sent.SENT:
                self._events.append(NotSent(peer, message, unreachable=sent is Sent.UNREACHABLE))
        for action in effects.actions:
            if isinstance(action, Exit):
                self._exit = action
                self._ended.set()
                return
            self._act(action)

    def _set_alarm(self) -> None:
        at = self._machine.wake_at()
        if at != self._tick_at:
            # Only an earlier alarm must wake the sleeper; at a later one it looks again when it wakes.
            is_earlier = at is not None and (self._tick_at is None or at < self._tick_at)
            self._tick_at = at
            if is_earlier:
                self._tick_moved.set()

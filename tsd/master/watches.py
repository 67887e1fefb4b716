"""Waiting for statuses of executions, and for nodes, by events, without asking again and again."""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager

import attrs
import trio

from tsd.core.records import Status
from tsd.errors import NotReady


@attrs.define(eq=False)
class Watch:
    """What became of one execution since the watch began."""

    _seen: list[Status] = attrs.field(factory=list)
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _is_over: bool = False

    def tell(self, status: Status | None, *, is_over: bool) -> None:
        """Take note of a status (None: no new one); with `is_over` there will be no other."""
        if status is not None:
            self._seen.append(status)
        self._is_over = is_over
        self._changed.set()
        self._changed = trio.Event()

    def begin_anew(self) -> None:
        """Let no earlier status count but the present one: what was asked for is under way only now."""
        del self._seen[:-1]

    async def until(self, statuses: Container[Status], *, now: Status) -> Status:
        """Wait until the status is one of these, or was since the watch began; returns it.

        A status may be over before whoever waits for it gets to run: a resume can follow a pause at once.

        Args:
            statuses: What to wait for.
            now: The status as it was known before the watch had seen anything.

        Raises:
            NotReady: The master ends before that happens.
        """
        self._seen = self._seen or [now]
        while not (found := [status for status in self._seen if status in statuses]):
            if self._is_over:
                raise NotReady(f"the master is ending; the execution is {self._seen[-1]} and goes on")
            del self._seen[:-1]
            await self._changed.wait()
        return found[0]


@attrs.define(eq=False)
class Watches:
    """Everybody who waits, by execution, and for nodes."""

    _watches: dict[str, list[Watch]] = attrs.field(factory=dict)
    _nodes_changed: trio.Event = attrs.field(factory=trio.Event)
    _is_over: bool = False

    @contextmanager
    def watch(self, ex_id: str) -> Iterator[Watch]:
        """See every status from now on; begin before asking for what is to change it."""
        watch = Watch()
        watch.tell(None, is_over=self._is_over)
        self._watches.setdefault(ex_id, []).append(watch)
        try:
            yield watch
        finally:
            others = self._watches[ex_id]
            others.remove(watch)
            if not others:
                del self._watches[ex_id]

    def tell(self, ex_id: str, status: Status) -> None:
        """The status of an execution is saved: wake those who wait for it."""
        for watch in self._watches.get(ex_id, ()):
            watch.tell(status, is_over=self._is_over)

    async def until_nodes(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so of the nodes; it is looked at when one changes.

        Raises:
            NotReady: The master ends before that.
        """
        while not condition():
            if self._is_over:
                raise NotReady("the master is ending; what was wished of the node holds")
            await self._nodes_changed.wait()

    def tell_of_nodes(self) -> None:
        """A node changed: wake those who wait for one."""
        self._nodes_changed.set()
        self._nodes_changed = trio.Event()

    def close(self) -> None:
        """The master ends: whoever waits, and whoever begins to, is told so."""
        self._is_over = True
        self.tell_of_nodes()
        for watches in self._watches.values():
            for watch in watches:
                watch.tell(None, is_over=True)

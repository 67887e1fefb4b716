"""What the controller reports of the status, one after the other until each is answered."""

from collections import deque

import attrs

from tsd.core.counts import ControllerCounts
from tsd.core.execution.lifecycle import LifecycleEvent
from tsd.core.messages import StatusReport
from tsd.core.records import ExecutionStats
from tsd.error_texts import bounded, head_of

_NEVER = float("inf")
ERROR_CHARS = 2_000
"""Of the error of a slice so much at most becomes part of a reason."""


@attrs.define(kw_only=True)
class StatusReports:
    """Reports in order, one outstanding.

    Attributes:
        current: The one that waits for its answer; it is repeated.
    """

    ex_id: str
    generation: int
    current: StatusReport | None = None
    _waiting: deque[tuple[LifecycleEvent, str]] = attrs.field(factory=deque)
    _seq: int = 0

    def add(self, event: LifecycleEvent, reason: str = "") -> None:
        """Report this after those that wait."""
        self._waiting.append((event, reason))

    def is_idle(self) -> bool:
        """Whether every report was answered."""
        return self.current is None and not self._waiting

    def has_next(self) -> bool:
        """Whether the next report can be sent."""
        return self.current is None and bool(self._waiting)

    def next(self, stats: ExecutionStats, counts: ControllerCounts, *, is_recorded: bool) -> StatusReport:
        """Make the next report the outstanding one."""
        event, reason = self._waiting.popleft()
        self._seq += 1
        self.current = StatusReport(
            ex_id=self.ex_id,
            generation=self.generation,
            seq=self._seq,
            event=event.value,
            reason=reason,
            stats=stats,
            counts=counts,
            is_recorded=is_recorded,
        )
        return self.current

    def answered(self, seq: int) -> LifecycleEvent | None:
        """The master took report `seq` in; the event when that was the outstanding one."""
        if self.current is None or self.current.seq != seq:
            return None
        event = LifecycleEvent(self.current.event)
        self.current = None
        return event


@attrs.define(kw_only=True)
class Standing:
    """Whether the execution counts as failing, and the probation of one that is persistent.

    Probation is passed after a whole window without a new error in which at least one slice ended well.

    Attributes:
        is_failing: An error was reported and not taken back.
        check_at: End of the present window, infinite without probation.
        error: Why the slice failed that made it failing.
        first_error: Why the first slice failed that this controller knows of.
    """

    window_s: float
    is_once: bool
    is_failing: bool = False
    check_at: float = _NEVER
    error: str = ""
    first_error: str = ""
    _failed: int = 0
    _processed: int = 0

    def fail(self, failed: int, processed: int, now: float) -> bool:
        """A slice ended in error; whether that is to be reported."""
        is_news = not self.is_failing
        self.is_failing = True
        if not self.is_once and self.check_at == _NEVER:
            self._open(failed, processed, now)
        return is_news

    def note(self, error: str) -> None:
        """Take in why a slice failed, before `fail`; only the first of a stretch of failing is kept."""
        if not self.is_failing or not self.error:
            self.error = bounded(head_of(error), ERROR_CHARS)
            self.first_error = self.first_error or self.error

    def check(self, failed: int, processed: int, now: float) -> bool:
        """Whether probation is passed now; opens the next window when it is not."""
        if now < self.check_at:
            return False
        if failed == self._failed and processed > self._processed:
            self.is_failing = False
            self.check_at = _NEVER
            return True
        self._open(failed, processed, now)
        return False

    def _open(self, failed: int, processed: int, now: float) -> None:
        self._failed, self._processed = failed, processed
        self.check_at = now + self.window_s

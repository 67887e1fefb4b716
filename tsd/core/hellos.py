"""When a dialer that is not welcome says hello, and when it says so again.

A hello that gets no answer is said again, but ever more seldom: listeners that can not answer for hours (a
store that is full) are not buried under hellos. The pause doubles from one beat up to `HELLO_PAUSE_MAX_S`.

The transport tells when the link comes up or goes down. While it is down one hello may wait in it, which
leaves when it comes up; a second one would only be an older word of the same. When the link comes up a hello
is said at once, unless the one that waited is quite new: so a listener that was away for long is greeted as
quickly as one that was away for a moment, and hears how things are now. A machine that is never told of its
link falls back to the pauses.
"""

import attrs

HELLO_PAUSE_MAX_S = 30.0
"""Longest pause between two hellos over a link that is up."""


@attrs.frozen
class LinkChanged:
    """Event: the link to the listener came up or went down; also the first word on how it is."""

    is_up: bool


@attrs.define(kw_only=True)
class Hellos:
    """The hellos of one dialer.

    Attributes:
        beat_s: First pause, seconds.
    """

    beat_s: float
    _is_up: bool = True
    _is_waiting: bool = False
    """One was said since the link went down."""
    _pause_s: float = 0.0
    _said_at: float = float("-inf")
    _due_at: float = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether to say hello now, when that has no answer yet."""
        return now >= self._due_at and (self._is_up or not self._is_waiting)

    def look_at(self, now: float) -> float:
        """When to ask again whether one is due, if it is not now."""
        return max(now + self.beat_s, min(self._due_at, now + HELLO_PAUSE_MAX_S))

    def said(self, now: float) -> None:
        """One was said."""
        longest_s = max(HELLO_PAUSE_MAX_S, self.beat_s)
        self._pause_s = min(longest_s, max(self.beat_s, 2 * self._pause_s))
        self._said_at = now
        self._due_at = now + self._pause_s
        self._is_waiting = not self._is_up

    def answered(self) -> None:
        """The listener knows this dialer; the next hello is a first one."""
        self._pause_s = 0.0
        self._due_at = float("-inf")

    def link_changed(self, *, is_up: bool, now: float) -> bool:
        """The link came up or went down; whether a hello that has no answer is to be said now."""
        is_fresh = self._is_waiting and now - self._said_at < self.beat_s
        self._is_up = is_up
        self._is_waiting = False
        self._pause_s = 0.0
        if is_up and is_fresh:
            self.said(self._said_at)
            return False
        self._due_at = float("-inf")
        return is_up

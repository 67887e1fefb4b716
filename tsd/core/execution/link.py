"""The controller's link to the master: hello, welcome, silence, beats and the lease."""

import attrs

from tsd.core.hellos import Hellos
from tsd.core.messages import LINK_SILENCE_BEATS

_LONG_AGO = float("-inf")


@attrs.define(kw_only=True)
class MasterLink:
    """Whether the master knows this controller, and until when it may hand out slices.

    Attributes:
        beat_s: Seconds between beats.
        welcomed: The master has answered the last hello.
        lease_until: Monotonic second at which the lease runs out.
        reconnects: Times the master had to be greeted again and answered.
        hellos: When hello is said.
    """

    beat_s: float
    welcomed: bool = False
    lease_until: float = _LONG_AGO
    reconnects: int = 0
    hellos: Hellos = attrs.field(init=False)
    _was_welcomed: bool = False
    _lease_s: float = 0.0
    _heard_at: float = _LONG_AGO
    _first_hello_at: float | None = None
    _beat_at: float = _LONG_AGO
    _beaten_at: float = _LONG_AGO

    def __attrs_post_init__(self) -> None:
        self.hellos = Hellos(beat_s=self.beat_s)

    def has_lease(self, now: float) -> bool:
        """Whether slices may be handed out."""
        return now < self.lease_until

    def hear(self, now: float) -> None:
        """The master said something."""
        self._heard_at = now

    def welcome(self, lease_s: float, beat_s: float, now: float) -> None:
        """The master answered a hello.

        Which one is not known, so the lease runs from the first that was not answered. The beat that
        follows at once makes it longer if that was long ago.
        """
        self.reconnects += self._was_welcomed and not self.welcomed
        self.welcomed = self._was_welcomed = True
        self.hellos.answered()
        self.beat_s = beat_s
        self._lease_s = lease_s
        if self._first_hello_at is not None:
            self.grant(self._first_hello_at, now)
        self._first_hello_at = None
        self._beat_at = now

    def grant(self, sent_at: float, now: float) -> None:
        """The master answered what was sent at `sent_at`."""
        if sent_at <= now:
            self.lease_until = max(self.lease_until, sent_at + self._lease_s)

    def lose(self) -> None:
        """The master does not know this controller (any more); say hello."""
        self.welcomed = False

    def is_silent(self, now: float) -> bool:
        """Nothing was heard for so long that a hello is due."""
        return self.welcomed and now - self._heard_at >= LINK_SILENCE_BEATS * self.beat_s

    def note_hello(self, now: float) -> None:
        """A hello is sent now."""
        self.hellos.said(now)
        if self._first_hello_at is None:
            self._first_hello_at = now

    def beat_soon(self) -> None:
        """Lists changed: beat early, but not more often than ten times an interval."""
        self._beat_at = min(self._beat_at, self._beaten_at + self.beat_s / 10)

    def beat_at(self) -> float:
        """When the next beat is due; infinite while not welcomed."""
        return self._beat_at if self.welcomed else float("inf")

    def note_beat(self, now: float) -> None:
        """A beat is sent now."""
        self._beaten_at = now
        self._beat_at = now + self.beat_s

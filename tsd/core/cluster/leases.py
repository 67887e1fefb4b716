"""Who can be reached, and until when a controller may hand out slices."""

import attrs

PROBE_AFTER_BEATS = 1.5
"""A peer is silent when nothing came for so many beats; then its link is probed each beat."""


@attrs.define(kw_only=True)
class Link:
    """What is known of the way to one peer.

    Silence alone says nothing (user code may hold the interpreter): the link is down when a send to the
    silent peer failed as unreachable, and up again when something is heard or a later probe goes
    through.
    """

    peer: str
    beat_s: float
    heard_at: float
    unreachable_since: float | None = None
    probe_at: float = attrs.field(init=False)
    _is_probed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.probe_at = self.heard_at + self.beat_s * PROBE_AFTER_BEATS

    @property
    def is_reachable(self) -> bool:
        """The last send to the peer did not fail, or it was heard since."""
        return self.unreachable_since is None

    def hear(self, now: float) -> None:
        """Something came from the peer."""
        self.heard_at = now
        self.unreachable_since = None
        self._is_probed = False
        self.probe_at = now + self.beat_s * PROBE_AFTER_BEATS

    def fail(self, now: float) -> None:
        """A send to the peer failed because the link is down."""
        self._is_probed = False
        if self.unreachable_since is None:
            self.unreachable_since = now
        self.probe_at = min(self.probe_at, now + self.beat_s)

    def probe(self, now: float) -> bool:
        """Whether to send a probe now; the probe before it went through unless `fail` was called since."""
        if now < self.probe_at:
            return False
        if self._is_probed:
            self.unreachable_since = None
        self._is_probed = True
        self.probe_at = now + self.beat_s
        return True


@attrs.define(kw_only=True)
class Controller:
    """The controller of the present generation of one execution.

    Attributes:
        proc_id: Its process id, which is its identity on the mesh.
        node_id: Where it was placed.
        hello_by: Until when it must have said hello; None once it has, and for one that a master before
            this one had placed.
        is_welcomed: This master has said welcome to it.
        address: Where workers dial.
        lease_until: Until when it may hand out slices, counted from the last answer to it.
        is_revoked: It gets no more answers, so that the lease runs out.
        is_dismissed: It was told to end so that the next generation goes on elsewhere.
        is_replaceable: Another generation could go on where it is, as it says; None before it has said so.
        has_told_staying: It was told that it can not leave a drained node.
        report_seq: The last status report that was taken in.
        connected: Workers that are connected to it, as it said last; None before it has said so.
        told_unconnected: Workers of which it was logged that they are not.
        last_unconnected: The same, in words; kept when they have ended, and while nobody is connected.
        gap_seq: A report that did not fit and seemed to have overtaken another; taken as it is next time.
    """

    proc_id: str
    generation: int
    node_id: str
    link: Link
    started_at: float
    hello_by: float | None = None
    is_welcomed: bool = False
    address: str = ""
    lease_until: float = 0.0
    is_revoked: bool = False
    is_dismissed: bool = False
    is_replaceable: bool | None = None
    has_told_staying: bool = False
    report_seq: int = 0
    gap_seq: int = 0
    connected: frozenset[str] | None = None
    told_unconnected: set[str] = attrs.field(factory=set)
    last_unconnected: tuple[str, ...] = ()

    @property
    def may_leave(self) -> bool:
        """Whether it can be told to end; one that was placed just now has nothing to lose yet."""
        return self.is_replaceable is True or (self.is_replaceable is None and self.hello_by is not None)

    def grant(self, now: float, lease_s: float) -> None:
        """Count the lease from an answer that is sent now."""
        self.lease_until = now + lease_s

    def is_lost(self, now: float) -> bool:
        """Nobody hears from it and it may not hand out slices any more."""
        return now >= self.lease_until and (self.is_revoked or not self.link.is_reachable)

"""The two watchdogs over workers: none ever came, and none is left."""

import attrs


@attrs.define(kw_only=True)
class Patience:
    """A limit on how long something may last; time in which it does not count is left out."""

    limit_s: float
    _spent_s: float = 0.0
    _since: float | None = None

    def is_over(self, *, counts: bool, now: float) -> bool:
        """Say whether time counts from now on; returns whether the limit was reached by now."""
        if self._since is not None:
            self._spent_s += now - self._since
        self._since = now if counts else None
        return counts and self._spent_s >= self.limit_s

    def reset(self) -> None:
        """Begin anew."""
        self._spent_s = 0.0
        self._since = None


@attrs.define(kw_only=True)
class WorkerWatch:
    """Says when an execution has been without workers for too long."""

    ex_id: str
    _never: Patience
    _none_left: Patience

    @classmethod
    def make(cls, *, ex_id: str, slicer_timeout_s: float, disconnect_timeout_s: float) -> "WorkerWatch":
        """A watch that has not begun to count."""
        return cls(
            ex_id=ex_id,
            never=Patience(limit_s=slicer_timeout_s),
            none_left=Patience(limit_s=disconnect_timeout_s),
        )

    def reset(self) -> None:
        """The end of a worker was counted against its slice: time without workers begins anew."""
        self._none_left.reset()

    def look(self, *, counts: bool, connected: int, joined: int, now: float, last_exit: str = "") -> str:
        """Why the execution has to fail; empty while it has not. Call it once a beat.

        Args:
            counts: Whether missing workers count at all from now on.
            connected: Workers that are there now.
            joined: Workers that ever came.
            now: Monotonic seconds.
            last_exit: How the worker ended that ended last; empty when none did by itself.
        """
        why = f"; at last {last_exit}" if last_exit else ""
        if connected:
            self._none_left.reset()
        if self._never.is_over(counts=counts and not joined, now=now):
            return f"No workers have connected to slicer in the allotted time{why}"
        if self._none_left.is_over(counts=counts and joined > 0 and not connected, now=now):
            return f"All workers of execution {self.ex_id} have disconnected{why}"
        return ""

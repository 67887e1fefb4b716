"""One line on how the cluster is, for `systemctl status`."""

from collections.abc import Callable

import attrs

from tsd.core.cluster.machine import ClusterMachine


@attrs.define(eq=False, kw_only=True)
class StatusLine:
    """Makes the line from the state of the cluster.

    Args:
        machine: The cluster core.
        now: Seconds of a clock that never steps.
    """

    machine: ClusterMachine
    now: Callable[[], float]
    _counted_at: float = attrs.field(default=0.0, init=False)
    _counted: int = attrs.field(default=0, init=False)
    _last: str = attrs.field(default="", init=False)

    def text(self, store_fault: str = "") -> str:
        """The line: `3 nodes, 2 executions, 12,000 slices/s`; the rate is that since the last call.

        Args:
            store_fault: Why the store takes no writes, when it does not.
        """
        figures = self.machine.figures()
        # What was counted, and not the sums of executions: those begin with what earlier masters have seen.
        work = figures.counts.work
        now, count = self.now(), work.completed + work.failed
        seconds = now - self._counted_at
        rate = round((count - self._counted) / seconds) if seconds > 0 and self._counted_at else 0
        self._counted_at, self._counted = now, count
        capacity = figures.capacity
        others = {
            "away": capacity.nodes_away,
            "draining": capacity.nodes_draining,
            "drained": capacity.nodes_drained,
        }
        words = ", ".join(f"{number} {state}" for state, number in others.items() if number)
        parts = [
            _count(capacity.nodes_connected, "node") + (f" ({words})" if words else ""),
            _count(len(figures.executions), "execution"),
            f"{rate:,} slices/s",
        ]
        if store_fault:
            parts.insert(0, f"The store does not take writes: {store_fault}")
        return ", ".join(parts)

    def is_new(self, text: str) -> bool:
        """Whether the text is another one than at the last call."""
        last, self._last = self._last, text
        return text != last


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

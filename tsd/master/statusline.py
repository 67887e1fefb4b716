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
        now, count = self.now(), figures.stats.processed
        seconds = now - self._counted_at
        rate = round((count - self._counted) / seconds) if seconds > 0 and self._counted_at else 0
        self._counted_at, self._counted = now, count
        away = figures.capacity.nodes_away
        parts = [
            _count(figures.capacity.nodes_connected, "node") + (f" ({away} away)" if away else ""),
            _count(len(figures.executions), "execution"),
            f"{max(0, rate):,} slices/s",
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

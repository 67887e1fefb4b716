"""Histograms with fixed buckets: how often a value fell where, at the cost of a few additions."""

from bisect import bisect_left

import attrs


@attrs.frozen
class Histogram:
    """What was observed up to one moment.

    Attributes:
        bounds: Upper bounds of the buckets, ascending; the last bucket has none.
        counts: Values in each bucket; one more than there are bounds.
        sum: Of all values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Observations:
    """Takes values in; for one thread.

    Args:
        bounds: Upper bounds of the buckets, ascending. A value that is equal to one belongs to it.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Take in a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def histogram(self) -> Histogram:
        """What was observed so far."""
        return Histogram(self._bounds, tuple(self._counts), self._sum)

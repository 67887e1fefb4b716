"""Counts the requests to the API by what was asked for, never by the path that somebody sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from tsd.core.histograms import Histogram, Observations

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
OTHER: Final = "other"
"""Stands for every method and every path that is not known, or their names could be without number."""
BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)


@attrs.frozen(kw_only=True)
class RequestFigures:
    """What was counted up to one moment.

    Attributes:
        in_flight: Requests that are being answered.
        answered: By (method, route, status).
        elapsed_s: Seconds by (method, route).
    """

    in_flight: int
    answered: dict[tuple[str, str, int], int]
    elapsed_s: dict[tuple[str, str], Histogram]


class RequestCounter:
    """Counts in the loop of the API."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._answered: dict[tuple[str, str, int], int] = {}
        self._elapsed_s: dict[tuple[str, str], Observations] = {}

    @contextmanager
    def flight(self) -> Iterator[None]:
        """A request is in flight while the body runs."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def answered(self, method: str, route: str | None, status: int, elapsed_s: float) -> None:
        """A request was answered.

        Args:
            method: As sent.
            route: Template of the path, such as `/jobs/<job_id>`; None when there is none.
            status: Of the answer.
            elapsed_s: Since it came.
        """
        key = (method if method in METHODS else OTHER, route or OTHER)
        self._answered[*key, status] = self._answered.get((*key, status), 0) + 1
        if key not in self._elapsed_s:
            self._elapsed_s[key] = Observations(BOUNDS_S)
        self._elapsed_s[key].add(elapsed_s)

    def figures(self) -> RequestFigures:
        """What was counted so far."""
        return RequestFigures(
            in_flight=self._in_flight,
            answered=dict(self._answered),
            elapsed_s={key: seen.histogram() for key, seen in self._elapsed_s.items()},
        )

"""collect: gathers records over slices until there are enough, or long enough."""

import time
from typing import Any

import attrs
from typing_extensions import override

from tsd.durations import parse_duration
from tsd.operations import formats
from tsd.operations.base import operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.holding import HoldingProcessor
from tsd.operations.record import Record

_Held = tuple[float, int, Record]
"""Moment it came, number of its slice, the record."""


@attrs.define(kw_only=True)
class CollectConfig(OpConfig):
    """Options of collect."""

    size: int = opt(convert=formats.positive_int, doc="records that leave together")
    wait: int = opt(convert=parse_duration, doc="how long the oldest record waits for that at most")


@operation("collect", config=CollectConfig)
class Collect(HoldingProcessor):
    """Holds records back until `size` are there or the oldest has waited for `wait`; a flush releases all.

    They leave in whole multiples of `size`, so that slices larger than that do not pile up; after `wait` all
    leave. A slice counts as done when all its records have left.
    """

    @override
    def initialize(self) -> None:
        # what left stays in the list for a while, so that a mark of both ends is all there is to put back
        self._held: list[_Held] = []
        self._start = 0

    @override
    def snapshot(self) -> Any:
        return self._held, self._start, len(self._held)

    @override
    def restore(self, snapshot: Any) -> None:
        self._held, self._start, end = snapshot
        del self._held[end:]

    @override
    def held_since(self) -> int | None:
        return self._held[self._start][1] if self._start < len(self._held) else None

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        now, number = time.monotonic(), self.ctx.slice_number
        held, start = self._held, self._start
        held += [(now, number, record) for record in records]
        count = len(held) - start
        is_due = count > 0 and (now - held[start][0]) * 1000 >= self.config.wait
        if not (self.is_flushing or is_due):
            count -= count % self.config.size
        leaving = held[start : start + count]
        self._start = start = start + count
        if start * 2 >= len(held):  # a new list: the old one may be put back
            self._held, self._start = held[start:], 0
        if self.is_flushing:
            return [record for _, _, record in leaving]
        # a retry fetches those of this slice anew, and only earlier ones are put back
        return [record if since == number else record.clone() for _, since, record in leaving]

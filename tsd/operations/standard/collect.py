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
        self._held: tuple[_Held, ...] = ()

    @override
    def snapshot(self) -> Any:
        return self._held

    @override
    def restore(self, snapshot: Any) -> None:
        self._held = snapshot

    @override
    def held_since(self) -> int | None:
        return self._held[0][1] if self._held else None

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        now, number = time.monotonic(), self.ctx.slice_number
        held = (*self._held, *((now, number, record) for record in records))
        is_due = bool(held) and (now - held[0][0]) * 1000 >= self.config.wait
        count = len(held)
        if not (self.is_flushing or is_due):
            count -= count % self.config.size
        self._held = held[count:]
        return [record for _, _, record in held[:count]]

"""delay: waits, then passes records through."""

import attrs
from typing_extensions import override

from tsd.durations import parse_duration
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record


@attrs.define(kw_only=True)
class DelayConfig(OpConfig):
    """Options of delay."""

    ms: int = opt(100, doc="how long to wait with each slice", convert=parse_duration)


@operation("delay", config=DelayConfig)
class Delay(BatchProcessor):
    """Waits at least `ms` with each slice."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        self.ctx.sleep(self.config.ms / 1000)
        return records

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
    """Waits at least `ms` with each slice; not in a flush that releases nothing."""

    _is_flushing = False

    def on_flush_start(self) -> None:
        """Remember that no slice is in work."""
        self._is_flushing = True

    def on_flush_end(self) -> None:
        """Slices may follow."""
        self._is_flushing = False

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        if self._is_flushing and not records:
            return records
        self.ctx.sleep(self.config.ms / 1000)
        return records

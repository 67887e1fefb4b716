"""collect: gathers records over slices until there are enough, or long enough."""

import time

import attrs
from typing_extensions import override

from tsd.durations import parse_duration
from tsd.errors import OperationError
from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record


@attrs.define(kw_only=True)
class CollectConfig(OpConfig):
    """Options of collect."""

    size: int = opt(convert=formats.positive_int, doc="records that leave together")
    wait: int = opt(convert=parse_duration, doc="how long the oldest record waits for that at most")


@operation("collect", config=CollectConfig)
class Collect(BatchProcessor):
    """Holds records back until `size` are there or the oldest has waited for `wait`; a flush releases all.

    They leave in whole multiples of `size`, so that slices larger than that do not pile up; after `wait` all
    leave. What was held before a slice is put back when an attempt of that slice fails, so that a retry
    neither loses records of earlier slices nor doubles those of this one.
    """

    @override
    def initialize(self) -> None:
        self._held: list[tuple[float, Record]] = []
        """(moment it came, record), oldest first."""
        self._before = self._held
        self._is_flushing = False

    def on_slice_initialized(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Note what is held before the slice."""
        self._before = list(self._held)

    def on_slice_retry(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Put it back."""
        self._held = list(self._before)

    def on_slice_failed(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Put it back."""
        if not self._is_flushing:
            self._held = list(self._before)

    def on_flush_start(self) -> None:
        """From now on everything is released."""
        self._is_flushing = True

    def on_flush_end(self) -> None:
        """Go on as before."""
        self._is_flushing = False

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        now = time.monotonic()
        held = self._held
        held.extend((now, record) for record in records)
        is_due = bool(held) and (now - held[0][0]) * 1000 >= self.config.wait
        count = len(held)
        if not (self._is_flushing or is_due):
            count -= count % self.config.size
        released, self._held = held[:count], held[count:]
        return [record for _, record in released]

    @override
    def shutdown(self) -> None:
        if self._held:
            raise OperationError(f"{len(self._held)} collected records were never released")

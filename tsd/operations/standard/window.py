"""window: groups of records that belong together in time."""

import math
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.dates import EPOCH_UNITS, data_time
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.holding import HoldingProcessor
from tsd.operations.record import Record
from tsd.operations.standard.held import HeldGroups
from tsd.operations.standard.paths import MISSING, get_path
from tsd.operations.standard.values import told
from tsd.operations.windows import DataWindow

_Key = tuple[int, int]
"""First time of a window in milliseconds, and a number that tells those of one time apart."""


def _positive_ms(value: object) -> int:
    if formats.natural(value) == 0:
        raise ValueError("must be greater than zero")
    return formats.natural(value)


@attrs.define(kw_only=True)
class WindowConfig(OpConfig):
    """Options of window."""

    time_field: str = opt("@timestamp", doc="path of the field that holds the time, for event time")
    epoch_unit: str = opt(
        "ms", choices=tuple(EPOCH_UNITS), doc="what numbers in it count since 1970; tsd's own"
    )
    window_time_setting: str = opt(
        "event", choices=("event", "clock"), doc="the time in the record, or when it came"
    )
    window_length: int = opt(
        30_000, convert=_positive_ms, doc="milliseconds; the window has both its first and its last one"
    )
    window_type: str = opt(
        "tumbling", choices=("tumbling", "sliding"), doc="each record in one window, or in all that are open"
    )
    sliding_window_interval: int = opt(
        0,
        convert=formats.natural,
        doc="milliseconds from the start of a sliding window to the next; 0: each record begins one",
    )
    event_window_expiration: int = opt(
        0,
        convert=formats.natural,
        doc="milliseconds without records after which an empty slice releases event windows; 0: never",
    )

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if self.window_type == "sliding" and self.sliding_window_interval > self.window_length:
            yield "sliding_window_interval", "must not exceed window_length: times between would be in none"


@operation("window", config=WindowConfig)
class Window(HoldingProcessor):
    """Gathers records over slices into windows of time.

    A window begins with the time of a record, and has the records from then to `window_length` later. It
    leaves at the end of a slice, when the newest time that was seen (the watermark) is later than that. The
    records of a slice are taken in the order of their times. One that comes late goes where it belongs as
    long as that window is open, else it begins a window of its own: none is lost, and no window has a record
    from outside of its time. Records without a time are rejected. All open windows leave when the job ends.
    Each worker has windows of its own, so a job with windows usually has one worker.
    """

    @override
    def initialize(self) -> None:
        self._held: HeldGroups[_Key] = HeldGroups()
        self._open: list[_Key] = []
        self._count = 0
        self._watermark = self._newest_start = -math.inf
        self._last_record_ms = 0.0
        self._is_sliding = self.config.window_type == "sliding"
        self._is_clock = self.config.window_time_setting == "clock"

    @override
    def snapshot(self) -> Any:
        return self._held.mark(), self._watermark, self._newest_start, self._last_record_ms

    @override
    def restore(self, snapshot: Any) -> None:
        mark, self._watermark, self._newest_start, self._last_record_ms = snapshot
        self._held.roll_back(mark)
        self._open = sorted(self._held.keys())

    @override
    def held_since(self) -> int | None:
        return self._held.since()

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        now = time.monotonic() * 1000
        timed = [(int(now), record) for record in records] if self._is_clock else self._by_time(records)
        for moment, record in timed:
            for key in self._windows_for(moment):
                self._held.extend(key, (record,), self.ctx.slice_number)
        if timed:
            self._watermark = max(self._watermark, timed[-1][0])
            self._last_record_ms = now
        if self._is_clock:
            self._watermark = int(now)
        return [DataWindow.of(self._passed_on(self._held.pop(key))) for key in self._take_closed(now)]

    def _by_time(self, records: list[Record]) -> list[tuple[int, Record]]:
        """The records with their times, in order of these; nothing is held yet when a reject throws."""
        field, unit = self.config.time_field, self.config.epoch_unit
        timed = []
        for record in records:
            value = get_path(record, field)
            try:
                timed.append((data_time(None if value is MISSING else value, unit), record))
            except RECORD_FAULTS as error:
                self.reject(record, told(error, f"field {field}: "))
        timed.sort(key=lambda pair: pair[0])
        return timed

    def _windows_for(self, moment: int) -> list[_Key]:
        """The windows that a record of this time goes into; there is always one."""
        opened = self._open
        first = bisect_left(opened, (moment - self.config.window_length, 0))
        end = bisect_right(opened, (moment, self._count + 1))
        if not self._is_sliding:
            return [opened[end - 1]] if first < end else [self._begin(moment)]
        keys = opened[first:end]
        if not keys or moment - self._newest_start >= self.config.sliding_window_interval:
            keys.append(self._begin(moment))
        return keys

    def _begin(self, moment: int) -> _Key:
        self._count += 1
        self._newest_start = max(self._newest_start, moment)
        key = (moment, self._count)
        insort(self._open, key)
        return key

    def _take_closed(self, now: float) -> list[_Key]:
        """The windows that leave, in order of their times; from now on they are not open."""
        expiration = self.config.event_window_expiration
        is_expired = not self._is_clock and 0 < expiration <= now - self._last_record_ms
        if self.is_flushing or is_expired:
            closed, self._open = self._open, []
        else:
            cut = bisect_left(self._open, (self._watermark - self.config.window_length, 0))
            closed = self._open[:cut]
            del self._open[:cut]
        return closed

    def _passed_on(self, records: list[Record]) -> list[Record]:
        # a record that is in several windows must not change in one when it is changed in another
        return [record.clone() for record in records] if self._is_sliding else self.released(records)

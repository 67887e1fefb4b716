"""filter_by_date: lets records through whose date lies near now, or in a range."""

import re
from collections.abc import Callable, Iterator

import attrs
from typing_extensions import override

from tsd.durations import parse_duration
from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.dates import EPOCH_UNITS, data_time, now_ms
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.paths import get_path

_SPAN = re.compile(r"\s*\d+(\.\d+)?\s*[A-Za-z]+\s*", re.ASCII)
Bound = Callable[[int, int], int]
"""A moment from now (epoch milliseconds) and a sign: -1 for the past, 1 for the future."""


def bound_of(text: str) -> Bound:
    """A bound: a date is a fixed one, a span such as `1week` or `2 days` moves with the time.

    Raises:
        ValueError: It is neither.
    """
    if _SPAN.fullmatch(text):
        span_ms = parse_duration(text)
        return lambda now, sign: now + sign * span_ms
    fixed_ms = data_time(text)
    return lambda _now, _sign: fixed_ms


def _limit(value: object) -> str:
    text = formats.required_string(value)
    bound_of(text)
    return text


@attrs.define(kw_only=True)
class FilterByDateConfig(OpConfig):
    """Options of filter_by_date."""

    date_field: str = opt(
        "date", convert=formats.required_string, doc="path of the field that holds the date"
    )
    epoch_unit: str = opt(
        "ms", choices=tuple(EPOCH_UNITS), doc="what numbers in it count since 1970; tsd's own"
    )
    limit_past: str = opt("1week", convert=_limit, doc="a date, or how far back from now")
    limit_future: str = opt("1day", convert=_limit, doc="a date, or how far from now")

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        now = now_ms()
        if bound_of(self.limit_past)(now, -1) > bound_of(self.limit_future)(now, 1):
            yield "limit_past", "must not be after limit_future"


@operation("filter_by_date", config=FilterByDateConfig)
class FilterByDate(BatchProcessor):
    """Keeps the records whose date lies between the limits or on them; all others go."""

    @override
    def initialize(self) -> None:
        self._past, self._future = bound_of(self.config.limit_past), bound_of(self.config.limit_future)

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        now, field, unit = now_ms(), self.config.date_field, self.config.epoch_unit
        first, last = self._past(now, -1), self._future(now, 1)
        kept = []
        for record in records:
            try:
                moment = data_time(get_path(record, field), unit)
            except RECORD_FAULTS:
                continue
            if first <= moment <= last:
                kept.append(record)
        return kept

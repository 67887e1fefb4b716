"""date_router: routes by time."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.dates import EPOCH_UNITS, data_time, now_ms, to_datetime
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.paths import MISSING, get_path
from tsd.operations.standard.routes import ROUTE
from tsd.operations.standard.values import told

RESOLUTIONS = ("hourly", "daily", "monthly", "yearly", "weekly", "weekly_epoch")
_WEEK_MS = 7 * 86_400_000
_DAYS_A_WEEK = 7

_Parts = Callable[[datetime, int], list[tuple[str, str]]]
"""Unit and text of each part of the route, from the moment and its epoch milliseconds."""


def _year(moment: datetime) -> tuple[str, str]:
    return "year", f"{moment.year:04d}"


def _calendar(count: int) -> _Parts:
    def parts(moment: datetime, _ms: int) -> list[tuple[str, str]]:
        return [
            _year(moment),
            ("month", f"{moment.month:02d}"),
            ("day", f"{moment.day:02d}"),
            ("hour", f"{moment.hour:02d}"),
        ][:count]

    return parts


def _weekly(moment: datetime, _ms: int) -> list[tuple[str, str]]:
    week = (moment.timetuple().tm_yday - 1) // _DAYS_A_WEEK
    return [_year(moment), ("week", f"{week:02d}")]


_PARTS: dict[str, _Parts] = {
    "yearly": _calendar(1),
    "monthly": _calendar(2),
    "daily": _calendar(3),
    "hourly": _calendar(4),
    "weekly": _weekly,
    "weekly_epoch": lambda _moment, ms: [("week", str(ms // _WEEK_MS))],
}


@attrs.define(kw_only=True)
class DateRouterConfig(OpConfig):
    """Options of date_router."""

    field: str | None = opt(
        None, convert=formats.optional_string, doc="path of the field that holds the date"
    )
    epoch_unit: str = opt(
        "ms", choices=tuple(EPOCH_UNITS), doc="what numbers in it count since 1970; tsd's own"
    )
    use_clock_time: bool = opt(False, doc="take the time of day instead")
    resolution: str = opt("daily", choices=RESOLUTIONS, doc="how fine routes are; weeks begin on 1 January")
    date_delimiter: str = opt(".", choices=("-", "_", ".", "/", ""), doc="between the parts of a date")
    date_unit_delimiter: str = opt("_", choices=("-", "_", ".", "/", ""), doc="between a unit and its number")
    include_date_units: bool = opt(False, doc="write units, too: year_2020.month_12")

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if not self.field and not self.use_clock_time:
            yield "field", "This field is required, unless use_clock_time is set"


@operation("date_router", config=DateRouterConfig)
class DateRouter(BatchProcessor):
    """Makes the route of a date, in UTC, such as `2020.12.31`; a record without a date is rejected."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        if self.config.use_clock_time:
            route = self._route(now_ms())
            for record in records:
                record.metadata[ROUTE] = route
            return records
        kept = []
        for record in records:
            try:
                record.metadata[ROUTE] = self._route(
                    _time_in(record, self.config.field, self.config.epoch_unit)
                )
            except RECORD_FAULTS as error:
                self.reject(record, told(error, f"field {self.config.field}: "))
            else:
                kept.append(record)
        return kept

    def _route(self, ms: int) -> str:
        config = self.config
        parts = _PARTS[config.resolution](to_datetime(ms), ms)
        texts = (
            f"{unit}{config.date_unit_delimiter}{text}" if config.include_date_units else text
            for unit, text in parts
        )
        return str(config.date_delimiter).join(texts)


def _time_in(record: Record, path: str, unit: str) -> int:
    value: Any = get_path(record, path)
    return data_time(None if value is MISSING else value, unit)

"""Dates as filters write them: `2026-01-31T12:00`, `2026-01`, `1767225600000`, `now-1d/d`, `2026-01-01||+1M`.

Each means a stretch of time, as long as the text is exact: a whole month, a day, a millisecond.
"""

import calendar
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

_ISO: Final = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
_UNIX_MS: Final = re.compile(r"-?\d{5,15}", re.ASCII)
"""Milliseconds; four digits are a year. Fifteen digits reach further than years do."""
_STEP: Final = re.compile(
    r"(?P<sign>[+-])(?P<count>\d{0,6})(?P<unit>[yMwdhHms])|/(?P<round>[yMwdhHms])", re.ASCII
)
STEPS_MAX: Final = 10
"""Steps of date math in one date."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_LENGTHS: Final[Mapping[str, timedelta]] = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second")
_UNITS: Final[Mapping[str, str]] = dict(zip(_PARTS, "yMdhms", strict=True))


@attrs.frozen
class Stretch:
    """A stretch of time, in Unix milliseconds; `last` belongs to it."""

    first: int
    last: int


def read_stretch(text: str, *, now_ms: int) -> Stretch:
    """The stretch of time that a date means; one without a zone is UTC.

    Raises:
        ValueError: The text is no date, or none between the years 1 and 9999.
    """
    try:
        return _read(text, now_ms)
    except OverflowError as error:
        raise ValueError("it is not between the years 1 and 9999") from error


def _read(text: str, now_ms: int) -> Stretch:
    if text.startswith("now"):
        now = _EPOCH + timedelta(milliseconds=now_ms)
        return _calculated(now, now + _MS, text[len("now") :])
    anchor, _, math = text.partition("||")
    if _UNIX_MS.fullmatch(anchor):
        first = _EPOCH + timedelta(milliseconds=int(anchor))
        return _calculated(first, first + _MS, math)
    found = _ISO.fullmatch(anchor)
    if found is None:
        raise ValueError("write a date as in 2026-01-31T12:00:00Z, 2026-01, 1767225600000 or now-1d")
    first = _first(found)
    return _calculated(first, _after(first, _precision(found)), math)


def _first(found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second = (
        int(found[part] or (1 if part in {"month", "day"} else 0)) for part in _PARTS
    )
    fraction = (found["fraction"] or "").ljust(3, "0")[:3]
    local = datetime(year, month, day, hour, minute, second, int(fraction) * 1000, tzinfo=UTC)
    zone = (found["zone"] or "Z").replace(":", "")
    if zone == "Z":
        return local
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    return local - offset if zone[0] == "+" else local + offset


def _precision(found: re.Match[str]) -> str:
    """The unit that the text is exact to; empty for milliseconds."""
    if found["fraction"]:
        return ""
    return _UNITS[[part for part in _PARTS if found[part]][-1]]


def _after(moment: datetime, unit: str) -> datetime:
    """One unit later, or the end of all time."""
    try:
        return moment + _MS if not unit else _added(moment, 1, unit)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _calculated(first: datetime, end: datetime, math: str) -> Stretch:
    """The stretch from `first` up to `end`, after date math such as `+1M/d`."""
    at = steps = 0
    while at < len(math):
        found = _STEP.match(math, at)
        if found is None:
            raise ValueError(
                "write date math as in now-1d, now/d or 2026-01-01||+1M, with the units y M w d h m s"
            )
        at = found.end()
        steps += 1
        if steps > STEPS_MAX:
            raise ValueError(f"date math can have up to {STEPS_MAX} steps")
        unit = (found["round"] or found["unit"]).replace("H", "h")
        if found["round"]:
            first, end = _FLOORS[unit](first), _after(_FLOORS[unit](end - _MS), unit)
        else:
            count = int(found["sign"] + (found["count"] or "1"))
            first, end = _added(first, count, unit), _added(end, count, unit)
    return Stretch((first - _EPOCH) // _MS, (end - _EPOCH) // _MS - 1)


def _added(moment: datetime, count: int, unit: str) -> datetime:
    """So many units later; the last day of a month stays in its month."""
    if unit in _LENGTHS:
        return moment + count * _LENGTHS[unit]
    months = moment.year * 12 + moment.month - 1 + count * (12 if unit == "y" else 1)
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


_FLOORS: Final[Mapping[str, Callable[[datetime], datetime]]] = {
    "y": lambda moment: _FLOORS["M"](moment).replace(month=1),
    "M": lambda moment: _FLOORS["d"](moment).replace(day=1),
    # A week begins on Monday.
    "w": lambda moment: _FLOORS["d"](moment) - timedelta(days=moment.weekday()),
    "d": lambda moment: moment.replace(hour=0, minute=0, second=0, microsecond=0),
    "h": lambda moment: moment.replace(minute=0, second=0, microsecond=0),
    "m": lambda moment: moment.replace(second=0, microsecond=0),
    "s": lambda moment: moment.replace(microsecond=0),
}

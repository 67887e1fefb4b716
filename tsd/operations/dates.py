"""Points in time as records and options hold them: epoch milliseconds, ISO text, or `now-1h`."""

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from tsd.shown import in_json

_MATH = re.compile(r"now((?:[+-]\d+[yMwdhms])*)", re.ASCII)
_STEP = re.compile(r"([+-]\d+)([yMwdhms])", re.ASCII)
_STEP_MS = {
    "y": 365 * 86_400_000,
    "M": 30 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2}))?", re.ASCII)
_MONTH = re.compile(r"(\d{4})(?:-(\d{2}))?", re.ASCII)
_MOST_DIGITS = 40
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_LIKELY_MS = (946_684_800_000, 4_102_444_800_000)
"""From 2000 to 2100: where a number is guessed to be an epoch in another unit."""
EPOCH_UNITS: Mapping[str, tuple[int, int]] = {
    "ms": (1, 1),
    "s": (1000, 1),
    "us": (1, 1000),
    "ns": (1, 1_000_000),
}
"""What epochs are counted in; how many milliseconds one is, as a fraction."""


def now_ms() -> int:
    """Unix time in whole milliseconds."""
    return time.time_ns() // 1_000_000


def parse_time(value: object, *, now: int | None = None, unit: str = "ms") -> int:
    """Read a point in time.

    A number is an epoch in `unit`, and so is text of five digits or more. But text of 8 or 14 digits is a
    date as people write it, 20240131 or 20240131101112, and never an epoch.

    Args:
        value: An epoch, a datetime, ISO text, or `now` with steps such as `-1h` or `+2d` (y and M count 365
            and 30 days). A time without a zone is UTC.
        now: What `now` means, epoch milliseconds; the clock when None.
        unit: One of `EPOCH_UNITS`.

    Returns:
        Epoch milliseconds from the year 1 to the year 9999; negative before 1970.

    Raises:
        ValueError: It is none of these, or outside of these years.
    """
    if isinstance(value, datetime):
        return _from_datetime(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(value, unit)
    if isinstance(value, str):
        moment = _from_text(value.strip(), now, unit)
        if moment is not None:
            return moment
    raise ValueError(f"{in_json(value)} is no point in time: an epoch in {unit}, ISO text, or now-1h")


def _from_text(text: str, now: int | None, unit: str) -> int | None:
    if match := _DATE.fullmatch(text):
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        try:
            return _from_datetime(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
        except ValueError as error:
            raise ValueError(f"{text!r} has {len(text)} digits and is no date: {error}") from error
    if len(text) <= _MOST_DIGITS and re.fullmatch(r"-?\d{5,}", text, re.ASCII):  # fewer digits are a year
        return _from_epoch(int(text), unit)
    if match := _MATH.fullmatch(text):
        start = now_ms() if now is None else now
        steps = _STEP.findall(match[1])
        if all(len(n) <= _MOST_DIGITS for n, _ in steps):
            return _in_range(start + sum(int(n) * _STEP_MS[unit] for n, unit in steps), text, "ms")
        return None
    if match := _MONTH.fullmatch(text):
        text = f"{match[1]}-{match[2] or '01'}-01"
    try:
        return _from_datetime(datetime.fromisoformat(text))
    except ValueError:
        return None


def _from_epoch(value: float, unit: str) -> int:
    if value != value or value in (math.inf, -math.inf):  # noqa: PLR0124 - NaN
        raise ValueError(f"{value} is no point in time")
    numerator, divisor = EPOCH_UNITS[unit]
    count = int(value) if abs(value) > _LAST_MS else value  # floats that large have no fraction
    epoch_ms = int(count * numerator) // divisor if divisor > 1 else int(count * numerator)
    return _in_range(epoch_ms, value, unit)


def _in_range(epoch_ms: int, value: object, unit: str) -> int:
    if _FIRST_MS <= epoch_ms <= _LAST_MS:
        return epoch_ms
    message = f"{in_json(value)} {unit} is no point in time from the year 1 to 9999"
    finer = [name for name, (up, down) in EPOCH_UNITS.items() if _is_likely(value, up, down)]
    if finer:
        message += f"; it would be one in {finer[0]}: see the option epoch_unit"
    raise ValueError(message)


def _is_likely(value: object, up: int, down: int) -> bool:
    """Whether a value would be a time of these days in a unit."""
    return isinstance(value, int) and _LIKELY_MS[0] <= value * up // down <= _LIKELY_MS[1]


def data_time(value: object, unit: str = "ms") -> int:
    """As `parse_time`, for values in data: `now` is no date there.

    Raises:
        ValueError: It is no point in time.
    """
    if isinstance(value, str) and value.lstrip().startswith("now"):
        raise ValueError(f"{in_json(value)} is no point in time: an epoch in {unit}, or ISO text")
    try:
        return parse_time(value, unit=unit)
    except ValueError as error:
        raise ValueError(str(error).replace(", ISO text, or now-1h", ", or ISO text")) from error


def to_datetime(epoch_ms: int) -> datetime:
    """The moment as an aware datetime in UTC."""
    return _EPOCH + timedelta(milliseconds=epoch_ms)


def to_iso(epoch_ms: int) -> str:
    """The moment as ISO text in UTC with milliseconds, for example `2024-01-31T10:00:00.000Z`."""
    return to_datetime(epoch_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _from_datetime(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _in_range((moment - _EPOCH) // timedelta(milliseconds=1), moment.isoformat(), "ms")

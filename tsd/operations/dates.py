"""Points in time as records and options hold them: epoch milliseconds, ISO text, or `now-1h`."""

import math
import re
import time
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


def now_ms() -> int:
    """Unix time in whole milliseconds."""
    return time.time_ns() // 1_000_000


def parse_time(value: object, *, now: int | None = None) -> int:
    """Read a point in time.

    Args:
        value: Epoch milliseconds (also as digits), a datetime, ISO text, or `now` with steps such as
            `-1h` or `+2d` (y and M count 365 and 30 days). A time without a zone is UTC.
        now: What `now` means, epoch milliseconds; the clock when None.

    Returns:
        Epoch milliseconds; negative before 1970.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, datetime):
        return _from_datetime(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"-?\d{5,}", text, re.ASCII):  # fewer digits are a year
            return int(text)
        if match := _MATH.fullmatch(text):
            start = now_ms() if now is None else now
            return start + sum(int(n) * _STEP_MS[unit] for n, unit in _STEP.findall(match[1]))
        try:
            return _from_datetime(datetime.fromisoformat(text))
        except ValueError:
            pass
    raise ValueError(f"{in_json(value)} is no point in time: epoch milliseconds, ISO text, or now-1h")


def data_time(value: object) -> int:
    """As `parse_time`, for values in data: `now` is no date there.

    Raises:
        ValueError: It is no point in time.
    """
    if isinstance(value, str) and value.lstrip().startswith("now"):
        raise ValueError(f"{in_json(value)} is no point in time")
    return parse_time(value)


def to_datetime(epoch_ms: int) -> datetime:
    """The moment as an aware datetime in UTC."""
    return _EPOCH + timedelta(milliseconds=epoch_ms)


def to_iso(epoch_ms: int) -> str:
    """The moment as ISO text in UTC with milliseconds, for example `2024-01-31T10:00:00.000Z`."""
    return to_datetime(epoch_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _from_datetime(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)

"""Durations as people write them: `"5 minutes"`, `"1.5 hours"`, `"90s"`, or a number of milliseconds."""

import re

_SECOND = 1000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

_NAMES: dict[str, tuple[int, str]] = {
    "millisecond": (1, "ms msec msecs"),
    "second": (_SECOND, "s sec secs"),
    "minute": (_MINUTE, "m min mins"),
    "hour": (_HOUR, "h hr hrs"),
    "day": (_DAY, "d"),
    "week": (7 * _DAY, "w wk wks"),
    "month": (30 * _DAY, "M mo"),
    "quarter": (91 * _DAY, "Q"),
    "year": (365 * _DAY, "y yr yrs"),
}

UNITS: dict[str, int] = {
    spelling: factor
    for name, (factor, short) in _NAMES.items()
    for spelling in (name, f"{name}s", *short.split())
}
"""Milliseconds per unit, for every spelling; `m` is a minute and `M` a month, longer words take any case."""

MS_MAX = 2**53 - 1
"""Longest duration: some 285,000 years, and the largest whole number that is exact in JavaScript."""

_FORM = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)\s*", re.ASCII)
_EXPECTED = (
    "must be a positive integer or human readable string containing a number and valid unit "
    f'(e.g. 3000, "5 days"); units are {", ".join(_NAMES)}'
)


def parse_duration(value: object) -> int:
    """Read a duration.

    Args:
        value: An int (milliseconds), or text: a number and a unit, with or without a space, or a number
            alone, which is milliseconds too.

    Returns:
        Whole milliseconds, 0 or more; fractions of a unit count ("1.5 hours" is 5,400,000).

    Raises:
        ValueError: It is negative, beyond `MS_MAX`, no duration, or has an unknown unit; the message names
            the units.
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _whole(value)
    raise ValueError(_EXPECTED)


def _parse_text(text: str) -> int:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(_EXPECTED)
    number, unit = match.groups()
    if not unit:
        return _whole(float(number))
    factor = UNITS.get(unit) or UNITS.get(unit.lower())
    if factor is None:
        raise ValueError(f"Invalid duration unit: {unit}; units are {', '.join(_NAMES)}")
    amount = float(number) * factor
    if not amount <= MS_MAX:
        raise ValueError(_EXPECTED)
    return round(amount)


def _whole(amount_ms: float) -> int:
    if not 0 <= amount_ms <= MS_MAX or amount_ms != int(amount_ms):
        raise ValueError(_EXPECTED)
    return int(amount_ms)

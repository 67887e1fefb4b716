"""Text tables as `/txt` shows them: padded columns, two spaces between, a line of dashes under the names."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_BETWEEN = "  "
_STEP = re.compile(r"[^.\[\]]+")
_MISSING = object()
MISSING = "N/A"
"""What most tables show where there is no value."""


def render(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    has_headers: bool,
    missing: str = MISSING,
) -> str:
    """Render rows.

    Args:
        rows: JSON-like objects.
        columns: Names of the columns, in order; `a.b` and `a[0].b` reach into objects.
        has_headers: Write the names and the dashes.
        missing: Shown where a row has no such value.

    Returns:
        Lines of equal width, each ending in a newline. Without rows there is one of spaces.
    """
    lines = [[_cell(_lookup(row, column), missing) for column in columns] for row in rows] or [
        [""] * len(columns)
    ]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(columns))]
    if has_headers:
        widths = [max(width, _width(name)) for width, name in zip(widths, columns, strict=True)]
        lines = [list(columns), ["-" * width for width in widths], *lines]
    return "".join(
        _BETWEEN.join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)) + "\n"
        for line in lines
    )


def _lookup(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    value: Any = row
    for step in _STEP.findall(column):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value


def _cell(value: Any, missing: str = MISSING) -> str:
    """A value as JavaScript would print it."""
    if value is _MISSING:
        return missing
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join("" if item is None else _cell(item) for item in value)
    if isinstance(value, Mapping):
        return "[object Object]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # A cell is one line, whatever is in a name.
    return re.sub(r"[\x00-\x1f\x7f]", " ", str(value))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))

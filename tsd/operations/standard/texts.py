"""Values as text, as JavaScript prints them, so that keys and routes are those of Teraslice."""

import math
import re
from decimal import Decimal
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order=None).encode
_FIXED_BELOW = 1e21
_FIXED_FROM = 1e-6
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def text_of(value: Any) -> str:
    """The value as text: text as it is, numbers and booleans as JavaScript has them, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if value is None:
        return "null"
    return _encode(value).decode()


def joined(value: Any) -> str:
    """As `text_of`, but an array is its elements with commas between, and null is nothing."""
    if isinstance(value, list | tuple):
        return ",".join(joined(each) for each in value)
    return "" if value is None else text_of(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return _NOT_FINITE[str(value)]
    text = repr(value)
    if value == 0 or _FIXED_FROM <= abs(value) < _FIXED_BELOW:
        text = format(Decimal(text), "f")
        return text.removesuffix(".0") if value else "0"
    return re.sub(r"e([+-])0*", r"e\1", text)

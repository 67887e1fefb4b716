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


_SAFE_MAX = 2**53


def teraslice_text(value: Any) -> str:
    """What Teraslice hashes of a value for a key: its text in JavaScript, of objects sorted pieces."""
    if isinstance(value, dict):
        # the JSON text is cut at commas and braces; the pieces are sorted, and stand without quotes
        pieces = [piece for piece in re.split("[,{]", _encode(_as_javascript(value)).decode()) if piece]
        return "".join(sorted(pieces, key=utf16_order)).replace('"', "").replace("}", "")
    return _interpolated(value)


def _interpolated(value: Any) -> str:
    """As JavaScript puts a value into a text."""
    if isinstance(value, list | tuple):
        return ",".join("" if each is None else _interpolated(each) for each in value)
    if isinstance(value, dict):
        return "[object Object]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _SAFE_MAX:
        return _number(float(value))
    return text_of(value)


def _as_javascript(value: Any) -> Any:
    """The value with numbers such that their JSON text is that of JavaScript."""
    if isinstance(value, dict):
        return {name: _as_javascript(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_javascript(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return msgspec.Raw(_interpolated(value).encode())
    return value


def utf16_order(text: str) -> bytes:
    """What sorts texts as JavaScript does: by their UTF-16 units."""
    return text.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return _NOT_FINITE[str(value)]
    text = repr(value)
    if value == 0 or _FIXED_FROM <= abs(value) < _FIXED_BELOW:
        text = format(Decimal(text), "f")
        return text.removesuffix(".0") if value else "0"
    return re.sub(r"e([+-])0*", r"e\1", text)

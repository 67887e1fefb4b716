"""JSON of what user code hands over, which must come back as it was.

The encoder is willing: NaN becomes null, bytes become Base64 text, a set becomes a list, a date a text.
Whoever reads that gets something else than was written, and nobody says so. So what is encoded here is read
again, and it must be equal; if it is not, the first place that differs is named, with what it holds and what
to write instead.

Equal is meant as Python means it: `True` is 1 and an enumeration of numbers is its numbers, but a tuple is no
list.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_UNREADABLE = (TypeError, ValueError, OverflowError, RecursionError, RuntimeError)
_SHOWN_CHARS = 60
_REASON_CHARS = 400
_DEPTH_MAX = 200
_INSTEAD = {
    "bytes": "give it as text, for example base64.b64encode(...).decode()",
    "bytearray": "give it as text, for example base64.b64encode(...).decode()",
    "memoryview": "give it as text, for example base64.b64encode(...).decode()",
    "set": "give a list, for example sorted(...)",
    "frozenset": "give a list, for example sorted(...)",
    "tuple": "give a list",
    "datetime": "give a text, for example .isoformat()",
    "date": "give a text, for example .isoformat()",
    "time": "give a text, for example .isoformat()",
    "timedelta": "give a number, for example .total_seconds()",
    "Decimal": "give a text or a float",
    "UUID": "give a text: str(...)",
    "PosixPath": "give a text: str(...)",
}


def encode_exactly(value: Any, what: str) -> str:
    """The JSON text of a value.

    Args:
        value: What is encoded; it can be changed afterwards without any effect on the text.
        what: How paths in it begin in an error, as `request`.

    Raises:
        ValueError: Something in it has no form in JSON, or another one than itself; the message names the
        place.
    """
    try:
        encoded = _encode(value)
        if _decode(encoded) == value:
            return encoded.decode()
    except _UNREADABLE as error:
        fault: Exception | None = error
    else:
        fault = None
    reason = _first_fault(value, what, fault)
    raise ValueError(reason if len(reason) <= _REASON_CHARS else f"{reason[:_REASON_CHARS]}...")


def _first_fault(value: Any, what: str, fault: Exception | None) -> str:
    try:
        found = next(_faults(value, what, 0), "")
    except _UNREADABLE as error:  # of an object that can not even be looked at
        return f"{what} can not be read: {type(error).__name__}"
    if found:
        return found
    return f"{what} has no form in JSON that is equal to it" + (f": {fault}" if fault else "")


def _faults(value: Any, path: str, depth: int) -> Iterator[str]:
    if depth > _DEPTH_MAX:
        yield f"{path[:_SHOWN_CHARS]}... is nested more than {_DEPTH_MAX} levels deep"
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str):
                yield f"{path} has the key {_shown(key)} of type {_type(key)}: keys must be text in JSON"
            elif _is_half(key):
                yield f"{path} has the key {key!a}, {_HALF}"
            yield from _faults(each, f"{path}.{key}", depth + 1)
        if not isinstance(value, dict):
            yield f"{path} is of type {_type(value)}, which JSON does not have: give a dict"
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _faults(each, f"{path}[{index}]", depth + 1)
    else:
        reason = _fault_of_one(value)
        if reason:
            yield f"{path} {reason}"


_HALF = "a text with half a surrogate pair, as of a file name that is no UTF-8, which JSON does not have"


def _fault_of_one(value: Any) -> str:
    """Why a value that holds no others has no equal form in JSON; empty when it has one."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, float):
        if not math.isfinite(value):
            return f"is {value}, which JSON does not have: give null or a text"
    elif isinstance(value, str):
        return f"is {_shown(value)}, {_HALF}" if _is_half(value) else ""
    try:
        if _decode(_encode(value)) == value:
            return ""
    except _UNREADABLE:
        pass
    if type(value) is int:
        return "is a whole number with too many digits: give it as text"
    name = type(value).__name__
    instead = _INSTEAD.get(name, "give text, numbers, null, lists or dicts of them")
    return f"is {_shown(value)} of type {_type(value)}, which JSON does not have: {instead}"


def _is_half(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: Any) -> str:
    try:
        shown = ascii(value)
    except Exception:  # noqa: BLE001 - what a class says of itself is user code
        return "something"
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}..."

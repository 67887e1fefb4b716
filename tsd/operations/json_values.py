"""What JSON can hold of the values of records.

The encoder writes more than it should: NaN as null, bytes as base64, sets as arrays, so that a reader gets
another value than was written. Such values are faults here. Dates, times, decimal numbers and UUIDs become
text, and tuples arrays, which is what everybody expects of them.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import chain
from typing import Any, Final
from uuid import UUID

from tsd.operations.record import Record

_BYTES: Final = (bytes, bytearray, memoryview)
_LEAVES: Final[frozenset[Any]] = frozenset(
    {str, int, bool, type(None), datetime, date, time, timedelta, UUID}
)
_CONTAINERS: Final[frozenset[Any]] = frozenset((dict, Record, list, tuple))
_SURELY: Final[frozenset[Any]] = _LEAVES | _CONTAINERS | {float}
_SHOWN_CHARS: Final = 60


def json_fault(value: Any, path: str = "") -> str:
    """What of a value JSON can not hold, with its place; empty when there is nothing.

    Args:
        value: It holds itself nowhere.
        path: Where it stands, for the message.
    """
    stack = [(path, value)]  # not recursive: an encoder goes deeper than Python code
    while stack:
        where, each = stack.pop()
        if each.__class__ in _LEAVES:
            continue
        if isinstance(each, Mapping):
            stack += [(_join(where, name), inner) for name, inner in each.items()]
        elif isinstance(each, list | tuple):
            stack += [(f"{where}[{i}]", inner) for i, inner in enumerate(each)]
        elif isinstance(each, Enum) and not isinstance(each, str | int):
            stack.append((where, each.value))
        elif fault := _fault(each):
            name = f"field {where[:_SHOWN_CHARS]}" if where else "the value"
            return f"{name} {fault}, which JSON does not have"
    return ""


def _fault(value: Any) -> str:
    """What is wrong with a value that holds no others."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {'NaN' if math.isnan(value) else 'Infinity' if value > 0 else '-Infinity'}"
    if isinstance(value, set | frozenset):
        return "holds a set"
    if isinstance(value, _BYTES):
        return "holds bytes"
    if isinstance(value, Decimal) and not value.is_finite():
        return f"is {value}"
    return ""


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def holds_json(records: Iterable[Mapping[str, Any]], encoded: bytes) -> bool:
    """Whether it is sure that `json_fault` has nothing against any of many records; asks few questions.

    Args:
        records: Dictionaries.
        encoded: What the encoder made of them.
    """
    values: list[Any] = list(chain.from_iterable(map(dict.values, records)))  # type: ignore[arg-type]
    has_nulls: bool | None = None
    while True:
        kinds = set(map(type, values))
        if not kinds <= _SURELY:
            return False
        if float in kinds:
            has_nulls = b"null" in encoded if has_nulls is None else has_nulls
            if has_nulls and not all(
                map(math.isfinite, [each for each in values if each.__class__ is float])
            ):
                return False
        if not kinds & _CONTAINERS:
            return True
        inner = [each for each in values if each.__class__ in _CONTAINERS]
        values = list(
            chain.from_iterable(each.values() if isinstance(each, dict) else each for each in inner)
        )

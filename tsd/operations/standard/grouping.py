"""What records have in common: the value of a field, or the key in their metadata."""

import math
from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from tsd.operations.record import Record
from tsd.operations.standard.paths import MISSING, get_path

_encode = msgspec.json.Encoder(order="deterministic").encode


def value_reader(field: str | None) -> Callable[[Record], Any]:
    """A function that reads a field by path; None stands for the key in the metadata."""
    if field is None:
        return lambda record: record.metadata.get("_key")
    if "." not in field:
        return lambda record: record.get(field)
    return lambda record: get_path(record, field)


def group_id(value: Any) -> Hashable:
    """What is equal for equal values only; None for null, for nothing, and for what is no number.

    1 and 1.0 are one value, 1 and true are two, as are true and the text "true".
    """
    kind = value.__class__
    if kind is str or kind is int:
        return value  # type: ignore[no-any-return]  # text and numbers can be hashed
    if value is None or value is MISSING:
        return None
    if kind is float:
        return None if math.isnan(value) else value
    return (kind.__name__, _encode(value))


def key_of(value: Any) -> str | int | float | None:
    """The key that a value gives: text and numbers themselves, JSON text of others, None for nothing."""
    if group_id(value) is None or value == "":
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return _encode(value).decode()

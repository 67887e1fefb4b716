"""What records have in common: the value of a field, or the key in their metadata."""

from collections.abc import Callable
from typing import Any

from tsd.operations.record import Record
from tsd.operations.standard.paths import path_reader
from tsd.operations.standard.values import canonical, identity


def value_reader(field: str | None) -> Callable[[Record], Any]:
    """A function that reads a field by path; None stands for the key in the metadata."""
    if field is None:
        return lambda record: record.metadata.get("_key")
    return path_reader(field)


def key_of(value: Any) -> str | int | float | None:
    """The key that a value gives: text and numbers themselves, JSON text of others, None for nothing."""
    if identity(value) is None or value == "":
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return canonical(value).decode()

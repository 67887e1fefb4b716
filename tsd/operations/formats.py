"""Formats of job files: what a value may look like, and what it becomes.

Each refuses with ValueError, also for a wrong type: it is the document that is wrong, not a caller.
"""
# ruff: noqa: TRY004 - see above

import contextlib
import math
from collections.abc import Callable, Iterable
from typing import Any

from tsd.operations.dates import parse_time

_TRUE = ("true", "1", 1)
_FALSE = ("false", "0", 0)
LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")


def type_word(value: object) -> str:
    """The JSON type of a value as messages name it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case _:
            return "object"


def boolean(value: object) -> bool:
    """True or false, or one of their six other spellings."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int):
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    raise ValueError(f"Invalid input: expected boolean, received {type_word(value)}")


def natural(value: object) -> int:
    """A whole number, 0 or more; text is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"Invalid input: expected number, received {type_word(value)}")
    if not math.isfinite(value) or value != int(value):
        raise ValueError("Invalid input: expected int, received number")
    if value < 0:
        raise ValueError("Too small: expected number to be >=0")
    return int(value)


def number(value: object) -> float:
    """A number; whole ones stay whole."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"Invalid input: expected number, received {type_word(value)}")
    return value


def positive_int(value: object) -> int:
    """A whole number, 1 or more; digits are read and fractions cut off."""
    whole = 0
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            whole = int(float(value))
    if whole < 1:
        raise ValueError("must be valid integer greater than zero")
    return whole


def required_string(value: object) -> str:
    """Text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise ValueError("This field is required and must be of type string")


def optional_string(value: object) -> str | None:
    """Text, or null."""
    if value is None or isinstance(value, str):
        return value
    raise ValueError("This field is optional but if specified it must be of type string")


def optional_date(value: object) -> str | int | None:
    """A point in time as `tsd.operations.dates` reads it, kept as written; or null."""
    if value is None or value == "":
        return None
    parse_time(value)
    return value  # type: ignore[return-value]  # parse_time refuses everything but text and numbers


def one_of(words: Iterable[str]) -> Callable[[object], str]:
    """A converter that takes only these words."""
    allowed = tuple(words)

    def convert(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise ValueError("Invalid option: expected one of " + "|".join(f'"{word}"' for word in allowed))

    return convert


def log_level(value: object) -> str | None:
    """The name of a log level; falsy values pass."""
    if not value:
        return None
    if isinstance(value, str) and value in LOG_LEVELS:
        return value
    raise ValueError(f"must be one of the following: {','.join(LOG_LEVELS)}")


def flat_object(value: object) -> dict[str, Any]:
    """An object whose keys and values are not empty."""
    if not isinstance(value, dict):
        raise ValueError("must be object")
    for key, entry in value.items():
        if not key:
            raise ValueError("key must be not empty")
        if entry is None or entry == "":
            raise ValueError(f'value for key "{key}" must be not empty')
    return value


def string_list(value: object) -> list[str]:
    """Text, or a list of texts."""
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
        return value
    raise ValueError("must be a string or an array of strings")

"""Formats of job files: what a value may look like, and what it becomes.

Each refuses with ValueError, also for a wrong type: it is the document that is wrong, not a caller.
"""
# ruff: noqa: TRY004 - see above

import contextlib
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs

from tsd.operations.dates import parse_time

_TRUE = ("true", "1", 1)
_FALSE = ("false", "0", 0)
SAFE_MAX = 2**53 - 1
"""Larger whole numbers are not exact in JavaScript, and soon too long for messages between processes."""
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
    if isinstance(value, str | int | float):  # in JSON 1.0 is 1
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    raise ValueError(f"Invalid input: expected boolean, received {type_word(value)}")


def natural(value: object) -> int:
    """A whole number from 0 to `SAFE_MAX`; text is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"Invalid input: expected number, received {type_word(value)}")
    if not math.isfinite(value) or value != int(value):
        raise ValueError("Invalid input: expected int, received number")
    if value < 0:
        raise ValueError("Too small: expected number to be >=0")
    if value > SAFE_MAX:
        raise ValueError(f"Too big: expected int to be <={SAFE_MAX}")
    return int(value)


def number(value: object) -> float:
    """A number; whole ones stay whole."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"Invalid input: expected number, received {type_word(value)}")
    return value


def positive_int(value: object, most: int = SAFE_MAX) -> int:
    """A whole number from 1 to `most`; digits are read and fractions cut off."""
    whole = 0
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            whole = int(float(value))
    if whole < 1:
        raise ValueError("must be valid integer greater than zero")
    if whole > most:
        raise ValueError(f"must be at most {most}")
    return whole


def up_to(most: int) -> Callable[[object], int]:
    """A converter to whole numbers from 1 to `most`."""
    return partial(positive_int, most=most)


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


@attrs.frozen
class OneOf:
    """A converter that takes only these words."""

    words: tuple[str, ...]

    def __call__(self, value: object) -> str:
        """The word itself."""
        if isinstance(value, str) and value in self.words:
            return value
        raise ValueError("Invalid option: expected one of " + "|".join(f'"{word}"' for word in self.words))


def one_of(words: Iterable[str]) -> OneOf:
    """A converter that takes only these words."""
    return OneOf(tuple(words))


def log_level(value: object) -> str | None:
    """The name of a log level; what is false in JavaScript passes."""
    if value is None or value in ("", 0):
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


VARIABLE_B_MAX = 128 * 1024 - 1
"""Of `name=value`: Linux takes no longer one when a program is executed (execve(2))."""
ENVIRONMENT_B_MAX = 192 * 1024
"""Of all variables together: what describes a process goes to the fork server in one packet."""


def environment(value: object) -> dict[str, Any]:
    """A flat object that can be the environment of a process."""
    variables = flat_object(value)
    sizes_b = {name: len(f"{name}={entry}".encode("utf-8", "replace")) for name, entry in variables.items()}
    for name, entry in variables.items():
        if sizes_b[name] > VARIABLE_B_MAX:
            raise ValueError(
                f'variable "{name[:80]}" has {sizes_b[name]:,} bytes, and an environment variable at most'
                f" {VARIABLE_B_MAX:,}: put what is large into a file and name that"
            )
        if "=" in name or "\0" in name:
            raise ValueError(f"{name[:80]!r} can not be the name of an environment variable")
        if "\0" in str(entry):
            raise ValueError(f'value for key "{name[:80]}" must have no null characters')
    if sum(sizes_b.values()) > ENVIRONMENT_B_MAX:
        raise ValueError(
            f"has {sum(sizes_b.values()):,} bytes together, and the environment of a process at most"
            f" {ENVIRONMENT_B_MAX:,}: put what is large into a file and name that"
        )
    return variables


def string_list(value: object) -> list[str]:
    """Text, or a list of texts."""
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
        return value
    raise ValueError("must be a string or an array of strings")

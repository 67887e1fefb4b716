"""What values of records are: those of JSON, compared and ordered as JSON has them and not as Python does.

Python takes `True` for 1, so `1 == True`, `{1: "a"}[True]` and `[1] == [True]`, and it has NaN, which is not
even equal to itself. Whatever compares, groups, sorts or removes twins goes through this module, so that

* numbers are equal by value, 1 and 1.0, at any depth; text, booleans and null are equal to their like only;
* arrays are equal element by element, objects name by name in whatever order;
* each value has one place in one order (`rank`), the same for any two types;
* what is no JSON value, such as NaN, stands with what is missing.
"""

import math
from collections.abc import Hashable
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="sorted").encode
_SCALARS = frozenset({str, int, float, bool, type(None)})

MISSING = object()
"""Stands for a field that is not there, which differs from null."""


def why(error: BaseException) -> str:
    """What was wrong with a record, in words for people."""
    if isinstance(error, RecursionError):
        return "the record is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "the text has half of a character (a lone surrogate), which no UTF-8 can hold"
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    if isinstance(error, OverflowError):
        return "the number is beyond the range of numbers"
    return str(error) or type(error).__name__


def told(error: BaseException, where: str = "") -> ValueError:
    """The error that a record is rejected with, in words, with the frames in which it came up."""
    text = where + why(error)
    if isinstance(error, ValueError) and text == str(error):
        return error
    return ValueError(text).with_traceback(error.__traceback__)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal: 1 is 1.0 and not true, at any depth."""
    if left.__class__ in _SCALARS:
        return (left.__class__ is bool) == (right.__class__ is bool) and bool(left == right)
    return left.__class__ not in _SCALARS and right.__class__ not in _SCALARS and _alike(left, right)


def _alike(left: Any, right: Any) -> bool:
    # a cheap look first: equal for Python is needed, and not enough
    return bool(left == right) and canonical(left) == canonical(right)


def identity(value: Any) -> Hashable:
    """What is equal for equal values only, and hashable; None for null, missing, and what is no number."""
    kind = value.__class__
    if kind is str or kind is int:
        return value  # type: ignore[no-any-return]  # text and numbers can be hashed
    if value is None or value is MISSING:
        return None
    if kind is float:
        return None if math.isnan(value) else value
    return (kind.__name__ if kind is bool else "", canonical(value))


def canonical(value: Any) -> bytes:
    """The JSON text that all equal values have: names in order, whole numbers without a fraction.

    Raises:
        RecursionError: It is nested too deeply.
        TypeError: It is no JSON value.
        UnicodeEncodeError: It has text that no UTF-8 can hold.
    """
    text = _encode(value)
    if b"." in text or b"e" in text or b"E" in text:  # there may be floats in it
        return _encode(_whole(value))
    return text


def _whole(value: Any) -> Any:
    """The value with each float that is a whole number in place of the float."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return value


def is_absent(value: Any) -> bool:
    """Whether it is missing, null, or no number."""
    return value is None or value is MISSING or (value.__class__ is float and math.isnan(value))


def rank(value: Any) -> tuple[int, Any]:
    """The place of a value in the order of all: false, true, numbers, text, arrays, objects.

    Text is ordered by code points, arrays and objects by their canonical JSON text.
    """
    match value:
        case bool():
            return 0, value
        case int() | float():
            return 1, value
        case str():
            return 2, value
        case list() | tuple():
            return 3, canonical(value)
    return 4, canonical(value)


def json_text(value: Any) -> str:
    """Text as it is, all else as its JSON text: `true`, `null`, `[1,null]`."""
    return value if isinstance(value, str) else _plain_encode(value).decode()


_plain_encode = msgspec.json.Encoder().encode


def type_of(value: Any) -> str:
    """The name of the type as JSON calls it, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "an array"
    return "an object"

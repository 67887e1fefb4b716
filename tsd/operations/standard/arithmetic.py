"""The operators and functions of expressions, on the values of JSON.

A number is a number and nothing else is: not text with digits in it, and not true. What an operator can not
take is a `ValueError` that says so, and so is a result that no JSON number can be: infinite, or with more
than `MOST_DIGITS` digits. Text may have `MOST_CHARS` characters. So an expression costs little whatever a
record holds, and NaN and infinity are found where they come up.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tsd.operations.standard.values import json_text, same, type_of

MOST_DIGITS = 1000
MOST_CHARS = 16 * 2**20
_TOO_LARGE = 10**MOST_DIGITS
_NUMBERS: frozenset[Any] = frozenset({int, float})
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_FLOAT = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_MOST_PLACES = 15
NEAR_HALF = 1e-6
"""A number this close to a half is looked at digit by digit."""
_SHOWN_CHARS = 40


def _shown(value: Any) -> str:
    """A value for messages; a large one only by its kind."""
    if isinstance(value, str):
        return f'"{value[:_SHOWN_CHARS]}"' if len(value) <= _SHOWN_CHARS else f'"{value[:_SHOWN_CHARS]}..."'
    if isinstance(value, list | dict) or (isinstance(value, int) and abs(value) >= _TOO_LARGE):
        return type_of(value)
    return json_text(value)


def checked(number: Any) -> Any:
    """A number that JSON can have.

    Raises:
        ValueError: It is infinite or no number, or too large.
    """
    if number.__class__ is float:
        if number - number == 0.0:
            return number
        raise ValueError("the result is beyond the range of numbers")
    if -_TOO_LARGE < number < _TOO_LARGE:
        return number
    raise ValueError(f"the result has more than {MOST_DIGITS} digits")


def _refuse(sign: str, left: Any, right: Any) -> ValueError:
    return ValueError(
        f"{_shown(left)} {sign} {_shown(right)}: {sign} takes two numbers, "
        f"not {type_of(left)} and {type_of(right)}"
    )


def joined(left: str, right: str) -> str:
    """Two texts behind each other."""
    if len(left) + len(right) > MOST_CHARS:
        raise ValueError(f"the text has more than {MOST_CHARS} characters")
    return left + right


def plus(left: Any, right: Any) -> Any:
    """The sum of two numbers, or two texts behind each other."""
    if left.__class__ in _NUMBERS and right.__class__ in _NUMBERS:
        return checked(left + right)
    if left.__class__ is str and right.__class__ is str:
        return joined(left, right)
    raise ValueError(
        f"{_shown(left)} + {_shown(right)}: + takes two numbers or two texts, "
        f"not {type_of(left)} and {type_of(right)}"
    )


def _numeric(sign: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        if left.__class__ in _NUMBERS and right.__class__ in _NUMBERS:
            try:
                return checked(compute(left, right))
            except ZeroDivisionError as error:
                raise ValueError(f"{_shown(left)} {sign} {_shown(right)}: division by zero") from error
            except OverflowError as error:
                raise ValueError("the result is beyond the range of numbers") from error
        raise _refuse(sign, left, right)

    return apply


minus = _numeric("-", operator.sub)
times = _numeric("*", operator.mul)
divided = _numeric("/", operator.truediv)
floor_divided = _numeric("//", operator.floordiv)
modulo = _numeric("%", operator.mod)


def power(base: Any, exponent: int) -> Any:
    """A number to the power of a small whole number that the expression gives."""
    if base.__class__ is int and base.bit_length() * exponent > 4 * MOST_DIGITS:
        raise ValueError(f"the result has more than {MOST_DIGITS} digits")
    return _power(base, exponent)


_power = _numeric("**", operator.pow)


def negative(value: Any) -> Any:
    """The number with the other sign."""
    if value.__class__ in _NUMBERS:
        return -value
    raise ValueError(f"-{_shown(value)}: - takes a number, not {type_of(value)}")


def positive(value: Any) -> Any:
    """The number itself."""
    if value.__class__ in _NUMBERS:
        return value
    raise ValueError(f"+{_shown(value)}: + takes a number, not {type_of(value)}")


def is_true(value: Any) -> bool:
    """Whether a value counts as true: all but false, null, 0 and empty text."""
    return value.__class__ in (list, dict) or bool(value)


def _ordering(sign: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def apply(left: Any, right: Any) -> bool:
        kinds = left.__class__, right.__class__
        if kinds == (str, str) or (kinds[0] in _NUMBERS and kinds[1] in _NUMBERS):
            return compare(left, right)
        raise ValueError(
            f"{_shown(left)} {sign} {_shown(right)}: {sign} takes two numbers or two texts, "
            f"not {type_of(left)} and {type_of(right)}"
        )

    return apply


less = _ordering("<", operator.lt)
less_or_equal = _ordering("<=", operator.le)
greater = _ordering(">", operator.gt)
greater_or_equal = _ordering(">=", operator.ge)


def differs(left: Any, right: Any) -> bool:
    """Whether two values are not equal."""
    return not same(left, right)


def is_in(left: Any, right: Any) -> bool:
    """Whether a text is part of a text, a value an element of an array, or a text a name of an object."""
    if isinstance(right, str) and isinstance(left, str):
        return left in right
    if isinstance(right, list):
        return any(same(left, each) for each in right)
    if isinstance(right, dict) and isinstance(left, str):
        return left in right
    raise ValueError(
        f"{_shown(left)} in {_shown(right)}: in takes two texts, a value and an array, "
        "or a text and an object, "
        f"not {type_of(left)} and {type_of(right)}"
    )


def is_not_in(left: Any, right: Any) -> bool:
    """The opposite of `is_in`."""
    return not is_in(left, right)


def _one_kind(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, of one array or as they are, when they are all numbers or all texts."""
    if len(values) == 1 and isinstance(values[0], list):
        values = tuple(values[0])
    kinds = {value.__class__ for value in values}
    if kinds and (kinds <= _NUMBERS or kinds == {str}):
        return values
    shown = ", ".join(sorted({type_of(value) for value in values})) or "nothing"
    raise ValueError(f"{name} takes numbers, or texts, not {shown}")


def least(*values: Any) -> Any:
    """The smallest of some numbers or texts, or of an array of them."""
    return min(_one_kind("min", values))


def most(*values: Any) -> Any:
    """The largest of some numbers or texts, or of an array of them."""
    return max(_one_kind("max", values))


def absolute(value: Any) -> Any:
    """The number without its sign."""
    if value.__class__ in _NUMBERS:
        return abs(value)
    raise ValueError(f"abs takes a number, not {type_of(value)}")


def rounded(value: Any, places: Any = None) -> Any:
    """The number with so many decimal places, a whole one without them; halves go away from zero.

    It rounds the number as it is written: 2.5 is 3, -2.5 is -3, and 2.675 with two places 2.68.
    """
    if value.__class__ not in _NUMBERS:
        raise ValueError(f"round takes a number, not {type_of(value)}")
    count = 0 if places is None else places
    if count.__class__ is not int or not -_MOST_PLACES <= count <= _MOST_PLACES:
        raise ValueError(f"round takes a whole number of places from -{_MOST_PLACES} to {_MOST_PLACES}")
    if value.__class__ is int and count >= 0:
        return value
    checked(value)
    rest = value * 10**count % 1 if count >= 0 else value / 10**-count % 1
    if abs(rest - 0.5) > NEAR_HALF:  # Python's own rounding differs from this only where halves are concerned
        return checked(round(value, places))
    half = Decimal(repr(value)).quantize(Decimal(1).scaleb(-count), ROUND_HALF_UP)
    return int(half) if places is None or value.__class__ is int else float(half)


def whole(value: Any) -> int:
    """A whole number: digits of a text, or a number without its fraction."""
    if value.__class__ is str:
        if len(value) <= MOST_DIGITS and _INTEGER.fullmatch(value):
            return int(value)
        raise ValueError(f"int({_shown(value)}): the text is no whole number")
    if value.__class__ in _NUMBERS:
        return int(checked(value))
    raise ValueError(f"int takes a number or a text of digits, not {type_of(value)}")


def floating(value: Any) -> float:
    """A number with a fraction, of a number or of a text as JSON writes numbers."""
    kind = value.__class__
    if kind is float:
        return checked(value)  # type: ignore[no-any-return]  # it is one
    if kind is str:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        # quick: Python also takes 1_000, digits of other scripts, nan and inf
        if number - number == 0.0 and value.isascii() and "_" not in value:
            return number
        if value.isascii() and _FLOAT.fullmatch(value):
            raise ValueError(f"float({_shown(value)}): the number is beyond the range of numbers")
        raise ValueError(f"float({_shown(value)}): the text is no number")
    if kind is int:
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError("float: the number is beyond the range of numbers") from error
    raise ValueError(f"float takes a number or a text that is one, not {type_of(value)}")


def text(value: Any) -> str:
    """A text as it is, of all else the JSON text."""
    return json_text(value)


def length(value: Any) -> int:
    """How many characters a text has, elements an array, or fields an object."""
    if isinstance(value, str | list | dict):
        return len(value)
    raise ValueError(f"len takes a text, an array or an object, not {type_of(value)}")


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": least,
    "max": most,
    "abs": absolute,
    "round": rounded,
    "int": whole,
    "float": floating,
    "str": text,
    "len": length,
}
"""The functions of expressions, by name."""

"""Tests of single values that several operations know: regular expressions, networks, validators by name."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tsd.operations import formats

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}


def compile_regex(text: str) -> "re.Pattern[str]":
    """A pattern of `/text/flags`, or of the text alone; the flags g, u and y mean nothing here.

    Raises:
        ValueError: It is no pattern.
    """
    match = re.fullmatch(r"/(.*)/([a-z]*)", text, re.DOTALL)
    body, flags = match.groups() if match else (text, "")
    body = re.sub(r"\(\?<(?![=!])", "(?P<", body)  # how JavaScript names groups
    try:
        return re.compile(body, sum(_FLAGS.get(flag, 0) for flag in flags))
    except re.error as error:
        raise ValueError(f"{text} is no regular expression: {error}") from error


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, and 1 is not true."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _is_ip(value: Any, _args: Any) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return isinstance(value, str)


def _is_url(value: Any, _args: Any) -> bool:
    try:
        parts = urlsplit(value)
    except (ValueError, AttributeError, TypeError):
        return False
    return isinstance(value, str) and parts.scheme in {"http", "https", "ftp"} and bool(parts.netloc)


def _in_ip_range(value: Any, args: Any) -> bool:
    return isinstance(args, Mapping) and "cidr" in args and ip_test(args["cidr"])(value)


def _is_length(value: Any, args: Any) -> bool:
    if not isinstance(value, str) or not isinstance(args, Mapping):
        return False
    length = args.get("length")
    if length is not None:
        return bool(len(value) == length)
    return bool(args.get("min", 0) <= len(value) <= args.get("max", len(value)))


def _argument(args: Any) -> Any:
    return args.get("value") if isinstance(args, Mapping) else args


VALIDATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "isEmail": lambda value, _: isinstance(value, str) and _EMAIL.fullmatch(value) is not None,
    "isIP": _is_ip,
    "inIPRange": _in_ip_range,
    "isURL": _is_url,
    "isUUID": lambda value, _: isinstance(value, str) and _UUID.fullmatch(value) is not None,
    "isAlpha": lambda value, _: isinstance(value, str) and value.isascii() and value.isalpha(),
    "isAlphanumeric": lambda value, _: isinstance(value, str) and value.isascii() and value.isalnum(),
    "isString": lambda value, _: isinstance(value, str),
    "isBoolean": lambda value, _: isinstance(value, bool),
    "isNumber": lambda value, _: isinstance(value, int | float) and not isinstance(value, bool),
    "isInteger": lambda value, _: isinstance(value, int) and not isinstance(value, bool),
    "isLength": _is_length,
    "contains": lambda value, args: isinstance(value, str) and str(_argument(args)) in value,
    "equals": lambda value, args: same(value, _argument(args)),
}
"""The validators that filter knows, each of (value, arguments)."""


def validator_name(value: Any) -> str | None:
    """A converter to the name of a validator, or null."""
    return None if value is None else formats.one_of(VALIDATORS)(value)


def ip_test(text: Any) -> Callable[[Any], bool]:
    """Whether a value is an address in a network.

    Raises:
        ValueError: The text is no network.
    """
    network = ipaddress.ip_network(formats.required_string(text), strict=False)

    def test(value: Any) -> bool:
        try:
            return isinstance(value, str) and ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return test

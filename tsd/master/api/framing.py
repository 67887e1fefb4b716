"""Bodies, both ways: what clients may send, and the JSON that they get.

A body is JSON whatever else its content type suggests, because `curl -d@job.json` calls it a form.
"""

import json
import zlib
from typing import Any

import msgspec

from tsd.errors import InvalidRequest

MALFORMED = "the json submitted is malformed"
JSON_TYPE = "application/json; charset=utf-8"
DEPTH_MAX = 64
"""Deepest nesting of a body; what walks it later may recurse."""

FORM_TYPE = "application/x-www-form-urlencoded"
"""What `curl -d` says of JSON."""
_UTF8 = {"utf-8", "utf8", "us-ascii", "ascii"}
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class UnsupportedBody(InvalidRequest):
    """The body is of a type, charset or encoding that is not read here; HTTP 415."""


class BodyTooLarge(InvalidRequest):
    """The body is larger than the limit, as sent or after inflating; HTTP 413."""


class BodyTooSlow(InvalidRequest):
    """The body comes so slowly that it is not waited for; HTTP 408."""


def encode_json(value: object) -> bytes:
    """JSON text as clients of Teraslice get it: indented by 4, UTF-8, no newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=4)


def decode_body(
    raw: bytes, *, content_type: str | None, content_encoding: str | None, size_max: int
) -> dict[str, Any] | list[Any]:
    """Read a request body; an empty one is `{}`.

    Args:
        raw: The body as sent.
        content_type: The header, None when the client named none (taken as JSON).
        content_encoding: The header; gzip and deflate are inflated.
        size_max: Largest body after inflating, in bytes.

    Raises:
        InvalidRequest: Not JSON, nested too deep, or neither an object nor an array.
        UnsupportedBody: A content type, charset or encoding that is not read here.
        BodyTooLarge: More than `size_max` bytes.
    """
    if not raw:
        return {}
    _check_type(content_type)
    raw = _inflate(raw, content_encoding, size_max)
    if len(raw) > size_max:
        raise BodyTooLarge(f"the body is larger than {size_max} bytes")
    try:
        value = msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(MALFORMED + _place_of_fault(raw)) from error
    if not isinstance(value, (dict, list)):
        raise InvalidRequest(MALFORMED)
    _check_depth(value)
    return value


def _place_of_fault(raw: bytes) -> str:
    """Where a body stops being JSON; empty for one line, which programs send that know the bare message."""
    text = raw.decode("utf-8-sig", "replace").rstrip()
    if "\n" not in text:
        return ""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1].strip()[:80] if text.splitlines() else ""
        return f": line {error.lineno}, column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}: {line}"
    except RecursionError:
        pass
    return ""


def _check_type(content_type: str | None) -> None:
    if content_type is None:
        return
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind not in {"application/json", FORM_TYPE} and not kind.endswith("+json"):
        raise UnsupportedBody(f"send JSON as application/json; a body of type {kind[:80]} is not read")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _UTF8:
            raise UnsupportedBody(f"send JSON as UTF-8; charset {value.strip()[:80]} is not read")


def _inflate(raw: bytes, content_encoding: str | None, size_max: int) -> bytes:
    encoding = (content_encoding or "identity").strip().lower()
    if encoding == "identity":
        return raw
    if encoding not in _WINDOW_BITS:
        raise UnsupportedBody(f"content encoding {encoding[:80]} is not read; send gzip or none")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated = inflater.decompress(raw, size_max + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {encoding}") from error
    if len(inflated) <= size_max and not inflater.eof:
        raise InvalidRequest(f"the body is not whole {encoding}")
    return inflated


def _check_depth(value: dict[str, Any] | list[Any]) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH_MAX):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return
    raise InvalidRequest(f"the json submitted is nested more than {DEPTH_MAX} deep")

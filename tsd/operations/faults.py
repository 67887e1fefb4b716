"""What goes wrong with one record, and words for it that say what to do."""

import re
from typing import Final

import msgspec

RECORD_FAULTS: Final = (
    msgspec.MsgspecError,
    ValueError,  # also all of Unicode, and of JSON
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)
"""What parsers, codecs and conversions raise when one record is bad; others are not touched by it."""

_BYTE = re.compile(r"\(byte (\d+)\)")
_HALF_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"  # a first half without its second
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_NO_NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"nan", b"inf", b"-inf")
_PYTHON_WORDS = (b"None", b"True", b"False", b"undefined")
_PARSERS = "JSON is malformed: "


def json_reason(data: bytes, error: BaseException, *, is_line: bool = True) -> str:
    """Why bytes are no JSON object.

    Args:
        data: What was decoded.
        error: What the decoder raised.
        is_line: They are a line of a file with a record in each line.
    """
    if isinstance(error, RecursionError):
        return "the JSON is nested too deep: about 1,000 levels can be read"
    if isinstance(error, MemoryError):
        return "the JSON needs more memory than there is"
    if reason := utf8_reason(data):
        return reason
    if not isinstance(error, msgspec.MsgspecError):
        return f"it is no JSON: {error}"
    text = str(error)
    found = _BYTE.search(text)
    at = int(found[1]) if found else None
    if isinstance(error, msgspec.ValidationError) and "got `" in text:
        return _no_object(data, text, is_line=is_line)
    if ("truncated" in text or "surrogate" in text) and (half := _HALF_PAIR.search(data)):
        return (
            f"half of a surrogate pair ({half[0].decode()}) stands alone in a text, which is no Unicode: "
            "write the whole pair, or another character"
        )
    hint = _hint(data, at)
    if "truncated" in text:
        text = "it ends too early"
    elif is_line and "trailing characters" in text and data.lstrip()[:1] == b"{":
        hint = hint or (
            "; lines end with a carriage return alone: set line_delimiter to it"
            if b"\r" in data.strip()
            else "; a line has one JSON object"
        )
    return f"it is no JSON: {text.removeprefix(_PARSERS)}{hint}"


def _no_object(data: bytes, text: str, *, is_line: bool) -> str:
    kind = {b"[": "array", b'"': "string", b"t": "boolean", b"f": "boolean", b"n": "null"}.get(
        data.lstrip()[:1], "number"
    )
    if kind == "array":
        advice = ": set format to json if the file is one JSON document, whose elements are the records"
        return f"a record is a JSON object, not an array{advice if is_line else ''}"
    if "Object" in text or "object" in text.partition("got `")[0]:
        return f"a record is a JSON object, not {kind if kind == 'null' else f'a {kind}'}"
    return f"it is no JSON that can be read: {text}"


def _hint(data: bytes, at: int | None) -> str:
    start = data.lstrip()[:1]
    if start == b"<":
        return "; it looks like HTML or XML"
    if at is None:
        return ""
    rest = data[at:]
    if rest.startswith(_NO_NUMBERS):
        return "; NaN and Infinity are no JSON: write null, or text"
    if rest.startswith(_PYTHON_WORDS):
        return "; JSON has null, true and false"
    if rest[:1] == b"'":
        return "; JSON has double quotes"
    if rest[:1] == b"\0":
        return "; a null byte"
    return ""


def utf8_reason(data: bytes) -> str:
    """Why bytes are no UTF-8, with the first bad one; empty when they are."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return (
            f"byte {error.start} of it, 0x{data[error.start]:02x}, is no UTF-8: if the file is Latin-1 or"
            " Windows-1252, convert it, for example with iconv -f WINDOWS-1252 -t UTF-8"
        )
    return ""

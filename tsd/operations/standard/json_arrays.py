"""Elements of a JSON array with their places, for arrays in which some element is no record."""

import re
from collections.abc import Iterator

import msgspec

from tsd.operations.standard.storage import DamagedError

_raw = msgspec.json.Decoder(list[msgspec.Raw])
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+("?)|[\[\]{},]', re.DOTALL)
_BLANKS = b" \t\r\n"
_CLOSES = {ord("]"): ord("["), ord("}"): ord("{")}


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of an array, each with its offset; whether they are JSON is not known yet.

    Raises:
        DamagedError: Brackets or quotes do not fit, so that nobody can tell where an element ends.
    """
    try:
        found = _raw.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        yield from _by_brackets(data)
        return
    at = data.index(b"[") + 1
    for element in found:
        text = bytes(element)
        at = data.index(text, at)  # only blanks and a comma are between
        yield at, text
        at += len(text)


def _by_brackets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """As `elements`, for what no decoder takes: slow, and exact."""
    start = len(data) - len(data.lstrip(_BLANKS)) + 1
    opened = bytearray(b"[")
    is_first = True
    for match in _TOKEN.finditer(data, start):
        token = data[match.start()]
        if token == ord('"'):
            if not match[1]:
                raise DamagedError(f"the text that begins at byte {match.start()} has no end")
        elif token in b"[{":
            opened.append(token)
        elif token != ord(","):
            if not opened or opened.pop() != _CLOSES[token]:
                raise DamagedError(f"{chr(token)} at byte {match.start()} closes nothing")
            if not opened:
                last = data[start : match.start()]
                if not is_first or last.strip(_BLANKS):
                    yield _trimmed(start, last)
                if rest := data[match.end() :].strip(_BLANKS):
                    raise DamagedError(f"more stands behind its end at byte {data.rindex(rest, match.end())}")
                return
        elif len(opened) == 1:
            yield _trimmed(start, data[start : match.start()])
            start = match.end()
            is_first = False
    raise DamagedError("it ends too early: its array is not closed")


def _trimmed(start: int, text: bytes) -> tuple[int, bytes]:
    left = text.lstrip(_BLANKS)
    return start + len(text) - len(left), left.rstrip(_BLANKS)

"""Dead letters: records that an operation could not take, on their way to the store.

They travel with the result of their slice and are stored in the same transaction as its record
(docs/adr/0016-dead-letters-travel-with-their-slice.md). On the way the letters of a slice are one JSON array,
and nobody between the worker and the store looks into it.
"""

from enum import StrEnum
from typing import Final

import attrs
import msgspec

LETTER_B_MAX: Final = 64 * 1024
"""A letter, encoded. The record of a larger one is cut, and it can not be replayed."""
SLICE_LETTERS_MAX: Final = 1_000
"""Letters of one slice; with more of them it is not the records that are bad."""
SLICE_LETTERS_B_MAX: Final = 4 * 1024 * 1024
"""And so many bytes, so that what a worker says of a slice fits into a message."""

NONE_LEFT: Final = b""
"""Of a slice that is run again: it has no letters now, and those of its earlier run go."""


class Form(StrEnum):
    """What `Letter.record` is."""

    JSON = "json"
    """The record itself."""
    BASE64 = "base64"
    """Text that stands for bytes."""
    TEXT = "text"
    """Text, or the description of something that is no JSON."""


@attrs.frozen(kw_only=True)
class Letter:
    """A record that an operation could not take.

    Attributes:
        record: JSON; what it stands for, `form` says.
        raw: The raw bytes that a record held beside its fields, as base64.
        metadata: JSON object; empty for what is no record.
        error: Why, at most the last 2,000 characters.
        operation: Name of the operation or API.
        position: Where that stands in the job, such as `operations[2]` or `apis[0]`.
        slice_id: The slice, or the flush.
        attempt: Of the slice, from 1.
        time_ms: Unix milliseconds at which it was rejected.
        worker: Process id of the worker.
        truncated: The record was cut.
    """

    record: msgspec.Raw
    form: Form = Form.JSON
    raw: str | None = None
    metadata: msgspec.Raw
    error: str
    operation: str
    position: str
    slice_id: str
    attempt: int = 1
    time_ms: int
    worker: str = ""
    truncated: bool = False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Letter])


def encode_letter(letter: Letter) -> bytes:
    """One letter as JSON.

    Raises:
        UnicodeEncodeError: A text is no Unicode.
    """
    return _encoder.encode(letter)


def join_letters(letters: list[bytes]) -> bytes:
    """Encoded letters as they travel."""
    return b"[" + b",".join(letters) + b"]"


def decode_letters(data: bytes) -> list[Letter]:
    """The letters of a slice.

    Raises:
        ValueError: It is no array of letters.
    """
    return _decoder.decode(data) if data else []

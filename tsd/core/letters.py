"""Dead letters: records that an operation could not take, on their way to the store.

They travel with the result of their slice and are stored in the same transaction as its record
(docs/adr/0018-dead-letters-travel-with-their-slice.md). On the way the letters of a slice are one JSON array,
and nobody between the worker and the store looks into it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import attrs
import msgspec

from tsd.errors import Conflict

LETTER_B_MAX: Final = 64 * 1024
"""A letter, encoded. The record of a larger one is cut, and it can not be replayed."""
SLICE_LETTERS_MAX: Final = 1_000
"""Letters of one slice; with more of them it is not the records that are bad."""
SLICE_LETTERS_B_MAX: Final = 4 * 1024 * 1024
"""And so many bytes, so that what a worker says of a slice fits into a message."""

REPLAY_READER: Final = "dead_letter_reader"
"""The operation that reads the slices of a replay."""
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


def entry_point(operations: Sequence[Mapping[str, Any]], position: str, operation: str) -> int:
    """The index of the operation of a job at which a replayed record enters; 1 is the first processor.

    Args:
        operations: Those of the job as it is now, checked.
        position: Of the letter.
        operation: Of the letter.

    Raises:
        Conflict: What rejected the record is not there any more.
    """
    if position.startswith("apis"):
        for index, entry in enumerate(operations):
            if _same(entry.get("_api_name") or entry.get("api_name") or "", operation):
                return max(1, index)
        raise Conflict(
            f"records that the API {operation} rejected can not be replayed: no operation names it now"
        )
    number = position.removeprefix("operations[").removesuffix("]")
    index = int(number) if number.isdecimal() else len(operations)
    now = operations[index].get("_op", "") if index < len(operations) else ""
    if index == 0 and now == REPLAY_READER:
        # What a reader rejected enters behind it, and here is the reader of an earlier replay.
        return 1
    if not _same(now, operation):
        what = f"there is {now} now" if now else "the job has no such operation now"
        raise Conflict(f"records that {operation} rejected at {position} can not be replayed: {what}")
    return max(1, index)


def _same(one: object, other: str) -> bool:
    """Whether two names of operations or APIs differ in nothing but the bundle."""
    return isinstance(one, str) and _without_bundle(one) == _without_bundle(other)


def _without_bundle(name: str) -> tuple[str, str]:
    base, _, rest = name.partition("@")
    base, _, tag = base.partition(":")
    return base, tag or rest.partition(":")[2]

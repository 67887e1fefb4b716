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

from tsd.core.fields import Milliseconds, Number
from tsd.core.messages import Results
from tsd.errors import Conflict

LETTER_B_MAX: Final = 64 * 1024
"""A letter, encoded. The record of a larger one is cut, and it can not be replayed."""
SLICE_LETTERS_MAX: Final = 1_000
"""Letters of one slice; with more of them it is not the records that are bad."""
SLICE_LETTERS_B_MAX: Final = 4 * 1024 * 1024
"""And so many bytes, so that what a worker says of a slice fits into a message."""
LETTER_DEPTH_MAX: Final = 500
"""Of objects and lists in one another in a record or its metadata; deeper ones can not be read everywhere."""

REPLAY_READER: Final = "dead_letter_reader"
"""The operation that reads the slices of a replay."""
REREAD_OPTION: Final = "reader"
"""Of it: the reader of the job, as the job has it."""
FILE_READER: Final = "file_reader"
"""The reader that can read again what it could not read."""
RAW_PARSER: Final = "json_parser"
"""The operation that takes records which are bytes."""
READ_AGAIN: Final = 0
"""Where letters enter that hold no record, but what their reader could not read."""
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
        truncated: The record is not whole: it was cut, or holds values that JSON does not have.
    """

    record: msgspec.Raw
    form: Form = Form.JSON
    raw: str | None = None
    metadata: msgspec.Raw
    error: str
    operation: str
    position: str
    slice_id: str
    attempt: Number = 1
    time_ms: Milliseconds
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
        ValueError: It is no array of letters, or one of them is nested too deep or has a number out of range.
    """
    try:
        return _decoder.decode(data) if data else []
    except RecursionError as error:
        raise ValueError("JSON is nested too deep") from error


def unreadable_letters(message: object) -> str:
    """Why nobody can read the letters that a worker says something with; empty when they can be read.

    The controller asks before it takes results in: what the master can not store would end its execution.
    """
    if not isinstance(message, Results):
        return ""
    told = [result[5] for result in message.full if result[5]]
    if message.flush_letters:
        told.append(message.flush_letters)
    for data in told:
        try:
            decode_letters(data)
        except ValueError as error:
            return f"Results have dead letters that can not be read: {error}"
    return ""


def entry_point(
    operations: Sequence[Mapping[str, Any]], position: str, operation: str, *, is_unread: bool = False
) -> int:
    """The index of the operation of a job at which a replayed record enters.

    Args:
        operations: Those of the replay, checked; the first of them reads the letters.
        position: Of the letter.
        operation: Of the letter.
        is_unread: It holds bytes or text, and no record.

    Returns:
        1 for the first processor; `READ_AGAIN` for what the reader of the job has to read once more.

    Raises:
        Conflict: What rejected the record is not there any more, or it is none and nothing can read it.
    """
    index = _rejected_at(operations, position, operation)
    if index > 0 or not is_unread:
        return max(1, index)
    reader = operations[0].get(REREAD_OPTION)
    if isinstance(reader, Mapping) and is_reread(reader):
        return READ_AGAIN
    if len(operations) > 1 and _same(operations[1].get("_op"), RAW_PARSER):
        return 1
    raise Conflict(
        f"what {operation} rejected at {position} can not be replayed: it is no record, and only"
        f" {FILE_READER}, or {RAW_PARSER} behind the reader, reads it again; mend the source and run the job"
        " once more, or replay other dead letters with a filter"
    )


def is_reread(reader: Mapping[str, Any]) -> bool:
    """Whether what a reader rejected can be read again by its options.

    Args:
        reader: The first operation of a job.
    """
    return _same(reader.get("_op"), FILE_READER)


def _rejected_at(operations: Sequence[Mapping[str, Any]], position: str, operation: str) -> int:
    """The index of the operation that rejected, or that names the API which did; 0 is the reader."""
    if position.startswith("apis"):
        for index, entry in enumerate(operations):
            read = entry.get(REREAD_OPTION) if index == 0 else None
            named = read if isinstance(read, Mapping) else entry
            if _same(named.get("_api_name") or named.get("api_name") or "", operation):
                return index
        raise Conflict(
            f"records that the API {operation} rejected can not be replayed: no operation names it now"
        )
    number = position.removeprefix("operations[").removesuffix("]")
    index = int(number) if number.isdecimal() else len(operations)
    now = operations[index].get("_op", "") if index < len(operations) else ""
    if index == 0 and now == REPLAY_READER:
        # The reader of this replay stands for the one that rejected, or for that of an earlier replay.
        return 0
    if not _same(now, operation):
        what = f"there is {now} now" if now else "the job has no such operation now"
        raise Conflict(f"records that {operation} rejected at {position} can not be replayed: {what}")
    return index


def _same(one: object, other: str) -> bool:
    """Whether two names of operations or APIs differ in nothing but the bundle."""
    return isinstance(one, str) and _without_bundle(one) == _without_bundle(other)


def _without_bundle(name: str) -> tuple[str, str]:
    base, _, rest = name.partition("@")
    base, _, tag = base.partition(":")
    return base, tag or rest.partition(":")[2]

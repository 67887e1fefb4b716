"""Dead letters of the slice in work, and how rejected values become letters and records again."""

import base64
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

from tsd.core.fields import json_depth
from tsd.core.letters import (
    LETTER_B_MAX,
    LETTER_DEPTH_MAX,
    SLICE_LETTERS_B_MAX,
    SLICE_LETTERS_MAX,
    Form,
    Letter,
    encode_letter,
)
from tsd.error_texts import bounded, error_line, error_text, first_line_of, visible
from tsd.operations.dates import now_ms
from tsd.operations.fragments import Fragment
from tsd.operations.json_values import json_fault
from tsd.operations.record import Record

ERROR_CHARS_MAX: Final = 2_000
"""Of an error, whose first line says what is wrong."""
_KEPT_B: Final = 16 * 1024
"""Of a record that is cut. As text in JSON it takes twice as much at most."""
_NAME_CHARS: Final = 200

_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder().decode
_NOTHING: Final = msgspec.Raw(b"{}")


@attrs.define(eq=False)
class LetterBox:
    """The letters of one slice, which are bounded.

    Attributes:
        letters: Encoded, in the order in which they came.
        fault: Why the slice fails: it has too many. Empty while it has not.
    """

    letters: list[bytes] = attrs.field(factory=list)
    fault: str = ""
    _size_b: int = 0
    _first: str = ""

    def put(self, letter: Letter) -> bool:
        """Take in a letter; False when there is no room, and `fault` says so."""
        encoded = encode_letter(letter)
        if not self.letters:
            self._first = f"{letter.operation} at {letter.position}: {first_line_of(letter.error)}"
        if (
            len(self.letters) >= SLICE_LETTERS_MAX
            or self._size_b + len(encoded) + 2 * len(self.letters) > SLICE_LETTERS_B_MAX
        ):
            self.fault = (
                f"{letter.operation} at {letter.position} rejects too many records of one slice: at most"
                f" {SLICE_LETTERS_MAX:,} dead letters and {SLICE_LETTERS_B_MAX // 1024**2} MiB of them are"
                f" stored. The first reason was, of {self._first[:500]}"
            )
            return False
        self.letters.append(encoded)
        self._size_b += len(encoded)
        return True

    def clear(self) -> None:
        """Forget them: the attempt is not the last one."""
        self.letters = []
        self.fault = self._first = ""
        self._size_b = 0

    def cut(self, count: int) -> None:
        """Forget all but the first so many: what they came of is tried again."""
        self._size_b -= sum(map(len, self.letters[count:]))
        del self.letters[count:]
        self.fault = ""

    def take(self) -> list[bytes] | None:
        """The letters, None for none; the box is empty then."""
        letters = self.letters or None
        self.clear()
        return letters


def letter_of(
    value: Any, error: Any, *, operation: str, position: str, slice_id: str, attempt: int, worker: str
) -> Letter:
    """The letter of a rejected value, at most `LETTER_B_MAX` long.

    Args:
        value: A record, bytes, text, or anything else.
        error: An exception, or text.
        operation: Name of the operation or API.
        position: Where that stands in the job.
        slice_id: The slice in work.
        attempt: Number of its attempt.
        worker: Process id of the worker.
    """
    record, form, raw = _body_of(value)
    metadata = _json(value.metadata) if isinstance(value, Record | Fragment) else None
    letter = Letter(
        record=msgspec.Raw(record),
        form=form,
        raw=raw,
        metadata=_NOTHING if metadata is None else msgspec.Raw(metadata),
        error=_error_text(error),
        operation=operation[:_NAME_CHARS],
        position=position,
        slice_id=slice_id,
        attempt=attempt,
        time_ms=now_ms(),
        worker=worker,
        truncated=not _is_whole(value, form),
    )
    size_b = len(record) + len(raw or "") + len(letter.metadata)
    # The rest is far below this; only near the limit it is worth to encode in order to know.
    if size_b < LETTER_B_MAX // 2 or len(encode_letter(letter)) <= LETTER_B_MAX:
        return letter
    return attrs.evolve(
        letter,
        record=msgspec.Raw(_encode(record[:_KEPT_B].decode("utf-8", "replace"))),
        form=Form.TEXT,
        raw=None,
        metadata=letter.metadata if len(letter.metadata) < _KEPT_B else _NOTHING,
        truncated=True,
    )


def record_of(letter: Mapping[str, Any]) -> Record:
    """The record that a letter was made of.

    Args:
        letter: `record`, `form`, and perhaps `raw` and `metadata`, as `Letter` has them.
    """
    value, form = letter["record"], letter["form"]
    is_record = form == Form.JSON and isinstance(value, dict)
    record = Record(value) if is_record else _from_bytes(bytes_of(letter))
    if letter.get("raw"):
        record.set_raw_data(base64.b64decode(letter["raw"]))
    if letter.get("metadata"):
        record.metadata.update(letter["metadata"])
    return record


def bytes_of(letter: Mapping[str, Any]) -> bytes:
    """The bytes that a letter was made of, or its record as JSON; `letter` is as in `record_of`."""
    value, form = letter["record"], letter["form"]
    if form == Form.BASE64:
        return base64.b64decode(value)
    return value.encode() if isinstance(value, str) else _encode(value)


def described(value: Any) -> str:
    """What is shown of a value that has no JSON, or too deep one."""
    try:
        return repr(value)
    except RecursionError:
        return f"{type(value).__name__} that is nested too deep to be shown"


def _from_bytes(data: bytes) -> Record:
    """A record of raw data; a JSON object gives it fields too."""
    try:
        record = Record.from_bytes(data)
    except (ValueError, RecursionError):
        record = Record()
    record.set_raw_data(data)
    return record


def _body_of(value: Any) -> tuple[bytes, Form, str | None]:
    """The value as JSON, what it stands for, and the raw data beside it."""
    if isinstance(value, Fragment):
        return _text_or_base64(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _quoted(bytes(value)), Form.BASE64, None
    if isinstance(value, str):
        return _encode(_clean(value)), Form.TEXT, None
    raw: bytes | None = None
    if isinstance(value, Record):
        try:
            raw = value.get_raw_data()
        except ValueError:
            raw = None
        if raw is not None and not value:
            return _text_or_base64(raw)
    encoded = _json(value)
    if encoded is None:
        return _encode(_clean(described(value))), Form.TEXT, None
    return encoded, Form.JSON, None if raw is None else base64.b64encode(raw).decode()


def _is_whole(value: Any, form: Form) -> bool:
    """Whether a record can come back as it was: what JSON can not hold is only shown."""
    return not isinstance(value, Mapping) or not value or (form == Form.JSON and not json_fault(value))


def _text_or_base64(data: bytes) -> tuple[bytes, Form, None]:
    try:
        return _encode(data.decode()), Form.TEXT, None
    except UnicodeDecodeError:
        return _quoted(data), Form.BASE64, None


def _quoted(data: bytes) -> bytes:
    return b'"' + base64.b64encode(data) + b'"'


def _json(value: Any) -> bytes | None:
    """JSON, with values of other types as text; None when it can not be that."""
    try:
        encoded = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    # Deep ones are rare: only what has so many brackets is worth a closer look.
    if encoded.count(b"[") + encoded.count(b"{") > LETTER_DEPTH_MAX:
        return None if json_depth(encoded.decode()) > LETTER_DEPTH_MAX else encoded
    return encoded


def _error_text(error: Any) -> str:
    if not isinstance(error, BaseException):
        return visible(bounded(str(error), ERROR_CHARS_MAX))
    if error.__traceback__ is None:
        return error_line(error)
    return error_text(error, limit=ERROR_CHARS_MAX)


def _clean(text: str) -> str:
    """Text that can be sent: half surrogate pairs, as in file names that are no UTF-8, become `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")

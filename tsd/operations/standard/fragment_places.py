"""Where in a file that stands which is no record: byte and line, told to the reader that rejects it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from typing_extensions import override

from tsd.errors import NonRetryable
from tsd.operations.fragments import Fragment


class Refuse(Protocol):
    """Takes bytes that are no record.

    Attributes:
        columns: Names of the columns, once they are known, of what is refused then.
    """

    columns: Sequence[str]

    def __call__(self, data: bytes, offset: int, reason: str) -> None:
        """Raises or returns; `offset` is that of the bytes in the content of the file."""
        ...


_MOST_COUNTED_B: Final = 268_435_456
"""Lines are counted over so many bytes for one that is refused; further on there is the offset alone."""
_PIECE_B: Final = 1_048_576
_SHOWN_CHARS: Final = 100
_MOST_NAMES_CHARS: Final = 4096
"""Names of columns, in all, that are kept beside each row that is refused."""


class Lines:
    """Counts the lines of a file, only when it is asked; goes forward only, and begins again when it must."""

    def __init__(
        self, read: Callable[[int, int], bytes], delimiter: bytes, known: tuple[int, int] = (0, 1)
    ) -> None:
        """Nothing is read yet.

        Args:
            read: Gives bytes of the content by offset and length.
            delimiter: What ends a line.
            known: An offset, and the number of the line that begins there.
        """
        self._read = read
        self._delimiter = delimiter
        self.known = known

    def at(self, offset: int) -> int | None:
        """The number, from 1 on, of the line in which a byte stands; None when it is too far to count."""
        counted, line = self.known if self.known[0] <= offset else (0, 1)
        if offset - counted > _MOST_COUNTED_B:
            return None
        overlap = len(self._delimiter) - 1
        while counted < offset:
            end = min(counted + _PIECE_B, offset)
            start = max(counted - overlap, 0)
            line += self._read(start, end - start).count(self._delimiter)
            counted = end
        self.known = (counted, line)
        return line


class Front:
    """The content of a compressed file up to some byte, decompressed once more as far as it is asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Nothing is read yet."""
        self._pieces = pieces
        self._at = 0
        self._held = b""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the content; what was asked for is asked for again by its last bytes at most."""
        while self._at + len(self._held) < offset + length:
            piece = next(self._pieces, None)
            if piece is None:
                break
            drop = max(0, min(offset - self._at, len(self._held)))
            self._held = self._held[drop:] + piece
            self._at += drop
        start = offset - self._at
        return self._held[max(start, 0) : max(start, 0) + length]


class Refusals(Refuse):
    """Rejects what is no record of one slice, with its place in the message and beside the bytes."""

    def __init__(
        self, reject: Callable[[Any, BaseException], Any], request: Mapping[str, Any], lines: Lines
    ) -> None:
        """Nothing was refused yet.

        Args:
            reject: Takes a `Fragment` and a NonRetryable that says where and why.
            request: Of the slice.
            lines: Counts those of the file.
        """
        self._reject = reject
        self._request = request
        self._lines = lines
        self.columns: Sequence[str] = ()

    @override
    def __call__(self, data: bytes, offset: int, reason: str) -> None:
        metadata: dict[str, Any] = {**self._request, "byte_offset": offset}
        line = self._lines.at(offset)
        if line is not None:
            metadata["line"] = line
        if self.columns and sum(map(len, self.columns)) <= _MOST_NAMES_CHARS:
            metadata["columns"] = list(self.columns)
        fragment = Fragment.of(data, metadata)
        where = f"file {self._request['path']}, {place_of(offset, line)}"
        self._reject(fragment, NonRetryable(f"{where}: {reason}{_shown(fragment)}"))


def place_of(offset: int, line: int | None) -> str:
    """A place in a file, for people."""
    return f"byte {offset}" if line is None else f"line {line} (byte {offset})"


def _shown(fragment: Fragment) -> str:
    text = fragment[: 4 * _SHOWN_CHARS].decode("utf-8", "replace")
    if "\0" in text or text.count("\ufffd") * 10 > len(text) * 3:
        return ""
    cut = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    return f": {json.dumps(cut, ensure_ascii=False)}"

"""Cutting a file into slices of bytes, and reading the records that begin in one.

A record belongs to the slice in which its first byte stands. All work is on bytes, and a slice is joined
before anything is decoded, so neither a record nor a character is ever split. Offsets are those of Teraslice:
a slice but the first begins one delimiter early, so that it sees whether a record begins at its very start.
"""

import os
from collections.abc import Iterator

from tsd.errors import OperationError

_FIRST_MARGIN_B = 16_384
_LARGEST_MARGIN_B = 4_194_304


def cut(total_b: int, size_b: int, delimiter_b: int) -> Iterator[tuple[int, int]]:
    """Cut a file into slices.

    Args:
        total_b: Length of the file.
        size_b: Wanted length of a slice; a slice is always longer than a delimiter.
        delimiter_b: Length of the delimiter between records.

    Yields:
        (offset, length) of each slice in order; none for an empty file.
    """
    size_b = max(size_b, delimiter_b + 1)  # so that only the first slice has offset 0
    if total_b <= size_b:
        if total_b:
            yield 0, total_b
        return
    yield 0, size_b
    start = size_b
    while start < total_b:
        yield start - delimiter_b, min(size_b, total_b - start) + delimiter_b
        start += size_b


def read_slice(fd: int, offset: int, length: int, total: int, delimiter: bytes) -> bytes:
    """Read the records that begin in a slice.

    Args:
        fd: The open file.
        offset: First byte of the slice.
        length: Bytes in the slice.
        total: Length of the file when it was cut; what was appended later is not read.
        delimiter: What ends a record; it must not overlap itself.

    Returns:
        Whole records with delimiters between them, and maybe one at the end.

    Raises:
        OperationError: The file has become shorter.
    """
    data = read_exactly(fd, offset, length)
    start = 0
    if offset > 0:
        found = data.find(delimiter)
        if found < 0:
            return b""  # the middle of a long record
        start = found + len(delimiter)
    end = offset + length
    if end >= total or data.endswith(delimiter):
        return data[start:]
    overlap = len(delimiter) - 1  # a delimiter may begin within the slice
    tail = data[max(start, length - overlap) :]
    return data[start:] + _rest_of_record(fd, tail, end, total, delimiter)


def _rest_of_record(fd: int, tail: bytes, end: int, total: int, delimiter: bytes) -> bytes:
    """What follows the slice up to the end of the first delimiter, read in margins that grow."""
    overlap = len(delimiter) - 1
    rest = bytearray(tail)
    before = len(tail)
    searched = 0
    margin_b = _FIRST_MARGIN_B
    while end < total:
        margin = read_exactly(fd, end, min(margin_b, total - end))
        rest += margin
        end += len(margin)
        found = rest.find(delimiter, searched)
        if found >= 0:
            return bytes(rest[before : found + len(delimiter)])
        searched = max(len(rest) - overlap, 0)
        margin_b = min(margin_b * 2, _LARGEST_MARGIN_B)
    return bytes(rest[before:])


def read_exactly(fd: int, offset: int, length: int) -> bytes:
    """Read so many bytes.

    Raises:
        OperationError: The file ends before.
    """
    data = os.pread(fd, length, offset)
    if len(data) == length:
        return data
    parts = [data]
    while data and (missing := length - sum(map(len, parts))):
        data = os.pread(fd, missing, offset + length - missing)
        parts.append(data)
    whole = b"".join(parts)
    if len(whole) < length:
        raise OperationError(f"the file has become shorter: it ends at byte {offset + len(whole)}")
    return whole


def without_last_delimiter(data: bytes, delimiter: bytes) -> bytes:
    """The data without the delimiter that ends its last record."""
    return data.removesuffix(delimiter)

"""Cutting a file into slices of bytes, and reading the records that begin in one.

A record belongs to the slice in which its first byte stands. All work is on bytes, and a slice is joined
before anything is decoded, so neither a record nor a character is ever split. Offsets are those of Teraslice:
a slice but the first begins one delimiter early, so that it sees whether a record begins at its very start.
"""

from collections.abc import Iterable, Iterator

from tsd.operations.standard.storage import StoredFile

_FIRST_MARGIN_B = 16_384
_LARGEST_MARGIN_B = 4_194_304


def overlaps_itself(delimiter: bytes) -> bool:
    """Whether a delimiter may begin within another one; then only a whole file tells where one stands."""
    return any(delimiter.startswith(delimiter[i:]) for i in range(1, len(delimiter)))


def cut(total_b: int, size_b: int, delimiter_b: int, start_b: int = 0) -> Iterator[tuple[int, int]]:
    """Cut a file into slices.

    Args:
        total_b: Length of the file.
        size_b: Wanted length of a slice; a slice is always longer than a delimiter.
        delimiter_b: Length of the delimiter between records.
        start_b: Go on here: the end (offset and length) of another slice, whatever its size was.

    Yields:
        (offset, length) of each slice in order; none for an empty file.
    """
    size_b = max(size_b, delimiter_b + 1)  # so that only the first slice has offset 0
    start = start_b
    if start == 0 and total_b:
        start = min(size_b, total_b)
        yield 0, start
    while start < total_b:
        yield start - delimiter_b, min(size_b, total_b - start) + delimiter_b
        start += size_b


def read_slice(file: StoredFile, offset: int, length: int, total: int, delimiter: bytes) -> bytes:
    """Read the records that begin in a slice; see `read_records`, which tells also where the first begins."""
    return read_records(file, offset, length, total, delimiter)[1]


def read_records(
    file: StoredFile, offset: int, length: int, total: int, delimiter: bytes
) -> tuple[int, bytes]:
    """Read the records that begin in a slice.

    Args:
        file: The open file.
        offset: First byte of the slice.
        length: Bytes in the slice.
        total: Length of the file when it was cut; what was appended later is not read.
        delimiter: What ends a record; it must not overlap itself.

    Returns:
        The offset of the first, and whole records with delimiters between them, and maybe one at the end.

    Raises:
        OperationError: The file has become shorter.
    """
    data = file.read_at(offset, length)
    start = 0
    if offset > 0:
        found = data.find(delimiter)
        if found < 0:
            return offset, b""  # the middle of a long record
        start = found + len(delimiter)
    end = offset + length
    if end >= total or data.endswith(delimiter):
        return offset + start, data[start:]
    overlap = len(delimiter) - 1  # a delimiter may begin within the slice
    tail = data[max(start, length - overlap) :]
    return offset + start, data[start:] + _rest_of_record(file, tail, end, total, delimiter)


def _rest_of_record(file: StoredFile, tail: bytes, end: int, total: int, delimiter: bytes) -> bytes:
    """What follows the slice up to the end of the first delimiter, read in margins that grow."""
    overlap = len(delimiter) - 1
    rest = bytearray(tail)
    before = len(tail)
    searched = 0
    margin_b = _FIRST_MARGIN_B
    while end < total:
        margin = file.read_at(end, min(margin_b, total - end))
        rest += margin
        end += len(margin)
        found = rest.find(delimiter, searched)
        if found >= 0:
            return bytes(rest[before : found + len(delimiter)])
        searched = max(len(rest) - overlap, 0)
        margin_b = min(margin_b * 2, _LARGEST_MARGIN_B)
    return bytes(rest[before:])


def whole_records(pieces: Iterable[bytes], delimiter: bytes) -> Iterator[bytes]:
    """Bytes of a file in pieces of any length, as blocks of whole records.

    Needs the memory of a piece, or of the longest record if that is longer. With a delimiter that overlaps
    itself there is one block, as only its first byte tells where one begins.

    Yields:
        Blocks that are not empty; each but the last ends with a delimiter.
    """
    is_one_block = overlaps_itself(delimiter)
    overlap = len(delimiter) - 1
    held = bytearray()
    for piece in pieces:
        searched = max(len(held) - overlap, 0)
        held += piece
        found = -1 if is_one_block else held.rfind(delimiter, searched)
        if found >= 0:
            end = found + len(delimiter)
            yield bytes(memoryview(held)[:end])
            del held[:end]
    if held:
        yield bytes(held)

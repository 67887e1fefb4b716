"""Cutting tables into slices that begin and end with whole rows, also where cells go over several lines.

The slicer reads the file once for it, which costs little beside what workers do with it: about 1 GB/s
where there are no quotes, 100 MB/s where every cell has them. Without quotes and escapes `byte_slices.cut`
needs no look at it.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from tsd.operations.standard.byte_slices import whole_records
from tsd.operations.standard.csv_rows import Grammar, RowMarker
from tsd.operations.standard.storage import StoredFile

BOM: Final = b"\xef\xbb\xbf"
LONGEST_CELL_B: Final = 64 * 1024**2
"""A quote that is not closed within so many bytes behind the wanted end of a slice is none."""
_PIECE_B: Final = 1_048_576


@attrs.frozen
class Cut:
    """One slice.

    Attributes:
        offset: Its first byte, one delimiter early unless it is the first, as those of `byte_slices`.
        length: Its bytes.
        open_row: Where the row begins whose quote is not closed within `LONGEST_CELL_B`; the slice is all
            that is left of the file and can not be read.
    """

    offset: int
    length: int
    open_row: int | None = None


def cut_rows(
    file: StoredFile, total_b: int, size_b: int, grammar: Grammar, start_b: int = 0
) -> Iterator[Cut]:
    """Cut a table.

    Args:
        file: The open file.
        total_b: Its length.
        size_b: Wanted length of a slice; each ends with the first row that makes it as long.
        grammar: How rows end.
        start_b: Go on here: the end of another slice.

    Raises:
        OperationError: The file ends before, or can not be read.
    """
    marker = RowMarker(grammar.of_bytes())
    line = marker.grammar.line
    width = len(line)
    size_b = max(size_b, width + 1)  # so that only the first slice has offset 0
    begin = at = row = start_b
    if total_b - start_b <= size_b:  # as most files are: there is nothing to look for
        if total_b > start_b:
            yield _cut(start_b, total_b, width)
        return
    for block in whole_records(_pieces(file, start_b, total_b), line.encode("latin-1")):
        skipped = len(BOM) if at == 0 and block.startswith(BOM) else 0
        marked = marker.mark(block[skipped:].decode("latin-1"))
        first = at + skipped  # what the first letter of `marked` is in the file
        at += len(block)
        while (found := marked.find(line, max(begin + size_b - width - first, 0))) >= 0:
            end = first + found + width
            if end >= total_b:
                break
            yield _cut(begin, end, width)
            begin = end
        last = marked.rfind(line)
        row = first + last + width if last >= 0 else row
        if marker.is_open and at - begin > size_b + LONGEST_CELL_B:
            yield attrs.evolve(_cut(begin, total_b, width), open_row=row)
            return
    if begin < total_b:
        yield _cut(begin, total_b, width)


def _cut(begin: int, end: int, width: int) -> Cut:
    offset = begin - width if begin else 0
    return Cut(offset, end - offset)


def _pieces(file: StoredFile, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, _PIECE_B):
        yield file.read_at(at, min(_PIECE_B, end - at))

"""Rows of csv and tsv to records.

`csv_rows` says where rows begin and end; the csv module then reads each alone, so that what it refuses is
that row and no other. Cells are trimmed by one rule, `BLANKS`; whether some cell of a block needs it is
asked of the whole block, and a wrong yes costs time only.
"""

import csv
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from tsd.operations.faults import utf8_reason
from tsd.operations.record import Record
from tsd.operations.standard.csv_rows import Grammar, RowSplitter
from tsd.operations.standard.file_options import ReaderOptions
from tsd.operations.standard.fragment_places import Refuse
from tsd.operations.standard.storage import DamagedError

BLANKS: Final = " \t\n\r\x0b\x0c"
"""Trimmed from values and names of columns: white space of ASCII. A no-break space and others are data."""
_MOST_CSV_FIELD_CHARS: Final = min(sys.maxsize, 2**31 - 1)  # its default is 131,072
_ROWS: Final = 1024
_SHOWN_NAMES: Final = 5
_TORN: Final = (
    "a quoted cell goes on behind the end of the slice: the file has changed, or was cut by an older "
    "version: set file_per_slice, so that the file is read as a whole"
)
_NO_END: Final = (
    "a quote opens a cell here and is never closed: close it, double it if it is a letter, or set"
    ' extra_args.quote to "off" if quotes are letters'
)
_LOOSE_BREAK: Final = (
    "a carriage return or line feed stands in a cell without quotes: if lines end with a carriage return "
    'alone, set line_delimiter to "\\r", else quote the cell'
)
Rows = list[list[str]]


def grammar_of(options: ReaderOptions) -> Grammar:
    """How rows end."""
    dialect = options.dialect
    return Grammar(
        line=options.delimiter.decode(),
        field=dialect["delimiter"],
        quote=dialect["quotechar"],
        escape=dialect["escapechar"],
    )


class TableDecoder:
    """Makes records of the rows of one slice."""

    def __init__(self, options: ReaderOptions, refuse: Refuse) -> None:
        """Nothing is read yet; each slice needs another one."""
        self._options = options
        self._refuse = refuse
        self._dialect = options.dialect
        self._splitter = RowSplitter(grammar_of(options))
        self._line_b = len(options.delimiter)
        self._is_break = not options.delimiter.strip(b"\r\n")
        self._needs_trimming = False
        self._is_dirty = False
        self._surplus: list[str] = []
        csv.field_size_limit(_MOST_CSV_FIELD_CHARS)

    def decode(
        self, blocks: Iterable[bytes], columns: Sequence[str], *, at: int, has_header: bool, is_end: bool
    ) -> list[Record]:
        """Make records.

        Args:
            blocks: Whole lines, without a byte order mark.
            columns: Names of the columns, when the first row of the file is not among these.
            at: Offset of the first byte.
            has_header: The first row of the file is among these, and may name the columns.
            is_end: These go to the end of the file.

        Raises:
            DamagedError: The header can not be read, or is another one than `fields`, or a row goes on behind
                the end of the slice.
        """
        names = list(columns or self._options.fields)
        self._refuse.columns = names
        records: list[Record] = []
        for items, begin in self._items(blocks, at, is_end=is_end):
            for start in range(0, len(items), _ROWS):
                place = _Place(self, items[start : start + _ROWS], begin)
                rows = self._rows(place, is_header=has_header)
                begin = place.of(len(place.items)) if start + _ROWS < len(items) else begin  # noqa: PLW2901
                if has_header and any(rows):
                    has_header = False
                    first = next(i for i, row in enumerate(rows) if row)
                    names, is_data = self.header_of(rows[first])
                    self._refuse.columns = names
                    if not is_data:
                        rows[first] = []
                records += self._records(rows, names, place)
        return records

    def header(self, blocks: Iterable[bytes]) -> list[str] | None:
        """Names of the columns from the first row that is not blank; None when there is no whole one.

        Raises:
            DamagedError: It can not be read, or is another one than `fields`.
        """
        for items, begin in self._items(blocks, 0, is_end=False, may_be_open=True):
            for item in items:
                (row,) = self._rows(_Place(self, [item], begin), is_header=True) or ([],)
                if row:
                    return self.header_of(row)[0]
        return None

    def rest_as_header(self) -> list[str]:
        """As `header`, of what stands behind the last row that ends: the file ends there."""
        item = self._splitter.rest()
        if self._splitter.is_open:
            raise DamagedError(f"its header can not be read: {_NO_END}")
        (row,) = self._rows(_Place(self, [item], 0), is_header=True)
        return self.header_of(row)[0] if row else []

    def header_of(self, row: list[str]) -> tuple[list[str], bool]:
        """Names of the columns, and whether the first row is a record; see `match_header`."""
        cells = [cell.strip(BLANKS) for cell in row] if self._options.trims else row
        _check_names(cells)
        if not self._options.fields:
            return column_names(cells), False
        if match_header(cells, self._options.fields):
            return cells, False
        return list(self._options.fields), True

    def _items(
        self, blocks: Iterable[bytes], at: int, *, is_end: bool, may_be_open: bool = False
    ) -> Iterator[tuple[list[str], int]]:
        """The texts of rows, marked as `csv_rows` does, and the offset of the first of them."""
        splitter = self._splitter
        begin = end = at
        for block in blocks:
            end += len(block)
            text = self._text(block)
            self._look_for_blanks(block, text)
            items = splitter.split(text)
            if items:
                yield items, begin
                begin = end - splitter.rest_b
        if may_be_open:
            return
        if splitter.is_open:
            if not is_end:
                raise DamagedError(_TORN)
            self._refuse(self.original(splitter.rest()), begin, _NO_END)
        elif splitter.rest_b:
            item = splitter.rest()
            escape = self._dialect["escapechar"]
            if escape is not None and item.endswith(
                escape
            ):  # one that escapes nothing: others have marks behind
                self._refuse(self.original(item), begin, "it ends with an escape that nothing follows")
            else:
                yield [item], begin

    def _text(self, block: bytes) -> str:
        try:
            return block.decode()
        except UnicodeDecodeError:
            self._is_dirty = True  # rows are looked at one by one later, when it is known where they end
            return block.decode(errors="surrogateescape")

    def _look_for_blanks(self, block: bytes, text: str) -> None:
        """See whether cells may need trimming; once they do, all that follow are taken to."""
        if not self._options.trims or self._needs_trimming:
            return
        quote, escape = self._dialect["quotechar"], self._dialect["escapechar"]
        self._needs_trimming = (
            (quote is not None and quote in text)
            or (escape is not None and escape in text)
            or (not self._is_break and ("\n" in text or "\r" in text))
            or _may_need_trimming(block, self._dialect["delimiter"].encode(), self._options.delimiter)
        )

    def _rows(self, place: "_Place", *, is_header: bool) -> Rows:
        """The cells of rows; an empty list for each that is blank, or at fault."""
        try:
            rows = list(csv.reader(place.items, **self._dialect))
        except csv.Error:
            rows = [self._row(place, i, is_header=is_header) for i in range(len(place.items))]
        if len(rows) != len(place.items):
            raise DamagedError(_TORN)  # the csv module sees rows as `csv_rows` does, or nothing is read
        if self._splitter.marker.has_marks:
            unmarked = self._splitter.marker.unmarked
            rows = [[unmarked(cell) for cell in row] for row in rows]
        if self._needs_trimming:
            rows = [[cell.strip(BLANKS) for cell in row] for row in rows]
        return rows

    def _row(self, place: "_Place", index: int, *, is_header: bool) -> list[str]:
        item = place.items[index]
        try:
            return next(csv.reader([item], **self._dialect))
        except csv.Error as error:
            reason = _LOOSE_BREAK if "new-line" in str(error) else f"it is no row: {error}"
            if is_header and not any(text.strip("\r") for text in place.items[:index]):
                raise DamagedError(
                    f"its header can not be read: {reason}"
                ) from None  # it has all of its words
            place.faults[index] = reason
            return []

    def original(self, item: str) -> bytes:
        """The bytes that a row was, without the end of its line."""
        text = self._splitter.marker.unmarked(item)
        if self._options.delimiter == b"\n":
            text = text.removesuffix("\r")
        return text.encode(errors="surrogateescape")

    def length_of(self, item: str) -> int:
        """How many bytes a row has in the file, with its delimiter."""
        return self._splitter.length_of(item) + self._line_b

    def _records(self, rows: Rows, columns: list[str], place: "_Place") -> list[Record]:
        count = len(columns)
        if self._is_dirty or self._options.checks_columns or place.faults:
            for i, row in enumerate(rows):
                if reason := self._fault(row, count, place, i):
                    self._refuse(self.original(place.items[i]), place.of(i), reason)
                    rows[i] = []
        if not self._options.leaves_empty_out:
            return [
                Record(zip(columns, row, strict=False)) if len(row) <= count else self._long(columns, row)
                for row in rows
                if row
            ]
        return [
            Record(zip(columns, row, strict=False))
            if len(row) <= count and "" not in row
            else Record((name, value) for name, value in self._long(columns, row).items() if value)
            for row in rows
            if row
        ]

    def _fault(self, row: list[str], count: int, place: "_Place", index: int) -> str | None:
        """Why a row is no record."""
        fault = place.faults.get(index)
        if fault is None and row and self._is_dirty:
            fault = utf8_reason(self.original(place.items[index]))
        if not fault and row and self._options.checks_columns and len(row) != count:
            fault = f"the row has {len(row)} columns instead of {count}"
        return fault

    def _long(self, columns: list[str], row: list[str]) -> Record:
        """A record of a row that may have more columns than there are names."""
        if len(row) <= len(columns):
            return Record(zip(columns, row, strict=False))
        missing = len(row) - len(columns)
        if missing > len(self._surplus):
            taken = set(columns)
            first = len(columns) + 1
            self._surplus = [_numbered(i, taken) for i in range(first, first + missing)]
        return Record(zip([*columns, *self._surplus], row, strict=False))


class _Place:
    """Where rows stand in the file; asked only for those that are refused, from the first to the last.

    Attributes:
        items: The texts of rows, with marks.
        faults: What the csv module has against some of them, by their number.
    """

    def __init__(self, decoder: TableDecoder, items: list[str], begin: int) -> None:
        self.items = items
        self.faults: dict[int, str] = {}
        self._length_of = decoder.length_of
        self._at = (0, begin)

    def of(self, index: int) -> int:
        """Offset of the first byte of a row."""
        known, offset = self._at
        if index < known:
            known, offset = 0, offset - sum(map(self._length_of, self.items[:known]))
        offset += sum(map(self._length_of, self.items[known:index]))
        self._at = (index, offset)
        return offset


def _check_names(cells: Sequence[str]) -> None:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError as error:
        raise DamagedError("the names of its columns are no UTF-8") from error


def column_names(cells: Sequence[str]) -> list[str]:
    """Names of columns from a header; empty and repeated ones get their number instead."""
    taken, used = set(cells), set[str]()
    names: list[str] = []
    for i, cell in enumerate(cells, start=1):
        name = cell if cell and cell not in used else _numbered(i, taken)
        used.add(name)
        taken.add(name)
        names.append(name)
    return names


def match_header(cells: Sequence[str], fields: Sequence[str]) -> bool:
    """Whether the first row of a file is a header, by the names that `fields` has.

    It is when it has the same names, in whatever order. It is a record when it has none of them, in whatever
    case. Anything else is a fault: columns would get wrong names, or a header would become a record.

    Raises:
        DamagedError: Some names are there, or differ in case; it says which.
    """
    if len(cells) == len(fields) and set(cells) == set(fields):
        return True
    wanted = {name.strip().casefold() for name in fields}
    if not any(cell and cell.casefold() in wanted for cell in map(str.strip, cells)):
        return False
    told = [
        ("lacks", [name for name in fields if name not in set(cells)]),
        ("has besides", [cell for cell in cells if cell not in set(fields)]),
        ("repeats", [name for name in dict.fromkeys(cells) if name in set(fields) and cells.count(name) > 1]),
    ]
    differences = "; ".join(f"it {verb} {_some(names)}" for verb, names in told if names)
    raise DamagedError(
        f"its first row is neither a header with the names of fields nor a record: {differences}. Let fields "
        "have the names of the header, or leave fields out to take them from it; if the row is a record, set "
        "remove_header to false"
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(json.dumps(name[:60], ensure_ascii=False) for name in names[:_SHOWN_NAMES])
    left = len(names) - _SHOWN_NAMES
    return f"{shown} and {left:,} more" if left > 0 else shown


def _numbered(number: int, taken: Collection[str]) -> str:
    """A name for a column without one."""
    name = f"field{number}"
    while name in taken:
        name += "_"
    return name


def _may_need_trimming(data: bytes, field: bytes, line: bytes) -> bool:
    """Whether blanks stand at the edge of some cell of rows without quotes; a wrong yes does no harm.

    Each pattern begins with the blank, which is rare, not with the delimiter, which is not.
    """
    blanks = [blank for blank in (b" ", b"\t", b"\x0b", b"\x0c") if blank in data and blank != field]
    if not blanks:
        return False
    edge = re.escape(field + line + b"\n\r")
    blank = b"".join(blanks)
    return any(
        re.search(pattern, data)
        for pattern in (
            b"[%b](?=[%b]|\\Z)" % (blank, edge),
            b"(?<=[%b])[%b]" % (edge, blank),
            b"\\A[%b]" % blank,
        )
    )

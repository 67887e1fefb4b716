"""Rows of csv and tsv to records."""

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from tsd.operations.record import Record
from tsd.operations.standard.file_options import ReaderOptions, Reject
from tsd.operations.standard.storage import DamagedError

_MOST_CSV_FIELD_CHARS = min(sys.maxsize, 2**31 - 1)  # the csv module refuses more than 131,072 by default
_ROWS = 1024
_TORN = (
    "a quoted field goes over several lines, or a quote stands alone: "
    "set file_per_slice, so that the file is read as a whole"
)
Rows = list[list[str]]


class TableDecoder:
    """Makes records of the rows of one slice."""

    def __init__(self, options: ReaderOptions, reject: Reject) -> None:
        """Nothing is read yet; each slice needs another one."""
        self._options = options
        self._reject = reject
        self._delimiter = options.delimiter.decode()
        self._dialect = options.dialect
        self._rows: Rows = []
        self._rows_at_end: int | None = None
        self._lines: list[str] = []
        self._lines_before = 0
        self._wants_header = False
        self._has_quotes = False
        self._needs_trimming = False
        self._is_dirty = False
        csv.field_size_limit(_MOST_CSV_FIELD_CHARS)

    def decode(self, blocks: Iterable[bytes], columns: Sequence[str], *, is_start: bool) -> list[Record]:
        """Make records; the arguments are those of `Decoder.decode`, blocks without a byte order mark.

        Raises:
            DamagedError: A quoted field goes over several lines, which byte slices can not tell, or the
                header can not be read.
        """
        options = self._options
        names = list(options.fields or columns)
        self._wants_header = is_start and options.remove_header
        records: list[Record] = []
        for rows in self._read(blocks):
            if rows and self._wants_header:
                self._wants_header = False
                names = names or column_names(rows[0])
                if not options.fields or sorted(rows[0]) == sorted(options.fields):
                    del rows[0]
            records += self._records(rows, names)
        return records

    def header(self, blocks: Iterable[bytes]) -> list[str]:
        """Names of the columns from the first row that is not blank; none when there is no such row.

        Raises:
            DamagedError: It can not be read.
        """
        self._wants_header = True
        rows = next(filter(None, self._read(blocks)), None)
        return column_names(rows[0]) if rows else []

    def _read(self, blocks: Iterable[bytes]) -> Iterator[Rows]:
        """The rows that are not blank, some thousands at a time."""
        reader = csv.reader(chain.from_iterable(self._lines_of(blocks)), **self._dialect)
        is_more = True
        read = 0
        while is_more:
            rows = self._rows = []
            try:
                for row in islice(reader, _ROWS):
                    rows.append(row)  # noqa: PERF402 - those before an error are kept
                is_more = len(rows) == _ROWS
            except csv.Error as error:
                line = self._lines[reader.line_num - self._lines_before - 1]
                self._bad_row(line.encode(errors="surrogateescape"), error)
                read += 1
            read += len(rows)
            if self._has_quotes:
                self._check_quotes(rows, is_torn=reader.line_num > read)
            rows = list(filter(None, rows))
            if self._needs_trimming:
                rows = [[value.strip() for value in row] for row in rows]
            yield rows

    def _check_quotes(self, rows: Rows, *, is_torn: bool) -> None:
        """See that no row goes on where it can not, or goes on to the end of the file."""
        if is_torn and not self._options.reads_whole_files:
            raise DamagedError(_TORN)
        if self._rows_at_end is not None and len(rows) > self._rows_at_end:
            self._bad_row(self._as_line(rows.pop()), ValueError("a quote is not closed"))

    def _bad_row(self, line: bytes, error: Exception) -> None:
        if self._wants_header and not any(self._rows):
            raise DamagedError(f"its header can not be read: {error}") from error
        self._reject(line, error)

    def _lines_of(self, blocks: Iterable[bytes]) -> Iterator[list[str]]:
        """The lines of each block, as the csv module wants them."""
        is_whole = self._options.reads_whole_files
        quote = self._dialect["quotechar"]
        for block in blocks:
            text = self._text(block)
            lines = text.split(self._delimiter)
            if not lines[-1]:
                del lines[-1]
            if quote and quote in text:
                self._has_quotes = True
                if not is_whole and any(map(self._is_torn, lines)):
                    raise DamagedError(_TORN)
            if is_whole and self._has_quotes:
                lines = [line + "\n" for line in lines]
            if self._options.trims and not self._needs_trimming:
                self._needs_trimming = self._has_quotes or _may_need_trimming(
                    block, self._dialect["delimiter"].encode()
                )
            self._lines_before += len(self._lines)
            self._lines = lines
            yield lines
        self._rows_at_end = len(self._rows)

    def _text(self, block: bytes) -> str:
        try:
            return block.decode()
        except UnicodeDecodeError:
            self._is_dirty = True  # rows are looked at one by one later, when it is known where they end
            return block.decode(errors="surrogateescape")

    def _is_torn(self, line: str) -> bool:
        """Whether a row seems to begin or end within quotes in this line."""
        quote, escape = self._dialect["quotechar"], self._dialect["escapechar"]
        if escape is not None:
            line = line.replace(escape * 2, "").replace(escape + quote, "")
        return line.count(quote) % 2 == 1

    def _records(self, rows: Rows, columns: list[str]) -> list[Record]:
        if self._is_dirty:
            rows = [row for row in rows if self._is_readable(row)]
        count = len(columns)
        if self._options.checks_columns:
            rows = [row for row in rows if self._has_all(row, count)]
        if not self._options.leaves_empty_out:
            return [
                Record(zip(columns, row, strict=False)) if len(row) <= count else _long(columns, row)
                for row in rows
            ]
        return [
            Record(zip(columns, row, strict=False))
            if len(row) <= count and "" not in row
            else Record((name, value) for name, value in _long(columns, row).items() if value)
            for row in rows
        ]

    def _is_readable(self, row: list[str]) -> bool:
        line = self._as_line(row)
        try:
            line.decode()
        except UnicodeDecodeError as error:
            self._reject(line, error)
            return False
        return True

    def _has_all(self, row: list[str], count: int) -> bool:
        if len(row) == count:
            return True
        error = ValueError(f"the row has {len(row)} columns instead of {count}")
        self._reject(self._as_line(row), error)
        return False

    def _as_line(self, row: list[str]) -> bytes:
        """Roughly the line that a row was."""
        return str(self._dialect["delimiter"]).join(row).encode(errors="surrogateescape")


def column_names(row: Iterable[str]) -> list[str]:
    """Names of columns from a header; empty and repeated ones get their number instead.

    Raises:
        DamagedError: They are no UTF-8.
    """
    cells = [cell.strip() for cell in row]
    try:
        "".join(cells).encode()
    except UnicodeEncodeError as error:
        raise DamagedError("the names of its columns are no UTF-8") from error
    names: list[str] = []
    for i, cell in enumerate(cells, start=1):
        names.append(cell if cell and cell not in names else _numbered(i, {*cells, *names}))
    return names


def _numbered(number: int, taken: Iterable[str]) -> str:
    """A name for a column without one."""
    name = f"field{number}"
    while name in taken:
        name += "_"
    return name


def _long(columns: list[str], row: list[str]) -> Record:
    """A record of a row that may have more columns than there are names."""
    names = [*columns, *(_numbered(i, columns) for i in range(len(columns) + 1, len(row) + 1))]
    return Record(zip(names, row, strict=False))


def _may_need_trimming(data: bytes, delimiter: bytes) -> bool:
    """Whether blanks stand at the edge of some field; asked of all rows at once, as it is rarely so.

    Each pattern begins with the blank, which is rare, not with the delimiter, which is not.
    """
    blanks = [blank for blank in (b" ", b"\t") if blank in data and blank != delimiter]
    if not blanks:
        return False
    edge = re.escape(delimiter + b"\n\r")
    blank = b"".join(blanks)
    return any(
        re.search(pattern, data)
        for pattern in (
            b"[%b](?=[%b]|\\Z)" % (blank, edge),
            b"(?<=[%b])[%b]" % (edge, blank),
            b"\\A[%b]" % blank,
        )
    )

"""Bytes of a file to records."""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from tsd.errors import NonRetryable
from tsd.operations.record import Record
from tsd.operations.standard.byte_slices import without_last_delimiter
from tsd.operations.standard.file_options import ReaderOptions

_BOM = b"\xef\xbb\xbf"
_objects = msgspec.json.Decoder(dict[str, Any])
_any = msgspec.json.Decoder()
_MOST_CSV_FIELD_CHARS = min(sys.maxsize, 2**31 - 1)  # the csv module refuses more than 131,072 by default

Reject = Callable[[Any, BaseException], Any]
"""Takes what is no record, and why; raises or returns."""


class Decoder:
    """Makes records of bytes as the options say."""

    def __init__(self, options: ReaderOptions, reject: Reject) -> None:
        self._options = options
        self._reject = reject
        self._delimiter = options.delimiter
        self._is_line = options.line_delimiter in (None, "\n", "\r\n")
        csv.field_size_limit(_MOST_CSV_FIELD_CHARS)

    def decode(self, data: bytes, *, is_start: bool, columns: Sequence[str] = ()) -> list[Record]:
        """Make records.

        Args:
            data: Whole records with delimiters between them.
            is_start: They stand at the start of the file.
            columns: Names of the columns when the file's first row has them.

        Raises:
            NonRetryable: A csv field goes over several lines, which byte slices can not tell.
        """
        if is_start:
            data = data.removeprefix(_BOM)
        if not data:
            return []
        match self._options.format:
            case "ldjson":
                return self._ldjson(data)
            case "json":
                return self._json(data)
            case "raw":
                return [Record(data=text) for text in self._texts(data)]
            case _:
                return self._table(data, columns, is_start=is_start)

    def _ldjson(self, data: bytes) -> list[Record]:
        if self._is_line:
            try:
                return [Record(value) for value in _objects.decode_lines(data)]
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass  # find out which ones, and keep the others
        records = []
        for line in data.split(self._delimiter):
            if not line.strip():
                continue
            try:
                records.append(Record(_objects.decode(line)))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._reject(line, error)
        return records

    def _json(self, data: bytes) -> list[Record]:
        if not data.strip():
            return []
        value = _any.decode(data)
        records = []
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                records.append(Record(item))
            else:
                self._reject(item, TypeError(f"a record is a JSON object, not {type(item).__name__}"))
        return records

    def _texts(self, data: bytes) -> list[str]:
        """The records as text; with the default delimiter a carriage return before it belongs to it."""
        data = without_last_delimiter(data, self._delimiter)
        try:
            texts = data.decode().split(self._delimiter.decode())
        except UnicodeDecodeError:
            texts = self._readable_texts(data)
        if self._options.line_delimiter is None and b"\r" in data:
            texts = [text.removesuffix("\r") for text in texts]
        return texts

    def _readable_texts(self, data: bytes) -> list[str]:
        texts = []
        for line in data.split(self._delimiter):
            try:
                texts.append(line.decode())
            except UnicodeDecodeError as error:
                self._reject(line, error)
        return texts

    def _table(self, data: bytes, columns: Sequence[str], *, is_start: bool) -> list[Record]:
        options = self._options
        lines = self._texts(data)
        has_quotes = b'"' in data
        if has_quotes:
            lines = self._with_line_breaks(lines)
        rows = self._rows(lines)
        if has_quotes or _may_need_trimming(data, options.columns_delimiter.encode()):
            rows = [[value.strip() for value in row] for row in rows]
        if is_start and rows and options.remove_header and _is_header(rows[0], options.fields):
            del rows[0]
        return self._records(rows, list(options.fields or columns))

    def _with_line_breaks(self, lines: list[str]) -> list[str]:
        """Lines as the csv module wants them where a quoted field may go on in the next one."""
        if self._options.reads_whole_files:
            return [line + "\n" for line in lines]
        if any(line.count('"') % 2 for line in lines):
            raise NonRetryable(
                "a quoted field goes over several lines, or a quote stands alone: "
                "set file_per_slice, so that the file is read as a whole"
            )
        return lines

    def _rows(self, lines: list[str]) -> list[list[str]]:
        delimiter = self._options.columns_delimiter
        try:
            return list(filter(None, csv.reader(lines, delimiter=delimiter)))
        except csv.Error:
            pass  # find out which ones, and keep the others
        rows: list[list[str]] = []
        for line in lines:
            try:
                rows += filter(None, csv.reader([line], delimiter=delimiter))
            except csv.Error as error:
                self._reject(line, error)
        return rows

    def _records(self, rows: list[list[str]], columns: list[str]) -> list[Record]:
        count = len(columns)
        if not self._options.ignore_empty:
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


def column_names(row: Iterable[str]) -> list[str]:
    """Names of columns from a header; empty and repeated ones get their number instead."""
    names: list[str] = []
    for i, cell in enumerate(row, start=1):
        name = cell.strip()
        names.append(name if name and name not in names else f"field{i}")
    return names


def read_header(line: bytes, options: ReaderOptions) -> list[str]:
    """Names of columns from the first line of a file."""
    text = without_last_delimiter(line.removeprefix(_BOM), options.delimiter).decode()
    rows = list(csv.reader([text.removesuffix("\r")], delimiter=options.columns_delimiter))
    return column_names(rows[0]) if rows else []


def _is_header(row: list[str], fields: list[str]) -> bool:
    """Without `fields` the first row always is one; else it is when it repeats them."""
    return not fields or sorted(row) == sorted(fields)


def _long(columns: list[str], row: list[str]) -> Record:
    """A record of a row that may have more columns than there are names."""
    names = [*columns, *(f"field{i}" for i in range(len(columns) + 1, len(row) + 1))]
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

"""Records to bytes of files, and to the folders of partitions.

A file that is read again by its own options has the records that were written, and each of them as it was.
What a format can not hold like that rejects its record alone: a value that is no JSON, a text with the
delimiter of `raw`.
"""

import csv
import hashlib
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

import msgspec

from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.json_values import holds_json, json_fault
from tsd.operations.record import Record
from tsd.operations.standard.byte_slices import overlaps_itself
from tsd.operations.standard.compression import compress
from tsd.operations.standard.file_options import Reject, WriterOptions
from tsd.operations.standard.output_fields import Chosen, none_of
from tsd.operations.standard.paths import has_path, path_reader

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Stands for a missing value in the name of a partition's folder, as other tools expect."""
_LONGEST_NAME = 200
_BOM: Final = b"\xef\xbb\xbf"
_QUOTED_BREAKS: Final = "\r\n"
"""Pythons of any age quote cells with them when they stand in the line terminator of the csv module."""
_encoder = msgspec.json.Encoder()
_JSON_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class FileEncoder:
    """Makes bytes of records as the options say."""

    def __init__(self, options: WriterOptions, reject: Reject, *, may_hold_anything: bool = True) -> None:
        """Nothing is encoded yet.

        Args:
            options: The format.
            reject: Takes records that can not be written.
            may_hold_anything: Records may hold what JSON can not; else nobody looks.
        """
        self._options = options
        self._reject = reject
        self._is_checked = may_hold_anything
        self._chosen_of = Chosen(options.fields) if options.fields else None
        self._delimiter = options.delimiter
        # JSON has no line breaks but those that are escapes
        self._is_break = not options.delimiter.strip(b"\r\n")
        self.is_appendable = options.format in {"ldjson", "raw"} and options.compression == "none"
        """Whether the content of a file is that of its parts, one after another."""
        self.columns: dict[str, None] = {}
        """Columns of a table that all files of the output share; a record with other fields is rejected."""

    def encode(self, records: Sequence[Record]) -> bytes:
        """The content of a file; empty when nothing is left after rejects."""
        match self._options.format:
            case "ldjson":
                data = self._ldjson(records)
            case "json":
                data = self._json(records)
            case "raw":
                data = self._raw(records)
            case _:
                data = self._table(records)
        if not self.is_appendable:
            data = self._marked(data)
        return compress(data, self._options.compression) if data else data

    def _each(self, records: Sequence[Record], encode: Callable[[Record], bytes]) -> list[bytes]:
        """What becomes of each record; those of which nothing can become are rejected."""
        encoded = []
        for record in records:
            try:
                encoded.append(encode(record))
            except (*RECORD_FAULTS, csv.Error) as error:
                self._reject(record, _told(error))
        return encoded

    def _chosen(self, record: Record) -> dict[str, Any]:
        """What is written of a record.

        Raises:
            ValueError: It has none of the fields that are to be written.
        """
        return record if self._chosen_of is None else self._chosen_of(record)

    def _all_chosen(self, records: Sequence[Record]) -> Sequence[dict[str, Any]]:
        return records if self._chosen_of is None else [self._chosen_of(record) for record in records]

    def _text(self, record: Record) -> bytes:
        """A record as JSON.

        Raises:
            ValueError: JSON has no such value; the message names its place.
        """
        chosen = self._chosen(record)
        text = _encoder.encode(chosen)
        if self._is_checked and (fault := json_fault(chosen)):
            raise ValueError(fault)
        return text

    def _ldjson(self, records: Sequence[Record]) -> bytes:
        if self._delimiter == b"\n":
            try:
                chosen = self._all_chosen(records)
                data = _encoder.encode_lines(chosen)
                if not self._is_checked or holds_json(chosen, data):
                    return data
            except RECORD_FAULTS:
                pass  # find out which ones, and keep the others
        return b"".join(self._each(records, self._line))

    def _line(self, record: Record) -> bytes:
        text = self._text(record)
        if self._is_break:
            return text + self._delimiter
        if not self._ends_first(text):
            text = _JSON_TEXTS.sub(self._escaped, text)
            if not self._ends_first(text):
                delimiter = self._delimiter.decode()
                raise ValueError(f"its JSON has the line_delimiter {delimiter!r} outside of texts")
        return text + self._delimiter

    def _escaped(self, match: re.Match[bytes]) -> bytes:
        """A JSON text in which the first character of the delimiter is an escape."""
        text, delimiter = match[0].decode(), self._delimiter.decode()
        first = delimiter[0]
        if first in '"\\' or delimiter not in text:
            return match[0]
        parts = re.split(r"(\\u[0-9a-f]{4}|\\.)", text)  # escapes stay as they are
        parts[::2] = [part.replace(first, _escape(first)) for part in parts[::2]]
        return "".join(parts).encode()

    def _ends_first(self, text: bytes) -> bool:
        """Whether the first delimiter in a record is the one behind it."""
        return (text + self._delimiter).find(self._delimiter) == len(text)

    def _json(self, records: Sequence[Record]) -> bytes:
        try:
            chosen = self._all_chosen(records)
            data = _encoder.encode(chosen)
            if records and (not self._is_checked or holds_json(chosen, data)):
                return data + self._delimiter
        except RECORD_FAULTS:
            pass  # find out which ones, and keep the others
        texts = self._each(records, self._text)
        return b"[" + b",".join(texts) + b"]" + self._delimiter if texts else b""

    def _raw(self, records: Sequence[Record]) -> bytes:
        """Many at once when that is surely right: each is text, and holds no delimiter."""
        line = self._options.line_end
        try:
            data = line.join([record["data"] for record in records]) + line
            is_torn = self._options.line_delimiter is None and "\r\n" in data
            if data.count(line) == len(records) and not is_torn and not overlaps_itself(self._delimiter):
                return data.encode()
        except RECORD_FAULTS:
            pass  # find out which ones, and keep the others
        return b"".join(self._each(records, self._raw_line))

    def _raw_line(self, record: Record) -> bytes:
        data = record.get("data")
        if not isinstance(data, str | bytes):
            raise TypeError("raw files are written from the field data, which holds no text")
        text = data.encode() if isinstance(data, str) else data
        if not self._ends_first(text):
            delimiter = self._delimiter.decode()
            raise ValueError(f"field data has the line_delimiter {delimiter!r}, which would end it")
        if text.endswith(b"\r") and self._options.line_delimiter is None:
            raise ValueError(
                "field data ends with a carriage return, which readers take for a part of the line end: set"
                ' line_delimiter, to "\\n" for example, here and where it is read'
            )
        return text + self._delimiter

    def _table(self, records: Sequence[Record]) -> bytes:
        options = self._options
        names = options.fields or list(self.columns) or names_of(records)
        if self._delimiter == b"\n" and (data := self._simple_table(records, names)) is not None:
            return data
        rows = _Rows(options.columns_delimiter, options.line_end)
        readers = [(name, path_reader(name)) for name in names]

        def row(record: Record) -> bytes:
            if not names:
                raise ValueError("the record has no fields, and a row without columns is none")
            self._check_columns(record)
            if options.fields and not any(has_path(record, name) for name in names) and record:
                raise ValueError(none_of(names))
            return rows.encode([_cell(read(record), name) for name, read in readers])

        head = rows.encode(names) if options.writes_header and names else b""
        lines = self._each(records, row)
        return head + b"".join(lines) if lines else b""

    def _simple_table(self, records: Sequence[Record], names: Sequence[str]) -> bytes | None:
        """The whole table at once; None when some record needs a look of its own."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=self._options.columns_delimiter, lineterminator="\n")
        if self._options.writes_header:
            writer.writerow(names)
        if self.columns and not self.columns.keys() >= set(chain.from_iterable(records)):
            return None
        try:
            if any("." in name for name in names):
                readers = [(name, path_reader(name)) for name in names]
                writer.writerows([_cell(read(record), name) for name, read in readers] for record in records)
            else:
                writer.writerows([_cell(record.get(name), name) for name in names] for record in records)
            text = out.getvalue()
            blank = self._options.columns_delimiter * (len(names) - 1) or '""'
            if f"\n{blank}\n" in f"\n{text}":  # a row of nothing: maybe the record has none of the fields
                return None
            # Pythons before 3.11.9 and 3.12.3 do not quote a carriage return, and none a byte order mark
            is_simple = names and records and "\r" not in text and text[0] != "\ufeff"
            return text.encode() if is_simple else None
        except (*RECORD_FAULTS, csv.Error):
            return None

    def _check_columns(self, record: Record) -> None:
        """Refuse a record that would lose a field.

        Raises:
            ValueError: It has one that is none of the columns on which the files agree.
        """
        if self.columns and (others := [name for name in record if name not in self.columns]):
            raise ValueError(
                f"the record has the fields {', '.join(others)}, which are no columns of this output: the "
                f"first slice that was written made them {', '.join(self.columns)}; name all in `fields`, or "
                "leave include_header out, so that each file names its own"
            )

    def whole(self, parts: Iterable[bytes]) -> bytes:
        """The content of a file whose parts were encoded apart; only when `is_appendable`."""
        return self._marked(b"".join(parts))

    def _marked(self, data: bytes) -> bytes:
        """Raw text that begins like a byte order mark gets one before it, as readers take the first away."""
        return _BOM + data if self._options.format == "raw" and data.startswith(_BOM) else data


class _Rows:
    """Makes rows as the csv module does; it hands each to `write`."""

    def __init__(self, field: str, line: str) -> None:
        self._line = line
        end = _QUOTED_BREAKS + line
        self._end_chars = len(end)
        self._text = ""
        self._writer = csv.writer(self, delimiter=field, lineterminator=end)
        self._quoting_writer = csv.writer(self, delimiter=field, lineterminator=end, quoting=csv.QUOTE_ALL)

    def write(self, text: str) -> None:
        """Take a row."""
        self._text = text

    def encode(self, cells: Sequence[str | None]) -> bytes:
        """A row with its delimiter."""
        self._writer.writerow(cells)
        if self._text[0] == "\ufeff":  # at the start of a file it would be taken for its mark
            self._quoting_writer.writerow(cells)
        return (self._text[: -self._end_chars] + self._line).encode()


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _told(error: Exception) -> Exception:
    """The error in words for people, where those of Python are none."""
    if isinstance(error, RecursionError):
        return ValueError("the record is nested too deep to be written")
    if isinstance(error, UnicodeEncodeError):
        half = ascii(error.object[error.start])
        return ValueError(f"a text has half of a surrogate pair, {half}, which is no Unicode")
    return error


def names_of(records: Iterable[Record]) -> list[str]:
    """The names of all fields, in the order in which they come."""
    return list(dict.fromkeys(name for record in records for name in record))


def _cell(value: Any, name: str) -> str | None:
    kind = value.__class__
    if kind is str or value is None:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return str(value)
    is_plain = kind is bool or (kind is float and math.isfinite(value))
    if not is_plain and (fault := json_fault(value, name)):
        raise ValueError(fault)
    return _encoder.encode(value).decode()


def group_by_folder(
    records: Iterable[Record], fields: Sequence[str], reject: Reject | None = None
) -> dict[str, list[Record]]:
    """Records by the folder of their partition, for example `carrier=UA/month=3`; "" without fields.

    Args:
        records: What to group.
        fields: Those that make the partitions.
        reject: Takes records whose values can not be the name of a folder; they are raised without it.
    """
    if not fields:
        return {"": list(records)}
    folders: dict[str, list[Record]] = {}
    for value, group in _group(records, fields[0], reject).items():
        try:
            folder = _folder(fields[0], value)
        except RECORD_FAULTS as error:
            _refuse(group, _told(error), reject)
            continue
        for rest, members in group_by_folder(group, fields[1:], reject).items():
            folders.setdefault(f"{folder}/{rest}" if rest else folder, []).extend(members)
    return folders


def _group(records: Iterable[Record], field: str, reject: Reject | None) -> dict[str | None, list[Record]]:
    groups: defaultdict[str | None, list[Record]] = defaultdict(list)
    read = path_reader(field)
    for record in records:
        value = read(record)
        try:
            key = value if value.__class__ is str else _cell(value, field)
        except RECORD_FAULTS as error:
            _refuse([record], _told(error), reject)
        else:
            groups[key].append(
                record
            )  # as text, which tells values apart: as values, 1 and true would be one
    return groups


def _refuse(records: Iterable[Record], error: Exception, reject: Reject | None) -> None:
    if reject is None:
        raise error
    for record in records:
        reject(record, error)


def _visible(name: str) -> str:
    """The name of a field with its first character escaped where readers would skip a folder with it."""
    return f"%{ord(name[0]):02X}{name[1:]}" if name[0] in "._" else name


def _folder(field: str, value: str | None) -> str:
    text = NO_VALUE if value is None or value == "" else quote(value, safe=" ,:+@")
    name = f"{_visible(quote(field, safe=' '))}={text}"
    if len(name) > _LONGEST_NAME:  # file systems end at 255 bytes
        digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        name = f"{name[:_LONGEST_NAME]}~{digest}"
    return name

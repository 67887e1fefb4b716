"""Bytes of a file to records.

What is no record is refused with its bytes and their offset, and takes nothing with it. A line is decoded
alone, as a decoder of many lines would take a line break within an object, or two objects in a line, which
slices tear.

Lines of ldjson are decoded together, which takes two thirds of the time, when neither can be: every line
begins with `{` and ends with `}`, and there are as many objects as lines. Within JSON no `{` can follow a `}`
and a line break, since a comma is missing, so each line break is between two objects.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from tsd.operations.faults import RECORD_FAULTS, json_reason, utf8_reason
from tsd.operations.record import Record
from tsd.operations.standard.file_options import ReaderOptions
from tsd.operations.standard.file_tables import TableDecoder
from tsd.operations.standard.fragment_places import Refuse, place_of
from tsd.operations.standard.json_arrays import elements
from tsd.operations.standard.storage import DamagedError

BOM = b"\xef\xbb\xbf"
_JSON_BLANKS = b" \t\r\n"
_object = msgspec.json.Decoder(dict[str, Any]).decode
_objects = msgspec.json.Decoder(dict[str, Any]).decode_lines
_any = msgspec.json.Decoder().decode


class Decoder:
    """Makes records of bytes as the options say."""

    def __init__(self, options: ReaderOptions) -> None:
        """Nothing is read yet; one decoder serves all files."""
        self._options = options
        self._delimiter = options.delimiter
        self._is_raw = getattr(options, "encoding", None) == "raw"

    @property
    def takes_any_bytes(self) -> bool:
        """Whether lines are handed on as they are, whatever they hold."""
        return self._options.format == "ldjson" and self._is_raw

    def decode(
        self,
        blocks: Iterable[bytes],
        refuse: Refuse,
        *,
        at: int = 0,
        has_header: bool = True,
        columns: Sequence[str] = (),
        is_end: bool = True,
    ) -> list[Record]:
        """Make records.

        Args:
            blocks: Whole records with delimiters between them; a block but the last ends with one.
            refuse: Takes what is no record.
            at: Offset of their first byte in the content of the file.
            has_header: The first row of a table is among these.
            columns: Names of the columns when it is not, if it names them.
            is_end: They go to the end of the file.

        Raises:
            DamagedError: The content can not be told apart into records.
        """
        if self._options.format == "json":
            return self._json(b"".join(blocks), refuse)
        if at == 0:
            blocks, at = _without_bom(blocks)
        if self._options.is_table:
            table = TableDecoder(self._options, refuse)
            return table.decode(blocks, columns, at=at, has_header=has_header, is_end=is_end)
        decode_block = self._raw_lines if self.takes_any_bytes else self._ldjson
        if self._options.format == "raw":
            decode_block = self._texts
        records: list[Record] = []
        for block in blocks:
            found = decode_block(block, at, refuse)
            if records:
                records += found
            else:
                records = found  # the usual case of one block, not copied
            at += len(block)
        return records

    def decode_again(self, data: bytes, refuse: Refuse, *, at: int, columns: Sequence[str]) -> list[Record]:
        """Make records of what was refused before, perhaps by other options; see `decode`."""
        options = self._options
        if options.format == "json" or (options.format == "ldjson" and not self._is_raw):
            return self._element(data, at, refuse)
        if options.is_table and options.remove_header and not (columns or options.fields):
            refuse(data, at, "the names of its columns were not kept: let fields have them")
            return []
        if options.fields and set(columns) != set(options.fields):
            columns = options.fields  # they are others now; of the same ones the header had the order
        # an offset of 0 would have a byte order mark looked for, which was taken away when it was read
        return self.decode([data], refuse, at=max(at, 1), has_header=False, columns=columns)

    def _raw_lines(self, data: bytes, at: int, refuse: Refuse) -> list[Record]:  # noqa: ARG002 - nothing is refused
        """Records that hold the bytes of a line, for `json_parser` or an operation of one's own to read."""
        records = []
        for line in data.split(self._delimiter):
            if line.strip(_JSON_BLANKS):
                record = Record()
                record.set_raw_data(line)
                records.append(record)
        return records

    def _ldjson(self, data: bytes, at: int, refuse: Refuse) -> list[Record]:
        if line_count := self._count_of_objects(data):
            try:
                if len(found := _objects(data)) == line_count:
                    return list(map(Record, found))
            except RECORD_FAULTS:
                pass
        lines = data.split(self._delimiter)
        if not lines[-1]:
            del lines[-1]  # what follows the last delimiter is no record
        try:
            return list(map(Record, map(_object, lines)))
        except RECORD_FAULTS:
            pass  # find out which ones, and keep the others
        records = []
        for line in lines:
            if line.strip(_JSON_BLANKS):
                records += self._element(line, at, refuse)
            at += len(line) + len(self._delimiter)
        return records

    def _count_of_objects(self, data: bytes) -> int:
        """How many lines there are, if each begins and ends as an object does; else 0."""
        end = b"}" + self._delimiter
        if self._delimiter not in (b"\n", b"\r\n") or data[:1] != b"{" or not data.endswith(end):
            return 0
        line_count = data.count(b"\n")
        return line_count if data.count(end + b"{") == line_count - 1 else 0

    def _json(self, data: bytes, refuse: Refuse) -> list[Record]:
        at = len(BOM) if data.startswith(BOM) else 0
        data = data[at:].removesuffix(self._delimiter)
        if not data.strip(_JSON_BLANKS):
            return []
        is_array = data.lstrip(_JSON_BLANKS).startswith(b"[")
        try:
            value = _any(data)
        except RECORD_FAULTS as error:
            if not is_array:
                raise DamagedError(self._whole_reason(data, at, error)) from None  # it has all of its words
        else:
            if isinstance(value, dict):
                return [Record(value)]
            if is_array and all(item.__class__ is dict for item in value):
                return list(map(Record, value))
        return self._elements(data, at, refuse) if is_array else self._element(data, at, refuse)

    def _elements(self, data: bytes, at: int, refuse: Refuse) -> list[Record]:
        """The elements of an array of which some are no records."""
        found = []
        try:
            for offset, text in elements(data):
                found.append((offset, text))
        except DamagedError as error:
            raise DamagedError(f"it is no JSON: {error}{_ldjson_hint(data)}") from None
        return [record for offset, text in found for record in self._element(text, at + offset, refuse)]

    def _element(self, text: bytes, at: int, refuse: Refuse) -> list[Record]:
        """The record that some JSON is; none when it was refused."""
        try:
            return [Record(_object(text))]
        except RECORD_FAULTS as error:
            reason = json_reason(text, error, is_line=self._options.format == "ldjson")
        # out here, so that the words of the parser are not told as a cause
        refuse(text, at, reason if text.strip() else "a comma has no element beside it")
        return []

    def _whole_reason(self, data: bytes, at: int, error: BaseException) -> str:
        reason = json_reason(data, error, is_line=False)
        if isinstance(error, RecursionError) or not reason.startswith("it is no JSON"):
            return f"it is no JSON: {reason}"
        byte = reason.partition("(byte ")[2].partition(")")[0]
        if byte.isdecimal():
            line = data.count(b"\n", 0, int(byte)) + 1
            reason = reason.replace(f"(byte {byte})", f"at {place_of(at + int(byte), line)}")
        return reason + _ldjson_hint(data)

    def _texts(self, data: bytes, at: int, refuse: Refuse) -> list[Record]:
        """The records as text; with the default delimiter a carriage return before it belongs to it."""
        try:
            texts = data.decode().split(self._delimiter.decode())
        except UnicodeDecodeError:
            texts = self._readable_texts(data, at, refuse)
        if not texts[-1]:
            del texts[-1]  # what follows the last delimiter is no record
        if self._options.line_delimiter is None and b"\r" in data:
            texts = [text.removesuffix("\r") for text in texts]
        return [Record(data=text) for text in texts]

    def _readable_texts(self, data: bytes, at: int, refuse: Refuse) -> list[str]:
        texts = []
        *lines, last = data.split(self._delimiter)
        for line in (*lines, last) if last else lines:
            if reason := utf8_reason(line):
                refuse(line, at, reason)
            else:
                texts.append(line.decode())
            at += len(line) + len(self._delimiter)
        return [*texts, ""]


def _ldjson_hint(data: bytes) -> str:
    """Advice when a file that is no JSON has JSON in its lines."""
    first, found, rest = data.strip(_JSON_BLANKS).partition(b"\n")
    if not found or not rest:
        return ""
    try:
        _object(first)
    except RECORD_FAULTS:
        return ""
    return "; its first line is an object of its own: set format to ldjson"


def _without_bom(blocks: Iterable[bytes]) -> tuple[Iterator[bytes], int]:
    """The blocks of a file without a byte order mark at its start, and the offset of their first byte."""
    rest = iter(blocks)
    first = next(rest, b"")
    at = len(BOM) if first.startswith(BOM) else 0

    def all_blocks() -> Iterator[bytes]:
        if first[at:]:
            yield first[at:]
        yield from rest

    return all_blocks(), at

"""Bytes of a file to records."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from tsd.operations.record import Record
from tsd.operations.standard.file_options import ReaderOptions, Reject
from tsd.operations.standard.file_tables import TableDecoder
from tsd.operations.standard.storage import DamagedError

BOM = b"\xef\xbb\xbf"
_objects = msgspec.json.Decoder(dict[str, Any])
_any = msgspec.json.Decoder()
_FAULTS = (msgspec.DecodeError, UnicodeDecodeError)


class Decoder:
    """Makes records of bytes as the options say."""

    def __init__(self, options: ReaderOptions, reject: Reject) -> None:
        """Nothing is read yet.

        Args:
            options: The format.
            reject: Takes what is no record.
        """
        self._options = options
        self._reject = reject
        self._delimiter = options.delimiter
        self._is_line = options.line_delimiter in (None, "\n", "\r\n")
        self._is_raw = getattr(options, "encoding", None) == "raw"

    def decode(self, blocks: Iterable[bytes], *, is_start: bool, columns: Sequence[str] = ()) -> list[Record]:
        """Make records.

        Args:
            blocks: Whole records with delimiters between them; a block but the last ends with one.
            is_start: They stand at the start of the file.
            columns: Names of the columns when the first row of the file has them and is not among these.

        Raises:
            DamagedError: A csv field goes over several lines, which byte slices can not tell, or a whole
                file is no JSON.
        """
        if self._options.format == "json":
            return self._json(b"".join(blocks).removeprefix(BOM))
        if is_start:
            blocks = _without_bom(blocks)
        match self._options.format:
            case "ldjson" if self._is_raw:
                return [
                    _raw(line) for block in blocks for line in block.split(self._delimiter) if line.strip()
                ]
            case "ldjson":
                return list(chain.from_iterable(map(self._ldjson, blocks)))
            case "raw":
                return [Record(data=text) for block in blocks for text in self._texts(block)]
            case _:
                return TableDecoder(self._options, self._reject).decode(blocks, columns, is_start=is_start)

    def _ldjson(self, data: bytes) -> list[Record]:
        if self._is_line:
            try:
                return list(map(Record, _objects.decode_lines(data)))
            except _FAULTS:
                pass  # find out which ones, and keep the others
        records = []
        for line in data.split(self._delimiter):
            if not line.strip():
                continue
            try:
                records.append(Record(_objects.decode(line)))
            except _FAULTS as error:
                self._reject(line, error)
        return records

    def _json(self, data: bytes) -> list[Record]:
        if not data.strip():
            return []
        try:
            value = _any.decode(data)
        except _FAULTS as error:
            raise DamagedError(f"it is no JSON: {error}") from error
        records = []
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                records.append(Record(item))
            else:
                self._reject(item, TypeError(f"a record is a JSON object, not {type(item).__name__}"))
        return records

    def _texts(self, data: bytes) -> list[str]:
        """The records as text; with the default delimiter a carriage return before it belongs to it."""
        try:
            texts = data.decode().split(self._delimiter.decode())
        except UnicodeDecodeError:
            texts = self._readable_texts(data)
        if not texts[-1]:
            del texts[-1]  # what follows the last delimiter is no record
        if self._options.line_delimiter is None and b"\r" in data:
            texts = [text.removesuffix("\r") for text in texts]
        return texts

    def _readable_texts(self, data: bytes) -> list[str]:
        texts = []
        *lines, last = data.split(self._delimiter)
        for line in (*lines, last) if last else lines:
            try:
                texts.append(line.decode())
            except UnicodeDecodeError as error:
                self._reject(line, error)
        return [*texts, ""]


def _raw(line: bytes) -> Record:
    """A record that holds the bytes of a line, for `json_parser` or an operation of one's own to read."""
    record = Record()
    record.set_raw_data(line)
    return record


def _without_bom(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks of a file without a byte order mark at its start."""
    is_first = True
    for block in blocks:
        data = block.removeprefix(BOM) if is_first else block
        is_first = False
        if data:
            yield data

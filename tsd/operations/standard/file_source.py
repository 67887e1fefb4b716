"""Files that options describe, cut into slice requests and read, wherever they are stored."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from tsd.errors import NonRetryable
from tsd.operations.dates import now_ms
from tsd.operations.record import Record
from tsd.operations.standard.byte_slices import cut, read_slice, whole_records
from tsd.operations.standard.compression import decompress
from tsd.operations.standard.file_decode import BOM, Decoder
from tsd.operations.standard.file_options import ReaderOptions, Reject
from tsd.operations.standard.file_tables import TableDecoder
from tsd.operations.standard.storage import DamagedError, Storage, StoredFile

_MOST_HEADERS = 256
_HEADER_B = 65_536


class FileSource:
    """Cuts the files into slice requests, and reads these."""

    def __init__(self, options: ReaderOptions, reject: Reject, storage: Storage) -> None:
        """Nothing is touched yet.

        Args:
            options: Which files, and how to read them.
            reject: Takes what is no record.
            storage: Where the files are.
        """
        self._options = options
        self._reject = reject
        self._storage = storage
        self._decoder = Decoder(options, reject)
        self._headers: dict[str, _Header] = {}

    def requests(self, after: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The slice requests of all files, `{path, offset, length, total}`.

        Args:
            after: A request of an earlier walk: go on behind it. Files that have come since, and stand
                before it in the walk, are not seen.

        Raises:
            OperationError: A path can not be read.
        """
        last_path = None if after is None else str(after["path"])
        for found in self._storage.list(self._options.path or "", last_path):
            skip_to = int(after["offset"]) if after is not None and found.path == last_path else -1
            for request in self._cut(found.path, found.total_b):
                if request["offset"] > skip_to:
                    yield request

    def segment(self, path: str) -> Iterator[dict[str, Any]]:
        """The slice requests of one file; none when it is empty.

        Raises:
            OperationError: It can not be read.
        """
        return self._cut(path, self._storage.size_of(path))

    def _cut(self, path: str, total: int) -> Iterator[dict[str, Any]]:
        options = self._options
        if options.reads_whole_files:
            slices = iter([(0, total)] if total else [])
        else:
            slices = cut(total, options.size, len(options.delimiter))
        for offset, length in slices:
            yield {"path": path, "offset": offset, "length": length, "total": total}

    def read(self, request: Mapping[str, Any]) -> list[Record]:
        """The records of a slice; the request is in their metadata.

        Raises:
            OperationError: The file can not be read, or has become shorter.
            NonRetryable: Its content is damaged.
        """
        path = request["path"]
        with self._storage.open(path) as file:
            try:
                records = self._records(file, request)
            except DamagedError as error:
                raise NonRetryable(f"file {path} can not be read: {error}") from error
        now = now_ms()
        Record.stamp(records, {**request, "_createTime": now, "_processTime": now})
        return records

    def _records(self, file: StoredFile, request: Mapping[str, Any]) -> list[Record]:
        options = self._options
        offset, total = request["offset"], request["total"]
        if options.reads_whole_files:
            return self._decoder.decode(self._whole(file, total), is_start=True)
        data = read_slice(file, offset, request["length"], total, options.delimiter)
        if not data:
            return []
        is_start, columns = offset == 0, list[str]()
        if offset and options.is_table and options.remove_header:
            header = self._header(request["path"], file, total)
            columns = header.names
            # Behind blank lines it may stand in another slice than the first.
            is_start = offset + len(options.delimiter) <= header.start < offset + request["length"]
        return self._decoder.decode([data], is_start=is_start, columns=columns)

    def _whole(self, file: StoredFile, total: int) -> Iterable[bytes]:
        options = self._options
        pieces = decompress(file.stream(total), options.compression, most_b=options.max_decompressed)
        return pieces if options.format == "json" else whole_records(pieces, options.delimiter)

    def _header(self, path: str, file: StoredFile, total: int) -> "_Header":
        """The header of a file; it is read once."""
        if path not in self._headers:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            start, line = self._first_line(file, total)
            names = TableDecoder(self._options, self._reject).header([line])
            self._headers[path] = _Header(start, names)
        return self._headers[path]

    def _first_line(self, file: StoredFile, total: int) -> tuple[int, bytes]:
        """Where the first line that is not blank begins, and the line."""
        delimiter, length = self._options.delimiter, _HEADER_B
        while True:
            data = read_slice(file, 0, min(length, total), total, delimiter)
            start = 0
            for line in data.split(delimiter):
                text = line if start else line.removeprefix(BOM)
                if text.strip(b"\r"):
                    return start, text
                start += len(line) + len(delimiter)
            if length >= total:
                return total, b""
            length *= 2


@attrs.frozen
class _Header:
    """The first row of a table.

    Attributes:
        start: Offset of its first byte.
        names: Names of the columns.
    """

    start: int
    names: list[str]

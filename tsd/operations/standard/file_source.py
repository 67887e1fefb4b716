"""Files that options describe, cut into slice requests and read, wherever they are stored."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import attrs

from tsd.errors import CannotResume, NonRetryable, OperationError
from tsd.operations.dates import now_ms
from tsd.operations.record import Record
from tsd.operations.resuming import ORIGIN_KEY, Origin, Passed
from tsd.operations.standard.byte_slices import cut, read_slice, whole_records
from tsd.operations.standard.compression import decompress
from tsd.operations.standard.file_decode import BOM, Decoder
from tsd.operations.standard.file_options import ReaderOptions, Reject
from tsd.operations.standard.file_tables import TableDecoder
from tsd.operations.standard.storage import DamagedError, Found, Storage, StoredFile

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
        self._headers: dict[tuple[str, str], _Header] = {}

    def requests(self, after: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The slice requests of all files, `{path, offset, length, total, source}`.

        Args:
            after: The last request of an earlier walk: go on behind it, as `tsd.operations.resuming` says.
                The walk up to there is made at once.

        Raises:
            OperationError: A path can not be read.
            CannotResume: The walk can not be continued.
        """
        paths, passed = self._storage.list(self._root), Passed()
        if after is None:
            return self._walk(paths, passed)
        return chain(*self._go_on(paths, passed, after))

    def segment(self, path: str) -> Iterator[dict[str, Any]]:
        """The slice requests of one file; none when it is empty.

        Raises:
            OperationError: It can not be read.
        """
        found = self._storage.find(path)
        if found is None:
            raise OperationError(f"file {path} does not exist")
        return self._cut(found, Passed().text)

    @property
    def _root(self) -> str:
        return self._options.path or ""

    def _walk(self, paths: Iterator[str], passed: Passed) -> Iterator[dict[str, Any]]:
        for path in paths:
            found = self._storage.find(path)
            if found is None:
                continue  # gone since its folder was listed, as if it had never been there
            before = passed.text
            passed.add(path)
            yield from self._cut(found, before)

    def _go_on(
        self, paths: Iterator[str], passed: Passed, last: Mapping[str, Any]
    ) -> tuple[Iterator[dict[str, Any]], ...]:
        """What is left of the file of the last request, and then the files behind it."""
        origin, last_path = Origin.of_last(last), str(last["path"])
        origin.check_options(self._options.boundaries)
        try:
            last_place = self._storage.place(self._root, last_path)
        except ValueError:
            raise CannotResume(
                f"the last slice is one of file {last_path}, and the reader now reads {self._root}"
            ) from None
        behind: list[str] = []
        for path in paths:
            if self._storage.place(self._root, path) >= last_place:
                behind.append(path)
                break
            passed.add(path)
        passed.check(origin.passed, f"file {last_path}")
        rest = self._rest(last, origin)
        # It was passed also if it is gone: it stands in the records.
        passed.add(last_path)
        following = chain(behind if behind != [last_path] else (), paths)
        return rest, self._walk(following, passed)

    def _rest(self, last: Mapping[str, Any], origin: Origin) -> Iterator[dict[str, Any]]:
        path, end, total = str(last["path"]), last["offset"] + last["length"], last["total"]
        if end >= total:
            return iter(())
        where = f"of which {end:,} of {total:,} bytes were cut into slices"
        try:
            with self._storage.open(path) as file:
                file.verify(total, origin.version)
        except OperationError as error:
            raise CannotResume(f"{error}; {where}") from error
        return self._cut(Found(path, total, origin.version), origin.passed, end)

    def _cut(self, found: Found, passed: str, start: int = 0) -> Iterator[dict[str, Any]]:
        options = self._options
        origin = Origin(version=found.version, passed=passed, options=options.boundaries).as_document()
        path, total = found.path, found.total_b
        if options.reads_whole_files:
            slices = iter([(0, total)] if total else [])
        else:
            slices = cut(total, options.size, len(options.delimiter), start)
        for offset, length in slices:
            yield {"path": path, "offset": offset, "length": length, "total": total, ORIGIN_KEY: origin}

    def read(self, request: Mapping[str, Any]) -> list[Record]:
        """The records of a slice; the request is in their metadata, but for its origin.

        Raises:
            OperationError: The file can not be read.
            SourceChanged: It is not the file that was cut.
            NonRetryable: Its content is damaged.
        """
        path, total, origin = request["path"], request["total"], Origin.of(request)
        with self._storage.open(path) as file:
            if origin is not None:
                file.verify(total, origin.version)
            try:
                records = self._records(file, request)
            except DamagedError as error:
                raise NonRetryable(f"file {path} can not be read: {error}") from error
            finally:
                # Also behind an error: a file that changes while it is read is why it can not be read.
                if origin is not None:
                    file.verify(total, origin.version)
        now = now_ms()
        place = {name: value for name, value in request.items() if name != ORIGIN_KEY}
        Record.stamp(records, {**place, "_createTime": now, "_processTime": now})
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
            header = self._header(request, file, total)
            columns = header.names
            # Behind blank lines it may stand in another slice than the first.
            is_start = offset + len(options.delimiter) <= header.start < offset + request["length"]
        return self._decoder.decode([data], is_start=is_start, columns=columns)

    def _whole(self, file: StoredFile, total: int) -> Iterable[bytes]:
        options = self._options
        pieces = decompress(file.stream(total), options.compression, most_b=options.max_decompressed)
        return pieces if options.format == "json" else whole_records(pieces, options.delimiter)

    def _header(self, request: Mapping[str, Any], file: StoredFile, total: int) -> "_Header":
        """The header of a file; that of each state of it is read once."""
        origin = Origin.of(request)
        key = (request["path"], "" if origin is None else origin.version)
        if key not in self._headers:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            start, line = self._first_line(file, total)
            names = TableDecoder(self._options, self._reject).header([line])
            self._headers[key] = _Header(start, names)
        return self._headers[key]

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

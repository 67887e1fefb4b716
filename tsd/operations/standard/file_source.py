"""Files that options describe, cut into slice requests and read, wherever they are stored."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import attrs
from typing_extensions import override

from tsd.errors import CannotResume, NonRetryable, OperationError, SourceChanged
from tsd.operations.dates import now_ms
from tsd.operations.record import Record
from tsd.operations.resuming import ORIGIN_KEY, Origin, Passed, version_of
from tsd.operations.standard.byte_slices import cut, read_records, read_slice, whole_records
from tsd.operations.standard.compression import decompress
from tsd.operations.standard.csv_cuts import LONGEST_CELL_B, Cut, cut_rows
from tsd.operations.standard.file_decode import BOM, Decoder
from tsd.operations.standard.file_options import ReaderOptions, Reject
from tsd.operations.standard.file_tables import TableDecoder, grammar_of
from tsd.operations.standard.foreign import HEAD_B, compression_of, document_of, fault_of
from tsd.operations.standard.fragment_places import Front, Lines, Refusals, Refuse, place_of
from tsd.operations.standard.storage import DamagedError, Found, Storage, StoredFile

_MOST_HEADERS = 256
_HEADER_B = 65_536
_OPEN_ROW = "open_row"
"""In a request that can not be read: where a row begins whose quote has no end."""


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
        self._boundaries = options.boundaries
        self._reject = reject
        self._storage = storage
        self._decoder = Decoder(options)
        self._headers: dict[tuple[str, str], _Header] = {}
        self._checked: set[tuple[str, str]] = set()
        self._lines: dict[tuple[str, str], tuple[int, int]] = {}

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
        try:
            with self._storage.open(path) as file:
                file.verify(total, origin.version)
        except OperationError as error:
            reason = error.reason if isinstance(error, SourceChanged) else str(error)
            raise CannotResume(f"{reason}; {end:,} of {total:,} bytes were cut into slices") from error
        return self._cut(Found(path, total, origin.version), origin.passed, end)

    def _cut(self, found: Found, passed: str, start: int = 0) -> Iterator[dict[str, Any]]:
        options = self._options
        origin = Origin(version=found.version, passed=passed, options=options.boundaries).as_document()
        for piece in self._pieces(found, start):
            request = {
                "path": found.path,
                "offset": piece.offset,
                "length": piece.length,
                "total": found.total_b,
                ORIGIN_KEY: origin,
            }
            yield request if piece.open_row is None else {**request, _OPEN_ROW: piece.open_row}

    def _pieces(self, found: Found, start: int) -> Iterator[Cut]:
        """The file from `start` on, in slices."""
        options, total = self._options, found.total_b
        if options.reads_whole_files:
            if total:
                yield Cut(0, total)
        elif options.is_table and not (grammar := grammar_of(options)).is_plain:
            if start < total:
                with self._storage.open(found.path) as file:
                    yield from cut_rows(file, total, options.size, grammar, start)
        else:
            yield from (Cut(*piece) for piece in cut(total, options.size, len(options.delimiter), start))

    def read(self, request: Mapping[str, Any]) -> list[Record]:
        """The records of a slice; the request is in their metadata, but for its origin.

        Raises:
            OperationError: The file can not be read.
            SourceChanged: It is not the file that was cut.
            NonRetryable: Its content is damaged.
        """
        path, total, version = request["path"], request["total"], version_of(request)
        with self._storage.open(path) as file:
            if version:
                file.verify(total, version)
                self._check_options(request)
            try:
                records = self._records(file, request)
            except DamagedError as error:
                raise NonRetryable(f"file {path} can not be read: {error}") from error
            finally:
                # Also behind an error: a file that changes while it is read is why it can not be read.
                if version:
                    file.verify(total, version)
        now = now_ms()
        Record.stamp(records, {**_place(request), "_createTime": now, "_processTime": now})
        return records

    def _check_options(self, request: Mapping[str, Any]) -> None:
        """Refuse a slice that was cut by options under which it means something else."""
        if request[ORIGIN_KEY].get("options") != self._boundaries:
            try:
                Origin.of_last(request).check_options(self._boundaries)
            except CannotResume as error:
                raise SourceChanged(
                    f"a slice of file {request['path']} cannot be read: {error.reason}"
                ) from None

    def _records(self, file: StoredFile, request: Mapping[str, Any]) -> list[Record]:
        options = self._options
        offset, length, total = (request[name] for name in ("offset", "length", "total"))
        self._check_head(file, request)
        if options.reads_whole_files:
            refuse = Refusals(self._reject, _place(request), self._lines_of(file, total))
            return self._decoder.decode(self._whole(file, total), refuse, has_header=options.remove_header)
        key = _key(request)
        lines = self._lines_of(file, total, self._lines.get(key, (0, 1)))
        if _OPEN_ROW in request:
            raise DamagedError(_no_end(request[_OPEN_ROW], lines))
        at, data = read_records(file, offset, length, total, options.delimiter)
        if not data:
            return []
        has_header, columns = options.remove_header, list[str]()
        if offset and options.is_table and options.remove_header:
            header = self._header(key, file, total)
            columns = header.names
            # Behind blank lines it may stand in another slice than the first.
            has_header = offset + len(options.delimiter) <= header.start < offset + length
        try:
            return self._decoder.decode(
                [data],
                Refusals(self._reject, _place(request), lines),
                at=at,
                has_header=has_header,
                columns=() if has_header else columns,
                is_end=offset + length >= total,
            )
        finally:
            if len(self._lines) >= _MOST_HEADERS:
                self._lines.clear()
            self._lines[key] = lines.known

    def _check_head(self, file: StoredFile, request: Mapping[str, Any]) -> None:
        """Refuse a file whose first bytes tell that it is of another kind, instead of each of its lines.

        Each state of a file is looked at once.
        """
        key = _key(request)
        if self._decoder.takes_any_bytes or key in self._checked:
            return
        head = file.read_at(0, min(request["total"], HEAD_B))
        told = self._options.compression
        if told == "none":
            fault = fault_of(head) or document_of(head, self._options.format)
            if fault is not None:
                raise DamagedError(fault)
        elif (found := compression_of(head)) not in (None, told):
            raise DamagedError(f"it is no {told}: set compression to {found}")
        if version_of(request):
            if len(self._checked) >= _MOST_HEADERS:
                self._checked.clear()
            self._checked.add(key)

    def _whole(self, file: StoredFile, total: int) -> Iterator[bytes]:
        options = self._options
        pieces = self._content(file, total)
        if options.compression != "none" and not self._decoder.takes_any_bytes:
            pieces = _checked(pieces)
        return pieces if options.format == "json" else whole_records(pieces, options.delimiter)

    def _content(self, file: StoredFile, total: int) -> Iterator[bytes]:
        options = self._options
        return decompress(file.stream(total), options.compression, most_b=options.max_decompressed)

    def _lines_of(self, file: StoredFile, total: int, known: tuple[int, int] = (0, 1)) -> Lines:
        options = self._options
        delimiter = b"\n" if options.format == "json" else options.delimiter
        if options.compression == "none":
            return Lines(file.read_at, delimiter, known)
        return Lines(Front(self._content(file, total)).read, delimiter)

    def _header(self, key: tuple[str, str], file: StoredFile, total: int) -> "_Header":
        """The header of a file; that of each state of it is read once."""
        if key not in self._headers:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            self._headers[key] = self._first_row(file, total)
        return self._headers[key]

    def _first_row(self, file: StoredFile, total: int) -> "_Header":
        """The first row that is not blank."""
        delimiter, length = self._options.delimiter, _HEADER_B
        while True:
            data = read_slice(file, 0, min(length, total), total, delimiter)
            start = len(BOM) if data.startswith(BOM) else 0
            while (found := data.find(delimiter, start)) >= 0 and not data[start:found].strip(b"\r"):
                start = found + len(delimiter)
            decoder = TableDecoder(self._options, _refuse_nothing)
            names = decoder.header([data[start:]])
            if names is None and length >= total:
                names = decoder.rest_as_header()
            if names is not None:
                return _Header(start, names)
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


class _RefuseNothing(Refuse):
    """Only the first row is read, and what is wrong with that is raised."""

    columns: Sequence[str] = ()

    @override
    def __call__(self, data: bytes, offset: int, reason: str) -> None:
        raise DamagedError(f"its header can not be read: {reason}")


_refuse_nothing = _RefuseNothing()


def _no_end(at: int, lines: Lines) -> str:
    return (
        f"a quote in the row at {place_of(at, lines.at(at))} is not closed within"
        f' {LONGEST_CELL_B // 1024**2} MiB: close it, or set extra_args.quote to "off" if quotes are letters;'
        " with file_per_slice the file is read as a whole, however long the cell is"
    )


def _checked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Content whose first bytes are looked at as those of a file."""
    first = next(pieces, b"")
    fault = fault_of(first[:HEAD_B])
    if fault is not None:
        raise DamagedError(f"what it becomes is no text: {fault}")
    if first:
        yield first
    yield from pieces


def _place(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says, but for its origin."""
    return {name: value for name, value in request.items() if name != ORIGIN_KEY}


def _key(request: Mapping[str, Any]) -> tuple[str, str]:
    """Tells the state of a file from any other."""
    return request["path"], version_of(request)

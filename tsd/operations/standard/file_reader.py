"""file_reader: reads a file or all files of a folder, in slices of bytes."""

import gzip
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations.apis import ApiFactory, api
from tsd.operations.base import Fetcher, reader
from tsd.operations.config import ApiConfig, OpConfig
from tsd.operations.context import OpContext
from tsd.operations.dates import now_ms
from tsd.operations.record import Record
from tsd.operations.slicers import Slicer
from tsd.operations.standard.byte_slices import cut, read_exactly, read_slice
from tsd.operations.standard.file_decode import Decoder, Reject, read_header
from tsd.operations.standard.file_options import ReaderOptions
from tsd.operations.standard.file_walk import check_readable, walk

_MOST_HEADERS = 256


@attrs.define(kw_only=True)
class FileReaderConfig(ReaderOptions, OpConfig):
    """Options of file_reader; those of files may stand on its API instead."""

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        yield from self.file_faults()


@attrs.define(kw_only=True)
class FileReaderApiConfig(ReaderOptions, ApiConfig):
    """Options of file_reader_api."""

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        yield from self.file_faults()


class FileSource:
    """Files that options describe: cuts them into slice requests, and reads these."""

    def __init__(self, options: ReaderOptions, reject: Reject) -> None:
        self._options = options
        self._decoder = Decoder(options, reject)
        self._headers: dict[str, list[str]] = {}

    def requests(self, after: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The slice requests of all files, `{path, offset, length, total}`.

        Args:
            after: A request of an earlier walk: go on behind it. Files that have come since, and stand
                before it in the walk, are not seen.

        Raises:
            OperationError: A path can not be read.
        """
        options = self._options
        last_path = None if after is None else str(after["path"])
        for path in walk(options.path or "", last_path):
            skip_to = -1
            if after is not None and path == last_path:
                skip_to = int(after["offset"])
            for request in self.segment(path):
                if request["offset"] > skip_to:
                    yield request

    def segment(self, path: str) -> Iterator[dict[str, Any]]:
        """The slice requests of one file; none when it is empty.

        Raises:
            OperationError: It can not be read.
        """
        options = self._options
        try:
            total = Path(path).stat().st_size
        except OSError as error:
            raise OperationError(f"file {path} can not be read: {error.strerror}") from error
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
        """
        options = self._options
        path, offset = request["path"], request["offset"]
        length, total = request["length"], request["total"]
        columns: list[str] = []
        with _opened(path) as fd:
            if options.reads_whole_files:
                data = read_exactly(fd, 0, total)
                if options.compression == "gzip":
                    data = gzip.decompress(data)
            else:
                data = read_slice(fd, offset, length, total, options.delimiter)
            if data and options.is_table and options.remove_header and not options.fields:
                columns = self._header(path, fd, data, offset, total)
        records = self._decoder.decode(data, is_start=offset == 0, columns=columns) if data else []
        now = now_ms()
        Record.stamp(records, {**request, "_createTime": now, "_processTime": now})
        return records

    def _header(self, path: str, fd: int, data: bytes, offset: int, total: int) -> list[str]:
        """Names of the columns of a file; its first line is read once."""
        delimiter = self._options.delimiter
        if offset == 0:
            return read_header(data.split(delimiter, 1)[0], self._options)
        if path not in self._headers:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            first = read_slice(fd, 0, min(len(delimiter) + 1, total), total, delimiter)
            self._headers[path] = read_header(first, self._options)
        return self._headers[path]


@contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise OperationError(f"file {path} can not be read: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


@api("file_reader_api", config=FileReaderApiConfig)
class FileReaderApi(ApiFactory):
    """Makes `FileSource`s; its own options are their defaults."""

    @override
    def create(self, name: str, overrides: Mapping[str, Any]) -> Any:
        options = attrs.evolve(self.config, **{k: v for k, v in overrides.items() if k != "reject"})
        return FileSource(options, overrides.get("reject", self.reject)), options


def reader_options(config: FileReaderConfig, ctx: OpContext) -> ReaderOptions:
    """The options of files, wherever they stand."""
    if config.linked_api is None:
        return config
    for entry in ctx.apis.components:
        if entry.name == config.linked_api and isinstance(entry.config, ReaderOptions):
            return entry.config
    raise OperationError(f"API {config.linked_api} is no file_reader_api")


class FileSlicer(Slicer):
    """Walks the files and cuts them."""

    @override
    def initialize(self) -> None:
        options = reader_options(self.config, self.ctx)
        check_readable(options.path or "")
        self._requests = FileSource(options, self.reject).requests(self.last_slice())

    @override
    def is_recoverable(self) -> bool:
        return True

    @override
    def slice(self) -> Any:
        return next(self._requests, None)


@reader("file_reader", config=FileReaderConfig, slicer=FileSlicer)
class FileReader(Fetcher):
    """Reads the records that begin in a slice of bytes."""

    @override
    def initialize(self) -> None:
        self._source = FileSource(reader_options(self.config, self.ctx), self.reject)

    @override
    def fetch(self, request: Any) -> list[Record]:
        return self._source.read(request)

    @override
    @classmethod
    def check_job(cls, config: FileReaderConfig, job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from check_linked_api(config, "file_reader_api")


def check_linked_api(config: OpConfig, wanted: str) -> Iterator[tuple[str, str]]:
    """A fault when the API that an operation names is of another kind."""
    name = config.linked_api
    if name is not None and name.partition(":")[0] != wanted:
        yield "_api_name", f"must name a {wanted}"

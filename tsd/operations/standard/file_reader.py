"""file_reader: reads a file or all files of a folder, in slices of bytes."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations.apis import ApiFactory, api
from tsd.operations.base import Fetcher, reader
from tsd.operations.config import ApiConfig, OpConfig
from tsd.operations.context import OpContext
from tsd.operations.record import Record
from tsd.operations.slicers import Slicer
from tsd.operations.standard.disk_storage import DiskStorage
from tsd.operations.standard.file_options import ReaderOptions
from tsd.operations.standard.file_source import FileSource
from tsd.operations.standard.own_output import check_own_output, own_output_faults


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


@api("file_reader_api", config=FileReaderApiConfig)
class FileReaderApi(ApiFactory):
    """Makes `FileSource`s; its own options are their defaults."""

    @override
    def create(self, name: str, overrides: Mapping[str, Any]) -> Any:
        options = attrs.evolve(self.config, **{k: v for k, v in overrides.items() if k != "reject"})
        return FileSource(options, overrides.get("reject", self.reject), DiskStorage()), options


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
        check_own_output(self.execution)
        options = reader_options(self.config, self.ctx)
        storage = DiskStorage()
        storage.check(options.path or "")
        last = self.last_slice()
        self._requests = FileSource(options, self.reject, storage).requests(last)
        self._has_found = last is not None
        self._path = options.path

    @override
    def is_recoverable(self) -> bool:
        return True

    @override
    def slice(self) -> Any:
        request = next(self._requests, None)
        if not self._has_found:
            self._has_found = True
            if request is None:
                self.log.warning("reader.found_nothing", path=self._path)
        return request


@reader("file_reader", config=FileReaderConfig, slicer=FileSlicer)
class FileReader(Fetcher):
    """Reads the records that begin in a slice of bytes."""

    @override
    def initialize(self) -> None:
        check_own_output(self.execution)
        self._source = FileSource(reader_options(self.config, self.ctx), self.reject, DiskStorage())

    @override
    def fetch(self, request: Any) -> list[Record]:
        return self._source.read(request)

    @override
    @classmethod
    def check_job(cls, config: FileReaderConfig, job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from check_linked_api(config, "file_reader_api")
        yield from (("path", fault) for fault in own_output_faults(job))


def check_linked_api(config: OpConfig, wanted: str) -> Iterator[tuple[str, str]]:
    """A fault when the API that an operation names is of another kind."""
    name = config.linked_api
    if name is not None and name.partition(":")[0] != wanted:
        yield "_api_name", f"must name a {wanted}"

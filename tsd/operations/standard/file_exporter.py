"""file_exporter: writes each slice to files of its own, which a re-run replaces."""

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import attrs
from typing_extensions import override

from tsd.ids import slice_id
from tsd.operations.apis import ApiFactory, api
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.completion import ExecutionScope
from tsd.operations.config import ApiConfig, OpConfig
from tsd.operations.record import Record
from tsd.operations.slicers import MAX_QUEUE_LENGTH
from tsd.operations.standard.disk_storage import DiskStorage
from tsd.operations.standard.file_options import WriterOptions
from tsd.operations.standard.file_reader import check_linked_api
from tsd.operations.standard.file_sender import FileSender
from tsd.operations.standard.storage import Output

_MOST_UNRECORDED = 2 * MAX_QUEUE_LENGTH
"""More slices than can be on their way without a record: those that wait, and those that workers have."""
_WRITERS = ("file_exporter", "file_sender_api")


@attrs.define(kw_only=True)
class FileExporterConfig(WriterOptions, OpConfig):
    """Options of file_exporter; those of files may stand on its API instead."""

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        yield from self.file_faults()

    @override
    def warnings(self, job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if self.linked_api is None:
            yield from self.table_warnings()


@attrs.define(kw_only=True)
class FileSenderApiConfig(WriterOptions, ApiConfig):
    """Options of file_sender_api."""

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        yield from self.file_faults()

    @override
    def warnings(self, job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from self.table_warnings()


def _output(config: WriterOptions) -> Output:
    return DiskStorage().output(config.path or "", is_durable=config.durable, sleep=time.sleep)


def _begin(config: WriterOptions, scope: ExecutionScope) -> None:
    """Take away the mark that says that the output is complete."""
    if config.path:
        _output(config).begin(scope.ex_id, is_whole=scope.is_whole, is_new=scope.is_new)


def _complete(config: WriterOptions, scope: ExecutionScope) -> None:
    """Set the mark that says that the output is complete."""
    if not config.path:
        return
    output = _output(config)
    if scope.last_orders is not None:
        output.forget(scope.ex_id, _behind(scope.ex_id, scope.last_orders))
    if not output.complete(scope.ex_id, is_whole=scope.is_whole):
        scope.log.warning("output.not_marked", path=config.path)


def _behind(ex_id: str, last_orders: Mapping[int, int]) -> frozenset[str]:
    """Ids of the slices that an earlier controller may have handed out behind the last ones."""
    return frozenset(
        slice_id(ex_id, slicer_id, order)
        for slicer_id, last in last_orders.items()
        for order in range(last + 1, last + 1 + _MOST_UNRECORDED)
    )


@api("file_sender_api", config=FileSenderApiConfig)
class FileSenderApi(ApiFactory):
    """Makes `FileSender`s; its own options are their defaults."""

    @override
    @classmethod
    def begin_execution(cls, config: FileSenderApiConfig, scope: ExecutionScope) -> None:
        _begin(config, scope)

    @override
    @classmethod
    def complete_execution(cls, config: FileSenderApiConfig, scope: ExecutionScope) -> None:
        _complete(config, scope)

    @override
    def initialize(self) -> None:
        self._senders: dict[str, FileSender] = {}

    @override
    def create(self, name: str, overrides: Mapping[str, Any]) -> Any:
        options = attrs.evolve(self.config, **overrides)
        label = _label(self.execution, self.position, options.path)
        client = "" if name == self.name else quote(name, safe="")
        label = "-".join(filter(None, (label, client)))
        sender = FileSender(options, self.ctx, self.reject, DiskStorage(), label=label)
        sender.prepare()
        self._senders[name] = sender
        return sender, options

    @override
    def remove(self, name: str) -> None:
        self._senders.pop(name, None)

    def on_slice_completing(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Write the files of the slice."""
        for sender in self._senders.values():
            sender.commit()


@operation("file_exporter", config=FileExporterConfig)
class FileExporter(BatchProcessor):
    """Writes the records of each slice and passes them on."""

    @override
    @classmethod
    def begin_execution(cls, config: FileExporterConfig, scope: ExecutionScope) -> None:
        if config.linked_api is None:
            _begin(config, scope)

    @override
    @classmethod
    def complete_execution(cls, config: FileExporterConfig, scope: ExecutionScope) -> None:
        if config.linked_api is None:
            _complete(config, scope)

    @override
    def initialize(self) -> None:
        api_name = self.config.linked_api
        self._is_mine = api_name is None
        if api_name is None:
            label = _label(self.execution, self.position, self.config.path)
            self._sender = FileSender(self.config, self.ctx, self.reject, DiskStorage(), label=label)
            self._sender.prepare()
        else:
            clients = self.get_api(api_name)
            self._sender = clients.get(api_name) or clients.create(api_name)

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        self._sender.send(records)
        return records

    def on_slice_completing(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Write the files of the slice, unless the API does."""
        if self._is_mine:
            self._sender.commit()

    @override
    @classmethod
    def check_job(cls, config: FileExporterConfig, job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from check_linked_api(config, "file_sender_api")


def _label(execution: Mapping[str, Any], position: str, path: str | None) -> str:
    """Tells the writers of one job apart that write into one folder; the first of them needs no label."""
    writers = [
        f"{kind}[{i}]"
        for kind, name in (("apis", "_name"), ("operations", "_op"))
        for i, entry in enumerate(execution.get(kind) or ())
        if entry.get("path") == path and str(entry.get(name)).startswith(_WRITERS)
    ]
    if position not in writers[1:]:
        return ""
    return position.replace("[", "").replace("]", "")

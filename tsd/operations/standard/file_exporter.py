"""file_exporter: writes each slice to files of its own, which a re-run replaces."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
from typing_extensions import override

from tsd.operations.apis import ApiFactory, api
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import ApiConfig, OpConfig
from tsd.operations.context import OpContext
from tsd.operations.record import Record
from tsd.operations.slice import Slice
from tsd.operations.standard.file_encode import FileEncoder, Reject, group_by_folder
from tsd.operations.standard.file_options import WriterOptions
from tsd.operations.standard.file_reader import check_linked_api
from tsd.operations.standard.slice_files import SliceFiles

_LONGEST_NAME_B = 255
"""What file systems allow."""
_WRITERS = ("file_exporter", "file_sender_api")


@attrs.define(kw_only=True)
class FileExporterConfig(WriterOptions, OpConfig):
    """Options of file_exporter; those of files may stand on its API instead."""

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        yield from self.file_faults()


@attrs.define(kw_only=True)
class FileSenderApiConfig(WriterOptions, ApiConfig):
    """Options of file_sender_api."""

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        yield from self.file_faults()


class FileSender:
    """Takes the records of a slice, in any number of calls, and writes its files when the slice completes.

    Until then nothing is on the disk, so an attempt that fails leaves nothing.
    """

    def __init__(self, options: WriterOptions, ctx: OpContext, reject: Reject, *, label: str = "") -> None:
        """Nothing is touched yet.

        Args:
            options: Where and how.
            ctx: Says which slice is in work.
            reject: Takes records that can not be written.
            label: Tells the files of several senders in one folder apart.
        """
        self._options = options
        self._ctx = ctx
        self._label = label
        self._encoder = FileEncoder(options, reject)
        self._files = SliceFiles(Path(options.path or ""), is_durable=options.durable, sleep=ctx.sleep)
        self._work: tuple[Slice | None, int] = (None, 0)
        self._records: dict[str, list[Record]] = {}
        self._parts: dict[str, list[bytes]] = {}

    def prepare(self) -> None:
        """Make the folder, and clear away what dead attempts left.

        Raises:
            OperationError: It can not be written.
        """
        self._files.prepare()

    def verify(self, route: str | None = None) -> None:
        """Check that a route can be a folder, which is made when it is needed; a slash makes several.

        Raises:
            ValueError: It can not, or it would be hidden, or lead out of the path.
        """
        for name in route.split("/") if route else ():
            if not name or name.startswith(".") or "\0" in name or len(name.encode()) > _LONGEST_NAME_B:
                raise ValueError(f"route {route!r} can not be a folder below the path")

    def send(self, records: list[Record], route: str = "") -> int:
        """Take records for the slice in work; returns how many.

        Args:
            records: What to write.
            route: A folder below the path to write into.

        Raises:
            ValueError: The route can not be one.
        """
        self.verify(route)
        self._begin()
        groups = group_by_folder(records, self._options.partition_by)
        parts = {}
        if (
            self._encoder.is_appendable
        ):  # all is encoded before any is taken, so that a failing call takes nothing
            parts = {folder: self._encoder.encode(group) for folder, group in groups.items()}
        for folder, group in groups.items():
            place = "/".join(part for part in (route, folder) if part)
            if folder in parts:
                self._parts.setdefault(place, []).append(parts[folder])
            else:
                self._records.setdefault(place, []).extend(group)
        return len(records)

    def commit(self) -> None:
        """Make what was sent for the slice in work its only output; a second call does it again.

        Raises:
            OSError: Writing failed.
            OperationError: Another attempt of the slice is writing.
        """
        self._begin()
        slice_ = self._ctx.slice
        assert slice_ is not None, "a commit comes at the end of a slice"
        name = "-".join(part for part in (slice_.ex_id, slice_.slice_id, self._label) if part)
        contents = {place: b"".join(parts) for place, parts in self._parts.items()}
        contents |= {place: self._encoder.encode(records) for place, records in self._records.items()}
        files = {
            f"{place}/{name}{self._options.suffix}" if place else name + self._options.suffix: content
            for place, content in contents.items()
            if content
        }
        is_single = not self._options.partition_by and all("/" not in path for path in files)
        self._files.commit(name, files, only_file=name + self._options.suffix if is_single else None)

    def _begin(self) -> None:
        """Forget what was sent in another slice or attempt."""
        work = (self._ctx.slice, self._ctx.attempt)
        if work != self._work:
            self._work = work
            self._records = {}
            self._parts = {}


@api("file_sender_api", config=FileSenderApiConfig)
class FileSenderApi(ApiFactory):
    """Makes `FileSender`s; its own options are their defaults."""

    @override
    def initialize(self) -> None:
        self._senders: dict[str, FileSender] = {}

    @override
    def create(self, name: str, overrides: Mapping[str, Any]) -> Any:
        options = attrs.evolve(self.config, **overrides)
        label = _label(self.execution, self.position, options.path)
        client = "" if name == self.name else quote(name, safe="")
        sender = FileSender(options, self.ctx, self.reject, label="-".join(filter(None, (label, client))))
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
    def initialize(self) -> None:
        api_name = self.config.linked_api
        self._is_mine = api_name is None
        if api_name is None:
            label = _label(self.execution, self.position, self.config.path)
            self._sender = FileSender(self.config, self.ctx, self.reject, label=label)
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

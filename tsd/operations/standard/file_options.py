"""Options that readers and writers of files share; they stand on an operation or on the API that it names."""

from collections.abc import Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.config import opt

FORMATS = ("ldjson", "json", "csv", "tsv", "raw")
COMPRESSIONS = ("none", "gzip")
_DEFAULT_SIZE_B = 10_000_000
_FIELD_DELIMITERS = {"csv": ",", "tsv": "\t"}


def _format(value: object) -> str | None:
    return None if value is None else formats.one_of(FORMATS)(value)


def _delimiter(value: object) -> str | None:
    if value is None:
        return None
    return formats.required_string(value)


@attrs.define(kw_only=True, slots=False)
class FileOptions:
    """Options of both sides.

    `path` and `format` may be absent only from an operation that names an API, which has them then.
    """

    path: str | None = opt(None, doc="file or folder to read, or folder to write into")
    format: str | None = opt(None, convert=_format, doc=f"one of {', '.join(FORMATS)}")
    compression: str = opt("none", choices=COMPRESSIONS, doc="none or gzip")
    file_per_slice: bool | None = opt(
        None, doc="readers: a whole file is a slice, always so for json and gzip; writers always do"
    )
    line_delimiter: str | None = opt(None, convert=_delimiter, doc="what ends a record; a line break")
    field_delimiter: str | None = opt(
        None, convert=_delimiter, doc="what separates columns; a comma, or a tab"
    )
    fields: list[str] = opt([], doc="names of columns; when writing JSON the fields to write")

    @property
    def columns_delimiter(self) -> str:
        """What separates columns."""
        return self.field_delimiter or _FIELD_DELIMITERS.get(self.format or "", ",")

    @property
    def delimiter(self) -> bytes:
        """What ends a record."""
        return (self.line_delimiter or "\n").encode()

    @property
    def is_table(self) -> bool:
        """Whether records are rows of columns."""
        return self.format in _FIELD_DELIMITERS

    def file_faults(self) -> Iterator[tuple[str, str]]:
        """Faults that both sides share."""
        if getattr(self, "linked_api", None) is None:
            for name in ("path", "format"):
                if not getattr(self, name):
                    yield name, "This field is required, here or on the API that _api_name names"
        if self.format == "tsv" and self.field_delimiter not in (None, "\t"):
            yield "field_delimiter", "tsv takes only a tab"
        if self.is_table and len(self.columns_delimiter) != 1:
            yield "field_delimiter", "must be one character"


def _size(value: object) -> int:
    size = formats.number(value)
    if size < 1:
        raise ValueError("must be greater than zero")
    return int(size)


@attrs.define(kw_only=True, slots=False)
class ReaderOptions(FileOptions):
    """Options of file readers."""

    size: int = opt(_DEFAULT_SIZE_B, convert=_size, doc="bytes in a slice")
    remove_header: bool = opt(
        True, doc="csv and tsv: the first row names the columns, or repeats `fields`, and is no record"
    )
    ignore_empty: bool = opt(True, doc="csv and tsv: leave empty columns out")

    @property
    def reads_whole_files(self) -> bool:
        """Whether a file is one slice, whatever its size."""
        if self.file_per_slice or self.format == "json" or self.compression != "none":
            return True
        delimiter = self.delimiter  # one that overlaps itself can not be found from the middle of a file
        return any(delimiter.startswith(delimiter[i:]) for i in range(1, len(delimiter)))

    @override
    def file_faults(self) -> Iterator[tuple[str, str]]:
        """Faults of reader options."""
        yield from super().file_faults()
        if self.file_per_slice is False and (self.format == "json" or self.compression != "none"):
            yield "file_per_slice", "must be true for json and for compressed files"


def _partition(value: Any) -> list[str]:
    return [] if value is None else formats.string_list(value)


def _extension(value: object) -> str | None:
    return formats.optional_string(value)


@attrs.define(kw_only=True, slots=False)
class WriterOptions(FileOptions):
    """Options of file writers."""

    include_header: bool = opt(False, doc="csv and tsv: begin each file with the names of the columns")
    extension: str | None = opt(None, convert=_extension, doc="of files; the format, and .gz")
    partition_by: list[str] = opt(
        [], convert=_partition, doc="fields whose values become folders, as field=value; tsd's own"
    )
    durable: bool = opt(True, doc="a slice is done only when its files are on the disk; tsd's own")

    @property
    def suffix(self) -> str:
        """End of file names, with its dot."""
        if self.extension is not None:
            return (
                self.extension
                if self.extension.startswith(".") or not self.extension
                else f".{self.extension}"
            )
        text = "" if self.format == "raw" else f".{self.format}"
        return text + (".gz" if self.compression == "gzip" else "")

    @override
    def file_faults(self) -> Iterator[tuple[str, str]]:
        """Faults of writer options."""
        yield from super().file_faults()
        if self.file_per_slice is False and (self.format == "json" or self.compression != "none"):
            yield "file_per_slice", "must be true for json and for compressed files"
        if self.extension is not None and "/" in self.extension:
            yield "extension", "must not hold a slash"

"""Options that readers and writers of files share; they stand on an operation or on the API that it names."""

import csv
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.config import opt
from tsd.operations.standard.byte_slices import overlaps_itself
from tsd.operations.standard.compression import READABLE, SUFFIXES, WRITABLE
from tsd.operations.standard.csv_arguments import csv_arguments

FORMATS = ("ldjson", "json", "csv", "tsv", "raw")
_DEFAULT_SIZE_B = 10_000_000
_DEFAULT_MOST_B = 4_294_967_296
_DEFAULT_CONCURRENCY = 10
_QUOTING = (("quote", '"'), ("escape", None))
_FIELD_DELIMITERS = {"csv": ",", "tsv": "\t"}

Reject = Callable[[Any, BaseException], Any]
"""Takes what is no record, or can not be written, and why; raises or returns."""


def _format(value: object) -> str | None:
    return None if value is None else formats.one_of(FORMATS)(value)


def _path(value: object) -> str | None:
    if isinstance(value, str) and value.startswith("~"):
        raise ValueError("~ is not expanded: write the whole path, or ./~ when a name begins so")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("must have no null characters")
    return formats.optional_string(value)


def _delimiter(value: object) -> str | None:
    if value is None:
        return None
    return formats.required_string(value)


@attrs.define(kw_only=True, slots=False)
class FileOptions:
    """Options of both sides.

    `path` and `format` may be absent only from an operation that names an API, which has them then.
    """

    path: str | None = opt(
        None,
        convert=_path,
        doc="file or folder to read, or folder to write into; better a whole path, as others begin at the "
        "working directory of the node",
    )
    format: str | None = opt(None, convert=_format, doc=f"one of {', '.join(FORMATS)}")
    compression: str = opt("none", choices=WRITABLE, doc="how files are compressed")
    file_per_slice: bool | None = opt(
        None,
        doc="readers: a whole file is a slice, always so for json and compressed files; writers always do",
    )
    line_delimiter: str | None = opt(None, convert=_delimiter, doc="what ends a record; a line break")
    field_delimiter: str | None = opt(
        None, convert=_delimiter, doc="what separates columns; a comma, or a tab"
    )
    fields: list[str] = opt(
        [],
        doc="names of columns; when writing JSON the only keys to write, also in objects within the record",
    )

    @property
    def columns_delimiter(self) -> str:
        """What separates columns."""
        return self.field_delimiter or _FIELD_DELIMITERS.get(self.format or "", ",")

    @property
    def delimiter(self) -> bytes:
        """What ends a record."""
        return (self.line_delimiter or "\n").encode()

    @property
    def line_end(self) -> str:
        """`delimiter` as text."""
        return self.line_delimiter or "\n"

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
        if self.is_table and (len(self.columns_delimiter) != 1 or self.columns_delimiter in '\r\n"'):
            yield "field_delimiter", "must be one character, no line break and no quote"
        if self.is_table and (self.columns_delimiter in self.line_end or '"' in self.line_end):
            yield "line_delimiter", "must not hold the field delimiter or a quote"
        if self.is_table and len(set(self.fields)) < len(self.fields):
            yield "fields", "must not name a column twice"


def _size(value: object) -> int:
    size = formats.number(value)
    if size < 1:
        raise ValueError("must be greater than zero")
    return int(size)


@attrs.define(kw_only=True, slots=False)
class ReaderOptions(FileOptions):
    """Options of file readers."""

    compression: str = opt("none", choices=READABLE, doc="how files are compressed")
    size: int = opt(_DEFAULT_SIZE_B, convert=_size, doc="bytes in a slice")
    remove_header: bool = opt(
        True, doc="csv and tsv: the first row names the columns, or repeats `fields`, and is no record"
    )
    ignore_empty: bool = opt(True, doc="csv and tsv: leave empty columns out")
    extra_args: dict[str, Any] = opt(
        {},
        convert=csv_arguments,
        doc="csv and tsv: delimiter, quote, escape, trim, ignoreEmpty, checkColumn and relax, "
        "which win over the other options",
    )
    max_decompressed: int = opt(
        _DEFAULT_MOST_B,
        convert=_size,
        doc="bytes that a compressed file may become; the slice of one that becomes more fails; tsd's own",
    )

    @property
    @override
    def columns_delimiter(self) -> str:
        return str(self.extra_args.get("delimiter", super().columns_delimiter))

    @property
    def dialect(self) -> dict[str, Any]:
        """How Python's csv module reads the rows."""
        quote, escape = self.extra_args.get("quote", '"'), self.extra_args.get("escape")
        has_escape = escape is not None and escape != quote
        return {
            "delimiter": self.columns_delimiter,
            "quotechar": None if quote == "off" else quote,
            "quoting": csv.QUOTE_NONE if quote == "off" else csv.QUOTE_MINIMAL,
            "doublequote": not has_escape,
            "escapechar": escape if has_escape and quote != "off" else None,
            "strict": not self.extra_args.get("relax", True),
        }

    @property
    def trims(self) -> bool:
        """Whether blanks around values are removed."""
        return bool(self.extra_args.get("trim", True))

    @property
    def leaves_empty_out(self) -> bool:
        """Whether empty columns are left out."""
        return bool(self.extra_args.get("ignoreEmpty", self.ignore_empty))

    @property
    def checks_columns(self) -> bool:
        """Whether rows with more or fewer columns than there are names are rejected."""
        return bool(self.extra_args.get("checkColumn", False))

    @property
    def reads_whole_files(self) -> bool:
        """Whether a file is one slice, whatever its size."""
        if self.file_per_slice or self.format == "json" or self.compression != "none":
            return True
        return overlaps_itself(self.delimiter)

    @property
    def boundaries(self) -> dict[str, Any]:
        """The options that say where records begin and end, for `Origin.options`; defaults are left out."""
        options: dict[str, Any] = {"format": self.format}
        if self.delimiter != b"\n":
            options["line_delimiter"] = self.line_delimiter
        if self.compression != "none":
            options["compression"] = self.compression
        if self.file_per_slice:
            options["file_per_slice"] = True
        if self.is_table:  # which quotes are some decides where rows end
            if self.columns_delimiter != _FIELD_DELIMITERS[str(self.format)]:
                options["field_delimiter"] = self.columns_delimiter
            for name, default in _QUOTING:
                if self.extra_args.get(name, default) != default:
                    options[name] = self.extra_args[name]
        return options

    @override
    def file_faults(self) -> Iterator[tuple[str, str]]:
        """Faults of reader options."""
        yield from super().file_faults()
        if self.file_per_slice is False and (self.format == "json" or self.compression != "none"):
            yield "file_per_slice", "must be true for json and for compressed files"
        if self.is_table and self.columns_delimiter in (
            self.dialect["quotechar"],
            self.dialect["escapechar"],
        ):
            yield "extra_args", "delimiter, quote and escape must differ"
        signs = (self.extra_args.get("quote"), self.extra_args.get("escape"))
        if self.is_table and any(isinstance(sign, str) and sign in self.line_end for sign in signs):
            yield "extra_args", "quote and escape must not be in line_delimiter"


def _partition(value: Any) -> list[str]:
    return [] if value is None else formats.string_list(value)


def _concurrency(value: object) -> float:
    concurrency = formats.number(value)
    if concurrency <= 0:
        raise ValueError("must be greater than zero")
    return concurrency


def _extension(value: object) -> str | None:
    return formats.optional_string(value)


@attrs.define(kw_only=True, slots=False)
class WriterOptions(FileOptions):
    """Options of file writers."""

    include_header: bool | None = opt(
        None,
        doc="csv and tsv: begin each file with the names of the columns; by default when `fields` does not "
        "give them",
    )
    extension: str | None = opt(
        None, convert=_extension, doc="of files; the format, and .gz, .lz4 or .zst; empty for none"
    )
    concurrency: float = opt(
        _DEFAULT_CONCURRENCY,
        convert=_concurrency,
        doc="accepted and without effect: a slice's files are written in turn and synced together",
    )
    partition_by: list[str] = opt(
        [], convert=_partition, doc="fields whose values become folders, as field=value; tsd's own"
    )
    durable: bool = opt(True, doc="a slice is done only when its files are on the disk; tsd's own")

    @property
    def writes_header(self) -> bool:
        """Whether files of tables begin with the names of their columns."""
        return not self.fields if self.include_header is None else self.include_header

    @property
    def agrees_on_columns(self) -> bool:
        """Whether only the order of values tells columns apart, so that all files need the same columns."""
        return self.is_table and not self.fields and not self.writes_header

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
        return text + SUFFIXES[self.compression]

    @override
    def file_faults(self) -> Iterator[tuple[str, str]]:
        """Faults of writer options."""
        yield from super().file_faults()
        if self.file_per_slice is False and (self.format == "json" or self.compression != "none"):
            yield "file_per_slice", "must be true for json and for compressed files"
        if self.extension is not None and "/" in self.extension:
            yield "extension", "must not hold a slash"

    def table_warnings(self) -> Iterator[tuple[str, str]]:
        """What to know of tables that are written without names of columns."""
        if self.is_table and not self.fields:
            yield (
                "fields",
                f"{self.format} is written without `fields`, so "
                + (
                    "each file has the columns of the records of its slice, and a header with their names; "
                    "files may differ"
                    if self.writes_header
                    else "the first slice that is written decides on the columns, and records with other "
                    "fields are rejected"
                )
                + "; name the columns in `fields`",
            )

"""Records to bytes of files, and to the folders of partitions."""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from tsd.operations.record import Record
from tsd.operations.standard.compression import compress
from tsd.operations.standard.file_options import Reject, WriterOptions

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Stands for a missing value in the name of a partition's folder, as other tools expect."""
_LONGEST_NAME = 200
_encoder = msgspec.json.Encoder()


class FileEncoder:
    """Makes bytes of records as the options say."""

    def __init__(self, options: WriterOptions, reject: Reject) -> None:
        self._options = options
        self._reject = reject
        self._delimiter = options.delimiter
        self.is_appendable = options.format in {"ldjson", "raw"} and options.compression == "none"
        """Whether the content of a file is that of its parts, one after another."""
        self.columns: dict[str, None] = {}
        """Columns of a table that all files of the output share; a record with other fields is rejected."""

    def encode(self, records: Sequence[Record]) -> bytes:
        """The content of a file; empty when nothing is left after rejects."""
        match self._options.format:
            case "ldjson":
                data = self._ldjson(self._chosen(records))
            case "json":
                data = self._json(self._chosen(records))
            case "raw":
                data = self._raw(records)
            case _:
                data = self._table(records)
        return compress(data, self._options.compression) if data else data

    def _chosen(self, records: Sequence[Record]) -> Sequence[dict[str, Any]]:
        fields = self._options.fields
        if not fields:
            return records
        return [_only(record, fields) for record in records]

    def _ldjson(self, records: Sequence[dict[str, Any]]) -> bytes:
        if self._delimiter == b"\n":
            try:
                return _encoder.encode_lines(records)
            except (TypeError, ValueError):
                pass  # find out which ones, and keep the others
        return b"".join([text + self._delimiter for text in self._texts(records)])

    def _json(self, records: Sequence[dict[str, Any]]) -> bytes:
        texts = self._texts(records)
        return b"[" + b",".join(texts) + b"]" + self._delimiter if texts else b""

    def _texts(self, records: Sequence[dict[str, Any]]) -> list[bytes]:
        texts = []
        for record in records:
            try:
                texts.append(_encoder.encode(record))
            except (TypeError, ValueError) as error:
                self._reject(record, error)
        return texts

    def _raw(self, records: Sequence[Record]) -> bytes:
        texts = []
        for record in records:
            data = record.get("data")
            if isinstance(data, str | bytes):
                texts.append((data.encode() if isinstance(data, str) else data) + self._delimiter)
            else:
                self._reject(
                    record, TypeError("raw files are written from the field data, which holds no text")
                )
        return b"".join(texts)

    def _table(self, records: Sequence[Record]) -> bytes:
        options = self._options
        names = options.fields or list(self.columns) or names_of(records)
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=options.columns_delimiter, lineterminator=self._delimiter.decode())
        if options.writes_header and names:
            writer.writerow(names)
        for record in records:
            try:
                self._check_columns(record)
                writer.writerow([_cell(record.get(name)) for name in names])
            except (TypeError, ValueError, csv.Error) as error:
                self._reject(record, error)
        return out.getvalue().encode()

    def _check_columns(self, record: Record) -> None:
        """Refuse a record that would lose a field.

        Raises:
            ValueError: It has one that is none of the columns on which the files agree.
        """
        if self.columns and (others := [name for name in record if name not in self.columns]):
            raise ValueError(
                f"the record has the fields {', '.join(others)}, which are no columns of this output: the "
                f"first slice that was written made them {', '.join(self.columns)}; name all in `fields`, or "
                "leave include_header out, so that each file names its own"
            )


def names_of(records: Iterable[Record]) -> list[str]:
    """The names of all fields, in the order in which they come."""
    return list(dict.fromkeys(name for record in records for name in record))


def _only(value: Any, fields: Sequence[str]) -> Any:
    """A JSON value with only these keys, also in the objects within it, as Teraslice has it."""
    if isinstance(value, dict):
        return {name: _only(value[name], fields) for name in fields if name in value}
    if isinstance(value, list | tuple):
        return [_only(item, fields) for item in value]
    return value


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return _encoder.encode(value).decode()


def group_by_folder(records: Iterable[Record], fields: Sequence[str]) -> dict[str, list[Record]]:
    """Records by the folder of their partition, for example `carrier=UA/month=3`; "" without fields."""
    if not fields:
        return {"": list(records)}
    groups = _group(records, fields[0])
    folders: dict[str, list[Record]] = {}
    for value, group in groups.items():
        folder = _folder(fields[0], value)
        for rest, members in group_by_folder(group, fields[1:]).items():
            folders.setdefault(f"{folder}/{rest}" if rest else folder, []).extend(members)
    return folders


def _group(records: Iterable[Record], field: str) -> dict[str | None, list[Record]]:
    groups: defaultdict[str | None, list[Record]] = defaultdict(list)
    for record in records:
        value = record.get(field)
        groups[value if value.__class__ is str else _key(value)].append(record)
    return groups


def _key(value: Any) -> str | None:
    """Text that tells values apart: as values, 1 and true would be one."""
    if value is None or isinstance(value, str):
        return value
    return _encoder.encode(value).decode()


def _visible(name: str) -> str:
    """The name of a field with its first character escaped where readers would skip a folder with it."""
    return f"%{ord(name[0]):02X}{name[1:]}" if name[0] in "._" else name


def _folder(field: str, value: str | None) -> str:
    text = NO_VALUE if value is None or value == "" else quote(value, safe=" ,:+@")
    name = f"{_visible(quote(field, safe=' '))}={text}"
    if len(name) > _LONGEST_NAME:  # file systems end at 255 bytes
        digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        name = f"{name[:_LONGEST_NAME]}~{digest}"
    return name

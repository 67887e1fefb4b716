"""Records: dictionaries with metadata that never shows in their data."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Self, cast

import msgspec
from typing_extensions import override

from tsd.operations.dates import now_ms, parse_time, to_datetime
from tsd.shown import in_json

ENCODINGS = ("json", "raw")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types of values that can not be changed, so that copies may share them."""


class Record(dict[str, Any]):
    """One record: its fields as a dictionary, and metadata beside them.

    `Record(data)` copies shallowly, as `dict(data)` does. Metadata is made when it is first looked at, as
    most records of most jobs never need any; a record that its reader gave an origin has the create time of
    the origin, any other that of the first look.
    """

    __slots__ = ("_metadata", "_origin", "_raw")
    # No __init__: it would more than double what a record costs. A slot that was never set raises
    # AttributeError.

    _metadata: dict[str, Any]
    _origin: Mapping[str, Any]
    _raw: bytes

    @classmethod
    def make(cls, value: object, metadata: Mapping[str, Any] | None = None) -> Self:
        """The value itself when it is a record, else a record of it; `metadata` is merged in.

        Raises:
            TypeError: It is no mapping.
        """
        if isinstance(value, cls):
            record = value
        elif isinstance(value, Mapping):
            record = cls(value)
        else:
            raise TypeError(f"a record is made of a mapping, not of {type(value).__name__}")
        if metadata:
            record.metadata.update(metadata)
        return record

    @classmethod
    def make_many(cls, values: Iterable[object]) -> list[Self]:
        """A record for each value, not only for the first."""
        return [cls.make(value) for value in values]

    @classmethod
    def from_bytes(
        cls, data: bytes, encoding: str = "json", metadata: Mapping[str, Any] | None = None
    ) -> Self:
        """Decode a record; with `raw` it has no fields and holds the bytes.

        Raises:
            ValueError: The bytes are no JSON object, or the encoding is unknown.
        """
        if encoding == "raw":
            record = cls()
            record.set_raw_data(data)
        elif encoding == "json":
            record = cls(_json_object(data))
        else:
            raise ValueError(f"unknown encoding {encoding!r}; use json or raw")
        if metadata:
            record.metadata.update(metadata)
        return record

    def to_bytes(self, encoding: str = "json") -> bytes:
        """The fields as JSON, or with `raw` the bytes that it holds.

        Raises:
            ValueError: There are no raw bytes, or the encoding is unknown.
        """
        if encoding == "json":
            return _encode(self)
        if encoding == "raw":
            return self.get_raw_data()
        raise ValueError(f"unknown encoding {encoding!r}; use json or raw")

    def fork(self, *, with_data: bool = True) -> Self:
        """A new record with the same metadata, and with a shallow copy of the data unless told otherwise."""
        copy = type(self)(self if with_data else ())
        metadata = dict(self.metadata)
        if not with_data:
            metadata["_createTime"] = now_ms()
        copy._metadata = metadata  # noqa: SLF001 - its own class
        raw = getattr(self, "_raw", None)
        if with_data and raw is not None:
            copy._raw = raw  # noqa: SLF001 - its own class
        return copy

    def clone(self) -> Self:
        """A copy that shares nothing that can be changed: fields are copied as deep as JSON goes."""
        copy = type(self)(self)
        for name, value in self.items():
            if value.__class__ not in _PLAIN:
                copy[name] = cloned(value)
        metadata = getattr(self, "_metadata", None)
        if metadata is not None:
            copy._metadata = dict(metadata)  # noqa: SLF001 - its own class
        elif hasattr(self, "_origin"):
            copy._origin = self._origin  # noqa: SLF001 - its own class
        raw = getattr(self, "_raw", None)
        if raw is not None:
            copy._raw = raw  # noqa: SLF001 - its own class
        return copy

    @staticmethod
    def stamp(records: "list[Record]", origin: Mapping[str, Any]) -> None:
        """Say where new records came from: metadata that all records of a slice share.

        Args:
            records: Records whose metadata nobody has looked at yet.
            origin: Metadata; kept, not copied, and never changed through a record.
        """
        for record in records:
            record._origin = origin  # noqa: SLF001 - its own class

    @property
    def metadata(self) -> dict[str, Any]:
        """All metadata, live: what is put in here is metadata of the record."""
        try:
            return self._metadata
        except AttributeError:
            metadata = dict(getattr(self, "_origin", ()))
            if "_createTime" not in metadata:
                metadata["_createTime"] = now_ms()
            self._metadata = metadata
            return metadata

    def get_metadata(self, name: str, default: Any = None) -> Any:
        """One value of the metadata."""
        return self.metadata.get(name, default)

    def set_metadata(self, name: str, value: Any) -> None:
        """Set one value of the metadata.

        Raises:
            ValueError: The name is empty, or it is the create time, which never changes.
        """
        if not name:
            raise ValueError("metadata needs a name")
        if name == "_createTime":
            raise ValueError("the create time of a record never changes")
        if name == "_key":
            self.set_key(value)
        else:
            self.metadata[name] = value

    def get_key(self) -> str | int | float:
        """The key.

        Raises:
            LookupError: None was set.
        """
        key = self.metadata.get("_key")
        if key is None:
            raise LookupError("the record has no key")
        return cast("str | int | float", key)

    def set_key(self, key: object) -> None:
        """Set the key: text that is not empty, or a number.

        Raises:
            ValueError: It is neither.
        """
        is_text = isinstance(key, str) and key != ""
        is_number = key.__class__ is int or (key.__class__ is float and math.isfinite(key))
        if not (is_text or is_number):
            raise ValueError(f"{in_json(key)} is no key: text that is not empty, or a number")
        self.metadata["_key"] = key

    def get_raw_data(self) -> bytes:
        """The raw bytes.

        Raises:
            ValueError: None were set.
        """
        raw = getattr(self, "_raw", None)
        if raw is None:
            raise ValueError("the record holds no raw data")
        return cast("bytes", raw)

    def get_raw_data_or_none(self) -> bytes | None:
        """The raw bytes, or None when none were set."""
        return getattr(self, "_raw", None)

    def set_raw_data(self, data: bytes | str | None) -> None:
        """Keep raw bytes beside the fields; text becomes UTF-8, None clears."""
        if data is None:
            if hasattr(self, "_raw"):
                del self._raw
            return
        self._raw = data.encode() if isinstance(data, str) else bytes(data)

    def get_create_time(self) -> datetime:
        """When the record was made."""
        return to_datetime(self.metadata["_createTime"])

    def get_ingest_time(self) -> datetime | None:
        """When the source stored the record; None when unknown."""
        return self._time("_ingestTime")

    def set_ingest_time(self, value: object = None) -> None:
        """Set when the source stored it: a time as `tsd.operations.dates` reads it; None is now."""
        self._set_time("_ingestTime", value)

    def get_process_time(self) -> datetime | None:
        """When the reader took the record; None when unknown."""
        return self._time("_processTime")

    def set_process_time(self, value: object = None) -> None:
        """Set when the reader took it: a time as `tsd.operations.dates` reads it; None is now."""
        self._set_time("_processTime", value)

    def get_event_time(self) -> datetime | None:
        """When what the record tells of happened; None when unknown."""
        return self._time("_eventTime")

    def set_event_time(self, value: object = None) -> None:
        """Set when it happened: a time as `tsd.operations.dates` reads it; None is now."""
        self._set_time("_eventTime", value)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        raw = getattr(self, "_raw", None)
        return _restore, (dict(self), dict(self.metadata), raw)

    def _time(self, name: str) -> datetime | None:
        value = self.metadata.get(name)
        return None if value is None else to_datetime(value)

    def _set_time(self, name: str, value: object) -> None:
        self.metadata[name] = now_ms() if value is None or value == "" else parse_time(value)


def cloned(value: Any) -> Any:
    """A copy of a value that shares nothing that can be changed, as deep as JSON goes."""
    if value.__class__ in _PLAIN:
        return value
    try:
        return _clone(value)
    except RecursionError:
        return _clone_deep(value)


def _clone(value: Any) -> Any:
    if isinstance(value, Record):
        return value.clone()
    if isinstance(value, dict):
        return {name: _clone(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_clone(each) for each in value]
    return value


def _clone_deep(value: Any) -> Any:
    """As `_clone`, without going deeper into the stack for each level; slower."""
    result: list[Any] = [None]
    todo: list[tuple[Any, Any, Any]] = [(result, 0, value)]
    while todo:
        place, at, each = todo.pop()
        if isinstance(each, Record):
            place[at] = each.clone()
        elif isinstance(each, dict):
            made: Any = dict.fromkeys(each)
            place[at] = made
            todo += [(made, name, inner) for name, inner in each.items()]
        elif isinstance(each, list):
            made = [None] * len(each)
            place[at] = made
            todo += [(made, index, inner) for index, inner in enumerate(each)]
        else:
            place[at] = each
    return result[0]


def _restore(data: dict[str, Any], metadata: dict[str, Any], raw: bytes | None) -> Record:
    record = Record(data)
    record.metadata.update(metadata)
    record.set_raw_data(raw)
    return record


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = _decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"a record is a JSON object, not {type(value).__name__}")  # noqa: TRY004 - a fault of the bytes
    return value

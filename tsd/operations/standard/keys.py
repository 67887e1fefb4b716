"""set_key, remove_key and add_key: what a record is named by."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.geo import truncated
from tsd.operations.standard.paths import MISSING, drop_path, get_path, set_path
from tsd.operations.standard.texts import teraslice_text, text_of, utf16_order
from tsd.operations.standard.values import canonical, told
from tsd.operations.windows import WindowProcessor

ALGORITHMS = ("md4", "md5", "sha1", "sha256", "sha512", "whirlpool")
STYLES = ("safe", "teraslice")
_KEY = "_key"
_SCALARS = frozenset({str, int, float, bool})


@attrs.define(kw_only=True)
class SetKeyConfig(OpConfig):
    """Options of set_key."""

    field: str = opt(_KEY, convert=formats.required_string, doc="path of the field that holds the key")


@operation("set_key", config=SetKeyConfig)
class SetKey(WindowProcessor):
    """Makes the value of a field the key of its record; one without a usable value is rejected."""

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        field = self.config.field
        kept = []
        for record in records:
            try:
                record.set_key(_value(record, field))
            except RECORD_FAULTS as error:
                self.reject(record, told(error, f"field {field}: "))
            else:
                kept.append(record)
        return kept


def _value(record: Record, path: str) -> Any:
    value = get_path(record, path)
    return None if value is MISSING else value


@operation("remove_key")
class RemoveKey(WindowProcessor):
    """Takes the keys of records away."""

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        for record in records:
            record.metadata.pop(_KEY, None)
        return records


def _algorithm(value: object) -> str:
    name = formats.one_of(ALGORITHMS)(value)
    try:
        hashlib.new(name, usedforsecurity=False)
    except ValueError as error:
        raise ValueError(f"the Python that runs here has no {name}; others are md5 and sha256") from error
    return name


def _count(value: object) -> int:
    return formats.natural(value)


def _list(value: object) -> list[str]:
    return [] if value is None else formats.string_list(value)


@attrs.define(kw_only=True)
class AddKeyConfig(OpConfig):
    """Options of add_key."""

    key_name: str = opt(
        _KEY,
        convert=formats.required_string,
        doc="path of the field, and name of the metadata, that get the key",
    )
    key_fields: list[str] = opt(
        [], convert=_list, doc="paths of the fields that make it, in order; all of them"
    )
    invert_key_fields: bool = opt(
        False, doc="make it of all the other fields; in the style of Teraslice key_fields are names then"
    )
    hash_algorithm: str = opt("md5", convert=_algorithm, doc=f"one of {', '.join(ALGORITHMS)}")
    minimum_field_count: int = opt(0, convert=_count, doc="drop a record with fewer values than that")
    preserve_original_key: bool = opt(False, doc="copy the key before to the field _original_key")
    delete_original: bool = opt(False, doc="copy the key before to the metadata _delete_id")
    truncate_location: list[str] = opt(
        [], convert=_list, doc="paths of fields that hold places, to be cut off first"
    )
    truncate_location_places: int = opt(4, convert=_count, doc="decimal places that are left")
    style: str = opt(
        "safe",
        choices=STYLES,
        doc="safe: no two sets of values are alike; teraslice: as Teraslice; tsd's own",
    )

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if self.invert_key_fields and not self.key_fields:
            yield "invert_key_fields", "needs key_fields"


@operation("add_key", config=AddKeyConfig)
class AddKey(WindowProcessor):
    """Makes a key of the values of fields: their hash, as base64url without padding.

    Null and what is empty do not count. The safe style hashes the path and the length of each value with
    the value, so no two sets of values are alike; a record with none of the fields is rejected, as all of
    them would get one key. With `style: teraslice` the values are hashed one behind the other, as Teraslice
    does, so 1 and 23 give the key of 12 and 3. Both give equal records one key, in whatever order objects
    have their names.

    Places in `truncate_location` are cut off toward zero for the key; they may be GeoJSON points, objects
    with lat and lon, arrays `[lon, lat]`, `"lat,lon"`, `POINT (lon lat)`, geohashes, or single coordinates,
    as numbers or as text. A record whose place can not be read is rejected.
    """

    @override
    def initialize(self) -> None:
        config = self.config
        self._places = frozenset(config.truncate_location)
        self._listed = config.key_fields if not config.invert_key_fields else None
        self._left_out = frozenset(config.key_fields)
        self._is_safe = config.style == "safe"
        self._left_out_within = [path for path in config.key_fields if self._is_safe and "." in path]

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        config = self.config
        kept = []
        for record in records:
            try:
                parts = self._parts(record)
                if len(parts) < config.minimum_field_count:
                    continue
                if self._is_safe and self._listed and not parts:
                    raise ValueError("the record has none of the fields that make its key")
                self._add(record, _digest(config.hash_algorithm, "".join(parts)))
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
            else:
                kept.append(record)
        return kept

    def _add(self, record: Record, key: str) -> None:
        config = self.config
        before = record.metadata.get(_KEY)
        set_path(record, config.key_name, key)
        if before is not None and config.preserve_original_key:
            record["_original_key"] = before
        if before is not None and config.delete_original:
            record.metadata["_delete_id"] = before
        record.metadata[config.key_name] = key

    def _parts(self, record: Record) -> list[str]:
        """What is hashed, one text for each value."""
        parts = []
        for name, value in self._values(record):
            if value is MISSING or value is None or value in ([], {}):
                continue
            if name in self._places:
                try:
                    value = truncated(value, self.config.truncate_location_places)  # noqa: PLW2901 - the same place
                except ValueError as error:
                    raise told(error, f"field {name}: ") from error
            if self._is_safe:
                text = text_of(value) if value.__class__ in _SCALARS else canonical(value).decode()
                parts.append(f"{name}={len(text)}:{text}")
            else:
                parts.append(teraslice_text(value))
        return parts

    def _values(self, record: Record) -> Iterator[tuple[str, Any]]:
        """The paths that make the key, with their values."""
        if self._listed:
            return ((name, get_path(record, name)) for name in self._listed)
        whole: dict[str, Any] = record
        if self._left_out_within:
            whole = record.clone()
            for path in self._left_out_within:
                drop_path(whole, path)
        names = whole.keys() - self._left_out
        ordered = sorted(names) if self._is_safe else sorted(names, key=utf16_order)
        return ((name, whole[name]) for name in ordered)


def _digest(algorithm: str, text: str) -> str:
    digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

"""set_key, remove_key and add_key: what a record is named by."""

import base64
import hashlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.standard.paths import MISSING, get_path
from tsd.operations.standard.texts import text_of
from tsd.operations.windows import WindowProcessor

ALGORITHMS = ("md4", "md5", "sha1", "sha256", "sha512", "whirlpool")
STYLES = ("safe", "teraslice")
_KEY = "_key"


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
            except ValueError as error:
                self.reject(record, f"field {field}: {error}")
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

    key_name: str = opt(_KEY, convert=formats.required_string, doc="field and metadata that get the key")
    key_fields: list[str] = opt(
        [], convert=_list, doc="paths of the fields that make it, in order; all of them"
    )
    invert_key_fields: bool = opt(False, doc="make it of all the other fields")
    hash_algorithm: str = opt("md5", convert=_algorithm, doc=f"one of {', '.join(ALGORITHMS)}")
    minimum_field_count: int = opt(0, convert=_count, doc="drop a record with fewer values than that")
    preserve_original_key: bool = opt(False, doc="copy the key before to the field _original_key")
    delete_original: bool = opt(False, doc="copy the key before to the metadata _delete_id")
    truncate_location: list[str] = opt(
        [], convert=_list, doc="fields that hold places, to be rounded down first"
    )
    truncate_location_places: int = opt(4, convert=_count, doc="decimal places that rounding leaves")
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

    Null and what is empty do not count. With `style: teraslice` the values are hashed one behind the other,
    as Teraslice does, so 1 and 23 give the key of 12 and 3; the safe style hashes names and lengths, too.
    """

    @override
    def initialize(self) -> None:
        config = self.config
        self._places = frozenset(config.truncate_location)
        self._listed = config.key_fields if not config.invert_key_fields else None
        self._left_out = frozenset(config.key_fields)
        self._is_safe = config.style == "safe"

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        config = self.config
        kept = []
        for record in records:
            parts = self._parts(record)
            if len(parts) < config.minimum_field_count:
                continue
            key = _digest(config.hash_algorithm, "".join(parts))
            before = record.metadata.get(_KEY)
            if before is not None and config.preserve_original_key:
                record["_original_key"] = before
            if before is not None and config.delete_original:
                record.metadata["_delete_id"] = before
            record[config.key_name] = key
            record.metadata[config.key_name] = key
            kept.append(record)
        return kept

    def _parts(self, record: Record) -> list[str]:
        """What is hashed, one text for each value."""
        names = self._listed or sorted(record.keys() - self._left_out)
        parts = []
        for name in names:
            value = get_path(record, name)
            if value is MISSING or value is None or value in ([], {}):
                continue
            if name in self._places:
                value = truncated(value, self.config.truncate_location_places)
            text = text_of(value)
            parts.append(f"{name}={len(text)}:{text}" if self._is_safe else text)
        return parts


def _digest(algorithm: str, text: str) -> str:
    digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_GEOHASH = re.compile(r"[0-9b-hjkmnp-z]{1,12}")
_GEOHASH_BASE = "0123456789bcdefghjkmnpqrstuvwxyz"


def truncated(value: Any, places: int) -> Any:
    """A place with its coordinates rounded down.

    Args:
        value: GeoJSON, an object or array of coordinates, WKT, `lat,lon`, or a geohash.
        places: Decimal places that are left.
    """
    return _truncated(value, _cutter(places))


def _truncated(value: Any, cut: Callable[[float], float]) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return cut(value)
    if isinstance(value, list):
        return [_truncated(each, cut) for each in value]
    if isinstance(value, dict):
        return {name: _truncated(each, cut) for name, each in value.items()}
    if isinstance(value, str):
        return _truncated_text(value, cut)
    return value


def _truncated_text(text: str, cut: Callable[[float], float]) -> str:
    if _GEOHASH.fullmatch(text.lower()) and not _NUMBER.fullmatch(text):
        return ",".join(text_of(cut(number)) for number in _place_of(text.lower()))
    if "," in text or "(" in text:
        return _NUMBER.sub(lambda match: text_of(cut(float(match[0]))), text)
    return text


def _cutter(places: int) -> Callable[[float], float]:
    scale = 10**places
    return lambda number: math.floor(number * scale) / scale


def _place_of(geohash: str) -> tuple[float, float]:
    """Latitude and longitude of the middle of a geohash (https://en.wikipedia.org/wiki/Geohash)."""
    ranges = ([-180.0, 180.0], [-90.0, 90.0])
    is_latitude = False
    for letter in geohash:
        bits = _GEOHASH_BASE.index(letter)
        for shift in range(4, -1, -1):
            bounds = ranges[is_latitude]
            middle = sum(bounds) / 2
            bounds[0 if bits >> shift & 1 else 1] = middle
            is_latitude = not is_latitude
    (west, east), (south, north) = ranges
    return (south + north) / 2, (west + east) / 2

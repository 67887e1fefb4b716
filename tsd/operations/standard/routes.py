"""key_router, hash_router and field_router: where a record is to go."""

from collections.abc import Iterator

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.paths import MISSING, get_path
from tsd.operations.standard.texts import joined, text_of
from tsd.operations.standard.values import told

ROUTE = "standard:route"
"""Metadata that routers write and senders read."""

CASES = ("preserve", "lower", "upper")
ENDS = ("beginning", "end")


def _letters(value: object) -> int | None:
    if value is None:
        return None
    if formats.natural(value) < 1:
        raise ValueError("must be greater than zero")
    return int(value)  # type: ignore[call-overload,no-any-return]  # natural has looked


def _end(value: object) -> str | None:
    return None if value is None else formats.one_of(ENDS)(value)


@attrs.define(kw_only=True)
class KeyRouterConfig(OpConfig):
    """Options of key_router."""

    use: int | None = opt(None, convert=_letters, doc="how many letters of the key; all of them")
    from_: str | None = opt(None, wire="from", convert=_end, doc="beginning or end: where they are taken")
    case: str = opt("preserve", choices=CASES, doc="in which case the route is written")
    suffix_use: bool = opt(False, doc="add a suffix by the kind of the letter; works with use 1")
    suffix_upper: str = opt("", doc="suffix of upper-case letters")
    suffix_lower: str = opt("", doc="suffix of lower-case letters")
    suffix_number: str = opt("", doc="suffix of digits")
    suffix_other: str = opt("", doc="suffix of everything else")

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if (self.use is None) != (self.from_ is None):
            yield "from" if self.from_ is None else "use", "use and from come together"
        suffixes = (self.suffix_upper, self.suffix_lower, self.suffix_number, self.suffix_other)
        if self.suffix_use and self.use is None:
            yield "suffix_use", "needs use and from"
        if self.suffix_use and not any(suffixes):
            yield "suffix_use", "needs one of suffix_upper, suffix_lower, suffix_number, suffix_other"


@operation("key_router", config=KeyRouterConfig)
class KeyRouter(BatchProcessor):
    """Makes the route of the key of a record, or of some letters of it; one without a key is rejected."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        kept = []
        for record in records:
            key = record.metadata.get("_key")
            if key is None:
                self.reject(record, "the record has no key to make a route of")
                continue
            try:
                record.metadata[ROUTE] = self._route(text_of(key))
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
            else:
                kept.append(record)
        return kept

    def _route(self, key: str) -> str:
        config = self.config
        if config.use is not None:
            key = key[: config.use] if config.from_ == "beginning" else key[-config.use :]
        if config.suffix_use and len(key) == 1:
            key += self._suffix(key)
        if config.case == "preserve":
            return key
        return key.lower() if config.case == "lower" else key.upper()

    def _suffix(self, letter: str) -> str:
        if "A" <= letter <= "Z":
            return str(self.config.suffix_upper)
        if "a" <= letter <= "z":
            return str(self.config.suffix_lower)
        return str(self.config.suffix_number if "0" <= letter <= "9" else self.config.suffix_other)


_FNV_OFFSET, _FNV_PRIME, _32_BITS = 0x811C9DC5, 0x01000193, 0xFFFFFFFF


def fnv1a(text: str) -> int:
    """The 32-bit FNV-1a hash of UTF-8 text (http://www.isthe.com/chongo/tech/comp/fnv/)."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = (value ^ byte) * _FNV_PRIME & _32_BITS
    return value


def _fields(value: object) -> list[str]:
    return [] if value is None else formats.string_list(value)


@attrs.define(kw_only=True)
class HashRouterConfig(OpConfig):
    """Options of hash_router."""

    fields: list[str] = opt(
        [], convert=_fields, doc="paths of the fields that decide; the key when there are none"
    )
    partitions: int = opt(convert=formats.positive_int, doc="how many routes, from 0 on")


@operation("hash_router", config=HashRouterConfig)
class HashRouter(BatchProcessor):
    """Spreads records over so many routes; those with equal values get the same one."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        fields, partitions = self.config.fields, self.config.partitions
        kept = []
        for record in records:
            if not fields and record.metadata.get("_key") is None:
                self.reject(record, "the record has no key to make a route of")
                continue
            try:
                if fields:
                    text = "".join([_text(record, field) for field in fields])
                else:
                    text = text_of(record.metadata["_key"])
                record.metadata[ROUTE] = str(fnv1a(text) % partitions)
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
            else:
                kept.append(record)
        return kept


def _text(record: Record, path: str) -> str:
    value = get_path(record, path)
    return "" if value is MISSING else joined(value)


_UNSAFE = str.maketrans("=/", "__")


@attrs.define(kw_only=True)
class FieldRouterConfig(OpConfig):
    """Options of field_router."""

    fields: list[str] = opt(
        convert=formats.string_list, doc="paths of the fields that make the route, in order"
    )
    field_delimiter: str = opt("-", doc="between two fields")
    value_delimiter: str = opt("_", doc="between the name and the value of a field")
    include_field_names: bool = opt(True, doc="write the names, too")

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if not self.fields:
            yield "fields", "must not be empty"


@operation("field_router", config=FieldRouterConfig)
class FieldRouter(BatchProcessor):
    """Makes the route of values: `name_value-name_value`. In values `=` and `/` become `_`."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        config = self.config
        named = [
            (field, f"{field}{config.value_delimiter}" if config.include_field_names else "")
            for field in config.fields
        ]
        kept = []
        for record in records:
            try:
                record.metadata[ROUTE] = config.field_delimiter.join(
                    [prefix + _text(record, field).translate(_UNSAFE) for field, prefix in named]
                )
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
            else:
                kept.append(record)
        return kept

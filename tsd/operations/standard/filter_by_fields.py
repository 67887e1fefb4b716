"""filter_by_required_fields and filter_by_unknown_fields: let records through by the names of fields."""

from collections.abc import Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.standard.paths import path_reader, unknown_of


def _and_or(value: Any) -> str:
    return formats.one_of(("AND", "OR"))(value.upper() if isinstance(value, str) else value)


@attrs.define(kw_only=True)
class RequiredFieldsConfig(OpConfig):
    """Options of filter_by_required_fields."""

    required_fields: list[str] = opt(convert=formats.string_list, doc="paths of fields that must not be null")
    filter_type: str = opt("AND", convert=_and_or, doc="AND: all of them; OR: any")
    invert: bool = opt(False, doc="keep the records that lack them")

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if not self.required_fields:
            yield "required_fields", "must not be empty"


@operation("filter_by_required_fields", config=RequiredFieldsConfig)
class FilterByRequiredFields(BatchProcessor):
    """Keeps the records that have all or any of the fields."""

    @override
    def initialize(self) -> None:
        self._readers = [path_reader(field) for field in self.config.required_fields]

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        fields, readers, wanted = self.config.required_fields, self._readers, not self.config.invert
        combine = all if self.config.filter_type == "AND" else any
        if not any("." in field for field in fields):
            return [
                record
                for record in records
                if combine([record.get(field) is not None for field in fields]) is wanted
            ]
        return [
            record for record in records if combine(read(record) is not None for read in readers) is wanted
        ]


@attrs.define(kw_only=True)
class UnknownFieldsConfig(OpConfig):
    """Options of filter_by_unknown_fields."""

    known_fields: list[str] = opt(
        convert=formats.string_list,
        doc="paths of the only fields that records may have; `a.b` knows b within a, and nothing else there",
    )
    invert: bool = opt(False, doc="keep the records that have others")

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if not self.known_fields:
            yield "known_fields", "must not be empty"


@operation("filter_by_unknown_fields", config=UnknownFieldsConfig)
class FilterByUnknownFields(BatchProcessor):
    """Removes the records that have a field that is not in the list."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        known, wanted = frozenset(self.config.known_fields), not self.config.invert
        if any("." in name for name in known):
            return [record for record in records if (unknown_of(record, known) is None) is wanted]
        return [record for record in records if known.issuperset(record) is wanted]

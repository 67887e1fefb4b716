"""count_unique and count_by_field: how often values are there."""

from collections.abc import Callable
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record, cloned
from tsd.operations.standard.grouping import key_of, value_reader
from tsd.operations.standard.values import canonical, identity, is_absent, told

_MAX_VALUES = 1000
_TOO_ODD = "values that no key can be made of"
"""Stands for values that are nested too deeply, and the like."""


@attrs.define(kw_only=True)
class CountUniqueConfig(OpConfig):
    """Options of count_unique."""

    field: str = opt("_key", convert=formats.required_string, doc="what to count the values of")
    is_meta_field: bool = opt(True, doc="it is a name in the metadata, else the path of a field")
    preserve_fields: list[str] = opt([], doc="paths of fields whose last value that is not null is kept")


@operation("count_unique", config=CountUniqueConfig)
class CountUnique(BatchProcessor):
    """Replaces the records of a slice by one for each value: `count`, `_key` and the preserved fields.

    The value is also its key in the metadata; the JSON text of the value when it is neither text nor number.
    A record without a value is rejected.
    """

    @override
    def initialize(self) -> None:
        name = self.config.field
        self._value_of: Callable[[Record], Any] = value_reader(name)
        if self.config.is_meta_field:
            self._value_of = lambda record: record.metadata.get(name)
        self._preserved = [(field, value_reader(field)) for field in self.config.preserve_fields]

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        value_of = self._value_of
        groups: dict[object, list[Record]] = {}
        for record in records:
            value = value_of(record)
            try:
                key = key_of(value)
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
                continue
            if key is None:
                self.reject(record, f"the record has no value to count: {self.config.field} is not set")
            else:
                groups.setdefault(identity(value), []).append(record)
        return [self._counted(group) for group in groups.values()]

    def _counted(self, group: list[Record]) -> Record:
        value = self._value_of(group[0])
        result = Record(count=len(group), _key=value)
        for field, preserved_of in self._preserved:
            values = (preserved_of(record) for record in reversed(group))
            last = next((value for value in values if not is_absent(value)), None)
            if last is not None:
                result[field] = cloned(last)
        result.set_key(key_of(value))
        return result


@attrs.define(kw_only=True)
class CountByFieldConfig(OpConfig):
    """Options of count_by_field."""

    field: str = opt(convert=formats.required_string, doc="path of the field whose values are counted")
    collect_metrics: bool = opt(False, doc="count; else records only pass through")


@operation("count_by_field", config=CountByFieldConfig)
class CountByField(BatchProcessor):
    """Counts how many records have each value of a field, and passes them on as they are.

    Each worker logs its counts when it ends, as `field.counted`. Slices that failed are not in them, nor are
    attempts that were made again. Values are told as JSON text, null also stands for a missing field. After
    1000 values further ones are counted together, as `others`.
    """

    @override
    def initialize(self) -> None:
        self._value_of = value_reader(self.config.field)
        self._counts: dict[str, int] = {}
        self._pending: dict[str, int] = {}

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        if not self.config.collect_metrics:
            return records
        by_id: dict[object, tuple[Any, int]] = {}
        for value in map(self._value_of, records):
            name = _named(value)
            first, count = by_id.get(name, (value, 0))
            by_id[name] = first, count + 1
        self._pending = {
            _TOO_ODD if name is _TOO_ODD else "null" if name is None else canonical(value).decode(): count
            for name, (value, count) in by_id.items()
        }
        return records

    def on_slice_finalizing(self, slice_id: str, outcome: str) -> None:  # noqa: ARG002 - a hook
        """Count what the slice had, when it is completed."""
        if outcome == "ok":
            for text, count in self._pending.items():
                name = text if text in self._counts or len(self._counts) < _MAX_VALUES else "others"
                self._counts[name] = self._counts.get(name, 0) + count
        self._pending = {}

    @override
    def shutdown(self) -> None:
        if self.config.collect_metrics:
            self.log.info("field.counted", field=self.config.field, counts=self._counts)


def _named(value: Any) -> object:
    """What is equal for equal values, of which each can be told as text."""
    try:
        name = identity(value)
        if name is not None:
            canonical(value)
    except RECORD_FAULTS:
        return _TOO_ODD
    return name

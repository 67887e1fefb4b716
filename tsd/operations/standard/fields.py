"""set_field, copy_field and drop_field: edit fields of records."""

import copy
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.standard.paths import MISSING, drop_path, get_path, set_path


def _some_value(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


@attrs.define(kw_only=True)
class SetFieldConfig(OpConfig):
    """Options of set_field."""

    field: str = opt(convert=formats.required_string, doc="path of the field; objects on the way are made")
    value: Any = opt(convert=_some_value, doc="its value")
    overwrite: bool = opt(False, doc="also when the field is there, even as null")


@operation("set_field", config=SetFieldConfig)
class SetField(BatchProcessor):
    """Gives a field a value."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        field, value, overwrite = self.config.field, self.config.value, self.config.overwrite
        is_shared = isinstance(value, dict | list)
        for record in records:
            if overwrite or get_path(record, field) is MISSING:
                set_path(record, field, copy.deepcopy(value) if is_shared else value)
        return records


@attrs.define(kw_only=True)
class CopyFieldConfig(OpConfig):
    """Options of copy_field."""

    source: str = opt(convert=formats.required_string, doc="path of the field to copy")
    destination: str = opt(convert=formats.required_string, doc="path to copy it to")
    delete_source: bool = opt(False, doc="remove the field that was copied")


@operation("copy_field", config=CopyFieldConfig)
class CopyField(BatchProcessor):
    """Copies a field; a missing or null one copies nothing."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        source, destination = self.config.source, self.config.destination
        for record in records:
            value = get_path(record, source)
            if value is not MISSING and value is not None:
                set_path(record, destination, value)
            if self.config.delete_source and source != destination:
                drop_path(record, source)
        return records


@attrs.define(kw_only=True)
class DropFieldConfig(OpConfig):
    """Options of drop_field."""

    field: list[str] = opt(convert=formats.string_list, doc="path or paths of fields to remove")


@operation("drop_field", config=DropFieldConfig)
class DropField(BatchProcessor):
    """Removes fields."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        for path in self.config.field:
            for record in records:
                drop_path(record, path)
        return records

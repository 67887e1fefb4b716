"""set_field, copy_field, drop_field, remove_empty_fields, copy_metadata_field: edit fields of records."""

from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record, cloned
from tsd.operations.standard.paths import MISSING, drop_path, get_path, set_path
from tsd.operations.standard.values import told
from tsd.operations.windows import WindowProcessor


def _some_value(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


@attrs.define(kw_only=True)
class SetFieldConfig(OpConfig):
    """Options of set_field."""

    field: str = opt(
        convert=formats.required_string,
        doc="path of the field; objects on the way are made, an array in the way rejects the record",
    )
    value: Any = opt(convert=_some_value, doc="its value")
    overwrite: bool = opt(False, doc="also when the field is there, even as null")


@operation("set_field", config=SetFieldConfig)
class SetField(WindowProcessor):
    """Gives a field a value."""

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        field, value, overwrite = self.config.field, self.config.value, self.config.overwrite
        if "." not in field and not isinstance(value, list | dict):
            for record in records:
                if overwrite or field not in record:
                    record[field] = value
            return records
        kept = []
        for record in records:
            if overwrite or get_path(record, field) is MISSING:
                try:
                    set_path(record, field, cloned(value))
                except RECORD_FAULTS as error:
                    self.reject(record, told(error))
                    continue
            kept.append(record)
        return kept


@attrs.define(kw_only=True)
class CopyFieldConfig(OpConfig):
    """Options of copy_field."""

    source: str = opt(convert=formats.required_string, doc="path of the field to copy")
    destination: str = opt(convert=formats.required_string, doc="path to copy it to")
    delete_source: bool = opt(False, doc="remove the field that was copied")


@operation("copy_field", config=CopyFieldConfig)
class CopyField(WindowProcessor):
    """Copies a field; a missing or null one copies nothing."""

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        source, destination = self.config.source, self.config.destination
        is_move = self.config.delete_source and source != destination
        kept = []
        for record in records:
            value = get_path(record, source)
            if value is not MISSING and value is not None:
                try:
                    if (
                        value.__class__ is not str
                    ):  # what is changed in one place must not change in the other
                        value = cloned(value)
                    set_path(record, destination, value)
                except RECORD_FAULTS as error:
                    self.reject(record, told(error))
                    continue
            if is_move:
                drop_path(record, source)
            kept.append(record)
        return kept


@attrs.define(kw_only=True)
class DropFieldConfig(OpConfig):
    """Options of drop_field."""

    field: list[str] = opt(convert=formats.string_list, doc="path or paths of fields to remove")


@operation("drop_field", config=DropFieldConfig)
class DropField(WindowProcessor):
    """Removes fields."""

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        for path in self.config.field:
            for record in records:
                drop_path(record, path)
        return records


@operation("remove_empty_fields")
class RemoveEmptyFields(BatchProcessor):
    """Removes the fields that are null, blank text, or an array or object without anything in it.

    Numbers, booleans and dates stay, and so does an array of null.
    """

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        for record in records:
            for name in [name for name, value in record.items() if _is_empty(value)]:
                del record[name]
        return records


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, list | dict | tuple) and not value)


@attrs.define(kw_only=True)
class CopyMetadataFieldConfig(OpConfig):
    """Options of copy_metadata_field."""

    destination: str = opt(convert=formats.required_string, doc="path of the field to copy it to")
    meta_key: str = opt("_key", convert=formats.required_string, doc="name of the metadata")


@operation("copy_metadata_field", config=CopyMetadataFieldConfig)
class CopyMetadataField(BatchProcessor):
    """Copies metadata into a field; what is not there copies nothing."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        name, destination = self.config.meta_key, self.config.destination
        kept = []
        for record in records:
            value = record.metadata.get(name, MISSING)
            if value is not MISSING:
                try:
                    # a copy: records of a slice share the metadata that its reader gave them
                    set_path(record, destination, cloned(value))
                except RECORD_FAULTS as error:
                    self.reject(record, told(error))
                    continue
            kept.append(record)
        return kept

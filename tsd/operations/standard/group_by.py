"""group_by and data_window_to_array: into windows by key within a slice, and out of them again."""

import attrs
from typing_extensions import override

from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.grouping import key_of, value_reader
from tsd.operations.standard.values import identity, told
from tsd.operations.windows import DataWindow


@attrs.define(kw_only=True)
class GroupByConfig(OpConfig):
    """Options of group_by."""

    field: str | None = opt(None, doc="path of the field to group by; the key in the metadata")


@operation("group_by", config=GroupByConfig)
class GroupBy(BatchProcessor):
    """Makes a window of the records of a slice that have the same value, keyed by it.

    Windows stand in the order in which their values came up, and so do the records in them. Those without
    the value are a group too, whose window has no key. A value that is neither text nor number gives its
    JSON text as key. Values are equal as JSON has it: 1 is 1.0, and neither true nor "1". Windows that come
    in are split: each gives its own windows, with its metadata.
    """

    @override
    def initialize(self) -> None:
        self._value_of = value_reader(self.config.field)

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        results: list[Record] = []
        plain: list[Record] = []
        for record in records:
            if isinstance(record, DataWindow):
                results += self._windows_of(plain, None)
                results += self._windows_of(record.records, record)
                plain = []
            else:
                plain.append(record)
        return results + self._windows_of(plain, None)

    def _windows_of(self, records: list[Record], parent: DataWindow | None) -> list[Record]:
        value_of = self._value_of
        groups: dict[object, list[Record]] = {}
        try:  # all at once is quicker, and nearly always right
            for record, name in zip(records, list(map(identity, map(value_of, records))), strict=True):
                groups.setdefault(name, []).append(record)
        except RECORD_FAULTS:
            for record in records:
                try:
                    groups.setdefault(identity(value_of(record)), []).append(record)
                except RECORD_FAULTS as error:
                    self.reject(record, told(error))
        make = DataWindow.of if parent is None else parent.part
        return [make(group, key_of(value_of(group[0]))) for group in groups.values()]


@attrs.define(kw_only=True)
class WindowToArrayConfig(OpConfig):
    """Options of data_window_to_array."""

    type: str | None = opt(None, doc="does nothing, for job files of Teraslice")


@operation("data_window_to_array", config=WindowToArrayConfig)
class DataWindowToArray(BatchProcessor):
    """Puts the records of windows in place of the windows; records that are in none pass as they are."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        results: list[Record] = []
        for record in records:
            if isinstance(record, DataWindow):
                results += record.records
            else:
                results.append(record)
        return results

"""sort: puts the records of a slice or window in order."""

from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.grouping import value_reader
from tsd.operations.standard.values import is_absent, rank, told
from tsd.operations.windows import within_windows

_TEXT = frozenset({str})
_NUMBERS = frozenset({int, float})


@attrs.define(kw_only=True)
class SortConfig(OpConfig):
    """Options of sort."""

    field: str = opt(convert=formats.required_string, doc="path of the field to sort by")
    order: str = opt("asc", choices=("asc", "desc"), doc="smallest first, or largest first")


@operation("sort", config=SortConfig)
class Sort(BatchProcessor):
    """Sorts the records of a slice, or those of each window, by a field.

    Records with equal values keep their order. Those without the field, with null or with what is no number
    come last, whatever the order. Values of different types are ordered as false, true, numbers, text, lists
    and objects; these by their JSON text. Text is ordered by code points.
    """

    @override
    def initialize(self) -> None:
        self._value_of = value_reader(self.config.field)
        self._is_descending = self.config.order == "desc"

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        return within_windows(self._sorted, records)

    def _sorted(self, records: list[Record]) -> list[Record]:
        present: list[tuple[Any, Record]] = []
        absent: list[Record] = []
        for record, value in zip(records, map(self._value_of, records), strict=True):
            if is_absent(value):
                absent.append(record)
            else:
                present.append((value, record))
        kinds = {value.__class__ for value, _ in present}
        if not (kinds <= _TEXT or kinds <= _NUMBERS):
            present = self._ranked(present)
        present.sort(key=lambda pair: pair[0], reverse=self._is_descending)
        return [record for _, record in present] + absent

    def _ranked(self, pairs: list[tuple[Any, Record]]) -> list[tuple[Any, Record]]:
        """The records with the places of their values; those whose value has none are rejected."""
        ranked: list[tuple[Any, Record]] = []
        for value, record in pairs:
            try:
                ranked.append((rank(value), record))
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
        return ranked

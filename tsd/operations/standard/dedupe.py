"""dedupe: of records with the same key the first one stays."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.dates import data_time
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.grouping import value_reader
from tsd.operations.standard.paths import get_path, set_path
from tsd.operations.standard.values import identity, told
from tsd.operations.windows import WindowProcessor

PREFERENCES: Mapping[str, Callable[[int, int], bool]] = {
    "oldest": lambda new, old: new < old,
    "newest": lambda new, old: new > old,
}


def _adjustments(value: object) -> list[dict[str, str]]:
    rules = [] if value is None else value
    if isinstance(rules, list) and all(
        isinstance(rule, dict)
        and isinstance(rule.get("field"), str)
        and rule["field"]
        and rule.get("preference") in PREFERENCES
        for rule in rules
    ):
        return rules
    raise ValueError("must be an array of objects with field, and preference oldest or newest")


@attrs.define(kw_only=True)
class DedupeConfig(OpConfig):
    """Options of dedupe."""

    field: str | None = opt(
        None, convert=formats.optional_string, doc="path of the field to compare; the key of the record"
    )
    adjust_time: list[dict[str, str]] = opt(
        [],
        convert=_adjustments,
        doc="objects with field and preference oldest or newest: the time that the one which stays gets",
    )


@operation("dedupe", config=DedupeConfig)
class Dedupe(WindowProcessor):
    """Keeps the first record of each key in a slice, or in a window. Those without a key all stay.

    Keys are equal as JSON values are: 1 is 1.0, and neither true nor "1"; arrays and objects count.
    """

    @override
    def initialize(self) -> None:
        self._value_of = value_reader(self.config.field or None)

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        first: dict[Any, Record] = {}
        kept = []
        value_of = self._value_of
        for record in records:
            try:
                key = identity(value_of(record))
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
                continue
            if key is None or (survivor := first.setdefault(key, record)) is record:
                kept.append(record)
            else:
                self._adjust(survivor, record)
        return kept

    def _adjust(self, survivor: Record, other: Record) -> None:
        for rule in self.config.adjust_time:
            field, better = rule["field"], PREFERENCES[rule["preference"]]
            value = get_path(other, field)
            new = _time(value)
            old = _time(get_path(survivor, field))
            if new is not None and (old is None or better(new, old)):
                try:
                    set_path(survivor, field, value)
                except ValueError as error:
                    self.reject(other, error)


def _time(value: Any) -> int | None:
    try:
        return data_time(value)
    except ValueError:
        return None

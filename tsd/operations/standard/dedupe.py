"""dedupe: of records with the same key the first one stays."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.dates import data_time
from tsd.operations.record import Record
from tsd.operations.standard.paths import MISSING, get_path, set_path
from tsd.operations.windows import WindowProcessor

_encode = msgspec.json.Encoder(order="sorted").encode
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
    """Keeps the first record of each key in a slice, or in a window. Those without a key all stay."""

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        first: dict[Any, Record] = {}
        kept = []
        for record in records:
            key = self._key(record)
            if key is None or (survivor := first.setdefault(key, record)) is record:
                kept.append(record)
            else:
                self._adjust(survivor, record)
        return kept

    def _key(self, record: Record) -> Any:
        field = self.config.field
        value = get_path(record, field) if field else record.metadata.get("_key")
        return None if value is None or value is MISSING else comparable(value)

    def _adjust(self, survivor: Record, other: Record) -> None:
        for rule in self.config.adjust_time:
            field, better = rule["field"], PREFERENCES[rule["preference"]]
            value = get_path(other, field)
            new = _time(value)
            old = _time(get_path(survivor, field))
            if new is not None and (old is None or better(new, old)):
                set_path(survivor, field, value)


def comparable(value: Any) -> Any:
    """Something hashable that is equal for equal values only: 1 is not true, and arrays and objects count."""
    if isinstance(value, dict | list):
        return bytes(_encode(value))
    return (isinstance(value, bool), value)


def _time(value: Any) -> int | None:
    try:
        return data_time(value)
    except ValueError:
        return None

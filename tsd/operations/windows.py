"""Data windows: records that stand for a group of records."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from typing_extensions import override

from tsd.operations.base import BatchProcessor
from tsd.operations.record import Record

FIELD = "dataArray"
"""The field of a window that holds its records, as Teraslice names it."""


class DataWindow(Record):
    """A record whose field `dataArray` is a list of records; its own key is what they have in common."""

    __slots__ = ()

    @classmethod
    def of(cls, records: Iterable[Record], key: Any = None) -> "DataWindow":
        """A window of these records.

        Args:
            records: What it holds.
            key: Its key; None for none.

        Raises:
            ValueError: The key is none.
        """
        window = cls({FIELD: list(records)})
        if key is not None:
            window.set_key(key)
        return window

    @property
    def records(self) -> list[Record]:
        """The records in it; the very list, so changing it changes the window."""
        return cast("list[Record]", self[FIELD])

    def part(self, records: Iterable[Record], key: Any = None) -> "DataWindow":
        """A window of some of the records: it has the metadata of this one, but for its key."""
        window = DataWindow.of(records, key)
        window.metadata.update((n, v) for n, v in self.metadata.items() if n not in ("_key", "_createTime"))
        return window


def within_windows(apply: Callable[[list[Record]], list[Record]], records: list[Record]) -> list[Record]:
    """Apply a function of records to what is in windows, and to those that are in none.

    Args:
        apply: From records to records.
        records: Records, windows or both. Records that stand beside each other are one batch, and so is
            what is in a window.

    Returns:
        The results in order; each window keeps its key and holds what `apply` made of its records.
    """
    if DataWindow not in set(map(type, records)):
        return apply(records)
    results: list[Record] = []
    plain: list[Record] = []
    for record in records:
        if not isinstance(record, DataWindow):
            plain.append(record)
            continue
        if plain:
            results += apply(plain)
            plain = []
        record[FIELD] = apply(record.records)
        results.append(record)
    return results + apply(plain) if plain else results


class WindowProcessor(BatchProcessor):
    """Base of processors that treat the records in a window as they treat those of a slice: write `apply`."""

    def apply(self, records: list[Record]) -> list[Record]:
        """Process records that belong together: those of a window, or of a slice that are in none."""
        raise NotImplementedError

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        return within_windows(self.apply, records)

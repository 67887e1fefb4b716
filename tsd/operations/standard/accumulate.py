"""accumulate and accumulate_by_key: gather records until no more come."""

from collections.abc import Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.holding import HoldingProcessor
from tsd.operations.record import Record
from tsd.operations.standard.grouping import key_of, value_reader
from tsd.operations.standard.held import HeldGroups
from tsd.operations.standard.values import identity, told
from tsd.operations.windows import DataWindow


@attrs.define(kw_only=True)
class AccumulateConfig(OpConfig):
    """Options of accumulate."""

    empty_after: int = opt(
        10, convert=formats.natural, doc="empty slices in a row after which the records leave; 0: at once"
    )
    flush_data_on_shutdown: bool = opt(
        False, doc="does nothing, for job files of Teraslice: what is held always leaves at the end"
    )


class _Accumulator(HoldingProcessor):
    """Holds groups of records and counts empty slices."""

    @override
    def initialize(self) -> None:
        self._held: HeldGroups[Any] = HeldGroups()
        self._empty_count = 0

    @override
    def snapshot(self) -> Any:
        return self._held.mark(), self._empty_count

    @override
    def restore(self, snapshot: Any) -> None:
        mark, self._empty_count = snapshot
        self._held.roll_back(mark)

    @override
    def held_since(self) -> int | None:
        return self._held.since()

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        if records:
            self.take(records)
            self._empty_count = 0
        else:
            self._empty_count += 1
        if self.is_flushing or self._empty_count >= self.config.empty_after:
            return list(self.release())
        return []

    def take(self, records: list[Record]) -> None:
        """Hold records."""
        raise NotImplementedError

    def release(self) -> Iterator[Record]:
        """The windows that leave now."""
        raise NotImplementedError


@operation("accumulate", config=AccumulateConfig)
class Accumulate(_Accumulator):
    """Holds all records until `empty_after` slices in a row were empty, then passes them on as one window.

    Any record begins the count anew. What is held when the job ends leaves then, whatever
    `flush_data_on_shutdown` says: a job must not lose records that it has read.
    """

    @override
    def take(self, records: list[Record]) -> None:
        self._held.extend(None, records, self.ctx.slice_number)

    @override
    def release(self) -> Iterator[Record]:
        while self._held:
            yield DataWindow.of(self.released(self._held.pop(self._held.oldest())))


@attrs.define(kw_only=True)
class AccumulateByKeyConfig(AccumulateConfig):
    """Options of accumulate_by_key."""

    key_field: str | None = opt(None, doc="path of the field to group by; the key in the metadata")
    batch_return: bool = opt(
        False, doc="let windows leave in portions, one with each further empty slice; a flush releases all"
    )
    batch_size: int = opt(
        1000, convert=formats.positive_int, doc="a portion is whole windows, until they have so many records"
    )


@operation("accumulate_by_key", config=AccumulateByKeyConfig)
class AccumulateByKey(_Accumulator):
    """Holds records until `empty_after` slices in a row were empty, then passes on one window for each key.

    The key of a window is the key of its records; windows leave in the order in which their keys came up. A
    record without a key is rejected. What is held when the job ends leaves then, whatever
    `flush_data_on_shutdown` says.
    """

    @override
    def initialize(self) -> None:
        super().initialize()
        self._value_of = value_reader(self.config.key_field)
        self._key_name = self.config.key_field or "metadata _key"

    @override
    def take(self, records: list[Record]) -> None:
        groups: dict[Any, list[Record]] = {}
        for record in records:
            try:
                key = identity(self._value_of(record))
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
                continue
            if key is None:
                self.reject(record, f"the record has no key: {self._key_name} is not set")
            else:
                groups.setdefault(key, []).append(record)
        # all or nothing: a flush tries again without putting anything back
        for key, group in groups.items():
            self._held.extend(key, group, self.ctx.slice_number)

    @override
    def release(self) -> Iterator[Record]:
        is_limited = self.config.batch_return and not self.is_flushing
        count = 0
        while self._held:
            records = self._held.pop(self._held.oldest())
            yield DataWindow.of(self.released(records), key_of(self._value_of(records[0])))
            count += len(records)
            if is_limited and count >= self.config.batch_size:
                return

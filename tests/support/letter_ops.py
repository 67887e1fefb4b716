"""Operations that reject records, for tests of dead letters."""

import time

import attrs

from tsd.operations.base import BatchProcessor, Fetcher, MapProcessor, operation, reader
from tsd.operations.config import OpConfig, opt
from tsd.operations.slicers import Slicer


@attrs.define(kw_only=True)
class BatchesConfig(OpConfig):
    size: int = opt(10, doc="how many slices")
    per: int = opt(4, doc="records a slice")


class BatchesSlicer(Slicer):
    def initialize(self):
        last = self.last_slice()
        self.next = 0 if last is None else last["slice"] + 1

    def is_recoverable(self):
        return True

    def slice(self):
        number, self.next = self.next, self.next + 1
        return {"slice": number} if number < self.config.size else None


@reader("batches", slicer=BatchesSlicer, config=BatchesConfig)
class BatchesFetcher(Fetcher):
    """Slice s has the numbers s * per, s * per + 1, ..."""

    def fetch(self, request):
        first = request["slice"] * self.config.per
        return [{"number": number} for number in range(first, first + self.config.per)]


@attrs.define(kw_only=True)
class PickyConfig(OpConfig):
    every: int = opt(2, doc="rejects numbers that this divides; none when 0")
    seconds: float = opt(0.0, doc="how long a record takes")


@operation("picky", config=PickyConfig)
class Picky(MapProcessor):
    def map(self, record, index, batch):
        if self.config.seconds:
            time.sleep(self.config.seconds)
        if self.config.every and record["number"] % self.config.every == 0:
            return self.reject(record, ValueError(f"do not like {record['number']}"))
        record["picked"] = True
        return record


@operation("twice", config=OpConfig)
class Twice(MapProcessor):
    """Doubles numbers, so that a record that passed it once too often shows."""

    def map(self, record, index, batch):
        record["doubled"] = record.get("doubled", 0) + 1
        return record


@operation("late-picky", config=OpConfig)
class LatePicky(BatchProcessor):
    """Passes records on, and rejects all of them when it is flushed."""

    def initialize(self):
        self.seen = []
        self.is_flushing = False

    def on_flush_start(self):
        self.is_flushing = True

    def on_batch(self, records):
        self.seen += records
        if self.is_flushing:
            for record in self.seen:
                self.reject(record, "too late")
        return records

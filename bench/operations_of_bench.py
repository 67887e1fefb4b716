"""Operations that only benches need."""

import json
import os
import time
from pathlib import Path

import attrs

from tsd.operations import (
    BatchProcessor,
    Fetcher,
    FilterProcessor,
    MapProcessor,
    OpConfig,
    Record,
    Slicer,
    operation,
    opt,
    reader,
)


@attrs.define(kw_only=True)
class BeginConfig(OpConfig):
    """Options of bench_begin."""

    path: str = opt(doc="file that tells which slice began when, and where")
    size: int = opt(1, doc="records in a slice")


@operation("bench_begin", config=BeginConfig)
class Begin(BatchProcessor):
    """Writes down that a slice has begun."""

    def on_batch(self, records):
        word = {"slice": self.ctx.slice.slice_id, "pid": os.getpid(), "at": time.time()}
        with Path(self.config.path).open("a") as file:
            file.write(json.dumps(word) + "\n")
        return records


@attrs.define(kw_only=True)
class RecordsConfig(OpConfig):
    """Options of bench_records."""

    count: int = opt(doc="how many records")
    size: int = opt(doc="records in a slice")


class RecordsSlicer(Slicer):
    """Counts up."""

    def initialize(self):
        self._next = 0

    def slice(self):
        start, self._next = self._next, self._next + self.config.size
        return {"start": start} if start < self.config.count else None


@reader("bench_records", slicer=RecordsSlicer, config=RecordsConfig)
class Records(Fetcher):
    """Copies records that are in memory."""

    def initialize(self):
        self._all = [
            {"a": number, "b": -number % 1000, "text": "some words"} for number in range(self.config.count)
        ]

    def fetch(self, request):
        start = request["start"]
        return [Record(record) for record in self._all[start : start + self.config.size]]


@operation("bench_map")
class Sum(MapProcessor):
    """As people write it: one record at a time."""

    def map(self, record, index, batch):  # noqa: ARG002 - of the base
        record["total"] = record["a"] + record["b"]
        return record


@operation("bench_filter")
class Half(FilterProcessor):
    """Keeps half of them."""

    def keep(self, record, index, batch):  # noqa: ARG002 - of the base
        return record["a"] % 2


@operation("bench_batch")
class Sort(BatchProcessor):
    """Sorts them."""

    def on_batch(self, records):
        records.sort(key=lambda record: record["b"])
        return records

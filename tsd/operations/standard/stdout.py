# ruff: noqa: T201 - these operations print
"""stdout and debug_routes: show records, or their routes, while trying a job out."""

from collections import Counter

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.standard.routes import ROUTE


@attrs.define(kw_only=True)
class StdoutConfig(OpConfig):
    """Options of stdout."""

    limit: int = opt(0, convert=formats.natural, doc="print only so many records of a slice; 0 is all")


@operation("stdout", config=StdoutConfig)
class Stdout(BatchProcessor):
    """Prints the records of each slice, one JSON object a line, and passes them on.

    `tsd run` shows what workers print; on a cluster it is in the log of their node.
    """

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        shown = records[: self.config.limit] if self.config.limit else records
        if shown:
            print(b"\n".join(record.to_bytes() for record in shown).decode(), flush=True)
        return records


@operation("debug_routes")
class DebugRoutes(BatchProcessor):
    """Prints how many records of each slice have which route, and passes them on."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        if records:
            counts = Counter(str(record.metadata.get(ROUTE)) for record in records)
            print(", ".join(f"{route}: {count}" for route, count in counts.most_common()), flush=True)
        return records

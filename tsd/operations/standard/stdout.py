# ruff: noqa: T201 - these operations print
"""stdout and debug_routes: show records, or their routes, while trying a job out."""

from collections import Counter

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.routes import ROUTE
from tsd.operations.standard.texts import text_of
from tsd.operations.standard.values import why


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
            print("\n".join(map(_line, shown)), flush=True)
        return records


def _line(record: Record) -> str:
    """A record as JSON; of one that JSON can not hold the reason, as showing it is no reason to stop."""
    try:
        return record.to_bytes().decode()
    except RECORD_FAULTS as error:
        return f"(a record that can not be shown: {why(error)})"


@operation("debug_routes")
class DebugRoutes(BatchProcessor):
    """Prints how many records of each slice have which route, and passes them on."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        if records:
            counts = Counter(text_of(record.metadata.get(ROUTE)) for record in records)
            print(", ".join(f"{route}: {count}" for route, count in counts.most_common()), flush=True)
        return records

"""noop: passes records through; the end of a job that only reads."""

from typing_extensions import override

from tsd.operations.base import BatchProcessor, operation
from tsd.operations.record import Record


@operation("noop")
class Noop(BatchProcessor):
    """Passes the batch through."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        return records

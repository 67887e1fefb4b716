"""What `/controller` shows of an execution, put together from the parts of its machine."""

from datetime import UTC, datetime

from tsd.core.execution.ledger import SliceLedger
from tsd.core.execution.slicing import Slicing
from tsd.core.execution.workers import WorkerTable
from tsd.core.records import ExecutionStats


def execution_stats(
    ledger: SliceLedger,
    slicing: Slicing,
    table: WorkerTable,
    *,
    active: int,
    started_ms: int,
    duration_s: float | None,
) -> ExecutionStats:
    """The counters as they are now.

    Args:
        ledger: Slices and their counters.
        slicing: What the slicers made.
        table: The workers.
        active: How many of them hold a slice.
        started_ms: Unix milliseconds at which the run began; 0 before that.
        duration_s: How long the run took; None while it is not over.
    """
    return ExecutionStats(
        workers_available=len(table.members) - active,
        workers_active=active,
        workers_joined=table.joined,
        workers_reconnected=table.reconnected,
        workers_disconnected=table.disconnected,
        job_duration=0 if duration_s is None else max(1, int(duration_s)),
        failed=ledger.failed,
        subslices=slicing.recursions,
        queued=ledger.waiting,
        slice_range_expansion=slicing.range_expansions,
        processed=ledger.processed,
        slicers=slicing.slicer_count,
        subslice_by_key=slicing.list_results,
        started=_iso(started_ms) if started_ms else "",
        queuing_complete=None if slicing.finished_ms is None else _iso(slicing.finished_ms),
        stalled_workers=table.stalled,
        refused_results=ledger.refused_results,
    )


def _iso(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Which settings the machines at the two ends of a worker link keep to."""

from tsd.core.execution.terms import Limits
from tsd.settings import Settings


def limits_of(settings: Settings) -> Limits:
    """The limits that a cluster file sets; the others have their defaults."""
    return Limits(
        beat_interval_s=settings.tsd.heartbeat_interval_s,
        worker_disconnect_timeout_s=settings.teraslice.worker_disconnect_timeout_s,
        slicer_timeout_s=settings.teraslice.slicer_timeout_s,
        start_failures_max=settings.tsd.controller_restarts,
        commit_interval_s=settings.tsd.commit_interval_s,
        max_buffered_records=settings.tsd.max_buffered_records,
    )

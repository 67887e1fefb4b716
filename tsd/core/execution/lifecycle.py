"""The statuses of an execution and the one closed table of what changes them.

A pair that is not in the table is refused with `IllegalTransition` and changes nothing. The tables in
docs/architecture.md are generated from `TRANSITIONS`.
"""

from enum import StrEnum

from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.errors import IllegalTransition


class LifecycleEvent(StrEnum):
    """What can change the status of an execution."""

    PLACED = "placed"
    """Master: a node was chosen for the controller."""
    CONTROLLER_READY = "controller_ready"
    """Master: the controller said hello and listens for workers."""
    PLACEMENT_LOST = "placement_lost"
    """Master: the controller ended before it was ready; another attempt follows."""
    RECOVERY_STARTED = "recovery_started"
    """Controller: slices of earlier executions run again first."""
    SLICING_STARTED = "slicing_started"
    """Controller: the slicer is ready (after recovery, if there was one)."""
    SLICE_FAILED = "slice_failed"
    """Controller: a slice ended in error."""
    PROBATION_PASSED = "probation_passed"
    """Controller: a whole window without a new error, with progress."""
    PAUSED = "paused"
    """Controller: nothing is handed out any more."""
    RESUMED = "resumed"
    """Controller: handing out again."""
    STOP_REQUESTED = "stop_requested"
    """Master: somebody wants it to stop."""
    STOPPED = "stopped"
    """Master: no process of the execution is left after a stop, or its deadline passed."""
    COMPLETED = "completed"
    """Controller: every slice is completed and recorded."""
    FAILED = "failed"
    """Controller or master: it can not go on, or ended with slices in error."""
    TERMINATED = "terminated"
    """Master: ended early without a stop request and can not be continued."""


_E, _S = LifecycleEvent, Status
_UNENDED = [s for s in Status if s not in TERMINAL_STATUSES]
_WORKING = [_S.INITIALIZING, _S.RECOVERING, _S.RUNNING, _S.FAILING, _S.PAUSED]

TRANSITIONS: dict[tuple[Status, LifecycleEvent], Status] = {
    (_S.PENDING, _E.PLACED): _S.SCHEDULING,
    (_S.SCHEDULING, _E.PLACEMENT_LOST): _S.PENDING,
    (_S.INITIALIZING, _E.PLACEMENT_LOST): _S.PENDING,
    (_S.SCHEDULING, _E.CONTROLLER_READY): _S.INITIALIZING,
    (_S.INITIALIZING, _E.RECOVERY_STARTED): _S.RECOVERING,
    (_S.INITIALIZING, _E.SLICING_STARTED): _S.RUNNING,
    (_S.RECOVERING, _E.SLICING_STARTED): _S.RUNNING,
    (_S.RUNNING, _E.SLICE_FAILED): _S.FAILING,
    (_S.FAILING, _E.SLICE_FAILED): _S.FAILING,
    (_S.FAILING, _E.PROBATION_PASSED): _S.RUNNING,
    **{(s, _E.PAUSED): _S.PAUSED for s in _WORKING},
    (_S.PAUSED, _E.RESUMED): _S.RUNNING,
    (_S.PAUSED, _E.SLICE_FAILED): _S.PAUSED,
    (_S.PAUSED, _E.SLICING_STARTED): _S.PAUSED,
    (_S.PAUSED, _E.RECOVERY_STARTED): _S.PAUSED,
    **{(s, _E.STOP_REQUESTED): _S.STOPPING for s in _UNENDED},
    (_S.STOPPING, _E.STOPPED): _S.STOPPED,
    **{(s, _E.COMPLETED): _S.COMPLETED for s in [*_WORKING, _S.STOPPING]},
    **{(s, _E.FAILED): _S.FAILED for s in _UNENDED if s is not _S.STOPPING},
    **{(s, _E.TERMINATED): _S.TERMINATED for s in _UNENDED if s is not _S.STOPPING},
    # A controller of a new generation starts an execution that has a running status already; what
    # it has to say about its own start changes nothing.
    **{(s, _E.SLICING_STARTED): s for s in [_S.RUNNING, _S.FAILING, _S.STOPPING]},
    **{(s, _E.RECOVERY_STARTED): s for s in [_S.RECOVERING, _S.RUNNING, _S.FAILING, _S.STOPPING]},
    **{(s, _E.RESUMED): s for s in [_S.RECOVERING, _S.RUNNING, _S.FAILING, _S.STOPPING]},
    **{(_S.STOPPING, e): _S.STOPPING for e in [_E.SLICE_FAILED, _E.PROBATION_PASSED, _E.PAUSED]},
    (_S.RUNNING, _E.PROBATION_PASSED): _S.RUNNING,
    (_S.PAUSED, _E.PROBATION_PASSED): _S.PAUSED,
    (_S.RECOVERING, _E.SLICE_FAILED): _S.RECOVERING,
}


def next_status(status: Status, event: LifecycleEvent) -> Status:
    """The status after `event`.

    Raises:
        IllegalTransition: The table has no entry for the pair.
    """
    try:
        return TRANSITIONS[(status, event)]
    except KeyError:
        group = "terminal" if status in TERMINAL_STATUSES else "running"
        raise IllegalTransition(f'Cannot update {group} job status of "{status}" by "{event}"') from None

"""What a controller reports, and what becomes of the status then."""

import attrs

from tsd.core.cluster.events import Outbox
from tsd.core.cluster.executions import Execution
from tsd.core.cluster.unconnected import with_unconnected
from tsd.core.execution.lifecycle import TRANSITIONS, LifecycleEvent
from tsd.core.messages import StatusReport
from tsd.core.records import TERMINAL_STATUSES, Status

FROM_CONTROLLER = {
    event.value: event
    for event in (
        LifecycleEvent.RECOVERY_STARTED,
        LifecycleEvent.SLICING_STARTED,
        LifecycleEvent.SLICE_FAILED,
        LifecycleEvent.PROBATION_PASSED,
        LifecycleEvent.PAUSED,
        LifecycleEvent.RESUMED,
        LifecycleEvent.STOPPED,
        LifecycleEvent.COMPLETED,
        LifecycleEvent.FAILED,
        LifecycleEvent.TERMINATED,
    )
}
"""The others are the master's own."""
ENDS_A_STOP = frozenset({LifecycleEvent.STOPPED, LifecycleEvent.FAILED, LifecycleEvent.TERMINATED})


def take_report(execution: Execution, report: StatusReport, out: Outbox, now: float) -> bool:
    """Take in a report of the present controller of an active execution.

    A report that was taken in before, and one that the status table does not know, change nothing.

    Returns:
        Whether to answer it. A report that does not fit and is not the next one may have overtaken
        the one before it: it is not answered, so it comes again.
    """
    controller = execution.controller
    assert controller is not None
    if report.seq <= controller.report_seq or not execution.is_active:
        return True
    event = FROM_CONTROLLER.get(report.event)
    is_stop = execution.status is Status.STOPPING and event in ENDS_A_STOP
    fits = event is not None and (is_stop or (execution.status, event) in TRANSITIONS)
    is_next = report.seq == controller.report_seq + 1
    if not fits and not is_next and controller.gap_seq != report.seq:
        controller.gap_seq = report.seq
        return False
    controller.report_seq = report.seq
    if event is None or not fits:
        out.log(
            "report.refused",
            is_warning=True,
            ex_id=execution.ex_id,
            status=execution.status,
            reported=report.event,
        )
        return True
    execution.take_stats(report.stats, out)
    execution.is_recorded = report.is_recorded
    if is_stop:
        # Nothing is left to drain; it counts as stopped when its processes are gone.
        if event is not LifecycleEvent.STOPPED or report.reason:
            execution.note_error(report.reason)
        has_time = not execution.intent.stop_force
        execution.end_processes(now + execution.settings.shutdown_timeout_s if has_time else None)
        return True
    _apply(execution, event, report.reason, out, now)
    return True


def _apply(execution: Execution, event: LifecycleEvent, reason: str, out: Outbox, now: float) -> None:
    before = (execution.status, execution.has_errors, execution.failure_reason)
    match event:
        case LifecycleEvent.SLICE_FAILED:
            if not execution.has_errors or TRANSITIONS[execution.status, event] is not execution.status:
                execution.note_error(reason)
        case LifecycleEvent.FAILED | LifecycleEvent.TERMINATED:
            why = reason or f"execution {execution.ex_id} {event} without a reason"
            execution.note_error(with_unconnected(why, execution, now))
        case LifecycleEvent.COMPLETED:
            execution.has_errors = False
            execution.failure_reason = ""
        case LifecycleEvent.SLICING_STARTED if not execution.intent.is_recovered:
            if len(execution.record.sources) > 1:
                execution.save_intent(out, attrs.evolve(execution.intent, is_recovered=True))
        case _:
            pass
    after = TRANSITIONS[execution.status, event]
    if before != (after, execution.has_errors, execution.failure_reason):
        execution.apply(event, out, now)
    if after in TERMINAL_STATUSES:
        execution.end_processes(now + execution.settings.shutdown_timeout_s)

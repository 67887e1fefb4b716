"""How an execution is stopped: it drains, what is left is killed, and it always ends."""

import attrs

from tsd.core.cluster.events import Outbox
from tsd.core.cluster.executions import Execution
from tsd.core.execution.lifecycle import LifecycleEvent
from tsd.core.messages import LAST_WORDS_S
from tsd.core.records import Status


def stop(execution: Execution, within_s: float, out: Outbox, now: float, *, force: bool) -> None:
    """End an active execution: drain for at most `within_s` seconds, not at all with `force`.

    Then the controller has `LAST_WORDS_S` to take in what workers have done and to record it; what is left is
    killed. Where no controller can do that everything is killed at once.

    A repeated stop can shorten the time, never prolong it.
    """
    if execution.status is not Status.STOPPING:
        execution.apply(LifecycleEvent.STOP_REQUESTED, out, now)
    deadline = now + (0.0 if force else within_s) + LAST_WORDS_S + execution.settings.kill_margin_s
    if execution.intent.stop_deadline is not None:
        deadline = min(deadline, execution.intent.stop_deadline)
    force = force or execution.intent.stop_force
    execution.save_intent(out, attrs.evolve(execution.intent, stop_deadline=deadline, stop_force=force))
    execution.crew.let_go_of_all()
    controller = execution.controller
    if not execution.is_connected and (force or controller is None or controller.hello_by is not None):
        execution.end_processes(None)  # there is nobody who could drain, or say what was done
    check_stopped(execution, out, now)


def check_stopped(execution: Execution, out: Outbox, now: float) -> None:
    """A stop is done once no node that can be reached has a process of it, or its deadline has passed."""
    if execution.status is not Status.STOPPING:
        return
    if now >= execution.stop_deadline - execution.settings.kill_margin_s:
        execution.end_processes(None)
    if now < execution.stop_deadline:
        is_awaited = now < execution.settle_until and not execution.intent.stop_force
        if is_awaited or execution.members.has_processes(execution.ex_id, reachable=True):
            return
    if execution.stats.failed:
        execution.note_error(
            execution.failure_reason
            or f"execution: {execution.ex_id} had {execution.stats.failed} slice failure(s) during processing"
        )
    execution.apply(LifecycleEvent.STOPPED, out, now)

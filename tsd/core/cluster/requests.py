"""What clients ask of an execution: stop, pause, resume, more or fewer workers, another log level.

Each either raises before anything is changed, or changes what is wanted; the rest of the core then
brings it about.
"""

from typing import assert_never

import attrs

from tsd.core.cluster.events import (
    Answer,
    LogLevelRequested,
    Outbox,
    PauseRequested,
    ResumeRequested,
    Scaled,
    StopRequested,
    WaitFor,
    WorkersRequested,
)
from tsd.core.cluster.executions import Execution
from tsd.core.cluster.stopping import stop
from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.errors import InvalidRequest, NotActive, Unavailable

Request = StopRequested | PauseRequested | ResumeRequested | WorkersRequested | LogLevelRequested

UNPAUSED = frozenset(Status) - {Status.PAUSED}


def change_execution(request: Request, execution: Execution | None, out: Outbox, now: float) -> Answer:
    """Do what was asked of `execution`, which is None when no active one has that id.

    Raises:
        NotActive: There is nothing to ask (a stop of it is done already and does not raise).
        Unavailable: Its controller is not connected, or it is being stopped.
        InvalidRequest: The number of workers makes no sense.
    """
    is_active = execution is not None and execution.is_active
    if isinstance(request, StopRequested):
        if execution is not None and is_active:
            within_s = execution.settings.shutdown_timeout_s if request.within_s is None else request.within_s
            stop(execution, max(0.0, within_s), out, now, force=request.force)
        return None
    if execution is None or not is_active:
        raise NotActive(f"no active execution context was found for ex_id: {request.ex_id}")
    match request:
        case PauseRequested():
            return _pause(execution, out)
        case ResumeRequested():
            return _resume(execution, out)
        case WorkersRequested():
            return _scale(execution, request, out, now)
        case LogLevelRequested():
            if not execution.is_connected:
                raise NotActive(f"Execution {request.ex_id} is not available")
            execution.save_intent(out, attrs.evolve(execution.intent, log_level=request.level))
            return None
        case _:
            assert_never(request)


def _pause(execution: Execution, out: Outbox) -> Answer:
    _require_controller(execution, "pause")
    execution.save_intent(out, attrs.evolve(execution.intent, paused=True))
    return WaitFor(statuses=TERMINAL_STATUSES | {Status.PAUSED, Status.STOPPING})


def _resume(execution: Execution, out: Outbox) -> Answer:
    _require_controller(execution, "resume")
    execution.save_intent(out, attrs.evolve(execution.intent, paused=False))
    return WaitFor(statuses=UNPAUSED)


def _require_controller(execution: Execution, verb: str) -> None:
    if not execution.is_connected or execution.status is Status.STOPPING:
        raise Unavailable(f"Execution {execution.ex_id} is not available to {verb}")


def _scale(execution: Execution, request: WorkersRequested, out: Outbox, now: float) -> Answer:
    count = request.count
    present = execution.intent.workers
    if count < 1 or request.action not in {"add", "remove", "total"}:
        raise InvalidRequest(
            "Must provide a valid worker parameter(add/remove/total) that is a number and greater than zero"
        )
    if request.action == "remove" and count >= present:
        raise InvalidRequest(f"workers to be removed: {count} cannot be >= to current workers: {present}")
    wanted = {"add": present + count, "remove": present - count, "total": count}[request.action]
    execution.set_workers(wanted, out, now)
    if wanted == present:
        return Scaled(count=count, action="set")
    return Scaled(count=abs(wanted - present), action="enqueued" if wanted > present else "remove")

"""Workers that run and that their controller does not know: the way between their hosts may be blocked."""

from tsd.core.cluster.events import Outbox
from tsd.core.cluster.executions import Execution

UNCONNECTED_AFTER_S = 5.0
"""A worker that was placed so long ago, and runs, has had the time to connect."""


def unconnected_workers(execution: Execution, now: float) -> dict[str, str]:
    """Such workers by process id, in words; none while the controller has not said whom it knows."""
    controller = execution.controller
    if controller is None or not controller.is_welcomed or controller.connected is None:
        return {}
    found: dict[str, str] = {}
    for seat in execution.crew.seats.running:
        proc_id = seat.proc_id
        if proc_id is None or proc_id in controller.connected or now < seat.started_at + UNCONNECTED_AFTER_S:
            continue
        node = execution.members.node_of(execution.ex_id, proc_id)
        if node is not None and node.link.is_reachable and node.placements[proc_id].is_reported:
            found[proc_id] = (
                f"worker {proc_id} on node {node.node_id} is not connected to its controller"
                f" at {controller.address}"
            )
    return found


def tell_unconnected(execution: Execution, out: Outbox, now: float) -> None:
    """Log each of them once, and once more when it has connected."""
    controller = execution.controller
    if controller is None:
        return
    found = unconnected_workers(execution, now)
    for proc_id in found.keys() - controller.told_unconnected:
        node = execution.members.node_of(execution.ex_id, proc_id)
        out.log(
            "worker.unconnected",
            is_warning=True,
            ex_id=execution.ex_id,
            proc_id=proc_id,
            node_id=node.node_id if node is not None else None,
            address=controller.address,
        )
    controller.told_unconnected = set(found)
    if found or controller.connected:
        controller.last_unconnected = tuple(found.values())


def with_unconnected(reason: str, execution: Execution, now: float) -> str:
    """Why an execution failed, and the workers that were not connected then, or last."""
    words = list(unconnected_workers(execution, now).values())
    if not words and execution.controller is not None:
        words = list(execution.controller.last_unconnected)  # they give up too, at the same time
    if not words:
        return reason
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return f"{reason}: {'; '.join(words[:3])}{more}"

"""Whether the master does its work: what `/health` and `/ready` answer. All of it is in memory."""

from datetime import UTC, datetime
from typing import Any

import attrs

from tsd.core.cluster.views import SLOTS_LEAST, Capacity
from tsd.master.brain import Brain
from tsd.store.writer import StoreHealth


@attrs.frozen(kw_only=True)
class Readiness:
    """Whether jobs can be posted now.

    Attributes:
        reasons: Why not; empty when they can.
        checks: The parts by name, each with `ok` and, when that is false, `reason`.
    """

    reasons: tuple[str, ...]
    checks: dict[str, dict[str, Any]]


def readiness_of(brain: Brain, health: StoreHealth, *, is_closing: bool) -> Readiness:
    """How the master is.

    A cluster without nodes is ready: it takes jobs, keeps them and answers questions, and there is no other
    master to ask instead. That nothing would run shows in `capacity`.
    """
    store = _check(f"the store does not take writes: {health.reason}" if not health.is_ok else "")
    mesh = _check(brain.fault)
    capacity = room_of(brain.machine.capacity())
    reasons = ["the master is ending"] if is_closing else []
    reasons += [check["reason"] for check in (store, mesh) if not check["ok"]]
    store["since"] = _iso(health.since_ms)
    return Readiness(reasons=tuple(reasons), checks={"store": store, "mesh": mesh, "capacity": capacity})


def _check(fault: str) -> dict[str, Any]:
    return {"ok": False, "reason": fault} if fault else {"ok": True}


def room_of(capacity: Capacity) -> dict[str, Any]:
    """What the nodes have to give, as clients see it."""
    fault = ""
    if not capacity.nodes_connected:
        fault = "no node is connected: jobs are stored and wait"
    elif not capacity.nodes_taking_work:
        fault = "every connected node is drained: jobs are stored and wait, what runs there goes on elsewhere"
    elif capacity.slots < SLOTS_LEAST:
        have = "has 1 slot" if capacity.slots == 1 else "has no slots"
        fault = (
            f"the cluster {have}, and a job needs 2, one for its controller and one for a worker: jobs are"
            " stored and wait"
        )
    return {
        **_check(fault),
        "nodes": capacity.nodes_connected,
        "nodes_drained": capacity.nodes_draining + capacity.nodes_drained,
        "slots": capacity.slots,
        "slots_free": capacity.slots_free,
    }


def _iso(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

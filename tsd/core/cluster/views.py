"""What the API shows of the cluster: plain records, made from the state of the cluster core."""

from collections.abc import Mapping

import attrs

from tsd.core.cluster.counting import ClusterCounts
from tsd.core.cluster.executions import Execution
from tsd.core.cluster.membership import Node
from tsd.core.cluster.records import Drain
from tsd.core.records import RUNNING_STATUSES, EndedSlices, ExecutionStats, ProcessRole, Status

NO_PROBLEMS: Mapping[str, str] = {}
ASSIGNMENTS = {ProcessRole.CONTROLLER: "execution_controller", ProcessRole.WORKER: "worker"}


@attrs.frozen(kw_only=True)
class ActiveView:
    """A process of a node.

    Attributes:
        worker_id: A number that is unique on that node.
        assets: Ids of the bundles that it was started with.
        problem: What keeps it from working, in words; empty when nothing is known.
    """

    worker_id: int
    assignment: str
    pid: int
    ex_id: str
    job_id: str
    assets: tuple[str, ...] = ()
    problem: str = ""


@attrs.frozen(kw_only=True)
class NodeView:
    """A node as `/cluster/state` shows it; `available` also counts what is about to start.

    Attributes:
        state: `disconnected`, `drained` (nothing runs there any more), `draining` or `connected`.
        processes: How many it runs, with those that start or end.
        drain: The wish that nothing runs on it.
        is_known: It called since the master started and was not given up; else all but id and drain is empty.
    """

    node_id: str
    hostname: str
    pid: int
    python: str
    version: str
    total: int
    state: str
    available: int
    active: tuple[ActiveView, ...]
    config: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    processes: int = 0
    drain: Drain | None = None
    is_known: bool = True


SLOTS_LEAST = 2
"""What an execution needs to start: one slot for its controller, one for a worker."""


@attrs.frozen(kw_only=True)
class WaitingView:
    """An execution of which something does not run yet, and why; `workers` are those that are wanted."""

    ex_id: str
    job_id: str
    name: str
    reason: str
    workers: int


@attrs.frozen(kw_only=True)
class ControllerView:
    """A running execution whose controller is connected, with its counters."""

    ex_id: str
    job_id: str
    name: str
    stats: ExecutionStats


@attrs.frozen(kw_only=True)
class ExecutionView:
    """What the cluster knows of one execution.

    Attributes:
        workers_running: Worker processes that a node reports.
        controller_node: Where the controller was placed, None without one.
        is_connected: The controller can be told something.
        waiting_reason: Why something of it does not run yet; empty when nothing is missing.
    """

    ex_id: str
    job_id: str
    status: Status
    generation: int
    workers: int
    workers_running: int
    paused: bool
    controller_node: str | None
    is_connected: bool
    waiting_reason: str
    stats: ExecutionStats


@attrs.frozen(kw_only=True)
class ClusterStats:
    """Sums over all executions since the master started."""

    processed: int = 0
    failed: int = 0
    queued: int = 0
    job_duration: int = 0
    workers_joined: int = 0
    workers_disconnected: int = 0
    workers_reconnected: int = 0

    def plus(self, stats: ExecutionStats) -> "ClusterStats":
        """These sums with the counters of one more execution."""
        return ClusterStats(
            **{
                field.name: getattr(self, field.name) + getattr(stats, field.name)
                for field in attrs.fields(ClusterStats)
            }
        )

    def grown(self, before: EndedSlices, after: EndedSlices) -> "ClusterStats":
        """These sums when an execution that is among them turns out to have done more."""
        return attrs.evolve(
            self,
            processed=self.processed + after.processed - before.processed,
            failed=self.failed + after.failed - before.failed,
        )


@attrs.frozen(kw_only=True)
class ExecutionFigures:
    """What is measured of one execution that has not ended.

    Attributes:
        document: Its document as JSON text, as it was when this master took it in.
        is_listed: It runs and its controller is connected.
    """

    ex_id: str
    job_id: str
    name: str
    document: str
    status: Status
    slicers: int
    workers: int
    is_listed: bool
    stats: ExecutionStats


@attrs.frozen(kw_only=True)
class Capacity:
    """What the nodes have to give.

    Attributes:
        nodes_away: Nodes whose return is waited for.
        nodes_taking_work: Connected ones on which something may be placed.
        nodes_draining: Connected ones that are to be empty and are not yet.
        nodes_drained: Connected ones that are to be empty, and are.
        slots: Of connected nodes.
        slots_free: Of those that take work.
    """

    nodes_connected: int
    nodes_away: int
    nodes_taking_work: int
    nodes_draining: int
    nodes_drained: int
    slots: int
    slots_free: int


@attrs.frozen(kw_only=True)
class ClusterFigures:
    """What is measured of the cluster at one moment.

    Attributes:
        stats: Sums of the counters that controllers show.
        counts: Sums that never fall.
    """

    executions: tuple[ExecutionFigures, ...]
    capacity: Capacity
    stats: ClusterStats
    counts: ClusterCounts


def figures_of(execution: Execution) -> ExecutionFigures:
    """What is measured of an execution."""
    return ExecutionFigures(
        ex_id=execution.ex_id,
        job_id=execution.record.job_id,
        name=execution.record.name,
        document=execution.record.document,
        status=execution.status,
        slicers=execution.record.slicers,
        workers=execution.intent.workers,
        is_listed=is_listed(execution),
        stats=execution.stats,
    )


def view_node(node: Node, problems: Mapping[str, str] = NO_PROBLEMS) -> NodeView:
    """A node as the API shows it, with the problems of its processes by process id."""
    active = tuple(
        ActiveView(
            worker_id=placement.number,
            assignment=ASSIGNMENTS[placement.role],
            pid=placement.pid,
            ex_id=placement.ex_id,
            job_id=placement.job_id,
            assets=placement.spec.assets if placement.spec is not None else (),
            problem=problems.get(placement.proc_id, ""),
        )
        for placement in node.placements.values()
        if placement.is_reported and placement.pid  # 0 while it starts: nobody should signal that
    )
    return NodeView(
        node_id=node.node_id,
        hostname=node.hostname,
        pid=node.pid,
        python=node.python,
        version=node.version,
        total=node.slots,
        state=state_of(node),
        available=node.free,
        active=active,
        config=node.config,
        labels=node.labels,
        processes=len(node.placements),
        drain=node.drain,
    )


def view_absent(drain: Drain) -> NodeView:
    """A node of which nothing is known but that it is to be drained."""
    return NodeView(
        node_id=drain.node_id,
        hostname="",
        pid=0,
        python="",
        version="",
        total=0,
        state="disconnected",
        available=0,
        active=(),
        drain=drain,
        is_known=False,
    )


def state_of(node: Node) -> str:
    """The state of a node in one word."""
    if not node.link.is_reachable:
        return "disconnected"
    if node.is_drained:
        return "drained"
    return "draining" if node.is_to_be_empty else "connected"


@attrs.frozen
class Floor:
    """The slots of the nodes that take work: how many are free, on how many nodes, and how many there are."""

    free: int
    nodes: int
    slots: int


def view_execution(execution: Execution, floor: Floor) -> ExecutionView:
    """An execution as the API shows it."""
    controller = execution.controller
    running = [
        seat
        for seat in execution.crew.seats.running
        if (node := execution.members.node_of(execution.ex_id, seat.proc_id or "")) is not None
        and node.placements[seat.proc_id or ""].is_reported
    ]
    return ExecutionView(
        ex_id=execution.ex_id,
        job_id=execution.record.job_id,
        status=execution.status,
        generation=execution.generation,
        workers=execution.intent.workers,
        workers_running=len(running),
        paused=execution.intent.paused,
        controller_node=controller.node_id if controller else None,
        is_connected=execution.is_connected,
        waiting_reason=waiting_reason(execution, floor),
        stats=execution.stats,
    )


def misses_something(execution: Execution) -> bool:
    """Whether something of the execution does not run that should."""
    if not execution.is_active or execution.status is Status.STOPPING:
        return False
    if execution.controller is None or not execution.controller.is_welcomed:
        return True
    return execution.intent.workers > len(execution.crew.seats.placed)


def waiting_reason(execution: Execution, floor: Floor) -> str:
    """Why something of the execution does not run yet, in words; empty when nothing is missing."""
    if not misses_something(execution):
        return ""
    room = f"{floor.free} slots are free on {floor.nodes} nodes" if floor.nodes else "no node takes work"
    if execution.controller is None and execution.port_fault:
        return f"waits for a port for its controller, and tries again: {execution.port_fault}"
    if execution.controller is None:
        never = ""
        if 0 < floor.slots < SLOTS_LEAST:
            never = f"; with {floor.slots} in all it can not start until there are more"
        return f"waits for 2 free slots, one for its controller and one for a worker: {room}{never}"
    if not execution.controller.is_welcomed:
        return f"waits for its controller to call from node {execution.controller.node_id}"
    missing = execution.intent.workers - len(execution.crew.seats.placed)
    workers = f"{missing} of {execution.intent.workers} workers wait for"
    if execution.controller.is_dismissed:  # none is placed before the next one is, whatever is free
        return f"{workers} the controller, which leaves node {execution.controller.node_id}"
    too_many = execution.intent.workers + 1 > floor.slots >= SLOTS_LEAST
    limit = f"; there are {floor.slots} in all, and one is for the controller" if too_many else ""
    return f"{workers} a free slot: {room}{limit}"


def is_listed(execution: Execution) -> bool:
    """Whether `/cluster/controllers` lists it."""
    return execution.status in RUNNING_STATUSES and execution.is_connected

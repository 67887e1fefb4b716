"""What the cluster core knows of an execution, and what it needs to know of the settings."""

import attrs

from tsd.core.records import EndedSlices, ExecutionStats, Status


@attrs.frozen(kw_only=True)
class ClusterSettings:
    """Durations in seconds and limits of the cluster core; the names are those of `tsd.settings`.

    Attributes:
        kill_margin_s: Time between the SIGKILL of what outlived a stop and the moment at which the
            execution counts as stopped whatever is still reported.
        young_s: A process that ends sooner than this after its start is started again with back-off.
        config: Stands for the cluster file that the master has read.
    """

    version: str = ""
    heartbeat_interval_s: float = 1.0
    shutdown_timeout_s: float = 60.0
    action_timeout_s: float = 30.0
    node_disconnect_timeout_s: float = 30.0
    slicer_timeout_s: float = 180.0
    slicer_allocation_attempts: int = 3
    controller_lease_s: float = 15.0
    controller_restarts: int = 5
    kill_margin_s: float = 3.0
    young_s: float = 10.0
    config: str = ""


@attrs.frozen(kw_only=True)
class Intent:
    """What was asked of an execution after it was created; saved, so that it survives the master.

    Attributes:
        workers: Wanted number of workers.
        stop_deadline: Unix seconds at which a stop ends in `stopped` at the latest; None when no stop
            was asked for.
        stop_force: The stop does not wait for running slices.
        log_level: Level for the processes of the execution, None for the default.
        is_recovered: The slices of earlier executions have been run again; nothing of them is left to do.
    """

    workers: int
    paused: bool = False
    stop_deadline: float | None = None
    stop_force: bool = False
    log_level: str | None = None
    is_recovered: bool = False


@attrs.frozen(kw_only=True)
class Drain:
    """The wish that nothing runs on a node; saved, and kept for nodes that are away.

    Attributes:
        since: Unix seconds at which it was wished.
        until: Unix seconds at which what still runs there is killed; None to wait for it.
    """

    node_id: str
    since: float
    until: float | None = None


@attrs.frozen(kw_only=True)
class ExecutionRecord:
    """One execution as the store has it: all that the cluster core needs to go on with it.

    The store keeps `ex_id`, `job_id`, `status`, `generation`, `intent.workers` and `created` as columns.
    The rest can live in one JSON document beside them: nothing here is ever searched for.

    Attributes:
        created: Order of creation; any number that grows, such as the row id.
        document: The execution document as JSON text, handed to the controller as it is.
        sources: This execution and the chain of those it recovers, newest first.
        mode: A `RecoveryMode` word when it recovers another execution, else empty.
        assets: Ids of the bundles that its processes need.
        env: Extra environment variables of its processes.
        generation: The highest generation that was ever given to a controller of it; 0 for none.
        controller_node: Node on which that controller was placed; None when it is known to have ended.
        has_errors: `_has_errors` as saved last.
        failure_reason: `_failureReason` as saved last.
        makes_none: Its slicers make nothing: it ends when slices of earlier executions were run again.
        started: When the run began, ISO text; empty when it has not.
        ended: What it has done by its records; None when that is not known.
        has_slices: Slices of it were recorded before this was read, so its next controller goes on with them.
    """

    ex_id: str
    job_id: str
    name: str
    created: int
    intent: Intent
    document: str = "{}"
    slicers: int = 1
    sources: tuple[str, ...] = ()
    mode: str = ""
    assets: tuple[str, ...] = ()
    env: dict[str, str] = attrs.field(factory=dict)
    status: Status = Status.PENDING
    generation: int = 0
    controller_node: str | None = None
    has_errors: bool = False
    failure_reason: str = ""
    has_slices: bool = False
    stats: ExecutionStats = attrs.field(factory=ExecutionStats)
    makes_none: bool = False
    started: str = ""
    ended: EndedSlices | None = None

"""The documents of the API, as classes that msgspec has JSON schemas for.

Their fields have the names that clients see. Documents are open: a later version may add fields, and in a
job users put what they like. Nothing is made of these classes; answers are what the services return, and
tests hold them against the schemas.
"""

from typing import Annotated, Any, Literal

import attrs
from msgspec import UNSET, Meta, UnsetType

from tsd.core.records import Status
from tsd.operations.formats import LOG_LEVELS, SAFE_MAX
from tsd.operations.job_fields import SLICERS_MAX, WORKERS_MAX
from tsd.operations.job_warnings import WarningKind
from tsd.operations.schema import BOOLEAN, DURATION, whole_number

Time = Annotated[
    str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", examples=["2026-01-31T01:02:03.004Z"])
]
Count = Annotated[int, Meta(ge=0)]
SafeCount = Annotated[int, Meta(ge=0, le=SAFE_MAX)]
Id = Annotated[str, Meta(min_length=1)]
AssetIdText = Annotated[str, Meta(pattern="^[0-9a-f]{40}$")]
Boolean = Annotated[Any, Meta(extra_json_schema=BOOLEAN)]
WorkerCount = Annotated[Any, Meta(extra_json_schema=whole_number(WORKERS_MAX))]
SlicerCount = Annotated[Any, Meta(extra_json_schema=whole_number(SLICERS_MAX))]
Duration = Annotated[Any, Meta(extra_json_schema=DURATION)]
LogLevelOption = Annotated[Any, Meta(extra_json_schema={"enum": [*LOG_LEVELS, "", None, False, 0]})]
"""What is empty in any way counts as absent."""
Variables = Annotated[
    dict[str, Any],
    Meta(
        extra_json_schema={
            "propertyNames": {"pattern": r"^[^=\u0000]+$"},
            "additionalProperties": {"not": {"enum": [None, ""]}},
        }
    ),
]
"""Values become texts, which have no null characters."""
Labels = Annotated[
    dict[str, Any],
    Meta(
        extra_json_schema={
            "propertyNames": {"minLength": 1},
            "additionalProperties": {"not": {"enum": [None, ""]}},
        }
    ),
]

# --- what every endpoint may answer -------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Problem:
    """Why a request did not succeed."""

    error: Annotated[int, Meta(ge=400, le=599, description="the status")]
    message: Annotated[str, Meta(description="what is wrong, for people")]


# --- jobs ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class OperationEntry:
    """An operation of a job, with its own options."""

    _op: Annotated[str, Meta(min_length=1, description="which operation")]


@attrs.frozen(kw_only=True)
class ApiEntry:
    """An API of a job, with its own options."""

    _name: Annotated[str, Meta(min_length=1, description="which API; no other of the job has it")]


@attrs.frozen(kw_only=True)
class JobBody:
    """A job, as it is posted. Its operations have to be installed, and check their own options."""

    operations: Annotated[
        list[OperationEntry], Meta(min_length=2, description="a reader first, then processors")
    ]
    name: Annotated[Id | UnsetType, Meta(description="for people")] = UNSET
    lifecycle: Annotated[
        Literal["once", "persistent"] | UnsetType, Meta(description="`once` ends when its reader has no more")
    ] = UNSET
    workers: Annotated[WorkerCount | UnsetType, Meta(description="processes that run slices")] = UNSET
    slicers: Annotated[SlicerCount | UnsetType, Meta(description="parts that the input is divided in")] = (
        UNSET
    )
    max_retries: Annotated[SafeCount | UnsetType, Meta(description="how often a slice is tried again")] = (
        UNSET
    )
    probation_window: Annotated[
        Duration | UnsetType,
        Meta(description="how long without a new error until a failing execution counts as running"),
    ] = UNSET
    active: Annotated[Boolean | UnsetType, Meta(description="whether people still use it")] = UNSET
    analytics: Annotated[Boolean | UnsetType, Meta(description="measures every operation")] = UNSET
    autorecover: Annotated[
        Boolean | UnsetType, Meta(description="a start goes on where the latest execution was")
    ] = UNSET
    stateful: Annotated[
        Boolean | UnsetType, Meta(description="kept for Teraslice on Kubernetes; does nothing here")
    ] = UNSET
    log_level: Annotated[LogLevelOption | UnsetType, Meta(description="of its processes")] = UNSET
    apis: Annotated[
        list[ApiEntry] | UnsetType, Meta(description="what operations share, found by its name")
    ] = UNSET
    assets: Annotated[list[str] | UnsetType | None, Meta(description="bundles with its operations")] = UNSET
    env_vars: Annotated[Variables | UnsetType, Meta(description="environment of its processes")] = UNSET
    labels: Annotated[Labels | UnsetType | None, Meta(description="for people")] = UNSET


@attrs.frozen(kw_only=True)
class WarningText:
    """What is said, and of what."""

    field: Annotated[str, Meta(description="the option; empty when it is about the whole")]
    description: Annotated[str, Meta(description="a sentence for people")]
    path: Annotated[
        str | UnsetType, Meta(description="the place, as in `operations[1].size`; not of deprecations")
    ] = UNSET
    _op: Annotated[str | UnsetType, Meta(description="the operation")] = UNSET
    api_name: Annotated[str | UnsetType, Meta(description="the API")] = UNSET


@attrs.frozen(kw_only=True)
class WarningReason:
    """What a warning is about."""

    type: Literal["jobProperty", "assetOperation", "assetAPIProperty"]
    kind: Annotated[
        WarningKind,
        Meta(
            description="deprecation: not to be used any more; unknown-option: nobody reads it; built-in: a "
            "bundle of Teraslice whose operations come with tsd; advice: the operation itself has a word to "
            "say; capacity: the cluster cannot give what is asked for"
        ),
    ]
    reason: WarningText


@attrs.frozen(kw_only=True)
class JobWarning:
    """Something about a job that can run."""

    type: Literal["JobValidation"]
    reason: WarningReason


@attrs.frozen(kw_only=True)
class Job:
    """A stored job: what was posted, and what the store adds."""

    job_id: Id
    _context: Literal["job"]
    _created: Time
    _updated: Time
    operations: Annotated[list[dict[str, Any]], Meta(description="as posted, as all that is not named here")]
    active: Annotated[bool | UnsetType, Meta(description="whether people still use it")] = UNSET
    _deleted: Literal[True] | UnsetType = UNSET
    _deleted_on: Time | UnsetType = UNSET
    ex: Annotated[dict[str, Any] | UnsetType, Meta(description="fields of its latest execution")] = UNSET
    warnings: Annotated[list[JobWarning] | UnsetType, Meta(description="only in the answer to a change")] = (
        UNSET
    )


@attrs.frozen(kw_only=True)
class Ids:
    """What was made of a request."""

    job_id: Id
    ex_id: Annotated[str | UnsetType, Meta(description="the new execution, if it runs")] = UNSET
    warnings: Annotated[list[JobWarning] | UnsetType, Meta(description="only when there are any")] = UNSET


# --- executions ---------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class LetterCounts:
    """The dead letters of an execution."""

    stored: Annotated[int, Meta(ge=0, description="those that are there")]
    dropped: Annotated[int, Meta(ge=0, description="those that gave way to later ones")]


@attrs.frozen(kw_only=True)
class Execution:
    """An execution: the job with all defaults, and what became of it."""

    ex_id: Id
    job_id: Id
    _context: Literal["ex"]
    _status: Status
    _created: Time
    _updated: Time
    _has_errors: Annotated[bool, Meta(description="a slice failed for good")]
    _failureReason: Annotated[str, Meta(description="why it ended badly; empty otherwise")]  # noqa: N815  # clients know it
    _slicer_stats: Annotated[dict[str, Any], Meta(description="its last counters")]
    name: str
    lifecycle: Literal["once", "persistent"]
    operations: list[dict[str, Any]]
    workers: Count
    slicers: Count
    _dead_letters: Annotated[LetterCounts | UnsetType, Meta(description="if it had any; not in lists")] = (
        UNSET
    )
    _waiting_reason: Annotated[
        str | UnsetType,
        Meta(description="why something of it does not run yet, if that is so; not in lists"),
    ] = UNSET
    recovered_execution: Annotated[str | UnsetType, Meta(description="the one that it goes on from")] = UNSET
    recovered_slice_type: Annotated[str | UnsetType, Meta(description="which of its slices run again")] = (
        UNSET
    )
    slicer_hostname: Annotated[str | UnsetType, Meta(description="where its controller runs or ran")] = UNSET
    slicer_port: int | UnsetType = UNSET
    _deleted: Literal[True] | UnsetType = UNSET
    _deleted_on: Time | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class SliceError:
    """A slice that failed for good."""

    slice_id: Id
    slicer_id: Count
    slicer_order: Count
    request: Annotated[str, Meta(description="the slice request, as JSON text")]
    state: Literal["error"]
    ex_id: Id
    _created: Time
    _updated: Time
    error: Annotated[str, Meta(description="what happened in the last attempt; its first line says it")]
    retry_count: Count | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class DeadLetter:
    """A record that an operation could not take."""

    record: Annotated[Any, Meta(description="the record, or text; see `form`")]
    form: Annotated[
        Literal["json", "base64", "text"],
        Meta(description="`base64` for bytes, `text` for text and for what is no JSON"),
    ]
    metadata: Annotated[dict[str, Any], Meta(description="of the record")]
    error: Annotated[str, Meta(description="why, at most its last 2,000 characters")]
    operation: Annotated[str, Meta(description="which operation or API rejected it")]
    position: Annotated[str, Meta(description="where that stands in the job", examples=["operations[1]"])]
    slice_id: Id
    attempt: Annotated[int, Meta(ge=1, description="of the slice")]
    time: Time
    ex_id: Id
    job_id: Id
    worker: str
    truncated: Annotated[
        bool,
        Meta(description="it is not whole: it was too large, or holds what JSON has not; no replay"),
    ]
    slicer_id: Annotated[int | UnsetType, Meta(description="missing for a flush")] = UNSET
    slicer_order: int | UnsetType = UNSET
    raw: Annotated[str | UnsetType, Meta(description="bytes that it held beside its fields, as base64")] = (
        UNSET
    )
    replayed: Annotated[str | UnsetType, Meta(description="the execution that ran it again")] = UNSET


@attrs.frozen(kw_only=True)
class Deleted:
    """What was deleted."""

    deleted: Annotated[int, Meta(ge=0, description="how many")]


@attrs.frozen(kw_only=True)
class SkippedLetters:
    """Dead letters that were not replayed."""

    truncated: Annotated[int, Meta(ge=0, description="they are cut")]
    replayed: Annotated[int, Meta(ge=0, description="they were replayed before")]
    left: Annotated[int, Meta(ge=0, description="more than one replay takes: ask once more")]


@attrs.frozen(kw_only=True)
class ReplayStarted:
    """A new job and its execution, which runs records again."""

    job_id: Id
    ex_id: Id
    letters: Annotated[int, Meta(ge=1, description="how many records")]
    skipped: SkippedLetters


@attrs.frozen(kw_only=True)
class Stopped:
    """The status when the request was answered."""

    status: Status
    message: Annotated[str | UnsetType, Meta(description="when it was forced")] = UNSET


@attrs.frozen(kw_only=True)
class Paused:
    """The controller has confirmed it."""

    status: Literal["paused"]


@attrs.frozen(kw_only=True)
class Resumed:
    """The controller has confirmed it."""

    status: Literal["running"]


@attrs.frozen(kw_only=True)
class Message:
    """What was done, in words."""

    message: str


@attrs.frozen(kw_only=True)
class LogLevel:
    """The log level that was set."""

    exId: Id  # noqa: N815  # clients know it
    level: str


# --- bundles ------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class AssetId:
    """Which bundle it is."""

    asset_id: AssetIdText


@attrs.frozen(kw_only=True)
class MalformedId:
    """Not an id, said in both places in which clients look."""

    error: str
    message: str


@attrs.frozen(kw_only=True)
class Asset:
    """A bundle; what its manifest does not say is left out."""

    id: AssetIdText
    name: str
    version: str
    _created: Time
    description: str | UnsetType = UNSET
    platform: Annotated[str | UnsetType, Meta(description="the only one it runs on")] = UNSET
    arch: Annotated[str | UnsetType, Meta(description="the only processor it runs on")] = UNSET
    node_version: Annotated[int | UnsetType, Meta(description="of Node, for JavaScript")] = UNSET
    python_version: Annotated[str | UnsetType, Meta(description="the oldest that it runs with")] = UNSET
    operations: Annotated[
        list[str] | UnsetType,
        Meta(description="names of its operations and APIs; not there when the master can not import it"),
    ] = UNSET


# --- the cluster --------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Info:
    """What this cluster is."""

    arch: Annotated[str, Meta(description="the processor", examples=["x64"])]
    clustering_type: Literal["native"]
    name: Annotated[str, Meta(description="of the cluster")]
    node_version: Annotated[str, Meta(description="of Python")]
    platform: str
    teraslice_version: Annotated[str, Meta(description="whose job files and API these are")]
    tsd_version: str


@attrs.frozen(kw_only=True)
class Process:
    """A process of a node."""

    worker_id: Annotated[int, Meta(ge=1, description="unique on its node")]
    assignment: Literal["execution_controller", "worker", "cluster_master", "assets_service"]
    pid: int
    ex_id: Id | UnsetType = UNSET
    job_id: Id | UnsetType = UNSET
    assets: Annotated[list[AssetIdText] | UnsetType, Meta(description="the bundles that it runs with")] = (
        UNSET
    )
    problem: Annotated[
        str | UnsetType, Meta(description="what keeps it from working, as a controller that it can not reach")
    ] = UNSET


NodeState = Annotated[
    Literal["connected", "draining", "drained", "disconnected"],
    Meta(
        description="`draining`: what it runs ends and goes on elsewhere; `drained`: nothing runs there now"
    ),
]


@attrs.frozen(kw_only=True)
class Node:
    """A node of the cluster."""

    node_id: Id
    hostname: str
    pid: int
    node_version: Annotated[str, Meta(description="of Python")]
    teraslice_version: str
    total: Annotated[int, Meta(ge=0, description="its slots")]
    state: NodeState
    available: Annotated[int, Meta(description="free slots")]
    active: list[Process]
    tsd_version: str | UnsetType = UNSET
    config: Annotated[str | UnsetType, Meta(description="stands for the cluster file that it has read")] = (
        UNSET
    )
    labels: Annotated[dict[str, str] | UnsetType, Meta(description="from its settings")] = UNSET


@attrs.frozen(kw_only=True)
class NodeEntry:
    """A node, and whether it is to be drained.

    What it is and runs is not there when it is away: all that is known then is that it is to be drained.
    """

    node_id: Id
    state: NodeState
    processes: Annotated[int, Meta(ge=0, description="that it runs, with those that start or end")]
    drain_since: Annotated[Time | UnsetType, Meta(description="nothing is to run on it since then")] = UNSET
    drain_until: Annotated[Time | UnsetType, Meta(description="what still runs there then is killed")] = UNSET
    hostname: str | UnsetType = UNSET
    pid: int | UnsetType = UNSET
    node_version: Annotated[str | UnsetType, Meta(description="of Python")] = UNSET
    teraslice_version: str | UnsetType = UNSET
    tsd_version: str | UnsetType = UNSET
    total: Annotated[int | UnsetType, Meta(description="its slots")] = UNSET
    available: Annotated[int | UnsetType, Meta(description="free slots")] = UNSET
    active: list[Process] | UnsetType = UNSET
    config: Annotated[str | UnsetType, Meta(description="stands for the cluster file that it has read")] = (
        UNSET
    )
    labels: Annotated[dict[str, str] | UnsetType, Meta(description="from its settings")] = UNSET


@attrs.frozen(kw_only=True)
class Controller:
    """An execution that runs, with the counters of its controller."""

    ex_id: Id
    job_id: Id
    name: str
    workers_available: Count
    workers_active: Count
    workers_joined: Count
    workers_reconnected: Count
    workers_disconnected: Count
    job_duration: Annotated[int, Meta(ge=0, description="whole seconds, set at the end")]
    failed: Count
    subslices: Count
    queued: Count
    slice_range_expansion: Count
    processed: Annotated[int, Meta(ge=0, description="includes `failed`")]
    slicers: Count
    subslice_by_key: Count
    started: Annotated[str, Meta(description="the time at which it began")]
    stalled_workers: Annotated[int, Meta(ge=0, description="connected, but their interpreters are held")]
    refused_results: Annotated[int, Meta(ge=0, description="late or double results that do not count")]
    queuing_complete: Annotated[str | UnsetType, Meta(description="the time at which slicing ended")] = UNSET


@attrs.frozen(kw_only=True)
class Totals:
    """Sums over all executions since the master started."""

    processed: Count
    failed: Count
    queued: Count
    job_duration: Count
    workers_joined: Count
    workers_disconnected: Count
    workers_reconnected: Count


@attrs.frozen(kw_only=True)
class Stats:
    """The totals, under both names that clients look for."""

    controllers: Totals
    slicer: Totals


# --- health -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Health:
    """The process lives."""

    status: Literal["alive"]


@attrs.frozen(kw_only=True)
class Check:
    """One part of the master."""

    ok: bool
    reason: Annotated[str | UnsetType, Meta(description="what is wrong, if something is")] = UNSET


@attrs.frozen(kw_only=True)
class StoreCheck(Check):
    """Whether the store takes writes."""

    since: Annotated[str, Meta(description="the time at which that began")]


@attrs.frozen(kw_only=True)
class CapacityCheck(Check):
    """Whether there is a node for jobs to run on; without one the master is ready all the same."""

    nodes: Annotated[int, Meta(ge=0, description="connected ones")]
    nodes_drained: Annotated[int, Meta(ge=0, description="those of them that are draining or drained")]
    slots: Annotated[int, Meta(ge=0, description="of connected nodes")]
    slots_free: Annotated[int, Meta(ge=0, description="those on which something may be placed now")]


@attrs.frozen(kw_only=True)
class Waiting:
    """An execution of which something does not run yet."""

    ex_id: Id
    job_id: Id
    name: str
    reason: Annotated[str, Meta(description="what it waits for")]


@attrs.frozen(kw_only=True)
class NodeWithRoom(NodeEntry):
    """A node, and what there is of room in the cluster for what it ran."""

    staying: Annotated[
        list[Id], Meta(description="executions that can not leave: their slicers are not recoverable")
    ]
    capacity: Annotated[CapacityCheck, Meta(description="as in `/ready`")]
    waiting: Annotated[list[Waiting], Meta(description="executions that wait, at most 100, oldest first")]


@attrs.frozen(kw_only=True)
class Checks:
    """The parts of the master."""

    store: StoreCheck
    mesh: Annotated[Check, Meta(description="whether daemons that call are answered")]
    capacity: CapacityCheck


@attrs.frozen(kw_only=True)
class Readiness:
    """Whether jobs can be posted now, and if not, why."""

    status: Literal["ready", "not ready"]
    reasons: list[str]
    checks: Checks

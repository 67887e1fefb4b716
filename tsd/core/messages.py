"""The messages on the mesh, and what each one means.

Three links, each DEALER to ROUTER: node to master, controller to master, worker to controller. A peer
is its DEALER identity: a `ProcessId` for controllers and workers, `<node_id>~<start>` for nodes, so
that a restarted process is a new peer. `docs/architecture.md` tells the conversations.

The rules that all links share:

* The dialer opens with its hello and repeats it, ever more seldom (`tsd.core.hellos`), until it is welcomed
  or refused. It says hello again when the listener answers `Again` (which is what a listener answers to any
  frame of a peer that it does not know, for example after a restart) and when nothing was heard for
  `LINK_SILENCE_BEATS` beats.
* A hello says what the dialer holds; a welcome carries all that the dialer needs. Everything in
  between can be lost, doubled or late: what must arrive is repeated until it is acknowledged
  (record batches, status reports, results) or is level-triggered (wanted states, reports of what runs).
* `Refused` is final: the dialer ends.
* Hellos and beats of nodes and controllers, and beats of workers, carry what the process has counted since
  its start (`tsd.core.counts`). Machines put in what they know; the shell adds what its links count.
* Each link reads only the kinds that belong on it (`tsd.core.kinds`), and every field has a range
  (`tsd.core.fields`): what is anything else is a bad frame, which is counted and dropped.
"""

from typing import Annotated

import attrs
from msgspec import Meta

from tsd.core import fields
from tsd.core.counts import ControllerCounts, MeshCounts
from tsd.core.execution.terms import read_terms
from tsd.core.records import ExecutionStats, ProcessRole, SliceRow, SlicerPosition, UnfinishedSlice
from tsd.ids import parse_process_id


def _is_metadata(_message: object, field: "attrs.Attribute[str]", value: str) -> None:
    if fault := fields.metadata_fault(value):
        raise ValueError(f"{field.name} {fault}")


def _is_document(_message: object, field: "attrs.Attribute[str]", value: str) -> None:
    try:
        read_terms(value)
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{field.name} is no execution document: {error}") from error


def _is_named_right(spec: "ProcessSpec", _field: object, number: int) -> None:
    name = parse_process_id(spec.proc_id)
    is_controller = spec.role is ProcessRole.CONTROLLER
    wanted = (spec.ex_id, spec.generation, number)
    if name is None or (name.ex_id, name.generation, name.number) != wanted or is_controller != (number == 0):
        raise ValueError(f"process {spec.proc_id} is no {spec.role} {number} of {spec.ex_id}")


def _is_of_execution(report: "ProcessReport | ProcessExit", _field: object, ex_id: str) -> None:
    if not report.proc_id.startswith(f"{ex_id}/"):
        raise ValueError(f"process {report.proc_id} is none of execution {ex_id}")


_FEW = Meta(max_length=10_000)
_SOURCES = Meta(min_length=1, max_length=10_000)
_PROCESSES = Meta(max_length=fields.PROCESSES_MAX)
_MANY = Meta(max_length=fields.LIST_MAX)
_Numbers = Annotated[list[fields.Number], _MANY]

PROTOCOL = 2
"""Version of the wire; a hello with another one is refused with the reason."""
IDLE_BEATS = 5
"""A worker with nothing to do beats only at every fifth beat, so that paused and idle jobs cost nothing."""
CUT_SHORT_S = 0.5
"""A worker that is to end at once leaves its slice so long to be put down, or to end."""
LAST_WORDS_S = 2.0
"""When the time of a stop is over its controller has so long to take in last results and to record them."""
LINK_SILENCE_BEATS = 3
"""After so many beats without a word from the listener a dialer says hello again."""
OUT_OF_MEMORY = "out of memory"
"""How the detail of a `ProcessExit` begins when the kernel counts that it ended a process for that."""


# --- every link, listener to dialer ------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Again:
    """Say hello: this side does not know you (it restarted, or you were away)."""


@attrs.frozen(kw_only=True)
class Refused:
    """You are not wanted (stale generation, wrong protocol, declared lost): end."""

    reason: fields.Reason


@attrs.frozen(kw_only=True)
class Alive:
    """Answer to a beat of a node or worker; also the probe of a silent peer's link."""


# --- node and master ---------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ProcessSpec:
    """A process that a node is to run.

    Attributes:
        dial: Address of the listener the process dials: empty for a controller, which dials the
            master that its node is connected to.
        number: 0 for the controller, 1.. for workers.
        assets: Ids of the bundles that have to be unpacked on the node before the process starts.
        env: Extra environment variables of the process.
    """

    proc_id: fields.ProcId
    role: ProcessRole
    ex_id: fields.Id
    job_id: fields.Id
    generation: fields.Number
    number: fields.Number = attrs.field(validator=_is_named_right)
    dial: fields.Dial
    assets: Annotated[tuple[fields.Id, ...], _FEW] = ()
    env: dict[str, str] = attrs.field(factory=dict)
    log_level: fields.Level | None = None

    def ids(self) -> dict[str, str]:
        """What every log line of the process names."""
        return {"ex_id": self.ex_id, "job_id": self.job_id, "worker_id": self.proc_id}


@attrs.frozen(kw_only=True)
class ProcessReport:
    """A process that a node runs now.

    Attributes:
        ending: It was told to end. A master that has just started knows that only from here.
    """

    proc_id: fields.ProcId
    role: ProcessRole
    ex_id: fields.Id = attrs.field(validator=_is_of_execution)
    job_id: fields.Id
    pid: fields.Pid
    ending: bool = False


@attrs.frozen(kw_only=True)
class ProcessExit:
    """A process that ended.

    Attributes:
        exit_code: None when a signal ended it.
        signal: Number of that signal.
        running: Number (`n` of `Slices`) of the slice that the worker was running when it ended, read
            from the page that it shares with its node; None when it ran none.
        behind: Number of the slice that it had ended last, when it was running none; also of the one that it
            ran, when its loop broke, which need not be the fault of that slice.
        doing: What it did that was no slice, as `initializing operation x (operations[1])`; empty when it
            was ready and did nothing special.
        was_frozen: It had stood still for several beats when it was killed.
        detail: What the process said last, at most 2,000 characters; empty when it ended well.
    """

    proc_id: fields.ProcId
    ex_id: fields.Id = attrs.field(validator=_is_of_execution)
    exit_code: Annotated[int, Meta(ge=-(2**31), le=2**32)] | None
    signal: Annotated[int, Meta(ge=0, le=1000)] | None
    running: fields.Number | None = None
    behind: fields.Number | None = None
    doing: fields.Detail = ""
    was_frozen: bool = False
    detail: fields.Detail = ""


@attrs.frozen(kw_only=True)
class NodeHello:
    """Node to master: here I am, and this is what I run. Said again when its settings have changed.

    Attributes:
        config: Stands for the cluster file that it has read.
        labels: Those that its settings give it.
    """

    protocol: fields.Number
    version: fields.Name
    python: fields.Name
    node_id: Annotated[fields.Name, Meta(min_length=1)]
    hostname: Annotated[fields.Name, Meta(min_length=1)]
    pid: fields.Pid
    slots: fields.Slots
    runs: Annotated[tuple[ProcessReport, ...], _PROCESSES]
    exits: Annotated[tuple[ProcessExit, ...], _PROCESSES]
    mesh: MeshCounts = attrs.field(factory=MeshCounts)
    """Of the daemon's link, since it started."""
    config: fields.Name = ""
    labels: Annotated[dict[fields.Name, fields.Text], _FEW] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class NodeWelcome:
    """Master to node: known. A `NodeWanted` follows at once."""

    version: fields.Name
    beat_interval_s: fields.BeatSeconds


@attrs.frozen(kw_only=True)
class NodeWanted:
    """Master to node: all that you are to run.

    A process that runs and stands in neither list is killed at once. One in `endings` is told to
    drain (SIGTERM) and killed after so many seconds, which may be infinite.
    """

    revision: fields.Revision
    processes: Annotated[tuple[ProcessSpec, ...], _PROCESSES]
    endings: Annotated[dict[fields.ProcId, fields.Grace], _PROCESSES]
    """ProcessId to grace in seconds."""
    exits_seen: Annotated[tuple[fields.ProcId, ...], _PROCESSES] = ()
    """Exits that the master has taken in; the node forgets them."""


@attrs.frozen(kw_only=True)
class NodeBeat:
    """Node to master: every beat, and at once when a process started or ended."""

    revision: fields.Revision
    """Of the last `NodeWanted` taken in; the master sends it again when it is behind."""
    runs: Annotated[tuple[ProcessReport, ...], _PROCESSES]
    exits: Annotated[tuple[ProcessExit, ...], _PROCESSES]
    """Exits not yet seen by the master."""
    draining: bool = False
    """The node was told to stop: place nothing on it, and end what it runs."""
    mesh: MeshCounts = attrs.field(factory=MeshCounts)
    """Of the daemon's link, since it started."""


# --- bundles, from master to node ---------------------------------------------------------------


@attrs.frozen(kw_only=True)
class AssetAsk:
    """Node to master: the zip of a bundle from `offset` on. Repeated until answered."""

    asset_id: fields.Id
    offset: fields.Number


@attrs.frozen(kw_only=True)
class AssetPart:
    """Master to node: a piece of a zip.

    Attributes:
        offset: Where the piece begins.
        size_b: Of the whole zip; when the piece reaches it nothing is left to ask for.
    """

    asset_id: fields.Id
    offset: fields.Number
    size_b: fields.Number
    data: bytes


@attrs.frozen(kw_only=True)
class AssetUnavailable:
    """Master to node: the zip can not be had, and asking again does not help."""

    asset_id: fields.Id
    reason: fields.Reason


# --- controller and master ---------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ControllerHello:
    """Controller to master: I am this generation of this execution's controller, listening there."""

    protocol: fields.Number
    ex_id: fields.Id
    generation: fields.Number
    address: fields.Address
    """Where workers dial, for example `tcp://10.0.0.5:45680`."""
    counts: ControllerCounts = attrs.field(factory=ControllerCounts)


@attrs.frozen(kw_only=True)
class Wanted:
    """Master to controller: what is wanted of the execution now (level-triggered).

    Attributes:
        revision: Grows with each change.
        paused: Hand out nothing.
        stop: None to go on, `drain` to end after the running slices, `now` to end at once.
        stop_within_s: Time left to drain, seconds.
        workers: How many worker processes the master wants to have running; 0 while a drain has taken them
            all and there is no other slot for any, so that none is missed.
        exits: Worker processes that ended and that this controller has not acknowledged.
        log_level: Level for the job's processes, None for the default.
    """

    revision: fields.Revision
    paused: bool = False
    stop: Annotated[str, Meta(pattern=r"\A(drain|now)\Z")] | None = None
    stop_within_s: fields.Seconds = 0.0
    workers: fields.Number = 0
    exits: Annotated[tuple[ProcessExit, ...], _PROCESSES] = ()
    log_level: fields.Level | None = None


@attrs.frozen(kw_only=True)
class ControllerWelcome:
    """Master to controller: you hold the lease.

    Attributes:
        lease_s: The lease runs so long from the moment the answered beat or hello was sent.
        execution: The execution document as JSON text.
        resume: An earlier generation of this execution may have recorded slices.
        sources: This execution and the chain of those it recovers, newest first.
        mode: A `RecoveryMode` word when `sources` has more than one entry and recovery is not done
            yet; empty otherwise.
        wanted: The wanted state.
    """

    lease_s: fields.Seconds
    beat_interval_s: fields.BeatSeconds
    execution: str = attrs.field(validator=_is_document)
    resume: bool
    sources: Annotated[tuple[fields.Id, ...], _SOURCES]
    mode: fields.Mode
    wanted: Wanted


@attrs.frozen(kw_only=True)
class RecoveryAsk:
    """Controller to master: a page of slices to run again. Repeated until answered.

    Attributes:
        ask_id: Number of the question; the answer carries it.
        after: The key of the last slice of the page before, as (source, slicer_id, slicer_order);
            None for the first page, whose answer also carries positions and counts.
        limit: At most so many slices.
    """

    ask_id: fields.Number
    generation: fields.Number
    mode: fields.Mode
    """A `RecoveryMode` word for the earlier executions; empty: only own unfinished slices."""
    after: tuple[fields.Number, fields.Number, fields.Number] | None
    limit: Annotated[int, Meta(ge=1, le=fields.LIST_MAX)]


@attrs.frozen(kw_only=True)
class RecoveryPage:
    """Master to controller: slices to run again, in key order (own execution first).

    Attributes:
        positions: First page only: where each slicer stood (own records first, else the nearest
            ancestor that has records of that slicer).
        counts: First page only: how many own records are in each `SliceState` (4 numbers).
        rerun: First page only: how many records of earlier executions this one has run again already,
            completed and in error.
    """

    ask_id: fields.Number
    slices: Annotated[tuple[UnfinishedSlice, ...], _MANY]
    is_last: bool
    positions: Annotated[tuple[SlicerPosition, ...], _MANY] = ()
    counts: tuple[fields.Number, fields.Number, fields.Number, fields.Number] = (0, 0, 0, 0)
    rerun: tuple[fields.Number, fields.Number] = (0, 0)


@attrs.frozen(kw_only=True)
class RecordBatch:
    """Controller to master: slice records to store in one transaction. Repeated until answered."""

    ex_id: fields.Id
    generation: fields.Number
    seq: fields.Number
    """1, 2, ...; the master takes them in order and a repeated one is stored again, which is harmless."""
    sources: Annotated[tuple[fields.Id, ...], _SOURCES]
    rows: Annotated[list[SliceRow], _MANY]
    letters: Annotated[list[tuple[Annotated[int, Meta(ge=-1, lt=fields.LIST_MAX)], bytes]], _MANY] = (
        attrs.field(factory=list)
    )
    """(index, letters) for the rows that have dead letters (`tsd.core.letters`), -1 for those of a flush.
    They take the place of letters that the same slice had before."""
    first: fields.Number = 0
    """The oldest number without an answer when this was sent: a master that has just started begins with
    that one. 0 does not say, and whichever comes first then counts as the oldest."""


@attrs.frozen(kw_only=True)
class RecordsSaved:
    """Master to controller: all batches up to `seq` are durable."""

    seq: fields.Number


@attrs.frozen(kw_only=True)
class StatusReport:
    """Controller to master: something that changes the status. Repeated until answered.

    Attributes:
        seq: 1, 2, ... per controller.
        event: A `LifecycleEvent` word.
        reason: Becomes `_failureReason` when not empty.
        metadata: As of `ControllerBeat`.
        is_recorded: With the last word: every slice that was ever handed out has a durable record.
    """

    ex_id: fields.Id
    generation: fields.Number
    seq: fields.Number
    event: fields.Name
    reason: fields.Reason
    stats: ExecutionStats
    counts: ControllerCounts = attrs.field(factory=ControllerCounts)
    metadata: str = attrs.field(default="", validator=_is_metadata)
    is_recorded: bool = False


@attrs.frozen(kw_only=True)
class StatusIs:
    """Master to controller: report `seq` was taken in; the status is now this."""

    seq: fields.Number
    status: fields.Name


@attrs.frozen(kw_only=True)
class ControllerBeat:
    """Controller to master: every beat, and sooner when its lists change.

    Attributes:
        sent_at: The controller's own clock; the answer carries it back.
        revision: Of the last `Wanted` taken in.
        workers: Connected workers.
        lost_workers: Workers given up by the controller; repeated until the master ends them.
        exits_seen: Exits of `Wanted.exits` taken in.
        metadata: All metadata of the execution as a JSON object, put in by the shell; empty when it was never
            changed there.
        replaceable: Another controller could go on from here. A slicer that is not recoverable has to end
            where it began; None until the slicer says which it is.
    """

    ex_id: fields.Id
    generation: fields.Number
    sent_at: fields.Moment
    revision: fields.Revision
    workers: Annotated[tuple[fields.ProcId, ...], _PROCESSES]
    lost_workers: Annotated[tuple[fields.ProcId, ...], _PROCESSES]
    exits_seen: Annotated[tuple[fields.ProcId, ...], _PROCESSES]
    stats: ExecutionStats
    counts: ControllerCounts = attrs.field(factory=ControllerCounts)
    metadata: str = attrs.field(default="", validator=_is_metadata)
    replaceable: bool | None = True


@attrs.frozen(kw_only=True)
class LeaseGranted:
    """Master to controller: answer to a beat; the lease runs `lease_s` from `sent_at`."""

    sent_at: fields.Moment


# --- worker and controller ---------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class WorkerHello:
    """Worker to controller: here I am, holding these slices. Results not yet seen follow the welcome.

    Attributes:
        kept: Numbers of slices that were run, and whose records an operation holds back.
    """

    protocol: fields.Number
    ex_id: fields.Id
    generation: fields.Number
    number: fields.Number
    pid: fields.Pid
    holds: _Numbers
    kept: _Numbers = attrs.field(factory=list)
    """Numbers of slices held, begun or not, whose result was not yet seen by the controller."""


@attrs.frozen(kw_only=True)
class WorkerWelcome:
    """Controller to worker: known. Slices you hold that are not in `keep` are no longer yours: drop them."""

    execution: str = attrs.field(validator=_is_document)
    beat_interval_s: fields.BeatSeconds
    keep: _Numbers
    log_level: fields.Level | None = None


SliceItem = tuple[fields.Number, int, int, str, str | None, str | None]
"""A slice on its way to a worker: (n, slicer_id, slicer_order, request, ex_id, slice_id).

`n` is the controller's number for the slice, the only name it has on this link. `request` is JSON
text. `ex_id` is None for slices of the execution itself; `slice_id` is None when derived. There are
thousands in a message, so only what must have a range is looked at: the others are part of a text.
"""


@attrs.frozen(kw_only=True)
class Slices:
    """Controller to worker: run these, in this order."""

    items: Annotated[list[SliceItem], _MANY]


FullResult = tuple[fields.Number, fields.Number, fields.Number, str | None, bytes | None, bytes | None]
"""(n, state, retry_count, error, analytics, letters): a result that has more to say than `done`.

`letters` are the dead letters of the slice (`tsd.core.letters`), None when it has none.
"""


@attrs.frozen(kw_only=True)
class Results:
    """Worker to controller: what became of slices. Repeated until seen.

    Attributes:
        seq: 1, 2, ... per worker process.
        done: Numbers of slices completed at the first attempt, without analytics.
        full: All others that ended.
        returned: Numbers of slices given back without having been begun.
        kept: Numbers of slices that were run, and whose records an operation holds back: what becomes of them
            is told in a later message.
        busy_us: Microseconds of work that the results of this message took.
        records: Records that the reader gave since the message before.
        flush_letters: Dead letters of a flush (`tsd.core.letters`), which is no slice.
    """

    seq: fields.Number
    done: Annotated[list[int], _MANY]
    """Only compared with the numbers that are held, so they need no range."""
    full: Annotated[list[FullResult], _MANY]
    returned: _Numbers
    busy_us: fields.Number
    records: fields.Number = 0
    kept: _Numbers = attrs.field(factory=list)
    flush_letters: bytes | None = None


@attrs.frozen(kw_only=True)
class ResultsSeen:
    """Controller to worker: all results up to `seq` are taken in."""

    seq: fields.Number


@attrs.frozen(kw_only=True)
class GiveBack:
    """Controller to worker: return up to `count` slices that were not begun, newest first; -1 for all."""

    count: Annotated[int, Meta(ge=-1, le=fields.LIST_MAX)]


@attrs.frozen(kw_only=True)
class FlushKept:
    """Controller to worker: no more slices come for now; let operations release what they hold back."""


@attrs.frozen(kw_only=True)
class WorkerBeat:
    """Worker to controller: every beat.

    Attributes:
        running: Number of the slice in work.
        running_for_s: For how long.
        held: How many more are held; kept ones do not count.
        ready: Its operations are initialized.
    """

    running: fields.Number | None
    running_for_s: fields.Seconds
    held: fields.Number
    ready: bool = False
    draining: bool = False
    """It was told to end: it takes no more slices."""
    mesh: MeshCounts = attrs.field(factory=MeshCounts)


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """Controller to worker: change the log level."""

    log_level: fields.Level | None


@attrs.frozen(kw_only=True)
class StopWorker:
    """Controller to worker: end. With `drain` the running slice ends first, else it is dropped.

    Attributes:
        cut_short: With `drain`: put the running slice down instead, within `CUT_SHORT_S`, flush nothing, but
            tell what has ended and say goodbye: the controller waits for that.
    """

    drain: bool
    cut_short: bool = False


@attrs.frozen(kw_only=True)
class WorkerBye:
    """Worker to controller: I end now; all my results were sent. What I hold is yours again."""

    reason: fields.Reason
    failed: bool = False
    """The worker could not start (bad operation, failing initialize): the execution can not go on."""
    mesh: MeshCounts = attrs.field(factory=MeshCounts)


ToNode = Again | Refused | Alive | NodeWelcome | NodeWanted
FromNode = NodeHello | NodeBeat
ToLibrary = AssetPart | AssetUnavailable
"""What a node gets that does not concern its machine."""
ToController = (
    Again
    | Refused
    | Alive
    | ControllerWelcome
    | Wanted
    | RecoveryPage
    | RecordsSaved
    | StatusIs
    | LeaseGranted
)
FromController = ControllerHello | ControllerBeat | RecoveryAsk | RecordBatch | StatusReport
ToWorker = (
    Again
    | Refused
    | Alive
    | WorkerWelcome
    | Slices
    | ResultsSeen
    | GiveBack
    | FlushKept
    | WorkerSettings
    | StopWorker
)
FromWorker = WorkerHello | WorkerBeat | Results | WorkerBye
Message = ToNode | FromNode | AssetAsk | ToLibrary | ToController | FromController | ToWorker | FromWorker

"""What goes into the two machines of an execution, and what comes out.

Both machines have one shape: `handle(event, *, now) -> Effects` and `wake_at() -> float | None`. A shell does
four things and decides nothing:

1. It turns what happens (a message, a finished call of user code, a signal) into an event.
2. It gives `Effects.sends` to the mesh in order; peer `""` is the listener that the process dials (the
   master for a controller, the controller for a worker). A send that was not taken comes back as `NotSent`.
3. It carries out `Effects.actions` in order and answers as each action's docstring says.
4. It feeds `Tick` when the clock reaches `wake_at()`, asked again after each `handle`, and `LinkChanged`
   before the first one and whenever the link that the process dials comes up or goes down.

`now` is seconds on a monotonic clock and never goes back. After an `Exit` action every event is a no-op.
"""

from typing import Any

import attrs

from tsd.core.hellos import LinkChanged
from tsd.core.messages import FromWorker as WorkerMessage
from tsd.core.messages import FullResult, Message, SliceItem, ToController, ToWorker
from tsd.core.records import ExecutionStats, SlicerPosition

MadeItem = tuple[int, str, str | None, str | None]
"""What a slicer made: (slicer_id, request as JSON text, its own slice_id or None, pinned worker or None)."""


# --- both machines -----------------------------------------------------------------------------


@attrs.frozen
class Tick:
    """The time of `wake_at` has come."""


@attrs.frozen
class Terminate:
    """The process was asked to end (SIGTERM). With `hurry` (a second SIGTERM) it ends at once."""

    hurry: bool = False


@attrs.frozen
class NotSent:
    """A send was not taken; the message is still ours.

    Attributes:
        peer: As in `Effects.sends`.
        unreachable: The peer's link is down; otherwise too much waits for it already.
    """

    peer: str
    message: Message
    unreachable: bool


@attrs.frozen
class SetLogLevel:
    """Action: log from this level on; None is the level of the settings. No answer."""

    level: str | None


@attrs.frozen
class Exit:
    """Action: flush the sends (bounded), then end the process with this code. Nothing follows."""

    code: int
    reason: str


# --- controller: events ------------------------------------------------------------------------


@attrs.frozen
class FromMaster:
    """A message of the master."""

    message: ToController


@attrs.frozen
class FromWorker:
    """A message of a worker, or of something that calls itself one."""

    peer: str
    message: WorkerMessage


@attrs.frozen
class SlicerInfo:
    """Answer to `BuildSlicer`: it is constructed, not yet initialised.

    Attributes:
        recoverable: What its `is_recoverable` says.
        slicer_count: How many slicers the job asks for.
        completes: The job has something to do when all slices are done: `CompleteOutput` is wanted.
    """

    recoverable: bool
    slicer_count: int = 1
    completes: bool = False


@attrs.frozen
class SlicerReady:
    """Answer to `StartSlicer`: it is initialised.

    Attributes:
        slicer_count: How many slicers there are; factories that gave no function do not count.
        max_queue_length: How many slices may wait; read again with each `SlicesMade`.
        wants_hooks: It overrides a slice hook, so `TellHooks` is wanted.
    """

    slicer_count: int
    max_queue_length: int = 10_000
    wants_hooks: bool = False


@attrs.frozen
class SlicerFailed:
    """The slicer could not be constructed or initialised, or raised while slicing."""

    reason: str


@attrs.frozen
class OutputCompleted:
    """Answer to `CompleteOutput`.

    Attributes:
        error: Why it could not be done; None when it was.
    """

    error: str | None = None


@attrs.frozen
class SlicesMade:
    """Answer to `MakeSlices`.

    Attributes:
        items: New slices in order; `subslices` of the slicer results were lists.
        finished: All slicers are done (`once`); none will be asked again.
        idle: There is nothing to make now; the machine asks again after a pause.
        max_queue_length: Read again after the slicers ran.
        subslices: How many results were lists of slices.
        recursions: How often the slicer said that it recursed.
        range_expansions: How often the slicer said that it expanded a range.
    """

    items: list[MadeItem]
    finished: bool
    idle: bool
    max_queue_length: int
    subslices: int = 0
    recursions: int = 0
    range_expansions: int = 0


# --- controller: actions -----------------------------------------------------------------------


@attrs.frozen
class BuildSlicer:
    """Action, once: load the assets and construct the slicer of this execution document (JSON text).

    Answer: `SlicerInfo` or `SlicerFailed`.
    """

    execution: str


@attrs.frozen
class StartSlicer:
    """Action, once: initialise the slicer; `recovery` is empty for a fresh start, else one entry a slicer.

    Answer: `SlicerReady` or `SlicerFailed`.
    """

    recovery: list[SlicerPosition]


@attrs.frozen
class MakeSlices:
    """Action: run the slicers until `room` slices were made or nothing more comes now.

    The last result may overshoot (a list). `room` 0 only asks for `max_queue_length` again. Tell the slicer
    `stats` first if it wants them. At most one is outstanding. Answer: `SlicesMade` or `SlicerFailed`.
    """

    room: int
    stats: ExecutionStats


@attrs.frozen
class CompleteOutput:
    """Action, once: all slices are recorded and none is in error; complete the output of the job.

    Only after `SlicerInfo.completes`. A later generation may do it again. Answer: `OutputCompleted`.

    Attributes:
        last_orders: The order of the last slice of each slicer.
        has_predecessor: There was another generation, which may have handed out slices behind them that were
            not recorded, and that were not made again because the input had changed.
    """

    last_orders: dict[int, int]
    has_predecessor: bool


@attrs.frozen
class TellHooks:
    """Action: call a hook of the slicer for each of `payload`. No answer.

    Attributes:
        kind: `enqueued`, `dispatched` or `completed`.
        payload: `SliceItem`s; for `completed` (item, state, error or None).
    """

    kind: str
    payload: list[Any]


ControllerAction = BuildSlicer | StartSlicer | MakeSlices | TellHooks | CompleteOutput | SetLogLevel | Exit
ControllerEvent = (
    FromMaster
    | FromWorker
    | LinkChanged
    | NotSent
    | SlicerInfo
    | OutputCompleted
    | SlicerReady
    | SlicerFailed
    | SlicesMade
    | Terminate
    | Tick
)


# --- worker: events ----------------------------------------------------------------------------


@attrs.frozen
class FromController:
    """A message of the controller."""

    message: ToWorker


@attrs.frozen
class PipelineReady:
    """Answer to `BuildPipeline`: operations are initialised; queued slices begin to run."""


@attrs.frozen
class PipelineFailed:
    """Answer to `BuildPipeline`: an operation could not be loaded or initialised."""

    reason: str


@attrs.frozen
class SliceBegun:
    """Optional: the operation thread began slice `n`. Only refines what beats say."""

    n: int


@attrs.frozen
class SlicesRan:
    """Slices ended. The shell gathers what ended meanwhile into one event.

    Attributes:
        done: Numbers of those completed at the first attempt, without analytics.
        full: (n, state, retry_count, error, analytics, letters) of the others.
        returned: Numbers of those that a shutdown cut short: not done, not failed.
        busy_us: Microseconds that the ended and the kept ones took together.
        fatal: Not empty when the pipeline can not go on; the worker then ends with code 1.
        records: Records that the reader gave since the event before.
        kept: Numbers of those that were run, and whose records an operation holds back; each ends, or is
            returned, in a later event.
    """

    done: list[int]
    full: list[FullResult]
    busy_us: int
    returned: list[int] = attrs.field(factory=list)
    fatal: str = ""
    records: int = 0
    kept: list[int] = attrs.field(factory=list)


@attrs.frozen
class TookBack:
    """Answer to `TakeBack`: these were not begun and will not run (may be none)."""

    ns: list[int]


@attrs.frozen
class Flushed:
    """Answer to `Flush`: `reason` is empty when the flush ended well; `letters` are its dead letters.

    The kept slices that it decided were told before, as `SlicesRan`.
    """

    reason: str = ""
    letters: bytes | None = None


# --- worker: actions ---------------------------------------------------------------------------


@attrs.frozen
class BuildPipeline:
    """Action, once: load assets, build and initialise the operations of this execution document."""

    execution: str


@attrs.frozen
class Run:
    """Action: append to the operation thread's queue (it starts on it when the pipeline is ready)."""

    items: list[SliceItem]


@attrs.frozen
class TakeBack:
    """Action: remove up to `count` (-1: all) slices from the tail of the queue. Answer: `TookBack`."""

    count: int


@attrs.frozen
class Drop:
    """Action: remove these slices from the queue if they are not begun. No answer."""

    ns: list[int]


@attrs.frozen
class Flush:
    """Action: run the flush of the pipeline after what is in the queue. Answer: `Flushed`."""


@attrs.frozen
class CutShort:
    """Action: have the running slice put down if it can be; `SlicesRan` tells, as ever, what became of it.

    An `Exit` that follows waits for no user code: what that does then counts no more.
    """


WorkerAction = BuildPipeline | Run | TakeBack | Drop | Flush | CutShort | SetLogLevel | Exit
WorkerEvent = (
    FromController
    | LinkChanged
    | NotSent
    | PipelineReady
    | PipelineFailed
    | SliceBegun
    | SlicesRan
    | TookBack
    | Flushed
    | Terminate
    | Tick
)


@attrs.frozen
class Effects:
    """What a shell is to do now: first `sends`, then `actions`, each in order."""

    sends: list[tuple[str, Message]]
    actions: list[ControllerAction | WorkerAction]

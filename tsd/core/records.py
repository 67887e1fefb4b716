"""Values that several cores and shells share."""

from enum import IntEnum, StrEnum
from typing import Annotated

import attrs
from msgspec import Meta

from tsd.core.fields import Milliseconds, Name, Number, Order, Signed


class Status(StrEnum):
    """Status of an execution; the words are Teraslice's and clients match on them."""

    PENDING = "pending"
    """Created, waiting for room in the cluster."""
    SCHEDULING = "scheduling"
    """A node was chosen for the controller."""
    INITIALIZING = "initializing"
    """The controller has said hello and prepares the slicer."""
    RECOVERING = "recovering"
    """Slices of an earlier execution are run again first."""
    RUNNING = "running"
    """Slices are made and run."""
    FAILING = "failing"
    """A slice ended in error; the rest goes on."""
    PAUSED = "paused"
    """Nothing is handed out until it is resumed; its processes stay."""
    STOPPING = "stopping"
    """A stop was asked for; running slices end."""
    COMPLETED = "completed"
    """Every slice is completed."""
    STOPPED = "stopped"
    """It ended because of a stop."""
    REJECTED = "rejected"
    """Accepted in filters, never produced."""
    FAILED = "failed"
    """It could not go on, or a slice is in error; `_failureReason` says which."""
    TERMINATED = "terminated"
    """It ended early without a stop, and nothing can continue it."""


INIT_STATUSES = frozenset({Status.PENDING, Status.SCHEDULING, Status.INITIALIZING})
RUNNING_STATUSES = frozenset(
    {Status.RECOVERING, Status.RUNNING, Status.FAILING, Status.PAUSED, Status.STOPPING}
)
TERMINAL_STATUSES = frozenset(
    {Status.COMPLETED, Status.STOPPED, Status.REJECTED, Status.FAILED, Status.TERMINATED}
)


class SliceState(IntEnum):
    """State of a slice record; stored and sent as its number, shown as its lower-case name."""

    PENDING = 0
    """Made by the slicer and recorded, held by no worker."""
    START = 1
    """Handed to a worker."""
    COMPLETED = 2
    """The whole chain has run to its end; never changed again."""
    ERROR = 3
    """All attempts failed, or it killed too many workers; only a recovery runs it again."""

    @property
    def word(self) -> str:
        """The name that clients see: `pending`, `start`, `completed` or `error`."""
        return self.name.lower()


class RecoveryMode(StrEnum):
    """Which slices of earlier executions a recovered execution runs again, and whether it goes on."""

    NONE = "none"
    """All that are not completed; then the slicers go on where they were."""
    ALL = "all"
    """All that are not completed; then it ends."""
    ERRORS = "errors"
    """Those in error; then it ends."""
    PENDING = "pending"
    """Those still pending; then it ends."""
    AUTORECOVER = "autorecover"
    """Those pending or started (an interrupted slice is one of them); then the slicers go on."""


REPLAYED_STATES: dict[RecoveryMode, frozenset[SliceState]] = {
    RecoveryMode.NONE: frozenset({SliceState.PENDING, SliceState.START, SliceState.ERROR}),
    RecoveryMode.ALL: frozenset({SliceState.PENDING, SliceState.START, SliceState.ERROR}),
    RecoveryMode.ERRORS: frozenset({SliceState.ERROR}),
    RecoveryMode.PENDING: frozenset({SliceState.PENDING}),
    RecoveryMode.AUTORECOVER: frozenset({SliceState.PENDING, SliceState.START}),
}
ENDS_AFTER_REPLAY = frozenset({RecoveryMode.ALL, RecoveryMode.ERRORS, RecoveryMode.PENDING})


_Source = Annotated[int, Meta(ge=0, lt=10_000)]
_State = Annotated[int, Meta(ge=0, le=3)]

SliceRow = tuple[int, int, int, _State, int, int, str, int, str | None, str | None, bytes | None]
"""One slice record on its way to the store, as a plain tuple because there are tens of thousands a second:

(source, slicer_id, slicer_order, state, created_ms, updated_ms, request, retry_count, error, slice_id,
analytics)

`source` indexes `RecordBatch.sources`: 0 is the execution itself, others are earlier executions whose
slices it runs again. (source execution, slicer_id, slicer_order) identifies the record. `state` is a
`SliceState` number, times are Unix milliseconds, `request` is JSON text. `slice_id` is None when it
is the one that `tsd.ids.slice_id` derives. `analytics` is JSON of the per-operation arrays, or None.
"""

UnfinishedSlice = tuple[_Source, Number, Order, _State, Milliseconds, str, Number, str | None]
"""One stored slice that is to be run again:

(source, slicer_id, slicer_order, state, created_ms, request, retry_count, slice_id)

`slice_id` may be None when it is the one that `tsd.ids.slice_id` derives.
"""


@attrs.frozen(kw_only=True)
class SlicerPosition:
    """Where a slicer stood: its last recorded slice.

    Attributes:
        slicer_id: Number of the slicer, from 0.
        slicer_order: Order of its last recorded slice in *this* execution; 0 when that slice belongs to
            an earlier execution or none was recorded.
        last_slice: The request of its last recorded slice as JSON text, None when it recorded none.
    """

    slicer_id: Number
    slicer_order: Order
    last_slice: str | None


@attrs.frozen(kw_only=True)
class ExecutionStats:
    """Counters of an execution as `/controller` shows them; `processed` includes `failed`."""

    workers_available: Signed = 0
    workers_active: Signed = 0
    workers_joined: Signed = 0
    workers_reconnected: Signed = 0
    workers_disconnected: Signed = 0
    job_duration: Signed = 0
    """Whole seconds, set at the end, at least 1."""
    failed: Signed = 0
    subslices: Signed = 0
    queued: Signed = 0
    slice_range_expansion: Signed = 0
    processed: Signed = 0
    slicers: Signed = 0
    subslice_by_key: Signed = 0
    started: Name = ""
    """ISO time at which the run began."""
    queuing_complete: Name | None = None
    """ISO time at which slicing ended."""
    stalled_workers: Signed = 0
    """tsd's own: workers whose link is healthy but whose loop is silent (user code holds the interpreter)."""
    refused_results: Signed = 0
    """tsd's own: late or double results that were not counted."""


@attrs.frozen(kw_only=True)
class EndedSlices:
    """How many slices have ended, by the records that are stored of them."""

    completed: Number = 0
    failed: Number = 0

    @property
    def processed(self) -> int:
        """All of them, as counters of an execution have it."""
        return self.completed + self.failed


class ProcessRole(StrEnum):
    """What a slot of a node runs."""

    CONTROLLER = "controller"
    WORKER = "worker"

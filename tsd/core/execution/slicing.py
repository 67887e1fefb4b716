"""Asking the slicers for slices: when, how many, and numbering what they make."""

from collections import deque

import attrs

from tsd.core.execution.dispatch import Dispatcher
from tsd.core.execution.events import SlicesMade
from tsd.core.execution.ledger import Slice, SliceLedger
from tsd.core.execution.recording import Recorder
from tsd.core.records import SlicerPosition

ROOM_MIN = 512
"""They are asked for so many slices at least, if the queue is long enough: each call is a thread hop."""
ROOM_MAX = 4_096
"""And for no more, so that one answer does not hold up the workers."""
IDLE_SHORTEST_S = 0.01
IDLE_LONGEST_S = 0.25
_NEVER = float("inf")


@attrs.define(kw_only=True, eq=False)
class Slicing:
    """What the slicers have made and when they are asked again.

    Attributes:
        slicer_count: How many slicers there are; 0 until that is known.
        is_started: They are initialised.
        is_finished: All are done (`once`), or one has failed: they make no more.
        has_failed: One has failed, so what they would still have made is not known.
        is_asked: A `MakeSlices` waits for its answer.
        idle_until: There was nothing to make; do not ask before.
    """

    ledger: SliceLedger
    recorder: Recorder
    dispatcher: Dispatcher
    slicer_count: int = 0
    is_started: bool = False
    is_finished: bool = False
    has_failed: bool = False
    is_asked: bool = False
    wants_hooks: bool = False
    idle_until: float = 0.0
    list_results: int = 0
    recursions: int = 0
    range_expansions: int = 0
    finished_ms: int | None = None
    _max_queue_length: int = 0
    _pause_s: float = 0.0
    _look_again: bool = False
    _orders: dict[int, int] = attrs.field(factory=dict)

    def start(self, slicer_count: int, max_queue_length: int, *, wants_hooks: bool) -> None:
        """The slicers are initialised."""
        self.is_started = True
        self.slicer_count = slicer_count
        self._max_queue_length = max_queue_length
        self.wants_hooks = wants_hooks
        self.dispatcher.keeps_dispatched = wants_hooks

    def resume_after(self, positions: list[SlicerPosition]) -> None:
        """Number on from where the slicers stood."""
        self._orders = {position.slicer_id: position.slicer_order for position in positions}

    @property
    def last_orders(self) -> dict[int, int]:
        """The order of the last slice of each slicer."""
        return dict(self._orders)

    def look_again(self) -> None:
        """Something changed that the length of the queue may depend on (the number of workers)."""
        self._look_again = True

    def room(self, now: float) -> int | None:
        """How many slices to ask for now; 0 to ask for the length of the queue only, None for not now."""
        if not self.is_started or self.is_asked or self.is_finished:
            return None
        waiting = self.ledger.waiting
        room = self._max_queue_length - waiting
        if room <= 0:
            return 0 if self._look_again else None
        if now < self.idle_until or (waiting and room < min(ROOM_MIN, self._max_queue_length // 4)):
            return None
        return min(room, ROOM_MAX)

    def fail(self) -> None:
        """A slicer has failed; none is asked again."""
        self.is_asked = False
        self.is_finished = True
        self.has_failed = True

    def note_asked(self) -> None:
        """A `MakeSlices` goes out."""
        self.is_asked = True
        self._look_again = False

    def take(self, event: SlicesMade, *, now: float, at_ms: int) -> list[Slice]:
        """Number new slices and put them in the queue, each slicer's in its order."""
        self.is_asked = False
        self._max_queue_length = event.max_queue_length
        self.list_results += event.subslices
        self.recursions += event.recursions
        self.range_expansions += event.range_expansions
        entries = self._enter(event, at_ms)
        self.ledger.waiting += len(entries)
        if entries:
            self._pause_s = 0.0
            recorder = self.recorder
            limits = recorder.limits
            recorder.within(
                limits.commit_interval_s if self.ledger.pins else limits.pending_record_delay_s, now
            )
        if event.finished:
            self.finished_ms = at_ms
            # A persistent slicer that says so is not asked again, but the execution goes on.
            self.is_finished = True
        elif event.idle or not entries:
            self._pause_s = min(IDLE_LONGEST_S, max(IDLE_SHORTEST_S, 2 * self._pause_s))
            self.idle_until = now + self._pause_s
        return entries

    def _enter(self, event: SlicesMade, at_ms: int) -> list[Slice]:
        ledger = self.ledger
        unfinished = ledger.unfinished
        orders = self._orders
        lanes = self.recorder.lanes
        n = ledger.made
        entries: list[Slice] = []
        pinned: list[Slice] = []
        for slicer_id, request, slice_id, pin in event.items:
            n += 1
            order = orders.get(slicer_id, 0) + 1
            orders[slicer_id] = order
            entry = Slice((n, slicer_id, order, request, None, slice_id), 0, at_ms, at_ms)
            unfinished[n] = entry
            lane = lanes.get(slicer_id)
            if lane is None:
                lane = lanes[slicer_id] = deque()
            lane.append(entry)
            entries.append(entry)
            if pin is not None:
                ledger.pins[n] = pin
                pinned.append(entry)
        ledger.made = n
        if not pinned:
            self.dispatcher.extend(entries)
        else:
            for entry in entries:
                self.dispatcher.append(entry)
        return entries

"""Which waiting slice goes to which worker.

Slices wait in one queue, in order; those that came back stand at its head. A slice that asks for a
worker by name waits in a queue of that name, so it blocks nobody. A slice that was running when its
worker died waits for a worker that holds nothing and is its only one there.

A result can come for a slice that waits again, from a worker that was thought to be dead. Its entry then
stays in its queue until it comes to the head, so a queue that is not empty is no proof that anything waits:
`SliceLedger.waiting` counts what does, and `_drop_ended` cleans the heads before they are believed.

Nothing here looks at all workers for one event: those that could take a slice stand in one of two
lists (`idle` holds nothing, `hungry` has credits left). Only stealing and making room for a slice
that runs alone look at all, and not more often than `STEAL_PAUSE_S`.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable

import attrs

from tsd.core.execution.ledger import PENDING, START, Slice, SliceLedger
from tsd.core.execution.recording import Recorder
from tsd.core.execution.terms import Limits
from tsd.core.execution.workers import Worker
from tsd.core.messages import GiveBack, Message, SliceItem, Slices

STEAL_PAUSE_S = 0.02
"""Time between two looks at who could give slices to idle workers."""
STEAL_WORK_US = 10_000
"""Less work than this ahead of a worker that makes progress is not worth the way."""
NO_PROGRESS_S = 0.2
"""A worker that reported nothing for so long gets nothing ahead of the slice it runs."""
CHARS_MAX = 2_000_000
"""Text of requests in one message stays far below what a message may have."""
_NEVER = float("inf")


@attrs.define
class _Turn:
    """One call of `fill`: its time and what it sends."""

    now: float
    at_ms: int
    sends: list[tuple[str, Message]] = attrs.field(factory=list)


@attrs.define(kw_only=True, eq=False)
class Dispatcher:
    """Queues of waiting slices and lists of workers that can take some.

    Attributes:
        dispatched: Slices handed out since the caller last emptied it, when `keeps_dispatched`.
        steal_at: When idle workers are to be looked after next; infinite when nothing can be done.
    """

    ledger: SliceLedger
    recorder: Recorder
    limits: Limits
    members: dict[str, Worker]
    named: dict[str, Worker]
    keeps_dispatched: bool = False
    dispatched: list[SliceItem] = attrs.field(factory=list)
    steal_at: float = _NEVER
    active: int = 0
    _queue: deque[Slice] = attrs.field(factory=deque)
    _pinned: dict[str, deque[Slice]] = attrs.field(factory=dict)
    _pins_to_look_at: dict[str, None] = attrs.field(factory=dict)
    _alone: deque[Slice] = attrs.field(factory=deque)
    _reserve_at: float = 0.0
    _stolen_at: float = -1.0
    _idle: "OrderedDict[str, Worker]" = attrs.field(factory=OrderedDict)
    _hungry: "OrderedDict[str, Worker]" = attrs.field(factory=OrderedDict)

    # --- slices that wait

    def append(self, entry: Slice) -> None:
        """A new slice that `SliceLedger.add` has taken in."""
        pin = self.ledger.pins.get(entry.item[0]) if self.ledger.pins else None
        if pin is None:
            self._queue.append(entry)
        else:
            self._pinned.setdefault(pin, deque()).append(entry)
            self._pins_to_look_at[pin] = None

    def extend(self, entries: Iterable[Slice]) -> None:
        """New slices without pins."""
        self._queue.extend(entries)

    def put_back(self, entries: list[Slice], at_ms: int) -> None:
        """Slices that a worker held wait again, at the head, in the order in which they were made."""
        entries.sort(key=_number)
        for entry in entries:
            self.set_aside(entry, at_ms)
        for entry in reversed(entries):
            self.queue_first(entry)

    def set_aside(self, entry: Slice, at_ms: int) -> None:
        """A slice that a worker held waits again, but in no queue until `queue_first`."""
        entry.state = PENDING
        entry.holder = None
        entry.at_ms = at_ms
        if entry.recorded:
            self.recorder.mark(entry)
        self.ledger.waiting += 1

    def queue_first(self, entry: Slice) -> None:
        """A slice that was set aside stands at the head now, unless it has ended or stands in a queue."""
        if entry.state != PENDING or entry in self._alone:
            return
        n = entry.item[0]
        if n in self.ledger.deaths:
            self._alone.appendleft(entry)
        elif n in self.ledger.pins:
            pin = self.ledger.pins[n]
            self._pinned.setdefault(pin, deque()).appendleft(entry)
            self._pins_to_look_at[pin] = None
        else:
            self._queue.appendleft(entry)

    def isolate(self, entry: Slice) -> None:
        """A waiting slice killed its worker: take it out of the queues; it runs alone from now on."""
        for queue in (self._queue, *self._pinned.values(), self._alone):
            if entry in queue:
                queue.remove(entry)
        self._alone.append(entry)

    # --- workers

    def settle(self, worker: Worker, now: float) -> None:
        """What the worker holds or may hold changed: file it under what it could take."""
        count = len(worker.held)
        if worker.busy != (count > 0):
            worker.busy = count > 0
            self.active += 1 if worker.busy else -1
        if worker.alone is not None and worker.alone not in worker.held:
            worker.alone = None
        place: OrderedDict[str, Worker] | None = None
        if worker.down_since is None and not worker.blocked and not worker.is_leaving:
            if count == 0:
                place = self._idle
            elif (
                not worker.reserved
                and worker.alone is None
                and worker.depth - count >= max(1, worker.depth >> 2)
            ):
                place = self._hungry
        if place is not worker.place:
            self._unlist(worker)
            if place is not None:
                place[worker.peer] = worker
                if place is self._idle:
                    self.arm(now)
            worker.place = place
        if place is not None and self._pinned:
            for name in worker.names:
                if name in self._pinned:
                    self._pins_to_look_at[name] = None

    def forget(self, worker: Worker) -> None:
        """The worker is gone; what it held was put back before."""
        self._unlist(worker)
        if worker.busy:
            worker.busy = False
            self.active -= 1

    @staticmethod
    def _unlist(worker: Worker) -> None:
        if worker.place is not None:
            del worker.place[worker.peer]
            worker.place = None

    def mend(self, now: float) -> None:
        """Once a beat: nobody who could work is overlooked, whatever went wrong."""
        for worker in self.members.values():
            self.settle(worker, now)
        _drop_ended(self._queue)
        _drop_ended(self._alone)
        for name, queue in list(self._pinned.items()):
            _drop_ended(queue)
            if not queue:
                del self._pinned[name]
        self._pins_to_look_at.update(dict.fromkeys(self._pinned))
        self._reserve_at = now
        self.arm(now)

    def arm(self, now: float) -> None:
        """Look at idle workers soon, if others hold slices ahead."""
        if self.steal_at == _NEVER and self._idle and self._is_any_ahead():
            self.steal_at = max(now, self._stolen_at + STEAL_PAUSE_S)

    def look_for_room(self) -> None:
        """A worker that was being emptied is gone; choose another with the next `fill`."""
        self._reserve_at = 0.0

    # --- handing out

    def fill(self, now: float, at_ms: int) -> list[tuple[str, Message]]:
        """Hand out what waits to those that can take it; idle workers first, in fair shares.

        Call it only when slices may be handed out.
        """
        turn = _Turn(now, at_ms)
        if self._alone:
            self._fill_alone(turn)
        if self._pins_to_look_at:
            self._fill_pinned(turn)
        queue = self._queue
        while queue and self._idle:
            worker = next(iter(self._idle.values()))
            share = max(worker.batch, len(queue) // len(self._idle))
            if not self._give(worker, queue, share, turn):
                break
        served: list[Worker] = []
        while queue and self._hungry:
            worker = next(iter(self._hungry.values()))
            share = max(worker.batch, len(queue) // len(self._hungry))
            self._unlist(worker)
            if now - worker.progress_at > NO_PROGRESS_S:
                # Out of the list until it reports something, or `mend` comes by.
                continue
            self._give(worker, queue, share, turn)
            # If it has credits left, the others of this turn come first.
            self._unlist(worker)
            served.append(worker)
        for worker in served:
            self.settle(worker, now)
        return turn.sends

    def _give(self, worker: Worker, queue: deque[Slice], count: int, turn: _Turn) -> bool:
        now, at_ms = turn.now, turn.at_ms
        held = worker.held
        peer = worker.peer
        recorder = self.recorder
        count = min(count, worker.depth - len(held))
        if not held:
            worker.progress_at = now
        items: list[SliceItem] = []
        chars = 0
        owed = 0
        while count > 0 and queue and chars < CHARS_MAX:
            entry = queue.popleft()
            if entry.state != PENDING:
                # A late result ended it while it waited here.
                continue
            entry.state = START
            entry.holder = peer
            entry.at_ms = at_ms
            if not entry.owed:
                if entry.recorded:
                    recorder.mark(entry)
                else:
                    entry.owed = True
                    owed += 1
            item = entry.item
            held[item[0]] = entry
            items.append(item)
            chars += len(item[3])
            count -= 1
        recorder.owed += owed
        self.settle(worker, now)
        if not items:
            return False
        self.ledger.waiting -= len(items)
        limits = self.limits
        recorder.within(limits.commit_interval_s if recorder.changed else limits.start_record_delay_s, now)
        if self._idle:
            self.arm(now)
        turn.sends.append((peer, Slices(items=items)))
        if self.keeps_dispatched:
            self.dispatched += items
        return True

    def _fill_pinned(self, turn: _Turn) -> None:
        names = list(self._pins_to_look_at)
        self._pins_to_look_at.clear()
        for name in names:
            queue = self._pinned.get(name)
            worker = self.named.get(name)
            if queue and worker is not None and worker.place is not None and not worker.reserved:
                self._give(worker, queue, len(queue), turn)
            if queue is not None and not queue:
                del self._pinned[name]

    def _fill_alone(self, turn: _Turn) -> None:
        """Give the slices that killed a worker to empty workers, and empty some if there are none."""
        now = turn.now
        postponed: deque[Slice] = deque()
        while self._alone:
            entry = self._alone.popleft()
            if entry.state != PENDING:
                continue
            pin = self.ledger.pins.get(entry.item[0])
            worker = self.named.get(pin) if pin is not None else next(iter(self._idle.values()), None)
            if worker is None or worker.place is not self._idle:
                postponed.append(entry)
                if pin is None:
                    break
                if worker is not None:
                    self._reserve(worker, turn)
                continue
            worker.reserved = False
            worker.alone = entry.item[0]
            self._give(worker, deque((entry,)), 1, turn)
        postponed.extend(self._alone)
        self._alone = postponed
        if not postponed:
            for worker in self.members.values():
                if worker.reserved:
                    worker.reserved = False
                    self.settle(worker, now)
        elif now >= self._reserve_at:
            self._reserve_at = now + STEAL_PAUSE_S
            reserved = sum(worker.reserved for worker in self.members.values())
            free = sorted(
                (
                    w
                    for w in self.members.values()
                    if w.held and not w.reserved and w.alone is None and not w.is_leaving
                ),
                key=lambda worker: len(worker.held),
            )
            for worker in free[: max(0, len(postponed) - reserved)]:
                self._reserve(worker, turn)

    def _reserve(self, worker: Worker, turn: _Turn) -> None:
        if worker.reserved or worker.down_since is not None:
            return
        worker.reserved = True
        if len(worker.held) > 1:
            turn.sends.append((worker.peer, GiveBack(count=-1)))
        self.settle(worker, turn.now)

    # --- taking back

    def _is_any_ahead(self) -> bool:
        """Whether workers hold slices that they have not begun."""
        return self.ledger.loaded() > self.active - self.ledger.outrun

    def steal(self, now: float) -> list[tuple[str, Message]]:
        """Ask the most loaded workers for slices that idle ones could run.

        Each is asked once until it answers or beats, so nothing is sent to and fro.
        """
        self.steal_at = _NEVER
        self._stolen_at = now
        idle = len(self._idle)
        _drop_ended(self._queue)
        if self._queue or not idle or not self._is_any_ahead():
            return []
        sends: list[tuple[str, Message]] = []
        later = False
        ahead = [w for w in self.members.values() if _not_begun(w) > 0 and w.down_since is None]
        ahead.sort(key=lambda worker: len(worker.held), reverse=True)
        wanted = idle
        for worker in ahead:
            if wanted <= 0:
                break
            count = _not_begun(worker)
            if worker.asked_back:
                continue
            if count * worker.slice_us < STEAL_WORK_US and now - worker.progress_at < STEAL_PAUSE_S * 2:
                later = True
                continue
            count -= count // (idle + 1)
            worker.asked_back = True
            wanted -= count
            sends.append((worker.peer, GiveBack(count=count)))
        if later and wanted > 0:
            self.steal_at = now + STEAL_PAUSE_S * 2
        return sends

    def recall(self) -> list[tuple[str, Message]]:
        """Ask every worker for all that it has not begun."""
        return [(worker.peer, GiveBack(count=-1)) for worker in self.members.values() if worker.held]


def _drop_ended(queue: deque[Slice]) -> None:
    """Take what a late result has ended off the head of a queue, where it would count as work that waits.

    Such an entry further back does no harm: what stands before it waits, and is handed out first.
    """
    while queue and queue[0].state != PENDING:
        queue.popleft()


def _not_begun(worker: Worker) -> int:
    """How many slices the worker holds behind the one that it runs."""
    return len(worker.held) - (not worker.is_outrun)


def _number(entry: Slice) -> int:
    return entry.item[0]

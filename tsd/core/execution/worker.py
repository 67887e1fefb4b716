"""The brain of the worker process: what it holds, what it reports, how it ends.

How a shell drives it (`tsd.core.execution.events` has the general rules and every event and action):

1. Dial the controller, make `WorkerMachine(...)`, feed `Tick` at once: it says hello.
2. Forward every message of the controller as `FromController`.
3. `BuildPipeline` comes with the first welcome; answer `PipelineReady` or `PipelineFailed`.
4. The operation thread takes slices from one queue, first in first out, once the pipeline is ready.
   `Run` appends to the queue, `TakeBack` takes from its tail (answer `TookBack`), `Drop` removes some.
5. When slices have ended, feed one `SlicesRan` with all that ended since the last one. A slice that the end
   of the process cut short goes into its `returned`, never into `done`. One whose records an operation holds
   back goes into `kept` first, and into one of the others when they have left.
6. `Flush` comes when nothing is left in the queue, and the controller has no more or the process is to end;
   answer `Flushed`, after the `SlicesRan` of the kept slices that it decided.
7. SIGTERM is `Terminate()`, a second one `Terminate(hurry=True)`.
8. On `Exit` flush what was sent (bounded) and end the process with that code, whatever still runs.

The machine takes the first slice of its queue for the running one, so `SliceBegun` is only needed where beats
are to say exactly since when.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import assert_never

from tsd.core.counts import MeshCounts
from tsd.core.execution.events import (
    BuildPipeline,
    CutShort,
    Drop,
    Effects,
    Exit,
    Flush,
    Flushed,
    FromController,
    NotSent,
    PipelineFailed,
    PipelineReady,
    Run,
    SetLogLevel,
    SliceBegun,
    SlicesRan,
    TakeBack,
    Terminate,
    Tick,
    TookBack,
    WorkerEvent,
)
from tsd.core.execution.outbox import LISTENER, Outbox
from tsd.core.execution.terms import Limits
from tsd.core.hellos import Hellos, LinkChanged
from tsd.core.messages import (
    CUT_SHORT_S,
    IDLE_BEATS,
    LINK_SILENCE_BEATS,
    PROTOCOL,
    Again,
    Alive,
    FlushKept,
    FullResult,
    GiveBack,
    Refused,
    Results,
    ResultsSeen,
    Slices,
    StopWorker,
    ToWorker,
    WorkerBeat,
    WorkerBye,
    WorkerHello,
    WorkerSettings,
    WorkerWelcome,
)

_NEVER = float("inf")
LAST_WORDS_BEATS = 3
"""A worker that ends waits so many beats for its last results to be seen."""


class _Part(Enum):
    """How far the worker is."""

    SERVING = auto()
    DRAINING = auto()
    """What is not begun goes back, the running slice ends."""
    FLUSHING = auto()
    LEAVING = auto()
    """Only the answer to the last results is awaited."""
    ENDED = auto()


class WorkerMachine:
    """One worker process of one generation of one execution."""

    def __init__(
        self, *, proc_id: str, ex_id: str, generation: int, number: int, pid: int, limits: Limits
    ) -> None:
        """Make a machine that has not said hello yet; the arguments are those of its `ProcessSpec`."""
        self._proc_id = proc_id
        self._ex_id = ex_id
        self._generation = generation
        self._number = number
        self._pid = pid
        self._slicer_timeout_s = limits.slicer_timeout_s
        self._beat_s = limits.beat_interval_s
        self._out = Outbox()
        self._part = _Part.SERVING
        self._is_dismissed = False
        self._is_cut_short = False
        self._exit_code = 0
        self._exit_reason = ""
        self._hellos = Hellos(beat_s=limits.beat_interval_s)
        self._is_welcomed = False
        self._was_welcomed = False
        self._reconnects = 0
        self._is_ready = False
        self._log_level: str | None = None
        self._heard_at = -_NEVER
        self._handled_at = -_NEVER
        self._beat_at = -_NEVER
        # Between the last beat and the next one; longer while there is nothing to do.
        self._pause_s = self._beat_s
        self._give_up_at: float | None = None
        self._leave_at = _NEVER
        # Numbers of slices in the queue of the operation thread, the running one first.
        self._queue: dict[int, None] = {}
        # Numbers of slices that were run and whose records an operation holds back.
        self._kept: dict[int, None] = {}
        self._wants_flush = False
        self._is_flushing = False
        self._running_since = 0.0
        self._unseen: deque[Results] = deque()
        self._seq = 0
        self._sent_at = -_NEVER
        self._takings_back = 0

    # --- the shape

    def handle(self, event: WorkerEvent, *, now: float) -> Effects:
        """Take in one event; return what is to be sent and done."""
        if self._part is _Part.ENDED:
            return Effects([], [])
        if now - self._handled_at > self._pause_s + self._beat_s:
            # We were held up ourselves, as by code that keeps the interpreter: what has come meanwhile is
            # not read yet. A hello that does not know of it would have those slices run twice.
            self._heard_at = max(self._heard_at, now)
        self._handled_at = now
        match event:
            case SlicesRan():
                self._slices_ran(event, now)
            case FromController():
                self._heard_at = now
                self._from_controller(event.message, now)
            case Tick():
                pass
            case SliceBegun():
                if event.n in self._queue:
                    self._running_since = now
            case TookBack():
                self._takings_back -= 1
                for n in event.ns:
                    self._queue.pop(n, None)
                self._report([], [], event.ns, 0, now)
            case PipelineReady():
                self._is_ready = True
                self._running_since = now
            case PipelineFailed():
                self._say_goodbye(event.reason, failed=True)
                self._end(1, event.reason)
            case Flushed():
                self._flushed(event, now)
            case LinkChanged():
                if self._hellos.link_changed(is_up=event.is_up, now=now) and not self._is_welcomed:
                    self._say_hello(now)
            case NotSent():
                # Hellos, beats and results are repeated anyway.
                pass
            case Terminate():
                if event.hurry or not self._was_welcomed:
                    self._stop_now("told to end")
                else:
                    self._drain(0, "told to end", now)
            case _:
                assert_never(event)
        self._go_on(now)
        return self._out.take()

    @property
    def is_welcomed(self) -> bool:
        """The controller knows this worker."""
        return self._is_welcomed

    def wake_at(self) -> float | None:
        """When `Tick` is to be fed at the latest; None after the end."""
        if self._part is _Part.ENDED:
            return None
        at = min(self._beat_at, self._leave_at)
        return at if self._give_up_at is None else min(at, self._give_up_at)

    def unseen_letters(self) -> list[bytes]:
        """Dead letters of a flush that the controller did not take in: at the end nobody else has them."""
        return [results.flush_letters for results in self._unseen if results.flush_letters]

    # --- the controller

    def _from_controller(self, message: ToWorker, now: float) -> None:
        match message:
            case Slices():
                self._take(message, now)
            case ResultsSeen():
                while self._unseen and self._unseen[0].seq <= message.seq:
                    self._unseen.popleft()
            case GiveBack():
                self._take_back(message.count)
            case FlushKept():
                self._wants_flush = bool(self._kept) and not self._is_flushing
            case WorkerWelcome():
                self._welcome(message, now)
            case Again():
                if self._is_welcomed:
                    self._say_hello(now)
            case WorkerSettings():
                self._set_log_level(message.log_level)
            case StopWorker():
                # The controller ends too: words for it would only wait for somebody who is gone.
                if message.cut_short:
                    self._cut_short(now)
                    return
                self._is_dismissed = True
                if message.drain:
                    self._drain(0, "the execution needs it no more", now)
                else:
                    self._stop_now("the execution ends at once")
            case Refused():
                self._end(0, f"refused by the controller: {message.reason}")
            case Alive():
                pass
            case _:
                assert_never(message)

    def _say_hello(self, now: float) -> None:
        self._is_welcomed = False
        self._hellos.said(now)
        unseen = [n for results in self._unseen for n in _numbers(results)]
        self._out.send(
            LISTENER,
            WorkerHello(
                protocol=PROTOCOL,
                ex_id=self._ex_id,
                generation=self._generation,
                number=self._number,
                pid=self._pid,
                holds=[*self._queue, *unseen],
                kept=list(self._kept),
            ),
        )

    def _welcome(self, welcome: WorkerWelcome, now: float) -> None:
        self._reconnects += self._was_welcomed and not self._is_welcomed
        self._is_welcomed = True
        self._hellos.answered()
        self._beat_s = self._pause_s = welcome.beat_interval_s
        self._beat_at = now + self._beat_s
        self._give_up_at = None
        if not self._was_welcomed:
            self._was_welcomed = True
            self._out.act(BuildPipeline(welcome.execution))
        self._set_log_level(welcome.log_level)
        keep = set(welcome.keep)
        dropped = [n for n in self._queue if n not in keep]
        if dropped:
            # One that runs already stays in the thread; its result is reported and may be refused.
            for n in dropped:
                del self._queue[n]
            self._out.act(Drop(dropped))
        self._repeat_results(now)

    def _set_log_level(self, level: str | None) -> None:
        if level != self._log_level:
            self._log_level = level
            self._out.act(SetLogLevel(level))

    # --- slices

    def _take(self, message: Slices, now: float) -> None:
        known = {n for results in self._unseen for n in _numbers(results)}
        known.update(self._kept)
        items = [item for item in message.items if item[0] not in self._queue and item[0] not in known]
        if not items:
            return
        if self._part is not _Part.SERVING:
            self._report([], [], [item[0] for item in items], 0, now)
            return
        if not self._queue:
            self._running_since = now
            self._pause_s = self._beat_s
            self._beat_at = min(self._beat_at, now + self._beat_s)
        self._queue.update(dict.fromkeys(item[0] for item in items))
        self._out.act(Run(items))

    def _take_back(self, count: int) -> None:
        if self._queue:
            self._takings_back += 1
            self._out.act(TakeBack(count))

    def _slices_ran(self, event: SlicesRan, now: float) -> None:
        queue = self._queue
        for n in event.done:
            queue.pop(n, None)
        for result in event.full:
            queue.pop(result[0], None)
        for n in event.returned:
            queue.pop(n, None)
        kept = self._kept
        if kept:
            for n in (*event.done, *(result[0] for result in event.full), *event.returned):
                kept.pop(n, None)
        for n in event.kept:
            queue.pop(n, None)
            kept[n] = None
        self._running_since = now
        self._report(
            event.done,
            event.full,
            event.returned,
            event.busy_us,
            now,
            records=event.records,
            kept=event.kept,
        )
        if event.fatal:
            self._drain(1, event.fatal, now)

    def _report(
        self,
        done: list[int],
        full: list[FullResult],
        returned: list[int],
        busy_us: int,
        now: float,
        *,
        records: int = 0,
        kept: Sequence[int] = (),
        flush_letters: bytes | None = None,
    ) -> None:
        if not (done or full or returned or kept or flush_letters):
            return
        self._seq += 1
        results = Results(
            seq=self._seq,
            done=done,
            full=full,
            returned=returned,
            busy_us=busy_us,
            records=records,
            kept=list(kept),
            flush_letters=flush_letters,
        )
        if not self._unseen:
            self._sent_at = now
        self._unseen.append(results)
        if self._is_welcomed:
            self._out.send(LISTENER, results)

    def _repeat_results(self, now: float) -> None:
        self._sent_at = now
        for results in self._unseen:
            self._out.send(LISTENER, results)

    # --- the ending

    def _drain(self, code: int, reason: str, now: float) -> None:
        self._exit_code = max(self._exit_code, code)
        if self._part is _Part.SERVING:
            self._part = _Part.DRAINING
            self._exit_reason = reason
            self._take_back(-1)
            if not self._is_dismissed:
                # Said at once, or the controller would go on handing out what comes straight back.
                self._beat(now)

    def _cut_short(self, now: float) -> None:
        """End soon, whatever runs; the controller waits for what has ended, and for the goodbye."""
        if self._is_cut_short:
            return
        self._is_cut_short = True
        self._leave_at = min(self._leave_at, now + CUT_SHORT_S)
        self._drain(0, "the execution ends at once", now)
        if self._was_welcomed:
            self._out.act(CutShort())

    def _flushed(self, event: Flushed, now: float) -> None:
        self._is_flushing = False
        if event.letters:
            self._report([], [], [], 0, now, flush_letters=event.letters)
        if self._part is not _Part.FLUSHING:
            return
        if event.reason:
            self._exit_code = 1
            self._exit_reason = f"flush failed: {event.reason}"
        self._leave(now)

    def _flush_when_idle(self, now: float) -> None:
        """Flush, for the controller or before the end, when nothing is left to run."""
        if self._queue or self._takings_back or self._is_flushing:
            return
        if self._part is _Part.DRAINING:
            if not self._is_ready or self._exit_code or self._is_cut_short:
                # What is kept goes back with the last word: another worker runs it.
                self._leave(now)
                return
            self._part = _Part.FLUSHING
        elif self._part is not _Part.SERVING or not self._wants_flush:
            return
        self._wants_flush = False
        self._is_flushing = True
        self._out.act(Flush())

    def _go_on(self, now: float) -> None:
        self._flush_when_idle(now)
        is_late = now >= self._leave_at and (self._part is _Part.LEAVING or self._is_cut_short)
        if is_late or (self._part is _Part.LEAVING and not self._unseen):
            self._say_goodbye(self._exit_reason, failed=False)
            self._end(self._exit_code, self._exit_reason)
        if self._part is _Part.ENDED:
            return
        if self._give_up_at is None and not self._was_welcomed:
            self._give_up_at = now + self._slicer_timeout_s
        if self._give_up_at is not None and now >= self._give_up_at:
            self._end(1, "Unable to connect to the execution controller in the allotted time")
        elif now >= self._beat_at:
            self._beat(now)

    def _beat(self, now: float) -> None:
        is_silent = now - self._heard_at >= LINK_SILENCE_BEATS * self._pause_s
        is_idle = self._part is _Part.SERVING and not (self._queue or self._unseen)
        self._pause_s = self._beat_s * (IDLE_BEATS if is_idle and self._is_welcomed else 1)
        self._beat_at = now + self._pause_s
        if is_silent:
            self._is_welcomed = False
        if not self._is_welcomed:
            if self._hellos.is_due(now):
                self._say_hello(now)
            return
        running = next(iter(self._queue), None) if self._is_ready else None
        held = len(self._queue) - (running is not None)
        running_for_s = now - self._running_since if running is not None else 0.0
        self._out.send(
            LISTENER,
            WorkerBeat(
                running=running,
                running_for_s=running_for_s,
                held=held,
                ready=self._is_ready,
                draining=self._part is not _Part.SERVING,
                mesh=self._mesh(),
            ),
        )
        if self._unseen and now - self._sent_at >= self._beat_s:
            self._repeat_results(now)

    def _leave(self, now: float) -> None:
        if self._part is not _Part.LEAVING:
            self._part = _Part.LEAVING
            self._leave_at = min(self._leave_at, now + LAST_WORDS_BEATS * self._beat_s)

    def _stop_now(self, reason: str) -> None:
        if self._was_welcomed:
            self._say_goodbye(reason, failed=False)
        self._end(0, reason)

    def _say_goodbye(self, reason: str, *, failed: bool) -> None:
        if self._is_dismissed:
            return
        self._out.send(LISTENER, WorkerBye(reason=reason, failed=failed, mesh=self._mesh()))

    def _mesh(self) -> MeshCounts:
        """All that is known here of the link; the shell adds the rest."""
        return MeshCounts(reconnects=self._reconnects)

    def _end(self, code: int, reason: str) -> None:
        self._part = _Part.ENDED
        self._out.act(Exit(code, reason))


def _numbers(results: Results) -> list[int]:
    return [*results.done, *(result[0] for result in results.full), *results.returned]

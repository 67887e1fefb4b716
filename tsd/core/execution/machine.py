"""The brain of the controller process: slices of one execution from the slicer to the record.

How a shell drives it (`tsd.core.execution.events` has the general rules and every event and action):

1. Listen for workers, then make `ExecutionMachine(address=...)` and feed `Tick` at once: it says hello.
2. Forward every message of the master as `FromMaster` and every one of a worker as `FromWorker`.
3. `BuildSlicer` comes with the first welcome: construct the slicer, answer `SlicerInfo`. `StartSlicer`
   comes when recovery is done: initialise it, answer `SlicerReady`. Then `MakeSlices`, one at a time,
   each answered by `SlicesMade`. Any of the three can be answered by `SlicerFailed` instead.
4. Answers may come as late as they like: the machine never waits for them in place.
5. SIGTERM is `Terminate()`, a second one `Terminate(hurry=True)`.
6. On `Exit` flush what was sent (bounded) and end the process with that code.

The parts: `SliceLedger` (states, counters), `Dispatcher` (queues, credits), `WorkerDesk` and `WorkerTable`
(what workers say, who is there), `Recorder` (rows, batches), `RecoveryPlan` (what is run again), `Slicing`,
`MasterLink` (lease), `StatusReports`, `Standing`. The machine routes events to them and decides what concerns
the whole: how far the execution is, pause, and the ending.
"""

from typing import assert_never

from tsd.core.counts import ControllerCounts, MeshCounts, WorkCounts, as_count
from tsd.core.execution.desk import WorkerDesk
from tsd.core.execution.dispatch import Dispatcher
from tsd.core.execution.ending import LAST_RECORDS_S, Ending
from tsd.core.execution.events import (
    BuildSlicer,
    CompleteOutput,
    ControllerEvent,
    Effects,
    Exit,
    FromMaster,
    FromWorker,
    MakeSlices,
    NotSent,
    OutputCompleted,
    SetLogLevel,
    SlicerFailed,
    SlicerInfo,
    SlicerReady,
    SlicesMade,
    StartSlicer,
    TellHooks,
    Terminate,
    Tick,
)
from tsd.core.execution.ledger import Slice, SliceLedger
from tsd.core.execution.lifecycle import LifecycleEvent
from tsd.core.execution.link import MasterLink
from tsd.core.execution.outbox import LISTENER, Outbox
from tsd.core.execution.recording import Recorder
from tsd.core.execution.recovery import RecoveryPlan, replayed_slice
from tsd.core.execution.reports import ERROR_CHARS, Standing, StatusReports
from tsd.core.execution.slicing import Slicing
from tsd.core.execution.statistics import execution_stats
from tsd.core.execution.terms import JobTerms, Limits, pinned_worker, read_terms
from tsd.core.execution.watch import WorkerWatch
from tsd.core.execution.workers import PastProcesses, WorkerTable
from tsd.core.hellos import LinkChanged
from tsd.core.messages import (
    PROTOCOL,
    Again,
    Alive,
    ControllerBeat,
    ControllerHello,
    ControllerWelcome,
    LeaseGranted,
    RecordsSaved,
    RecoveryPage,
    Refused,
    StatusIs,
    StopWorker,
    ToController,
    Wanted,
)
from tsd.core.records import (
    REPLAYED_STATES,
    TERMINAL_STATUSES,
    ExecutionStats,
    RecoveryMode,
    SlicerPosition,
    SliceState,
    Status,
)
from tsd.error_texts import bounded

_NEVER = float("inf")
REMADE_AFTER_S = 1.0
"""A slice that was handed out is recorded within a fraction of that (`start_record_delay_s` and a commit)."""
FAIL_GRACE_S = 5.0
"""When a slicer fails, running slices get so long to end before the execution is reported as failed."""


class ExecutionMachine:
    """One generation of the controller of one execution."""

    def __init__(
        self, *, ex_id: str, generation: int, address: str, wall_offset_s: float, limits: Limits
    ) -> None:
        """Make a machine that has not said hello yet.

        Args:
            ex_id: The execution.
            generation: Given by the master with the process.
            address: Where workers dial.
            wall_offset_s: Unix time minus `now`.
            limits: Times and bounds of the settings.
        """
        self._ex_id = ex_id
        self._generation = generation
        self._address = address
        self._wall_offset_s = wall_offset_s
        self._limits = limits
        self._out = Outbox()
        self._link = MasterLink(beat_s=limits.beat_interval_s)
        self._table = WorkerTable(disconnect_timeout_s=limits.worker_disconnect_timeout_s)
        pins: dict[int, str] = {}
        self._recorder = Recorder(
            ex_id=ex_id, generation=generation, sources=(ex_id,), limits=limits, pinned=pins
        )
        self._ledger = SliceLedger(recorder=self._recorder, members=self._table.members, pins=pins)
        self._dispatcher = Dispatcher(
            ledger=self._ledger,
            recorder=self._recorder,
            limits=limits,
            members=self._table.members,
            named=self._table.named,
        )
        self._desk = WorkerDesk(
            ex_id=ex_id,
            generation=generation,
            limits=limits,
            outbox=self._out,
            ledger=self._ledger,
            dispatcher=self._dispatcher,
            table=self._table,
            beat_s=limits.beat_interval_s,
        )
        self._slicing = Slicing(ledger=self._ledger, recorder=self._recorder, dispatcher=self._dispatcher)
        self._reports = StatusReports(ex_id=ex_id, generation=generation)
        self._terms: JobTerms | None = None
        self._standing = Standing(window_s=_NEVER, is_once=True)
        self._plan: RecoveryPlan | None = None
        self._is_resumed = False
        self._is_recoverable = False
        self._completes = False
        self._is_replaceable: bool | None = None
        self._is_replayed = False
        self._starts_slicer = False
        self._positions: list[SlicerPosition] = []
        self._sources: tuple[str, ...] = (ex_id,)
        self._mode = ""
        self._wanted = Wanted(revision=-1)
        self._exits_taken = PastProcesses(is_exact=True)
        self._ending: Ending | None = None
        self._has_ended = False
        self._runs_slices = False
        self._remade_at = _NEVER
        self._round_at = -_NEVER
        self._woken_at = -_NEVER
        self._started_ms = 0
        self._watch = WorkerWatch.make(
            ex_id=ex_id,
            slicer_timeout_s=limits.slicer_timeout_s,
            disconnect_timeout_s=limits.worker_disconnect_timeout_s,
        )

    # --- the shape

    def handle(self, event: ControllerEvent, *, now: float) -> Effects:
        """Take in one event; return what is to be sent and done."""
        if self._has_ended:
            return Effects([], [])
        at_ms = int((now + self._wall_offset_s) * 1000)
        match event:
            case FromWorker():
                self._desk.handle(event.peer, event.message, now, at_ms)
            case FromMaster():
                self._from_master(event.message, now, at_ms)
            case SlicesMade():
                self._slices_made(event, now, at_ms)
            case Tick():
                pass
            case LinkChanged():
                if self._link.hellos.link_changed(is_up=event.is_up, now=now) and not self._link.welcomed:
                    self._say_hello(now)
            case NotSent():
                if event.peer != LISTENER:
                    self._desk.not_sent(
                        event.peer, event.message, unreachable=event.unreachable, now=now, at_ms=at_ms
                    )
            case SlicerInfo():
                self._slicer_info(event, at_ms)
            case SlicerReady():
                self._slicer_ready(event)
            case SlicerFailed():
                self._slicer_failed(event.reason, now)
            case OutputCompleted():
                self._output_completed(event.error)
            case Terminate():
                self._terminate(now, at_ms, hurry=event.hurry)
            case _:
                assert_never(event)
        self._go_on(now, at_ms)
        return self._out.take()

    def wake_at(self) -> float | None:
        """When `Tick` is to be fed at the latest; None after the end."""
        if self._has_ended:
            return None
        at = min(self._round_at, self._link.beat_at(), self._standing.check_at, self._dispatcher.steal_at)
        if self._link.welcomed:
            at = min(at, self._recorder.wake_at(is_urgent=self._is_urgent()))
        slicing = self._slicing
        if slicing.is_started and not slicing.is_asked and not slicing.is_finished:
            # Only a pause of the slicer ends by itself; room in the queue comes with results.
            at = min(at, slicing.idle_until if slicing.idle_until > self._woken_at else _NEVER)
        if self._ending is not None:
            at = min(at, self._ending.wake_at(self._woken_at))
        return at

    def stats(self, now: float) -> ExecutionStats:
        """The counters of the execution as they are now."""
        is_over = self._ending is not None and self._ending.is_reported
        if is_over and not self._started_ms:
            # It ended before the slicer was built.
            self._started_ms = int((now + self._wall_offset_s) * 1000)
        return execution_stats(
            self._ledger,
            self._slicing,
            self._table,
            active=self._dispatcher.active,
            started_ms=self._started_ms,
            duration_s=now + self._wall_offset_s - self._started_ms / 1000 if is_over else None,
        )

    def _counts(self) -> ControllerCounts:
        """What this process and its workers have counted; the shell adds what our own links did."""
        ledger, table = self._ledger, self._table
        return ControllerCounts(
            work=WorkCounts(
                completed=ledger.completed_here,
                failed=ledger.failed_here,
                refused=ledger.refused_results,
                busy_us=as_count(table.busy_us),
                records=as_count(table.records_read),
            ),
            mesh=MeshCounts(reconnects=self._link.reconnects),
            workers=table.mesh(),
        )

    # --- the master

    def _from_master(self, message: ToController, now: float, at_ms: int) -> None:
        self._link.hear(now)
        match message:
            case RecordsSaved():
                self._recorder.saved(message.seq, now)
            case LeaseGranted():
                self._link.grant(message.sent_at, now)
            case StatusIs():
                self._status_is(message, now)
            case ControllerWelcome():
                self._welcome(message, now, at_ms)
            case Wanted():
                # Before the welcome it is an old one; the welcome carries the present one.
                if self._link.welcomed and message.revision > self._wanted.revision:
                    self._take_wanted(message, now, at_ms)
            case RecoveryPage():
                self._recovery_page(message, now, at_ms)
            case Again():
                if self._link.welcomed:
                    self._say_hello(now)
            case Refused():
                self._leave(f"refused by the master: {message.reason}", drain=False)
            case Alive():
                pass
            case _:
                assert_never(message)

    def _say_hello(self, now: float) -> None:
        self._link.lose()
        self._link.note_hello(now)
        self._out.send(
            LISTENER,
            ControllerHello(
                protocol=PROTOCOL,
                ex_id=self._ex_id,
                generation=self._generation,
                address=self._address,
                counts=self._counts(),
            ),
        )

    def _welcome(self, welcome: ControllerWelcome, now: float, at_ms: int) -> None:
        was_welcomed = self._link.welcomed
        self._link.welcome(welcome.lease_s, welcome.beat_interval_s, now)
        self._desk.beat_s = welcome.beat_interval_s
        if self._terms is None:
            self._first_welcome(welcome, now, at_ms)
        elif not was_welcomed:
            self._repeat(now)
        if not was_welcomed or welcome.wanted.revision > self._wanted.revision:
            # A master that has just started counts its revisions anew.
            self._take_wanted(welcome.wanted, now, at_ms)

    def _first_welcome(self, welcome: ControllerWelcome, now: float, at_ms: int) -> None:
        self._terms = terms = read_terms(welcome.execution)
        self._standing = Standing(window_s=terms.probation_window_s, is_once=terms.is_once)
        self._sources = welcome.sources or (self._ex_id,)
        self._recorder.sources = self._sources
        self._mode = welcome.mode
        self._is_resumed = welcome.resume
        self._desk.max_retries = terms.max_retries
        self._desk.execution = welcome.execution
        self._desk.log_level = welcome.wanted.log_level
        self._round_at = now + welcome.beat_interval_s
        self._out.act(BuildSlicer(welcome.execution))
        self._desk.welcome_early(now, at_ms)

    def _repeat(self, now: float) -> None:
        """Say again, in order, what has no answer yet."""
        for batch in self._recorder.again(now):
            self._out.send(LISTENER, batch)
        self._repeat_questions()

    def _repeat_questions(self) -> None:
        if self._reports.current is not None:
            self._out.send(LISTENER, self._reports.current)
        if self._plan is not None and self._plan.outstanding is not None:
            self._out.send(LISTENER, self._plan.outstanding)

    def _take_wanted(self, wanted: Wanted, now: float, at_ms: int) -> None:
        before, self._wanted = self._wanted, wanted
        self._link.beat_soon()
        if wanted.log_level != before.log_level:
            self._out.act(SetLogLevel(wanted.log_level))
            self._desk.set_log_level(wanted.log_level)
        # The master repeats an exit until it has heard that it was taken in; nothing of it is counted twice.
        told = {exit_.proc_id for exit_ in before.exits}
        for exit_ in wanted.exits:
            if exit_.proc_id not in told and exit_.proc_id not in self._exits_taken:
                self._exits_taken.add(exit_.proc_id)
                self._desk.process_ended(exit_, now, at_ms)
        if wanted.paused != before.paused:
            self._reports.add(LifecycleEvent.PAUSED if wanted.paused else LifecycleEvent.RESUMED)
            self._desk.is_recalling = wanted.paused or self._ending is not None
            if wanted.paused:
                self._desk.recall()
        if wanted.stop is not None:
            self._stop(wanted, now)

    def _status_is(self, answer: StatusIs, now: float) -> None:
        event = self._reports.answered(answer.seq)
        if event is None:
            return
        is_final = event in (LifecycleEvent.COMPLETED, LifecycleEvent.FAILED, LifecycleEvent.STOPPED)
        if is_final or answer.status in TERMINAL_STATUSES:
            self._leave(f"reported {event}, status is {answer.status}", drain=is_final)
        elif not self._reports.is_idle() or self._ending is not None:
            return
        elif answer.status == Status.PAUSED and not self._wanted.paused:
            # It was resumed while no controller was there.
            self._reports.add(LifecycleEvent.RESUMED)
        elif answer.status == Status.FAILING:
            # Known from an earlier generation perhaps: probation begins anew.
            self._standing.fail(self._ledger.failed, self._ledger.processed, now)
        elif answer.status == Status.RUNNING and self._standing.is_failing:
            # A resume made it running although slices are in error.
            self._report_failing()

    # --- how far it is

    def _slicer_info(self, info: SlicerInfo, at_ms: int) -> None:
        self._is_recoverable = self._is_replaceable = info.recoverable
        self._completes = info.completes
        self._link.beat_soon()
        self._slicing.slicer_count = info.slicer_count
        self._started_ms = at_ms
        assert self._terms is not None
        if self._mode and not info.recoverable:
            self._fail_unrecoverable()
        elif self._mode or self._is_resumed:
            self._plan = RecoveryPlan(
                generation=self._generation,
                mode=self._mode,
                page_limit=self._limits.replay_page,
                autorecover=self._terms.autorecover,
            )
            if self._mode:
                self._reports.add(LifecycleEvent.RECOVERY_STARTED)
        else:
            self._start_slicer([])

    def _recovery_page(self, page: RecoveryPage, now: float, at_ms: int) -> None:
        if self._plan is None or self._ending is not None:
            return
        if any(found[0] >= len(self._sources) for found in page.slices):
            return  # of executions that this one does not recover: no answer to our question
        is_first = self._plan.outstanding is not None and self._plan.outstanding.after is None
        slices = self._plan.take(page)
        if slices is None:
            return
        if is_first:
            self._count_before(page)
        if self._plan.has_records and not self._is_recoverable:
            self._fail_unrecoverable()
            return
        for found in slices:
            entry = replayed_slice(found, self._ledger.made + 1, self._sources, at_ms)
            self._ledger.readmit(entry, SliceState(found[3]), pinned_worker(entry.item[3]))
            self._dispatcher.append(entry)
        self._recorder.within(self._limits.commit_interval_s, now)

    def _count_before(self, page: RecoveryPage) -> None:
        """Count what earlier generations have done, by its records."""
        completed, failed = page.counts[SliceState.COMPLETED], page.counts[SliceState.ERROR]
        again_completed, again_failed = page.rerun
        if self._mode and SliceState.ERROR in REPLAYED_STATES[RecoveryMode(self._mode)]:
            # They are run once more now, and count when they end.
            again_failed = 0
        self._ledger.processed += completed + failed + again_completed + again_failed
        self._ledger.failed += failed + again_failed

    def _is_replay_durable(self) -> bool:
        """What ran for earlier executions has ended, and the store knows it.

        Once slicing has started no later generation looks at those executions again.
        """
        return not self._ledger.unfinished and self._recorder.all_saved()

    def _finish_replay(self) -> None:
        """All pages were read, and what had to end before the slicers go on has ended."""
        assert self._plan is not None
        self._is_replayed = True
        if self._plan.ends_the_execution:
            self._conclude()
        else:
            self._start_slicer(self._plan.positions(self._slicing.slicer_count))

    def _start_slicer(self, positions: list[SlicerPosition]) -> None:
        self._is_replayed = True
        self._starts_slicer = True
        self._slicing.resume_after(positions)
        self._out.act(StartSlicer(positions))

    def _slicer_ready(self, ready: SlicerReady) -> None:
        self._slicing.start(ready.slicer_count, ready.max_queue_length, wants_hooks=ready.wants_hooks)
        if self._ending is None:
            self._reports.add(LifecycleEvent.SLICING_STARTED)
            assert self._terms is not None
            if self._ledger.failed and self._terms.is_once:
                # An earlier generation recorded errors; reported when the status says running.
                self._standing.is_failing = True

    def _slicer_failed(self, reason: str, now: float) -> None:
        self._slicing.fail()
        self._fail(
            f"slicer for ex {self._ex_id} had an error, shutting down execution, caused by {reason}",
            now + FAIL_GRACE_S,
        )

    def _slices_made(self, event: SlicesMade, now: float, at_ms: int) -> None:
        entries = self._slicing.take(event, now=now, at_ms=at_ms)
        if event.idle:
            self._remade_at = min(self._remade_at, now)
        elif self._may_hand_out(now):
            self._remade_at = min(self._remade_at, now + REMADE_AFTER_S)
        if entries and self._slicing.wants_hooks:
            self._out.act(TellHooks("enqueued", [entry.item for entry in entries]))

    def _slices_ended(self, now: float) -> None:
        desk = self._desk
        if self._slicing.wants_hooks:
            told = [(e.item, e.state, e.result[3] if e.result else None) for e in desk.ended]
            self._out.act(TellHooks("completed", told))
        desk.ended.clear()
        if not desk.failures:
            return
        failures, desk.failures = desk.failures, []
        for entry in failures:
            if entry.source > 0 and not self._is_replayed:
                error = _error_of(entry) or "unknown error"
                self._fail(f"Slice failed while recovering, caused by {bounded(error, ERROR_CHARS)}", now)
                return
        self._standing.note(_error_of(failures[0]))
        is_news = self._standing.fail(self._ledger.failed, self._ledger.processed, now)
        if is_news and (self._slicing.is_started or self._mode):
            # Before that the status may not say running yet; the answer to `slicing_started` will.
            self._report_failing()

    def _report_failing(self) -> None:
        error = self._standing.error
        words = f"execution {self._ex_id} has encountered a processing error, reason: {error}"
        # One that an earlier generation knew is kept by the master.
        self._reports.add(LifecycleEvent.SLICE_FAILED, words if error else "")

    # --- the ending

    def _stop(self, wanted: Wanted, now: float) -> None:
        """Somebody wants it to stop: drain, or end at once, within the time that is left."""
        until = now + wanted.stop_within_s
        is_now = wanted.stop == "now"
        ending = self._ending
        if ending is not None and (ending.is_reported or ending.event is not LifecycleEvent.STOPPED):
            if ending.event is not None:
                # Completed or failed already, only not recorded yet.
                ending.records_until = min(ending.records_until, until)
                return
            # What drains for its node stops instead.
            ending = None
        if ending is None:
            self._end(
                Ending(
                    event=LifecycleEvent.STOPPED,
                    running_until=now if is_now else until,
                    records_until=now + LAST_RECORDS_S if is_now else until,
                )
            )
        else:
            ending.hasten(now, now if is_now else until, now + LAST_RECORDS_S if is_now else until)

    def _terminate(self, now: float, at_ms: int, *, hurry: bool) -> None:
        """The node wants this process to end; the execution goes on elsewhere unless it ends anyway."""
        if self._terms is None:
            self._leave("told to end before the master's welcome", drain=True)
        elif hurry:
            if self._link.welcomed:
                self._flush(now, at_ms, force=True, extra=1)
            self._leave("told to end at once", drain=False)
        elif self._ending is None:
            self._end(Ending(event=None, running_until=_NEVER, records_until=_NEVER))

    def _fail(self, reason: str, running_until: float) -> None:
        if self._ending is None:
            self._end(
                Ending(
                    event=LifecycleEvent.FAILED,
                    reason=reason,
                    running_until=running_until,
                    records_until=_NEVER,
                )
            )

    def _fail_unrecoverable(self) -> None:
        self._fail(f"execution: {self._ex_id} can not be continued: Slicer is not recoverable", -_NEVER)

    def _conclude(self) -> None:
        """Everything was made and has ended."""
        failed = self._ledger.failed
        if failed:
            noun = "failure" if failed == 1 else "failures"
            words = f"execution: {self._ex_id} had {failed} slice {noun} during processing"
            if error := self._standing.first_error:
                words += f", caused by {error}" if failed == 1 else f", the first caused by {error}"
            self._fail(words, -_NEVER)
        else:
            self._end(Ending(event=LifecycleEvent.COMPLETED, running_until=-_NEVER, records_until=_NEVER))

    def _end(self, ending: Ending) -> None:
        self._ending = ending
        self._desk.is_recalling = True
        self._desk.is_ending = True
        self._desk.recall()

    def _has_left(self, ending: Ending, now: float) -> bool:
        """Go on with the ending as far as it goes now; whether the process is to end."""
        is_busy = self._ledger.held() > 0 or self._slicing.is_asked
        if ending.is_reported or (is_busy and now < ending.running_until):
            return False
        if self._ledger.held() > 0 and ending.event is LifecycleEvent.STOPPED:
            if not ending.is_cut:
                ending.cut(now)
                self._desk.tell_all(StopWorker(drain=True, cut_short=True))
            if now < ending.results_until:
                return False
        if not self._recorder.all_saved() and now < ending.records_until:
            return False
        if ending.event is None:
            self._leave("drained", drain=True)
            return True
        if ending.event is LifecycleEvent.STOPPED and self._is_completed():
            ending.event = LifecycleEvent.COMPLETED
        if ending.event is LifecycleEvent.COMPLETED and self._completes and not ending.is_output_complete:
            if not ending.is_completing:
                ending.is_completing = True
                self._out.act(CompleteOutput(self._slicing.last_orders, self._generation > 1))
            if now < ending.records_until:
                return False
            # Somebody wants it to stop, and does not wait for the output any longer.
            ending.event = LifecycleEvent.STOPPED
        ending.is_reported = True
        self._reports.add(ending.event, ending.reason)
        return False

    def _output_completed(self, error: str | None) -> None:
        ending = self._ending
        if ending is None or ending.is_reported:
            return
        ending.is_output_complete = True
        if error is not None:
            ending.event = LifecycleEvent.FAILED
            ending.reason = (
                f"execution: {self._ex_id} ran all slices, but its output could not be completed, caused by "
                f"{bounded(error, ERROR_CHARS)}"
            )

    def _is_all_recorded(self, now: float) -> bool:
        """Whether every slice that was ever handed out has a durable record.

        What another controller before this one had handed out without a record, this one makes again: that is
        the first that its slicers make. It is done with it when it has handed out for `REMADE_AFTER_S`, since
        the one before recorded what it had handed out sooner than that; or when its slicers have no more.
        One that failed may have had more.
        """
        if not self._recorder.all_saved():
            return False
        had_predecessor = self._generation > 1 or bool(self._mode)
        slicing = self._slicing
        is_at_the_end = slicing.is_finished and not slicing.has_failed
        return not had_predecessor or is_at_the_end or now >= self._remade_at

    def _is_completed(self) -> bool:
        return self._is_all_done() and not self._ledger.failed and self._recorder.all_saved()

    def _is_all_done(self) -> bool:
        """Nothing is left to run, and nothing more will be made."""
        if self._ledger.unfinished or self._terms is None:
            return False
        if self._slicing.is_finished:
            return self._terms.is_once and self._is_replayed
        plan = self._plan
        return plan is not None and plan.is_read and plan.ends_the_execution

    def _awaits_kept(self) -> bool:
        """Whether only what operations hold back keeps the execution, or its recovery, from its end."""
        if self._ledger.loaded():
            return False
        if self._ending is not None:
            return not self._ending.is_reported
        if self._ledger.waiting or self._wanted.paused:
            return False
        plan = self._plan
        is_replaying = plan is not None and not self._is_replayed and plan.is_read and bool(plan.mode)
        return is_replaying or self._slicing.is_finished

    def _leave(self, reason: str, *, drain: bool) -> None:
        """End this process; its workers end too."""
        self._desk.tell_all(StopWorker(drain=drain))
        self._out.act(Exit(0, reason))
        self._has_ended = True

    # --- after each event

    def _go_on(self, now: float, at_ms: int) -> None:
        """Do all that the event made possible or the time asks for."""
        self._woken_at = now
        if self._has_ended:
            return
        desk = self._desk
        if now >= self._round_at:
            self._round(now, at_ms)
        if desk.ended:
            self._slices_ended(now)
        if desk.broken and self._ending is None:
            self._fail(desk.broken, now)
        if desk.has_changed:
            desk.has_changed = False
            self._link.beat_soon()
            self._slicing.look_again()
        if self._ending is None:
            self._advance(now, at_ms)
        else:
            self._dispatcher.steal_at = _NEVER
        if self._ledger.kept and self._awaits_kept():
            desk.flush_kept()
        self._flush(now, at_ms, force=self._ending is not None)
        if now >= self._standing.check_at and self._standing.check(
            self._ledger.failed, self._ledger.processed, now
        ):
            self._reports.add(LifecycleEvent.PROBATION_PASSED)
        if self._ending is not None and self._has_left(self._ending, now):
            return
        if self._link.welcomed:
            if self._reports.has_next():
                self._out.send(
                    LISTENER,
                    self._reports.next(
                        self.stats(now), self._counts(), is_recorded=self._is_all_recorded(now)
                    ),
                )
            if self._wanted.paused and self._runs_slices and not self._dispatcher.active:
                # `paused` was answered before: now nothing runs any more, and who looks is to see it.
                self._link.beat_soon()
            self._runs_slices = self._dispatcher.active > 0
            if now >= self._link.beat_at():
                self._beat(now)

    def _advance(self, now: float, at_ms: int) -> None:
        plan = self._plan
        if plan is not None and not self._is_replayed:
            if plan.wants_page(self._ledger.waiting):
                question = plan.ask()
                if self._link.welcomed:
                    self._out.send(LISTENER, question)
            elif plan.is_read and (not plan.mode or self._is_replay_durable()):
                self._finish_replay()
        elif self._is_all_done():
            self._conclude()
        if not self._may_hand_out(now):
            self._dispatcher.steal_at = _NEVER
            return
        if self._ledger.waiting:
            dispatcher = self._dispatcher
            self._out.sends += dispatcher.fill(now, at_ms)
            if dispatcher.dispatched:
                self._out.act(TellHooks("dispatched", dispatcher.dispatched))
                dispatcher.dispatched = []
        if now >= self._dispatcher.steal_at:
            self._out.sends += self._dispatcher.steal(now)
        room = self._slicing.room(now)
        if room is not None:
            self._slicing.note_asked()
            self._out.act(MakeSlices(room, self.stats(now)))

    def _may_hand_out(self, now: float) -> bool:
        return (
            self._ending is None
            and not self._wanted.paused
            and self._link.has_lease(now)
            and not self._recorder.is_full()
        )

    def _flush(self, now: float, at_ms: int, *, force: bool, extra: int = 0) -> None:
        recorder = self._recorder
        if recorder.changed:
            # Whatever changed a recorded slice (also one that went back to the queue), its row is due.
            recorder.within(self._limits.commit_interval_s, now)
        if self._link.welcomed and (force or now >= recorder.wake_at(is_urgent=self._is_urgent())):
            for batch in recorder.flush(now, at_ms, force=force, extra=extra):
                self._out.send(LISTENER, batch)

    def _is_urgent(self) -> bool:
        """Something waits until rows are durable: the end, a step of recovery, or the next slices."""
        return self._ending is not None or not self._ledger.unfinished or self._recorder.is_full()

    def _round(self, now: float, at_ms: int) -> None:
        """Once a beat."""
        self._round_at = now + self._link.beat_s
        if self._link.is_silent(now):
            self._link.lose()
        if not self._link.welcomed:
            if self._link.hellos.is_due(now):
                self._say_hello(now)
        else:
            self._repeat_questions()
            for batch in self._recorder.overdue(now):
                self._out.send(LISTENER, batch)
        self._desk.round(now, at_ms)
        self._slicing.look_again()
        self._watch_workers(now)

    def _watch_workers(self, now: float) -> None:
        """Fail when no worker comes, or none is left; pauses and times without a master do not count."""
        if self._desk.was_blamed:
            self._desk.was_blamed = False
            self._watch.reset()
        has_begun = self._plan is not None or self._starts_slicer
        wants_workers = self._wanted.workers > 0 and not self._wanted.paused
        reason = self._watch.look(
            counts=has_begun and wants_workers and self._link.welcomed and self._ending is None,
            connected=len(self._table.members),
            joined=self._table.joined,
            now=now,
            last_exit=self._desk.last_exit,
        )
        if reason:
            self._fail(reason, now)

    def _beat(self, now: float) -> None:
        self._link.note_beat(now)
        self._out.send(
            LISTENER,
            ControllerBeat(
                ex_id=self._ex_id,
                generation=self._generation,
                sent_at=now,
                revision=self._wanted.revision,
                workers=tuple(self._table.members),
                lost_workers=tuple(self._table.lost),
                exits_seen=tuple(exit_.proc_id for exit_ in self._wanted.exits),
                replaceable=self._is_replaceable,
                stats=self.stats(now),
                counts=self._counts(),
            ),
        )


def _error_of(entry: Slice) -> str:
    """Why a slice is in error; empty when nothing is known."""
    return (entry.result[3] if entry.result else None) or ""

"""The controller's side of the link to its workers: what each message does to slices and workers."""

import attrs

from tsd.core.execution.deaths import Starts, described, suspects, suspects_of_lost, told_of
from tsd.core.execution.dispatch import Dispatcher
from tsd.core.execution.ledger import PENDING, Slice, SliceLedger
from tsd.core.execution.outbox import Outbox
from tsd.core.execution.terms import Limits
from tsd.core.execution.workers import Worker, WorkerTable
from tsd.core.messages import (
    LINK_SILENCE_BEATS,
    PROTOCOL,
    Again,
    Alive,
    FlushKept,
    FromWorker,
    GiveBack,
    Message,
    ProcessExit,
    Refused,
    Results,
    ResultsSeen,
    Slices,
    WorkerBeat,
    WorkerBye,
    WorkerHello,
    WorkerSettings,
    WorkerWelcome,
)
from tsd.ids import parse_process_id

_UNTOLD = "?"
EXIT_BEATS = 3
"""What a lost worker held waits so long for word of its end, which may blame some of it."""


@attrs.define(kw_only=True, eq=False)
class WorkerDesk:
    """Takes in what workers say and what is said of them.

    Attributes:
        execution: The execution document; empty until the master's welcome, and no worker is welcomed before.
        ended: Slices that ended in the present event; the caller empties it.
        failures: Those of them that ended in error.
        broken: Why a worker could not start; empty while none said so.
        is_recalling: What is not begun is to come back.
        is_ending: Workers are ended on purpose, so no slice is blamed for it.
        has_changed: The lists of workers changed; the caller resets it.
        was_blamed: The end of a worker was counted against a slice; the caller resets it.
        last_exit: How the worker ended that ended last by itself; empty while none did.
    """

    ex_id: str
    generation: int
    limits: Limits
    outbox: Outbox
    ledger: SliceLedger
    dispatcher: Dispatcher
    table: WorkerTable
    execution: str = ""
    beat_s: float
    max_retries: int = 0
    log_level: str | None = None
    ended: list[Slice] = attrs.field(factory=list)
    failures: list[Slice] = attrs.field(factory=list)
    broken: str = ""
    is_recalling: bool = False
    is_ending: bool = False
    has_changed: bool = False
    was_blamed: bool = False
    last_exit: str = ""
    _early: dict[str, WorkerHello] = attrs.field(factory=dict)
    _starts: Starts = attrs.field(init=False)
    # What lost workers held, by worker, and until when it waits for word of their end.
    _in_doubt: dict[str, tuple[list[Slice], float]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._starts = Starts(limit=self.limits.start_failures_max)

    # --- messages

    def handle(self, peer: str, message: FromWorker, now: float, at_ms: int) -> None:
        """Take in a message of a worker."""
        worker = self.table.members.get(peer)
        if worker is None:
            self._stranger(peer, message, now, at_ms)
            return
        worker.heard_at = now
        was_down = worker.down_since is not None
        if was_down or worker.blocked:
            worker.down_since = None
            worker.blocked = False
            self.dispatcher.settle(worker, now)
        if isinstance(message, Results):
            worker.spoke = True
            self._results(worker, message, now, at_ms)
        elif isinstance(message, WorkerBeat):
            worker.spoke = True
            self._beat(worker, message, now)
        elif isinstance(message, WorkerHello):
            worker.spoke = worker.spoke or was_down
            self._hello(peer, message, now, at_ms)
            return
        else:
            worker.mesh = message.mesh
            self._bye(peer, message, at_ms)
            return
        if was_down:
            # What was on its way when the link broke is lost: only its hello says what it holds.
            self.outbox.send(peer, Again())

    def welcome_early(self, now: float, at_ms: int) -> None:
        """The execution is known: answer the workers that came before that."""
        early, self._early = self._early, {}
        for peer, hello in early.items():
            if peer not in self.table.ended:
                self._hello(peer, hello, now, at_ms)

    def _stranger(self, peer: str, message: FromWorker, now: float, at_ms: int) -> None:
        if self.table.is_fenced(peer):
            self.outbox.send(peer, Refused(reason="given up: its link was down for too long"))
        elif peer in self.table.ended:
            if isinstance(message, Results):
                # Sent before it ended; what it finished is finished.
                if message.flush_letters:
                    self.ledger.recorder.add_flush(message.flush_letters)
                    self.ledger.recorder.within(self.limits.commit_interval_s, now)
                self._count(Worker(peer, 0, now, now, None), message, now, at_ms)
        elif isinstance(message, WorkerHello):
            self._hello(peer, message, now, at_ms)
        elif not isinstance(message, WorkerBye):
            self.outbox.send(peer, Again())

    def _hello(self, peer: str, hello: WorkerHello, now: float, at_ms: int) -> None:
        if reason := self._objection(peer, hello):
            self.outbox.send(peer, Refused(reason=reason))
            return
        if not self.execution:
            self._early[peer] = hello
            return
        worker = self.table.members.get(peer)
        if worker is None:
            worker = self.table.join(peer, hello.number, self.log_level, now)
            self.has_changed = True
        else:
            if worker.spoke or now - worker.hello_at > LINK_SILENCE_BEATS * self.beat_s:
                self.table.reconnected += 1
            self._resync(worker, hello, at_ms)
        worker.spoke = False
        worker.hello_at = now
        worker.asked_back = False
        worker.passed_over = None
        worker.log_level = self.log_level
        self.outbox.send(
            peer,
            WorkerWelcome(
                execution=self.execution,
                beat_interval_s=self.beat_s,
                keep=[n for n in hello.holds if n in worker.held],
                log_level=self.log_level,
            ),
        )
        self.dispatcher.settle(worker, now)

    def _resync(self, worker: Worker, hello: WorkerHello, at_ms: int) -> None:
        """What it does not hold got lost on the way (or was held by an earlier word) and waits again."""
        # First: what it keeps may have come to it by an earlier word than the one that we remember.
        self.ledger.keep(worker, hello.kept)
        holds = {*hello.holds, *hello.kept}
        missing = [entry for n, entry in (*worker.held.items(), *worker.kept.items()) if n not in holds]
        for entry in missing:
            if worker.held.pop(entry.item[0], None) is None:
                self.ledger.unkeep(worker, entry.item[0])
        if missing:
            self.dispatcher.put_back(missing, at_ms)

    def _objection(self, peer: str, hello: WorkerHello) -> str:
        if hello.protocol != PROTOCOL:
            return f"protocol {hello.protocol} is not {PROTOCOL}"
        if hello.ex_id != self.ex_id:
            return f"this is the controller of execution {self.ex_id}, not of {hello.ex_id}"
        if hello.generation != self.generation:
            return f"generation {hello.generation} is not {self.generation}"
        name = parse_process_id(peer)
        if name is None or (name.ex_id, name.generation, name.number) != (
            self.ex_id,
            self.generation,
            max(1, hello.number),
        ):
            # The master would not take in a list of workers that has such a name in it.
            return f"{peer} is not the identity of worker {hello.number} of execution {self.ex_id}"
        return ""

    def _results(self, worker: Worker, message: Results, now: float, at_ms: int) -> None:
        if message.seq != worker.seq + 1:
            # A repeated one, or one whose predecessor got lost and will be repeated first.
            if message.seq <= worker.seq:
                self.ledger.refused_results += len(message.done) + len(message.full)
            self.outbox.send(worker.peer, ResultsSeen(seq=worker.seq))
            return
        worker.seq = message.seq
        self.outbox.send(worker.peer, ResultsSeen(seq=message.seq))
        self.table.busy_us += message.busy_us
        self.table.records_read += message.records
        kept_before = self.ledger.kept
        if message.flush_letters:
            self.ledger.recorder.add_flush(message.flush_letters)
            self.ledger.recorder.within(self.limits.commit_interval_s, now)
        count = self._count(worker, message, now, at_ms)
        # The time of one that is released now was told when it was kept.
        count += self.ledger.kept - kept_before
        if message.kept:
            kept_before = self.ledger.kept
            self.ledger.keep(worker, message.kept)
            count += self.ledger.kept - kept_before
        if message.done or message.full or message.kept:
            worker.progress_at = now
            self.ledger.note_turn(worker)
            self._note_ready(worker)
        if count > 0:
            worker.note_pace(count, message.busy_us, self.limits.credit_s, self.limits.credit_max)
        if message.returned:
            self._take_back(worker, message.returned, at_ms)
        self.dispatcher.settle(worker, now)

    def _count(self, worker: Worker, message: Results, now: float, at_ms: int) -> int:
        count = len(message.done) + len(message.full)
        if count:
            ended, failures = self.ledger.take(worker, message, at_ms)
            self.ended += ended
            self.failures += failures
            self.ledger.recorder.within(self.limits.commit_interval_s, now)
            if self.ledger.disturbed:
                for other in self.ledger.disturbed:
                    # A worker that its own slice has killed is not there any more.
                    if self.table.members.get(other.peer) is other:
                        self.dispatcher.settle(other, now)
                self.ledger.disturbed.clear()
        return count

    def _take_back(self, worker: Worker, returned: list[int], at_ms: int) -> None:
        worker.asked_back = False
        found = (worker.held.pop(n, None) or self.ledger.unkeep(worker, n) for n in returned)
        entries = [entry for entry in found if entry is not None]
        self.dispatcher.put_back(entries, at_ms)

    def _beat(self, worker: Worker, beat: WorkerBeat, now: float) -> None:
        self.outbox.send(worker.peer, Alive())
        worker.mesh = beat.mesh
        if beat.ready:
            self._note_ready(worker)
        if beat.draining and not worker.is_leaving:
            worker.is_leaving = True
            worker.reserved = False
            self.dispatcher.settle(worker, now)
            self.dispatcher.look_for_room()
        if worker.asked_back:
            worker.asked_back = False
            self.dispatcher.arm(now)
        if worker.passes_over(beat.running, beat.held):
            self.outbox.send(worker.peer, Again())

    def _note_ready(self, worker: Worker) -> None:
        if not worker.is_ready:
            worker.is_ready = True
            self._starts.succeeded()

    def _bye(self, peer: str, bye: WorkerBye, at_ms: int) -> None:
        if bye.failed and not self.broken:
            self.broken = bye.reason
        self._release(peer, at_ms)

    def _release(self, peer: str, at_ms: int, *, lost_at: float | None = None) -> None:
        """The worker is gone: what it held waits again."""
        worker = self.table.remove(peer, is_lost=lost_at is not None)
        self.has_changed = True
        if worker is not None:
            held, kept = list(worker.held.values()), list(worker.kept.values())
            self.ledger.kept -= len(kept)
            self.ledger.note_turn(worker)
            worker.held.clear()
            worker.kept.clear()
            if lost_at is None:
                self.dispatcher.put_back([*held, *kept], at_ms)
            else:
                self.dispatcher.put_back(kept, at_ms)
                self._doubt(peer, held, lost_at, at_ms)
            self.dispatcher.forget(worker)
            if worker.reserved:
                self.dispatcher.look_for_room()

    def _doubt(self, peer: str, held: list[Slice], now: float, at_ms: int) -> None:
        """What a lost worker held waits in no queue until it is known how that worker ended."""
        for entry in held:
            self.dispatcher.set_aside(entry, at_ms)
        self._in_doubt[peer] = held, now + EXIT_BEATS * self.beat_s

    def _end_doubt(self, peer: str) -> None:
        held, _ = self._in_doubt.pop(peer, ((), 0.0))
        for entry in reversed(held):
            self.dispatcher.queue_first(entry)

    # --- what others say of workers

    def process_ended(self, exit_: ProcessExit, now: float, at_ms: int) -> None:
        """The node saw a worker process end; told once for each process.

        `tsd.core.execution.deaths` says whose fault it is.
        """
        peer = exit_.proc_id
        worker = self.table.members.get(peer)
        is_lost = self.table.is_fenced(peer)
        is_expected = self.is_ending or (worker is not None and worker.is_leaving)
        self.table.lost.pop(peer, None)
        if not is_expected:
            if not is_lost:
                self.last_exit = described(exit_)
            # One that has run a slice, or has said goodbye, had been ready.
            has_begun = exit_.running is not None or exit_.behind is not None or peer in self.table.ended
            if exit_.doing and not (has_begun or is_lost or (worker is not None and worker.is_ready)):
                self._start_failed(exit_)
            for entry in (found := self._suspects(exit_, worker)):
                self._blame(entry, exit_, now, at_ms, is_certain=len(found) == 1)
        self._release(peer, at_ms)
        self._end_doubt(peer)

    def _suspects(self, exit_: ProcessExit, worker: Worker | None) -> list[Slice]:
        if not self.table.is_fenced(exit_.proc_id):
            return suspects(exit_, worker, self.ledger.unfinished)
        held, _ = self._in_doubt.get(exit_.proc_id, (None, 0.0))
        if held is None:  # word of the end came late, and what it held may run elsewhere
            entry = self.ledger.unfinished.get(-1 if exit_.running is None else exit_.running)
            held = [entry] if entry is not None else []
        return suspects_of_lost(exit_, [entry for entry in held if entry.item[0] in self.ledger.unfinished])

    def _start_failed(self, exit_: ProcessExit) -> None:
        is_any_ready = any(worker.is_ready for worker in self.table.members.values())
        reason = self._starts.failed(exit_, is_any_ready=is_any_ready)
        if reason and not self.broken:
            self.broken = reason

    def _blame(self, entry: Slice, exit_: ProcessExit, now: float, at_ms: int, *, is_certain: bool) -> None:
        n = entry.item[0]
        self.was_blamed = True
        deaths = self.ledger.deaths[n] = self.ledger.deaths.get(n, 0) + 1
        if deaths > self.max_retries and is_certain:
            self._poison(entry, exit_, now, at_ms)
        elif entry.holder is None:
            self.dispatcher.isolate(entry)

    def _poison(self, entry: Slice, exit_: ProcessExit, now: float, at_ms: int) -> None:
        n = entry.item[0]
        deaths = self.ledger.deaths[n]
        self.ledger.fail(entry, (n, 3, deaths - 1, told_of(exit_, deaths), None, None), at_ms)
        self.ledger.recorder.within(self.limits.commit_interval_s, now)
        self.ended.append(entry)
        self.failures.append(entry)

    def round(self, now: float, at_ms: int) -> None:
        """Once a beat: probe silent links, give up lost workers, say again what may have got lost."""
        probes, lost = self.table.round(self.beat_s, now)
        for worker in probes:
            self.outbox.send(worker.peer, Alive())
        for worker in lost:
            self.last_exit = f"worker {worker.peer} was given up, because its link was down for too long"
            self._release(worker.peer, at_ms, lost_at=now)
            self.outbox.send(worker.peer, Refused(reason="given up: its link was down for too long"))
        for worker in self.table.members.values():
            worker.flush_asked = False
            if worker.log_level != self.log_level:
                worker.log_level = self.log_level
                self.outbox.send(worker.peer, WorkerSettings(log_level=self.log_level))
            if worker.reserved and len(worker.held) > 1:
                self.outbox.send(worker.peer, GiveBack(count=-1))
        for peer in [peer for peer, (_, until) in self._in_doubt.items() if now >= until]:
            self._end_doubt(peer)
        if self.is_recalling:
            self.recall()
        self.dispatcher.mend(now)

    def recall(self) -> None:
        """Ask for all that is not begun."""
        self.outbox.sends += self.dispatcher.recall()

    def flush_kept(self) -> None:
        """Ask the workers that keep slices to release them, each once a beat."""
        for worker in self.table.members.values():
            if worker.kept and not worker.flush_asked:
                worker.flush_asked = True
                self.outbox.send(worker.peer, FlushKept())

    def set_log_level(self, level: str | None) -> None:
        """Tell all workers the level; `round` repeats it to those that did not get it."""
        self.log_level = level
        for worker in self.table.members.values():
            worker.log_level = level
            self.outbox.send(worker.peer, WorkerSettings(log_level=level))

    def tell_all(self, message: Message) -> None:
        """Send a message to every connected worker."""
        for peer in self.table.members:
            self.outbox.send(peer, message)

    def not_sent(self, peer: str, message: Message, *, unreachable: bool, now: float, at_ms: int) -> None:
        """A send to a worker was not taken: slices in it wait again."""
        worker = self.table.members.get(peer)
        if worker is None:
            return
        worker.unreached = worker.unreached or unreachable
        if unreachable and worker.down_since is None:
            worker.down_since = now
        if isinstance(message, Slices):
            worker.blocked = True
            entries = [entry for item in message.items if (entry := worker.held.pop(item[0], None))]
            self.dispatcher.put_back([entry for entry in entries if entry.state != PENDING], at_ms)
        elif isinstance(message, WorkerSettings | WorkerWelcome):
            worker.log_level = _UNTOLD
        elif isinstance(message, GiveBack):
            worker.asked_back = False
        self.dispatcher.settle(worker, now)

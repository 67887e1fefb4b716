"""One controller core with a master, a slicer and worker cores around it, in virtual time.

The master, the slicer and the operation threads are models; both machines are the real ones. Messages take
`delay_s`, keep their order on each link, and can be held up or dropped by tests.
"""

import heapq
import json
import random
from collections import deque
from collections.abc import Callable, Iterable

import attrs

from tsd.core.execution import events as ev
from tsd.core.execution.lifecycle import LifecycleEvent, next_status
from tsd.core.execution.machine import ExecutionMachine
from tsd.core.execution.terms import Limits
from tsd.core.execution.worker import WorkerMachine
from tsd.core.messages import (
    PROTOCOL,
    ControllerBeat,
    ControllerHello,
    ControllerWelcome,
    LeaseGranted,
    ProcessExit,
    RecordBatch,
    RecordsSaved,
    RecoveryAsk,
    RecoveryPage,
    Slices,
    StatusIs,
    StatusReport,
    Wanted,
    WorkerHello,
)
from tsd.core.records import REPLAYED_STATES, RecoveryMode, SlicerPosition, SliceState, Status
from tsd.errors import IllegalTransition

EX = "ex-1"
WALL = 1_700_000_000.0
LIMITS = Limits(
    beat_interval_s=1.0,
    worker_disconnect_timeout_s=10.0,
    slicer_timeout_s=20.0,
    max_buffered_records=1_000,
    replay_page=7,
)


def record_key(row):
    """(source, slicer, order) of a row."""
    return row[:3]


class ModelMaster:
    """Answers a controller as the cluster core and the store do, and keeps what it was told."""

    def __init__(
        self, rig, *, mode="", resume=False, sources=(EX,), records=None, status=Status.INITIALIZING
    ):
        self.rig = rig
        self.mode = mode
        self.resume = resume
        self.sources = sources
        self.records = dict(records or {})
        self.status = status
        self.wanted = Wanted(revision=1, workers=1)
        self.saves = True
        self.is_away = False
        self.grants = True
        self.lease_s = 5.0
        self.batches = []
        self.reports = []
        self.illegal = []
        self.beats = []
        self.asks = []
        self.hellos = 0
        self.knows = False
        self.was_final = False
        self.seen_reports = set()
        self.taken = {}
        # Slices of earlier executions that this one has begun to run again.
        self.run_by_this = set()
        self.statuses = [status]

    def want(self, **changes):
        self.wanted = attrs.evolve(self.wanted, revision=self.wanted.revision + 1, **changes)
        self.rig.to_controller(self.wanted)

    def events(self):
        return [report.event for report in self.reports]

    def receive(self, message):
        if self.is_away:
            return
        rig = self.rig
        match message:
            case ControllerHello():
                self.hellos += 1
                self.knows = True
                rig.to_controller(
                    ControllerWelcome(
                        lease_s=self.lease_s,
                        beat_interval_s=1.0,
                        execution=rig.execution,
                        resume=self.resume,
                        sources=tuple(self.sources),
                        mode=self.mode,
                        wanted=self.wanted,
                    )
                )
            case ControllerBeat():
                self.beats.append(message)
                rig.check_beat(message)
                if self.grants:
                    rig.to_controller(LeaseGranted(sent_at=message.sent_at))
                if message.revision < self.wanted.revision:
                    rig.to_controller(self.wanted)
            case RecordBatch():
                self.store(message)
            case StatusReport():
                self.report(message)
            case RecoveryAsk():
                self.asks.append(message)
                rig.to_controller(self.page(message))
            case _:
                raise AssertionError(message)

    def store(self, batch):
        """Take batches in order, as the intake of the master does."""
        rig = self.rig
        taken = self.taken.get(rig.generation)
        if taken is None and batch.first in (0, batch.seq):
            taken = batch.seq - 1
        if not self.saves or taken is None or batch.seq > taken + 1:
            return
        if batch.seq <= taken:
            rig.to_controller(RecordsSaved(seq=taken))
            return
        self.taken[rig.generation] = batch.seq
        rig.check_batch(batch)
        self.batches.append(batch)
        for row in batch.rows:
            self.records[record_key(row)] = row
        self.run_by_this |= {record_key(row) for row in batch.rows if row[0] > 0}
        rig.to_controller(RecordsSaved(seq=batch.seq))

    def report(self, report):
        rig = self.rig
        if report.seq not in self.seen_reports:
            self.seen_reports.add(report.seq)
            self.reports.append(report)
            rig.check_report(report)
            event = LifecycleEvent(report.event)
            try:
                if event is LifecycleEvent.SLICING_STARTED:
                    self.mode = ""
                if event is not LifecycleEvent.STOPPED:
                    self.status = next_status(self.status, event)
                    self.statuses.append(self.status)
            except IllegalTransition:
                self.illegal.append((self.status, event))
        rig.to_controller(StatusIs(seq=report.seq, status=self.status.value))

    def page(self, ask):
        modes = REPLAYED_STATES[RecoveryMode(ask.mode)] if ask.mode else frozenset()
        own = frozenset({SliceState.PENDING, SliceState.START})
        keys = [
            key
            for key, row in sorted(self.records.items())
            if (ask.after is None or key > tuple(ask.after))
            and (
                (key[0] > 0 and row[3] in modes)
                or ((key[0] == 0 or (modes and key in self.run_by_this)) and row[3] in own)
            )
        ]
        page = keys[: ask.limit]
        positions, counts = (), (0, 0, 0, 0)
        if ask.after is None:
            slicers = {key[1] for key in self.records}
            found = []
            for slicer_id in sorted(slicers):
                source = min(key[0] for key in self.records if key[1] == slicer_id)
                order = max(key[2] for key in self.records if key[:2] == (source, slicer_id))
                row = self.records[source, slicer_id, order]
                found.append(
                    SlicerPosition(
                        slicer_id=slicer_id, slicer_order=order if source == 0 else 0, last_slice=row[6]
                    )
                )
            positions = tuple(found)
            counts = tuple(
                sum(1 for key, row in self.records.items() if key[0] == 0 and row[3] == state)
                for state in SliceState
            )
        rows = [self.records[key] for key in page]
        return RecoveryPage(
            ask_id=ask.ask_id,
            slices=tuple((r[0], r[1], r[2], r[3], r[4], r[6], r[7], r[9]) for r in rows),
            is_last=len(page) == len(keys),
            positions=positions,
            counts=counts,
        )


class ModelSlicer:
    """Makes what it was given; `requests` has a list of results for each slicer."""

    def __init__(self, requests, *, recoverable=True, persistent=False, max_queue_length=10_000, hooks=False):
        self.all = [list(results) for results in requests]
        self.left = [deque(results) for results in requests]
        self.recoverable = recoverable
        self.persistent = persistent
        self.max_queue_length = max_queue_length
        self.hooks = hooks
        self.started_with = None
        self.error = None
        self.handed_out = []
        self.rooms = []
        self.answers = True
        self.told = []
        self.completes = False
        self.completion_error = None
        self.completion_answers = True
        self.completions = 0
        self.completed_with = None

    def start(self, recovery):
        """Go on where `recovery` says, if it says so."""
        self.started_with = recovery
        for position in recovery:
            results = self.all[position.slicer_id]
            last = None if position.last_slice is None else json.loads(position.last_slice)
            skip = results.index(last) + 1 if last in results else 0
            self.left[position.slicer_id] = deque(results[skip:])

    def make(self, room):
        """Return a `SlicesMade` for up to `room` slices."""
        items, lists = [], 0
        while len(items) < room and any(self.left):
            for slicer_id, left in enumerate(self.left):
                if left and len(items) < room:
                    result = left.popleft()
                    lists += isinstance(result, list)
                    for request in result if isinstance(result, list) else [result]:
                        pin = request.get("request_worker")
                        items.append((slicer_id, json.dumps(request), request.get("slice_id"), pin))
        self.handed_out += items
        is_dry = not any(self.left)
        return ev.SlicesMade(
            items,
            finished=is_dry and not self.persistent and room > 0,
            idle=is_dry and self.persistent,
            max_queue_length=self.max_queue_length,
            subslices=lists,
        )


class RigWorker:
    """A worker core and a model of its operation thread.

    With `keeps` its operations hold the records of completed slices back until there are so many.
    """

    def __init__(self, rig, peer, number, *, duration_s, outcome, build_s, keeps=0):
        self.rig = rig
        self.peer = peer
        self.machine = WorkerMachine(
            proc_id=peer, ex_id=EX, generation=rig.generation, number=number, pid=number, limits=rig.limits
        )
        self.number = number
        self.duration_s = duration_s
        self.outcome = outcome
        self.build_s = build_s
        self.keeps = keeps
        self.can_be_cut = True
        self.kept = []
        self.queue = deque()
        self.running = None
        self.is_ready = False
        self.is_dead = False
        self.exit = None
        self.ran = []
        self._is_cut_off = False
        self.is_frozen = False
        self.frozen = []
        self.flushes = 0
        self.flush_letters = None
        self.log_levels = []
        self.wake = None

    def feed(self, event):
        if self.is_dead:
            return
        if self.is_frozen:
            self.frozen.append(event)
            return
        effects = self.machine.handle(event, now=self.rig.now)
        for _peer, message in effects.sends:
            self.rig.link_in(self, message)
        for action in effects.actions:
            self.act(action)
        self.arm()

    @property
    def is_cut_off(self):
        return self._is_cut_off

    @is_cut_off.setter
    def is_cut_off(self, is_cut_off):
        self._is_cut_off = is_cut_off
        self.feed(ev.LinkChanged(is_up=not is_cut_off))

    def arm(self):
        at = self.machine.wake_at()
        if at is not None and at != self.wake and not self.is_dead:
            self.wake = at
            self.rig.at(at, lambda: self.tick(at))

    def tick(self, at):
        if self.wake == at and not self.is_dead:
            self.wake = None
            if not self.is_frozen:
                self.feed(ev.Tick())
                self.arm()

    def thaw(self):
        self.is_frozen = False
        held, self.frozen = self.frozen, []
        for event in held:
            self.feed(event)
        self.feed(ev.Tick())

    def act(self, action):
        match action:
            case ev.BuildPipeline():
                self.rig.after(self.build_s, self.built)
            case ev.Run():
                self.queue.extend(action.items)
                self.begin()
            case ev.TakeBack():
                taken = []
                while self.queue and (action.count < 0 or len(taken) < action.count):
                    taken.append(self.queue.pop()[0])
                self.rig.after(0, lambda: self.feed(ev.TookBack(taken)))
            case ev.Drop():
                self.queue = deque(item for item in self.queue if item[0] not in action.ns)
            case ev.Flush():
                self.flushes += 1
                self.rig.after(0, self.flush)
            case ev.CutShort():
                self.rig.after(0, self.put_down)
            case ev.SetLogLevel():
                self.log_levels.append(action.level)
            case ev.Exit():
                self.exit = action
                self.is_dead = True
            case _:
                raise AssertionError(action)

    def built(self):
        if isinstance(self.outcome, str):
            self.feed(ev.PipelineFailed(self.outcome))
            return
        self.is_ready = True
        self.feed(ev.PipelineReady())
        self.begin()

    def begin(self):
        if self.running is None and self.queue and self.is_ready and not self.is_dead:
            self.running = item = self.queue.popleft()
            duration_s = self.duration_s(item) if callable(self.duration_s) else self.duration_s
            self.rig.after(duration_s, lambda: self.ended(item, duration_s))

    def ended(self, item, duration_s):
        if self.is_dead or self.running is not item:
            return
        self.running = None
        n = item[0]
        busy_us = int(duration_s * 1e6)
        verdict = self.outcome(item) if self.outcome else None
        if verdict is not None:
            self.write(item)
            letters = verdict[4] if len(verdict) > 4 else None
            self.feed(ev.SlicesRan([], [(n, *verdict[:4], letters)], busy_us))
        elif len(self.kept) < self.keeps:
            self.kept.append(item)
            self.feed(ev.SlicesRan([], [], busy_us, kept=[n]))
        else:
            self.release([item], busy_us)
        self.begin()

    def put_down(self):
        """Cut the running slice short, if its code lets that happen."""
        self.queue.clear()
        if self.running is not None and self.can_be_cut and not self.is_dead:
            item, self.running = self.running, None
            self.feed(ev.SlicesRan([], [], 0, returned=[item[0]]))

    def write(self, item):
        """What a slice had is in the sink."""
        self.ran.append(item)
        self.rig.ran_requests.add(item[3])

    def release(self, more=(), busy_us=0):
        """What was kept leaves, with these."""
        items, self.kept = [*self.kept, *more], []
        for item in items:
            self.write(item)
        self.feed(ev.SlicesRan([item[0] for item in items], [], busy_us))

    def flush(self):
        if self.kept and not self.is_dead:
            self.release()
        self.feed(ev.Flushed("", self.flush_letters))

    def die(self, *, exit_code=None, signal=9, tell=True):
        """The process ends suddenly; its node says so at once."""
        self.is_dead = True
        running = self.running[0] if self.running else None
        exit_ = ProcessExit(
            proc_id=self.peer,
            ex_id=EX,
            exit_code=exit_code,
            signal=None if exit_code is not None else signal,
            running=running,
        )
        if tell:
            master = self.rig.master
            master.want(exits=(*master.wanted.exits, exit_))
        return exit_


class Rig:
    """Everything around one `ExecutionMachine`, in virtual time."""

    def __init__(
        self,
        requests: Iterable = (),
        *,
        slicers: list | None = None,
        limits: Limits = LIMITS,
        delay_s: float = 0.001,
        generation: int = 1,
        start: bool = True,
        recoverable: bool = True,
        persistent: bool = False,
        max_queue_length: int = 10_000,
        hooks: bool = False,
        master: dict | None = None,
        job: dict | None = None,
    ) -> None:
        self.now = 100.0
        self.limits = limits
        self.delay_s = delay_s
        self.generation = generation
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.execution = json.dumps(
            {
                "ex_id": EX,
                "lifecycle": "persistent" if persistent else "once",
                "max_retries": 1,
                "probation_window": 3_000,
                "slicers": 1,
                **(job or {}),
            }
        )
        self.slicer = ModelSlicer(
            slicers if slicers is not None else [list(requests)],
            recoverable=recoverable,
            persistent=persistent,
            max_queue_length=max_queue_length,
            hooks=hooks,
        )
        self.master = ModelMaster(self, **(master or {}))
        self.workers: dict[str, RigWorker] = {}
        self.exit: ev.Exit | None = None
        self.dispatched: list[tuple[str, tuple]] = []
        self.hook_calls: list[ev.TellHooks] = []
        self.log_levels: list[str | None] = []
        self.sent: list[tuple[float, str, object]] = []
        self.batch_rows: dict[int, list] = {}
        self.last_beat: ControllerBeat | None = None
        self.machine = ExecutionMachine(
            ex_id=EX,
            generation=generation,
            address="tcp://c:1",
            wall_offset_s=WALL,
            limits=limits,
        )
        self.loss = self.doubling = self.disorder = 0.0
        self.rng = random.Random(0)
        self.lease_until = float("-inf")
        self.hello_sent_at: float | None = None
        self.ran_requests: set[str] = set()
        self.counted_before: dict[int, int] = {}
        self._wake: float | None = None
        if start:
            self.feed(ev.Tick())

    # --- time

    def at(self, when, call):
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, call))

    def after(self, delay_s, call):
        self.at(self.now + delay_s, call)

    def run(self, seconds):
        """Let so much time pass."""
        end = self.now + seconds
        steps = 0
        while self._heap and self._heap[0][0] <= end:
            self.now, _, call = heapq.heappop(self._heap)
            call()
            steps += 1
            assert steps < 2_000_000, "the machines spin"
        self.now = end
        return self

    def run_until(self, condition, limit_s=120.0):
        """Let time pass until the condition holds; fails after `limit_s` of virtual time."""
        end = self.now + limit_s
        while not condition():
            assert self._heap, "nothing happens any more"
            assert self._heap[0][0] <= end, "it never happened"
            self.now, _, call = heapq.heappop(self._heap)
            call()
        return self

    def carry(self, call):
        """Carry a message: it is delivered after `delay_s`, unless the network is rough just now."""
        if self.rng.random() < self.loss:
            return
        for _ in range(2 if self.rng.random() < self.doubling else 1):
            late_s = self.rng.random() * 0.5 if self.rng.random() < self.disorder else 0.0
            self.after(self.delay_s + late_s, call)

    def restart(self):
        """The controller dies and a new generation takes over; its workers are new too."""
        for worker in self.workers.values():
            worker.is_dead = True
        self.generation += 1
        self.exit = None
        self._wake = None
        self.hello_sent_at = None
        self.lease_until = float("-inf")
        self.batch_rows.clear()
        self.master.resume = True
        self.master.seen_reports.clear()
        self.master.wanted = attrs.evolve(self.master.wanted, exits=())
        self.slicer.handed_out.clear()
        for results, left in zip(self.slicer.all, self.slicer.left, strict=True):
            left.clear()
            left.extend(results)
        self.machine = ExecutionMachine(
            ex_id=EX,
            generation=self.generation,
            address="tcp://c:1",
            wall_offset_s=WALL,
            limits=self.limits,
        )
        self.feed(ev.Tick())

    # --- the controller's shell

    def feed(self, event, machine=None):
        if self.exit is not None or machine not in (None, self.machine):
            return
        effects = self.machine.handle(event, now=self.now)
        for peer, message in effects.sends:
            self.sent.append((self.now, peer, message))
            if peer == "":
                self.to_master(message)
            else:
                self.to_worker(peer, message)
        for action in effects.actions:
            self.act(action)
        self.arm()

    def arm(self):
        at = self.machine.wake_at()
        if at is not None and at != self._wake:
            self._wake = at
            self.at(at, lambda: self.tick(at))

    def tick(self, at):
        if self._wake == at:
            self._wake = None
            self.feed(ev.Tick())
            self.arm()

    def answer(self, make_event):
        """What the slicer's thread says next, to the machine that asked."""
        machine = self.machine

        def call():
            if machine is self.machine:
                self.feed(make_event(), machine)

        self.after(0, call)

    def act(self, action):
        match action:
            case ev.BuildSlicer():
                info = ev.SlicerInfo(
                    self.slicer.recoverable, len(self.slicer.left), completes=self.slicer.completes
                )
                self.answer(lambda: info)
            case ev.StartSlicer():
                self.slicer.start(action.recovery)
                ready = ev.SlicerReady(len(self.slicer.left), self.slicer.max_queue_length, self.slicer.hooks)
                self.answer(lambda: ready)
            case ev.MakeSlices():
                self.slicer.rooms.append(action.room)
                if self.slicer.error:
                    self.answer(lambda: ev.SlicerFailed(self.slicer.error))
                elif self.slicer.answers:
                    self.answer(lambda: self.slicer.make(action.room))
            case ev.CompleteOutput():
                self.slicer.completions += 1
                self.slicer.completed_with = action
                if self.slicer.completion_answers:
                    self.answer(lambda: ev.OutputCompleted(self.slicer.completion_error))
            case ev.TellHooks():
                self.hook_calls.append(action)
            case ev.SetLogLevel():
                self.log_levels.append(action.level)
            case ev.Exit():
                self.exit = action
            case _:
                raise AssertionError(action)

    def to_master(self, message):
        if isinstance(message, ControllerHello) and self.hello_sent_at is None:
            self.hello_sent_at = self.now
        machine = self.machine

        def call():
            if machine is self.machine:
                self.master.receive(message)

        self.carry(call)

    def to_controller(self, message):
        machine = self.machine

        def call():
            if isinstance(message, RecoveryPage) and machine is self.machine and any(message.counts):
                # Completed and failed ones of earlier generations; said once, with the first page.
                self.counted_before.setdefault(self.generation, message.counts[2] + message.counts[3])
            if isinstance(message, LeaseGranted):
                self.lease_until = max(self.lease_until, message.sent_at + self.master.lease_s)
            elif isinstance(message, ControllerWelcome) and self.hello_sent_at is not None:
                self.lease_until = max(self.lease_until, self.hello_sent_at + self.master.lease_s)
                self.hello_sent_at = None
            self.feed(ev.FromMaster(message), machine)

        self.carry(call)

    def to_worker(self, peer, message):
        worker = self.workers.get(peer)
        if worker is None or worker.is_dead or worker.is_cut_off:
            machine = self.machine
            self.after(0, lambda: self.feed(ev.NotSent(peer, message, unreachable=True), machine))
            return
        if isinstance(message, Slices):
            assert self.now < self.lease_until, "handed out without a lease"
            self.dispatched += [(peer, item) for item in message.items]
        self.carry(lambda: self.deliver(worker, message))

    def deliver(self, worker, message):
        if not (worker.is_dead or worker.is_cut_off):
            worker.feed(ev.FromController(message))

    def link_in(self, worker, message):
        if not worker.is_cut_off:
            peer, machine = worker.peer, self.machine
            self.carry(lambda: self.feed(ev.FromWorker(peer, message), machine))

    def worker(self, number=1, *, duration_s=0.01, outcome=None, build_s=0.0, start=1, keeps=0) -> RigWorker:
        """Start a worker process."""
        peer = f"{EX}/{self.generation}/w{number}.{start}"
        worker = RigWorker(
            self, peer, number, duration_s=duration_s, outcome=outcome, build_s=build_s, keeps=keeps
        )
        self.workers[peer] = worker
        worker.feed(ev.Tick())
        return worker

    # --- what must hold whenever something arrives at the master

    def check_batch(self, batch):
        """The rows of each slicer keep their order: nothing is recorded before what precedes it."""
        if batch.seq in self.batch_rows:
            assert batch.rows == self.batch_rows[batch.seq], "a repeated batch changed"
            return
        self.batch_rows[batch.seq] = batch.rows
        here = {record_key(row) for row in batch.rows}
        for source, slicer_id, order, *_rest in batch.rows:
            before = (0, slicer_id, order - 1)
            if source == 0 and order > 1:
                assert before in here or before in self.master.records, "a gap in the records of a slicer"

    def check_beat(self, beat):
        self.last_beat = beat

    def check_report(self, report):
        """The last word comes after every row was acknowledged, and `completed` needs all completed."""
        if report.event in ("completed", "failed"):
            recorded = {(row[1], row[6]) for row in self.master.records.values()}
            made = {(slicer_id, request) for slicer_id, request, _id, _pin in self.slicer.handed_out}
            assert made <= recorded, "reported before all was recorded"
        if report.event == "completed":
            states = {row[3] for key, row in self.master.records.items() if key[0] == 0}
            assert states <= {SliceState.COMPLETED}

    def states(self):
        """How many records are in each state, by word."""
        words = [SliceState(row[3]).word for row in self.master.records.values()]
        return {word: words.count(word) for word in sorted(set(words))}

    def runs(self):
        """How often each slice was run to its end, by number."""
        counts: dict[int, int] = {}
        for worker in self.workers.values():
            for item in worker.ran:
                counts[item[0]] = counts.get(item[0], 0) + 1
        return counts

    @property
    def stats(self):
        return self.machine.stats(self.now)


def numbers(count, start=1):
    """Requests that count up."""
    return [{"i": i} for i in range(start, start + count)]


def hello(peer_number=1, *, holds=(), generation=1, ex_id=EX, protocol=PROTOCOL):
    return WorkerHello(
        protocol=protocol,
        ex_id=ex_id,
        generation=generation,
        number=peer_number,
        pid=1,
        holds=list(holds),
    )

"""The processes of a simulated cluster: the four real machines in virtual shells."""

import json
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from tests.simulation.store import BrokenPromise
from tsd import ids
from tsd.core.cluster import events as cluster
from tsd.core.cluster import node as nodes
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.execution import events as ex
from tsd.core.execution.machine import ExecutionMachine
from tsd.core.execution.worker import WorkerMachine
from tsd.core.messages import (
    Message,
    NodeWanted,
    ProcessExit,
    ProcessSpec,
    RecordBatch,
    RecordsSaved,
    RecoveryAsk,
    Refused,
    Results,
    SliceItem,
    Slices,
)
from tsd.core.records import ProcessRole, SliceState

if TYPE_CHECKING:
    from tests.simulation.world import World


class Actor:
    """A process: alive or dead, perhaps frozen, with one machine and one planned wake-up."""

    machine: Any

    def __init__(self, world: "World", host: str, name: str) -> None:
        self.world, self.host, self.name = world, host, name
        self.is_alive = True
        self.skew_s = world.skew_of(host)
        self.frozen_since: float | None = None
        self._backlog: list[Any] = []
        self._wake = 0

    @property
    def now(self) -> float:
        """The time on this process's own clock."""
        return self.world.clock.now + self.skew_s

    def feed(self, event: Any) -> None:
        if not self.is_alive:
            return
        if self.frozen_since is not None:
            self._backlog.append(event)
            return
        self.world.say(self.name, event)
        self.take(event)
        self.plan()

    def take(self, event: Any) -> None:
        """Give the event to the machine and carry out what it answers."""
        raise NotImplementedError

    def plan(self) -> None:
        """Feed a tick when the machine wants to wake."""
        self._wake += 1
        when = self.machine.wake_at()
        if when is None or not self.is_alive:
            return
        token = self._wake

        def tick() -> None:
            if token == self._wake and self.frozen_since is None:
                self.feed(self.tick_event())

        self.world.clock.at(max(when - self.skew_s, self.world.clock.now + 1e-6), tick)

    def tick_event(self) -> Any:
        return ex.Tick()

    def freeze(self) -> None:
        if self.frozen_since is None:
            self.frozen_since = self.world.clock.now

    def thaw(self) -> None:
        if self.frozen_since is None:
            return
        self.frozen_since = None
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            self.feed(event)
        if self.is_alive:
            self.feed(self.tick_event())

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Run `call` later, unless this process has ended by then; later still while it is frozen."""

        def run() -> None:
            if not self.is_alive:
                return
            if self.frozen_since is not None:
                self.world.clock.after(0.05, run)
                return
            call()

        self.world.clock.after(delay_s, run)


class Master(Actor):
    """The master daemon: the cluster core, and the store that survives it."""

    def __init__(self, world: "World", host: str) -> None:
        super().__init__(world, host, "master")
        records = [
            attrs.evolve(r, ended=world.store.ended(r.ex_id))
            for r in world.store.executions.values()
            if r.status not in world.terminal
        ]
        self.machine = ClusterMachine.restore(
            sorted(records, key=lambda r: r.created),
            world.store.drains.values(),
            settings=world.cluster_settings,
            now=self.now,
        )
        self._drained = set(world.store.drains)
        self._queue: deque[Any] = deque()
        self._is_committing = False
        self._taken: dict[str, int] = {}
        self._saved: dict[str, int] = {}
        self._lane_free_at: dict[str, float] = {}
        self.plan()

    def tick_event(self) -> Any:
        return cluster.Tick()

    def plan(self) -> None:
        # While a commit runs the machine is fed nothing, so a tick would only come again.
        if not self._is_committing:
            super().plan()

    def take(self, event: Any) -> None:
        self._queue.append(event)
        self._work()

    def ask(self, event: Any) -> None:
        """A request of the API; a refusal changes nothing."""
        self.feed(event)

    def heard(self, peer: str, message: Message) -> None:
        match message:
            case RecordBatch():
                self._records(peer, message)
            case RecoveryAsk():
                self._recovery(peer, message)
            case _ if "~" in peer:
                self.feed(cluster.FromNode(peer=peer, message=message))  # type: ignore[arg-type]
            case _:
                self.feed(cluster.FromController(peer=peer, message=message))  # type: ignore[arg-type]

    def _records(self, peer: str, batch: RecordBatch) -> None:
        """Take batches of a controller in order, as the master's intake does."""
        if not self.machine.accepts(batch.ex_id, batch.generation, peer):
            self.world.listener_send(self, peer, self.machine.turn_away(batch.ex_id, batch.generation, peer))
            return
        taken = self._taken.get(peer)
        if taken is None:
            if batch.first not in (0, batch.seq):
                return
            taken = batch.seq - 1
            self._saved[peer] = taken
        if batch.seq <= taken:
            if batch.seq <= self._saved[peer]:
                self.world.listener_send(self, peer, RecordsSaved(seq=self._saved[peer]))
            return
        if batch.seq != taken + 1:
            return
        self._taken[peer] = batch.seq
        # One lane a controller: a batch is stored when those before it are.
        free_at = max(self.world.clock.now, self._lane_free_at.get(peer, 0.0))
        self._lane_free_at[peer] = free_at + self.world.rng.uniform(0.0005, 0.01)

        def commit() -> None:
            if self.world.store.is_down or self._saved[peer] != batch.seq - 1:
                self.after(0.2, commit)
                return
            before = self.world.store.ended(batch.ex_id)
            if not self.world.store.store_records(batch):
                self.world.listener_send(self, peer, Refused(reason="stale generation"))
                return
            self._saved[peer] = batch.seq
            self.world.listener_send(self, peer, RecordsSaved(seq=batch.seq))
            ended = self.world.store.ended(batch.ex_id)
            failed = max(0, ended.failed - before.failed)
            self.feed(
                cluster.RecordsStored(ex_id=batch.ex_id, before=before, ended=ended, newly_failed=failed)
            )

        self.after(self._lane_free_at[peer] - self.world.clock.now, commit)

    def _recovery(self, peer: str, ask: RecoveryAsk) -> None:
        ex_id = peer.split("/", maxsplit=1)[0]
        if not self.machine.accepts(ex_id, ask.generation, peer):
            self.world.listener_send(self, peer, self.machine.turn_away(ex_id, ask.generation, peer))
            return
        if self.world.store.is_down:
            return  # it asks again
        sources = self.world.store.executions[ex_id].sources
        self.world.listener_send(self, peer, self.world.store.recovery_page(ask, sources))

    def _work(self) -> None:
        if self._is_committing:
            return
        saves: list[Any] = []
        sends: list[Any] = []
        while self._queue:
            event = self._queue.popleft()
            try:
                effects = self.machine.handle(event, now=self.now)
            except self.world.refusals as refusal:
                self.world.say("master refuses", refusal)
                continue
            if isinstance(event, cluster.DrainNode):
                self._drained.add(event.node_id)
            elif isinstance(event, cluster.UndrainNode):
                self._drained.discard(event.node_id)
            self._check_drained(effects.sends)
            saves.extend(effects.saves)
            sends.extend(effects.sends)
        if not saves and not sends:
            return
        self._is_committing = True

        def commit() -> None:
            if saves and self.world.store.is_down:
                self.after(0.2, commit)
                return
            self.world.store.apply(saves)
            self.world.check_executions()
            self._is_committing = False
            for send in sends:
                if not self.world.listener_send(self, send.peer, send.message):
                    self._queue.append(
                        cluster.NotSent(peer=send.peer, message=send.message, unreachable=True)
                    )
            self._work()
            self.plan()

        if saves:
            self.after(self.world.rng.uniform(0.0005, 0.005), commit)
        else:
            commit()

    def _check_drained(self, sends: tuple[cluster.Send, ...]) -> None:
        """On a drained node nothing is to run but a controller that has no successor, or has not said so yet."""
        for send in sends:
            host = send.peer.partition("~")[0]
            if isinstance(send.message, NodeWanted) and host in self._drained:
                for spec in send.message.processes:
                    is_old = spec.proc_id in self.world.begun
                    if spec.role is ProcessRole.WORKER or not is_old:
                        raise BrokenPromise(f"{spec.proc_id} is to run on {host}, which is drained")


class Node(Actor):
    """A node daemon with its fork server and children."""

    def __init__(self, world: "World", host: str, start: int) -> None:
        super().__init__(world, host, f"{host}~{start}")
        self.children: dict[str, Controller | Worker] = {}
        self.pid = 100
        self.machine = world.make_node_machine(host)
        self.feed(nodes.Tick())

    def tick_event(self) -> Any:
        return nodes.Tick()

    def heard(self, message: Message) -> None:
        self.feed(nodes.FromMaster(message=message))  # type: ignore[arg-type]

    def take(self, event: Any) -> None:
        effects = self.machine.handle(event, now=self.now)
        for message in effects.sends:
            self.world.dialer_send(self, self.world.master, message)
        for action in effects.actions:
            match action:
                case nodes.Start():
                    self._start(action.spec)
                case nodes.Signal():
                    child = self.children.get(action.proc_id)
                    if child is not None:
                        self._signal(child, action.signal)
                case nodes.Exit():
                    self.die()
                case _:
                    pass

    def _start(self, spec: ProcessSpec) -> None:
        self.pid += 1
        pid = self.pid

        def started() -> None:
            if spec.role is ProcessRole.CONTROLLER:
                child: Controller | Worker = Controller(self.world, self, spec)
            else:
                child = Worker(self.world, self, spec)
            self.children[spec.proc_id] = child
            self.world.begun.add(spec.proc_id)
            self.world.processes[spec.proc_id] = child
            self.feed(nodes.Started(proc_id=spec.proc_id, pid=pid))
            child.begin()

        self.after(self.world.rng.uniform(0.003, 0.02), started)

    def _signal(self, child: "Controller | Worker", signal: str) -> None:
        if str(signal).lower().endswith("kill"):
            child.die(signal=9)
        else:
            child.feed(ex.Terminate())

    def child_ended(self, child: "Controller | Worker", code: int | None, signal: int | None) -> None:
        self.children.pop(child.name, None)
        exit_ = ProcessExit(
            proc_id=child.name,
            ex_id=child.spec.ex_id,
            exit_code=code,
            signal=signal,
            running=child.running if isinstance(child, Worker) else None,
        )
        self.after(0.001, lambda: self.feed(nodes.Exited(exit=exit_)))

    def die(self) -> None:
        """The daemon ends, and its children with it."""
        self.is_alive = False
        for child in list(self.children.values()):
            child.is_alive = False
            self.world.ended(child)
        self.children.clear()


class Child(Actor):
    """A process that a node started."""

    def __init__(self, world: "World", node: Node, spec: ProcessSpec) -> None:
        super().__init__(world, node.host, spec.proc_id)
        self.node, self.spec = node, spec

    def die(self, *, code: int | None = None, signal: int | None = None) -> None:
        if not self.is_alive:
            return
        self.is_alive = False
        self.world.ended(self)
        self.node.child_ended(self, code, signal)  # type: ignore[arg-type]

    def exit(self, code: int) -> None:
        # What was sent before the end still gets out, as with a bounded linger.
        self.die(code=code)


@attrs.define
class SlicerModel:
    """A deterministic slicer: requests `{"s": slicer, "i": 1..total}`, resumed after its last one."""

    totals: list[int]
    is_once: bool
    places: list[int]

    def resume(self, recovery: list[Any]) -> None:
        for position in recovery:
            if position.last_slice is not None:
                self.places[position.slicer_id] = json.loads(position.last_slice)["i"]

    def make(self, room: int) -> tuple[list[ex.MadeItem], bool]:
        items: list[ex.MadeItem] = []
        while len(items) < room:
            open_ = [s for s, total in enumerate(self.totals) if self.places[s] < total]
            if not open_:
                return items, True
            for slicer in open_:
                self.places[slicer] += 1
                items.append((slicer, json.dumps({"s": slicer, "i": self.places[slicer]}), None, None))
        return items, False


class Controller(Child):
    """An execution controller and the slicer in it."""

    machine: ExecutionMachine

    def __init__(self, world: "World", node: Node, spec: ProcessSpec) -> None:
        super().__init__(world, node, spec)
        self.address = f"tcp://{node.host}:{1 + len(world.addresses)}"
        self.machine = ExecutionMachine(
            ex_id=spec.ex_id,
            generation=spec.generation,
            address=self.address,
            wall_offset_s=1_000_000.0,
            limits=world.limits,
        )
        self.plan_ = world.plans[spec.ex_id]
        self.slicer = SlicerModel(
            totals=self.plan_.totals,
            is_once=self.plan_.is_once,
            places=[0] * len(self.plan_.totals),
        )
        world.addresses[self.address] = self

    def begin(self) -> None:
        self.feed(ex.Tick())

    def take(self, event: Any) -> None:
        effects = self.machine.handle(event, now=self.now)
        for peer, message in effects.sends:
            if peer == "":
                self.world.dialer_send(self, self.world.master, message)
            else:
                self.world.efficiency.note(self.spec.ex_id, message)
                if isinstance(message, Slices):
                    self.world.check_hand_out(self, message)
                if not self.world.listener_send(self, peer, message):
                    refused = ex.NotSent(peer=peer, message=message, unreachable=True)
                    self.after(0, lambda refused=refused: self.feed(refused))  # type: ignore[misc]
        for action in effects.actions:
            self._act(action)

    def heard(self, peer: str, message: Message) -> None:
        self.feed(ex.FromWorker(peer, message))  # type: ignore[arg-type]

    def heard_master(self, message: Message) -> None:
        self.feed(ex.FromMaster(message))  # type: ignore[arg-type]

    def _act(self, action: Any) -> None:
        rng = self.world.rng
        match action:
            case ex.BuildSlicer():
                info = ex.SlicerInfo(self.plan_.is_recoverable, len(self.plan_.totals), completes=True)
                self.after(rng.uniform(0.001, 0.01), lambda: self.feed(info))
            case ex.StartSlicer():
                self.slicer.resume(action.recovery)
                ready = ex.SlicerReady(len(self.plan_.totals), self.plan_.max_queue_length)
                self.after(rng.uniform(0.001, 0.01), lambda: self.feed(ready))
            case ex.CompleteOutput():
                self.world.note_output_complete(self.spec.ex_id)
                self.after(rng.uniform(0.001, 0.01), lambda: self.feed(ex.OutputCompleted()))
            case ex.MakeSlices():

                def make(room: int = action.room) -> None:
                    items, is_done = self.slicer.make(room)
                    self.feed(
                        ex.SlicesMade(
                            items,
                            finished=is_done and self.slicer.is_once,
                            idle=is_done and not self.slicer.is_once,
                            max_queue_length=self.plan_.max_queue_length,
                        )
                    )

                self.after(rng.uniform(0.0005, 0.005), make)
            case ex.Exit():
                self.exit(action.code)
            case _:
                pass


class Worker(Child):
    """A worker and its operation thread."""

    machine: WorkerMachine

    def __init__(self, world: "World", node: Node, spec: ProcessSpec) -> None:
        super().__init__(world, node, spec)
        self.running: int | None = None
        self._queue: deque[SliceItem] = deque()
        self.dies_after_results = False
        self.begun = 0
        self._is_ready = False
        self._turn = 0
        self._kept: list[SliceItem] = []
        self._execution: dict[str, Any] = {}
        self.machine = WorkerMachine(
            proc_id=spec.proc_id,
            ex_id=spec.ex_id,
            generation=spec.generation,
            number=spec.number,
            pid=1,
            limits=world.limits,
        )

    @property
    def is_idle(self) -> bool:
        """It could run a slice at once, and has none."""
        return self._is_ready and self.running is None and not self._queue

    @property
    def not_begun(self) -> int:
        """Slices that it holds and has not begun."""
        return len(self._queue)

    def begin(self) -> None:
        self.feed(ex.Tick())

    def take(self, event: Any) -> None:
        effects = self.machine.handle(event, now=self.now)
        for _, message in effects.sends:
            self.world.efficiency.note(self.spec.ex_id, message)
            self.world.dialer_send(self, self.world.addresses.get(self.spec.dial), message)
        for action in effects.actions:
            self._act(action)
        if self.dies_after_results and any(isinstance(message, Results) for _, message in effects.sends):
            self.die(signal=9)

    def heard_controller(self, message: Message) -> None:
        self.feed(ex.FromController(message))  # type: ignore[arg-type]

    def _act(self, action: Any) -> None:
        match action:
            case ex.BuildPipeline():
                self._execution = json.loads(action.execution)

                def ready() -> None:
                    self._is_ready = True
                    self.feed(ex.PipelineReady())
                    self._next()

                self.after(self.world.rng.uniform(0.001, 0.02), ready)
            case ex.Run():
                self._queue.extend(action.items)
                self._next()
            case ex.TakeBack():
                count = len(self._queue) if action.count < 0 else min(action.count, len(self._queue))
                taken = [self._queue.pop()[0] for _ in range(count)]
                self.after(0, lambda: self.feed(ex.TookBack(taken)))
            case ex.Drop():
                self._queue = deque(item for item in self._queue if item[0] not in set(action.ns))
            case ex.Flush():
                self.after(0.001, self._flush)
            case ex.CutShort():
                self.after(0.001, self._put_down)
            case ex.Exit():
                self.exit(action.code)
            case _:
                pass

    def _next(self) -> None:
        if self.running is not None or not self._queue or not self._is_ready:
            return
        item = self._queue.popleft()
        n, _, _, request, _, _ = item
        self.running = n
        self.begun += 1
        plan = self.world.plans[self.spec.ex_id]
        key = tuple(json.loads(request).values())
        self.world.runs[plan.lineage, key] += 1
        if key in plan.poison:
            self.after(0.001, lambda: self.die(signal=11))
            return
        slice_s = plan.slice_s if key[1] < plan.slow_from else plan.slow_s
        took = slice_s * self.world.rng.uniform(0.5, 2.0)

        self._turn += 1
        turn = self._turn

        def end() -> None:
            if turn != self._turn:
                return  # it was put down
            self.running = None
            us = int(took * 1e6)
            if key in plan.failing:
                full = (n, int(SliceState.ERROR), plan.max_retries, "boom", None, None)
                self.feed(ex.SlicesRan([], [full], us))
            elif len(self._kept) < plan.keeps:
                self._kept.append(item)
                self.feed(ex.SlicesRan([], [], us, kept=[n]))
            else:
                self._kept.append(item)
                self._release(us)
            if self.is_alive:
                self._next()

        self.after(took, end)

    def _put_down(self) -> None:
        """Operations that wait can be cut short; others run on to their end."""
        self._queue.clear()
        if self.running is not None and self.world.rng.random() < 0.7:
            n, self.running = self.running, None
            self._turn += 1
            self.feed(ex.SlicesRan([], [], 0, returned=[n]))

    def _release(self, busy_us: int = 0) -> None:
        """What operations hold back leaves."""
        items, self._kept = self._kept, []
        for item in items:
            self._write(item)
        self.feed(ex.SlicesRan([item[0] for item in items], [], busy_us))

    def _flush(self) -> None:
        if self._kept:
            self._release()
        self.feed(ex.Flushed())

    def _write(self, item: SliceItem) -> None:
        """The sink: what a slice wrote replaces what the same slice wrote before."""
        _, slicer_id, order, request, ex_id, slice_id = item
        own = slice_id or ids.slice_id(ex_id or self.spec.ex_id, slicer_id, order)
        sink = self.world.sinks[self.world.plans[self.spec.ex_id].lineage]
        old = sink.get(own)
        if old is not None and old != request:
            raise BrokenPromise(f"slice {own} wrote {old} first and {request} now")
        sink[own] = request

"""A master of one execution, small enough to read: it keeps records in memory and runs real processes.

It speaks the messages of the mesh and starts controllers and workers through a real fork server. It
decides nothing clever: it keeps the wanted number of workers, and replaces a controller that ended too early.
"""

import json
import signal
from contextlib import asynccontextmanager

import attrs
import trio

from tsd.core.execution.lifecycle import LifecycleEvent, next_status
from tsd.core.kinds import KINDS
from tsd.core.messages import (
    Again,
    ControllerBeat,
    ControllerHello,
    ControllerWelcome,
    LeaseGranted,
    ProcessExit,
    ProcessSpec,
    RecordBatch,
    RecordsSaved,
    RecoveryAsk,
    RecoveryPage,
    StatusIs,
    StatusReport,
    Wanted,
)
from tsd.core.records import TERMINAL_STATUSES, ProcessRole, SlicerPosition, SliceState, Status
from tsd.mesh.codec import Codec
from tsd.mesh.socket import listen_tcp
from tsd.node.daemon import ENTRIES, PRELOAD
from tsd.node.fork_messages import Exited, Setup, Started
from tsd.node.processes import NodeProcesses
from tsd.settings import load_settings

BEAT_S = 0.2


@attrs.define
class Kept:
    """The stored state of one slice."""

    state: SliceState
    created_ms: int
    request: str
    retry_count: int
    error: str | None
    slice_id: str | None
    analytics: bytes | None


class MiniMaster:
    """Runs one execution of `operations`; use `running_master`."""

    def __init__(self, listener, processes, operations, *, workers, **job):
        self.execution = {
            "ex_id": "ex",
            "job_id": "job",
            "name": "test",
            "lifecycle": "once",
            "analytics": False,
            "max_retries": 3,
            "slicers": 1,
            "workers": workers,
            "apis": [],
            "operations": operations,
            **job,
        }
        self.status = Status.SCHEDULING
        self.statuses = [self.status]
        self.reason = ""
        self.stats = None
        self.records: dict[tuple[int, int], Kept] = {}
        self.exits: list[Exited] = []
        self.running: dict[str, int] = {}
        self.controller_address = None
        self.letters = []
        self.beats: list[ControllerBeat] = []
        self.metadata = ""
        self.workers_paused = False
        self._listener = listener
        self._processes = processes
        self._generation = 0
        self._worker_starts = 0
        self._wanted = Wanted(revision=1, workers=workers)
        self._controller = ""
        self._specs: dict[str, ProcessSpec] = {}
        self._changed = trio.Event()

    # --- what tests ask and tell

    async def wait(self, condition, what, within_s=30.0):
        """Wait until the condition holds; it is looked at after each message and event."""
        with trio.move_on_after(within_s):
            while not condition(self):
                await self._changed.wait()
            return
        raise AssertionError(f"not within {within_s:g} s: {what}; {self.status} {self.reason}")

    async def wait_end(self, within_s=30.0):
        await self.wait(lambda m: m.status in TERMINAL_STATUSES, "a terminal status", within_s)
        return self.status

    async def wait_gone(self, within_s=30.0):
        await self.wait(lambda m: not m.running, "all processes ended", within_s)

    def states(self):
        counts = dict.fromkeys(SliceState, 0)
        for kept in self.records.values():
            counts[kept.state] += 1
        return counts

    def pid_of(self, role):
        return next(pid for name, pid in self.running.items() if self._specs[name].role is role)

    def want(self, **changes):
        self._wanted = attrs.evolve(self._wanted, revision=self._wanted.revision + 1, **changes)
        self._listener.send(self._controller, self._wanted)

    def signal(self, role, number):
        for proc_id in list(self.running):
            if self._specs[proc_id].role is role:
                self._processes.signal(proc_id, number)

    def stop(self, how="drain", within_s=10.0):
        self._apply(LifecycleEvent.STOP_REQUESTED)
        self.want(stop=how, stop_within_s=within_s)

    # --- what it does

    def start(self):
        self._start_controller()

    def _start_controller(self):
        self._generation += 1
        self._controller = f"ex/{self._generation}/c"
        self.controller_address = None
        self._spawn(self._controller, ProcessRole.CONTROLLER, 0, self._listener.address)

    def _start_worker(self, number):
        self._worker_starts += 1
        name = f"ex/{self._generation}/w{number}.{self._worker_starts}"
        self._spawn(name, ProcessRole.WORKER, number, self.controller_address)

    def _spawn(self, proc_id, role, number, dial):
        spec = ProcessSpec(
            proc_id=proc_id,
            role=role,
            ex_id="ex",
            job_id="job",
            generation=self._generation,
            number=number,
            dial=dial,
        )
        self._specs[proc_id] = spec
        self.running[proc_id] = 0
        self._processes.spawn(spec)

    async def hear_processes(self):
        async for event in self._processes.events:
            if isinstance(event, Started):
                self.running[event.proc_id] = event.pid
            elif isinstance(event, Exited):
                self._exited(event)
            self._note()

    def _exited(self, event):
        del self.running[event.proc_id]
        self.exits.append(event)
        spec = self._specs[event.proc_id]
        if spec.role is ProcessRole.CONTROLLER:
            is_done = event.exit_code == 0 or self.status in TERMINAL_STATUSES
            # When it is done some may have come too late to be told by it.
            self.signal(ProcessRole.WORKER, signal.SIGTERM if is_done else signal.SIGKILL)
            if not is_done:
                self._start_controller()
            return
        if self.status in TERMINAL_STATUSES:
            return
        end = ProcessExit(
            proc_id=event.proc_id,
            ex_id="ex",
            exit_code=event.exit_code,
            signal=event.signal,
            running=event.running,
            detail=event.detail,
        )
        self.want(exits=(*self._wanted.exits, end))
        if self.status is not Status.STOPPING and spec.generation == self._generation:
            self._start_worker(spec.number)

    async def hear_mesh(self):
        while True:
            for received in await self._listener.receive():
                if received.peer == self._controller:
                    self._hear(received.peer, received.message)
            self._note()

    def _hear(self, peer, message):
        match message:
            case ControllerHello():
                self._listener.send(peer, self._welcome())
                if self.controller_address is None:
                    self.controller_address = message.address
                    if self.status is Status.SCHEDULING:
                        self._apply(LifecycleEvent.CONTROLLER_READY)
                    for number in range(1, self._wanted.workers + 1):
                        self._start_worker(number)
            case _ if self.controller_address is None:
                self._listener.send(peer, Again())
            case ControllerBeat():
                self.beats.append(message)
                self.metadata = message.metadata or self.metadata
                self.stats = message.stats
                self._listener.send(peer, LeaseGranted(sent_at=message.sent_at))
                left = tuple(e for e in self._wanted.exits if e.proc_id not in message.exits_seen)
                self._wanted = attrs.evolve(self._wanted, exits=left)
                if message.revision < self._wanted.revision:
                    self._listener.send(peer, self._wanted)
            case RecordBatch():
                for row in message.rows:
                    self._store(row)
                self.letters += [data for _, data in message.letters]
                self._listener.send(peer, RecordsSaved(seq=message.seq))
            case RecoveryAsk():
                self._listener.send(peer, self._page(message))
            case StatusReport():
                self.metadata = message.metadata or self.metadata
                self.reason = message.reason or self.reason
                self.stats = message.stats
                if self.status not in TERMINAL_STATUSES:
                    self._apply(LifecycleEvent(message.event))
                self._listener.send(peer, StatusIs(seq=message.seq, status=self.status))

    def _welcome(self):
        return ControllerWelcome(
            lease_s=5.0,
            beat_interval_s=BEAT_S,
            execution=json.dumps(self.execution),
            resume=self._generation > 1,
            sources=("ex",),
            mode="",
            wanted=self._wanted,
        )

    def _store(self, row):
        source, slicer_id, order, state, created, _, request, retries, error, slice_id, analytics = row
        assert source == 0
        self.records[(slicer_id, order)] = Kept(
            SliceState(state), created, request, retries, error, slice_id, analytics
        )

    def _page(self, ask):
        unfinished = [
            (
                0,
                slicer_id,
                order,
                int(kept.state),
                kept.created_ms,
                kept.request,
                kept.retry_count,
                kept.slice_id,
            )
            for (slicer_id, order), kept in sorted(self.records.items())
            if kept.state in (SliceState.PENDING, SliceState.START)
            and (ask.after is None or (0, slicer_id, order) > tuple(ask.after))
        ]
        counts = self.states()
        last = max(self.records, default=None)
        return RecoveryPage(
            ask_id=ask.ask_id,
            slices=tuple(unfinished[: ask.limit]),
            is_last=len(unfinished) <= ask.limit,
            positions=()
            if last is None
            else (SlicerPosition(slicer_id=0, slicer_order=last[1], last_slice=self.records[last].request),),
            counts=tuple(counts[state] for state in SliceState),
        )

    def _apply(self, event):
        self.status = next_status(self.status, event)
        if self.status is not self.statuses[-1]:
            self.statuses.append(self.status)

    def _note(self):
        self._changed.set()
        self._changed = trio.Event()


def settings_for(tmp_path, **overrides):
    file = tmp_path / "tsd.yaml"
    file.write_text("{}")
    return load_settings(
        file,
        {
            "tsd.data_dir": str(tmp_path),
            "tsd.operation_modules": ["tests.support.ops"],
            "tsd.heartbeat_interval": "200 ms",
            "terafoundation.log_level": "warn",
            **overrides,
        },
    )


@asynccontextmanager
async def running_master(tmp_path, operations, *, workers=1, settings=None, **job):
    """A master that has just started the controller of a job."""
    settings = settings or settings_for(tmp_path)
    setup = Setup(
        settings=settings,
        entries=ENTRIES,
        preload=(*PRELOAD, "tests.support.ops"),
        node_id="test",
    )
    processes = NodeProcesses(setup)
    async with listen_tcp("tcp://127.0.0.1:0", codec=Codec(KINDS)) as listener:
        master = MiniMaster(listener, processes, operations, workers=workers, **job)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(processes.run)
            nursery.start_soon(master.hear_processes)
            nursery.start_soon(master.hear_mesh)
            master.start()
            yield master
            nursery.cancel_scope.cancel()

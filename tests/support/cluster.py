"""A cluster made of the real machines and a virtual network, for tests of the cluster core."""

import json

import attrs

from tsd.core.cluster.events import (
    Effects,
    ExecutionAdded,
    FromController,
    FromNode,
    NotSent,
    RecordsStored,
    SaveDrain,
    SaveGeneration,
    SaveIntent,
    SaveMetadata,
    SaveStatus,
    Shutdown,
    StatusChanged,
    Tick,
)
from tsd.core.cluster.executions import FINDING_PORT, NO_PORT_EXIT
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.node import (
    Exit,
    Exited,
    FromMaster,
    NodeMachine,
    NodeSettings,
    Signal,
    Start,
    Started,
    StartFailed,
)
from tsd.core.cluster.node import Tick as NodeTick
from tsd.core.cluster.records import ClusterSettings, ExecutionRecord, Intent
from tsd.core.counts import ControllerCounts
from tsd.core.messages import (
    PROTOCOL,
    Again,
    ControllerBeat,
    ControllerHello,
    ControllerWelcome,
    LeaseGranted,
    NodeWanted,
    ProcessExit,
    ProcessSpec,
    Refused,
    StatusIs,
    StatusReport,
    Wanted,
)
from tsd.core.records import TERMINAL_STATUSES, EndedSlices, ExecutionStats, ProcessRole, Status

SETTINGS = ClusterSettings(version="test")
START = 1_700_000_000.0


class Store:
    """What was saved, and whether each save was allowed."""

    def __init__(self):
        self.records: dict[str, ExecutionRecord] = {}
        self.history: dict[str, list[Status]] = {}
        self.saves = []
        self.drains = {}

    def add(self, record):
        self.records[record.ex_id] = record
        self.history[record.ex_id] = [record.status]

    def save(self, save):
        self.saves.append(save)
        if isinstance(save, SaveDrain):
            self.drains.pop(save.node_id, None)
            if save.drain is not None:
                self.drains[save.node_id] = save.drain
            return
        record = self.records[save.ex_id]
        match save:
            case SaveStatus():
                assert record.status is save.expected, (record.status, save)
                assert record.status not in TERMINAL_STATUSES
                if save.status is not record.status:
                    self.history[save.ex_id].append(save.status)
                fields = {
                    key: value
                    for key in ("has_errors", "failure_reason", "stats", "started")
                    if (value := getattr(save, key)) is not None
                }
                record = attrs.evolve(record, status=save.status, **fields)
            case SaveGeneration():
                assert save.generation >= record.generation
                record = attrs.evolve(
                    record, generation=save.generation, controller_node=save.controller_node
                )
            case SaveIntent():
                record = attrs.evolve(record, intent=save.intent)
            case SaveMetadata():
                document = json.loads(record.document) | {"metadata": json.loads(save.metadata)}
                record = attrs.evolve(record, document=json.dumps(document))
        self.records[save.ex_id] = record

    def unended(self):
        return [each for each in self.records.values() if each.status not in TERMINAL_STATUSES]


@attrs.define
class Controller:
    """A toy controller: says hello, beats, reports what the test tells it, obeys stop and pause."""

    spec: ProcessSpec
    welcomed: bool = False
    refused: bool = False
    sliced: bool = False
    seq: int = 0
    reports: list = attrs.field(factory=list)
    revision: int = 0
    wanted: Wanted | None = None
    welcome: ControllerWelcome | None = None
    lost: tuple = ()
    exits: dict = attrs.field(factory=dict)
    leases: list = attrs.field(factory=list)
    paused: bool = False
    stopped: bool = False
    answered: dict = attrs.field(factory=dict)
    said: set = attrs.field(factory=set)
    final_seq: int = 0
    stats: ExecutionStats = attrs.field(factory=ExecutionStats)
    counts: ControllerCounts = attrs.field(factory=ControllerCounts)
    is_silent: bool = False
    connected: tuple = ()
    never_reached_by: tuple = ()
    """Hosts whose workers can not reach it."""
    lazy: bool = False
    is_replaceable: bool = True

    def report(self, event, reason=""):
        self.seq += 1
        self.reports.append((self.seq, str(event), reason, self.stats))
        if event in {"completed", "failed", "terminated", "stopped"}:
            self.final_seq = self.seq

    def messages(self, now):
        """What it says at a beat."""
        spec = self.spec
        if not self.welcomed:
            yield ControllerHello(
                protocol=PROTOCOL,
                ex_id=spec.ex_id,
                generation=spec.generation,
                address="tcp://10.0.0.1:45680",
                counts=self.counts,
            )
            return
        for seq, event, reason, stats in self.reports:
            yield StatusReport(
                ex_id=spec.ex_id,
                generation=spec.generation,
                seq=seq,
                event=event,
                reason=reason,
                stats=stats,
                counts=self.counts,
            )
        yield ControllerBeat(
            ex_id=spec.ex_id,
            generation=spec.generation,
            sent_at=now,
            revision=self.revision,
            workers=self.connected,
            lost_workers=self.lost,
            exits_seen=tuple(self.exits),
            stats=self.stats,
            counts=self.counts,
            replaceable=self.is_replaceable,
        )

    def take(self, message, now):
        match message:
            case Again():
                self.welcomed = False
            case Refused():
                self.refused = True
            case ControllerWelcome():
                self.welcomed = True
                self.welcome = message
                self.leases.append(now + message.lease_s)
                self.obey(message.wanted)
                if not self.sliced and not self.lazy:
                    self.sliced = True
                    self.report("slicing_started")
            case Wanted():
                self.obey(message)
            case StatusIs():
                self.answered[message.seq] = message.status
                self.reports = [each for each in self.reports if each[0] != message.seq]
            case LeaseGranted():
                self.leases.append(message.sent_at + self.welcome.lease_s)

    def obey(self, wanted):
        if wanted.revision <= self.revision and self.wanted is not None:
            return
        self.revision = wanted.revision
        self.wanted = wanted
        self.exits |= {each.proc_id: each for each in wanted.exits}
        if self.lazy:
            return
        if wanted.paused != self.paused:
            self.paused = wanted.paused
            self.report("paused" if wanted.paused else "resumed")
        if wanted.stop and not self.stopped:
            self.stopped = True
            self.report("stopped")

    @property
    def is_done(self):
        """It was refused, or its last word was answered."""
        return self.refused or self.final_seq in self.answered


class Host:
    """One host: a node machine and what it runs."""

    def __init__(self, cluster, node_id, slots, incarnation):
        self.cluster = cluster
        self.peer = f"{node_id}~{incarnation}"
        self.machine = NodeMachine(
            settings=NodeSettings(
                node_id=node_id,
                hostname=f"host-{node_id}",
                pid=1000 + incarnation,
                slots=slots,
                shutdown_timeout_s=cluster.settings.shutdown_timeout_s,
            )
        )
        self.node_id = node_id
        self.slots = slots
        self.running: dict[str, ProcessSpec] = {}
        self.started: list[str] = []
        self.controllers: dict[str, Controller] = {}
        self.is_cut = False
        self.is_daemon_cut = False
        self.is_frozen = False
        self.exit: Exit | None = None
        self.refuses_to_start = False
        self.ignores_term = False
        self.dies_at_once = False
        self.has_no_port = False
        self.dies_slowly = False
        self.signals: list[Signal] = []

    def feed(self, event):
        if self.exit is not None:
            return
        effects = self.machine.handle(event, now=self.cluster.now)
        for message in effects.sends:
            if not (self.is_cut or self.is_daemon_cut):
                self.cluster.queue.append(("node", self.peer, message))
        for action in effects.actions:
            match action:
                case Start():
                    self.start(action.spec)
                case Signal():
                    self.signals.append(action)
                    if action.proc_id in self.running and not (self.ignores_term and action.signal == "term"):
                        if action.signal == "kill" and self.dies_slowly:
                            self.cluster.dying.append((self.cluster.now + 0.6, self, action.proc_id))
                        elif action.signal == "kill":
                            self.end(action.proc_id, signal=9)
                        else:
                            self.end(action.proc_id, exit_code=0)
                case Exit():
                    self.exit = action
                    self.cluster.lose(self, kill=True)
                    return

    def start(self, spec):
        assert spec.proc_id not in self.started, "a process was started twice"
        self.started.append(spec.proc_id)
        if self.refuses_to_start:
            self.cluster.later.append((self, StartFailed(proc_id=spec.proc_id, reason="no such file")))
            return
        self.running[spec.proc_id] = spec
        self.cluster.check_slots()
        if spec.role is ProcessRole.CONTROLLER:
            self.controllers[spec.proc_id] = Controller(spec, lazy=self.cluster.lazy)
        self.cluster.later.append((self, Started(proc_id=spec.proc_id, pid=len(self.started) + 100)))
        if self.dies_at_once:
            self.end(spec.proc_id, exit_code=1, detail="ImportError: no module named nonsense")
        elif self.has_no_port and spec.role is ProcessRole.CONTROLLER:
            self.end(
                spec.proc_id, exit_code=NO_PORT_EXIT, detail="all 2 ports are in use", doing=FINDING_PORT
            )

    def end(self, proc_id, *, exit_code=None, signal=None, detail="", running=None, doing=""):
        """A process ends."""
        spec = self.running.pop(proc_id)
        self.controllers.pop(proc_id, None)
        ended = ProcessExit(
            proc_id=proc_id,
            ex_id=spec.ex_id,
            exit_code=exit_code,
            signal=signal,
            detail=detail,
            running=running,
            doing=doing,
        )
        self.cluster.later.append((self, Exited(exit=ended)))


class Cluster:
    """Master, hosts and toy controllers on one virtual clock."""

    def __init__(self, settings=SETTINGS, **nodes):
        self.settings = settings
        self.now = START
        self.store = Store()
        self.hosts: dict[str, Host] = {}
        self.gone: list[Host] = []
        self.queue = []
        self.later = []
        self.changes = []
        self.log = []
        self.lazy = False
        self.keeps = lambda _peer, _message: True
        self.cut = set()
        self.dying = []
        self.incarnation = 0
        self.created = 0
        self.ended = {}
        self.master: ClusterMachine | None = None
        self.start_master()
        for node_id, slots in nodes.items():
            self.join(node_id, slots)
        self.settle()

    # --- the parts ---

    def start_master(self):
        self.master = ClusterMachine.restore(
            self.store.unended(), self.store.drains.values(), settings=self.settings, now=self.now
        )

    def crash_master(self):
        self.master = None
        self.queue.clear()

    def join(self, node_id, slots):
        self.incarnation += 1
        host = Host(self, node_id, slots, self.incarnation)
        self.hosts[host.peer] = host
        host.feed(NodeTick())
        return host

    def host(self, node_id):
        """The newest host with that id."""
        return [each for each in self.hosts.values() if each.node_id == node_id][-1]

    def lose(self, host, *, kill=True):
        """A host disappears with all it runs."""
        del self.hosts[host.peer]
        self.gone.append(host)
        if kill:
            host.running.clear()
            host.controllers.clear()
        if host.exit is None:
            host.exit = Exit(code=-9)
        self.later = [(each, event) for each, event in self.later if each is not host]

    def post(self, ex_id, workers=1, **fields):
        self.created += 1
        if "ended" in fields:
            self.ended[ex_id] = fields["ended"]
        record = ExecutionRecord(
            ex_id=ex_id,
            job_id=f"job-{ex_id}",
            name=ex_id,
            created=self.created,
            intent=Intent(workers=workers),
            sources=fields.pop("sources", (ex_id,)),
            **fields,
        )
        self.store.add(record)
        self.feed(ExecutionAdded(record=record))
        self.settle()

    # --- looking ---

    def status(self, ex_id):
        return self.store.records[ex_id].status

    def record(self, ex_id):
        return self.store.records[ex_id]

    def history(self, ex_id):
        return self.store.history[ex_id]

    def running(self, ex_id=None, role=None):
        """(node id, process id) of what really runs."""
        return sorted(
            (host.node_id, spec.proc_id)
            for host in self.hosts.values()
            for spec in host.running.values()
            if ex_id in (None, spec.ex_id) and role in (None, spec.role)
        )

    def workers(self, ex_id):
        return [proc_id for _, proc_id in self.running(ex_id, ProcessRole.WORKER)]

    def spread(self, ex_id):
        """Workers of an execution by node."""
        nodes = [node_id for node_id, _ in self.running(ex_id, ProcessRole.WORKER)]
        return {node_id: nodes.count(node_id) for node_id in sorted(set(nodes))}

    def controller(self, ex_id):
        found = [
            controller
            for host in self.hosts.values()
            for controller in host.controllers.values()
            if controller.spec.ex_id == ex_id
        ]
        return max(found, key=lambda each: each.spec.generation) if found else None

    def controller_ids(self):
        """Executions that have a running controller."""
        return [
            controller.spec.ex_id for host in self.hosts.values() for controller in host.controllers.values()
        ]

    def cut_controller(self, proc_id):
        """Nothing reaches this controller any more, nor comes from it; its node is well."""
        self.cut.add(proc_id)

    def controller_host(self, ex_id):
        proc_id = self.controller(ex_id).spec.proc_id
        return next(host for host in self.hosts.values() if proc_id in host.controllers)

    def end(self, proc_id, **how):
        """A process ends by itself."""
        host = next(host for host in self.hosts.values() if proc_id in host.running)
        host.end(proc_id, **(how or {"signal": 9}))
        self.settle()

    def check_slots(self):
        for host in self.hosts.values():
            assert len(host.running) <= host.slots, "slots are oversubscribed"

    # --- moving ---

    def feed(self, event) -> Effects | None:
        if self.master is None:
            return None
        effects = self.master.handle(event, now=self.now)
        generations = {}
        for save in effects.saves:
            self.store.save(save)
        for send in effects.sends:
            if isinstance(send.message, NodeWanted):
                for spec in send.message.processes:
                    generations.setdefault(spec.ex_id, spec.generation)
                    saved = self.store.records[spec.ex_id].generation
                    assert spec.generation <= saved, "a generation was sent before it was saved"
            self.deliver(send.peer, send.message)
        for action in effects.actions:
            if isinstance(action, StatusChanged):
                self.changes.append((action.ex_id, action.status))
            else:
                self.log.append(action)
        return effects

    def deliver(self, peer, message):
        host = self.hosts.get(peer)
        if host is None:
            host = next((each for each in self.hosts.values() if peer in each.controllers), None)
        is_cut = peer in self.cut or (host is not None and host.is_daemon_cut and peer == host.peer)
        if host is None or host.is_cut or host.exit is not None or is_cut:
            self.later.append((None, NotSent(peer=peer, message=message, unreachable=True)))
        elif self.keeps(peer, message):
            self.queue.append(("to", peer, message))

    def settle(self):
        """Deliver everything that is under way."""
        for _ in range(100_000):
            if self.later:
                host, event = self.later.pop(0)
                if host is None:
                    self.feed(event)
                else:
                    host.feed(event)
            elif self.queue:
                self._deliver_one()
            else:
                return
        raise AssertionError("the cluster never comes to rest")

    def _deliver_one(self):
        kind, peer, message = self.queue.pop(0)
        if kind == "node":
            if self.keeps(peer, message):
                self.feed(FromNode(peer=peer, message=message))
        elif kind == "controller":
            if self.keeps(peer, message):
                self.feed(FromController(peer=peer, message=message))
        elif peer in self.hosts:
            if not self.hosts[peer].is_frozen:
                self.hosts[peer].feed(FromMaster(message=message))
        else:
            for host in self.hosts.values():
                controller = host.controllers.get(peer)
                if controller is not None and not controller.is_silent:
                    controller.take(message, self.now)
                    self._say(host, peer, controller, quick=True)

    def _say(self, host, peer, controller, *, quick=False):
        """A controller says what it has to; when `quick` only what can not wait for the beat."""
        if controller.is_done:
            if peer in host.running:
                host.end(peer, exit_code=0)
            return
        if host.is_cut or controller.is_silent or peer in self.cut:
            return
        controller.connected = tuple(
            proc_id
            for each in self.hosts.values()
            for proc_id, spec in each.running.items()
            if each.node_id not in controller.never_reached_by
            and (spec.ex_id, spec.generation) == (controller.spec.ex_id, controller.spec.generation)
            and spec.number
        )
        for message in controller.messages(self.now):
            if isinstance(message, StatusReport):
                if quick and message.seq in controller.said:
                    continue
                controller.said.add(message.seq)
            elif quick:
                continue
            self.queue.append(("controller", peer, message))

    def tick(self):
        """One beat of everything."""
        dying, self.dying = self.dying, []
        for at, host, proc_id in dying:
            if self.now < at:
                self.dying.append((at, host, proc_id))
            elif proc_id in host.running:
                host.end(proc_id, signal=9)
        for host in list(self.hosts.values()):
            if not host.is_frozen and self.now >= host.machine.wake_at():
                host.feed(NodeTick())
            for peer, controller in list(host.controllers.items()):
                self._say(host, peer, controller)
        wake_at = self.master.wake_at() if self.master is not None else None
        if wake_at is not None and self.now >= wake_at:
            self.feed(Tick())
        self.settle()
        self.check_slots()

    def run(self, seconds=1.0, step=0.25):
        """Let time pass."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += step
            self.tick()

    def run_until(self, condition, seconds=60.0):
        """Let time pass until something is so; fails when it never is."""
        end = self.now + seconds
        while not condition():
            assert self.now < end, "this never came true"
            self.now += 0.25
            self.tick()

    def start(self, ex_id, workers=1, **fields):
        """Post an execution and wait until it runs with all its workers."""
        self.post(ex_id, workers, **fields)
        self.run_until(lambda: self.status(ex_id) is Status.RUNNING and len(self.workers(ex_id)) == workers)

    def finish(self, ex_id):
        """Let a running execution complete, and wait until all it ran is gone."""
        self.run_until(lambda: self.controller(ex_id).sliced)
        self.controller(ex_id).report("completed")
        self.run_until(lambda: not self.running(ex_id))

    def stored(self, ex_id, completed=0, failed=0, *, newly_failed=None):
        """Slice records of the execution were stored: so many slices have ended by them now."""
        before, ended = self.ended.get(ex_id), EndedSlices(completed=completed, failed=failed)
        self.ended[ex_id] = ended
        news = failed if newly_failed is None else newly_failed
        self.feed(RecordsStored(ex_id=ex_id, before=before, ended=ended, newly_failed=news))

    def shut_down_master(self):
        self.feed(Shutdown())

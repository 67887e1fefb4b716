"""A whole simulated cluster, what happens to it, and what must hold."""

import json
from collections import Counter, deque
from random import Random
from typing import Any

import attrs

from tests.simulation.actors import Actor, Controller, Master, Node, Worker
from tests.simulation.efficiency import Efficiency
from tests.simulation.network import HEARTBEAT_TIMEOUT_S, Clock, Network, Weather
from tests.simulation.store import BrokenPromise, SimulatedStore
from tsd.core.cluster import events as cluster
from tsd.core.cluster import node as nodes
from tsd.core.cluster.node import NodeMachine, NodeSettings
from tsd.core.cluster.records import ClusterSettings, ExecutionRecord, Intent
from tsd.core.execution.terms import Limits
from tsd.core.hellos import LinkChanged
from tsd.core.messages import Message, Slices
from tsd.core.records import (
    ENDS_AFTER_REPLAY,
    TERMINAL_STATUSES,
    EndedSlices,
    RecoveryMode,
    SliceState,
    Status,
)
from tsd.errors import StateError

PATIENCE_S = 900.0
"""After the storm everything must have ended within so much virtual time."""
MENDED_AFTER_S = 60.0
"""After the storm links that were lost are noticed and leases run out for so long; then nobody idles any more."""
SPIN_STEPS = 50_000
"""So many events in a virtual second are no work any more."""
TRACE_LENGTH = 400
MISFORTUNES = ("worker", "worker", "controller", "node", "master", "freeze", "cut", "store", "ask", "ask")
HARSHER = ("shutdown", "pair", "blackout", "recover", "drain", "drain", "undrain")
GENTLE = ("drain", "drain", "undrain", "master", "ask")
"""What operators do on a good day: nothing may fail of it, and no slice may run twice."""
DRAINED_WITHIN_S = 120.0
"""In calm weather a drained node is empty after so long: slices take 2 s, a master that starts waits 15 s."""

LEGAL_FAILURES = (
    "No workers have connected to slicer in the allotted time",
    "have disconnected",
    "controller ended",
    "Failed to allocate execution_controller",
    "slice failure",
    "Slicer is not recoverable",
    "stuck in started",
    "Slice failed while recovering",
)


@attrs.define(kw_only=True)
class Plan:
    """What an execution is to do."""

    lineage: str
    totals: list[int]
    is_once: bool = True
    is_recoverable: bool = True
    max_queue_length: int = 20
    slice_s: float = 0.05
    slow_from: int = 1_000_000
    """From this slice of each slicer on they take `slow_s` instead."""
    slow_s: float = 0.0
    max_retries: int = 1
    poison: frozenset[tuple[int, int]] = frozenset()
    failing: frozenset[tuple[int, int]] = frozenset()
    workers: int = 2
    keeps: int = 0
    """Operations hold the records of completed slices back until there are so many."""

    @property
    def everything(self) -> set[tuple[int, int]]:
        return {(s, i) for s, total in enumerate(self.totals) for i in range(1, total + 1)}

    @property
    def hopeless(self) -> frozenset[tuple[int, int]]:
        return self.poison | self.failing


class World:
    """One seed's cluster."""

    terminal = TERMINAL_STATUSES
    refusals = StateError

    def __init__(self, seed: int, *, is_harsh: bool = True, is_gentle: bool = False) -> None:
        self.seed = seed
        self.days = ""
        self.is_harsh = is_harsh
        self.is_gentle = is_gentle
        self.rng = Random(seed)
        self.clock = Clock()
        rng = self.rng
        self.weather = Weather(
            drop=rng.choice([0, 0, 0.01, 0.05, 0.15]),
            double=rng.choice([0, 0, 0.02, 0.1]),
            reorder=rng.choice([0, 0, 0.02, 0.1]),
            jitter_s=rng.choice([0.001, 0.01, 0.1]),
        )
        self.network = Network(self.clock, rng, self.weather)
        self.efficiency = Efficiency(self)
        self.store = SimulatedStore()
        self.cluster_settings = ClusterSettings(
            shutdown_timeout_s=20, node_disconnect_timeout_s=rng.choice([5, 30])
        )
        self.limits = Limits(
            worker_disconnect_timeout_s=rng.choice([5, 30]),
            max_buffered_records=rng.choice([10, 50_000]),
            batch_rows=rng.choice([3, 5_000]),
            replay_page=rng.choice([2, 2_000]),
            credit_max=rng.choice([2, 256]),
        )
        self.plans: dict[str, Plan] = {}
        self.sinks: dict[str, dict[str, str]] = {}
        self.nodes: dict[str, Node] = {}
        self.processes: dict[str, Controller | Worker] = {}
        self.addresses: dict[str, Controller] = {}
        self.slots = {f"n{i}": rng.randint(2, 5) for i in range(rng.randint(1, 3))}
        self.begun: set[str] = set()
        self.handed_out: dict[str, set[tuple[int, int]]] = {}
        self.runs: Counter[tuple[str, Any]] = Counter()
        self.trace: deque[tuple[float, str, object]] = deque(maxlen=TRACE_LENGTH)
        self.complete_outputs: set[str] = set()
        self.welcomed: dict[str, tuple[int, float]] = {}
        self.started = 0
        # Of its own, so that clocks change nothing else in the history of a seed.
        self.clock_rng = Random(f"clocks of {seed}")
        self.skews = {host: self.clock_skew(-50.0, 1e6) for host in ("m", *self.slots)}
        if is_gentle:
            # A restarted master counts the starts of workers on from its clock, which is not near 0.
            self.skews = dict.fromkeys(self.skews, 1e6)
        self.master = Master(self, "m")
        for host in self.slots:
            self.start_node(host)

    # --- wiring ------------------------------------------------------------------------------

    def say(self, who: str, what: object) -> None:
        self.trace.append((self.clock.now, who, what))

    def clock_skew(self, *seconds: float) -> float:
        """How wrong a clock is set: one of these, and often not at all."""
        return self.clock_rng.choice([0.0, 0.0, *seconds]) if self.is_harsh else 0.0

    def skew_of(self, host: str) -> float:
        """How far ahead the clock of a host is."""
        return self.skews[host]

    def make_node_machine(self, host: str) -> NodeMachine:
        return NodeMachine(
            settings=NodeSettings(
                node_id=host, hostname=host, pid=1, slots=self.slots[host], shutdown_timeout_s=20.0
            )
        )

    def start_node(self, host: str) -> None:
        self.started += 1
        self.nodes[host] = Node(self, host, self.started)

    def dialer_send(self, sender: Actor, target: Actor | None, message: Message) -> None:
        """Dialer to listener: never refused, possibly lost."""
        if target is None:
            return
        host = target.host

        def deliver(copy: Message) -> None:
            # Whoever listens at the address when the message arrives: a restarted master is another actor.
            listener = self.master if isinstance(target, Master) else target
            if listener.is_alive:
                listener.heard(sender.name, copy)  # type: ignore[union-attr]

        self.network.carry(sender.host, host, message, deliver)

    def listener_send(self, sender: Actor, peer: str, message: Message) -> bool:
        """Listener to dialer: False when the link is down."""
        actor = self.find(peer)
        if actor is None or not actor.is_alive or self.network.is_down(sender.host, actor.host):
            return False
        if actor.frozen_since is not None and self.clock.now - actor.frozen_since > HEARTBEAT_TIMEOUT_S:
            return False

        def deliver(copy: Message) -> None:
            if isinstance(actor, Node):
                actor.heard(copy)
            elif isinstance(actor, Controller):
                actor.heard_master(copy)
            else:
                actor.heard_controller(copy)

        self.network.carry(sender.host, actor.host, message, deliver)
        return True

    def find(self, peer: str) -> Node | Controller | Worker | None:
        if "~" in peer:
            node = self.nodes.get(peer.split("~", maxsplit=1)[0])
            return node if node is not None and node.name == peer else None
        return self.processes.get(peer)

    def ended(self, child: "Controller | Worker") -> None:
        self.processes.pop(child.name, None)

    # --- executions --------------------------------------------------------------------------

    def add(self, ex_id: str, plan: Plan, *, recovers: str = "", mode: str = "") -> None:
        self.plans[ex_id] = plan
        self.sinks.setdefault(plan.lineage, {})
        sources = (ex_id, *(self.store.executions[recovers].sources if recovers else ()))
        document = {
            "ex_id": ex_id,
            "job_id": f"job-{plan.lineage}",
            "lifecycle": "once" if plan.is_once else "persistent",
            "max_retries": plan.max_retries,
            "slicers": len(plan.totals),
            "probation_window": 5000,
            "workers": plan.workers,
        }
        record = ExecutionRecord(
            ex_id=ex_id,
            job_id=document["job_id"],
            name=ex_id,
            created=len(self.store.executions),
            intent=Intent(workers=plan.workers),
            document=json.dumps(document),
            slicers=len(plan.totals),
            sources=sources,
            mode=mode,
            makes_none=bool(mode) and RecoveryMode(mode) in ENDS_AFTER_REPLAY,
            ended=EndedSlices(),
        )
        self.store.executions[ex_id] = record
        if self.master.is_alive:
            self.master.feed(cluster.ExecutionAdded(record=record))

    def status(self, ex_id: str) -> Status:
        return self.store.executions[ex_id].status

    # --- promises ----------------------------------------------------------------------------

    def check_hand_out(self, controller: Controller, message: Slices) -> None:
        """Nothing is handed out by a generation once a newer one could."""
        ex_id, generation = controller.spec.ex_id, controller.spec.generation
        newest, _ = self.welcomed.get(ex_id, (0, 0.0))
        if generation < newest:
            raise BrokenPromise(f"generation {generation} of {ex_id} hands out, {newest} was there")
        self.welcomed[ex_id] = (generation, self.clock.now)
        assert message.items
        handed_out = self.handed_out.setdefault(self.plans[ex_id].lineage, set())
        handed_out.update(tuple(json.loads(item[3]).values()) for item in message.items)

    def check_executions(self) -> None:
        for ex_id, record in self.store.executions.items():
            if record.status is Status.COMPLETED:
                states = self.store.states_of(ex_id)
                if any(state is not SliceState.COMPLETED for state in states):
                    raise BrokenPromise(f"{ex_id} is completed with {states}")
                if ex_id not in self.complete_outputs:
                    raise BrokenPromise(f"{ex_id} is completed, and its output is not")

    def note_output_complete(self, ex_id: str) -> None:
        """The output is completed only when every slice is recorded as completed."""
        states = self.store.states_of(ex_id)
        if any(state is not SliceState.COMPLETED for state in states):
            raise BrokenPromise(f"the output of {ex_id} is completed with {states}")
        self.complete_outputs.add(ex_id)

    def check_output(self, ex_id: str) -> None:
        """A completed execution wrote every slice exactly once."""
        plan = self.plans[ex_id]
        wrote = [tuple(json.loads(r).values()) for r in self.sinks[plan.lineage].values()]
        missing = plan.everything - set(wrote)
        record = self.store.executions[ex_id]
        if record.mode == RecoveryMode.AUTORECOVER:
            # It leaves alone what ended in error earlier.
            missing -= self.in_error(*record.sources[1:])
        if missing:
            raise BrokenPromise(f"{ex_id} completed without {sorted(missing)[:5]}")
        if len(record.sources) == 1 and len(wrote) != len(set(wrote)):
            raise BrokenPromise(f"{ex_id} wrote a slice under two ids")

    # --- the storm ---------------------------------------------------------------------------

    def run_until(self, when: float) -> None:
        began, steps = self.clock.now, 0
        while self.clock.now < when and self.clock.step():
            steps += 1
            if steps > SPIN_STEPS * (1.0 + self.clock.now - began):
                raise BrokenPromise("somebody spins: a machine wants to wake again and again")

    def storm(self, seconds: float, kinds: tuple[str, ...] = ()) -> None:
        kinds = kinds or (MISFORTUNES + HARSHER if self.is_harsh else MISFORTUNES)
        end = self.clock.now + seconds
        gap = self.rng.choice([1.0, 4.0, 10.0])
        while self.clock.now < end:
            self.run_until(min(end, self.clock.now + self.rng.expovariate(1 / gap)))
            self.misfortune(kinds)

    def misfortune(self, kinds: tuple[str, ...]) -> None:
        rng = self.rng
        kind = rng.choice(kinds)
        self.say("STORM", kind)
        hold = rng.choice([0.05, 1.0, 5.0, 20.0, 45.0])
        match kind:
            case "worker" | "controller":
                wanted = Worker if kind == "worker" else Controller
                living = [p for p in self.processes.values() if isinstance(p, wanted)]
                if living:
                    rng.choice(living).die(signal=9)
            case "node":
                self.crash_node(rng.choice(sorted(self.nodes)), hold)
            case "master":
                self.crash_master(hold)
            case "drain":
                within_s = rng.choice([None, None, 0.0, 5.0]) if self.is_harsh else None
                self.call(cluster.DrainNode(node_id=rng.choice(sorted(self.slots)), within_s=within_s))
            case "undrain":
                self.call(cluster.UndrainNode(node_id=rng.choice(sorted(self.slots))))
            case "shutdown":
                self.shut_down_node(rng.choice(sorted(self.nodes)), hold)
            case "pair":
                # Nobody is left who could tell the one about the other.
                controllers = [p for p in self.processes.values() if isinstance(p, Controller)]
                if controllers:
                    rng.choice(controllers).die(signal=9)
                self.crash_master(hold)
            case "blackout":
                self.crash_master(hold)
                for host in sorted(self.nodes):
                    self.crash_node(host, rng.choice([hold, 0.0, 1.0]))
            case "recover":
                self.recover_one()
            case "freeze":
                living_ = [*self.processes.values(), *self.nodes.values()]
                if living_:
                    victim = rng.choice(living_)
                    victim.freeze()
                    self.clock.after(hold, victim.thaw)
            case "cut":
                hosts = ["m", *sorted(self.slots)]
                a, b = rng.choice(hosts), rng.choice(hosts)
                if a != b:
                    self.network.cut(a, b)
                    self.clock.after(hold, lambda: self.heal(a, b))
            case "store":
                self.store.is_down = True
                self.clock.after(hold, self._relieve)
            case _:
                self.request()

    def _relieve(self) -> None:
        self.store.is_down = False

    def crash_node(self, host: str, back_after: float) -> None:
        node = self.nodes[host]
        if not node.is_alive:
            return
        node.die()

        def back() -> None:
            if not self.nodes[host].is_alive:
                self.start_node(host)

        self.clock.after(back_after, back)

    def call(self, event: Any) -> None:
        """Somebody asks the master, if there is one."""
        if self.master.is_alive:
            self.master.ask(event)

    def shut_down_node(self, host: str, back_after: float) -> None:
        """The daemon is told to end, perhaps twice, and is started again once it is gone."""
        node = self.nodes[host]
        if not node.is_alive:
            return
        node.feed(nodes.Terminate())
        if self.rng.random() < 0.3:
            node.after(self.rng.uniform(0, 2), lambda: node.feed(nodes.Terminate()))

        def back() -> None:
            if self.nodes[host] is not node:
                return
            if node.is_alive:
                self.clock.after(1.0, back)
            else:
                self.start_node(host)

        self.clock.after(back_after, back)

    def tips(self) -> list[str]:
        """The last execution of each job."""
        recovered = {source for r in self.store.executions.values() for source in r.sources[1:]}
        return [ex_id for ex_id in self.plans if ex_id not in recovered]

    def recover_one(self) -> None:
        """Somebody recovers what has failed or was stopped, in the middle of everything else."""
        ended = [
            ex_id
            for ex_id in self.tips()
            if self.status(ex_id) in TERMINAL_STATUSES
            and self.status(ex_id) is not Status.COMPLETED
            and self.plans[ex_id].is_recoverable
        ]
        if ended and not self.store.is_down:
            ex_id = self.rng.choice(ended)
            plan = attrs.evolve(self.plans[ex_id], workers=self.rng.randint(1, 3))
            self.add(f"{ex_id}r", plan, recovers=ex_id, mode=str(self.rng.choice(list(RecoveryMode))))

    def relink(self, *, is_up: bool, host: str = "m", other: str = "") -> None:
        """The transport tells dialers on `other`, or on all hosts, of their link to a listener on `host`."""
        for dialer in (*self.nodes.values(), *self.processes.values()):
            if isinstance(dialer, Worker):
                controller = self.addresses.get(dialer.spec.dial)
                target = controller.host if controller is not None else ""
            else:
                target = "m"
            if target == host and other in ("", dialer.host):
                dialer.feed(LinkChanged(is_up=is_up))

    def heal(self, a: str, b: str) -> None:
        self.network.heal(a, b)
        for host, other in ((a, b), (b, a)):
            self.relink(is_up=False, host=host, other=other)
            self.relink(is_up=True, host=host, other=other)

    def crash_master(self, back_after: float) -> None:
        if not self.master.is_alive:
            return
        self.master.is_alive = False
        self.relink(is_up=False)
        # It comes back on another host perhaps, or its clock was set; forward or back.
        self.skews["m"] += self.clock_skew(0.5, -0.5, 40.0, -40.0)

        def back() -> None:
            if not self.master.is_alive:
                self.master = Master(self, "m")
                self.relink(is_up=True)

        self.clock.after(back_after, back)

    def request(self) -> None:
        """Somebody calls the API."""
        if not self.master.is_alive:
            return
        rng = self.rng
        ex_id = rng.choice(sorted(self.plans))
        event: Any = rng.choice(
            [
                cluster.PauseRequested(ex_id=ex_id),
                cluster.ResumeRequested(ex_id=ex_id),
                cluster.ResumeRequested(ex_id=ex_id),
                cluster.WorkersRequested(ex_id=ex_id, action="add", count=1),
                cluster.WorkersRequested(ex_id=ex_id, action="total", count=rng.randint(1, 3)),
                cluster.WorkersRequested(ex_id=ex_id, action="remove", count=1),
                cluster.LogLevelRequested(ex_id=ex_id, level="debug"),
            ]
        )
        if rng.random() < 0.08 and (self.is_harsh or not self.is_gentle):
            event = cluster.StopRequested(ex_id=ex_id, force=rng.random() < 0.3)
        self.master.ask(event)

    def trouble(self) -> None:
        """A link becomes slow or quick again, or a worker dies, perhaps with results on their way."""
        rng = self.rng
        hosts = ["m", *sorted(self.slots)]
        workers = [process for process in self.processes.values() if isinstance(process, Worker)]
        match rng.choice(("link", "death", "late", "late")):
            case "link":
                self.network.slow_down(rng.choice(hosts), rng.choice(hosts), rng.choice([0.0, 0.3]))
            case "late" if workers:
                # Word of its end is quicker than what it sent before it.
                victim = rng.choice(workers)
                controller = self.addresses.get(victim.spec.dial)
                if controller is not None:
                    self.network.slow_down(victim.host, controller.host, 0.3)
                    victim.dies_after_results = True
            case _:
                self.misfortune(("worker",))

    def calm_links(self) -> None:
        """No link is slow any more."""
        for a in ("m", *self.slots):
            for b in ("m", *self.slots):
                self.network.slow_down(a, b, 0.0)

    def calm(self) -> None:
        """The storm is over: everything is up again and nothing is paused."""
        self.say("CALM", "")
        self.weather.drop = self.weather.double = self.weather.reorder = 0.0
        # What overtakes a welcome is dropped by it, and is missed two beats later only.
        self.weather.is_ordered = True
        self.store.is_down = False
        for a, b in self.network.heal_all():
            self.heal(a, b)
        if not self.master.is_alive:
            self.master = Master(self, "m")
            self.relink(is_up=True)
        for host, node in list(self.nodes.items()):
            node.thaw()
            if not node.is_alive:
                self.start_node(host)
        for process in list(self.processes.values()):
            process.thaw()

    def rest_drained(self) -> None:
        """In calm weather drained nodes become empty, and stay so; then they are used again."""
        self.run_until(self.clock.now + DRAINED_WITHIN_S)
        for _ in range(4):
            self.check_drained()
            self.run_until(self.clock.now + 20.0)
        for host in sorted(self.store.drains):
            self.master.ask(cluster.UndrainNode(node_id=host))

    def check_drained(self) -> None:
        """Nothing runs on drained nodes but controllers that can have no successor."""
        for host in self.store.drains:
            for name, child in self.nodes[host].children.items():
                stays = isinstance(child, Controller) and not self.plans[child.spec.ex_id].is_recoverable
                if not stays:
                    raise BrokenPromise(f"{name} runs on {host}, which is drained")

    def check_gentle(self) -> None:
        """Nothing was run twice, and nothing failed that was not bound to."""
        twice = [key for key, count in self.runs.items() if count > 1]
        if twice:
            raise BrokenPromise(f"run twice: {twice[:5]}")
        for ex_id, record in self.store.executions.items():
            if record.status is not Status.COMPLETED and self.plans[ex_id].is_once:
                raise BrokenPromise(f"{ex_id} is {record.status}: {record.failure_reason!r}")

    def settle(self) -> None:
        """Run until every execution has ended; resume what is paused, stop what is persistent."""
        end = self.clock.now + PATIENCE_S
        watch_from = self.clock.now + MENDED_AFTER_S
        asked: set[str] = set()
        while self.clock.now < end:
            if self.clock.now < watch_from:
                self.run_until(self.clock.now + 5.0)
            else:
                self.efficiency.watch(self.clock.now + 5.0)
            open_ = [e for e, r in self.store.executions.items() if r.status not in TERMINAL_STATUSES]
            if not open_:
                return
            for ex_id in open_:
                record = self.store.executions[ex_id]
                if record.intent.paused:
                    self.master.ask(cluster.ResumeRequested(ex_id=ex_id))
                # A slice whose worker the storm killed too often is in error like one that kills by itself.
                done = self.plans[ex_id].everything - self.in_error(*record.sources) <= self.written(ex_id)
                if not self.plans[ex_id].is_once and done and ex_id not in asked:
                    asked.add(ex_id)
                    self.master.ask(cluster.StopRequested(ex_id=ex_id))
        hanging = {e: str(self.status(e)) for e in self.plans if self.status(e) not in TERMINAL_STATUSES}
        raise BrokenPromise(f"still not ended {PATIENCE_S} s after the storm: {hanging}")

    def written(self, ex_id: str) -> set[tuple[int, int]]:
        sink = self.sinks[self.plans[ex_id].lineage]
        return {tuple(json.loads(r).values()) for r in sink.values()}  # type: ignore[misc]

    def in_error(self, *ex_ids: str) -> set[tuple[int, int]]:
        return {
            tuple(json.loads(s.request).values())  # type: ignore[misc]
            for (source, _, _), s in self.store.slices.items()
            if source in ex_ids and s.state is SliceState.ERROR
        }

    def judge(self) -> None:
        """After everything has ended: right statuses, right output, nobody left."""
        for ex_id, plan in list(self.plans.items()):
            record = self.store.executions[ex_id]
            match record.status:
                case Status.COMPLETED:
                    if record.mode in ("", RecoveryMode.NONE, RecoveryMode.AUTORECOVER):
                        self.check_output(ex_id)
                    if plan.hopeless and not record.mode:
                        raise BrokenPromise(f"{ex_id} completed in spite of {plan.hopeless}")
                case Status.FAILED:
                    if not any(text in record.failure_reason for text in LEGAL_FAILURES):
                        raise BrokenPromise(f"{ex_id} failed: {record.failure_reason!r}")
                case Status.STOPPED:
                    pass
                case other:
                    raise BrokenPromise(f"{ex_id} ended {other}: {record.failure_reason!r}")
        self.run_until(self.clock.now + 60.0)
        self.check_counters()
        if self.processes:
            raise BrokenPromise(f"left running: {sorted(self.processes)}")

    def check_counters(self) -> None:
        """The last counters of each execution are those of its records, and say when it began."""
        # Recovered ones have changed since: their slices were run again.
        for ex_id in self.tips():
            record, ended = self.store.executions[ex_id], self.store.ended(ex_id)
            if (record.stats.processed, record.stats.failed) != (ended.processed, ended.failed):
                raise BrokenPromise(f"{ex_id} says {record.stats}, its records say {ended}")
            if ended.processed and not (record.stats.started and record.stats.job_duration):
                raise BrokenPromise(f"{ex_id} has run, its counters do not say when: {record.stats}")

    def knows_its_slices(self, ex_id: str) -> bool:
        """Whether all that it and those it recovers have handed out is recorded, as the store decides it."""
        for source in self.store.executions[ex_id].sources:
            recorded = self.store.recorded[source]
            if recorded != 0:
                return recorded == 1
        return True

    def check_all_ran(self, ex_id: str) -> None:
        """A recovery of all that was not completed has left out nothing that was ever handed out."""
        plan, record = self.plans[ex_id], self.store.executions[ex_id]
        if record.status is not Status.COMPLETED:
            raise BrokenPromise(f"recovery {ex_id}: {record.status} {record.failure_reason!r}")
        left = self.handed_out.get(plan.lineage, set()) - self.written(ex_id)
        if left:
            raise BrokenPromise(f"{ex_id} recovered all, but not {sorted(left)[:5]}")

    def recover_rest(self) -> None:
        """What did not complete is recovered in calm weather; then nothing at all may be missing."""
        for ex_id in self.tips():
            record, plan = self.store.executions[ex_id], self.plans[ex_id]
            if record.status is Status.COMPLETED or not plan.is_recoverable:
                continue
            healed = attrs.evolve(plan, poison=frozenset(), failing=frozenset(), is_once=True)
            if self.knows_its_slices(ex_id):
                self.add(f"{ex_id}*", healed, recovers=ex_id, mode=str(RecoveryMode.ALL))
            else:
                self.add(f"{ex_id}+", healed, recovers=ex_id, mode=str(RecoveryMode.NONE))
        self.settle()
        for ex_id in [ex_id for ex_id in self.plans if ex_id.endswith("*")]:
            self.check_all_ran(ex_id)
            self.add(f"{ex_id}+", self.plans[ex_id], recovers=ex_id, mode=str(RecoveryMode.NONE))
        self.settle()
        for ex_id in list(self.plans):
            if ex_id.endswith("+"):
                record = self.store.executions[ex_id]
                if record.status is not Status.COMPLETED:
                    raise BrokenPromise(f"recovery {ex_id}: {record.status} {record.failure_reason!r}")
                self.check_output(ex_id)
        self.judge()


def make_plan(rng: Random, lineage: str) -> Plan:
    totals = [rng.randint(0, 40) for _ in range(rng.choice([1, 1, 2, 3]))]
    keys = [(s, i) for s, total in enumerate(totals) for i in range(1, total + 1)]

    def some(chance: float) -> frozenset[tuple[int, int]]:
        return frozenset(rng.sample(keys, 1)) if keys and rng.random() < chance else frozenset()

    is_once = rng.random() < 0.75
    return Plan(
        lineage=lineage,
        totals=totals,
        is_once=is_once,
        is_recoverable=rng.random() < 0.9,
        max_queue_length=rng.choice([1, 5, 100]),
        slice_s=rng.choice([0.001, 0.05, 1.0]),
        max_retries=rng.choice([0, 1, 2]),
        poison=some(0.15),
        failing=some(0.15),
        workers=rng.randint(1, 4),
        # Nothing makes a persistent execution that has nothing to do release what operations hold back.
        keeps=rng.choice([0, 0, 0, 2, 50]) if is_once else 0,
    )


def simulate(seed: int, *, is_harsh: bool = True) -> World:
    """Run one seed from start to verdict.

    Args:
        seed: Decides everything.
        is_harsh: With everything that can go wrong; without, the history of a seed is what it was when
            only `MISFORTUNES` were known.

    Raises:
        BrokenPromise: An invariant does not hold; the trace stands in the error.
    """
    world = World(seed, is_harsh=is_harsh)
    try:
        for number in range(world.rng.randint(1, 3)):
            world.add(f"e{number}", make_plan(world.rng, f"e{number}"))
        world.storm(world.rng.choice([5.0, 30.0, 90.0]))
        world.calm()
        if is_harsh:
            world.rest_drained()
        world.settle()
        world.judge()
        world.recover_rest()
    except Exception as error:
        raise _with_trace(world, error) from error
    return world


def simulate_good_days(seed: int) -> World:
    """Run one seed in which operators drain nodes, use them again, restart the master, and nothing else happens.

    Raises:
        BrokenPromise: As for `simulate`; also when a slice ran twice or an execution failed.
    """
    world = World(seed, is_harsh=False, is_gentle=True)
    # Without jitter a link keeps its order, as a real one does: what overtakes may make a slice run twice.
    world.weather.drop = world.weather.double = world.weather.reorder = world.weather.jitter_s = 0.0
    try:
        for number in range(world.rng.randint(1, 3)):
            plan = make_plan(world.rng, f"e{number}")
            harmless = attrs.evolve(plan, poison=frozenset(), failing=frozenset())
            world.add(f"e{number}", harmless)
        world.storm(world.rng.choice([30.0, 90.0, 300.0]), GENTLE)
        world.calm()
        world.rest_drained()
        world.settle()
        world.judge()
        world.check_gentle()
    except Exception as error:
        raise _with_trace(world, error) from error
    return world


def simulate_busy_days(seed: int) -> World:
    """Run one seed in which much is to be done: workers die, links are slow, and efficiency is watched throughout.

    The slices take a moment at first, so that workers are given many ahead, and long in the end.

    Raises:
        BrokenPromise: As for `simulate`; also when a worker idles while there is work for it.
    """
    world = World(seed, is_harsh=False, is_gentle=True)
    rng, weather = world.rng, world.weather
    weather.drop = weather.double = weather.reorder = 0.0
    weather.jitter_s = min(weather.jitter_s, 0.01)
    weather.is_ordered = True
    world.days = "BUSY_DAYS=1 "
    world.limits = attrs.evolve(world.limits, credit_max=256, max_buffered_records=50_000)
    try:
        for number in range(rng.randint(1, 2)):
            quick, slow = rng.randint(100, 600), rng.randint(20, 120)
            plan = Plan(
                lineage=f"e{number}",
                totals=[quick + slow],
                max_queue_length=rng.choice([20, 1000, 1000]),
                slice_s=0.001,
                slow_from=quick,
                slow_s=rng.choice([0.1, 0.3, 1.0]),
                max_retries=100,
                workers=rng.randint(2, 5),
            )
            world.add(f"e{number}", plan)
        for _ in range(rng.randint(10, 60)):
            world.efficiency.watch(world.clock.now + rng.expovariate(1.0))
            world.trouble()
        world.calm_links()
        world.settle()
        world.judge()
        world.efficiency.check_messages()
    except Exception as error:
        raise _with_trace(world, error) from error
    return world


def _with_trace(world: World, error: Exception) -> BrokenPromise:
    trace = "\n".join(f"{at:10.4f} {who}: {what}" for at, who, what in world.trace)
    how = world.days or ("GOOD_DAYS=1 " if world.is_gentle else "")
    return BrokenPromise(f"{trace}\n\nseed {world.seed}: {error!r} (replay: make sim {how}SEED={world.seed})")

"""A simulated cluster under attack: well-formed nonsense between all the messages that belong there.

The cluster is that of `tests.simulation`, so the four machines are in every state that work, crashes and a bad
network bring them into. Into that come messages of any kind, with any content, from any identity, to any of
the processes: most of them name executions, processes and slices that are there, some are frames with a
few bytes changed. All of them go through the codec that the real daemon has on that link.

Nonsense from somebody who takes the identity of a peer can make an execution fail or end early; that is not
judged here. What is:

* A machine never raises, and what it then sends can be encoded, and read by the other side.
* No machine wakes again and again (`World.run_until`).
* What it answers to one event is bounded, and so is what it remembers (`size_of`).
* A status that is final stays, and so does a slice that is stored as completed (`SimulatedStore`).
"""

import collections
import contextlib
from collections.abc import Mapping
from random import Random
from typing import Any

import attrs

from tests.fuzz.values import draw
from tests.simulation.actors import Actor, Controller, Master, Node, Worker
from tests.simulation.network import CODEC
from tests.simulation.store import BrokenPromise, SimulatedStore, StoredSlice
from tests.simulation.world import Plan, World, make_plan
from tsd.core.execution import events as ex
from tsd.core.fields import ORDER_MAX
from tsd.core.kinds import (
    CONTROLLER_TO_MASTER,
    CONTROLLER_TO_WORKER,
    FROM_MASTER,
    KINDS,
    MASTER_TO_CONTROLLER,
    MASTER_TO_NODE,
    NODE_TO_MASTER,
    TO_MASTER,
    WORKER_TO_CONTROLLER,
    misplaced,
)
from tsd.core.messages import (
    AssetAsk,
    FromWorker,
    Message,
    NodeBeat,
    NodeHello,
    RecordBatch,
    RecoveryAsk,
    RecoveryPage,
    ToController,
    ToLibrary,
    ToNode,
    ToWorker,
)
from tsd.core.records import TERMINAL_STATUSES, SliceState
from tsd.errors import RemoteWireError, StateError
from tsd.mesh.codec import Codec

LINKS: dict[str, tuple[type[Actor], Codec, Mapping[str, type]]] = {
    "master": (Master, Codec(TO_MASTER, FROM_MASTER), TO_MASTER),
    "node": (Node, Codec(MASTER_TO_NODE, NODE_TO_MASTER), MASTER_TO_NODE),
    "controller, from its master": (
        Controller,
        Codec(MASTER_TO_CONTROLLER, CONTROLLER_TO_MASTER),
        MASTER_TO_CONTROLLER,
    ),
    "controller, from workers": (
        Controller,
        Codec(WORKER_TO_CONTROLLER, CONTROLLER_TO_WORKER),
        WORKER_TO_CONTROLLER,
    ),
    "worker": (Worker, Codec(CONTROLLER_TO_WORKER, WORKER_TO_CONTROLLER), CONTROLLER_TO_WORKER),
}
"""Who listens there, by what it reads, and what belongs there."""
FINAL = frozenset({"refused", "stop", "bye"})
"""Kinds that end a process or its work; with as many of them as of others nothing would get far."""
ANSWERS_MAX = 5_000
"""Messages and actions that one event may bring about."""
MEMORY_MAX = 200_000
"""Objects that a machine may hold; the busiest honest one of the simulation has some ten thousand."""
BURST = 40
"""Messages of nonsense at a time."""
PAUSE_S = 0.1
"""Virtual seconds between bursts."""


class Fault(AssertionError):
    """What may not happen, whatever comes over the mesh."""


class TolerantStore(SimulatedStore):
    """The store of the simulation, which refuses what the real one refuses and promises nothing else."""

    def store_records(self, batch: RecordBatch) -> bool:
        record = self.executions.get(batch.ex_id)
        if record is None or batch.generation != record.generation:
            return False
        if not set(batch.sources) <= set(record.sources) or batch.sources[:1] != (batch.ex_id,):
            return False
        if any(not (0 <= row[0] < len(batch.sources) and 0 <= row[2] <= ORDER_MAX) for row in batch.rows):
            return False
        for source, slicer_id, order, state, created, _, request, retries, error, slice_id, _ in batch.rows:
            key = (batch.sources[source], slicer_id, order)
            old = self.slices.get(key)
            if old is None or old.state is not SliceState.COMPLETED:
                self.slices[key] = StoredSlice(
                    SliceState(state), created, request, retries, error, slice_id, batch.ex_id
                )
        return True

    def recovery_page(self, ask: RecoveryAsk, sources: tuple[str, ...]) -> RecoveryPage:
        return super().recovery_page(attrs.evolve(ask, limit=min(ask.limit, 2_000)), sources)


class Watched:
    """A machine of which everything that it says is looked at."""

    def __init__(self, machine: Any, name: str) -> None:
        self._machine, self._name = machine, name

    def handle(self, event: Any, *, now: float) -> Any:
        try:
            effects = self._machine.handle(event, now=now)
        except StateError:
            raise  # the answer to a request that does not fit
        except Exception as error:
            raise Fault(f"{self._name} raised {error!r} for {event!r}") from error
        answers = len(effects.sends) + len(effects.actions)
        if answers > ANSWERS_MAX:
            raise Fault(f"{self._name} answers {answers} times to {event!r}")
        return effects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


class TroubledNode(Node):
    """A node that hears only what belongs on its link: in the simulation a stolen name is all that counts."""

    def heard(self, message: Message) -> None:
        if isinstance(message, ToNode):
            super().heard(message)


class TroubledWorker(Worker):
    """A worker that fails slices whose request it does not know, as user code would."""

    def heard_controller(self, message: Message) -> None:
        if isinstance(message, ToWorker):
            super().heard_controller(message)

    def _next(self) -> None:
        try:
            super()._next()
        except (ValueError, AttributeError, TypeError, IndexError, KeyError):
            n, self.running = self.running, None
            assert n is not None
            failed = (n, int(SliceState.ERROR), 0, "no such request", None, None)
            self.after(0.001, lambda: self.feed(ex.SlicesRan([], [failed], 1)))

    def _write(self, item: Any) -> None:
        with contextlib.suppress(BrokenPromise):  # forged slices may say anything
            super()._write(item)


class TroubledController(Controller):
    """A controller whose slicer can not go on from positions that it does not know, as user code would."""

    def heard_master(self, message: Message) -> None:
        if isinstance(message, ToController):
            super().heard_master(message)

    def heard(self, peer: str, message: Message) -> None:
        if isinstance(message, FromWorker):
            super().heard(peer, message)

    def _act(self, action: Any) -> None:
        try:
            super()._act(action)
        except (ValueError, KeyError, TypeError, IndexError):
            self.after(0.001, lambda: self.feed(ex.SlicerFailed("no such position")))


class TroubledMaster(Master):
    """A master that may be told by forged nodes that its drained ones are others."""

    def _check_drained(self, sends: Any) -> None: ...


TROUBLED = {
    Master: TroubledMaster,
    Node: TroubledNode,
    Worker: TroubledWorker,
    Controller: TroubledController,
}


def watched(actor: Any) -> Any:
    """An actor of which everything that its machine says is looked at, and that expects anything."""
    actor.machine = Watched(actor.machine, actor.name)
    actor.__class__ = TROUBLED[type(actor)]
    return actor


class Actors(dict[str, Any]):
    """Actors by name, each watched from the start."""

    def __setitem__(self, name: str, actor: Any) -> None:
        super().__setitem__(name, watched(actor))


class Plans(dict[str, Plan]):
    """What executions are to do, also those that somebody has made up."""

    def __missing__(self, ex_id: str) -> Plan:
        return Plan(lineage="none", totals=[3])


class Battlefield(World):
    """One seed's cluster, under attack.

    Attributes:
        nonsense: Messages that reached a machine.
        refused: Frames that the codec or the rule of who says what dropped.
    """

    def __init__(self, seed: int) -> None:
        self.attack_rng = Random(f"attack of {seed}")
        self.nonsense: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        super().__init__(seed)
        rng = self.attack_rng
        # Each seed attacks some links with some kinds only: with all of them at once nothing gets far.
        self.links = rng.sample(list(LINKS), rng.choice((1, 1, 2, 5)))
        self.kinds = {
            link: rng.sample(list(reads), rng.randint(1, len(reads))) for link, (_, _, reads) in LINKS.items()
        }
        self.store = TolerantStore()
        self.processes = Actors(self.processes)
        nodes, self.nodes = self.nodes, Actors()
        self.nodes.update({host: watched(node) for host, node in nodes.items()})
        self.master = watched(self.master)
        self.plans = Plans()
        self.sinks = collections.defaultdict(dict)

    def keep_master_watched(self) -> None:
        """After a crash it is a new one."""
        if type(self.master) is Master:
            self.master = watched(self.master)

    # --- promises that somebody with a stolen identity can break

    def check_hand_out(self, controller: Controller, message: Any) -> None: ...

    def check_executions(self) -> None: ...

    def note_output_complete(self, ex_id: str) -> None:
        self.complete_outputs.add(ex_id)

    # --- the attack

    def attack(self, count: int) -> None:
        """Send so many pieces of nonsense, in bursts, while the cluster goes on with its work."""
        left = count
        while left > 0:
            self.keep_alive()
            self.keep_master_watched()
            pool = self.pool()
            burst = min(self.attack_rng.choice((5, 20, BURST)), left)
            left -= max(1, sum(self.strike(pool) for _ in range(burst)))
            self.run_until(self.clock.now + PAUSE_S)
            if self.attack_rng.random() < 0.02:
                self.misfortune(
                    ("worker", "controller", "node", "master", "cut", "store", "ask", "drain", "freeze")
                )

    def keep_alive(self) -> None:
        """Nodes come back and jobs are posted, so that there is always something to attack."""
        if not self.master.is_alive:
            return
        for host, node in list(self.nodes.items()):
            if not node.is_alive and self.attack_rng.random() < 0.2:
                self.start_node(host)
        if all(each.status in TERMINAL_STATUSES for each in self.store.executions.values()):
            name = f"e{len(self.plans)}"
            self.add(name, make_plan(self.rng, name))

    def strike(self, pool: Mapping[str, Any]) -> bool:
        """One message of nonsense to somebody; False when none was made."""
        rng = self.attack_rng
        link = rng.choice(self.links)
        wanted, codec, reads = LINKS[link]
        actors: list[Actor] = [self.master, *self.nodes.values(), *self.processes.values()]
        targets = [actor for actor in actors if actor.is_alive and isinstance(actor, wanted)]
        if not targets:
            return False
        target = rng.choice(targets)
        # Most are of a kind that belongs on the link; the others must not come through.
        kind = rng.choice(self.kinds[link] if rng.random() < 0.95 else list(KINDS))
        if kind in FINAL and kind in reads and rng.random() < 0.97:
            return False
        frames = CODEC.encode(draw(KINDS[kind], rng, pool))
        if rng.random() < 0.15:
            frames = [frames[0], damaged(frames[1], rng)]
        try:
            message: Any = codec.decode(frames)
        except RemoteWireError:
            self.refused[link] += 1
            return True
        self.hand_over(target, link, message, pool)
        return True

    def hand_over(self, target: Actor, link: str, message: Any, pool: Mapping[str, Any]) -> None:
        peer = self.identity(link, message, pool)
        if link == "master" and misplaced(peer, message):
            self.refused[link] += 1
            return
        self.nonsense[link] += 1
        match target:
            case Master() if isinstance(message, AssetAsk):
                pass  # not for the machine
            case Master():
                target.heard(peer, message)
            case Controller() if link == "controller, from workers":
                target.heard(peer, message)
            case Controller():
                target.heard_master(message)
            case Node() if isinstance(message, ToLibrary):
                pass  # not for the machine
            case Node():
                target.heard(message)
            case Worker():
                target.heard_controller(message)

    def identity(self, link: str, message: Any, pool: Mapping[str, Any]) -> str:
        """From whom it seems to come; the right one more often than not."""
        rng = self.attack_rng
        known = list(pool["peer"])
        if link == "master":
            is_of_node = isinstance(message, NodeHello | NodeBeat)
            of_controllers = [peer for peer in known if peer.endswith("/c")]
            of_nodes = [node.name for node in self.nodes.values()]
            if isinstance(message, NodeHello):
                of_nodes = [name for name in of_nodes if name.startswith(f"{message.node_id}~")]
                of_nodes.append(f"{message.node_id}~{rng.choice('12')}")
            known = of_nodes if is_of_node else of_controllers
            if not is_of_node and rng.random() < 0.5:
                known = [f"{message.ex_id}/{message.generation}/c"] if hasattr(message, "ex_id") else known
        strange = ("n9~1", "evil", "", "e0/1/c", "e0/1/w1.1", "x/9/c", "e0/1/w999.1", "a" * 255, "n0~n0~n0")
        return rng.choice(known if known and rng.random() < 0.8 else strange)

    def pool(self) -> dict[str, list[Any]]:
        """What is there, by the name of the field that could say it."""
        executions = list(self.store.executions.values())
        processes = list(self.processes)
        controllers = [p for p in self.processes.values() if isinstance(p, Controller)]
        numbers = [n for each in controllers for n in list(each.machine._ledger.unfinished)[:20]] or [1]
        reports = [each.generation for each in executions] or [1]
        revisions = [int(self.clock.now * 1000) + shift for shift in (-1000, 0, 1, 5, 10_000)]
        return {
            "peer": processes,
            "ex_id": [each.ex_id for each in executions],
            "proc_id": processes,
            "node_id": list(self.nodes),
            "generation": [*reports, *reports, 1],
            "protocol": [2],
            "holds": [numbers[:3], []],
            "kept": [numbers[:2], []],
            "done": [numbers[:1], numbers[-1:], numbers[:5], []],
            "returned": [numbers[-2:], []],
            "running": [*numbers, None],
            "seq": list(range(1, 12)),
            "ask_id": list(range(1, 6)),
            "revision": revisions,
            "number": [0, 1, 2, 3],
            "workers": [processes[:3], 0, 1, 2],
            "lost_workers": [processes[:1], []],
            "sources": [each.sources for each in executions],
            "mode": ["", "none", "all", "errors"],
            "event": [
                "slicing_started",
                "slice_failed",
                "paused",
                "completed",
                "failed",
                "stopped",
                "nonsense",
            ],
            "address": list(self.addresses),
            "dial": list(self.addresses),
        }

    # --- afterwards

    def check_memory(self) -> None:
        """After a while of peace nobody remembers much."""
        for actor in (self.master, *self.nodes.values(), *self.processes.values()):
            size = size_of(actor.machine)
            if size > MEMORY_MAX:
                raise Fault(f"{actor.name} holds {size} objects")


def damaged(body: bytes, rng: Random) -> bytes:
    """A body of which a few bytes are other ones, missing or new."""
    changed = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        where = rng.randrange(len(changed) + 1)
        if rng.random() < 0.5 and where < len(changed):
            changed[where] = rng.randrange(256)
        else:
            changed[where : where + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(changed)


def size_of(machine: Any) -> int:
    """How many objects a machine holds, in all that it is made of."""
    seen: set[int] = set()
    waiting = [machine]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, str | bytes | int | float | type(None)):
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset | collections.deque):
            waiting += value
        elif attrs.has(type(value)):
            waiting += [getattr(value, field.name) for field in attrs.fields(type(value))]
        elif hasattr(value, "__dict__"):
            waiting += vars(value).values()
    return len(seen)


def attack(seed: int, count: int) -> Battlefield:
    """Let a cluster work under `count` pieces of nonsense.

    Raises:
        Fault: A machine did what it may not do.
    """
    field = Battlefield(seed)
    for number in range(3):
        field.add(f"e{number}", make_plan(field.rng, f"e{number}"))
    field.run_until(field.clock.now + field.attack_rng.choice([0.0, 0.5, 5.0]))
    field.attack(count)
    field.calm()
    field.run_until(field.clock.now + 60.0)
    field.check_memory()
    return field

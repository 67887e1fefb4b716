"""The brain of the master: which nodes there are, what runs where, and the status of each execution.

How a shell drives it:

* Make it with `ClusterMachine.restore(records, drains, settings=..., now=...)`, with all executions of the
  store that have not ended and all drains (empty lists the first time).
* Feed one event at a time to `handle`. Commit all `saves` of the effects in one transaction; only then
  send `sends`, do `actions` and hand out the answer. Until the transaction succeeds nothing else is fed:
  when it fails, try it again, or end the process and restore.
* Feed `Tick()` when `wake_at()` has come (ask again after each event).
* Feed `NotSent` for each send that failed. `unreachable=True` means that the peer is not connected; a machine
  only believes that a peer is gone when a send to it failed like that, so a shell (or a simulated
  network) has to answer sends to peers that it has no working link to in that way.
* The peer of a controller is its process id. Before the shell stores a `RecordBatch` or answers
  a `RecoveryAsk` it asks `accepts`; when that says no it sends the peer what `turn_away` returns. After the
  batch is durable it feeds `RecordsStored`.
* `now` is in seconds and has to go on over a restart of the master: Unix time read once at the start,
  carried on by a monotonic clock.

Requests (`StopRequested` ... `UndrainNode`) raise a `StateError` before they change anything.
"""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import assert_never

import attrs

from tsd.core.cluster.controllers import ControllerDesk
from tsd.core.cluster.counting import Counting
from tsd.core.cluster.drains import DrainDesk
from tsd.core.cluster.events import (
    Answer,
    DrainNode,
    Effects,
    Event,
    ExecutionAdded,
    FromController,
    FromNode,
    LogLevelRequested,
    NotSent,
    Outbox,
    PauseRequested,
    RecordsStored,
    ResumeRequested,
    SettingsChanged,
    Shutdown,
    StopRequested,
    Tick,
    UndrainNode,
    Unsendable,
    WorkersRequested,
)
from tsd.core.cluster.executions import Execution
from tsd.core.cluster.membership import Members
from tsd.core.cluster.nodes import NodeDesk
from tsd.core.cluster.placement import Room, place
from tsd.core.cluster.records import ClusterSettings, Drain, ExecutionRecord
from tsd.core.cluster.requests import change_execution
from tsd.core.cluster.roster import Roster
from tsd.core.cluster.stopping import check_stopped
from tsd.core.cluster.unconnected import unconnected_workers
from tsd.core.cluster.views import (
    Capacity,
    ClusterFigures,
    ClusterStats,
    ControllerView,
    ExecutionView,
    Floor,
    NodeView,
    WaitingView,
    figures_of,
    is_listed,
    misses_something,
    state_of,
    view_absent,
    view_execution,
    view_node,
    waiting_reason,
)
from tsd.core.messages import Again, ControllerWelcome, Refused
from tsd.core.records import Status
from tsd.ids import parse_process_id


@attrs.define(kw_only=True)
class ClusterMachine:
    """All decisions of the master; see the module's docstring for how to drive it."""

    settings: ClusterSettings
    _members: Members = attrs.field(factory=Members, init=False)
    _roster: Roster = attrs.field(factory=Roster, init=False)
    _drains: DrainDesk = attrs.field(init=False)
    _nodes: NodeDesk = attrs.field(init=False)
    _controllers: ControllerDesk = attrs.field(init=False)
    _scan_at: float = attrs.field(default=0.0, init=False)
    _is_closing: bool = attrs.field(default=False, init=False)
    _now: float = attrs.field(default=0.0, init=False)
    _ended_stats: ClusterStats = attrs.field(factory=ClusterStats, init=False)
    _counting: Counting = attrs.field(factory=Counting, init=False)

    def __attrs_post_init__(self) -> None:
        settings, members, roster, counting = self.settings, self._members, self._roster, self._counting
        self._drains = DrainDesk(members=members, roster=roster)
        self._nodes = NodeDesk(
            settings=settings, members=members, roster=roster, counting=counting, drains=self._drains
        )
        self._controllers = ControllerDesk(
            settings=settings, members=members, roster=roster, counting=counting
        )

    @classmethod
    def restore(
        cls,
        executions: Iterable[ExecutionRecord],
        drains: Iterable[Drain] = (),
        *,
        settings: ClusterSettings,
        now: float,
    ) -> "ClusterMachine":
        """The machine of a master that starts, with all executions that have not ended."""
        machine = cls(settings=settings)
        machine._members.drains = {drain.node_id: drain for drain in drains}
        for record in executions:
            machine._roster.add(Execution.restored(record, settings, machine._members, now))
        machine._now = now
        machine._scan_at = now + settings.heartbeat_interval_s
        return machine

    def handle(self, event: Event, *, now: float) -> Effects:
        """Take in one event.

        Raises:
            StateError: A request does not fit; nothing was changed.
        """
        self._now = now
        out = Outbox()
        answer: Answer = None
        match event:
            case FromNode():
                self._nodes.hear(event.peer, event.message, out, now)
            case FromController():
                self._controllers.hear(event.peer, event.message, out, now)
            case NotSent():
                self._not_sent(event, out, now)
            case Unsendable():
                self._unsendable(event, out, now)
            case RecordsStored():
                self._records_stored(event)
            case ExecutionAdded():
                self._add(event.record)
            case SettingsChanged():
                self._reconfigure(event.settings, out)
            case Shutdown():
                self._is_closing = True
            case Tick():
                self._check_deadlines(out, now)
            case (
                StopRequested()
                | PauseRequested()
                | ResumeRequested()
                | WorkersRequested()
                | LogLevelRequested()
            ):
                execution = self._roster.get(event.ex_id)
                answer = change_execution(event, execution, out, now)
                if execution is not None:
                    self._roster.touch(execution)
            case DrainNode():
                self._drains.drain(event.node_id, event.within_s, out, now)
            case UndrainNode():
                self._drains.undrain(event.node_id, out)
            case _:
                assert_never(event)
        self._finish(out, now)
        return out.effects(answer)

    def wake_at(self) -> float | None:
        """When to feed the next `Tick`; None when nothing depends on time."""
        times = [self._scan_at] if self._members.nodes or self._roster else []
        times += [due for each in self._roster if (due := each.due_at(self._now)) is not None]
        return min(times, default=None)

    # --- questions ----------------------------------------------------------------------------

    def accepts(self, ex_id: str, generation: int, peer: str) -> bool:
        """Whether the records and questions of this controller count."""
        execution = self._roster.get(ex_id)
        return execution is not None and execution.accepts(generation, peer)

    def turn_away(self, ex_id: str, generation: int, peer: str) -> Again | Refused:
        """What to answer a controller that is not accepted: say hello first, or end."""
        return self._controllers.turn_away(ex_id, generation, peer)

    def knows_node(self, peer: str) -> bool:
        """Whether a peer is a node that was welcomed."""
        return peer in self._members.peers

    def active_of(self, job_id: str) -> str | None:
        """The execution of a job that has not ended, if there is one."""
        found = (each.ex_id for each in self._roster if each.record.job_id == job_id and each.is_active)
        return next(found, None)

    def cluster_state(self) -> dict[str, NodeView]:
        """All nodes by id."""
        problems: dict[str, str] = {}
        for execution in self._roster:
            problems |= unconnected_workers(execution, self._now)
        nodes = sorted(self._members.nodes.items())
        return {node_id: view_node(node, problems) for node_id, node in nodes}

    def nodes(self) -> list[NodeView]:
        """All nodes, by id; also those that are away and to be drained."""
        here = self._members.nodes
        absent = [view_absent(drain) for drain in self._members.drains.values() if drain.node_id not in here]
        return sorted([*self.cluster_state().values(), *absent], key=lambda each: each.node_id)

    def node(self, node_id: str) -> NodeView:
        """One of them.

        Raises:
            NotFound: There is no such node.
        """
        return self._drains.view(node_id)

    def staying(self, node_id: str) -> list[str]:
        """Executions whose controllers stay on a drained node, as their slicers are not recoverable."""
        return self._drains.staying(node_id)

    def waiting(self, limit: int) -> list[WaitingView]:
        """The oldest executions of which something does not run yet, at most `limit`."""
        room = self._room()
        reasons = ((each, self._why(each, room)) for each in self._roster.in_order())
        found = (
            WaitingView(
                ex_id=each.ex_id,
                job_id=each.record.job_id,
                name=each.record.name,
                reason=reason,
                workers=each.intent.workers,
            )
            for each, reason in reasons
            if reason
        )
        return list(itertools.islice(found, limit))

    def controllers(self) -> list[ControllerView]:
        """Counters of executions that run and whose controller is connected; name and start descending."""
        listed = [
            ControllerView(
                ex_id=each.ex_id, job_id=each.record.job_id, name=each.record.name, stats=each.stats
            )
            for each in self._roster
            if is_listed(each)
        ]
        return sorted(listed, key=lambda each: (each.name, each.stats.started), reverse=True)

    def execution_view(self, ex_id: str) -> ExecutionView | None:
        """What the cluster knows of an execution that has not ended, else None."""
        execution = self._roster.get(ex_id)
        if execution is None or not execution.is_active:
            return None
        return view_execution(execution, self._room())

    def waiting_reason(self, ex_id: str) -> str:
        """Why something of the execution does not run yet; empty when nothing is missing."""
        execution = self._roster.get(ex_id)
        if execution is None or not execution.is_active:
            return ""
        # Most miss nothing, and counting the slots of all nodes takes a while.
        room = self._room() if misses_something(execution) else Floor(0, 0, 0)
        return self._why(execution, room)

    def cluster_stats(self) -> ClusterStats:
        """Sums over all executions since the master started."""
        stats = self._ended_stats
        for execution in self._roster:
            stats = stats.plus(execution.stats)
        return stats

    def capacity(self) -> Capacity:
        """What the nodes have to give now."""
        connected = [node for node in self._members.nodes.values() if node.link.is_reachable]
        floor = self._room()
        states = Counter(state_of(node) for node in connected)
        return Capacity(
            nodes_connected=len(connected),
            nodes_away=len(self._members.nodes) - len(connected),
            nodes_taking_work=floor.nodes,
            nodes_draining=states["draining"],
            nodes_drained=states["drained"],
            slots=sum(node.slots for node in connected),
            slots_free=floor.free,
        )

    def figures(self) -> ClusterFigures:
        """All that is measured of the cluster, as it is now."""
        return ClusterFigures(
            executions=tuple(figures_of(each) for each in self._roster if each.is_active),
            capacity=self.capacity(),
            stats=self.cluster_stats(),
            counts=self._counting.totals(),
        )

    def _room(self) -> Floor:
        nodes = [node for node in self._members.nodes.values() if node.takes_work]
        return Floor(
            free=sum(max(0, node.free) for node in nodes),
            nodes=len(nodes),
            slots=sum(node.slots for node in nodes),
        )

    # --- the master's own clock ---------------------------------------------------------------

    def _why(self, execution: Execution, room: Floor) -> str:
        """Why not all of an execution works."""
        return waiting_reason(execution, room) or "; ".join(
            unconnected_workers(execution, self._now).values()
        )

    def _not_sent(self, event: NotSent, out: Outbox, now: float) -> None:
        if not event.unreachable:
            return
        if node := self._members.peers.get(event.peer):
            self._nodes.not_sent(node, out, now)
        elif (name := parse_process_id(event.peer)) and (execution := self._roster.get(name.ex_id)):
            self._controllers.not_sent(execution, event.peer, now)

    def _unsendable(self, event: Unsendable, out: Outbox, now: float) -> None:
        """An execution is too large for a message: it fails, and the others go on."""
        if isinstance(event.message, ControllerWelcome):
            name = parse_process_id(event.peer)
            execution = self._roster.get(name.ex_id) if name else None
            what = "its document is too large for its controller"
        else:
            sizes = Counter[str]()
            for spec in event.message.processes:
                sizes[spec.ex_id] += sum(len(key) + len(value) for key, value in spec.env.items())
            largest = sizes.most_common(1)
            execution = self._roster.get(largest[0][0]) if largest else None
            what = "the environment of its processes is too large for their node"
        if execution is not None and execution.is_active and execution.status is not Status.STOPPING:
            execution.fail(f"execution {execution.ex_id}: {what}: {event.reason}", out, now)
            self._roster.touch(execution)

    def _check_deadlines(self, out: Outbox, now: float) -> None:
        if not self._is_closing:
            self._members.room_changed = True  # a back-off may be over
            self._nodes.check_links(out, now)
            for execution in self._roster:
                self._roster.touch(execution)
                self._controllers.check(execution, out, now)
        if now >= self._scan_at:
            self._scan_at = now + self.settings.heartbeat_interval_s
            self._nodes.probe(out, now)
            self._controllers.probe(out, now)

    def _reconfigure(self, settings: ClusterSettings, out: Outbox) -> None:
        self.settings = self._nodes.settings = self._controllers.settings = settings
        for execution in self._roster:
            execution.settings = execution.crew.settings = settings
        self._nodes.compare_configs(out)

    def _records_stored(self, event: RecordsStored) -> None:
        execution = self._roster.get(event.ex_id)
        if execution is not None:
            execution.restarts = 0
        if event.before is None or event.ended is None:
            return
        self._counting.hear_records(event.ended.completed - event.before.completed, event.newly_failed)
        if execution is not None:
            execution.take_ended(event.ended)
        else:
            # Its last batch was on the way when it ended.
            self._ended_stats = self._ended_stats.grown(event.before, event.ended)

    # --- the end of each event ----------------------------------------------------------------

    def _add(self, record: ExecutionRecord) -> None:
        if self._roster.get(record.ex_id) is None:
            self._roster.add(Execution.from_record(record, self.settings, self._members))
            self._members.room_changed = True

    def _finish(self, out: Outbox, now: float) -> None:
        """Mend what differs from what is wanted, and tell nodes and controllers."""
        for execution in self._roster.touched():
            check_stopped(execution, out, now)
        if not self._is_closing and self._members.room_changed:
            self._members.room_changed = False
            self._place(out, now)
        for execution in self._roster.touched():
            controller = execution.controller
            is_stale = execution.is_stale or execution.workers_told != execution.workers_missed(now)
            if is_stale and execution.is_active and controller and controller.is_welcomed:
                out.send(controller.proc_id, execution.next_wanted(now))
            if not execution.is_active and not self._members.has_processes(execution.ex_id, reachable=False):
                self._roster.forget(execution)
                self._counting.forget_execution(execution.ex_id)
                self._ended_stats = self._ended_stats.plus(execution.stats)
        self._roster.settle()
        self._drains.tell_drained(out)
        for node in list(self._members.stale()):
            out.send(node.link.peer, node.next_wanted(now))

    def _place(self, out: Outbox, now: float) -> None:
        """Place what is missing on what is free."""
        rooms = [
            Room(node_id=node.node_id, free=node.free, has_controller=node.has_controller)
            for node in self._members.nodes.values()
            if node.takes_work and node.free > 0
        ]
        if not rooms:
            return
        asking = {each.ex_id: each for each in self._roster.in_order()}
        asks = [ask for each in asking.values() if (ask := each.ask(now)) is not None]
        for grant in place(rooms, asks):
            asking[grant.ex_id].take_grant(grant, out, now)
            self._roster.touch(asking[grant.ex_id])

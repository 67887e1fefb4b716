"""The brain of the master: which nodes there are, what runs where, and the status of each execution.

How a shell drives it:

* Make it with `ClusterMachine.restore(records, settings=..., now=...)`, with all executions of the
  store that have not ended (an empty list the first time).
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

from collections.abc import Iterable
from typing import assert_never

import attrs

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
    Shutdown,
    StopRequested,
    Tick,
    UndrainNode,
    WorkersRequested,
)
from tsd.core.cluster.executions import Execution, describe_exit
from tsd.core.cluster.membership import Members, Node
from tsd.core.cluster.placement import Room, place
from tsd.core.cluster.records import ClusterSettings, ExecutionRecord, parse_process_id
from tsd.core.cluster.reports import take_report
from tsd.core.cluster.requests import change_execution
from tsd.core.cluster.views import (
    ClusterStats,
    ControllerView,
    ExecutionView,
    NodeView,
    is_listed,
    view_execution,
    view_node,
    waiting_reason,
)
from tsd.core.messages import (
    PROTOCOL,
    Again,
    Alive,
    ControllerBeat,
    ControllerHello,
    LeaseGranted,
    NodeBeat,
    NodeHello,
    NodeWelcome,
    ProcessExit,
    RecordBatch,
    RecoveryAsk,
    Refused,
    StatusIs,
    StatusReport,
)
from tsd.core.records import Status
from tsd.errors import NotFound

CONTENDER_BEATS = 2
"""A second process with the id of a node is refused when the first one is still heard after so many beats."""


@attrs.define(kw_only=True)
class ClusterMachine:
    """All decisions of the master; see the module's docstring for how to drive it."""

    settings: ClusterSettings
    _members: Members = attrs.field(factory=Members, init=False)
    _executions: dict[str, Execution] = attrs.field(factory=dict, init=False)
    _touched: dict[str, Execution] = attrs.field(factory=dict, init=False)
    _scan_at: float = attrs.field(default=0.0, init=False)
    _is_closing: bool = attrs.field(default=False, init=False)
    _now: float = attrs.field(default=0.0, init=False)
    _ended_stats: ClusterStats = attrs.field(factory=ClusterStats, init=False)

    @classmethod
    def restore(
        cls, executions: Iterable[ExecutionRecord], *, settings: ClusterSettings, now: float
    ) -> "ClusterMachine":
        """The machine of a master that starts, with all executions that have not ended."""
        machine = cls(settings=settings)
        for record in sorted(executions, key=lambda each: (each.created, each.ex_id)):
            execution = Execution.restored(record, settings, machine._members, now)
            machine._executions[record.ex_id] = execution
            machine._touched[record.ex_id] = execution
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
                self._from_node(event, out, now)
            case FromController():
                self._from_controller(event, out, now)
            case NotSent():
                self._not_sent(event, out, now)
            case RecordsStored():
                if execution := self._executions.get(event.ex_id):
                    execution.restarts = 0
            case ExecutionAdded():
                self._add(event.record)
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
                execution = self._executions.get(event.ex_id)
                answer = change_execution(event, execution, out, now)
                if execution is not None:
                    self._touch(execution)
            case DrainNode() | UndrainNode():
                self._cordon(event.node_id, is_cordoned=isinstance(event, DrainNode))
            case _:
                assert_never(event)
        self._finish(out, now)
        return out.effects(answer)

    def wake_at(self) -> float | None:
        """When to feed the next `Tick`; None when nothing depends on time."""
        times = [self._scan_at] if self._members.nodes or self._executions else []
        times += [due for each in self._executions.values() if (due := each.due_at(self._now)) is not None]
        return min(times, default=None)

    # --- questions ----------------------------------------------------------------------------

    def accepts(self, ex_id: str, generation: int, peer: str) -> bool:
        """Whether the records and questions of this controller count."""
        execution = self._executions.get(ex_id)
        return execution is not None and execution.accepts(generation, peer)

    def turn_away(self, ex_id: str, generation: int, peer: str) -> Again | Refused:
        """What to answer a controller that is not accepted: say hello first, or end."""
        execution = self._executions.get(ex_id)
        if execution is None or not execution.is_active:
            return Refused(reason=f"execution {ex_id} has ended")
        controller = execution.controller
        if controller is None or controller.proc_id != peer or generation != execution.generation:
            return Refused(
                reason=f"generation {generation} of {ex_id} is over, it is now {execution.generation}"
            )
        if controller.is_revoked or execution.intent.stop_force:
            return Refused(reason=f"generation {generation} of {ex_id} is being ended")
        return Again()

    def active_of(self, job_id: str) -> str | None:
        """The execution of a job that has not ended, if there is one."""
        found = (
            each.ex_id
            for each in self._executions.values()
            if each.record.job_id == job_id and each.is_active
        )
        return next(found, None)

    def cluster_state(self) -> dict[str, NodeView]:
        """All nodes by id."""
        return {node_id: view_node(node) for node_id, node in sorted(self._members.nodes.items())}

    def controllers(self) -> list[ControllerView]:
        """Counters of executions that run and whose controller is connected; name and start descending."""
        listed = [
            ControllerView(
                ex_id=each.ex_id, job_id=each.record.job_id, name=each.record.name, stats=each.stats
            )
            for each in self._executions.values()
            if is_listed(each)
        ]
        return sorted(listed, key=lambda each: (each.name, each.stats.started), reverse=True)

    def execution_view(self, ex_id: str) -> ExecutionView | None:
        """What the cluster knows of an execution that has not ended, else None."""
        execution = self._executions.get(ex_id)
        if execution is None or not execution.is_active:
            return None
        return view_execution(execution, *self._room())

    def waiting_reason(self, ex_id: str) -> str:
        """Why something of the execution does not run yet; empty when nothing is missing."""
        execution = self._executions.get(ex_id)
        return waiting_reason(execution, *self._room()) if execution else ""

    def cluster_stats(self) -> ClusterStats:
        """Sums over all executions since the master started."""
        stats = self._ended_stats
        for execution in self._executions.values():
            stats = stats.plus(execution.stats)
        return stats

    def _room(self) -> tuple[int, int]:
        nodes = [node for node in self._members.nodes.values() if node.takes_work]
        return sum(max(0, node.free) for node in nodes), len(nodes)

    # --- nodes --------------------------------------------------------------------------------

    def _from_node(self, event: FromNode, out: Outbox, now: float) -> None:
        node = self._members.peers.get(event.peer)
        match event.message:
            case NodeHello() as hello:
                self._hello_of_node(event.peer, node, hello, out, now)
            case NodeBeat() as beat:
                if node is None:
                    out.send(event.peer, Again())
                    return
                self._hear_node(node, now)
                out.send(event.peer, Alive())
                if beat.draining and not node.is_draining:
                    node.is_draining = True
                    self._release(node)
                    out.log("node.draining", node_id=node.node_id)
                self._compare(node, beat, out, now)
                node.revision = max(node.revision, beat.revision)
                if beat.revision < node.revision and now - node.sent_at >= node.link.beat_s / 2:
                    node.is_stale = True

    def _hello_of_node(self, peer: str, node: Node | None, hello: NodeHello, out: Outbox, now: float) -> None:
        if hello.protocol != PROTOCOL:
            reason = f"this master speaks protocol {PROTOCOL}, node {hello.node_id} speaks {hello.protocol}"
            out.send(peer, Refused(reason=reason))
            return
        if node is None:
            older = self._members.nodes.get(hello.node_id)
            if older is not None and not self._give_way(older, peer, hello, out, now):
                return
            node = self._members.add(peer, hello, beat_s=self.settings.heartbeat_interval_s, now=now)
            out.log(
                "node.joined",
                node_id=node.node_id,
                hostname=node.hostname,
                slots=node.slots,
                runs=len(hello.runs),
            )
        self._hear_node(node, now)
        welcome = NodeWelcome(
            version=self.settings.version, beat_interval_s=self.settings.heartbeat_interval_s
        )
        out.send(peer, welcome)
        self._compare(node, hello, out, now)
        self._drop_unreported(node, hello, out, now)
        node.is_stale = True

    def _give_way(self, older: Node, peer: str, hello: NodeHello, out: Outbox, now: float) -> bool:
        """Whether the process that has this node id already is gone, so that a new one takes its place."""
        silence_s = self.settings.heartbeat_interval_s * CONTENDER_BEATS
        if older.link.is_reachable and now - older.link.heard_at < silence_s:
            if older.contender is None or older.contender[0] != peer:
                older.contender = (peer, now)
            if older.link.heard_at - older.contender[1] > silence_s:
                reason = (
                    f"node id {hello.node_id} is taken by process {older.pid} on {older.hostname};"
                    f" give the node on {hello.hostname} another node_id"
                )
                out.log("node.refused", is_warning=True, node_id=hello.node_id, reason=reason)
                out.send(peer, Refused(reason=reason))
            else:
                out.send(older.link.peer, Alive())
            return False
        # What a daemon runs ends with it; only on another host may it live on.
        words = f"replaced by process {hello.pid} on {hello.hostname}"
        self._lose_node(older, words, out, now, is_dead=hello.hostname == older.hostname)
        return True

    def _hear_node(self, node: Node, now: float) -> None:
        if not node.link.is_reachable:
            self._members.room_changed = True
        node.link.hear(now)

    def _compare(self, node: Node, report: NodeHello | NodeBeat, out: Outbox, now: float) -> None:
        """Take in what a node runs and what ended there."""
        seen = tuple(each.proc_id for each in report.exits)
        if set(seen) - set(node.exits_seen):
            node.is_stale = True
        node.exits_seen = seen
        revision = report.revision if isinstance(report, NodeBeat) else None
        gone, strays = self._members.take_report(node, report.runs, report.exits, revision)
        for ended in gone:
            self._process_ended(node, ended, out, now)
        for run in strays:
            execution = self._executions.get(run.ex_id)
            spec = execution.adopt(node, run, now) if execution else None
            self._members.adopt(node, run, spec)

    def _drop_unreported(self, node: Node, hello: NodeHello, out: Outbox, now: float) -> None:
        """A controller that an earlier master placed on this node has ended if the node does not run it."""
        runs = {run.proc_id for run in hello.runs}
        for execution in list(self._executions.values()):
            controller = execution.controller
            if (
                controller is not None
                and controller.node_id == node.node_id
                and controller.proc_id not in runs
                and controller.proc_id not in node.placements
            ):
                words = f"was not running any more when node {node.node_id} called"
                execution.lose_controller(words, out, now, is_fault=False)
                self._touch(execution)

    def _process_ended(self, node: Node, ended: ProcessExit, out: Outbox, now: float) -> None:
        execution = self._executions.get(ended.ex_id)
        name = parse_process_id(ended.proc_id)
        if execution is None or name is None:
            return
        self._touch(execution)
        if name.generation != execution.generation:
            return
        is_fault = not node.is_draining
        controller = execution.controller
        if name.number > 0:
            out.log(
                "worker.ended",
                ex_id=ended.ex_id,
                proc_id=ended.proc_id,
                node_id=node.node_id,
                reason=describe_exit(ended),
            )
            execution.worker_ended(ended, now, is_fault=is_fault)
        elif controller is not None and controller.proc_id == ended.proc_id:
            execution.lose_controller(describe_exit(ended), out, now, is_fault=is_fault)

    def _lose_node(self, node: Node, words: str, out: Outbox, now: float, *, is_dead: bool = False) -> None:
        """Forget a node; what it ran is placed elsewhere, controllers once their lease has run out."""
        self._release(node)
        placements = self._members.remove(node)
        out.log("node.left", is_warning=bool(placements), node_id=node.node_id, reason=words)
        for ex_id in {placement.ex_id: None for placement in placements}:
            execution = self._executions.get(ex_id)
            if execution is None:
                continue
            self._touch(execution)
            execution.leave_node(node.node_id)
            controller = execution.controller
            if controller is None or controller.node_id != node.node_id:
                continue
            if not is_dead and now < controller.lease_until and execution.is_active:
                controller.is_revoked = True
            else:
                execution.lose_controller(
                    f"was on node {node.node_id}, which was lost", out, now, is_fault=False
                )

    def _release(self, node: Node) -> None:
        for execution in self._executions.values():
            execution.let_go_of(node.node_id)
        node.held.clear()
        self._members.room_changed = True

    def _cordon(self, node_id: str, *, is_cordoned: bool) -> None:
        node = self._members.nodes.get(node_id)
        if node is None:
            raise NotFound(f"no node has the id {node_id}")
        node.is_cordoned = is_cordoned
        if is_cordoned:
            self._release(node)
        self._members.room_changed = True

    # --- controllers --------------------------------------------------------------------------

    def _from_controller(self, event: FromController, out: Outbox, now: float) -> None:
        message = event.message
        if isinstance(message, RecordBatch | RecoveryAsk):
            return  # the store's, see the module's docstring
        execution = self._executions.get(message.ex_id)
        if isinstance(message, ControllerHello):
            self._hello_of_controller(event.peer, execution, message, out, now)
            return
        if execution is None or not execution.accepts(message.generation, event.peer):
            out.send(event.peer, self.turn_away(message.ex_id, message.generation, event.peer))
            return
        controller = execution.controller
        assert controller is not None
        controller.link.hear(now)
        self._touch(execution)
        match message:
            case StatusReport():
                if take_report(execution, message, out, now):
                    out.send(event.peer, StatusIs(seq=message.seq, status=execution.status))
            case ControllerBeat():
                self._beat_of_controller(execution, message, out, now)

    def _hello_of_controller(
        self, peer: str, execution: Execution | None, hello: ControllerHello, out: Outbox, now: float
    ) -> None:
        if hello.protocol != PROTOCOL:
            reason = f"this master speaks protocol {PROTOCOL}, the controller speaks {hello.protocol}"
            out.send(peer, Refused(reason=reason))
            return
        answer = self.turn_away(hello.ex_id, hello.generation, peer)
        if execution is None or isinstance(answer, Refused):
            out.send(peer, answer)
            return
        assert execution.controller is not None
        execution.controller.link.hear(now)
        self._touch(execution)
        out.send(peer, execution.welcome(hello.address, out, now))

    def _beat_of_controller(
        self, execution: Execution, beat: ControllerBeat, out: Outbox, now: float
    ) -> None:
        controller = execution.controller
        assert controller is not None
        execution.stats = beat.stats
        if controller.is_revoked:
            out.send(controller.proc_id, Refused(reason=f"node {controller.node_id} was lost"))
            return
        controller.grant(now, self.settings.controller_lease_s)
        out.send(controller.proc_id, LeaseGranted(sent_at=beat.sent_at))
        execution.give_up_workers(beat.lost_workers, now)
        for proc_id in beat.exits_seen:
            execution.exits.pop(proc_id, None)
        execution.revision = max(execution.revision, beat.revision)
        if beat.revision < execution.revision and now - execution.sent_at >= controller.link.beat_s / 2:
            out.send(controller.proc_id, execution.present_wanted(now))

    # --- links and deadlines ------------------------------------------------------------------

    def _not_sent(self, event: NotSent, out: Outbox, now: float) -> None:
        if not event.unreachable:
            return
        node = self._members.peers.get(event.peer)
        if node is not None:
            if node.link.is_reachable:
                out.log("node.unreachable", is_warning=True, node_id=node.node_id)
            node.link.fail(now)
            self._release(node)
            for ex_id in {placement.ex_id: None for placement in node.placements.values()}:
                if execution := self._executions.get(ex_id):
                    self._touch(execution)
            if not node.placements:
                self._lose_node(node, "left without running anything", out, now)
            return
        name = parse_process_id(event.peer)
        execution = self._executions.get(name.ex_id) if name else None
        if execution and execution.controller and execution.controller.proc_id == event.peer:
            execution.controller.link.fail(now)

    def _check_deadlines(self, out: Outbox, now: float) -> None:
        if self._is_closing:
            self._scan_at = now + self.settings.heartbeat_interval_s
            return
        self._members.room_changed = True  # a back-off may be over
        for node in list(self._members.nodes.values()):
            since = node.link.unreachable_since
            if since is not None and now >= since + self.settings.node_disconnect_timeout_s:
                self._lose_node(node, "could not be reached for too long", out, now)
        for execution in list(self._executions.values()):
            self._check_execution(execution, out, now)
        if now >= self._scan_at:
            self._scan_at = now + self.settings.heartbeat_interval_s
            self._probe(out, now)

    def _check_execution(self, execution: Execution, out: Outbox, now: float) -> None:
        controller = execution.controller
        if not execution.is_active:
            return
        self._touch(execution)
        if controller is None:
            return
        node = self._members.nodes.get(controller.node_id)
        is_away = node is not None and not node.link.is_reachable and not controller.is_revoked
        if controller.hello_by is not None and now >= controller.hello_by:
            words = f"did not call within {self.settings.action_timeout_s:g} s"
            execution.lose_controller(words, out, now, is_fault=True)
        elif controller.is_lost(now) and not is_away:
            execution.lose_controller("could not be reached and its lease ran out", out, now, is_fault=False)
        elif execution.status is Status.INITIALIZING and execution.ready_by and now >= execution.ready_by:
            reason = f"the slicer was not ready within {self.settings.slicer_timeout_s:g} s"
            execution.fail(f"execution {execution.ex_id}: {reason}", out, now)

    def _probe(self, out: Outbox, now: float) -> None:
        for node in self._members.nodes.values():
            if node.link.probe(now):
                out.send(node.link.peer, Alive())
        for execution in self._executions.values():
            controller = execution.controller
            if controller is not None and controller.hello_by is None and controller.link.probe(now):
                out.send(controller.proc_id, Alive())

    # --- the end of each event ----------------------------------------------------------------

    def _add(self, record: ExecutionRecord) -> None:
        if record.ex_id not in self._executions:
            execution = Execution.from_record(record, self.settings, self._members)
            self._executions[record.ex_id] = execution
            self._touch(execution)
            self._members.room_changed = True

    def _touch(self, execution: Execution) -> None:
        self._touched[execution.ex_id] = execution

    def _finish(self, out: Outbox, now: float) -> None:
        """Mend what differs from what is wanted, and tell nodes and controllers."""
        for execution in self._touched.values():
            execution.check_stopped(out, now)
        if not self._is_closing:
            self._place(out, now)
        for execution in self._touched.values():
            controller = execution.controller
            if execution.is_stale and execution.is_active and controller and controller.is_welcomed:
                out.send(controller.proc_id, execution.next_wanted(now))
            if not execution.is_active and not self._members.has_processes(execution.ex_id, reachable=False):
                self._executions.pop(execution.ex_id, None)
                self._ended_stats = self._ended_stats.plus(execution.stats)
        self._touched.clear()
        for node in list(self._members.stale()):
            out.send(node.link.peer, node.next_wanted(now))

    def _place(self, out: Outbox, now: float) -> None:
        """Place what is missing on what is free, if anything changed for that."""
        if not self._members.room_changed:
            return
        self._members.room_changed = False
        rooms = [
            Room(node_id=node.node_id, free=node.free, has_controller=node.has_controller)
            for node in self._members.nodes.values()
            if node.takes_work and node.free > 0
        ]
        if not rooms:
            return
        executions = sorted(self._executions.values(), key=lambda each: (each.record.created, each.ex_id))
        asks = [ask for each in executions if (ask := each.ask(now)) is not None]
        for grant in place(rooms, asks):
            execution = self._executions[grant.ex_id]
            execution.take_grant(grant, out, now)
            self._touch(execution)

"""What nodes say, and what follows when one comes, restarts, is drained or is lost."""

import attrs

from tsd.core.cluster.counting import Counting
from tsd.core.cluster.drains import DrainDesk
from tsd.core.cluster.events import NodeChanged, Outbox
from tsd.core.cluster.executions import FINDING_PORT, NO_PORT_EXIT, describe_exit
from tsd.core.cluster.membership import Members, Node
from tsd.core.cluster.records import ClusterSettings
from tsd.core.cluster.roster import Roster
from tsd.core.fields import REVISION_FAR
from tsd.core.messages import (
    PROTOCOL,
    Again,
    Alive,
    NodeBeat,
    NodeHello,
    NodeWelcome,
    ProcessExit,
    Refused,
)
from tsd.core.messages import FromNode as NodeMessage
from tsd.ids import parse_process_id

CONTENDER_BEATS = 2
"""A second process with the id of a node is refused when the first one is still heard after so many beats."""


@attrs.define(kw_only=True)
class NodeDesk:
    """Keeps the members, and tells executions what became of their processes."""

    settings: ClusterSettings
    members: Members
    roster: Roster
    counting: Counting
    drains: DrainDesk

    def hear(self, peer: str, message: NodeMessage, out: Outbox, now: float) -> None:
        """Take in a message of a node."""
        node = self.members.peers.get(peer)
        if isinstance(message, NodeHello):
            self._hello(peer, node, message, out, now)
        elif node is None:
            out.send(peer, Again())
        else:
            self._beat(node, message, out, now)

    def not_sent(self, node: Node, out: Outbox, now: float) -> None:
        """The link to a node is down: it gets nothing new, and leaves at once if it runs nothing."""
        if node.link.is_reachable:
            has_ended = node.is_draining and not node.placements  # as it said that it would
            out.log("node.unreachable", is_warning=not has_ended, node_id=node.node_id)
        node.link.fail(now)
        self.drains.release(node)
        for ex_id in {placement.ex_id: None for placement in node.placements.values()}:
            if execution := self.roster.get(ex_id):
                self.roster.touch(execution)
        if not node.placements:
            self._lose(node, "left without running anything", out, now)

    def check_links(self, out: Outbox, now: float) -> None:
        """Give up nodes that were away for too long."""
        for node in list(self.members.nodes.values()):
            since = node.link.unreachable_since
            if since is not None and now >= since + self.settings.node_disconnect_timeout_s:
                self._lose(node, "could not be reached for too long", out, now)

    def probe(self, out: Outbox, now: float) -> None:
        """Try the links to silent nodes."""
        for node in self.members.nodes.values():
            if node.link.probe(now):
                out.send(node.link.peer, Alive())

    def _beat(self, node: Node, beat: NodeBeat, out: Outbox, now: float) -> None:
        self._hear_link(node, now)
        self.counting.hear_node(node.node_id, node.link.peer, beat.mesh)
        out.send(node.link.peer, Alive())
        if beat.draining and not node.is_draining:
            node.is_draining = True
            out.log("node.draining", node_id=node.node_id)
        self._compare(node, beat, out, now)
        if node.is_to_be_empty:
            self.drains.empty(node, out, now)
        is_behind = beat.revision < node.revision and now - node.sent_at >= node.link.beat_s / 2
        if is_behind or beat.revision > node.revision:  # a clock that was set back makes ours the lower one
            node.is_stale = True
        if beat.revision < REVISION_FAR:
            node.revision = max(node.revision, beat.revision)

    def _hello(self, peer: str, node: Node | None, hello: NodeHello, out: Outbox, now: float) -> None:
        if hello.protocol != PROTOCOL:
            reason = f"this master speaks protocol {PROTOCOL}, node {hello.node_id} speaks {hello.protocol}"
            out.send(peer, Refused(reason=reason))
            return
        if node is None:
            older = self.members.nodes.get(hello.node_id)
            if older is not None and not self._give_way(older, peer, hello, out, now):
                return
            node = self.members.add(peer, hello, beat_s=self.settings.heartbeat_interval_s, now=now)
            out.log(
                "node.joined",
                node_id=node.node_id,
                hostname=node.hostname,
                slots=node.slots,
                runs=len(hello.runs),
            )
            self._compare_config(node, out)
        elif self.members.update(node, hello):
            out.log("node.changed", node_id=node.node_id, slots=node.slots, config=node.config)
            self._compare_config(node, out)
        self._hear_link(node, now)
        self.counting.hear_node(node.node_id, peer, hello.mesh)
        welcome = NodeWelcome(
            version=self.settings.version, beat_interval_s=self.settings.heartbeat_interval_s
        )
        out.send(peer, welcome)
        self._compare(node, hello, out, now)
        self._drop_unreported(node, hello, out, now)
        if node.is_to_be_empty:
            self.drains.empty(node, out, now)
        node.is_stale = True

    def compare_configs(self, out: Outbox) -> None:
        """Warn of nodes that have read another cluster file than the master."""
        for node in self.members.nodes.values():
            self._compare_config(node, out)

    def _compare_config(self, node: Node, out: Outbox) -> None:
        ours = self.settings.config
        if ours and node.config and node.config != ours:
            out.log(
                "node.config_differs", is_warning=True, node_id=node.node_id, config=node.config, ours=ours
            )

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
        self._lose(older, words, out, now, is_dead=hello.hostname == older.hostname)
        return True

    def _hear_link(self, node: Node, now: float) -> None:
        if not node.link.is_reachable:
            self.members.room_changed = True
        node.link.hear(now)

    def _compare(self, node: Node, report: NodeHello | NodeBeat, out: Outbox, now: float) -> None:
        """Take in what a node runs and what ended there."""
        seen = tuple(each.proc_id for each in report.exits)
        news = set(seen) - set(node.exits_seen)
        if news:
            node.is_stale = True
        node.exits_seen = seen
        revision = report.revision if isinstance(report, NodeBeat) else None
        foreign = {each.proc_id for each in report.exits if not self._may_know(node, each)}
        if told := sorted(foreign & news):
            # Its own words are no proof that it ever ran them; an honest node never says so.
            self.counting.foreign_exits += len(told)
            out.log(
                "node.foreign_exits", is_warning=True, node_id=node.node_id, count=len(told), proc_id=told[0]
            )
        exits = [each for each in report.exits if each.proc_id not in foreign]
        gone, strays = self.members.take_report(node, report.runs, exits, revision)
        for ended in gone:
            self._process_ended(node, ended, out, now, is_news=ended.proc_id in news)
        for run in strays:
            execution = self.roster.get(run.ex_id)
            spec = execution.adopt(node, run, now) if execution else None
            self.members.adopt(node, run, spec)
            if execution is None:
                continue
            self.roster.touch(execution)
            if execution.is_surplus(run.proc_id):
                self.members.end(run.ex_id, run.proc_id, until=now + self.settings.shutdown_timeout_s)

    def _may_know(self, node: Node, ended: ProcessExit) -> bool:
        """Whether a process can have ended on a node: it was placed there, or an earlier master placed it."""
        placed_on = self.members.node_of(ended.ex_id, ended.proc_id)
        if placed_on is not None:
            return placed_on is node
        execution = self.roster.get(ended.ex_id)
        controller = execution.controller if execution is not None else None
        is_controller = controller is not None and controller.proc_id == ended.proc_id
        return not is_controller or controller is None or controller.node_id == node.node_id

    def _drop_unreported(self, node: Node, hello: NodeHello, out: Outbox, now: float) -> None:
        """A controller that an earlier master placed on this node has ended if the node does not run it."""
        runs = {run.proc_id for run in hello.runs}
        for execution in self.roster:
            controller = execution.controller
            if (
                controller is not None
                and not controller.is_revoked
                and controller.node_id == node.node_id
                and controller.proc_id not in runs
                and controller.proc_id not in node.placements
            ):
                words = f"was not running any more when node {node.node_id} called"
                execution.lose_controller(words, out, now, is_fault=False)
                self.roster.touch(execution)

    def _process_ended(
        self, node: Node, ended: ProcessExit, out: Outbox, now: float, *, is_news: bool
    ) -> None:
        execution = self.roster.get(ended.ex_id)
        name = parse_process_id(ended.proc_id)
        if execution is None or name is None:
            return
        self.roster.touch(execution)
        if name.generation != execution.generation:
            return
        is_fault = not node.is_to_be_empty
        controller = execution.controller
        if name.number > 0:
            if is_news:
                out.log(
                    "worker.ended",
                    ex_id=ended.ex_id,
                    proc_id=ended.proc_id,
                    node_id=node.node_id,
                    reason=describe_exit(ended),
                )
            execution.worker_ended(ended, now, is_fault=is_fault)
        elif controller is not None and controller.proc_id == ended.proc_id:
            if ended.exit_code == NO_PORT_EXIT and ended.doing == FINDING_PORT:
                execution.wait_for_port(ended.detail, node.node_id, out, now)
                return
            execution.lose_controller(
                describe_exit(ended),
                out,
                now,
                is_fault=is_fault and not controller.is_dismissed,
                has_drained=ended.exit_code == 0,
            )

    def _lose(self, node: Node, words: str, out: Outbox, now: float, *, is_dead: bool = False) -> None:
        """Forget a node; what it ran is placed elsewhere, controllers once their lease has run out."""
        self.drains.release(node)
        placements = self.members.remove(node)
        self.counting.forget_node(node.node_id)
        out.log("node.left", is_warning=bool(placements), node_id=node.node_id, reason=words)
        out.actions.append(NodeChanged(node_id=node.node_id))
        for ex_id in {placement.ex_id: None for placement in placements}:
            execution = self.roster.get(ex_id)
            if execution is None:
                continue
            self.roster.touch(execution)
            execution.crew.leave_node(node.node_id)
            controller = execution.controller
            if controller is None or controller.node_id != node.node_id:
                continue
            if not is_dead and now < controller.lease_until and execution.is_active:
                controller.is_revoked = True
            else:
                execution.lose_controller(
                    f"was on node {node.node_id}, which was lost", out, now, is_fault=False
                )

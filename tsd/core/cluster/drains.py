"""Nodes on which nothing is to run: how what is there leaves in good order, and goes on elsewhere.

The same for a node that an operator drains and for one whose daemon was told to end. Workers are replaced at
once, where there is room: the old one ends its running slice, takes no other, and leaves. A controller has to
be gone before the next generation of it starts, so it ends first: it waits for what runs and has all records
stored. One whose slicer is not recoverable can have no successor: it stays until its execution ends, with
workers elsewhere.
"""

import math

import attrs

from tsd.core.cluster.events import NodeChanged, Outbox, SaveDrain
from tsd.core.cluster.membership import Members, Node, Placement
from tsd.core.cluster.records import Drain
from tsd.core.cluster.roster import Roster
from tsd.core.cluster.views import NodeView, view_absent, view_node
from tsd.core.records import ProcessRole
from tsd.errors import NotFound


@attrs.define(kw_only=True)
class DrainDesk:
    """Keeps what operators want of nodes, and empties those that are to be empty."""

    members: Members
    roster: Roster

    def drain(self, node_id: str, within_s: float | None, out: Outbox, now: float) -> None:
        """Let nothing run on a node; once more it can shorten the time, never prolong it.

        Raises:
            NotFound: There is no such node.
        """
        self._require(node_id)
        old = self.members.drains.get(node_id)
        until = None if within_s is None else now + max(0.0, within_s)
        if old is None:
            drain = Drain(node_id=node_id, since=now, until=until)
            out.log("node.drain", node_id=node_id, within_s=within_s)
        else:
            times = [time for time in (old.until, until) if time is not None]
            drain = attrs.evolve(old, until=min(times, default=None))
        if drain == old:
            return
        self.members.drains[node_id] = drain
        out.saves.append(SaveDrain(node_id=node_id, drain=drain))
        if node := self.members.nodes.get(node_id):
            node.drain = drain
            self.empty(node, out, now)

    def undrain(self, node_id: str, out: Outbox) -> None:
        """Use a node again; what was told to end there ends all the same.

        Raises:
            NotFound: There is no such node.
        """
        self._require(node_id)
        if self.members.drains.pop(node_id, None) is None:
            return
        out.saves.append(SaveDrain(node_id=node_id, drain=None))
        out.log("node.undrain", node_id=node_id)
        out.actions.append(NodeChanged(node_id=node_id))
        if node := self.members.nodes.get(node_id):
            node.drain = None
            node.has_told_drained = False
            self.members.room_changed = True

    def view(self, node_id: str) -> NodeView:
        """A node, also one that is away and to be drained.

        Raises:
            NotFound: There is no such node.
        """
        self._require(node_id)
        node = self.members.nodes.get(node_id)
        return view_absent(self.members.drains[node_id]) if node is None else view_node(node)

    def empty(self, node: Node, out: Outbox, now: float) -> None:
        """End what runs on a node that is to be empty; what is missing then is placed elsewhere."""
        for ex_id, _ in node.held:
            if execution := self.roster.get(ex_id):
                execution.crew.is_displaced = True
        if node.held:
            self.release(node)
        until = node.drain.until if node.drain is not None else None
        for placement in list(node.placements.values()):
            if placement.is_wanted and self._stays(node, placement, out, now):
                continue
            was_wanted = placement.is_wanted
            self.members.end(placement.ex_id, placement.proc_id, until=math.inf if until is None else until)
            execution = self.roster.get(placement.ex_id)
            if execution is None or not was_wanted:
                continue
            self.roster.touch(execution)
            if placement.role is ProcessRole.WORKER:
                execution.crew.step_aside(placement.proc_id)
            elif execution.controller and execution.controller.proc_id == placement.proc_id:
                execution.dismiss_controller(out, now)

    def staying(self, node_id: str) -> list[str]:
        """Executions whose controllers can not leave a node that is to be drained."""
        return [
            each.ex_id
            for each in self.roster
            if each.controller is not None
            and each.controller.node_id == node_id
            and each.controller.is_replaceable is False
            and node_id in self.members.drains
        ]

    def _stays(self, node: Node, placement: Placement, out: Outbox, now: float) -> bool:
        """Whether a controller is left where it is: it has no successor, or has not said yet."""
        execution = self.roster.get(placement.ex_id)
        controller = execution.controller if execution is not None else None
        if controller is None or controller.proc_id != placement.proc_id or node.is_draining:
            return False
        until = node.drain.until if node.drain is not None else None
        if controller.may_leave or (until is not None and now >= until):
            return False
        if controller.is_replaceable is False and not controller.has_told_staying:
            controller.has_told_staying = True
            words = "its slicer is not recoverable, so it stays until the execution ends"
            out.log(
                "controller.stays",
                is_warning=True,
                ex_id=placement.ex_id,
                node_id=node.node_id,
                reason=words,
            )
        return True

    def release(self, node: Node) -> None:
        """Give up the slots that are held on a node; what runs there stays."""
        for execution in self.roster:
            execution.crew.let_go_of(node.node_id)
        node.held.clear()
        self.members.room_changed = True

    def tell_drained(self, out: Outbox) -> None:
        """Say once of each drained node that nothing runs there any more."""
        for node_id in self.members.drains:
            node = self.members.nodes.get(node_id)
            if node is None or node.has_told_drained == node.is_drained:
                continue
            node.has_told_drained = node.is_drained
            if node.is_drained:
                out.log("node.drained", node_id=node_id)
                out.actions.append(NodeChanged(node_id=node_id))

    def _require(self, node_id: str) -> None:
        known = {*self.members.nodes, *self.members.drains}
        if node_id not in known:
            words = f"known are {', '.join(sorted(known))}" if known else "no node is known"
            raise NotFound(f"no node has the id {node_id}: {words}")

"""What can be done with nodes."""

from typing import Any

import attrs

from tsd.core.cluster.events import DrainNode, UndrainNode
from tsd.core.cluster.views import NodeView
from tsd.master.brain import Brain
from tsd.master.clusterview import node_document
from tsd.master.readiness import room_of
from tsd.operations.dates import to_iso

Document = dict[str, Any]

WAITING_SHOWN = 100
"""So many executions that wait are told with a node; there may be thousands."""


@attrs.frozen(kw_only=True)
class DrainOptions:
    """How to drain.

    Attributes:
        is_blocking: Answer when nothing runs there any more.
        within_s: Time that running slices have; None for as long as they need.
    """

    is_blocking: bool = True
    within_s: float | None = None


@attrs.frozen(eq=False, kw_only=True)
class NodeService:
    """Use cases of nodes; documents are as clients see them."""

    brain: Brain

    def find(self) -> list[Document]:
        """All nodes by id, also those that are away and to be drained."""
        return [_document(view) for view in self.brain.machine.nodes()]

    def get(self, node_id: str) -> Document:
        """A node, and what there is of room in the cluster.

        Raises:
            NotFound: There is none.
        """
        return self._with_room(self.brain.machine.node(node_id))

    async def drain(self, node_id: str, options: DrainOptions) -> Document:
        """Let nothing run on a node.

        When cancelled it is drained all the same.

        Raises:
            NotFound: There is none.
            NotReady: The master ends while this waits.
        """
        await self.brain.ask(DrainNode(node_id=node_id, within_s=options.within_s))
        if options.is_blocking:
            await self.brain.watches.until_nodes(lambda: self._is_over(node_id))
        return self.get(node_id)

    async def undrain(self, node_id: str) -> Document:
        """Use a node again.

        Raises:
            NotFound: There is none.
        """
        before = self.brain.machine.node(node_id)
        await self.brain.ask(UndrainNode(node_id=node_id))
        after = self._views().get(node_id)
        # One that is away may have been known by the wish alone, and is forgotten with it.
        return self._with_room(attrs.evolve(before, drain=None) if after is None else after)

    def _is_over(self, node_id: str) -> bool:
        """Nothing is waited for: it is empty, is to be used again, or is not there any more."""
        view = self._views().get(node_id)
        return view is None or view.drain is None or not view.processes

    def _views(self) -> dict[str, NodeView]:
        return {view.node_id: view for view in self.brain.machine.nodes()}

    def _with_room(self, view: NodeView) -> Document:
        machine = self.brain.machine
        return {
            **_document(view),
            "staying": machine.staying(view.node_id),
            "capacity": room_of(machine.capacity()),
            "waiting": [attrs.asdict(each) for each in machine.waiting(WAITING_SHOWN)],
        }


def _document(view: NodeView) -> Document:
    document: Document = {"node_id": view.node_id, "state": view.state, "processes": view.processes}
    if view.is_known:
        document = {**node_document(view), **document}
    if view.drain is not None:
        document["drain_since"] = to_iso(round(view.drain.since * 1000))
        if view.drain.until is not None:
            document["drain_until"] = to_iso(round(view.drain.until * 1000))
    return document

"""What nodes, controllers and workers have counted since this master started."""

import attrs

from tsd.core.counts import ControllerCounts, MeshCounts, Total, WorkCounts, as_count, mesh_sum, plus


@attrs.frozen(kw_only=True)
class ClusterCounts:
    """Sums over all processes, also over those that are gone.

    Attributes:
        work: What came of slices.
        nodes: Links of node daemons.
        controllers: Links of controllers.
        workers: Links of workers.
    """

    work: WorkCounts = attrs.field(factory=WorkCounts)
    nodes: MeshCounts = attrs.field(factory=MeshCounts)
    controllers: MeshCounts = attrs.field(factory=MeshCounts)
    workers: MeshCounts = attrs.field(factory=MeshCounts)


def _mesh_total() -> Total[MeshCounts]:
    return Total(MeshCounts())


@attrs.define(kw_only=True, eq=False)
class Counting:
    """Takes in what the processes say of themselves.

    Attributes:
        foreign_exits: Ends of processes that a node told and that it did not run.
    """

    foreign_exits: int = 0
    _work: Total[WorkCounts] = attrs.field(factory=lambda: Total(WorkCounts()), init=False)
    _recorded: WorkCounts = attrs.field(factory=WorkCounts, init=False)
    _nodes: Total[MeshCounts] = attrs.field(factory=_mesh_total, init=False)
    _controllers: Total[MeshCounts] = attrs.field(factory=_mesh_total, init=False)
    _workers: Total[MeshCounts] = attrs.field(factory=_mesh_total, init=False)

    def hear_node(self, node_id: str, peer: str, counts: MeshCounts) -> None:
        """A node said hello or beat."""
        self._nodes.hear(node_id, peer, counts)

    def hear_controller(self, ex_id: str, peer: str, counts: ControllerCounts) -> None:
        """The present controller of an execution said hello, beat or reported."""
        self._work.hear(ex_id, peer, counts.work)
        self._controllers.hear(ex_id, peer, counts.mesh)
        self._workers.hear(ex_id, peer, counts.workers)

    def hear_records(self, completed: int, failed: int) -> None:
        """So many more slices are completed, and in error, by records that are durable."""
        self._recorded = plus(
            self._recorded, WorkCounts(completed=as_count(completed), failed=as_count(failed))
        )

    def forget_node(self, node_id: str) -> None:
        """The node has left."""
        self._nodes.forget(node_id)

    def forget_execution(self, ex_id: str) -> None:
        """The execution has ended and nothing of it is left."""
        for total in (self._work, self._controllers, self._workers):
            total.forget(ex_id)

    def totals(self) -> ClusterCounts:
        """The sums as they are now."""
        return ClusterCounts(
            work=plus(self._work.sum, self._recorded),
            nodes=mesh_sum(self._nodes),
            controllers=mesh_sum(self._controllers),
            workers=mesh_sum(self._workers),
        )

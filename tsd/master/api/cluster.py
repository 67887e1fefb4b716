"""`/cluster`: nodes, controllers, totals. Reads are of what is in memory, so probes may ask often."""

from typing import Any

from tsd.master.api import queries
from tsd.master.api.documents import Controller, Node, NodeEntry, NodeWithRoom, Stats
from tsd.master.api.endpoint import Group
from tsd.master.nodes import DrainOptions
from tsd.master.service import MasterService

_CLUSTER = Group("Cluster")
_NO_NODE = {404: "there is no such node; the message names those that there are"}


@_CLUSTER.declare("GET", "/cluster/state", answer=dict[str, Node])
async def cluster_state(service: MasterService) -> dict[str, Any]:
    """Nodes by id, with their slots and processes.

    The master is a node of its own, with the services that Teraslice's master runs.
    """
    return service.cluster.state()


@_CLUSTER.declare("GET", "/cluster/controllers", answer=list[Controller])
async def cluster_controllers(service: MasterService) -> list[dict[str, Any]]:
    """Counters of every execution that runs."""
    return service.cluster.controllers()


@_CLUSTER.declare("GET", "/cluster/stats", answer=Stats)
async def cluster_stats(service: MasterService) -> dict[str, Any]:
    """Sums over all executions since the master started."""
    return service.cluster.stats()


@_CLUSTER.declare("GET", "/cluster/nodes", answer=list[NodeEntry])
async def list_nodes(service: MasterService) -> list[dict[str, Any]]:
    """Nodes, and which of them are to be drained, also of those that are away."""
    return service.nodes.find()


@_CLUSTER.declare("GET", "/cluster/nodes/<node_id>", answer=NodeWithRoom, errors=_NO_NODE)
async def get_node(service: MasterService, node_id: str) -> dict[str, Any]:
    """A node, and what there is of room in the cluster for what it runs."""
    return service.nodes.get(node_id)


@_CLUSTER.declare(
    "POST",
    "/cluster/nodes/<node_id>/_drain",
    query={"options": queries.DRAIN_OPTIONS},
    answer=NodeWithRoom,
    errors=_NO_NODE,
)
async def drain_node(service: MasterService, node_id: str, *, options: DrainOptions) -> dict[str, Any]:
    """Let nothing run on a node: what is there ends in good order and goes on elsewhere.

    It holds until `_undrain`, over restarts of the master and of the node. Once more it changes nothing, but
    that it can shorten `timeout`.
    """
    return await service.nodes.drain(node_id, options)


@_CLUSTER.declare("POST", "/cluster/nodes/<node_id>/_undrain", answer=NodeWithRoom, errors=_NO_NODE)
async def undrain_node(service: MasterService, node_id: str) -> dict[str, Any]:
    """Use a node again; what was told to end there ends all the same."""
    return await service.nodes.undrain(node_id)


ENDPOINTS = (
    cluster_state,
    cluster_controllers,
    cluster_stats,
    list_nodes,
    get_node,
    drain_node,
    undrain_node,
)

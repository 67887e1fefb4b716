"""`/cluster`: nodes, controllers, totals. All of it is in memory, so probes may ask often."""

from typing import Any

from tsd.master.api.documents import Controller, Node, Stats
from tsd.master.api.endpoint import Group
from tsd.master.service import MasterService

_CLUSTER = Group("Cluster")


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


ENDPOINTS = (cluster_state, cluster_controllers, cluster_stats)

"""The state of the cluster as clients see it; all of it is in memory."""

import os
from typing import Any

import attrs

from tsd.addresses import own_host_name
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.views import ActiveView, ControllerView, NodeView
from tsd.core.records import ExecutionStats, Status
from tsd.errors import NotFound
from tsd.master.identity import NODE_VERSION, TERASLICE_VERSION

Document = dict[str, Any]


@attrs.frozen(eq=False, kw_only=True)
class ClusterService:
    """Nodes, controllers and totals."""

    machine: ClusterMachine

    def state(self) -> Document:
        """Nodes by id, and the master, which takes no slot of theirs."""
        nodes = {node_id: node_document(view) for node_id, view in self.machine.cluster_state().items()}
        master_id = "master"
        while master_id in nodes:
            master_id += "~"
        return {master_id: _master(master_id, self.machine.settings.config), **nodes}

    def controllers(self) -> list[Document]:
        """Executions that run and whose controller is connected, by name and start, both descending."""
        return [_controller(view) for view in self.machine.controllers()]

    def controller(self, ex_id: str) -> Document:
        """The counters of one of them.

        Raises:
            NotFound: It does not run, or its controller is not connected.
        """
        for view in self.machine.controllers():
            if view.ex_id == ex_id:
                return _controller(view)
        raise NotFound(f"Could not find active slicer for ex_id: {ex_id}")

    def stats(self) -> Document:
        """Sums over all executions since the master started, under both names that they have."""
        totals = attrs.asdict(self.machine.cluster_stats())
        return {"controllers": totals, "slicer": totals}


def with_present_stats(machine: ClusterMachine, execution: Document) -> Document:
    """An execution with the counters of now if it is failing: stored are those of its start."""
    if execution.get("_status") != Status.FAILING:
        return execution
    view = machine.execution_view(execution["ex_id"])
    if view is None or "_slicer_stats" not in execution:
        return execution
    return execution | {"_slicer_stats": _counters(view.stats)}


def node_document(view: NodeView) -> Document:
    """A node as clients see it, with what it runs."""
    return {
        "node_id": view.node_id,
        "hostname": view.hostname,
        "pid": view.pid,
        "node_version": f"v{view.python.removeprefix('v')}",
        "teraslice_version": TERASLICE_VERSION,
        "tsd_version": view.version,
        "total": view.total,
        "state": view.state,
        "available": view.available,
        "active": [_process(process) for process in view.active],
        "config": view.config,
        "labels": dict(view.labels),
    }


def _process(view: ActiveView) -> Document:
    document = attrs.asdict(view)
    for name in ("assets", "problem"):
        if not document[name]:
            del document[name]
    return document


def _master(node_id: str, config: str) -> Document:
    """The master as a node of its own, with the services that Teraslice's master runs."""
    pid = os.getpid()
    services = ("cluster_master", "assets_service")
    return {
        "node_id": node_id,
        "hostname": own_host_name(),
        "pid": pid,
        "node_version": NODE_VERSION,
        "teraslice_version": TERASLICE_VERSION,
        "total": len(services),
        "state": "connected",
        "available": 0,
        "active": [
            {"worker_id": number, "assignment": service, "pid": pid}
            for number, service in enumerate(services, 1)
        ],
        "config": config,
    }


def _controller(view: ControllerView) -> Document:
    return {"ex_id": view.ex_id, "job_id": view.job_id, "name": view.name, **_counters(view.stats)}


def _counters(stats: ExecutionStats) -> Document:
    return {name: value for name, value in attrs.asdict(stats).items() if value is not None}

"""`/cluster`: nodes, controllers, totals. All of it is in memory, so probes may ask often."""

from typing import Any

from quart_trio import QuartTrio

from tsd.master.service import MasterService


def add_routes(app: QuartTrio, service: MasterService) -> None:
    """Add the routes of this resource."""
    cluster = service.cluster

    @app.get("/cluster/state")
    async def state() -> dict[str, Any]:
        return cluster.state()

    @app.get("/cluster/controllers")
    async def controllers() -> list[dict[str, Any]]:
        return cluster.controllers()

    @app.get("/cluster/stats")
    async def stats() -> dict[str, Any]:
        return cluster.stats()

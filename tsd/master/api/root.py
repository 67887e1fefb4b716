"""`GET /`: what this cluster is."""

from quart_trio import QuartTrio

from tsd.master.service import MasterService


def add_routes(app: QuartTrio, service: MasterService) -> None:
    """Add the routes of this resource."""

    @app.get("/")
    async def info() -> dict[str, object]:
        return service.info()

"""`/health` and `/ready`: for load balancers and people who wonder."""

from quart import Response
from quart_trio import QuartTrio

from tsd.master.api.framing import JSON_TYPE, encode_json
from tsd.master.service import MasterService


def add_routes(app: QuartTrio, service: MasterService) -> None:
    """Add the routes of this resource."""

    @app.get("/health")
    async def health() -> dict[str, object]:
        """The process lives and its loop turns."""
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> Response:
        """Whether jobs can be posted now, and if not, why."""
        reasons = service.why_not_ready()
        status = "ready" if not reasons else "not ready"
        return Response(
            encode_json({"status": status, "reasons": reasons}),
            status=503 if reasons else 200,
            content_type=JSON_TYPE,
        )

"""`/health` and `/ready`: for load balancers and people who wonder."""

from quart import Response

from tsd.master.api.documents import Health, Readiness
from tsd.master.api.endpoint import Answer, Group
from tsd.master.api.framing import JSON_TYPE, encode_json
from tsd.master.service import MasterService

_HEALTH = Group("Health")


@_HEALTH.declare("GET", "/health", answer=Health)
async def health(_service: MasterService) -> dict[str, object]:
    """Whether the master lives.

    It does when it answers: the process is there and its loop turns.
    """
    return {"status": "alive"}


@_HEALTH.declare(
    "GET", "/ready", answer=Readiness, also={503: Answer(Readiness, "jobs can not be posted now, and why")}
)
async def ready(service: MasterService) -> Response:
    """Whether jobs can be posted now, and if not, why.

    A cluster without nodes is ready, since jobs are taken and wait; `checks.capacity` tells that.
    """
    readiness = service.readiness()
    is_ready = not readiness.reasons
    document = {
        "status": "ready" if is_ready else "not ready",
        "reasons": readiness.reasons,
        "checks": readiness.checks,
    }
    return Response(encode_json(document), status=200 if is_ready else 503, content_type=JSON_TYPE)


ENDPOINTS = (health, ready)

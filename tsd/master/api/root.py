"""`GET /`: what this cluster is."""

from tsd.master.api.documents import Info
from tsd.master.api.endpoint import Group
from tsd.master.service import MasterService

_CLUSTER = Group("Cluster")


@_CLUSTER.declare("GET", "/", answer=Info)
async def info(service: MasterService) -> dict[str, object]:
    """What this cluster is."""
    return service.info()


ENDPOINTS = (info,)

"""`/metrics`: for Prometheus, of the master and through it of the whole cluster."""

from quart import Response

from tsd.master.api.endpoint import Answer, Group
from tsd.master.service import MasterService
from tsd.observe.metrics import CONTENT_TYPE

_METRICS = Group("Health")


@_METRICS.declare("GET", "/metrics", answer=Answer(str, "metrics in the text format", CONTENT_TYPE))
async def metrics(service: MasterService) -> Response:
    """Metrics in the text format of Prometheus.

    Nodes, controllers and workers are counted in, so one scrape of the master shows the cluster.
    """
    return Response(await service.metrics.scrape(), content_type=CONTENT_TYPE)


ENDPOINTS = (metrics,)

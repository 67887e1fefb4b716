"""Every endpoint that there is."""

from typing import Final

from tsd.master.api import (
    assets,
    cluster,
    executions,
    health,
    jobs,
    letters,
    metrics,
    reference,
    root,
    txt,
)

_RESOURCES: Final = tuple(
    endpoint
    for resource in (jobs, executions, letters, assets, root, cluster, txt, health, metrics)
    for endpoint in resource.ENDPOINTS
)
ENDPOINTS: Final = (*_RESOURCES, *reference.endpoints_about(_RESOURCES))

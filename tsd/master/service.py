"""Everything that can be asked of the master, as the API (and only the API) asks it."""

import attrs

from tsd.master import identity
from tsd.master.clusterview import ClusterService
from tsd.master.executions import ExecutionService
from tsd.master.jobs import JobService
from tsd.store.store import Store


@attrs.define(eq=False, kw_only=True)
class MasterService:
    """The use cases, and how the master is.

    Attributes:
        cluster_name: Shown at `/`.
        is_closing: The master ends.
    """

    cluster_name: str
    store: Store
    jobs: JobService
    executions: ExecutionService
    cluster: ClusterService
    is_closing: bool = False

    def info(self) -> dict[str, object]:
        """What this cluster is."""
        return identity.info(self.cluster_name)

    def why_not_ready(self) -> list[str]:
        """Why jobs can not be posted now; empty when they can."""
        reasons = ["the master is ending"] if self.is_closing else []
        health = self.store.health
        if not health.is_ok:
            reasons.append(f"the store does not take writes: {health.reason}")
        return reasons

"""Everything that can be asked of the master, as the API (and only the API) asks it."""

import attrs

from tsd.master import identity
from tsd.master.assets import AssetService
from tsd.master.brain import Brain
from tsd.master.clusterview import ClusterService
from tsd.master.executions import ExecutionService
from tsd.master.jobs import JobService
from tsd.master.letters import LetterService
from tsd.master.metrics import MasterMetrics
from tsd.master.nodes import NodeService
from tsd.master.readiness import Readiness, readiness_of
from tsd.master.requests import RequestCounter
from tsd.store.store import Store


@attrs.define(eq=False, kw_only=True)
class MasterService:
    """The use cases, and how the master is.

    Attributes:
        cluster_name: Shown at `/`.
        requests: Counts those to the API.
        metrics: What `/metrics` shows.
        is_closing: The master ends.
    """

    cluster_name: str
    store: Store
    jobs: JobService
    executions: ExecutionService
    letters: LetterService
    cluster: ClusterService
    nodes: NodeService
    assets: AssetService
    brain: Brain
    requests: RequestCounter
    metrics: MasterMetrics
    is_closing: bool = False

    def info(self) -> dict[str, object]:
        """What this cluster is."""
        return identity.info(self.cluster_name)

    def readiness(self) -> Readiness:
        """Whether jobs can be posted now, and why not."""
        return readiness_of(self.brain, self.store.health, is_closing=self.is_closing)

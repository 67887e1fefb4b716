"""What the log lines of real processes say."""

import json

import pytest

from tests.support.daemons import cluster_for
from tests.support.jobs import job

pytestmark = pytest.mark.slow


def test_lines_of_controllers_and_workers_name_their_execution_and_job(request, tmp_path):
    """Cluster 29."""
    with cluster_for(request, tmp_path) as cluster:
        up = cluster.start_up()
        job_id, ex_id = cluster.post_job(job())
        cluster.wait_status(ex_id, "completed")
        up.stop()

        lines = [json.loads(line) for line in up.log.splitlines() if line.startswith("{")]
        own = [line for line in lines if line["role"] in {"controller", "worker"}]
        assert {line["role"] for line in own} == {"controller", "worker"}
        assert {(line.get("ex_id"), line.get("job_id")) for line in own} == {(ex_id, job_id)}

"""A persistent job whose slices fail: what it says of itself while it goes on."""

import pytest

from tests.support.daemons import cluster_for, until

pytestmark = pytest.mark.slow

JOB = {
    "name": "failing",
    "lifecycle": "persistent",
    "workers": 1,
    "max_retries": 0,
    "operations": [{"_op": "test-reader"}, {"_op": "derive", "fields": {"x": "int(name)"}}],
}


def test_a_failing_execution_says_why_and_counts_on(request, tmp_path):
    with cluster_for(request, tmp_path) as cluster:
        cluster.start_up()
        job_id, ex_id = cluster.post_job(JOB)
        cluster.wait_status(ex_id, "failing")

        def failed(path):
            document = cluster.get(path)
            document = document[0] if isinstance(document, list) else document
            assert document["_status"] == "failing"
            assert document["_has_errors"] is True
            assert document["_failureReason"].startswith(
                f"execution {ex_id} has encountered a processing error, reason:"
                ' derive (operations[1]): ValueError: x: int("Ada")'
            )
            return document["_slicer_stats"]["failed"]

        for path in (f"/v1/ex/{ex_id}", f"/v1/jobs/{job_id}/ex", "/v1/ex?status=failing"):
            first = failed(path)
            until(lambda path=path, first=first: failed(path) > first, f"{path} counts on")

        (error,) = cluster.get(f"/v1/ex/{ex_id}/errors?size=1")
        assert error["error"].startswith('derive (operations[1]): ValueError: x: int("Ada"): ')

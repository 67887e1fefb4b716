"""One scrape of the master shows what really runs, whatever dies meanwhile."""

import contextlib
import os
import signal
import threading

import pytest
import zmq

from tests.support.daemons import cluster_for, until
from tests.support.scrape import fallen, series, values_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def cluster(request, tmp_path):
    settings = {"tsd.operation_modules": ["tests.support.ops"], "tsd.controller_lease": "2s"}
    with cluster_for(request, tmp_path, workers=3, **settings) as cluster:
        cluster.start_master()
        cluster.start_node("node-1")
        cluster.start_node("node-2")
        yield cluster


def scrape(cluster):
    answer = cluster.request("GET", "/metrics")
    assert answer.status_code == 200
    return values_of(answer.text)


class Scraper:
    """Scrapes again and again, and notes every counter that fell."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0
        self.fallen = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._is_over.set()
        self._thread.join()

    def _run(self):
        before = {}
        while not self._is_over.wait(0.05):
            after = scrape(self._cluster)
            self.fallen += fallen(before, after)
            before = after
            self.count += 1


def failing_job(*, size=400, workers=4):
    """Slices 10 and 20 fail, the others take 20 ms."""
    return {
        "name": "metrics",
        "workers": workers,
        "max_retries": 0,
        "operations": [
            {"_op": "count", "size": size},
            {"_op": "sleeper", "seconds": 0.02},
            {"_op": "raiser", "at": [10, 20]},
        ],
    }


def test_the_sums_are_those_of_the_api_though_a_worker_dies(cluster):
    began = scrape(cluster)
    assert began[series("tsd_nodes", state="connected")] == 2
    assert began[series("tsd_slots")] == began[series("tsd_slots_free")] == 6
    with Scraper(cluster) as scraper:
        job_id, ex_id = cluster.post_job(failing_job())
        labels = {"ex_id": ex_id, "job_id": job_id, "job_name": "metrics"}
        until(lambda: scrape(cluster)[series("tsd_slices_completed_total")] > 40, "slices are counted")
        assert scrape(cluster)[series("teraslice_controller_slicers_count", **labels)] == 1

        victim = until(lambda: [p for p in cluster.processes(ex_id, "worker") if p["pid"]], "a worker runs")[
            0
        ]
        os.kill(victim["pid"], signal.SIGKILL)
        until(
            lambda: (
                scrape(cluster).get(series("teraslice_controller_workers_disconnected", **labels), 0) >= 1
            ),
            "the death shows",
        )
        stats = cluster.wait_status(ex_id, "failed", within_s=90)["_slicer_stats"]
        until(lambda: series("teraslice_execution_info", ex_id=ex_id) not in scrape(cluster), "its series go")
        until(lambda: scrape(cluster)[series("tsd_slots_free")] == 6, "all slots are free")
        ended = scrape(cluster)

    # max_retries is 0, so the slice that the worker was killed in may be the third one in error.
    failed = ended[series("tsd_slices_failed_total")]
    assert failed == stats["failed"] in {2, 3}
    assert ended[series("tsd_slices_completed_total")] + failed == stats["processed"] == 400
    assert ended[series("teraslice_slices_processed")] == 400
    assert ended[series("tsd_records_committed_total")] >= len(cluster.records(ex_id)) == 400
    assert ended[series("tsd_executions_ended_total", status="failed")] == 1
    assert ended[series("tsd_slices_busy_seconds_total")] > 400 * 0.02
    # One a slice, told with its result.
    assert 400 <= ended[series("tsd_records_read_total")] + failed <= 410
    assert ended[series("tsd_mesh_messages_total", role="worker", direction="in")] > 10
    assert ended[series("tsd_mesh_messages_total", role="controller", direction="out")] > 10
    assert not [key for key in ended if ("ex_id", ex_id) in key]
    assert scraper.count > 3
    assert scraper.fallen == []


def test_no_counter_falls_when_a_controller_is_replaced_or_a_node_goes(cluster):
    with Scraper(cluster) as scraper:
        _, ex_id = cluster.post_job(failing_job(workers=2))
        until(lambda: scrape(cluster)[series("tsd_slices_completed_total")] > 40, "slices are counted")
        controller = until(lambda: cluster.processes(ex_id, "execution_controller"), "it has a controller")[0]
        os.kill(controller["pid"], signal.SIGKILL)
        stats = cluster.wait_status(ex_id, "failed", within_s=90)["_slicer_stats"]
        cluster.daemons["node-2"].stop()
        until(lambda: scrape(cluster)[series("tsd_slots")] == 3, "one node is left")
        ended = scrape(cluster)

    # What the first controller had not yet recorded ran again, and was work.
    counted = ended[series("tsd_slices_completed_total")] + ended[series("tsd_slices_failed_total")]
    assert counted >= 0.5 * stats["processed"]
    assert stats["processed"] == 400
    assert scraper.fallen == []


def test_bad_frames_on_the_mesh_port_are_counted(cluster):
    bad = series("tsd_mesh_bad_frames_total", role="master")
    assert scrape(cluster)[bad] == 0
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 5000)
        stranger.setsockopt_string(zmq.IDENTITY, "stranger")
        stranger.connect(cluster.announced()["mesh"])
        for _ in range(5):
            stranger.send_multipart([b"nonsense", b"\xff\xff"])
        until(lambda: scrape(cluster)[bad] == 5, "they are counted")

    assert cluster.request("GET", "/ready").status_code == 200


def test_a_node_that_was_frozen_is_away_and_then_back(cluster):
    """One that runs nothing is not waited for, so it is not `disconnected` either."""
    node = cluster.daemons["node-2"]
    node.sigstop()
    try:
        until(lambda: scrape(cluster)[series("tsd_nodes", state="connected")] == 1, "it is away", 40)
        assert cluster.get("/ready")["checks"]["capacity"]["nodes"] == 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            node.sigcont()
    until(lambda: scrape(cluster)[series("tsd_nodes", state="connected")] == 2, "it is back", 40)

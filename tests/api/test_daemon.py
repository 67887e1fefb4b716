"""The master process itself: how it starts, ends, and comes back."""

import contextlib
import json
import signal
import socket
import sqlite3
import threading
import time

import httpx
import pytest

from tests.support.daemons import cluster_for, until
from tests.support.jobs import endless_job, job


@pytest.fixture
def cluster(request, tmp_path):
    # A master that has just started waits for one lease before it believes that nothing runs somewhere.
    with cluster_for(request, tmp_path, **{"tsd.controller_lease": "1s"}) as cluster:
        yield cluster


def test_it_announces_where_it_is_reached_and_takes_that_back_at_its_end(cluster):
    cluster.configure(**{"teraslice.port": 0, "tsd.mesh_port": 0})
    master = cluster.start_master()

    announced = cluster.announced()
    assert announced["pid"] == master.pid
    assert httpx.get(announced["url"]).json()["name"] == "teracluster"
    assert announced["mesh"].startswith("tcp://127.0.0.1:")

    assert master.stop() == 0
    assert not (cluster.data_dir / "api.json").exists()


@pytest.mark.slow
def test_a_second_master_of_one_data_folder_is_refused(cluster):
    first = cluster.start_master()
    cluster.configure(**{"teraslice.port": 0, "tsd.mesh_port": 0})

    code, words = cluster.start_refused("master")

    assert code == 75
    assert f"pid {first.pid}" in words
    assert len(words.splitlines()) == 1
    assert cluster.announced()["pid"] == first.pid
    assert cluster.get("/ready")["status"] == "ready"


def test_an_operation_module_that_does_not_load_is_named(cluster):
    cluster.configure(**{"tsd.operation_modules": ["no_such_module"]})

    code, words = cluster.start_refused("master")

    assert code == 78
    assert "no_such_module" in words
    assert len(words.splitlines()) == 1


@pytest.mark.slow
def test_a_stop_answers_requests_in_flight_and_takes_no_new_ones(cluster):
    master = cluster.start_master()
    cluster.start_node()
    _, ex_id = cluster.post_job(endless_job(ms=2000))
    cluster.wait_status(ex_id, "running")
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(cluster.request("POST", f"/ex/{ex_id}/_stop?timeout=1m"))
    )
    asking.start()
    cluster.wait_status(ex_id, "stopping")
    url = cluster.url

    assert master.stop(within_s=10) == 0
    asking.join()

    assert answers[0].status_code == 503
    assert answers[0].headers["retry-after"]
    assert "goes on" in answers[0].json()["message"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    cluster.start_master()
    assert cluster.post(f"/ex/{ex_id}/_stop")["status"] == "stopped"


@pytest.mark.slow
def test_a_client_that_does_not_read_its_answer_does_not_keep_the_master(cluster):
    master = cluster.start_master()
    for number in range(30):
        cluster.post("/jobs?start=false", job(name=f"large-{number}", padding="x" * 300_000))
    client = socket.create_connection(("127.0.0.1", httpx.URL(cluster.url).port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(b"GET /jobs?size=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert client.recv(100)

    assert master.stop(within_s=15) == 0
    client.close()


@pytest.mark.slow
def test_idle_connections_do_not_delay_the_end(cluster):
    """Hypercorn's idle timer is lost when quart-trio cancels the end of an answer; then this takes seconds."""
    master = cluster.start_master()
    clients = [cluster.client() for _ in range(5)]
    for client in clients:
        assert client.get("/").status_code == 200

    master.signal(signal.SIGTERM)
    master.wait(10)

    text = master.log
    times = [json.loads(line)["time"] for line in text.splitlines() if '"master.stop' in line]
    assert len(times) == 2
    began, ended = (
        time.mktime(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S")) + float(at[19:26]) for at in times
    )
    assert ended - began < 2.5, "graceful_timeout is 3 s: connections were not closed"


@pytest.mark.slow
def test_executions_go_on_without_a_master_and_are_known_to_the_next(cluster):
    master = cluster.start_master()
    cluster.start_node()
    job_id, ex_id = cluster.post_job(endless_job())
    cluster.wait_status(ex_id, "running")
    processes = {process["pid"] for process in cluster.processes(ex_id)}

    assert master.stop() == 0
    cluster.start_master()

    until(lambda: {process["pid"] for process in cluster.processes(ex_id)} == processes, "they run on")
    assert cluster.status(ex_id) == "running"
    until(lambda: cluster.get("/cluster/controllers"), "the controller is connected again")
    before = cluster.get(f"/jobs/{job_id}/controller")[0]["processed"]
    until(lambda: cluster.get(f"/jobs/{job_id}/controller")[0]["processed"] > before, "slices are processed")
    assert cluster.post(f"/jobs/{job_id}/_stop") == {"status": "stopped"}


@pytest.mark.slow
def test_a_killed_master_comes_back_with_everything_it_had_answered(cluster):
    master = cluster.start_master()
    stored = cluster.post("/jobs?start=false", job(name="stored"))["job_id"]
    job_id, ex_id = cluster.post_job(job(name="started"))

    master.kill()
    cluster.start_master()

    assert cluster.get(f"/jobs/{stored}")["name"] == "stored"
    assert cluster.get(f"/jobs/{job_id}/ex")["ex_id"] == ex_id
    assert cluster.status(ex_id) == "pending"
    cluster.start_node()
    cluster.wait_status(ex_id, "completed")
    assert [record["state"] for record in cluster.records(ex_id)] == ["completed"] * 10


@pytest.mark.slow
def test_no_slice_is_lost_or_doubled_when_the_master_is_killed_again_and_again(cluster):
    cluster.configure(**{"tsd.operation_modules": ["tests.support.ops"]})
    master = cluster.start_master()
    cluster.start_node()
    operations = [{"_op": "count", "size": 3000}, {"_op": "waiter", "seconds": 0.002}]
    _, ex_id = cluster.post_job(job(operations=operations, workers=2))
    for recorded in (200, 1200, 2000):
        until(
            lambda recorded=recorded: len(cluster.records(ex_id)) > recorded, f"{recorded} records are stored"
        )
        master.kill()
        master = cluster.start_master()

    execution = cluster.wait_status(ex_id, "completed", within_s=60)

    records = cluster.records(ex_id)
    assert [record["request"]["number"] for record in records] == list(range(3000))
    assert {record["state"] for record in records} == {"completed"}
    assert execution["_slicer_stats"]["processed"] == 3000


@pytest.mark.slow
def test_with_a_failing_store_nothing_is_accepted_and_everybody_is_told_why(cluster):
    """Covers 503 with the reason: the store is locked by somebody else here, as a full disk would be."""
    cluster.start_master()
    kept = cluster.post("/jobs?start=false", job())["job_id"]
    with _locked_database(cluster.data_dir / "store.db"):
        answer = cluster.request("POST", "/jobs", json=job(name="refused"))
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "lock" in answer.json()["message"]
        ready = cluster.request("GET", "/ready")
        assert ready.status_code == 503
        assert "lock" in ready.json()["reasons"][0]
        store = ready.json()["checks"]["store"]
        assert (store["ok"], store["reason"]) == (False, ready.json()["reasons"][0])
        metrics = cluster.request("GET", "/metrics").text
        assert 'tsd_store_up{name="teracluster",url=""} 0.0' in metrics
        assert cluster.get(f"/jobs/{kept}")["job_id"] == kept

    until(lambda: cluster.request("GET", "/ready").status_code == 200, "the store takes writes again")
    assert [entry["job_id"] for entry in cluster.get("/jobs")] == [kept]
    cluster.post("/jobs?start=false", job())


@pytest.mark.slow
def test_tsd_up_runs_a_whole_cluster(cluster):
    up = cluster.start_up()
    _, ex_id = cluster.post_job(job(workers=2))

    cluster.wait_status(ex_id, "completed")

    assert up.stop() == 0


@contextlib.contextmanager
def _locked_database(path):
    """Hold SQLite's lock on a database from outside, as another writer would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")

"""Executions that run, asked of a master and a node process over HTTP."""

import json
import socket

import pytest

from tests.support.daemons import TERMINAL, until
from tests.support.jobs import endless_job, job


@pytest.fixture
def endless(cluster):
    """Start a job that goes on until it is stopped; it is stopped after the test. (job_id, ex_id)."""
    started = []

    def start(**changes):
        job_id, ex_id = cluster.post_job(endless_job(**changes))
        started.append(ex_id)
        cluster.wait_status(ex_id, "running")
        return job_id, ex_id

    yield start
    for ex_id in started:
        cluster.post(f"/ex/{ex_id}/_stop?force=true")


def test_a_job_runs_to_its_end(cluster):
    """Covers 4.2 and 4.4 of rest-api.md: the execution says what became of it."""
    _, ex_id = cluster.post_job(job(workers=2))

    execution = cluster.wait_status(ex_id, "completed")

    assert [record["state"] for record in cluster.records(ex_id)] == ["completed"] * 10
    assert execution["_slicer_stats"]["processed"] == 10
    assert execution["_slicer_stats"]["failed"] == 0
    assert execution["_slicer_stats"]["job_duration"] >= 1
    assert execution["_has_errors"] is False
    assert isinstance(execution["slicer_port"], int)
    assert execution["slicer_hostname"] == "127.0.0.1"
    assert cluster.post(f"/ex/{ex_id}/_stop") == {"status": "completed"}
    for verb in ("_pause", "_resume", "_workers?add=1"):
        answer = cluster.request("POST", f"/ex/{ex_id}/{verb}")
        assert answer.status_code == 404
        assert answer.json()["message"] == f"no active execution context was found for ex_id: {ex_id}"


def test_a_job_pauses_and_resumes_as_often_as_asked(cluster, endless):
    """Covers 62 of rest-api.md."""
    job_id, ex_id = endless()

    assert cluster.post(f"/jobs/{job_id}/_pause") == {"status": "paused"}
    assert cluster.post(f"/ex/{ex_id}/_pause") == {"status": "paused"}
    assert cluster.status(ex_id) == "paused"
    assert cluster.post(f"/ex/{ex_id}/_resume") == {"status": "running"}
    assert cluster.post(f"/jobs/{job_id}/_resume") == {"status": "running"}
    assert cluster.status(ex_id) == "running"


def test_a_stop_answers_when_everything_has_ended(cluster, endless):
    """Covers 65 of rest-api.md; after it no process of the execution is left."""
    job_id, ex_id = endless(workers=2)

    assert cluster.post(f"/jobs/{job_id}/_stop") == {"status": "stopped"}
    assert cluster.status(ex_id) == "stopped"
    assert cluster.processes(ex_id) == []


def test_a_stop_that_does_not_block_answers_at_once(cluster, endless):
    """Covers 66 of rest-api.md."""
    _, ex_id = endless(ms=500)

    assert cluster.post(f"/ex/{ex_id}/_stop?blocking=false") == {"status": "stopping"}
    cluster.wait_status(ex_id, "stopped")


def test_two_stops_at_once_both_hear_of_the_end(cluster, endless):
    _, ex_id = endless(ms=300)

    cluster.post(f"/ex/{ex_id}/_stop?blocking=false")

    assert cluster.post(f"/ex/{ex_id}/_stop") == {"status": "stopped"}


def test_a_forced_stop_does_not_wait_for_the_running_slice(cluster, endless):
    """Covers 68 of rest-api.md."""
    _, ex_id = endless(ms=60_000)

    answer = cluster.post(f"/ex/{ex_id}/_stop?force=true")

    assert answer == {"message": f"Force stop complete for exId {ex_id}", "status": "stopped"}


def test_a_stop_with_a_timeout_ends_within_it(cluster, endless):
    _, ex_id = endless(ms=60_000)

    assert cluster.post(f"/ex/{ex_id}/_stop?timeout=500ms")["status"] in TERMINAL


def test_a_client_that_hangs_up_does_not_undo_what_it_asked_for(cluster, endless):
    _, ex_id = endless(ms=300)
    host, port = cluster.url.removeprefix("http://").split(":")

    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            f"POST /ex/{ex_id}/_stop HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        cluster.wait_status(ex_id, "stopping", "stopped")

    cluster.wait_status(ex_id, "stopped")


def test_a_client_that_hangs_up_at_once_has_started_its_job_or_has_not(cluster):
    """Whatever was stored is also run: no execution is left pending that nobody knows of."""
    host, port = cluster.url.removeprefix("http://").split(":")
    for number in range(10):
        body = json.dumps(job(name=f"hasty-{number}")).encode()
        with socket.create_connection((host, int(port))) as client:
            client.sendall(
                f"POST /jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )

    def hasty():
        return [entry for entry in cluster.get("/ex?size=1000") if entry["name"].startswith("hasty-")]

    until(lambda: all(entry["_status"] == "completed" for entry in hasty()), "all that were stored ended")


def test_workers_come_and_go_as_asked(cluster, endless):
    """Covers 76, 77 and 78 of rest-api.md."""
    job_id, ex_id = endless(workers=1)

    def has_workers(count):
        return until(lambda: len(cluster.processes(ex_id, "worker")) == count, f"{count} workers run")

    message = cluster.post(f"/jobs/{job_id}/_workers?add=2")
    assert message == {"message": f"2 workers have been enqueued for execution: {ex_id}"}
    has_workers(3)
    cluster.post(f"/ex/{ex_id}/_workers?total=2")
    has_workers(2)
    cluster.post(f"/ex/{ex_id}/_workers?remove=1")
    has_workers(1)
    answer = cluster.request("POST", f"/ex/{ex_id}/_workers?remove=1")
    assert answer.status_code == 400
    assert answer.json()["message"] == "workers to be removed: 1 cannot be >= to current workers: 1"


def test_a_running_job_shows_its_controller(cluster, endless):
    """Covers 80, 82 and 83 of rest-api.md, and the keys of 4.4."""
    job_id, ex_id = endless(name="shown")
    until(lambda: cluster.get(f"/ex/{ex_id}/controller")[0]["processed"] > 0, "something was processed")

    shown = cluster.get(f"/jobs/{job_id}/slicer")

    assert len(shown) == 1
    assert list(shown[0])[:5] == ["ex_id", "job_id", "name", "workers_available", "workers_active"]
    assert (shown[0]["ex_id"], shown[0]["job_id"], shown[0]["name"]) == (ex_id, job_id, "shown")
    assert "queuing_complete" not in shown[0]
    assert shown[0]["started"].endswith("Z")
    listed = [entry["ex_id"] for entry in cluster.get("/cluster/controllers")]
    assert listed == [entry["ex_id"] for entry in cluster.get("/cluster/slicers")]
    assert ex_id in listed
    assert job_id in cluster.request("GET", "/txt/controllers").text
    assert ex_id in cluster.request("GET", "/txt/workers").text
    answer = cluster.post(f"/jobs/{job_id}/_settings?log_level=debug")
    assert answer == {"exId": ex_id, "level": "debug"}


def test_the_state_of_the_cluster_shows_every_process(cluster, endless):
    """Covers 84 of rest-api.md and 34 of cluster.md."""
    until(lambda: not cluster.get("/cluster/state")["node-1"]["active"], "what others ran has left")
    job_id, ex_id = endless(workers=2)
    until(lambda: len(cluster.processes(ex_id)) == 3, "the controller and two workers run")

    node = cluster.get("/cluster/state")["node-1"]

    assert node["state"] == "connected"
    assert node["teraslice_version"] == "3.18.0"
    assert node["available"] == node["total"] - len(node["active"]) == 3
    assert sorted(process["assignment"] for process in node["active"]) == [
        "execution_controller",
        "worker",
        "worker",
    ]
    assert {process["job_id"] for process in node["active"]} == {job_id}
    assert all(isinstance(process["pid"], int) for process in node["active"])


def test_slices_in_error_are_listed_and_can_be_run_again_by_a_better_job(cluster):
    """Covers 71, 86, 87 and 88 of rest-api.md, and 4.3."""
    bad = [{"_op": "count", "size": 10}, {"_op": "raiser", "at": [2, 5]}]
    job_id, ex_id = cluster.post_job(job(operations=bad, max_retries=0))
    execution = cluster.wait_status(ex_id, "failed")
    assert execution["_has_errors"] is True
    assert execution["_failureReason"]
    assert execution["_slicer_stats"]["failed"] == 2

    errors = cluster.get(f"/ex/{ex_id}/errors?sort=slicer_order:asc")
    assert [json.loads(entry["request"])["number"] for entry in errors] == [2, 5]
    assert {entry["state"] for entry in errors} == {"error"}
    assert "bad number 2" in errors[0]["error"]
    assert set(errors[0]) >= {"slice_id", "slicer_id", "slicer_order", "ex_id", "_created", "_updated"}
    assert cluster.get(f"/jobs/{job_id}/errors?size=1&sort=slicer_order:asc") == errors[:1]
    assert {entry["slice_id"] for entry in errors} <= {
        e["slice_id"] for e in cluster.get("/ex/errors?size=1000")
    }

    good = [{"_op": "count", "size": 10}, {"_op": "noop"}]
    cluster.request("PUT", f"/jobs/{job_id}", json=job(operations=good))
    again = cluster.post(f"/jobs/{job_id}/_recover?cleanup=errors")["ex_id"]
    execution = cluster.wait_status(again, "completed")
    assert execution["_slicer_stats"]["processed"] == 2
    assert cluster.get(f"/jobs/{job_id}/errors") == []
    assert [record["state"] for record in cluster.records(ex_id)] == ["completed"] * 10


def test_a_job_goes_on_where_it_was_stopped(cluster):
    """A recovery runs what was left, and every slice that was completed is not run again."""
    counting = [{"_op": "count", "size": 40}, {"_op": "waiter", "seconds": 0.05}]
    job_id, first = cluster.post_job(job(operations=counting))
    until(
        lambda: any(record["state"] == "completed" for record in cluster.records(first)), "some are completed"
    )
    assert cluster.post(f"/jobs/{job_id}/_stop") == {"status": "stopped"}
    done = [record for record in cluster.records(first) if record["state"] == "completed"]
    assert len(done) < 40

    second = cluster.post(f"/jobs/{job_id}/_recover")["ex_id"]

    execution = cluster.wait_status(second, "completed")
    assert execution["recovered_execution"] == first
    assert execution["_slicer_stats"]["processed"] == 40 - len(done)
    records = cluster.records(first) + cluster.records(second)
    assert {record["state"] for record in records} == {"completed"}
    assert sorted(record["request"]["number"] for record in records) == list(range(40))

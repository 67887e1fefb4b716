"""Clients of the real system live through whole lives of jobs at a real `tsd up`.

The drivers beside this file print a JSON line a step; what each step must have come to stands here.
"""

import json
import shutil

import pytest

from tests.support.bundles import id_of, operations

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js with npm"),
]

TABLES = {
    "slicers": "name job_id workers_available workers_active failed queued processed",
    "ex": "name lifecycle slicers workers _status ex_id job_id _created _updated",
    "jobs": "job_id name active lifecycle slicers workers _created _updated",
    "nodes": "node_id state hostname total active pid teraslice_version node_version",
    "workers": "assignment job_id ex_id node_id pid",
}


@pytest.fixture(scope="module")
def published(drive, tmp_path_factory):
    """The steps of the client that is published on npm."""
    path = tmp_path_factory.mktemp("bundle") / "shouts.zip"
    path.write_bytes(operations("shouts", "1.2.0"))
    return drive("published.cjs", path)


@pytest.fixture(scope="module")
def current(drive):
    """The steps of the newest client's requests."""
    return drive("current.mjs")


# --- what both clients rely on ------------------------------------------------------------------


@pytest.fixture(params=["published", "current"])
def found(request):
    return request.getfixturevalue(request.param)


def test_clients_read_what_the_cluster_is(found):
    info, state, stats = found["info"], found["state"], found["stats"]

    known = {"arch", "clustering_type", "name", "node_version", "platform", "teraslice_version"}
    assert known <= set(info)
    assert info["clustering_type"] == "native"
    assert info["teraslice_version"].startswith("v")
    assert all(isinstance(node["active"], list) for node in state.values())
    assert stats["controllers"] == stats["slicer"]


@pytest.mark.parametrize("name", TABLES)
def test_clients_read_tables(found, name):
    assert found[f"txt {name}"].splitlines()[0].split() == TABLES[name].split()


def test_clients_start_a_job_once(found):
    assert set(found["start"]) == {"job_id", "ex_id"}
    assert found["start again"]["code"] == 409
    assert "cannot have the same job concurrently running" in found["start again"]["message"]
    assert found["wait for running"] == "running"


def test_clients_pause_resume_and_stop(found):
    assert found["pause"] == {"status": "paused"}
    assert found["resume"] == {"status": "running"}
    assert found["stop"] == {"status": "stopped"}
    assert found["stop by force"]["status"] == "stopped"
    assert found["stop by force"]["message"].startswith("Force stop complete for exId ")


def test_clients_delete_a_job_once(found):
    deleted = found["delete"]

    assert (deleted["_deleted"], deleted["active"]) == (True, False)
    assert deleted["_deleted_on"].endswith("Z")
    assert found["delete again"]["code"] == 410
    assert found["delete again"]["message"].endswith("has already been deleted.")


def test_clients_hear_what_is_not_there(found):
    assert found["no such job"]["code"] == 404
    assert found["no such execution"] == {
        "code": 404,
        "message": "No execution was found for job no-such-job",
        "name": "Error",
    }


# --- the client that is published on npm ----------------------------------------------------------


def test_the_published_client_submits_a_job_and_reads_it_back_as_posted(published):
    posted, stored = published["spec"]["posted"], published["spec"]["spec"]

    assert set(stored) - set(posted) == {"job_id", "_context", "_created", "_updated"}
    assert {key: stored[key] for key in posted} == posted
    assert published["submit"] == {"_jobId": stored["job_id"]}
    assert published["start"]["ex_id"] == published["ex"]["exId"]
    assert published["ex before any start"]["code"] == 404


def test_the_published_client_lists_executions(published):
    """Without a status it asks for `status=*`."""
    ex_id = published["ex"]["exId"]

    for step in ("list running", "list all", "list by options"):
        assert ex_id in [execution["ex_id"] for execution in published[step]]


def test_the_published_client_sees_the_controller_while_it_runs(published):
    ex_id = published["ex"]["exId"]

    assert published["slicers, idle"] == []
    assert [controller["ex_id"] for controller in published["slicer"]] == [ex_id]
    assert ex_id in [controller["ex_id"] for controller in published["slicers"]]
    assert published["slicer, stopped"]["message"] == f"Could not find active slicer for ex_id: {ex_id}"


def test_the_published_client_changes_the_number_of_workers(published):
    ex_id = published["ex"]["exId"]
    ended = f"for execution: {ex_id}"

    assert published["add workers"]["message"] == f"2 workers have been enqueued {ended}"
    assert published["remove workers"]["message"] == f"2 workers have been remove {ended}"
    assert published["two in total"]["message"] == f"1 workers have been enqueued {ended}"
    for step, count in (("three workers", 3), ("one worker", 1), ("two workers", 2)):
        assert [worker["ex_id"] for worker in published[step]] == [ex_id] * count
        assert {worker["assignment"] for worker in published[step]} == {"worker"}
    assert published["workers, stopped"] == []
    assert published["no number of workers"]["code"] == 400


def test_the_published_client_follows_the_status(published):
    assert published["status, paused"] == "paused"
    assert published["status, resumed"] == "running"
    assert published["status, stopped"] == "stopped"
    assert "terminal state" in published["wait for what can not come"]["message"]
    assert published["pause, stopped"]["code"] == 404
    assert published["delete while it runs"]["code"] == 409
    assert published["stop without waiting"] == {"status": "stopping"}
    assert published["wait for stopped"] == "stopped"


def test_the_published_client_recovers_what_was_stopped(published):
    assert published["wait for running, recovered"] == "running"
    assert published["recover"]["ex_id"] != published["start again, stopped"]["ex_id"]


def test_the_published_client_reads_errors_and_runs_them_again(published):
    """The first of them that fails again ends the recovery."""
    recovered = published["recovered execution"]

    assert published["wait for failed"] == "failed"
    assert sorted(json.loads(error["request"])["number"] for error in published["errors"]) == [2, 5]
    assert all("bad number" in error["error"] for error in published["errors"])
    assert recovered["ex_id"] == published["recover errors"]["answer"]["ex_id"]
    assert recovered["recovered_execution"] == published["recover errors"]["source"]
    assert recovered["recovered_slice_type"] == "errors"
    assert recovered["_slicer_stats"]["processed"] in {1, 2}
    assert published["recover with nonsense"]["code"] == 400


def test_the_published_client_mends_a_job_and_sees_it_complete(published):
    assert published["update"]["name"] == "published mended"
    assert "max_retries" not in published["update"]
    assert published["wait for completed"] == "completed"
    assert published["stop, completed"] == {"status": "completed"}


def test_the_published_client_hears_why_it_is_refused(published):
    invalid = published["invalid job"]

    assert (invalid["code"], published["empty job"]["code"]) == (400, 400)
    assert invalid["message"].startswith("Validation failed for job config: bad")
    assert "must be valid integer greater than zero" in invalid["message"]
    assert published["empty job"]["message"] == "No job was posted"
    assert published["job with an id"]["code"] == 422
    assert published["start, deleted"]["code"] == 410


# --- the requests of the newest client ------------------------------------------------------------


def test_the_current_client_submits_jobs_with_and_without_a_start(current):
    assert set(current["submit"]) == {"job_id"}
    assert set(current["submit execution"]) == {"job_id", "ex_id"}
    assert current["wait for running, by execution"] == "running"


def test_the_current_client_lists_jobs_and_executions(current):
    """Without a status it sends an empty one."""
    job_id = current["submit"]["job_id"]

    assert job_id in [job["job_id"] for job in current["list jobs"]]
    for step in ("list executions", "list all executions"):
        ex_ids = [execution["ex_id"] for execution in current[step]["found"]]
        assert current[step]["exId"] in ex_ids


def test_the_current_client_sees_controllers_by_both_names(current):
    ex_id = current["start"]["ex_id"]

    assert current["txt slicers"].splitlines()[0] == current["txt controllers"].splitlines()[0]
    assert [entry["ex_id"] for entry in current["controller"]] == [ex_id]
    assert [entry["ex_id"] for entry in current["slicer"]] == [ex_id]
    assert ex_id in [entry["ex_id"] for entry in current["controllers"]]


def test_the_current_client_reads_the_answer_about_workers_as_text(current):
    ex_id = current["start"]["ex_id"]
    message = f"1 workers have been enqueued for execution: {ex_id}"

    assert current["workers as text"] == {"message": message}


def test_the_current_client_stops_what_has_ended_and_recovers_it(current):
    first, second, third = (
        current["start"]["ex_id"],
        current["recover all"]["answer"]["ex_id"],
        current["recover"]["ex_id"],
    )

    assert current["stop again"] == {"status": "stopped"}
    assert len({first, second, third}) == 3
    assert current["stop the last"]["status"] == "stopped"


def test_the_current_client_reads_errors_of_executions_jobs_and_all(current):
    ex_id = current["errors of all"]["exId"]

    assert current["wait for failed"] == "failed"
    assert [json.loads(error["request"])["number"] for error in current["errors"]] == [5]
    assert len(current["errors of the job"]) == 2
    assert ex_id in [error["ex_id"] for error in current["errors of all"]["found"]]
    assert all(isinstance(error["error"], str) for error in current["errors of all"]["found"])


def test_the_current_client_replaces_a_job(current):
    assert current["update"]["name"] == "current changed"
    assert "slicers" not in current["update"]
    assert current["update in part"]["name"] == "in part"
    assert current["read deleted"]["found"]["_created"] == current["read deleted"]["spec"]["_created"]
    assert current["read deleted"]["found"]["_deleted"] is True


def test_the_current_client_does_not_ask_again_what_was_refused(current):
    """It sends a PUT four times, over seven seconds, when the answer is a 500; a wrong job is a 400."""
    refused = current["update with nonsense"]

    assert refused["code"] == 400
    assert "workers: must be valid integer greater than zero" in refused["message"]
    assert current["no such path"]["message"] == "cannot GET endpoint /v1/no/such/path"


def test_the_published_client_keeps_bundles(published):
    """Points 90, 91, 94, 98 to 100, and 26."""
    asset_id = id_of(operations("shouts", "1.2.0"))

    assert published["upload"] == {"asset_id": asset_id}
    assert published["upload again"] == {"asset_id": asset_id}
    assert "File type not recognized as zip" in json.dumps(published["upload no zip"])
    assert published["txt assets"].splitlines()[0].split()[:3] == ["name", "version", "id"]
    assert asset_id in published["txt assets"]
    assert published["wait for completed, bundled"] == "completed"
    assert 'No assets found for "zz"' in published["job with an unknown bundle"]["message"]
    assert f"asset {asset_id} is needed by job" in json.dumps(published["delete needed bundle"])
    assert published["delete bundle"] == {"asset_id": asset_id}
    assert f"Unable to find asset {asset_id}" in json.dumps(published["delete bundle again"])
    assert "please provide the full asset_id" in json.dumps(published["delete what is no bundle"])

"""Jobs, asked of a master process without a node, so that executions stay pending."""

import threading

import pytest

from tests.support.jobs import job


@pytest.fixture
def new_job(api):
    """Post a job that is not started; its id."""

    def post(**changes):
        answer = api.post("/jobs?start=false", json=job(**changes))
        assert answer.status_code == 200, answer.text
        return answer.json()["job_id"]

    return post


@pytest.fixture
def running(api):
    """Post a job and start it; (job_id, ex_id)."""

    def post(**changes):
        answer = api.post("/jobs", json=job(**changes)).json()
        return answer["job_id"], answer["ex_id"]

    return post


def refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == status
    assert set(answer.json()) == {"error", "message"}
    return answer.json()["message"]


# --- submit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["false", "False", "0", "no"])
def test_a_job_can_be_stored_without_being_started(api, start):
    """Covers 18 of rest-api.md; 0 and no are false too, which differs from 19."""
    answer = api.post(f"/jobs?start={start}", json=job())

    assert answer.status_code == 200
    assert set(answer.json()) == {"job_id"}
    assert refused(api.get(f"/jobs/{answer.json()['job_id']}/ex"), 404)


def test_a_wrong_start_is_refused(api):
    refused(api.post("/jobs?start=perhaps", json=job()), 400)


def test_a_job_can_not_bring_its_own_id(api):
    """Covers 20 of rest-api.md and J19 of job-config.md."""
    message = refused(api.post("/jobs", json=job(job_id="mine")), 422)

    assert message == "Job cannot include a job_id on submit"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operations": []}, ["at least two operations in it"]),
        ({"operations": [{"_op": "noop"}]}, ["at least two operations in it"]),
        (
            {"workers": 0},
            ["Validation failed for job config: test", "must be valid integer greater than zero"],
        ),
        ({"slicers": -1}, ["slicers", "must be valid integer greater than zero"]),
        ({"lifecycle": "invalid"}, ["lifecycle"]),
        ({"assets": ["zz"]}, ['No assets found for "zz"']),
        (
            {"operations": [{"_op": "test-reader"}, {"_op": "nope"}]},
            ["Unable to find module for operation: nope"],
        ),
        ({"workers": 0, "lifecycle": "x"}, ["workers", "lifecycle"]),
    ],
)
def test_a_wrong_job_is_refused_with_every_fault_and_stored_nowhere(master, api, changes, words):
    """Covers 21 to 27 and 31 of rest-api.md; 400 where Teraslice says 500."""
    before = master.rows("SELECT count(*) FROM jobs")

    message = refused(api.post("/jobs", json=job(**changes)), 400)

    assert all(word in message for word in words), message
    assert master.rows("SELECT count(*) FROM jobs") == before


def test_a_job_is_stored_as_posted_and_its_execution_with_all_defaults(api, running):
    """Covers 28, 29, 30 and 61 of rest-api.md, and J17 of job-config.md."""
    posted = job(
        workers="3", foo={"bar": [1, None]}, operations=[{"_op": "test-reader", "x": 1}, {"_op": "noop"}]
    )
    answer = api.post("/jobs", json=posted).json()

    stored = api.get(f"/jobs/{answer['job_id']}").json()
    execution = api.get(f"/ex/{answer['ex_id']}").json()

    assert {key: stored[key] for key in posted} == posted
    assert set(stored) - set(posted) == {"job_id", "_context", "_created", "_updated"}
    assert stored["_context"] == "job"
    assert execution["workers"] == 3
    assert execution["foo"] == {"bar": [1, None]}
    assert execution["operations"][0]["x"] == 1
    assert execution["operations"][1]["_dead_letter_action"] == "throw"
    expected = {
        "_status": "pending",
        "_has_errors": False,
        "_slicer_stats": {},
        "_failureReason": "",
        "metadata": {},
        "_context": "ex",
        "teraslice_version": "v3.18.0",
        "job_id": answer["job_id"],
        "ex_id": answer["ex_id"],
        "max_retries": 3,
        "probation_window": 300000,
    }
    assert {key: execution[key] for key in expected} == expected
    assert "slicer_port" not in execution
    assert "recovered_execution" not in execution


# --- reads --------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_update_first(api, new_job):
    """Covers 32, 33, 34 and 39 of rest-api.md."""
    first, second = new_job(name="first"), new_job(name="second")
    api.post(f"/jobs/{first}/_inactive")

    newest = [entry["job_id"] for entry in api.get("/jobs?size=2").json()]

    assert newest == [first, second]
    assert api.get("/jobs?size=1&from=1").json()[0]["job_id"] == second
    assert api.get("/jobs?size=0").json() == []
    oldest_first = api.get("/jobs?sort=_created:asc&size=10000").json()
    assert [entry["_created"] for entry in oldest_first] == sorted(
        entry["_created"] for entry in oldest_first
    )


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("size=abc", "size parameter must be a integer, got abc"),
        ("from=x", "from parameter must be a integer, got x"),
        ("size=-1", "size"),
        ("size=5&size=6", "got 5,6"),
        ("size=10001", "Result Window Is Too Large"),
        ("deleted=yes_please", "deleted query option must true or false"),
        ("active=perhaps", "active must be true or false"),
        ("sort=nope", "nope"),
        ("sort=name", "name"),
        ("sort=_created:sideways", "sideways"),
        ("sort=_created&sort=_updated", "sort parameter must be a string"),
        ("filter=(", "filter"),
    ],
)
def test_a_wrong_parameter_of_a_list_is_refused(api, query, words):
    """Covers 35, 36 and 42 of rest-api.md; 400 where Teraslice says 500."""
    for path in ("/jobs", "/ex"):
        if path == "/ex" and query.startswith("active"):
            continue
        assert words in refused(api.get(f"{path}?{query}"), 400)


def test_active_jobs_are_those_that_do_not_say_otherwise(api, new_job):
    """Covers 38 of rest-api.md."""
    silent, active, inactive = new_job(), new_job(active=True), new_job(active=False)

    def listed(query):
        return {entry["job_id"] for entry in api.get(f"/jobs?size=1000&{query}").json()}

    assert {silent, active} <= listed("active=true")
    assert inactive not in listed("active=true")
    assert inactive in listed("active=false")
    assert not {silent, active} & listed("active=false")
    assert {silent, active, inactive} <= listed("active=")


def test_a_job_shows_fields_of_its_latest_execution_when_asked(api, new_job, running):
    """Covers 43, 44 and 45 of rest-api.md."""
    job_id, ex_id = running()
    never_run = new_job()

    assert api.get(f"/jobs/{job_id}?ex=_status").json()["ex"] == {"_status": "pending"}
    assert api.get(f"/jobs/{job_id}?ex=").json()["ex"]["ex_id"] == ex_id
    assert api.get(f"/jobs/{never_run}?ex=").json()["ex"] == {}
    assert "ex" not in api.get(f"/jobs/{job_id}").json()
    listed = {entry["job_id"]: entry["ex"] for entry in api.get("/jobs?ex=_status,ex_id&size=1000").json()}
    assert listed[job_id] == {"_status": "pending", "ex_id": ex_id}
    assert listed[never_run] == {}


def test_a_job_that_never_ran_has_no_execution(api, new_job):
    """Covers 46 of rest-api.md: the words that clients look for."""
    job_id = new_job()

    for path in ("ex", "controller", "errors"):
        assert refused(api.get(f"/jobs/{job_id}/{path}"), 404) == f"No execution was found for job {job_id}"
    for verb in ("_stop", "_pause", "_resume", "_workers?add=1", "_settings?log_level=info"):
        assert refused(api.post(f"/jobs/{job_id}/{verb}"), 404) == f"No execution was found for job {job_id}"


@pytest.mark.parametrize("wrong", ["_workers", "_workers?add=x", "_settings", "_settings?log_level=loud"])
def test_a_job_that_never_ran_is_told_so_before_its_parameters_are_looked_at(api, new_job, wrong):
    """Covers the order of checks in 7.11 and 7.12 of rest-api.md, next to 75 and 80."""
    for job_id in (new_job(), "unknown"):
        assert refused(api.post(f"/jobs/{job_id}/{wrong}"), 404) == f"No execution was found for job {job_id}"
    if wrong.startswith("_workers"):
        assert "valid worker parameter" in refused(api.post(f"/ex/unknown/{wrong}"), 400)


# --- update, activate, delete -------------------------------------------------------------------


def test_an_update_replaces_the_whole_job(api, new_job):
    """Covers 47 and 51 of rest-api.md, and J18 of job-config.md."""
    job_id = new_job(slicers=2)
    before = api.get(f"/jobs/{job_id}").json()

    answer = api.put(f"/jobs/{job_id}", json=job(name="changed", job_id="other"))

    after = api.get(f"/jobs/{job_id}").json()
    assert answer.status_code == 200
    assert answer.json() == after
    assert "slicers" not in after
    assert (after["name"], after["job_id"], after["_created"]) == ("changed", job_id, before["_created"])
    assert after["_updated"] > before["_updated"]


def test_an_update_that_is_no_job_changes_nothing(api, new_job):
    """Covers 48, 49 and 50 of rest-api.md; a body that is no job is 400."""
    job_id = new_job()
    before = api.get(f"/jobs/{job_id}").json()

    message = refused(api.put(f"/jobs/{job_id}", json={}), 400)
    assert message == f"no data was provided to update job {job_id}"
    refused(api.put(f"/jobs/{job_id}", json={"active": False}), 400)
    refused(api.put(f"/jobs/{job_id}", json=job(workers=0)), 400)
    refused(api.put("/jobs/unknown", json=job()), 404)
    assert api.get(f"/jobs/{job_id}").json() == before


def test_a_job_is_switched_off_and_on_and_keeps_everything_else(api, new_job):
    """Covers 52 and 53 of rest-api.md."""
    job_id = new_job(labels={"a": "b"})

    off = api.post(f"/jobs/{job_id}/_inactive").json()
    on = api.post(f"/jobs/{job_id}/_active").json()

    assert (off["active"], on["active"]) == (False, True)
    assert off["labels"] == on["labels"] == {"a": "b"}
    refused(api.post("/jobs/unknown/_active"), 404)
    refused(api.post("/jobs/unknown/_inactive"), 404)


def test_a_running_job_can_not_be_deleted(api, running):
    """Covers 54 of rest-api.md."""
    job_id, _ = running()

    message = refused(api.delete(f"/jobs/{job_id}"), 409)

    assert message == f"Job {job_id} is currently running, cannot delete a running job."


def test_a_deleted_job_stays_readable_and_does_nothing_more(api, running):
    """Covers 55 to 58 and 37 of rest-api.md."""
    job_id, ex_id = running()
    api.post(f"/jobs/{job_id}/_stop")

    deleted = api.delete(f"/jobs/{job_id}")

    assert deleted.status_code == 200
    assert deleted.json()["_deleted"] is True
    assert deleted.json()["active"] is False
    assert "_deleted_on" in deleted.json()
    assert refused(api.delete(f"/jobs/{job_id}"), 410) == f"Job {job_id} has already been deleted."
    for verb, done in [("_start", "started"), ("_recover", "recovered")]:
        message = refused(api.post(f"/jobs/{job_id}/{verb}"), 410)
        assert message == f"Job {job_id} has been deleted and cannot be {done}."
    message = refused(api.put(f"/jobs/{job_id}", json=job()), 410)
    assert message == f"Job {job_id} has been deleted and cannot be updated."
    assert api.get(f"/jobs/{job_id}").json()["_deleted"] is True
    assert api.get(f"/ex/{ex_id}").json()["_deleted"] is True
    assert job_id not in {entry["job_id"] for entry in api.get("/jobs?size=1000").json()}
    for query in ("deleted=true", "deleted="):
        assert {entry["job_id"] for entry in api.get(f"/jobs?{query}&size=1000").json()} >= {job_id}
        assert all(entry["_deleted"] for entry in api.get(f"/jobs?{query}&size=1000").json())
    refused(api.delete("/jobs/unknown"), 404)


# --- start and recover --------------------------------------------------------------------------


def test_a_job_runs_once_at_a_time(api, running):
    """Covers 59 and 60 of rest-api.md, and J20 of job-config.md."""
    job_id, first = running()

    message = refused(api.post(f"/jobs/{job_id}/_start"), 409)
    assert message == f"Job {job_id} is currently running, cannot have the same job concurrently running"
    refused(api.post(f"/jobs/{job_id}/_recover"), 409)
    refused(api.post(f"/ex/{first}/_recover"), 409)

    api.post(f"/jobs/{job_id}/_stop")
    again = api.post(f"/jobs/{job_id}/_start")
    assert again.status_code == 200
    assert set(again.json()) == {"job_id", "ex_id"}
    assert again.json()["ex_id"] != first
    refused(api.post("/jobs/unknown/_start"), 404)


def test_of_many_starts_at_once_exactly_one_counts(master, api, new_job):
    job_id = new_job()
    codes = []

    def start():
        codes.append(master.request("POST", f"/jobs/{job_id}/_start").status_code)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(codes) == [200] + [409] * 7
    assert master.rows("SELECT count(*) FROM executions WHERE job_id = ?", job_id) == [(1,)]


def test_a_recovery_names_its_source_and_what_it_takes(api, running):
    """Covers 70, 71 and 72 of rest-api.md."""
    job_id, first = running()
    api.post(f"/jobs/{job_id}/_stop")

    message = refused(api.post(f"/jobs/{job_id}/_recover?cleanup_type=bogus"), 400)
    assert message == "cleanup_type must be empty or set to all, errors, pending"
    second = api.post(f"/jobs/{job_id}/_recover?cleanup=errors").json()["ex_id"]
    execution = api.get(f"/ex/{second}").json()
    assert execution["recovered_execution"] == first
    assert execution["recovered_slice_type"] == "errors"

    api.post(f"/ex/{second}/_stop")
    third = api.post(f"/jobs/{job_id}/_recover").json()["ex_id"]
    execution = api.get(f"/ex/{third}").json()
    assert execution["recovered_execution"] == second
    assert "recovered_slice_type" not in execution


def test_a_job_that_never_ran_has_nothing_to_recover(api, new_job):
    """Covers 72 of rest-api.md; with autorecover it just starts."""
    job_id = new_job()
    message = refused(api.post(f"/jobs/{job_id}/_recover"), 404)
    assert message == f"Job {job_id} is missing an execution to recover from"
    refused(api.post("/jobs/unknown/_recover"), 404)
    refused(api.post("/ex/unknown/_recover"), 404)

    answer = api.post(f"/jobs/{new_job(autorecover=True)}/_recover")
    assert answer.status_code == 200
    assert "recovered_execution" not in api.get(f"/ex/{answer.json()['ex_id']}").json()


def test_a_job_with_autorecover_goes_on_at_its_next_start(api, running):
    """Covers 73 of rest-api.md."""
    job_id, first = running(autorecover=True)
    assert "recovered_execution" not in api.get(f"/ex/{first}").json()
    api.post(f"/jobs/{job_id}/_stop")

    second = api.post(f"/jobs/{job_id}/_start").json()["ex_id"]

    execution = api.get(f"/ex/{second}").json()
    assert (execution["recovered_execution"], execution["recovered_slice_type"]) == (first, "pending")


def test_a_job_recovers_by_its_new_configuration_and_an_execution_by_its_old(api, running):
    """Covers 74 of rest-api.md and J24 of job-config.md: nothing is merged by index."""
    long = [{"_op": "test-reader"}, {"_op": "delay", "ms": 1}, {"_op": "noop"}]
    job_id, first = running(operations=long, max_retries=7)
    api.post(f"/jobs/{job_id}/_stop")
    api.put(f"/jobs/{job_id}", json=job(workers=2))

    by_job = api.post(f"/jobs/{job_id}/_recover").json()["ex_id"]
    execution = api.get(f"/ex/{by_job}").json()
    assert [operation["_op"] for operation in execution["operations"]] == ["test-reader", "noop"]
    assert (execution["workers"], execution["max_retries"]) == (2, 3)

    api.post(f"/ex/{by_job}/_stop")
    by_execution = api.post(f"/ex/{first}/_recover").json()
    execution = api.get(f"/ex/{by_execution['ex_id']}").json()
    assert by_execution["job_id"] == job_id
    assert [operation["_op"] for operation in execution["operations"]] == ["test-reader", "delay", "noop"]
    assert (execution["workers"], execution["max_retries"]) == (1, 7)
    assert (execution["_status"], execution["recovered_execution"]) == ("pending", first)


# --- pending executions -------------------------------------------------------------------------


def test_a_pending_execution_has_no_controller_to_talk_to(api, running):
    """Covers 64 and 83 of rest-api.md."""
    job_id, ex_id = running()

    assert refused(api.post(f"/jobs/{job_id}/_pause"), 500) == f"Execution {ex_id} is not available to pause"
    assert refused(api.post(f"/ex/{ex_id}/_resume"), 500) == f"Execution {ex_id} is not available to resume"
    for path in (f"/jobs/{job_id}/controller", f"/jobs/{job_id}/slicer", f"/ex/{ex_id}/controller"):
        assert refused(api.get(path), 404) == f"Could not find active slicer for ex_id: {ex_id}"
    message = refused(api.post(f"/jobs/{job_id}/_settings?log_level=loud"), 400)
    assert message.startswith(
        'Invalid log level "loud", must be one of: trace, debug, info, warn, error, fatal'
    )
    assert refused(api.post(f"/jobs/{job_id}/_settings"), 400).startswith('Invalid log level "undefined"')
    message = refused(api.post(f"/jobs/{job_id}/_settings?log_level=debug"), 404)
    assert message == f"Execution {ex_id} is not available"
    refused(api.post(f"/ex/{ex_id}/_settings"), 404)


def test_a_pending_execution_stops_at_once(api, running):
    """Covers 65, 66, 67 and 69 of rest-api.md for executions that have not begun."""
    _, ex_id = running()
    assert api.post(f"/ex/{ex_id}/_stop?blocking=false").json()["status"] in {"stopping", "stopped"}
    assert api.post(f"/ex/{ex_id}/_stop").json() == {"status": "stopped"}
    assert api.get(f"/ex/{ex_id}").json()["_status"] == "stopped"

    _, forced = running()
    assert api.post(f"/ex/{forced}/_stop?force=true").json() == {
        "message": f"Force stop complete for exId {forced}",
        "status": "stopped",
    }
    refused(api.post("/ex/unknown/_stop"), 404)
    for query in ("blocking=perhaps", "force=2", "timeout=soon"):
        refused(api.post(f"/ex/{ex_id}/_stop?{query}"), 400)


def test_the_number_of_workers_of_a_pending_execution_is_kept(api, running):
    """Covers 75, 77, 78 and 79 of rest-api.md, and 9 and 10 of cluster.md."""
    job_id, ex_id = running(workers=3)

    def say(query):
        return api.post(f"/ex/{ex_id}/_workers?{query}")

    for query in ("", "add=abc", "add=-1", "total=0", "add=1.5", "add=1&remove=1"):
        assert "Must provide a valid worker parameter(add/remove/total)" in refused(say(query), 400)
        refused(api.post(f"/jobs/{job_id}/_workers?{query}"), 400)
    assert refused(say("remove=3"), 400) == "workers to be removed: 3 cannot be >= to current workers: 3"
    assert say("total=3").json() == {"message": f"3 workers have been set for execution: {ex_id}"}
    assert say("total=5").json() == {"message": f"2 workers have been enqueued for execution: {ex_id}"}
    assert say("total=5").json() == {"message": f"5 workers have been set for execution: {ex_id}"}
    assert say("remove=1").json() == {"message": f"1 workers have been remove for execution: {ex_id}"}
    api.post(f"/ex/{ex_id}/_stop")
    message = refused(say("add=1"), 404)
    assert message == f"no active execution context was found for ex_id: {ex_id}"
    refused(api.post("/ex/unknown/_workers?add=1"), 404)


def test_executions_are_listed_by_status(api, running):
    """Covers 85 of rest-api.md."""
    _, pending = running()
    _, stopped = running()
    api.post(f"/ex/{stopped}/_stop")

    def listed(query):
        return {entry["ex_id"] for entry in api.get(f"/ex?size=1000&{query}").json()}

    assert pending in listed("status=pending")
    assert stopped not in listed("status=pending")
    assert {pending, stopped} <= listed("status=pending,%20stopped")
    assert {pending, stopped} <= listed("status=pending&status=stopped")
    assert {pending, stopped} <= listed("status=")
    assert {pending, stopped} <= listed("status=*")
    assert listed("status=nonsense") == set()


def test_errors_are_listed_even_where_there_are_none(api, running):
    """Covers 86, 87, 88 and 89 of rest-api.md."""
    job_id, ex_id = running()

    assert api.get("/ex/errors").json() == []
    assert api.get("/ex/unknown/errors").json() == []
    assert api.get(f"/ex/{ex_id}/errors").json() == []
    assert api.get(f"/jobs/{job_id}/errors?size=1&sort=slicer_order:asc").json() == []
    refused(api.get(f"/jobs/{job_id}/errors/{ex_id}"), 404)
    refused(api.get("/ex/errors?sort=request"), 400)


def test_an_idle_cluster_has_its_master_and_no_controllers(api):
    """Covers 81, 82 and 84 of rest-api.md."""
    stats = api.get("/cluster/stats").json()
    assert stats["controllers"] == stats["slicer"]
    assert set(stats["slicer"]) == {
        "processed",
        "failed",
        "queued",
        "job_duration",
        "workers_joined",
        "workers_disconnected",
        "workers_reconnected",
    }
    assert all(isinstance(value, int) for value in stats["slicer"].values())
    assert api.get("/cluster/controllers").json() == api.get("/cluster/slicers").json() == []
    state = api.get("/cluster/state").json()
    assert [process["assignment"] for process in state["master"]["active"]] == [
        "cluster_master",
        "assets_service",
    ]
    assert state["master"]["teraslice_version"] == "3.18.0"

"""Requests that come at the same moment: whichever is first, what follows is one of the outcomes allowed.

Each pair is fired many times at real daemons, with the moments jittered so that both orders occur. Every
answer is bounded in time, and after each round the cluster is as it was: every execution has ended in a
status that its table allows, and every slot is free.
"""

import contextlib
import json
import os
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.crowd import crowd_of
from tests.support.daemons import TERMINAL, cluster_for, until
from tests.support.jobs import endless_job, job
from tsd.core.execution.lifecycle import TRANSITIONS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROUNDS = int(os.environ.get("TSD_RACE_ROUNDS", "50"))
ANSWER_WITHIN_S = 12.0
"""Of any answer here. A wait that only its own time limit ends takes 30 s or more."""
SEED = int(os.environ.get("TSD_RACE_SEED", "1"))


@pytest.fixture(scope="module")
def up(request, tmp_path_factory):
    settings = {"tsd.operation_modules": ["tests.support.ops"]}
    with cluster_for(request, tmp_path_factory.mktemp("races"), workers=8, **settings) as cluster:
        cluster.start_up()
        yield cluster


@pytest.fixture(scope="module")
def api(up):
    return up.client()


@pytest.fixture
def race(up, api):
    """Run rounds of a race; each is given the crowd, and checked after it."""

    def run(round_, *, size=2, rounds=ROUNDS, settles=True):
        with crowd_of(up, size, seed=SEED) as crowd:
            for number in range(rounds):
                try:
                    round_(crowd, number)
                    if settles:
                        settle(api)
                except AssertionError as error:
                    error.add_note(f"round {number} of seed {SEED}")
                    raise
        settle(api)
        check_histories(up)
        until(lambda: not processes_of(up), "every process has left", 10)

    return run


# --- what holds after each round ----------------------------------------------------------------


def settle(api):
    """End whatever goes on; then nothing is left: no execution that has not ended, no process, no slot."""
    for execution in unended(api):
        answer = fire_one(api, "POST", f"/ex/{execution['ex_id']}/_stop?force=true")
        assert answer.json()["status"] in TERMINAL
    assert unended(api) == []
    until(lambda: is_empty(api), "every slot is free", 10)


def unended(api):
    statuses = "pending,scheduling,initializing,recovering,running,failing,paused,stopping"
    return [*listed(api, statuses, "false"), *listed(api, statuses, "true")]


def listed(api, statuses, deleted):
    answer = api.get(f"/ex?status={statuses}&size=1000&deleted={deleted}")
    assert answer.status_code == 200
    return answer.json()


def is_empty(api):
    nodes = [
        node
        for node in api.get("/cluster/state").json().values()
        if {process["assignment"] for process in node["active"]} != {"cluster_master", "assets_service"}
    ]
    return all(node["available"] == node["total"] and not node["active"] for node in nodes)


def check_histories(up):
    """The log has every change of a status; they form one path of the table for each execution."""
    allowed = {(status, after) for (status, _), after in TRANSITIONS.items()}
    present = {}
    for line in up.daemons["up"].log.splitlines():
        if '"execution.status"' not in line:
            continue
        entry = json.loads(line)
        was, status = entry["was"], entry["status"]
        assert present.get(entry["ex_id"], "pending") == was, entry
        assert (was, status) in allowed, entry
        present[entry["ex_id"]] = status
    stored = dict(up.rows("SELECT ex_id, status FROM executions"))
    assert {ex_id: stored[ex_id] for ex_id in present} == present
    assert set(stored.values()) <= TERMINAL
    assert present


def processes_of(up):
    """Processes of this host whose title names an execution of the cluster."""
    ex_ids = {ex_id for (ex_id,) in up.rows("SELECT ex_id FROM executions")}
    titles = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            titles.append(path.read_text(errors="replace"))
    return [title for title in titles if set(re.findall(r"[0-9a-f-]{36}", title)) & ex_ids]


# --- parts of rounds ----------------------------------------------------------------------------


def fire_one(api, method, path, body=None):
    began = time.monotonic()
    answer = api.request(method, path, **({} if body is None else {"json": body}))
    assert time.monotonic() - began < ANSWER_WITHIN_S, (method, path, answer.text)
    return answer


def fire(crowd, *requests, **options):
    """The answers; each came in time and is no fault of the server."""
    began = time.monotonic()
    answers = crowd.fire(*requests, **options)
    assert time.monotonic() - began < ANSWER_WITHIN_S, [answer.text for answer in answers]
    for answer in answers:
        assert "internal error" not in answer.text, answer.text
        assert answer.status_code < 500 or "is not available to" in answer.text, answer.text
    return answers


def define(api, definition):
    """Store a job; its id."""
    return fire_one(api, "POST", "/jobs?start=false", definition).json()["job_id"]


def start(api, definition):
    """Store and start a job; its ids."""
    answer = fire_one(api, "POST", "/jobs", definition).json()
    return answer["job_id"], answer["ex_id"]


def execution(api, ex_id):
    return fire_one(api, "GET", f"/ex/{ex_id}").json()


def status_of(api, ex_id):
    return execution(api, ex_id)["_status"]


def wait_for(api, ex_id, *statuses):
    return until(
        lambda: (status := status_of(api, ex_id)) in (statuses or TERMINAL) and status, f"{ex_id} {statuses}"
    )


def running(api, definition=None):
    """Start an endless job and wait until it runs; its ids."""
    job_id, ex_id = start(api, definition or endless_job(ms=5))
    wait_for(api, ex_id, "running")
    return job_id, ex_id


def of_job(up, job_id):
    """(ex_id, status) of the executions of a job, oldest first, as they are stored."""
    return up.rows("SELECT ex_id, status FROM executions WHERE job_id = ? ORDER BY ex_no", job_id)


# --- starts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 10])
def test_of_many_starts_at_once_exactly_one_runs(up, api, race, size):
    def round_(crowd, _number):
        job_id = define(api, endless_job(ms=5))

        answers = fire(crowd, *[("POST", f"/jobs/{job_id}/_start")] * size)

        assert sorted(answer.status_code for answer in answers) == [200] + [409] * (size - 1)
        refused = [answer.json()["message"] for answer in answers if answer.status_code == 409]
        assert set(refused) == {
            f"Job {job_id} is currently running, cannot have the same job concurrently running"
        }
        ex_ids = [answer.json()["ex_id"] for answer in answers if answer.status_code == 200]
        assert [ex_id for ex_id, _ in of_job(up, job_id)] == ex_ids

    race(round_, size=size)


def test_a_start_while_the_execution_before_it_ends_runs_alone_or_is_refused(up, api, race):
    overlapping = (
        "SELECT count(*) FROM executions a JOIN executions b USING (job_id)"
        " WHERE job_id = ? AND a.ex_no < b.ex_no AND a.updated > b.created"
    )

    def round_(crowd, number):
        definition = job() if number % 2 else endless_job(ms=5)
        job_id, ex_id = start(api, definition)
        if number % 2 == 0:
            wait_for(api, ex_id, "running")
            fire_one(api, "POST", f"/ex/{ex_id}/_stop?blocking=false")
        started = []
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while not started:
            answers = fire(crowd, *[("POST", f"/jobs/{job_id}/_start")] * 2)
            started = [answer.json()["ex_id"] for answer in answers if answer.status_code == 200]
            assert {answer.status_code for answer in answers} <= {200, 409}
            assert len(started) < 2
            assert time.monotonic() < deadline
        assert status_of(api, ex_id) in TERMINAL
        assert [found for found, _ in of_job(up, job_id)] == [ex_id, *started]
        assert up.rows(overlapping, job_id) == [(0,)]

    race(round_)


def test_a_delete_against_a_start_leaves_a_deleted_job_that_never_runs_or_one_that_runs(up, api, race):
    seen = Counter()

    def round_(crowd, _number):
        job_id = define(api, endless_job(ms=5))

        deleted, started = fire(crowd, ("DELETE", f"/jobs/{job_id}"), ("POST", f"/jobs/{job_id}/_start"))

        seen[deleted.status_code] += 1
        if deleted.status_code == 200:
            assert started.status_code == 410
            assert of_job(up, job_id) == []
        else:
            assert (deleted.status_code, started.status_code) == (409, 200)
            wait_for(api, started.json()["ex_id"], "running")
        assert api.get(f"/jobs/{job_id}").json().get("_deleted", False) == (deleted.status_code == 200)

    race(round_)
    assert set(seen) == {200, 409}


def test_an_execution_is_of_the_old_or_of_the_new_job_never_of_both(api, race):
    def version(number):
        return job(
            name=f"version-{number}",
            max_retries=number,
            operations=[{"_op": "test-reader"}, {"_op": "delay", "ms": number}],
        )

    seen = Counter()

    def round_(crowd, _number):
        job_id = define(api, version(1))

        changed, started = fire(
            crowd, ("PUT", f"/jobs/{job_id}", version(2)), ("POST", f"/jobs/{job_id}/_start")
        )

        assert (changed.status_code, started.status_code) == (200, 200)
        ran = execution(api, started.json()["ex_id"])
        number = ran["max_retries"]
        seen[number] += 1
        assert (ran["name"], ran["operations"][1]["ms"]) == (f"version-{number}", number)
        assert api.get(f"/jobs/{job_id}").json()["name"] == "version-2"

    race(round_)
    assert set(seen) == {1, 2}


@pytest.mark.parametrize("recovers", ["job", "execution"])
def test_of_a_recovery_and_a_start_one_runs(up, api, race, recovers):
    seen = Counter()

    def round_(crowd, _number):
        job_id, first = running(api)
        fire_one(api, "POST", f"/ex/{first}/_stop")
        path = f"/jobs/{job_id}/_recover" if recovers == "job" else f"/ex/{first}/_recover"

        answers = fire(crowd, ("POST", path), ("POST", f"/jobs/{job_id}/_start"))

        assert sorted(answer.status_code for answer in answers) == [200, 409]
        seen[answers[0].status_code] += 1
        (ex_id,) = [answer.json()["ex_id"] for answer in answers if answer.status_code == 200]
        assert [found for found, _ in of_job(up, job_id)] == [first, ex_id]
        recovered = execution(api, ex_id).get("recovered_execution")
        assert recovered == (first if answers[0].status_code == 200 else None)
        wait_for(api, ex_id, "running")

    race(round_)
    assert set(seen) == {200, 409}


# --- stops --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["job", "execution"])
def test_a_job_that_is_stopped_as_soon_as_it_is_posted_ends(api, race, by):
    def round_(crowd, number):
        job_id, ex_id = start(api, endless_job(ms=5))
        path = f"/jobs/{job_id}/_stop" if by == "job" else f"/ex/{ex_id}/_stop"
        query = ["", "?blocking=false", "?force=true"][number % 3]
        time.sleep(crowd.rng.choice([0.0, crowd.rng.uniform(0, 0.15)]))

        answer = fire_one(api, "POST", path + query)

        assert answer.status_code == 200
        if "blocking" in query:
            assert answer.json()["status"] in TERMINAL | {"stopping"}
            wait_for(api, ex_id, "stopped")
        else:
            assert answer.json()["status"] == status_of(api, ex_id) == "stopped"

    race(round_)


def test_a_stop_as_the_job_completes_answers_with_the_status_that_stays(api, race):
    seen = Counter()

    def round_(crowd, _number):
        _, ex_id = start(api, job())
        time.sleep(crowd.rng.uniform(0.02, 0.2))

        (answer,) = fire(crowd, ("POST", f"/ex/{ex_id}/_stop"))

        status = answer.json()["status"]
        seen[status] += 1
        assert status_of(api, ex_id) == status

    race(round_)
    assert set(seen) == {"completed", "stopped"}


def test_several_stops_at_once_all_hear_of_the_end(api, race):
    def round_(crowd, _number):
        job_id, ex_id = running(api)

        blocking, other, promptly, forced = fire(
            crowd,
            ("POST", f"/ex/{ex_id}/_stop"),
            ("POST", f"/jobs/{job_id}/_stop?timeout=2s"),
            ("POST", f"/ex/{ex_id}/_stop?blocking=false"),
            ("POST", f"/ex/{ex_id}/_stop" + crowd.rng.choice(["", "?force=true"])),
        )

        assert blocking.json() == other.json() == {"status": "stopped"}
        assert promptly.json()["status"] in {"stopping", "stopped"}
        assert forced.json()["status"] == "stopped"
        assert status_of(api, ex_id) == "stopped"

    race(round_, size=4)


def test_a_pause_against_a_stop_ends_stopped(api, race):
    seen = Counter()

    def round_(crowd, number):
        _, ex_id = running(api)
        verb = ["_pause", "_resume"][number % 2]

        paused, stopped = fire(crowd, ("POST", f"/ex/{ex_id}/{verb}"), ("POST", f"/ex/{ex_id}/_stop"))

        assert stopped.json() == {"status": "stopped"}
        assert paused.status_code in {200, 404, 500}
        seen[paused.status_code] += 1
        assert status_of(api, ex_id) == "stopped"

    race(round_)
    assert len(seen) > 1


def test_a_change_of_workers_against_a_stop_leaves_no_worker(api, race):
    def round_(crowd, number):
        _, ex_id = running(api)
        change = ["add=3", "total=5", "add=6"][number % 3]

        changed, stopped = fire(
            crowd, ("POST", f"/ex/{ex_id}/_workers?{change}"), ("POST", f"/ex/{ex_id}/_stop")
        )

        assert stopped.json() == {"status": "stopped"}
        assert changed.status_code in {200, 404}
        assert status_of(api, ex_id) == "stopped"

    race(round_)


# --- pauses -------------------------------------------------------------------------------------


def test_a_pause_against_a_resume_ends_paused_or_running(up, api, race):
    _, ex_id = running(api)

    def round_(crowd, number):
        verb = ["_pause", "_resume"][number % 2]
        assert fire_one(api, "POST", f"/ex/{ex_id}/{verb}").status_code == 200

        paused, resumed = fire(
            crowd, ("POST", f"/ex/{ex_id}/_pause"), ("POST", f"/ex/{ex_id}/_resume"), within_ms=3
        )

        assert paused.json() == {"status": "paused"}
        assert resumed.json() == {"status": "running"}
        assert status_of(api, ex_id) in {"paused", "running"}

    race(round_, rounds=2 * ROUNDS, settles=False)


def test_what_a_verb_answered_is_what_everybody_reads_next(api, race):
    """Of many who pause, or resume, at once none is answered before the status is stored."""
    _, ex_id = running(api)

    def round_(crowd, number):
        verb, status = [("_pause", "paused"), ("_resume", "running")][number % 2]

        def change_and_read(client):
            answer = client.post(f"/ex/{ex_id}/{verb}")
            return answer.json()["status"], client.get(f"/ex/{ex_id}").json()["_status"]

        assert crowd.run(*[change_and_read] * 6) == [(status, status)] * 6

    race(round_, size=6, rounds=6 * ROUNDS, settles=False)


def test_a_pause_as_the_job_completes_pauses_it_or_comes_too_late(api, race):
    seen = Counter()

    def round_(crowd, _number):
        _, ex_id = start(api, job())
        wait_for(api, ex_id, "running", "completed")
        time.sleep(crowd.rng.uniform(0, 0.03))

        (answer,) = fire(crowd, ("POST", f"/ex/{ex_id}/_pause"))

        seen[answer.status_code] += 1
        if answer.status_code == 200:
            assert status_of(api, ex_id) in {"paused", "completed"}
            fire_one(api, "POST", f"/ex/{ex_id}/_resume")
            wait_for(api, ex_id, "completed")
        else:
            assert answer.status_code == 404, answer.text
            assert status_of(api, ex_id) == "completed"

    race(round_)
    assert 404 in seen


# --- everything at once -------------------------------------------------------------------------


VERBS = (
    *["_start"] * 3,
    "_stop",
    "_stop?blocking=false",
    "_stop?force=true",
    "_stop?timeout=100ms",
    *["_pause", "_resume"] * 2,
    "_workers?add=1",
    "_workers?total=2",
    "_recover",
    "_recover?cleanup_type=all",
    "_settings?log_level=info",
)


def test_a_storm_of_all_verbs_runs_no_job_twice_and_leaves_nothing(up, api, race):
    """Covers what no pair does: a stop of one client between a pause and a resume of two others, and so on."""
    overlapping = (
        "SELECT a.ex_id, b.ex_id FROM executions a JOIN executions b USING (job_id)"
        " WHERE job_id IN (?, ?) AND a.ex_no < b.ex_no AND a.updated > b.created"
    )
    seen = Counter()

    def round_(crowd, number):
        long, short = define(api, endless_job(ms=2)), define(api, job())

        def storm(client):
            for _ in range(12):
                job_id = crowd.rng.choice([long, long, short])
                verb = crowd.rng.choice(VERBS)
                answer = client.post(f"/jobs/{job_id}/{verb}")
                seen[answer.status_code] += 1
                assert answer.status_code in {200, 404, 409, 422} or "is not available to" in answer.text, (
                    verb,
                    answer.text,
                )

        began = time.monotonic()
        crowd.run(*[storm] * 6)
        assert time.monotonic() - began < 12 * ANSWER_WITHIN_S
        for job_id in (long, short):
            if of_job(up, job_id):
                fire_one(api, "POST", f"/jobs/{job_id}/_stop")
        assert up.rows(overlapping, long, short) == []
        if number % 2:
            assert [fire_one(api, "DELETE", f"/jobs/{job_id}").status_code for job_id in (long, short)] == [
                200,
                200,
            ]

    race(round_, size=6, rounds=max(1, ROUNDS // 4))
    assert {200, 404, 409} <= set(seen)

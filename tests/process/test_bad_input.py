"""What users and their code do wrong: it is said where it happened, and nobody else notices.

`tests/cli/test_config_command.py` has the config files with faults of the other daemons, and
`tests/api/test_daemon.py` the busy ports and the second master without jobs.
"""

import contextlib
import gzip
import json
import os
import socket
import subprocess
import time

import pytest

from tests.support.daemons import TERMINAL, Daemon, cluster_for, free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SHUTDOWN_S = 2.0
KILLED_AFTER_S = SHUTDOWN_S + 3.0
"""Processes are gone at the latest then (E27)."""
SLACK_S = 5.0
"""For a machine that others use too."""


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    settings = {
        "tsd.operation_modules": ["tests.support.ops"],
        "tsd.max_body_size": "100 KiB",
        "teraslice.shutdown_timeout": f"{SHUTDOWN_S}s",
        "tsd.controller_lease": "2s",
    }
    with cluster_for(request, tmp_path_factory.mktemp("bad"), workers=8, **settings) as cluster:
        cluster.start_master()
        cluster.start_node()
        yield cluster


@pytest.fixture
def others(cluster):
    """A job of somebody else, which must go on all the time and end well."""
    operations = [{"_op": "count", "size": 2000}, {"_op": "waiter", "seconds": 0.02}]
    _, ex_id = cluster.post_job({"name": "others", "workers": 1, "operations": operations})
    until(lambda: completed(cluster, ex_id) > 0, "the job of others runs")
    yield ex_id
    before = completed(cluster, ex_id)
    until(lambda: completed(cluster, ex_id) > before, "the job of others goes on")
    assert cluster.status(ex_id) == "running"
    assert cluster.rows("SELECT generation FROM executions WHERE ex_id = ?", ex_id) == [(1,)]
    # Before the stop: a worker that leaves because of it counts too, if it leaves before the controller.
    assert cluster.get(f"/ex/{ex_id}/controller")[0]["workers_disconnected"] == 0
    assert cluster.post(f"/ex/{ex_id}/_stop") == {"status": "stopped"}


def completed(cluster, ex_id):
    return sum(record["state"] == "completed" for record in cluster.records(ex_id))


def post(cluster, *operations, **more):
    _, ex_id = cluster.post_job(
        {"name": "bad", "workers": 1, "max_retries": 0, "operations": operations, **more}
    )
    return ex_id


def failed(cluster, ex_id, within_s=30.0):
    """The reason of an execution that failed, after which nothing of it is left."""
    execution = cluster.wait_status(ex_id, "failed", within_s=within_s)
    until(lambda: not cluster.processes(ex_id), "its processes are gone", KILLED_AFTER_S + SLACK_S)
    return execution["_failureReason"]


def in_error(cluster, ex_id):
    """The requests and errors of its slices in error; all others are completed."""
    records = cluster.records(ex_id)
    assert {record["state"] for record in records} <= {"completed", "error"}
    return [(record["request"], record["error"]) for record in records if record["state"] == "error"]


def stop(cluster, ex_id, **parameters):
    """Stop it; how long that took, to the end of its last process."""
    since = time.monotonic()
    answer = cluster.request("POST", f"/ex/{ex_id}/_stop", params=parameters)
    assert answer.json()["status"] == "stopped", answer.text
    assert cluster.status(ex_id) == "stopped"
    until(lambda: not cluster.processes(ex_id), "its processes are gone", KILLED_AFTER_S + SLACK_S)
    return time.monotonic() - since


# --- input files -------------------------------------------------------------------------------


def read_job(cluster, path, **options):
    return post(
        cluster,
        {"_op": "file_reader", "path": str(path), "format": "ldjson", **options},
        {"_op": "noop"},
    )


def test_an_input_folder_that_is_not_there_is_named(cluster, others, tmp_path):
    reason = failed(cluster, read_job(cluster, tmp_path / "absent"))

    assert str(tmp_path / "absent") in reason


def test_an_input_file_that_can_not_be_opened_is_named(cluster, others, tmp_path):
    """A link to itself: root, as which tests may run, can not open that either."""
    (tmp_path / "round").symlink_to(tmp_path / "round")

    reason = failed(cluster, read_job(cluster, tmp_path / "round"))

    assert str(tmp_path / "round") in reason


def test_a_damaged_archive_is_an_error_of_its_slice_alone(cluster, others, tmp_path):
    good = gzip.compress(b'{"a": 1}\n' * 1000)
    (tmp_path / "a.gz").write_bytes(good)
    (tmp_path / "b.gz").write_bytes(good[: len(good) // 2])
    (tmp_path / "c.gz").write_bytes(b"no archive at all")
    (tmp_path / "d.gz").write_bytes(good)
    ex_id = read_job(cluster, tmp_path, compression="gzip")

    assert "had 2 slice failures" in failed(cluster, ex_id)
    errors = in_error(cluster, ex_id)
    assert sorted(request["path"] for request, _ in errors) == [
        str(tmp_path / "b.gz"),
        str(tmp_path / "c.gz"),
    ]


def test_a_line_that_is_no_record_is_an_error_of_its_slice(cluster, others, tmp_path):
    (tmp_path / "lines").write_bytes(b'{"a": 1}\n{"a": \xff\xfe}\n{"a": 3}\n')
    ex_id = read_job(cluster, tmp_path / "lines")

    assert "had 1 slice failure" in failed(cluster, ex_id)
    assert len(in_error(cluster, ex_id)) == 1


# --- slicers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"raise_at": 3}, "no slice number 3"), ({"nonsense_at": 3}, "object")],
    ids=["raises", "returns nonsense"],
)
def test_a_bad_slicer_fails_its_job_with_the_reason(cluster, others, fault, words):
    """E21"""
    ex_id = post(cluster, {"_op": "count", **fault}, {"_op": "noop"})
    reason = failed(cluster, ex_id)

    assert "had an error, shutting down execution" in reason
    assert words in reason
    assert {record["request"]["number"] for record in cluster.records(ex_id)} <= {0, 1, 2}


def test_a_slicer_that_never_returns_can_be_stopped(cluster, others):
    """E27"""
    ex_id = post(cluster, {"_op": "count", "stuck_at": 3}, {"_op": "noop"})
    until(lambda: completed(cluster, ex_id) == 3, "what it made is completed")

    assert stop(cluster, ex_id) < KILLED_AFTER_S + SLACK_S
    assert cluster.get(f"/ex/{ex_id}")["_slicer_stats"]["processed"] == 3


# --- fetchers and processors -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raise", "a number"])
def test_a_bad_fetcher_costs_its_slice(cluster, others, how):
    """E18"""
    ex_id = post(cluster, {"_op": "fetch-badly", "how": how}, {"_op": "noop"})

    assert "had 1 slice failure" in failed(cluster, ex_id)
    [(request, error)] = in_error(cluster, ex_id)
    assert request == {"number": 1}
    assert ("the source is gone" if how == "raise" else "fetch-badly") in error


@pytest.mark.parametrize("how", ["a number", "text", "objects"])
def test_a_processor_that_returns_nonsense_costs_its_slice(cluster, others, how):
    ex_id = post(cluster, {"_op": "count"}, {"_op": "babbler", "at": [4], "how": how}, {"_op": "noop"})

    assert "had 1 slice failure" in failed(cluster, ex_id)
    [(request, error)] = in_error(cluster, ex_id)
    assert request == {"number": 4}
    assert "babbler" in error


def test_returning_nothing_means_no_records(cluster, others):
    """As in Teraslice, where undefined is one of the two ways to say so."""
    ex_id = post(
        cluster, {"_op": "fetch-badly", "how": "nothing"}, {"_op": "babbler", "at": [4], "how": "nothing"}
    )

    assert cluster.wait_status(ex_id, "completed")["_slicer_stats"]["processed"] == 10


def test_a_processor_that_raises_costs_its_slices(cluster, others):
    ex_id = post(cluster, {"_op": "count"}, {"_op": "raiser", "at": [4, 7]}, max_retries=1)

    assert "had 2 slice failures" in failed(cluster, ex_id)
    assert [request["number"] for request, _ in in_error(cluster, ex_id)] == [4, 7]
    assert {r["retry_count"] for r in cluster.records(ex_id) if r["state"] == "error"} == {1}


@pytest.mark.parametrize(
    "operations",
    [
        [{"_op": "fetch-badly", "how": "never return"}, {"_op": "noop"}],
        [{"_op": "fetch-badly", "how": "hold the interpreter"}, {"_op": "noop"}],
        [{"_op": "count"}, {"_op": "sleeper", "at": [1], "seconds": 600.0}],
        [{"_op": "count"}, {"_op": "async-pass", "seconds": 600.0}],
    ],
    ids=["fetcher", "fetcher that holds the interpreter", "processor", "async processor"],
)
def test_an_operation_that_never_returns_can_be_stopped(cluster, others, operations):
    """E27, B5: its slice is not completed, and is there to be recovered."""
    ex_id = post(cluster, *operations)
    until(lambda: [r for r in cluster.records(ex_id) if r["state"] == "start"], "it runs into it")

    assert stop(cluster, ex_id) < KILLED_AFTER_S + SLACK_S
    unfinished = [r["request"]["number"] for r in cluster.records(ex_id) if r["state"] != "completed"]
    assert 1 in unfinished or "async-pass" in str(operations)
    assert unfinished


def test_a_forced_stop_of_an_operation_that_holds_the_interpreter_is_quick(cluster, others):
    ex_id = post(cluster, {"_op": "count"}, {"_op": "hog", "at": [1], "seconds": 600.0})
    until(lambda: [r for r in cluster.records(ex_id) if r["state"] == "start"], "it runs into it")

    assert stop(cluster, ex_id, force="true") < KILLED_AFTER_S + SLACK_S


def test_an_operation_that_never_initializes_can_be_stopped(cluster, others, tmp_path):
    ex_id = post(
        cluster, {"_op": "count"}, {"_op": "slow-start", "seconds": 600.0, "file": str(tmp_path / "begun")}
    )
    until((tmp_path / "begun").exists, "it initializes")

    assert stop(cluster, ex_id) < KILLED_AFTER_S + SLACK_S
    assert completed(cluster, ex_id) == 0


# --- requests ----------------------------------------------------------------------------------

OPERATIONS = [{"_op": "count"}, {"_op": "noop"}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe\x00", 400),
        (b"[" * 50_000, 400),
        (b"null", 400),
        (b'{"name": "x"}', 400),
        (json.dumps({"name": "x", "operations": "count"}).encode(), 400),
        (json.dumps({"name": "x", "operations": [1, 2]}).encode(), 400),
        (json.dumps({"name": "x", "operations": [{"_op": "count"}, {"_op": "nope"}]}).encode(), 400),
        (
            json.dumps(
                {"name": "x", "operations": [{"_op": "count", "size": "many"}, {"_op": "noop"}]}
            ).encode(),
            400,
        ),
        (json.dumps({"name": "x", "workers": -1, "operations": OPERATIONS}).encode(), 400),
        (json.dumps({"name": "x", "lifecycle": "twice", "operations": OPERATIONS}).encode(), 400),
        (json.dumps({"name": "x" * 200_000, "operations": OPERATIONS}).encode(), 413),
        (b'{"name": "x", "operations": ' + b" " * 200_000, 413),
        (gzip.compress(b" " * 50_000_000), 413),
    ],
    ids=[
        *("empty", "cut", "no text", "deep", "null", "no operations", "operations no list"),
        *("operations no objects", "unknown operation", "wrong option", "wrong number", "wrong word"),
        *("too large", "too large and cut", "inflates"),
    ],
)
def test_a_bad_job_is_refused_with_a_reason_and_changes_nothing(cluster, body, status):
    """E12 of the API, J-points of jobs: 4xx, a message, and neither job nor execution."""
    before = stored(cluster)
    headers = {"content-type": "application/json"}
    if body.startswith(b"\x1f\x8b"):
        headers["content-encoding"] = "gzip"

    answer = cluster.request("POST", "/jobs", content=body, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert stored(cluster) == before
    assert cluster.request("GET", "/ready").status_code == 200


def test_a_body_that_never_ends_or_breaks_off_changes_nothing(cluster):
    before = stored(cluster)
    host, port = cluster.url.removeprefix("http://").split(":")
    head = f"POST /jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(5):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode() + b'{"name": "x", ')
    waiting = socket.create_connection((host, int(port)))
    with waiting:
        waiting.sendall(head.encode() + b'{"name": "x", ')

        assert cluster.request("GET", "/ready").status_code == 200
        assert stored(cluster) == before


def stored(cluster):
    return cluster.rows("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM executions)")


# --- daemons -----------------------------------------------------------------------------------


def test_a_second_master_on_a_store_in_use_leaves_and_disturbs_nobody(cluster, others):
    config = cluster.folder / "second.yaml"
    config.write_text(
        f"teraslice: {{port: {free_port()}}}\n"
        f"tsd: {{mesh_port: {free_port()}, data_dir: {cluster.data_dir}, operation_modules: [tests.support.ops]}}\n"
    )
    announced = cluster.announced()

    code, words = run_refused(cluster, "master", "--config", str(config))

    assert code == 75
    assert str(announced["pid"]) in words
    assert cluster.announced() == announced


def run_refused(cluster, *arguments):
    """A daemon with a config of its own; its exit code and words, in a clean environment."""
    daemon = Daemon("refused", list(arguments), cluster.folder / f"refused-{free_port()}.log")
    try:
        return daemon.wait(30), daemon.log
    finally:
        daemon.end()


@pytest.fixture
def stage(request, tmp_path):
    """A cluster of which nothing runs yet."""
    folder = tmp_path / "stage"
    folder.mkdir()
    with cluster_for(request, folder) as cluster:
        yield cluster


@pytest.mark.parametrize("command", ["master", "node", "up"])
def test_a_config_file_with_typos_names_them_all_and_exits_with_78(stage, command):
    stage.configure(**{"tsd.hartbeat_interval": "1s", "teraslice.wrokers": 3})

    code, words = stage.start_refused(command)

    assert code == 78
    assert "hartbeat_interval" in words
    assert "heartbeat_interval" in words
    assert "wrokers" in words


@pytest.mark.parametrize("command", ["master", "node", "up"])
def test_a_file_in_place_of_the_data_folder_is_said_and_exits_with_78(stage, command):
    stage.data_dir.write_text("no folder")

    code, words = stage.start_refused(command)

    assert code == 78
    assert str(stage.data_dir) in words
    assert "Traceback" not in words
    assert stage.data_dir.read_text() == "no folder"


@pytest.mark.parametrize("command", ["master", "node", "up"])
def test_a_data_folder_that_may_not_be_written_is_said_and_exits_with_77(stage, command):
    """Read-only by its mount, because root may write everywhere else."""
    stage.data_dir.mkdir()
    with read_only(stage.data_dir):
        code, words = stage.start_refused(command)

    assert code == 77
    assert str(stage.data_dir) in words
    assert "Traceback" not in words
    assert list(stage.data_dir.iterdir()) == []


@contextlib.contextmanager
def read_only(folder):
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"can not mount here: {mounted.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_job_of_a_wrong_operation_module_is_refused_and_named(cluster):
    answer = cluster.request(
        "POST", "/jobs", json={"name": "x", "operations": [{"_op": "no.such.module:Op"}, *OPERATIONS]}
    )

    assert answer.status_code == 400
    assert "no.such.module" in answer.json()["message"]


def test_after_all_that_the_cluster_is_well(cluster):
    ex_id = post(cluster, *OPERATIONS)

    assert cluster.wait_status(ex_id, *TERMINAL)["_status"] == "completed"

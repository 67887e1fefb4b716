"""Checks of jobs that are code of users: whatever they do, the master answers, serves others, and ends."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.support.daemons import cluster_for, until

HARMLESS = {"name": "x", "workers": 1, "operations": [{"_op": "test-reader"}, {"_op": "noop"}]}
TIMEOUT_S = 2


@contextmanager
def started(request, folder, timeout=f"{TIMEOUT_S} seconds"):
    """A cluster, its master, and a client; there is no node, so no job runs."""
    settings = {"tsd.operation_modules": ["tests.support.check_ops"], "tsd.job_check_timeout": timeout}
    with cluster_for(request, folder, **settings) as cluster:
        master = cluster.start_master()
        with cluster.client() as client:
            yield cluster, master, client


@pytest.fixture(scope="module")
def shared(request, tmp_path_factory):
    """One for all tests that leave it as it was."""
    with started(request, tmp_path_factory.mktemp("checks")) as all_three:
        yield all_three


@pytest.fixture
def master(shared):
    return shared[1]


@pytest.fixture
def client(shared):
    return shared[2]


def job(**options):
    operations = [{"_op": "test-reader"}, {"_op": "checked", **options}]
    return {"name": "x", "workers": 1, "operations": operations}


def post(client, posted):
    return client.post("/jobs?start=false", json=posted, timeout=60)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_operations_of_modules_are_checked_outside_of_the_master(master, client, tmp_path):
    note = tmp_path / "pids"
    assert post(client, job(note=str(note))).status_code == 200
    assert post(client, job(note=str(note))).status_code == 200

    pids = set(note.read_text().split())
    assert len(pids) == 1, "the child that has the modules imported is asked again"
    assert not pids & {str(pid) for pid in master.pids()}


@pytest.mark.parametrize("option", ["in_check", "in_faults", "in_warnings"])
def test_a_check_that_hangs_is_named_with_its_line(client, option):
    answer = post(client, job(**{option: "hang"}))

    assert answer.status_code == 400
    assert (
        "operations[1]: the check of checked was still running after 2 s when the job was checked, in "
        in answer.json()["message"]
    )
    assert re.search(r"in .*check_ops\.py, line \d+: time\.sleep\(3600\)", answer.json()["message"])
    assert post(client, HARMLESS).status_code == post(client, job()).status_code == 200


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("spin", "was still running after 2 s"),
        ("exit", "ended its process with exit code 3"),
        (
            "raise",
            "operations[1]: the check failed: RuntimeError: no database there, in check_ops.py, line ",
        ),
        ("flood", "wrote more than an answer can have"),
    ],
)
def test_a_check_that_fails_in_another_way_is_named_too(client, how, words):
    answer = post(client, job(in_check=how))

    assert answer.status_code == 400
    assert words in answer.json()["message"]
    assert post(client, job()).status_code == 200


def test_what_a_check_prints_does_no_harm(client):
    assert post(client, job(in_check="print")).status_code == 200


@pytest.mark.parametrize("count", [2, 10])
def test_checks_that_hang_keep_no_others_waiting(client, count):
    with ThreadPoolExecutor(count) as pool:
        hung = [pool.submit(post, client, job(in_check="hang")) for _ in range(count)]
        until(lambda: any(each.running() for each in hung), "they hang")
        statuses = [post(client, HARMLESS).status_code for _ in range(20)]
        assert not all(each.done() for each in hung)
        answers = [each.result() for each in hung]

    assert statuses == [200] * 20
    assert {answer.status_code for answer in answers} == {400}
    assert post(client, job()).status_code == 200


def test_what_a_check_has_started_ends_with_it(client, tmp_path):
    note = tmp_path / "pids"
    assert post(client, job(in_check="children", note=str(note))).status_code == 400

    for pid in note.read_text().split():
        until(lambda pid=int(pid): not is_alive(pid), "it has ended")


def test_a_check_that_hangs_does_not_keep_the_master_from_ending(request, tmp_path):
    note = tmp_path / "pids"
    with (
        started(request, tmp_path, timeout="1 hour") as (_, master, client),
        ThreadPoolExecutor(3) as pool,
    ):
        hung = [pool.submit(post, client, job(in_check="hang", note=str(note))) for _ in range(3)]
        until(lambda: note.exists() and len(note.read_text().split()) >= 2, "they hang")
        assert master.stop() == 0
        assert {each.result().status_code for each in hung} == {503}

    for pid in note.read_text().split():
        until(lambda pid=int(pid): not is_alive(pid), "it has ended")


def test_the_child_ends_with_a_master_that_is_killed(request, tmp_path):
    note = tmp_path / "pids"
    with started(request, tmp_path) as (_, master, client):
        assert post(client, job(note=str(note))).status_code == 200
        master.kill()

    until(lambda: not is_alive(int(note.read_text().split()[0])), "it has ended")

"""Dead letters with real daemons: each rejected record is a letter once, whatever dies; replays bring it home."""

import os
import signal

import pytest

from tests.support.daemons import cluster_for, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SLICES, PER = 40, 4
NUMBERS = range(SLICES * PER)


@pytest.fixture
def cluster(request, tmp_path):
    settings = {
        "teraslice.worker_disconnect_timeout": "2s",
        "tsd.controller_lease": "2s",
        "tsd.operation_modules": ["tests.support.ops", "tests.support.letter_ops"],
    }
    with cluster_for(request, tmp_path, workers=6, **settings) as cluster:
        cluster.start_master()
        cluster.start_node("node-1")
        yield cluster


def job(file, *, every=2, seconds=0.0, **changes):
    return {
        "name": "picky",
        "workers": 2,
        "operations": [
            {"_op": "batches", "size": SLICES, "per": PER},
            {"_op": "twice"},
            {"_op": "picky", "every": every, "seconds": seconds, "_dead_letter_action": "store"},
            {"_op": "witness", "file": str(file)},
        ],
        **changes,
    }


def letters_of(cluster, path):
    return cluster.get(f"{path}/dead_letters?size=10000&sort=slicer_order,time")


def numbers_of(letters):
    return sorted(letter["record"]["number"] for letter in letters)


def seen(file):
    return sorted(int(line.split()[0]) for line in file.read_text().splitlines()) if file.exists() else []


def test_a_rejected_record_is_a_letter_that_tells_where_it_came_from(cluster, tmp_path):
    job_id, ex_id = cluster.post_job(job(tmp_path / "seen"))
    cluster.wait_status(ex_id, "completed")

    letters = letters_of(cluster, f"/jobs/{job_id}")

    assert numbers_of(letters) == [number for number in NUMBERS if number % 2 == 0]
    assert seen(tmp_path / "seen") == [number for number in NUMBERS if number % 2]
    first = next(letter for letter in letters if letter["record"]["number"] == 6)
    assert first["record"] == {"number": 6, "doubled": 1}
    assert (first["operation"], first["position"]) == ("picky", "operations[2]")
    assert (first["slicer_id"], first["slicer_order"], first["attempt"]) == (0, 2, 1)
    assert (first["ex_id"], first["job_id"]) == (ex_id, job_id)
    assert first["error"].endswith("do not like 6")
    assert cluster.get(f"/ex/{ex_id}")["_dead_letters"] == {"stored": len(letters), "dropped": 0}


@pytest.mark.parametrize("victim", ["worker", "execution_controller", "master"])
def test_each_rejected_record_is_a_letter_once_whatever_is_killed(cluster, tmp_path, victim):
    _, ex_id = cluster.post_job(job(tmp_path / "seen", seconds=0.01))
    for times in (1, 2):
        until(lambda times=times: len(letters_of(cluster, f"/ex/{ex_id}")) > 10 * times, "some are stored")
        if victim == "master":
            cluster.daemons["master"].kill()
            cluster.start_master()
        else:
            running = [p["pid"] for p in cluster.processes(ex_id, victim) if p["pid"] > 0]
            for pid in running[:1]:
                os.kill(pid, signal.SIGKILL)
    cluster.wait_status(ex_id, "completed", within_s=60)

    letters = letters_of(cluster, f"/ex/{ex_id}")
    assert numbers_of(letters) == [number for number in NUMBERS if number % 2 == 0]


def test_a_mended_job_replays_its_letters_from_the_operation_that_rejected_them(cluster, tmp_path):
    file = tmp_path / "seen"
    job_id, ex_id = cluster.post_job(job(file))
    cluster.wait_status(ex_id, "completed")
    rejected = numbers_of(letters_of(cluster, f"/jobs/{job_id}"))
    mended = job(file, every=8)
    assert cluster.request("PUT", f"/jobs/{job_id}", json=mended).status_code == 200

    answer = cluster.post(f"/jobs/{job_id}/dead_letters/_replay")
    replay = cluster.wait_status(answer["ex_id"], "completed")

    assert (replay["name"], replay["lifecycle"]) == ("replay of picky", "once")
    assert (answer["letters"], set(answer["skipped"].values())) == (len(rejected), {0})
    still = [number for number in NUMBERS if number % 8 == 0]
    assert seen(file) == [number for number in NUMBERS if number not in still]
    # What it rejects again is a letter of the new execution; no record went through `twice` a second time.
    again = letters_of(cluster, f"/ex/{answer['ex_id']}")
    assert numbers_of(again) == still
    assert {letter["record"]["doubled"] for letter in again} == {1}
    assert {letter["replayed"] for letter in letters_of(cluster, f"/jobs/{job_id}")} == {answer["ex_id"]}
    # Nothing is left of the job's own; those of the replay can be replayed likewise.
    assert cluster.request("POST", f"/jobs/{job_id}/dead_letters/_replay").status_code == 404
    third = cluster.post(f"/ex/{answer['ex_id']}/dead_letters/_replay")
    assert third["letters"] == len(still)
    cluster.wait_status(third["ex_id"], "completed")
    assert numbers_of(letters_of(cluster, f"/ex/{third['ex_id']}")) == still


@pytest.mark.parametrize("victim", ["worker", "execution_controller", "master"])
def test_a_replay_loses_nothing_when_a_process_is_killed(cluster, tmp_path, victim):
    file = tmp_path / "seen"
    job_id, ex_id = cluster.post_job(job(file, every=1))
    cluster.wait_status(ex_id, "completed")
    cluster.request("PUT", f"/jobs/{job_id}", json=job(file, every=0, seconds=0.02))

    answer = cluster.post(f"/jobs/{job_id}/dead_letters/_replay")
    if victim == "master":
        cluster.daemons["master"].kill()
        cluster.start_master()
    else:
        pids = until(
            lambda: [p["pid"] for p in cluster.processes(answer["ex_id"], victim) if p["pid"] > 0], "it runs"
        )
        os.kill(pids[0], signal.SIGKILL)
    cluster.wait_status(answer["ex_id"], "completed", within_s=60)

    # At least once; `witness` is no sink that replaces what the same slice wrote before.
    assert sorted(set(seen(file))) == list(NUMBERS)


def test_a_replay_runs_beside_its_persistent_job(cluster, tmp_path):
    file = tmp_path / "seen"
    job_id, ex_id = cluster.post_job(job(file, lifecycle="persistent"))
    wanted = [number for number in NUMBERS if number % 2 == 0]
    until(lambda: numbers_of(letters_of(cluster, f"/ex/{ex_id}")) == wanted, "all are stored")
    cluster.request("PUT", f"/jobs/{job_id}", json=job(file, every=0, lifecycle="persistent"))

    answer = cluster.post(f"/ex/{ex_id}/dead_letters/_replay")
    cluster.wait_status(answer["ex_id"], "completed")

    assert cluster.status(ex_id) == "running"
    assert seen(file) == list(NUMBERS)
    cluster.post(f"/ex/{ex_id}/_stop")


def test_a_slice_with_more_bad_records_than_that_fails_and_says_why(cluster, tmp_path):
    crowded = job(tmp_path / "seen", every=1, max_retries=0)
    crowded["operations"][0] = {"_op": "batches", "size": 1, "per": 1001}
    job_id, ex_id = cluster.post_job(crowded)
    cluster.wait_status(ex_id, "failed")

    (error,) = cluster.get(f"/jobs/{job_id}/errors")
    assert "picky at operations[2] rejects too many records" in error["error"]
    assert "do not like 0" in error["error"]
    assert len(letters_of(cluster, f"/ex/{ex_id}")) == 1000


def test_the_letters_of_a_slice_that_failed_are_replaced_when_it_is_run_again(cluster, tmp_path):
    broken = job(tmp_path / "seen", max_retries=0)
    broken["operations"].append({"_op": "raiser", "at": [1]})
    _, ex_id = cluster.post_job(broken)
    cluster.wait_status(ex_id, "failed")
    before = letters_of(cluster, f"/ex/{ex_id}")

    answer = cluster.post(f"/ex/{ex_id}/_recover?cleanup_type=errors")
    cluster.wait_status(answer["ex_id"], "failed")

    after = letters_of(cluster, f"/ex/{ex_id}")
    assert numbers_of(before) == numbers_of(after) == [number for number in NUMBERS if number % 2 == 0]
    # Its own slice keeps its execution, and the rest was not touched.
    assert {letter["slicer_order"] for letter in after if letter["worker"].startswith(answer["ex_id"])} == {1}


def late_job(**changes):
    late = {"_op": "late-picky", "_dead_letter_action": "store"}
    return job("", workers=1, operations=[{"_op": "batches", "size": SLICES, "per": PER}, late], **changes)


def test_what_the_flush_of_a_worker_that_leaves_rejects_is_stored_under_its_id(cluster):
    _, ex_id = cluster.post_job(late_job(lifecycle="persistent"))
    until(lambda: len(cluster.records(ex_id)) == SLICES, "all slices are recorded")
    (worker,) = [p["pid"] for p in cluster.processes(ex_id, "worker")]

    os.kill(worker, signal.SIGTERM)

    letters = until(lambda: letters_of(cluster, f"/ex/{ex_id}"), "the letters of the flush are stored")
    assert numbers_of(letters) == list(NUMBERS)
    assert len({letter["slice_id"] for letter in letters}) == 1
    assert letters[0]["slice_id"].startswith(f"flush-{ex_id}")
    assert not any("slicer_id" in letter for letter in letters)
    cluster.post(f"/ex/{ex_id}/_stop")


def test_what_the_last_flush_rejects_is_stored_or_logged_and_never_lost_silently(cluster):
    _, ex_id = cluster.post_job(late_job())
    cluster.wait_status(ex_id, "completed")
    until(lambda: not cluster.processes(ex_id, "worker"), "the worker has left")

    logged = cluster.daemons["node-1"].log.count('"msg": "record.rejected"')
    assert logged + len(letters_of(cluster, f"/ex/{ex_id}")) == len(NUMBERS)

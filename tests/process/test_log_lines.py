"""What the log lines of real processes say."""

import json

import pytest

from tests.support.daemons import cluster_for
from tests.support.jobs import job

pytestmark = pytest.mark.slow


def test_lines_of_controllers_and_workers_name_their_execution_and_job(request, tmp_path):
    """Cluster 29."""
    with cluster_for(request, tmp_path) as cluster:
        up = cluster.start_up()
        job_id, ex_id = cluster.post_job(job())
        cluster.wait_status(ex_id, "completed")
        up.stop()

        lines = [json.loads(line) for line in up.log.splitlines() if line.startswith("{")]
        own = [line for line in lines if line["role"] in {"controller", "worker"}]
        assert {line["role"] for line in own} == {"controller", "worker"}
        assert {(line.get("ex_id"), line.get("job_id")) for line in own} == {(ex_id, job_id)}


@pytest.fixture(scope="module")
def said(request, tmp_path_factory):
    """What a job of three slices said, of which the second fails, run twice: with log levels info and debug."""
    options = {"tsd.operation_modules": ["tests.support.talkative_operations"]}
    folder = tmp_path_factory.mktemp("said")
    with cluster_for(request, folder, **options, **{"terafoundation.log_level": "info"}) as cluster:
        up = cluster.start_up()
        ids = {}
        for level in ("info", "debug"):
            talk = job(
                max_retries=0,
                log_level=level,
                operations=[
                    {"_op": "data_generator", "size": 3},
                    {"_op": "talk"},
                    {"_op": "noop", "size": 1},
                ],
            )
            job_id, ex_id = cluster.post_job(talk)
            cluster.wait_status(ex_id, "failed")
            ids[level] = (job_id, ex_id)
        up.stop()
        lines = [json.loads(line) for line in up.log.splitlines() if line.startswith("{")]
    return {
        level: (ids[level], [line for line in lines if line.get("ex_id") == ids[level][1]]) for level in ids
    }


def test_what_user_code_prints_names_its_slice(said):
    (job_id, ex_id), lines = said["info"]
    printed = [line for line in lines if line["msg"] == "code.printed"]

    for word, level in (("printed", 30), ("complained", 40), ("whispered", 30)):
        found = [line for line in printed if line["text"].startswith(word)]
        assert len({line["slice_id"] for line in found}) == len(found) == 3
        for line in found:
            assert line["text"] == f"{word} {line['slice_id']}"
            assert (line["job_id"], line["ex_id"], line["level"]) == (job_id, ex_id, level)
            assert line["worker_id"].startswith(ex_id)
            assert line["node_id"]


def test_tracebacks_of_user_code_name_its_slice(said):
    _ids, lines = said["info"]
    (failed,) = [line for line in lines if line["msg"] == "slice.failed"]
    died = [line for line in lines if line["msg"] == "code.thread_died"]

    assert failed["exception"][0]["exc_value"] == "the second one is no good"
    assert failed["exception"][0]["frames"][-1]["name"] == "on_batch"
    assert len(died) == 3
    assert {line["exception"][0]["exc_value"] for line in died} == {
        f"choked {line['slice_id']}" for line in died
    }


def test_the_log_level_of_a_job_holds_for_its_processes_alone(said):
    words = {level: [line["msg"] for line in lines] for level, (_ids, lines) in said.items()}
    told = {
        level: [line for line in lines if line["msg"] == "library.logged"]
        for level, (_, lines) in said.items()
    }

    assert words["info"].count("talk.debugged") == 0
    assert words["debug"].count("talk.debugged") == 3
    assert [
        len([line for line in found if line["library"] == "some.library"]) for found in told.values()
    ] == [3, 3]

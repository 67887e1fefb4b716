"""Jobs that name Teraslice's public bundles: wherever a job is taken, and where it runs."""

import pytest

from tests.support.bundles import bundle, id_of, operations
from tests.support.daemons import TERMINAL, cluster_for, until


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    with cluster_for(request, tmp_path_factory.mktemp("public"), workers=4) as cluster:
        cluster.start_master()
        cluster.start_node()
        yield cluster


@pytest.fixture
def api(cluster):
    with cluster.client() as api:
        yield api


def job(folder, **fields):
    return {
        "name": "teraslice's",
        "lifecycle": "once",
        "workers": 1,
        "assets": ["standard:^2.0.0", "file"],
        "apis": [{"_name": "file_sender_api@file:out", "path": str(folder), "format": "ldjson"}],
        "operations": [
            {"_op": "data_generator@standard:^2.0.0", "size": 20},
            {"_op": "file_exporter", "_api_name": "file_sender_api@file:out"},
        ],
    } | fields


def kinds(answer):
    return [each["reason"]["kind"] for each in answer["warnings"]]


def ended(api, ex_id):
    until(lambda: api.get(f"/ex/{ex_id}").json()["_status"] in TERMINAL, "it has ended")
    return api.get(f"/ex/{ex_id}").json()


def lines_in(folder):
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("*.ldjson"))


def test_a_job_runs_wherever_it_is_taken(api, tmp_path):
    """POST, PUT, a start and a recovery, by the job and by the execution."""
    posted = job(tmp_path)
    taken = api.post("/jobs", json=posted).json()
    assert kinds(taken) == ["built-in", "built-in"]
    execution = ended(api, taken["ex_id"])
    assert (execution["_status"], lines_in(tmp_path)) == ("completed", 20)
    assert execution["operations"][0]["_op"] == "data_generator"
    assert execution["apis"][0]["_name"] == "file_sender_api:out"

    shown = api.get(f"/jobs/{taken['job_id']}").json()
    assert {key: shown[key] for key in posted} == posted

    replaced = api.put(f"/jobs/{taken['job_id']}", json=posted).json()
    assert kinds(replaced) == ["built-in", "built-in"]
    for verb in ("_start", "_recover"):
        again = api.post(f"/jobs/{taken['job_id']}/{verb}").json()
        assert kinds(again) == ["built-in", "built-in"]
        assert ended(api, again["ex_id"])["_status"] == "completed"
    recovered = api.post(f"/ex/{taken['ex_id']}/_recover").json()
    assert ended(api, recovered["ex_id"])["_status"] == "completed"


def test_a_javascript_bundle_is_no_obstacle_and_does_not_have_to_stay(api, tmp_path):
    data = bundle(
        "standard", version="2.1.2", files={"index.js": "export const ASSETS = {}"}, node_version=22
    )
    assert api.post("/assets", content=data).status_code == 201

    taken = api.post("/jobs", json=job(tmp_path)).json()

    assert "standard:2.1.2 of the cluster is JavaScript" in str(taken["warnings"])
    assert ended(api, taken["ex_id"])["_status"] == "completed"
    assert api.delete(f"/assets/{id_of(data)}").status_code == 200


GENERATOR = """
from tsd.operations import Fetcher, Slicer, reader

class MySlicer(Slicer):
    def initialize(self):
        self.left = 1
    def slice(self):
        self.left -= 1
        return {"n": 1} if self.left == 0 else None

@reader("data_generator", slicer=MySlicer)
class MyGenerator(Fetcher):
    def fetch(self, request):
        return [{"made": "by the bundle"}]
"""


def test_a_python_bundle_of_that_name_wins(api, tmp_path):
    data = bundle("standard", version="2.5.0", files={"ops/__init__.py": GENERATOR})
    assert api.post("/assets", content=data).status_code == 201
    try:
        for name in ("data_generator", "data_generator@standard:^2.0.0"):
            folder = tmp_path / name.replace(":", "_")
            posted = job(folder)
            posted["operations"][0] = {"_op": name}
            taken = api.post("/jobs", json=posted).json()
            assert kinds(taken) == ["built-in"]
            assert ended(api, taken["ex_id"])["_status"] == "completed"
            assert "by the bundle" in next(folder.rglob("*.ldjson")).read_text()
    finally:
        assert api.delete(f"/assets/{id_of(data)}?force=true").status_code == 200


def test_messages_show_what_was_written_and_no_id(api):
    data = operations("named", "1.2.0")
    api.post("/assets", content=data)
    posted = {
        "name": "x",
        "assets": ["named:^1.0.0"],
        "operations": [{"_op": "test-reader"}, {"_op": "noop@named:^1.0.0"}],
    }

    message = api.post("/jobs", json=posted).json()["message"]

    assert id_of(data) not in message
    assert "noop@named:^1.0.0; that bundle has no noop, which is in" in message


def test_what_is_missing_is_told_with_what_there_is_instead(api):
    posted = {"name": "x", "assets": ["kafka"], "operations": [{"_op": "kafka_reader"}, {"_op": "noop"}]}

    answer = api.post("/jobs", json=posted)

    assert answer.status_code == 400
    assert "kafka_reader is an operation of Teraslice's bundle kafka, which tsd does not have" in answer.text
    assert "assets[0]" not in answer.text

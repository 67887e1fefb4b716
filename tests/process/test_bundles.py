"""Jobs whose operations are in bundles, on real daemons each with a data folder of its own."""

import json
import os
import signal
import time

import pytest

from tests.support.bundles import bundle, id_of, operations
from tests.support.daemons import cluster_for, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def cluster(request, tmp_path):
    settings = {"teraslice.node_disconnect_timeout": "3s", "tsd.controller_lease": "2s"}
    with cluster_for(request, tmp_path, workers=4, **settings) as cluster:
        cluster.start_master()
        yield cluster


def upload(cluster, data):
    assert cluster.request("POST", "/assets", content=data).status_code in {200, 201}
    return id_of(data)


def job(*operations, assets, **fields):
    reader = {"_op": "data_generator", "size": 3}
    chain = [reader, *operations]
    return {
        "name": "bundled",
        "lifecycle": "once",
        "workers": 1,
        "assets": assets,
        "operations": chain,
    } | fields


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_an_operation_of_a_bundle_runs_on_nodes_with_folders_of_their_own(cluster, tmp_path):
    """Points 27 and 36 of bundles."""
    for name in ("node-1", "node-2"):
        cluster.start_node(name, workers=2)
    asset_id = upload(cluster, operations("ex", "1.2.0"))
    out = tmp_path / "out"
    _, ex_id = cluster.post_job(job({"_op": "shout", "file": str(out)}, assets=["ex:^1"], workers=3))

    assert cluster.wait_status(ex_id)["_status"] == "completed"
    assert {line.split()[0] for line in lines(out)} == {"ex:1.2.0!"}
    assert len(lines(out)) == 3
    folders = {line.split()[1] for line in lines(out)}
    assert folders <= {str(tmp_path / f"{name}/assets/{asset_id}") for name in ("node-1", "node-2")}
    for name in ("node-1", "node-2"):
        assert sorted(path.name for path in (tmp_path / name / "assets").iterdir()) == [".locks", asset_id]
        (line,) = [text for text in cluster.daemons[name].log.splitlines() if "asset.unpacked" in text]
        assert json.loads(line)["asset_id"] == asset_id


def test_two_bundles_with_an_operation_of_the_same_name_run_side_by_side(cluster, tmp_path):
    """J16."""
    cluster.start_node()
    upload(cluster, operations("one"))
    upload(cluster, operations("two"))
    chain = [{"_op": f"shout@{name}", "file": str(tmp_path / name)} for name in ("one", "two")]
    refused = cluster.request("POST", "/jobs", json=job({"_op": "shout"}, assets=["one", "two"]))
    _, ex_id = cluster.post_job(job(*chain, assets=["one", "two"]))

    assert refused.status_code == 400
    assert cluster.wait_status(ex_id)["_status"] == "completed"
    for name in ("one", "two"):
        assert {line.split()[0] for line in lines(tmp_path / name)} == {f"{name}:1.0.0!"}


def test_a_reader_of_a_bundle_slices_in_the_controller(cluster, tmp_path):
    cluster.start_node()
    code = (
        "from tsd.operations import Fetcher, Slicer, reader\n"
        "class Numbers(Slicer):\n"
        "    def initialize(self): self.left = [3, 2, 1]\n"
        "    def slice(self): return {'n': self.left.pop()} if self.left else None\n"
        "@reader('numbers', slicer=Numbers)\n"
        "class Read(Fetcher):\n"
        "    def fetch(self, request): return [request]\n"
    )
    upload(cluster, bundle("source", files={"mine/__init__.py": code}))
    _, ex_id = cluster.post_job(
        {
            "name": "r",
            "lifecycle": "once",
            "workers": 1,
            "assets": ["source"],
            "operations": [{"_op": "numbers"}, {"_op": "noop"}],
        }
    )

    assert cluster.wait_status(ex_id)["_status"] == "completed"
    assert [record["request"] for record in cluster.records(ex_id)] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_one_host_unpacks_for_master_and_node(request, tmp_path):
    with cluster_for(request, tmp_path) as cluster:
        cluster.start_up()
        asset_id = upload(cluster, operations())
        out = tmp_path / "out"
        job_id, ex_id = cluster.post_job(job({"_op": "shout", "file": str(out)}, assets=["ex"]))

        assert cluster.wait_status(ex_id)["_status"] == "completed"
        assert len(lines(out)) == 3
        assert "asset.unpacked" not in cluster.daemons["up"].log
        cluster.request("DELETE", f"/jobs/{job_id}")
        until(lambda: not cluster.processes(ex_id), "nobody uses the folder")
        assert cluster.request("DELETE", f"/assets/{asset_id}").status_code == 200
        assert not (cluster.data_dir / "assets" / asset_id).exists()


def test_a_node_that_dies_while_it_unpacks_starts_again_and_runs_the_job(cluster, tmp_path):
    """Point 28 of bundles."""
    node = cluster.start_node()
    files = {f"data/{i}": os.urandom(500) for i in range(2000)}
    data = operations()
    big = bundle("big", files=files)
    asset_id, big_id = upload(cluster, data), upload(cluster, big)
    out = tmp_path / "out"
    posted = job({"_op": "shout", "file": str(out)}, assets=["big", "ex"])
    _, ex_id = cluster.post_job(posted)
    assets = tmp_path / "node-1/assets"
    partial = assets / f".{big_id}.partial"
    until(lambda: partial.is_dir() and any(partial.glob("data/*")), "the node unpacks")
    node.kill()
    until(lambda: not node.pids(), "the node is gone")
    assert not (assets / big_id).exists()
    cluster.start_node()

    assert cluster.wait_status(ex_id, within_s=60)["_status"] == "completed"
    assert len(lines(out)) == 3
    assert len(list((assets / big_id / "data").iterdir())) == 2000
    assert sorted(path.name for path in assets.iterdir()) == sorted([".locks", asset_id, big_id])


def test_a_bundle_that_no_node_can_get_fails_the_execution_with_the_reason(cluster, tmp_path):
    """Point 30 of bundles."""
    asset_id = upload(cluster, operations())
    _, ex_id = cluster.post_job(job({"_op": "shout"}, assets=["ex"]))
    (cluster.data_dir / f"bundles/{asset_id}.zip").unlink()
    cluster.start_node()
    execution = cluster.wait_status(ex_id, within_s=60)

    assert execution["_status"] == "failed"
    assert "the master has no such asset" in execution["_failureReason"]


def test_a_running_execution_keeps_its_bundle_when_a_newer_one_comes(cluster, tmp_path):
    """Point 23 of bundles."""
    cluster.start_node()
    out = tmp_path / "out"
    upload(cluster, operations("ex", "1.0.0"))
    posted = job(
        {"_op": "shout", "file": str(out)}, {"_op": "delay", "ms": 10}, assets=["ex"], lifecycle="persistent"
    )
    job_id, ex_id = cluster.post_job(posted)
    until(lambda: lines(out), "it runs")
    newer = upload(cluster, operations("ex", "1.1.0"))
    (worker,) = cluster.processes(ex_id, "worker")
    assert worker["assets"] == cluster.get(f"/ex/{ex_id}")["assets"]
    os.kill(worker["pid"], signal.SIGKILL)
    count = len(lines(out))
    until(lambda: len(lines(out)) > count + 3, "another worker runs")

    assert {line.split()[0] for line in lines(out)} == {"ex:1.0.0!"}
    cluster.post(f"/jobs/{job_id}/_stop")
    out.unlink()
    second = cluster.post(f"/jobs/{job_id}/_start")["ex_id"]
    until(lambda: lines(out), "it runs again")
    assert {line.split()[0] for line in lines(out)} == {"ex:1.1.0!"}
    assert cluster.get(f"/ex/{second}")["assets"] == [newer]
    assert cluster.request("DELETE", f"/assets/{newer}").status_code == 409
    cluster.post(f"/jobs/{job_id}/_stop")


def test_an_execution_can_be_stopped_while_its_bundle_is_fetched(cluster):
    """The zip is a pipe that nobody writes to, so the master never has a piece of it to send."""
    asset_id = upload(cluster, operations())
    _, ex_id = cluster.post_job(job({"_op": "shout"}, assets=["ex"]))
    cluster.daemons["master"].sigstop()
    cluster.daemons["master"].sigcont()
    path = cluster.data_dir / f"bundles/{asset_id}.zip"
    path.unlink()
    os.mkfifo(path)
    cluster.start_node()
    cluster.wait_status(ex_id, "scheduling")
    began_at = time.monotonic()
    cluster.post(f"/ex/{ex_id}/_stop")

    assert cluster.status(ex_id) == "stopped"
    assert time.monotonic() - began_at < 8
    with open(path, "wb"):
        pass  # the master's thread reads on

"""What can not be placed says so: to who posts it, in the log, in the API; and what passes by itself is waited for."""

import json
import subprocess
import sys

import pytest
import yaml

from tests.support.daemons import ROOT, cluster_for, free_port, until
from tsd.cli.client import MasterClient
from tsd.cli.private_cluster import ClusterFailed, PrivateCluster
from tsd.settings import load_settings

ENDLESS = {
    "name": "endless",
    "lifecycle": "persistent",
    "workers": 1,
    "operations": [{"_op": "data_generator", "size": 5}, {"_op": "delay", "ms": 50}],
}


def said(answer):
    return [each["reason"]["reason"]["description"] for each in answer.get("warnings", ())]


def events(log, name):
    found = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in found if line["msg"] == name]


def of_execution(log, name, ex_id):
    return [line for line in events(log, name) if line["ex_id"] == ex_id]


def is_status(api, ex_id, status):
    return lambda: api.get(f"/ex/{ex_id}").json()["_status"] == status


def test_a_cluster_of_one_slot_says_that_no_job_can_run_until_it_has_more(request, tmp_path):
    with cluster_for(request, tmp_path, workers=1) as cluster:
        master = cluster.start_master()
        cluster.start_node()
        with cluster.client() as api:
            answer = api.post("/jobs", json=ENDLESS).json()
            execution = api.get(f"/ex/{answer['ex_id']}").json()
            capacity = api.get("/ready").json()["checks"]["capacity"]

            assert len(said(answer)) == 1
            assert "needs at least 2 slots" in said(answer)[0]
            assert "with 1 in all it can not start until there are more" in execution["_waiting_reason"]
            assert not capacity["ok"]
            assert "the cluster has 1 slot, and a job needs 2" in capacity["reason"]
            until(lambda: events(master.log, "cluster.no_room"), "the log tells it")

            cluster.start_node("node-2", workers=2)
            until(is_status(api, answer["ex_id"], "running"), "it runs")
            assert "_waiting_reason" not in api.get(f"/ex/{answer['ex_id']}").json()
            until(lambda: events(master.log, "cluster.has_room"), "the log tells it")
            assert len(events(master.log, "cluster.no_room")) == 1
            api.post(f"/ex/{answer['ex_id']}/_stop")


def test_more_workers_than_slots_are_told_once_and_run_as_far_as_they_go(request, tmp_path):
    with cluster_for(request, tmp_path, workers=4) as cluster:
        master = cluster.start_master()
        cluster.start_node()
        with cluster.client() as api:
            answer = api.post("/jobs", json=ENDLESS | {"workers": 20}).json()
            until(is_status(api, answer["ex_id"], "running"), "it runs")

            (text,) = said(answer)
            assert text.startswith("workers: the job asks for 20 workers, and the cluster has 4 slots")
            assert text.endswith("at most 3 workers run, the others wait for slots")
            reason = api.get(f"/jobs/{answer['job_id']}/ex").json()["_waiting_reason"]
            assert reason.startswith("17 of 20 workers wait for a free slot")
            assert "there are 4 in all" in reason
            until(lambda: events(master.log, "execution.short_of_slots"), "the log tells it")
            api.post(f"/ex/{answer['ex_id']}/_stop")
            assert len(events(master.log, "execution.short_of_slots")) == 1
            assert said(api.post("/jobs?start=false", json=ENDLESS | {"workers": 20}).json()) == []
            fits = api.post("/jobs", json=ENDLESS | {"workers": 3}).json()
            assert said(fits) == []
            api.post(f"/ex/{fits['ex_id']}/_stop")


def test_a_job_waits_for_a_port_of_the_range_and_then_runs(request, tmp_path):
    port = free_port()
    settings = {"teraslice.slicer_port_range": f"{port}:{port + 1}"}
    with cluster_for(request, tmp_path, workers=8, **settings) as cluster:
        master = cluster.start_master()
        cluster.start_node()
        with cluster.client() as api:
            running = [api.post("/jobs", json=ENDLESS).json()["ex_id"] for _ in range(2)]
            for ex_id in running:
                until(is_status(api, ex_id, "running"), "it runs")

            late = api.post("/jobs", json=ENDLESS).json()["ex_id"]

            until(lambda: events(master.log, "execution.waits_for_port"), "the log tells it")
            until(
                lambda: "waits for a port" in api.get(f"/ex/{late}").json().get("_waiting_reason", ""),
                "it says what it waits for",
            )
            # More attempts than would have failed it.
            until(lambda: len(of_execution(master.log, "controller.lost", late)) > 3, "it is tried again")
            assert api.get(f"/ex/{late}").json()["_status"] not in {"failed", "terminated"}

            api.post(f"/ex/{running[0]}/_stop")
            until(is_status(api, late, "running"), "it runs")
            assert len(events(master.log, "execution.waits_for_port")) == 1
            for ex_id in (late, running[1]):
                api.post(f"/ex/{ex_id}/_stop")


@pytest.mark.parametrize("slots", [0, 1])
def test_tsd_run_with_too_few_slots_ends_at_once(tmp_path, slots):
    config = tmp_path / "tsd.yaml"
    config.write_text(yaml.safe_dump({"teraslice": {"workers": slots, "port": 0}, "tsd": {"mesh_port": 0}}))
    job = tmp_path / "job.json"
    job.write_text(json.dumps(ENDLESS | {"lifecycle": "once"}))

    ended = subprocess.run(
        [sys.executable, "-m", "tsd.cli.main", "run", "--config", str(config), str(job)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 78
    assert (
        f"a job needs 2 slots, one for its controller and one for a worker, and teraslice.workers is {slots}"
        in (ended.stderr)
    )


def test_a_private_cluster_whose_node_does_not_come_is_given_up(request, tmp_path):
    """What `tsd run` looks at while it waits; here with a master that has no node."""
    with cluster_for(request, tmp_path) as cluster:
        cluster.start_master()
        url = json.loads((cluster.data_dir / "api.json").read_text())["url"]
        settings = load_settings(cluster.write_config("private"))
        private = PrivateCluster(settings, verbose=True)
        private.expect_node(MasterClient(url), within_s=0.0)

        with pytest.raises(ClusterFailed, match="has had no node for 30 s, so no job can run"):
            private.check_node()

        cluster.start_node()
        private.check_node()
        assert not private.expects_node

"""What operators do with a cluster that is well, on real hosts: reload, drain, read the journal."""

import json
import time

import pytest

from tests.support.daemons import until
from tests.support.host_cluster import FlightsRun, PersistentRun, report

pytestmark = [pytest.mark.slow, pytest.mark.systemd, pytest.mark.timeout(240)]


def events(host, unit, began, name):
    return [line for line in host.logged(unit, began) if line["msg"] == name]


def test_a_reload_applies_what_it_can_and_shows_who_has_another_file(cluster):
    run = FlightsRun(cluster, delay_ms=100)
    run.wait_busy()
    host, began, since = cluster.hosts["three"], time.time(), time.monotonic()
    pid = host.main_pid("tsd-node")
    nodes = {"one": {"workers": 2}, "two": {"workers": 4}, "three": {"workers": 9}}
    cluster.write_settings(host, tsd__nodes=nodes)
    host.systemctl("reload", "tsd-node")
    until(lambda: cluster.nodes()["three"]["total"] == 9, "the master knows of the slots")
    report("reload of a node, the master knows its slots", since)

    state = cluster.get("/cluster/state")
    digests = {name: state[name]["config"] for name in ("master", "one", "two", "three")}
    assert digests["master"] == digests["one"] == digests["two"] != digests["three"]
    assert f"config {digests['three']}" in host.show("tsd-node", "StatusText").lower()
    warned = until(
        lambda: events(cluster.master, "tsd-master", began, "node.config_differs"), "the master warns"
    )
    assert warned[-1]["node_id"] == "three"

    for each in cluster.hosts.values():
        cluster.write_settings(each, tsd__nodes=nodes)
        for unit in cluster.units_of(each):
            each.systemctl("reload", unit)
    until(lambda: same_config(cluster), "all have read the same file")
    assert host.main_pid("tsd-node") == pid
    run.check_completed()

    for each in cluster.hosts.values():  # as each test finds it
        cluster.write_settings(each)
        for unit in cluster.units_of(each):
            each.systemctl("reload", unit)
    until(lambda: same_config(cluster) and cluster.nodes()["three"]["total"] == 4, "all is as it was")


def same_config(cluster):
    return len({node["config"] for node in cluster.get("/cluster/state").values()}) == 1


def test_a_reload_of_a_wrong_file_changes_nothing(cluster):
    host, began = cluster.hosts["two"], time.time()
    pid, before = host.main_pid("tsd-node"), cluster.nodes()["two"]
    cluster.write_settings(host, teraslice__shutdown_timeout="soon", terafoundation__log_level="debug")
    host.systemctl("reload", "tsd-node")
    refused = until(lambda: events(host, "tsd-node", began, "settings.refused"), "the file is refused")

    assert "teraslice.shutdown_timeout" in refused[0]["reason"]
    until(lambda: host.show("tsd-node", "ActiveState") == "active", "the reload has ended")
    assert host.main_pid("tsd-node") == pid
    assert cluster.nodes()["two"] == before


def test_a_drained_node_is_empty_until_it_is_undrained_also_over_a_reboot(cluster):
    run = PersistentRun(cluster)
    run.wait_busy()
    host = cluster.hosts["two"]
    since = time.monotonic()
    told = cluster.master.run("tsd", "drain", "two")
    report("tsd drain of a node under a persistent job", since)
    assert "two: drained" in told
    assert not [title for _, title in host.processes().values() if title.startswith(("tsd: w", "tsd: c"))]
    run.wait_busy()
    assert cluster.get("/cluster/nodes/two")["state"] == "drained"

    host.reboot()
    until(lambda: cluster.get("/cluster/nodes/two")["state"] == "drained", "it is back and drained", 60)
    run.wait_busy()
    assert all(each is not host for each, _ in cluster.where(run.ex_id, "worker"))

    since = time.monotonic()
    cluster.master.run("tsd", "undrain", "two")
    cluster.wait_nodes()
    # the persistent job has all its workers already, so another one has to come
    other = FlightsRun(cluster, workers=3, delay_ms=50)
    until(lambda: any(each is host for each, _ in cluster.where(other.ex_id, "worker")), "it gets work")
    report("tsd undrain, work runs there", since)
    other.check_completed()
    run.stop_and_check()


def test_the_journal_has_what_user_code_says_with_its_ids(cluster):
    job = {
        "name": "talkative",
        "max_retries": 0,
        "workers": 3,
        "operations": [
            {"_op": "data_generator", "size": 30, "seed": 1},
            {"_op": "stdout"},
            {"_op": "derive", "fields": {"bytes": "int(ip)"}},
            {"_op": "noop", "size": 10},
        ],
    }
    job_id, ex_id = cluster.post_job(job)
    cluster.wait_status(ex_id, "failed")
    lines = [
        line
        for host in cluster.hosts.values()
        for line in host.journal("-u", "tsd-node", f"TSD_EX_ID={ex_id}")
    ]

    printed = [line for line in lines if line["TSD_EVENT"] == "code.printed"]
    failed = [line for line in lines if line["TSD_EVENT"] == "slice.failed"]
    assert (
        len({line["TSD_SLICE_ID"] for line in printed}) == len({line["TSD_SLICE_ID"] for line in failed}) == 3
    )
    records = [json.loads(text) for line in printed for text in line["log"]["text"].splitlines()]
    assert len(records) == 30
    for line in printed + failed:
        assert line["TSD_JOB_ID"] == job_id
        assert line["_SYSTEMD_UNIT"] == "tsd-node.service"
        assert line["TSD_NODE_ID"] in cluster.hosts
    assert {line["PRIORITY"] for line in failed} == {"3"}
    assert all("int" in json.dumps(line["log"]["exception"]) for line in failed)


def test_a_drain_that_takes_long_is_waited_for(cluster):
    """The unit would give it 2 s; the node asks for more as long as it drains, up to `shutdown_timeout`."""
    for each in cluster.hosts.values():
        cluster.write_settings(each, teraslice__shutdown_timeout="60s")
        for unit in cluster.units_of(each):
            each.systemctl("reload", unit)
    until(lambda: same_config(cluster), "all have read the same file")
    run = FlightsRun(cluster, delay_ms=5_000, size=400_000, workers=4)
    host, _ = until(lambda: cluster.where(run.ex_id, "worker"), "a worker runs")[0]
    until(lambda: cluster.get("/cluster/controllers")[0]["workers_active"] == 4, "all workers are busy")
    host.write("/etc/systemd/system/tsd-node.service.d/short.conf", "[Service]\nTimeoutStopSec=2\n")
    host.systemctl("daemon-reload")
    try:
        began, since = time.time(), time.monotonic()
        host.systemctl("stop", "tsd-node")
        took_s = time.monotonic() - since
        report("a drain of slices of 5 s", since)
        assert host.show("tsd-node", "Result") == "success"
        ends = events(host, "tsd-node", began, "process.exited")
        assert ends
        assert {(line["code"], line["signal"]) for line in ends} == {(0, None)}
        assert took_s > 2, "nothing was to be waited for"
    finally:
        (host.root / "etc/systemd/system/tsd-node.service.d/short.conf").unlink()
        host.systemctl("daemon-reload")
        host.systemctl("start", "tsd-node")
    run.check_completed()
    cluster.write_settings()
    for each in cluster.hosts.values():
        for unit in cluster.units_of(each):
            each.systemctl("reload", unit)
    until(lambda: same_config(cluster), "all is as it was")


def test_a_second_master_on_another_host_says_that_nobody_looks_for_it_there(cluster):
    host, began = cluster.hosts["two"], time.time()
    host.systemctl("start", "tsd-master")
    try:
        noted = until(lambda: events(host, "tsd-master", began, "settings.noted"), "it says so")
        assert any(
            "master_hostname is one, which is no address of this host" in line["reason"] for line in noted
        )
        assert set(cluster.nodes()) == set(cluster.hosts), "the nodes stay with theirs"
    finally:
        host.systemctl("stop", "tsd-master")


def test_a_node_that_the_file_does_not_list_says_so_and_works(cluster):
    host, began = cluster.hosts["three"], time.time()
    cluster.write_settings(host, tsd__nodes={"one": {"workers": 2}, "two": {"workers": 4}})
    host.systemctl("restart", "tsd-node")
    noted = until(lambda: events(host, "tsd-node", began, "settings.noted"), "it says so")
    cluster.wait_nodes()
    assert any("tsd.nodes does not list three" in line["reason"] for line in noted)

    cluster.write_settings(host)
    host.systemctl("restart", "tsd-node")
    until(lambda: same_config(cluster), "all is as it was")

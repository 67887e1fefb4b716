"""Daemons that read their cluster file again on SIGHUP, watched as a service manager watches them."""

import json
import os
import signal
import socket

import pytest

from tests.support.daemons import cluster_for, free_port, until
from tests.support.jobs import endless_job

pytestmark = pytest.mark.slow


class Manager:
    """The socket of a service manager, and what it was told."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.path = path
        self.lines = []

    def close(self):
        self._socket.close()

    def read(self):
        while True:
            try:
                self.lines += self._socket.recv(65536).decode().splitlines()
            except BlockingIOError:
                return self.lines

    def last_status(self):
        return next((line for line in reversed(self.read()) if line.startswith("STATUS=")), "")


@pytest.fixture
def managed(request, tmp_path):
    """A master and a node, each with a manager of its own."""
    with cluster_for(request, tmp_path, workers=4) as cluster:
        managers = {}
        for name, start in (("master", cluster.start_master), ("node-1", cluster.start_node)):
            managers[name] = Manager(tmp_path / f"{name}.sock")
            cluster.environment = {"NOTIFY_SOCKET": str(managers[name].path), "WATCHDOG_USEC": "2000000"}
            start()
        cluster.environment = {}
        yield cluster, managers
        for manager in managers.values():
            manager.close()


def events(daemon, name):
    lines = (json.loads(line) for line in daemon.log.splitlines() if line.startswith("{"))
    return [line for line in lines if line["msg"] == name]


def reload(cluster, name):
    before = len(events(cluster.daemons[name], "settings.reloaded"))
    cluster.daemons[name].signal(signal.SIGHUP)
    until(lambda: len(events(cluster.daemons[name], "settings.reloaded")) > before, f"{name} reloaded")


def state(cluster):
    return cluster.get("/v1/cluster/state")


def test_slots_and_the_log_level_change_while_everything_runs(managed):
    cluster, managers = managed
    before = state(cluster)
    assert before["node-1"]["config"] == before["master"]["config"]
    ex_id = cluster.post_job(endless_job(workers=2))[1]
    cluster.wait_status(ex_id, "running")

    cluster.configure(**{"teraslice.workers": 7, "terafoundation.log_level": "info"})
    cluster.write_config("node-1")
    reload(cluster, "node-1")

    until(lambda: state(cluster)["node-1"]["total"] == 7, "the master knows of the slots")
    after = state(cluster)
    assert after["node-1"]["config"] != after["master"]["config"] == before["master"]["config"]
    changed = {line["setting"]: line for line in events(cluster.daemons["node-1"], "setting.changed")}
    assert changed.keys() == {"teraslice.workers", "terafoundation.log_level"}
    assert (changed["teraslice.workers"]["was"], changed["teraslice.workers"]["now"]) == ("4", "7")
    warned = until(lambda: events(cluster.daemons["master"], "node.config_differs"), "the master warns")
    assert warned[-1]["node_id"] == "node-1"

    cluster.write_config("master")
    reload(cluster, "master")
    after = state(cluster)
    assert after["node-1"]["config"] == after["master"]["config"] != before["master"]["config"]
    until(lambda: after["master"]["config"] in managers["master"].last_status(), "the status names the file")
    assert after["master"]["config"] in managers["node-1"].last_status()
    assert "of 7 slots in use" in managers["node-1"].last_status()
    assert cluster.status(ex_id) == "running"


def test_a_file_with_a_fault_is_refused_as_a_whole(managed):
    cluster, managers = managed
    before = state(cluster)
    cluster.configure(**{"teraslice.workers": 9, "teraslice.shutdown_timeout": "soon"})

    for name in ("master", "node-1"):
        cluster.write_config(name)
        cluster.daemons[name].signal(signal.SIGHUP)
        refused = until(lambda name=name: events(cluster.daemons[name], "settings.refused"), "refused")
        assert "teraslice.shutdown_timeout" in refused[0]["reason"]
        said = until(lambda name=name: finished_reload(managers[name]), "the manager is told of the end")
        assert said
        until(lambda name=name: "has a fault" in managers[name].last_status(), "the status tells")

    assert state(cluster) == before

    cluster.configure(**{"teraslice.shutdown_timeout": "5s"})
    for name in ("master", "node-1"):
        cluster.write_config(name)
        reload(cluster, name)
        until(lambda name=name: "has a fault" not in managers[name].last_status(), "the status is well again")


def finished_reload(manager):
    lines = manager.read()
    if "RELOADING=1" not in lines:
        return False
    after = lines[lines.index("RELOADING=1") + 1 :]
    return after[0].startswith("MONOTONIC_USEC=") and "READY=1" in after


def test_what_needs_a_restart_waits_for_it_and_says_so(managed):
    cluster, managers = managed
    cluster.configure(**{"teraslice.port": free_port(), "teraslice.action_timeout": "7s"})
    cluster.write_config("master")
    reload(cluster, "master")

    reloaded = events(cluster.daemons["master"], "settings.reloaded")[-1]
    assert reloaded["restart"] == ["teraslice.port"]
    until(lambda: "restart for teraslice.port" in managers["master"].last_status(), "the status says so")
    applies = {
        line["setting"]: line["applies"] for line in events(cluster.daemons["master"], "setting.changed")
    }
    assert applies == {"teraslice.port": "restart", "teraslice.action_timeout": "at once"}
    assert cluster.request("GET", "/health").status_code == 200


def test_a_master_tells_the_manager_how_many_nodes_there_are_and_petted_its_watchdog(managed):
    _cluster, managers = managed
    until(lambda: "STATUS=1 node, 0 executions, 0 slices/s" in managers["master"].last_status(), "the line")
    for manager in managers.values():
        until(lambda manager=manager: manager.read().count("WATCHDOG=1") >= 2, "the loop turns")


def test_a_drain_asks_for_time_as_long_as_it_lasts(managed):
    cluster, managers = managed
    ex_id = cluster.post_job(endless_job(ms=1500))[1]
    cluster.wait_status(ex_id, "running")
    os.kill(cluster.daemons["node-1"].pid, signal.SIGTERM)
    cluster.daemons["node-1"].wait(20)

    lines = managers["node-1"].read()
    stopping = lines.index("STOPPING=1")
    assert "EXTEND_TIMEOUT_USEC=15000000" in lines[stopping:]
    assert not any(line.startswith("EXTEND_") for line in lines[:stopping])

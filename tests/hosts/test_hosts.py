"""A cluster on real hosts: installed by `make install`, operated by systemd, and what operators fear.

Each test leaves the hosts without a failed unit and without a process that nobody owns; the fixture checks it.
"""

import re
import signal
import time

import pytest
import yaml

from tests.support.daemons import until
from tests.support.host_cluster import UNITS, FlightsRun, PersistentRun, report

pytestmark = [pytest.mark.slow, pytest.mark.systemd, pytest.mark.timeout(240)]

STOP_WITHIN_S = 90
"""TimeoutStopSec of the units."""
SCORES = {"tsd-master": 2.0, "tsd-node": 2.0}
"""The highest that `systemd-analyze security` may give."""


def events(lines, name):
    return [line for line in lines if line["msg"] == name]


# --- units -------------------------------------------------------------------------------------


def test_systemd_finds_no_fault_in_the_units(cluster):
    for unit in ("tsd-master.service", "tsd-node.service", "tsd.target"):
        assert cluster.master.run("systemd-analyze", "verify", unit) == ""


def test_the_units_leave_little_open(cluster):
    for unit, highest in SCORES.items():
        told = cluster.master.run("systemd-analyze", "security", "--no-pager", unit)
        score = float(re.search(r"Overall exposure level for .*: ([\d.]+)", told)[1])
        print(f"SCORE {unit}: {score}")

        assert score <= highest


# --- a cluster ---------------------------------------------------------------------------------


def test_all_flights_run_across_all_hosts(cluster):
    since = time.monotonic()
    run = FlightsRun(cluster, data="all", size=500_000, delay_ms=100)
    run.wait_busy(20)
    print(cluster.master.systemctl("status", "--no-pager", "-n0", *UNITS))
    cluster.wait_status(run.ex_id, "completed", within_s=90)
    report("all flights across three hosts", since)
    assert len(run.hosts_that_wrote()) >= 2

    run.check_completed()


def test_hosts_start_in_any_order(cluster):
    for host in cluster.hosts.values():
        cluster.stop(host)
    for host in cluster.hosts.values():
        host.systemctl("start", "tsd-node")  # returns when the node says that it is ready
        assert "Looking for the master at tcp://one:5679" in host.show("tsd-node", "StatusText")
    since = time.monotonic()
    cluster.master.systemctl("start", "tsd-master")
    cluster.wait_nodes()
    report("master started after all nodes, all connected", since)
    for host in cluster.hosts.values():
        assert "Connected to the master" in host.show("tsd-node", "StatusText")

    FlightsRun(cluster, delay_ms=20).check_completed()


def test_stopping_the_target_ends_all_daemons_in_their_time_and_work_goes_on_at_the_next_start(cluster):
    run = FlightsRun(cluster)
    run.wait_busy()
    for host in cluster.hosts.values():
        took_s = cluster.stop(host)
        report(f"systemctl stop tsd.target on {host.name}", time.monotonic() - took_s)
        assert took_s < STOP_WITHIN_S
        assert host.processes() == {}
        assert [host.show(unit, "Result") for unit in cluster.units_of(host)] == ["success"] * len(
            cluster.units_of(host)
        )
    since = time.monotonic()
    for host in cluster.hosts.values():
        host.systemctl("start", "tsd.target")
    run.wait_busy(3)
    report("all hosts started again, work goes on", since)

    run.check_completed()


# --- killed processes --------------------------------------------------------------------------


def test_systemd_starts_a_killed_master_again(cluster):
    run = FlightsRun(cluster)
    run.wait_busy()
    since = time.monotonic()
    cluster.master.kill(cluster.master.main_pid("tsd-master"))
    until(lambda: not cluster.is_ready(), "the master is gone", 5)
    until(cluster.is_ready, "the master is back")
    report("master killed, ready again", since)
    cluster.wait_nodes()
    report("master killed, all nodes connected", since)

    run.check_completed()


def test_systemd_starts_a_killed_node_again(cluster):
    run = FlightsRun(cluster)
    run.wait_busy()
    host, _ = cluster.a_process(run.ex_id, "worker")
    pid = host.main_pid("tsd-node")
    since = time.monotonic()
    host.kill(pid)
    until(lambda: host.main_pid("tsd-node") not in {0, pid}, "the node runs again")
    until(lambda: "Connected" in host.show("tsd-node", "StatusText"), "the node is connected")
    report("node killed, connected again", since)
    run.wait_busy()
    report("node killed, work goes on", since)

    run.check_completed()


@pytest.mark.parametrize("assignment", ["execution_controller", "worker"])
def test_a_killed_process_of_a_job_is_replaced(cluster, assignment):
    run = FlightsRun(cluster)
    run.wait_busy()
    host, pid = cluster.a_process(run.ex_id, assignment)
    before = {(host.name, pid) for host, pid in cluster.where(run.ex_id, assignment)}
    since = time.monotonic()
    # The cluster knows processes by the number that their host gives them.
    host.kill(pid)

    def is_replaced():
        now = {(host.name, pid) for host, pid in cluster.where(run.ex_id, assignment)}
        return len(now) == len(before) and (host.name, pid) not in now

    until(is_replaced, f"another {assignment} runs")
    report(f"{assignment} killed, replaced", since)
    run.wait_busy()
    report(f"{assignment} killed, work goes on", since)

    run.check_completed()


def test_a_frozen_master_is_restarted_by_the_watchdog_and_a_busy_operation_is_not(cluster):
    """The job's slices take longer than the watchdog of the node waits: that is nobody's fault."""
    run = FlightsRun(cluster, delay_ms=200)
    run.wait_busy()
    pid = cluster.master.main_pid("tsd-master")
    nodes = {host.name: host.main_pid("tsd-node") for host in cluster.hosts.values()}
    since = time.monotonic()
    cluster.master.kill(pid, signal.SIGSTOP)
    until(lambda: cluster.master.main_pid("tsd-master") not in {0, pid}, "systemd has started another", 45)
    cluster.wait_nodes()
    report("master frozen, restarted by the watchdog, all nodes connected", since)
    run.check_completed()
    journal = [line["MESSAGE"] for line in cluster.master.journal("-u", "tsd-master", "-n", 200)]

    assert any("Watchdog timeout" in message for message in journal)
    assert nodes == {host.name: host.main_pid("tsd-node") for host in cluster.hosts.values()}


# --- power -------------------------------------------------------------------------------------


def test_a_node_that_loses_its_power_rejoins_by_itself(cluster):
    run = FlightsRun(cluster, delay_ms=400)
    run.wait_busy()
    host = cluster.hosts["two"]
    since = time.monotonic()
    host.cut_power()
    cluster.wait_nodes("one", "three")
    report("node without power, noticed", since)
    run.wait_busy()
    report("node without power, work goes on elsewhere", since)
    since = time.monotonic()
    host.boot()
    cluster.wait_nodes()
    report("node powered on, connected", since)

    run.check_completed()


def test_the_host_of_the_master_reboots(cluster):
    run = FlightsRun(cluster, delay_ms=400)
    run.wait_busy()
    since = time.monotonic()
    cluster.master.reboot()
    cluster.wait_nodes()
    report("host of the master rebooted, all nodes connected", since)

    run.check_completed()


# --- cables ------------------------------------------------------------------------------------


def test_a_short_cut_of_a_link_loses_nobody(cluster):
    run = FlightsRun(cluster, delay_ms=300)
    run.wait_busy()
    pids = {host.name: set(host.processes()) for host in cluster.hosts.values()}
    host, _ = cluster.a_process(run.ex_id, "execution_controller")
    since = time.monotonic()
    host.cut_link()
    time.sleep(2.5)  # less than worker_disconnect_timeout (4 s): the cut itself is what is tested
    host.heal_link()
    cluster.wait_nodes()
    run.wait_busy()
    report("link cut for 2.5 s, work goes on", since)
    assert {host.name: set(host.processes()) for host in cluster.hosts.values()} == pids

    run.check_completed()


def test_a_long_cut_of_a_link_fences_a_controller_on_the_far_side(cluster):
    """Another one goes on without it, and what it brings later is refused.

    Its node would end it as soon as it hears from the master, so the node is frozen until the controller has tried.
    """
    run = FlightsRun(cluster, delay_ms=500)
    run.wait_busy()
    host, pid = cluster.a_process(run.ex_id, "execution_controller")
    assert host is not cluster.master, "the emptiest node has the controller"
    began, since = time.time(), time.monotonic()
    host.cut_link()
    until(lambda: is_elsewhere(cluster, run, host), "a controller runs on another host", 40)
    report("link cut, controller replaced elsewhere", since)
    run.wait_busy(5)
    report("link cut, work goes on elsewhere", since)
    since = time.monotonic()
    node = host.main_pid("tsd-node")
    host.kill(node, signal.SIGSTOP)
    host.heal_link()
    last_words = until(
        lambda: events(host.logged("tsd-node", began), "controller.ending"), "the fenced controller ends"
    )
    report("link healed, fenced controller refused", since)
    assert "refused by the master: generation 1" in last_words[0]["reason"]
    host.kill(node, signal.SIGCONT)
    cluster.wait_nodes()
    report("link healed, node connected", since)
    until(lambda: pid not in host.processes(), "the fenced controller is gone")

    run.check_completed()


def test_a_long_cut_of_a_link_fences_workers_on_the_far_side(cluster):
    """Their slices run elsewhere; they go on with what they hold, and nobody takes it any more."""
    run = FlightsRun(cluster, delay_ms=500)
    run.wait_busy()
    controllers_host, controller = cluster.a_process(run.ex_id, "execution_controller")
    host = next(
        each for each in (cluster.hosts["two"], cluster.hosts["three"]) if each is not controllers_host
    )
    workers = {pid for each, pid in cluster.where(run.ex_id, "worker") if each is host}
    assert workers
    since = time.monotonic()
    host.cut_link()
    until(lambda: host.name not in cluster.get("/cluster/state"), "the node is given up")
    report("link of workers cut, node given up", since)
    run.wait_busy(5)
    report("link of workers cut, work goes on elsewhere", since)
    since = time.monotonic()
    host.heal_link()
    cluster.wait_nodes()
    until(lambda: not workers & set(host.processes()), "the fenced workers have ended")
    report("link healed, fenced workers gone", since)
    assert cluster.where(run.ex_id, "execution_controller") == [(controllers_host, controller)]

    run.check_completed()


def is_elsewhere(cluster, run, host):
    found = cluster.where(run.ex_id, "execution_controller")
    return found and all(each is not host for each, _ in found)


def test_a_slow_wire_that_loses_frames_only_makes_things_slow(cluster):
    """200 ms each way and one frame in a hundred: for the kernel of Linux that would be netem."""
    host = cluster.hosts["three"]
    with host.slow_link(delay_ms=200, loss=0.01, seed=7):
        before = {each.name: each.main_pid("tsd-node") for each in cluster.hosts.values()}
        run = FlightsRun(cluster, delay_ms=100)
        since = time.monotonic()
        run.check_completed()
        report("the job over a wire with 200 ms each way and 1 % loss", since)
        assert "three" in cluster.nodes()
        assert before == {each.name: each.main_pid("tsd-node") for each in cluster.hosts.values()}


# --- upgrade -----------------------------------------------------------------------------------


@pytest.mark.timeout(400)  # three times pip
def test_a_rolling_upgrade_under_a_persistent_job_loses_nothing(cluster):
    """Nodes one after another, then the master; the job never stops, and its records are all there."""
    run = PersistentRun(cluster)
    run.wait_busy()
    source = cluster.next_version()
    began, since = time.time(), time.monotonic()
    for host in cluster.hosts.values():
        told = host.install(source)
        assert "what runs goes on with the former version" in told
    report("make install of the next version on three hosts", since)
    run.wait_busy()
    since = time.monotonic()
    for host in cluster.hosts.values():
        before = time.monotonic()
        host.systemctl("restart", "tsd-node")
        cluster.wait_nodes()
        report(f"node {host.name} upgraded, connected", before)
        run.wait_busy(5)
    cluster.master.systemctl("restart", "tsd-master")
    cluster.wait_nodes()
    run.wait_busy(5)
    report("all nodes and the master upgraded, work goes on", since)
    assert {node["tsd_version"] for node in cluster.nodes().values()} == {cluster.NEXT_VERSION}
    ready = [line for line in cluster.master.logged("tsd-master", began) if line["msg"] == "master.ready"]
    assert ready[-1]["version"] == cluster.NEXT_VERSION

    run.stop_and_check()


def test_a_backup_is_restored_under_running_nodes(cluster):
    """The commands of docs/operating.md. What runs meanwhile is known again, and ends right."""
    run = FlightsRun(cluster, delay_ms=300)
    run.wait_busy()
    host = cluster.master
    host.run("tsd", "backup", "--data-dir", "/var/lib/tsd-master", "/root/tsd-backup")
    run.wait_busy()
    cluster.post_job(
        {"name": "later", "operations": [{"_op": "data_generator", "size": 10}, {"_op": "noop"}]}
    )
    since = time.monotonic()
    host.systemctl("stop", "tsd-master")
    host.run("sh", "-c", "rm -rf /var/lib/tsd-master/store.db* /var/lib/tsd-master/bundles")
    host.run(
        "sh", "-c", "cp -r /root/tsd-backup/. /var/lib/tsd-master && chown -R tsd:tsd /var/lib/tsd-master"
    )
    host.systemctl("start", "tsd-master")
    cluster.wait_nodes()
    report("backup restored, all nodes connected", since)
    host.run("rm", "-r", "/root/tsd-backup")

    assert "later" not in [job["name"] for job in cluster.get("/jobs?size=1000")]
    run.check_completed()


# --- what an operator gets wrong ---------------------------------------------------------------


@pytest.fixture
def three(cluster):
    """A host whose node is stopped, for a cluster file that is wrong; it is put right afterwards."""
    host = cluster.hosts["three"]
    host.systemctl("stop", "tsd-node")
    cluster.wait_nodes("one", "two")
    yield host
    host.systemctl("stop", "tsd-node")
    host.systemctl("reset-failed")
    cluster.write_settings(host)
    host.systemctl("start", "tsd-node")
    cluster.wait_nodes()


def test_a_wrong_setting_fails_the_unit_at_once_and_says_which(cluster, three):
    cluster.write_settings(three, teraslice__workers="many")
    three.systemctl("start", "tsd-node", check=False)
    told = three.systemctl("status", "--no-pager", "tsd-node", check=False)

    assert "status=78/CONFIG" in told
    assert "teraslice.workers: must be a whole number" in told
    assert three.show("tsd-node", "ActiveState") == "failed"
    assert three.show("tsd-node", "NRestarts") == "0"


def test_a_master_that_has_no_address_is_looked_for_until_it_has_one(cluster, three):
    cluster.write_settings(three, teraslice__master_hostname="nowhere.example")
    began = time.time()
    three.systemctl("start", "tsd-node")
    until(lambda: events(three.logged("tsd-node", began), "node.no_address"), "the log says so")
    assert "Looking for the master at tcp://nowhere.example:5679" in three.show("tsd-node", "StatusText")
    since = time.monotonic()
    hosts = (three.root / "etc/hosts").read_text()
    three.write("/etc/hosts", f"{hosts}{cluster.master.address} nowhere.example\n")
    cluster.wait_nodes()
    report("the name of the master resolves, node connected", since)
    three.write("/etc/hosts", hosts)


def test_a_second_node_of_a_name_is_refused_until_the_name_is_free(cluster, three):
    cluster.write_settings(three, tsd__node_id="two")
    began = time.time()
    three.systemctl("start", "tsd-node", check=False)
    refused = until(
        lambda: events(cluster.master.logged("tsd-master", began), "node.refused"), "the master refuses it"
    )
    ending = until(
        lambda: events(three.logged("tsd-node", began), "node.ending"), "the node says why it ends"
    )
    assert "node id two is taken" in refused[0]["reason"]
    assert "node id two is taken" in ending[0]["reason"]
    assert ending[0]["level"] == 40
    assert cluster.nodes()["two"]["hostname"] == cluster.hosts["two"].address

    # It is tried again, so it joins when the name is free.
    cluster.hosts["two"].systemctl("stop", "tsd-node")
    until(lambda: "Connected" in three.show("tsd-node", "StatusText"), "it joins")
    three.systemctl("stop", "tsd-node")
    cluster.hosts["two"].systemctl("start", "tsd-node")


def test_a_second_master_on_the_host_says_what_is_in_use_and_harms_nobody(cluster):
    as_tsd = ["setpriv", "--reuid=tsd", "--regid=tsd", "--init-groups", "tsd", "master"]
    same_port = cluster.master.run("timeout", "5", *as_tsd, "--data-dir", "/tmp/second", check=False)
    settings = {"teraslice": {"port": 0}, "tsd": {"mesh_port": 0, "data_dir": "/var/lib/tsd-master"}}
    cluster.master.write("/srv/second.yaml", yaml.safe_dump(settings))
    same_folder = cluster.master.run(*as_tsd, "--config", "/srv/second.yaml", check=False)

    assert "teraslice.port: port 5678 of 0.0.0.0 is in use" in same_port
    assert "/var/lib/tsd-master/master.lock is locked: a master with pid" in same_folder
    assert cluster.is_ready()

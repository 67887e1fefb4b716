"""A controller that finds no port is tried again for as long as it takes, on other nodes first."""

from tests.support.cluster import Cluster
from tsd.core.cluster.events import StopRequested
from tsd.core.cluster.executions import FINDING_PORT, MAX_PORT_DELAY_S, NO_PORT_EXIT
from tsd.core.records import Status


def test_an_execution_waits_for_a_port_and_says_so():
    cluster = Cluster(a=4)
    cluster.host("a").has_no_port = True
    cluster.post("x")
    cluster.run(60)

    assert cluster.status("x") in {Status.PENDING, Status.SCHEDULING}
    reason = cluster.master.waiting_reason("x")
    assert "waits for a port" in reason
    assert "on node a all 2 ports are in use" in reason
    tries = [proc_id for proc_id in cluster.host("a").started if proc_id.endswith("/c")]
    assert 60 / MAX_PORT_DELAY_S <= len(tries) <= 20

    cluster.host("a").has_no_port = False
    cluster.run(MAX_PORT_DELAY_S + 3)

    assert cluster.status("x") is Status.RUNNING
    assert cluster.master.waiting_reason("x") == ""


def test_another_node_with_ports_is_taken_at_once():
    cluster = Cluster(a=4, b=3)
    cluster.host("a").has_no_port = True
    cluster.post("x")
    cluster.run(5)

    assert cluster.status("x") is Status.RUNNING
    assert cluster.controller("x").spec.proc_id in cluster.host("b").running


def test_a_controller_that_is_replaced_waits_for_a_port_too():
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.host("a").has_no_port = True
    cluster.end(cluster.controller("x").spec.proc_id)
    cluster.run(60)

    assert cluster.status("x") is Status.RUNNING
    assert "waits for a port" in cluster.master.waiting_reason("x")

    cluster.host("a").has_no_port = False
    cluster.run(MAX_PORT_DELAY_S + 3)
    assert cluster.controller("x") is not None
    assert cluster.master.waiting_reason("x") == ""


def test_code_of_users_that_ends_with_the_same_code_is_a_fault():
    cluster = Cluster(a=4)
    cluster.start("x")
    for _ in range(6):
        cluster.run_until(lambda: cluster.controller("x") is not None)
        cluster.end(
            cluster.controller("x").spec.proc_id, exit_code=NO_PORT_EXIT, doing="initializing the slicer"
        )
    cluster.run(8)

    assert cluster.status("x") is Status.FAILED
    assert FINDING_PORT not in cluster.record("x").failure_reason


def test_a_job_that_waits_for_a_port_can_be_stopped():
    cluster = Cluster(a=4)
    cluster.host("a").has_no_port = True
    cluster.post("x")
    cluster.run(10)
    cluster.feed(StopRequested(ex_id="x", within_s=5.0))
    cluster.run(10)

    assert cluster.status("x") is Status.STOPPED

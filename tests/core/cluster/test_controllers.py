import attrs
import pytest

from tests.support.cluster import SETTINGS, START, Cluster
from tsd.core.cluster.events import (
    ExecutionAdded,
    FromController,
    FromNode,
    PauseRequested,
    SaveGeneration,
    SaveStatus,
    Tick,
    Unsendable,
    WorkersRequested,
)
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.node import Terminate
from tsd.core.cluster.records import ExecutionRecord, Intent
from tsd.core.messages import (
    PROTOCOL,
    Again,
    ControllerBeat,
    ControllerHello,
    ControllerWelcome,
    LeaseGranted,
    NodeBeat,
    NodeHello,
    NodeWanted,
    ProcessExit,
    Refused,
    StatusIs,
    StatusReport,
)
from tsd.core.records import ExecutionStats, ProcessRole, Status


def hello(ex_id="x", generation=1, **more):
    return ControllerHello(
        **{
            "protocol": PROTOCOL,
            "ex_id": ex_id,
            "generation": generation,
            "address": "tcp://10.0.0.1:45680",
            **more,
        }
    )


def say(cluster, peer, message):
    """What the master answers."""
    return [send.message for send in cluster.feed(FromController(peer=peer, message=message)).sends]


def report(seq, event, generation=1, **more):
    fields = {"reason": "", "stats": ExecutionStats(), **more}
    return StatusReport(ex_id="x", generation=generation, seq=seq, event=event, **fields)


def running(**nodes):
    """A cluster in which execution x runs under a controller that says only what the test says."""
    cluster = Cluster(**(nodes or {"a": 4}))
    cluster.lazy = True
    cluster.post("x", 1)
    cluster.run_until(lambda: cluster.status("x") is Status.INITIALIZING)
    say(cluster, "x/1/c", report(1, "slicing_started"))
    cluster.controller("x").seq = 1
    return cluster


def test_the_happy_path_writes_each_status_in_order():
    """E3."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").report("completed")
    cluster.run(2)

    assert cluster.history("x") == [
        Status.PENDING,
        Status.SCHEDULING,
        Status.INITIALIZING,
        Status.RUNNING,
        Status.COMPLETED,
    ]
    initializing = next(
        save
        for save in cluster.store.saves
        if isinstance(save, SaveStatus) and save.status is Status.INITIALIZING
    )
    assert (initializing.slicer_hostname, initializing.slicer_port) == ("10.0.0.1", 45680)


def test_an_execution_waits_until_two_slots_are_free():
    """E5, cluster 3."""
    cluster = Cluster(a=1)
    cluster.post("x")
    cluster.run(5)
    assert cluster.status("x") is Status.PENDING
    assert "1 slots are free on 1 nodes" in cluster.master.waiting_reason("x")

    cluster.join("b", 1)
    cluster.run(2)

    assert cluster.status("x") is Status.RUNNING


def test_executions_run_in_the_order_in_which_they_came():
    """E4."""
    cluster = Cluster(a=2)
    for ex_id in ("third", "first", "second"):
        cluster.post(ex_id)
    order = []
    while not order or cluster.running():
        (ex_id,) = cluster.controller_ids()
        order.append(ex_id)
        cluster.finish(ex_id)
        cluster.run(3)

    assert order == ["third", "first", "second"]


def test_the_generation_is_saved_in_the_effects_that_send_it():
    master = ClusterMachine.restore([], settings=SETTINGS, now=START)
    node = NodeHello(
        protocol=PROTOCOL,
        version="",
        python="",
        node_id="a",
        hostname="h",
        pid=1,
        slots=2,
        runs=(),
        exits=(),
    )
    master.handle(FromNode(peer="a~1", message=node), now=START)
    record = ExecutionRecord(ex_id="x", job_id="j", name="n", created=1, intent=Intent(workers=1))

    effects = master.handle(ExecutionAdded(record=record), now=START)

    assert SaveGeneration(ex_id="x", generation=1, controller_node="a") in effects.saves
    (send,) = effects.sends
    assert isinstance(send.message, NodeWanted)
    assert [spec.generation for spec in send.message.processes] == [1]


def test_a_start_that_fails_is_tried_on_another_node():
    """E6, cluster 8."""
    cluster = Cluster(a=4, b=3)
    cluster.host("a").refuses_to_start = True

    cluster.post("x")
    cluster.run(3)

    assert cluster.status("x") is Status.RUNNING
    assert cluster.running("x", ProcessRole.CONTROLLER) == [("b", "x/2/c")]
    assert cluster.history("x").count(Status.SCHEDULING) == 2


@pytest.mark.parametrize("fault", ["refuses_to_start", "dies_at_once", "never_calls"])
def test_a_controller_that_can_not_be_started_fails_the_execution_after_so_many_attempts(fault):
    """E6, B7, cluster 8: the reason says what happened."""
    cluster = Cluster(a=4, b=4)
    if fault == "never_calls":
        cluster.keeps = lambda peer, message: not isinstance(message, ControllerHello)
    else:
        for host in cluster.hosts.values():
            setattr(host, fault, True)

    cluster.post("x")
    cluster.run_until(lambda: cluster.status("x") is Status.FAILED, 120)
    cluster.run(8)

    words = {
        "refuses_to_start": "no such file",
        "dies_at_once": "ImportError: no module named nonsense",
        "never_calls": "did not call within 30 s",
    }
    reason = cluster.record("x").failure_reason
    assert "Failed to provision execution x" in reason
    assert "Failed to allocate execution_controller to nodes after 3 attempts" in reason
    assert words[fault] in reason
    assert cluster.record("x").has_errors
    assert cluster.record("x").generation == 3
    assert cluster.running("x") == []


def test_a_controller_that_ends_is_replaced_at_once():
    """E28, B7, cluster 18: the execution keeps its status."""
    cluster = Cluster(a=4)
    cluster.start("x", 3)

    cluster.end("x/1/c")
    cluster.run(1)

    assert cluster.controller("x").spec.generation == 2
    assert cluster.controller("x").welcome.resume
    assert cluster.history("x")[-1] is Status.RUNNING
    assert [proc_id.split("/")[1] for proc_id in cluster.workers("x")] == ["2"] * 3


def test_a_controller_that_ends_again_and_again_fails_the_execution():
    """B7: with what it said last."""
    cluster = Cluster(a=4)
    cluster.start("x")
    for _ in range(6):
        cluster.run_until(lambda: cluster.controller("x") is not None)
        proc_id = cluster.controller("x").spec.proc_id
        cluster.end(proc_id, exit_code=3, detail="IndexError: slicer ran off")
    cluster.run(8)

    assert cluster.status("x") is Status.FAILED
    assert "controller ended 6 times" in cluster.record("x").failure_reason
    assert "IndexError: slicer ran off" in cluster.record("x").failure_reason
    assert cluster.running() == []


def test_a_controller_that_makes_progress_is_replaced_any_number_of_times():
    cluster = Cluster(a=4)
    cluster.start("x")
    for _ in range(20):
        cluster.run_until(lambda: cluster.controller("x") is not None)
        cluster.stored("x")
        cluster.end(cluster.controller("x").spec.proc_id)

    assert cluster.status("x") is Status.RUNNING


def test_replacements_that_die_young_come_later_and_later():
    cluster = Cluster(a=4)
    cluster.start("x")
    gaps = []
    for _ in range(5):
        cluster.end(cluster.controller("x").spec.proc_id)
        since = cluster.now
        cluster.run_until(lambda: cluster.controller("x") is not None)
        gaps.append(cluster.now - since)

    assert gaps == [0, 0.5, 1.0, 2.0, 4.0]


def test_a_cut_off_controller_is_replaced_only_when_its_lease_has_run_out():
    cluster = Cluster(a=4, b=4)
    cluster.start("x")
    controller = cluster.controller("x")
    cluster.run(3)
    cluster.cut_controller("x/1/c")

    cluster.run_until(lambda: cluster.record("x").generation == 2)

    assert cluster.now >= controller.leases[-1]
    assert cluster.now < controller.leases[-1] + 3


def test_a_controller_that_is_silent_but_can_be_reached_is_never_replaced():
    """User code that holds the interpreter looks like this."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").is_silent = True

    cluster.run(300)

    assert cluster.record("x").generation == 1
    assert cluster.status("x") is Status.RUNNING


def test_a_silent_controller_is_kept_when_it_can_be_reached_again():
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").is_silent = True
    cluster.host("a").is_cut = True
    cluster.run(10)
    cluster.host("a").is_cut = False

    cluster.run(60)

    assert cluster.record("x").generation == 1


def test_a_controller_on_a_node_that_returns_in_time_is_kept_although_its_lease_ran_out():
    """Cluster 13."""
    cluster = Cluster(a=4)
    cluster.start("x", 2)
    cluster.host("a").is_cut = True
    cluster.run(25)
    cluster.host("a").is_cut = False
    cluster.run(5)

    assert cluster.record("x").generation == 1
    assert cluster.controller("x").leases[-1] > cluster.now


def test_an_older_generation_is_refused():
    """E45."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.end("x/1/c")
    cluster.run(2)
    beat = ControllerBeat(
        ex_id="x",
        generation=1,
        sent_at=1.0,
        revision=0,
        workers=(),
        lost_workers=(),
        exits_seen=(),
        stats=ExecutionStats(),
    )

    for message in (hello(), beat, report(9, "completed")):
        (answer,) = say(cluster, "x/1/c", message)
        assert isinstance(answer, Refused)
    assert cluster.status("x") is Status.RUNNING
    assert not cluster.master.accepts("x", 1, "x/1/c")
    assert cluster.master.accepts("x", 2, "x/2/c")
    assert isinstance(cluster.master.turn_away("x", 1, "x/1/c"), Refused)


def test_a_controller_of_an_ended_execution_is_refused():
    """E45: its status stays."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.controller("x").report("completed")
    cluster.run(8)

    (answer,) = say(cluster, "x/1/c", hello())

    assert isinstance(answer, Refused)
    assert cluster.status("x") is Status.COMPLETED


def test_a_controller_with_another_protocol_is_refused():
    cluster = running()

    (answer,) = say(cluster, "x/1/c", hello(protocol=PROTOCOL + 1))

    assert isinstance(answer, Refused)


def test_a_controller_that_took_in_a_later_wish_of_an_earlier_master_is_told_above_it():
    """The clock was set back between two masters."""
    cluster = running()
    revision = cluster.controller("x").revision
    cluster.controller("x").revision = revision + 10**9

    cluster.run(2)
    cluster.feed(PauseRequested(ex_id="x"))
    cluster.settle()

    assert cluster.controller("x").wanted.paused
    assert cluster.controller("x").revision > revision + 10**9


def test_a_node_that_took_in_a_later_list_of_an_earlier_master_is_told_above_it():
    cluster = running(a=8)
    cluster.host("a").machine._revision += 10**9

    cluster.feed(WorkersRequested(ex_id="x", action="total", count=4))
    cluster.run(3)

    assert len(cluster.workers("x")) == 4


def test_a_beat_renews_the_lease_from_the_moment_it_was_sent():
    cluster = running()
    beat = ControllerBeat(
        ex_id="x",
        generation=1,
        sent_at=77.5,
        revision=cluster.controller("x").revision,
        workers=(),
        lost_workers=(),
        exits_seen=(),
        stats=ExecutionStats(),
    )

    assert say(cluster, "x/1/c", beat) == [LeaseGranted(sent_at=77.5)]


def test_the_welcome_tells_what_is_to_be_recovered():
    cluster = Cluster(a=4)
    cluster.lazy = True
    cluster.post("x", sources=("x", "w", "v"), mode="none", document='{"ex_id": "x"}')
    cluster.run(2)

    welcome = cluster.controller("x").welcome

    assert welcome.sources == ("x", "w", "v")
    assert (welcome.mode, welcome.execution, welcome.resume) == ("none", '{"ex_id": "x"}', False)


def test_recovery_that_is_done_is_not_repeated_by_the_next_generation():
    cluster = Cluster(a=4)
    cluster.start("x", sources=("x", "w"), mode="none")

    cluster.end("x/1/c")
    cluster.run(2)

    assert cluster.controller("x").welcome.mode == ""
    assert cluster.controller("x").welcome.sources == ("x", "w")


def test_a_repeated_report_is_answered_again_and_changes_nothing():
    cluster = running()
    first = say(cluster, "x/1/c", report(2, "slice_failed", reason="boom"))
    say(cluster, "x/1/c", report(3, "probation_passed"))
    saves = len(cluster.store.saves)

    again = say(cluster, "x/1/c", report(2, "slice_failed", reason="boom"))

    assert first == [StatusIs(seq=2, status="failing")]
    assert again == [StatusIs(seq=2, status="running")]
    assert len(cluster.store.saves) == saves


@pytest.mark.parametrize("event", ["placed", "stop_requested", "resumed_", "controller_ready"])
def test_a_report_that_does_not_fit_is_answered_with_the_status_and_changes_nothing(event):
    """E2."""
    cluster = running()

    assert say(cluster, "x/1/c", report(2, event)) == [StatusIs(seq=2, status="running")]
    assert cluster.history("x")[-1] is Status.RUNNING


def test_a_report_that_overtook_another_waits_for_it():
    cluster = Cluster(a=4)
    cluster.lazy = True
    cluster.post("x", 1)
    cluster.run_until(lambda: cluster.status("x") is Status.INITIALIZING)

    assert say(cluster, "x/1/c", report(2, "slice_failed")) == []
    say(cluster, "x/1/c", report(1, "slicing_started"))
    say(cluster, "x/1/c", report(2, "slice_failed"))

    assert cluster.history("x")[-2:] == [Status.RUNNING, Status.FAILING]


def test_failing_keeps_its_errors_when_probation_is_passed_and_completed_resets_them():
    cluster = running()
    stats = ExecutionStats(processed=4, failed=1)
    say(cluster, "x/1/c", report(2, "slice_failed", reason="boom", stats=stats))
    record = cluster.record("x")
    assert (record.status, record.has_errors, record.failure_reason) == (Status.FAILING, True, "boom")
    assert record.stats == stats

    say(cluster, "x/1/c", report(3, "probation_passed"))
    assert cluster.record("x").has_errors

    say(cluster, "x/1/c", report(4, "completed"))
    record = cluster.record("x")
    assert (record.status, record.has_errors, record.failure_reason) == (Status.COMPLETED, False, "")


@pytest.mark.parametrize("event", ["failed", "terminated"])
def test_a_final_failure_carries_the_reason_and_the_counters(event):
    cluster = running()
    stats = ExecutionStats(processed=9, failed=2)

    say(cluster, "x/1/c", report(2, event, reason="had 2 slice failures", stats=stats))

    record = cluster.record("x")
    assert record.status == event
    assert (record.has_errors, record.failure_reason) == (True, "had 2 slice failures")
    assert record.stats == stats


def test_the_status_is_saved_at_the_report_and_the_slots_are_free_when_the_processes_are_gone():
    cluster = running(a=2)
    cluster.host("a").ignores_term = True
    cluster.post("y")
    say(cluster, "x/1/c", report(2, "completed"))
    assert cluster.status("x") is Status.COMPLETED

    cluster.run(SETTINGS.shutdown_timeout_s - 3)
    assert cluster.status("y") is Status.PENDING
    cluster.run(6)
    assert cluster.status("y") is Status.INITIALIZING


def test_a_slicer_that_is_never_ready_fails_the_execution():
    """Weakness 13, 25: no -ing status lasts for ever."""
    cluster = Cluster(a=4)
    cluster.lazy = True
    cluster.post("x")
    cluster.run(170)
    assert cluster.status("x") is Status.INITIALIZING

    cluster.run(20)

    assert cluster.status("x") is Status.FAILED
    assert "not ready within 180 s" in cluster.record("x").failure_reason
    assert cluster.running() == []


def test_controllers_and_sums_of_counters_are_shown():
    """E38, E39."""
    cluster = Cluster(a=9)
    for ex_id in ("x", "y"):
        cluster.start(ex_id)
        cluster.controller(ex_id).stats = ExecutionStats(processed=3, failed=1, started=f"2026-{ex_id}")
    cluster.run(2)
    assert [each.ex_id for each in cluster.master.controllers()] == ["y", "x"]

    cluster.controller("x").report("completed")
    cluster.run(3)

    assert [each.ex_id for each in cluster.master.controllers()] == ["y"]
    assert (cluster.master.cluster_stats().processed, cluster.master.cluster_stats().failed) == (6, 2)


def test_a_job_has_one_active_execution_to_ask_for():
    """B12: the API asks before it stores another."""
    cluster = Cluster(a=4)
    cluster.start("x")
    assert cluster.master.active_of("job-x") == "x"

    cluster.controller("x").report("completed")
    cluster.run(1)

    assert cluster.master.active_of("job-x") is None


def test_an_execution_that_is_added_twice_is_there_once():
    cluster = Cluster(a=4)
    cluster.start("x")

    cluster.feed(ExecutionAdded(record=cluster.record("x")))
    cluster.run(2)

    assert len(cluster.running("x")) == 2


def test_a_master_that_ends_starts_and_judges_nothing_more():
    cluster = Cluster(a=3)
    cluster.start("x", 1)
    cluster.shut_down_master()
    cluster.host("a").feed(Terminate())

    cluster.run(60)

    assert cluster.status("x") is Status.RUNNING
    assert cluster.record("x").generation == 1
    assert cluster.record("x").controller_node is None


def test_a_controller_that_is_not_known_to_this_master_yet_is_asked_for_its_hello():
    cluster = running()
    cluster.crash_master()
    cluster.start_master()

    (answer,) = say(cluster, "x/1/c", report(2, "completed"))
    assert isinstance(answer, Again)
    assert not cluster.master.accepts("x", 1, "x/1/c")

    assert any(isinstance(each, ControllerWelcome) for each in say(cluster, "x/1/c", hello()))
    assert cluster.master.accepts("x", 1, "x/1/c")


def test_ticks_alone_change_nothing():
    cluster = running()
    cluster.run(3)
    saves = len(cluster.store.saves)

    for _ in range(10):
        cluster.feed(Tick())

    assert len(cluster.store.saves) == saves
    assert attrs.asdict(cluster.master.execution_view("x"))["workers_running"] == 1


def test_an_execution_whose_document_fits_into_no_message_fails_at_once_with_the_size():
    """Otherwise its controller says hello until somebody loses patience, and nobody knows why."""
    cluster = Cluster(a=4)
    cluster.start("x")
    cluster.start("y")
    controller = cluster.controller("x")

    reason = "ControllerWelcome has 20000000 bytes, and a message at most 16777216"
    cluster.feed(Unsendable(peer=controller.spec.proc_id, message=controller.welcome, reason=reason))
    cluster.run(3)

    assert cluster.status("x") is Status.FAILED
    assert reason in cluster.store.records["x"].failure_reason
    assert cluster.status("y") is Status.RUNNING


def test_of_a_node_whose_list_fits_into_no_message_the_execution_with_the_largest_environment_fails():
    cluster = Cluster(a=6)
    cluster.start("large", env={"A": "x" * 10_000})
    cluster.start("small", env={"A": "x"})
    wanted = NodeWanted(revision=1, processes=tuple(cluster.host("a").running.values()), endings={})

    cluster.feed(Unsendable(peer=cluster.host("a").peer, message=wanted, reason="too large"))
    cluster.run(3)

    assert cluster.status("large") is Status.FAILED
    assert "environment" in cluster.store.records["large"].failure_reason
    assert cluster.status("small") is Status.RUNNING


def test_a_node_is_not_believed_about_processes_of_another_node():
    cluster = Cluster(a=4, b=4)
    cluster.start("x", 2)
    cluster.run(3)
    home = cluster.controller_host("x")
    other = cluster.host("b" if home.node_id == "a" else "a")
    forged = ProcessExit(proc_id="x/1/c", ex_id="x", exit_code=1, signal=None)

    cluster.feed(FromNode(peer=other.peer, message=NodeBeat(revision=0, runs=(), exits=(forged,))))
    cluster.run(3)

    assert cluster.store.records["x"].generation == 1
    assert [each.facts["node_id"] for each in cluster.log if each.event == "node.foreign_exits"] == [
        other.node_id
    ]

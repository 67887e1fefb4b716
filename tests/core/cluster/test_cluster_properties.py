"""Random clusters: whatever happens, what the core promises holds, and in the end everything is as wanted."""

import contextlib
from random import Random

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.cluster import SETTINGS, Cluster
from tsd.core.cluster.events import (
    DrainNode,
    PauseRequested,
    ResumeRequested,
    StopRequested,
    UndrainNode,
    WorkersRequested,
)
from tsd.core.cluster.node import Terminate
from tsd.core.records import TERMINAL_STATUSES, ProcessRole, Status
from tsd.errors import StateError

MAY_FAIL = ("Failed to provision execution", "times without progress", "was not ready within")
"""Reasons for which the core itself may give an execution up; nothing else may fail here."""


class RandomCluster(RuleBasedStateMachine):
    """Nodes, masters, executions and messages come and go."""

    def __init__(self):
        super().__init__()
        self.cluster = Cluster(attrs.evolve(SETTINGS, controller_restarts=3, shutdown_timeout_s=20.0))
        self.names = 0
        self.generations = {}
        self.ended = {}

    # --- picking ---

    def pick(self, items, index):
        items = sorted(items)
        return items[index % len(items)] if items else None

    def pick_host(self, index):
        peer = self.pick(self.cluster.hosts, index)
        return self.cluster.hosts.get(peer)

    def unended(self):
        return [each.ex_id for each in self.cluster.store.unended()]

    def ask(self, event):
        with contextlib.suppress(StateError):
            self.cluster.feed(event)
        self.cluster.settle()

    # --- what happens ---

    @initialize(slots=st.lists(st.integers(1, 5), min_size=1, max_size=3))
    def begin(self, slots):
        for each in slots:
            self.add_node(each)

    @rule(slots=st.integers(1, 5))
    def add_node(self, slots):
        if len(self.cluster.hosts) < 5:
            self.names += 1
            self.cluster.join(f"n{self.names}", slots)
            self.cluster.settle()

    @rule(index=st.integers(0, 9), slots=st.integers(1, 5))
    def restart_node(self, index, slots):
        if host := self.pick_host(index):
            self.cluster.lose(host)
            self.cluster.join(host.node_id, slots)
            self.cluster.settle()

    @rule(index=st.integers(0, 9))
    def lose_node(self, index):
        if host := self.pick_host(index):
            self.cluster.lose(host)

    @rule(index=st.integers(0, 9), is_cut=st.booleans())
    def cut_node(self, index, is_cut):
        if host := self.pick_host(index):
            host.is_cut = is_cut

    @rule(index=st.integers(0, 9), is_cut=st.booleans())
    def cut_daemon(self, index, is_cut):
        """What the node runs can still talk to the master."""
        if host := self.pick_host(index):
            host.is_daemon_cut = is_cut

    @rule(index=st.integers(0, 9), dies_slowly=st.booleans())
    def let_processes_die_slowly(self, index, dies_slowly):
        if host := self.pick_host(index):
            host.dies_slowly = dies_slowly

    @rule(index=st.integers(0, 9), is_frozen=st.booleans())
    def freeze_node(self, index, is_frozen):
        if host := self.pick_host(index):
            host.is_frozen = is_frozen

    @rule(index=st.integers(0, 9))
    def shut_down_node(self, index):
        if host := self.pick_host(index):
            host.feed(Terminate())
            self.cluster.settle()

    @precondition(lambda self: self.cluster.master is not None)
    @rule(index=st.integers(0, 9), within_s=st.sampled_from([None, None, 0.0, 5.0]))
    def drain_node(self, index, within_s):
        if host := self.pick_host(index):
            self.ask(DrainNode(node_id=host.node_id, within_s=within_s))

    @precondition(lambda self: self.cluster.master is not None)
    @rule(index=st.integers(0, 9))
    def undrain_node(self, index):
        if node_id := self.pick(self.cluster.store.drains, index):
            self.ask(UndrainNode(node_id=node_id))

    @rule(index=st.integers(0, 9), ignores_term=st.booleans())
    def let_processes_take_their_time(self, index, ignores_term):
        """As those do that are in the middle of a long slice."""
        if host := self.pick_host(index):
            host.ignores_term = ignores_term

    @rule()
    def crash_master(self):
        self.cluster.crash_master()

    @rule()
    def start_master(self):
        if self.cluster.master is None:
            self.cluster.start_master()

    @rule(seed=st.integers(0, 2**16), percent=st.sampled_from([0, 10, 40]))
    def lose_messages(self, seed, percent):
        luck = Random(seed)
        self.cluster.keeps = lambda peer, message: luck.random() * 100 >= percent

    @precondition(lambda self: self.cluster.master is not None)
    @rule(workers=st.integers(1, 6))
    def post(self, workers):
        if len(self.unended()) < 4:
            self.names += 1
            self.cluster.post(f"x{self.names}", workers)

    @precondition(lambda self: self.cluster.master is not None)
    @rule(
        index=st.integers(0, 9),
        force=st.booleans(),
        within_s=st.sampled_from([None, 0.0, 5.0]),
    )
    def stop(self, index, force, within_s):
        if ex_id := self.pick(self.unended(), index):
            self.ask(StopRequested(ex_id=ex_id, force=force, within_s=within_s))

    @precondition(lambda self: self.cluster.master is not None)
    @rule(index=st.integers(0, 9), request=st.sampled_from([PauseRequested, ResumeRequested]))
    def pause_or_resume(self, index, request):
        if ex_id := self.pick(self.unended(), index):
            self.ask(request(ex_id=ex_id))

    @precondition(lambda self: self.cluster.master is not None)
    @rule(
        index=st.integers(0, 9),
        action=st.sampled_from(["add", "remove", "total"]),
        count=st.integers(1, 4),
    )
    def scale(self, index, action, count):
        if ex_id := self.pick(self.unended(), index):
            self.ask(WorkersRequested(ex_id=ex_id, action=action, count=count))

    @rule(index=st.integers(0, 99), code=st.sampled_from([None, 0, 1]))
    def end_process(self, index, code):
        if found := self.pick(self.cluster.running(), index):
            how = {"signal": 9} if code is None else {"exit_code": code}
            self.cluster.end(found[1], **how)

    @rule(
        index=st.integers(0, 9),
        event=st.sampled_from(["completed", "failed", "slice_failed", "probation_passed"]),
    )
    def report(self, index, event):
        ex_id = self.pick(self.unended(), index)
        controller = self.cluster.controller(ex_id) if ex_id else None
        if controller is not None and controller.sliced and not controller.final_seq:
            controller.report(event, reason="told to" if event == "failed" else "")

    @rule(index=st.integers(0, 9), is_silent=st.booleans())
    def silence_controller(self, index, is_silent):
        ex_id = self.pick(self.unended(), index)
        if ex_id and (controller := self.cluster.controller(ex_id)):
            controller.is_silent = is_silent

    @rule(index=st.integers(0, 9))
    def make_progress(self, index):
        if ex_id := self.pick(self.unended(), index):
            self.cluster.stored(ex_id)

    @rule(seconds=st.sampled_from([0.25, 1, 4, 20, 45]))
    def wait(self, seconds):
        self.cluster.run(seconds)

    # --- what holds all the time ---

    @invariant()
    def no_node_runs_more_than_it_has_slots(self):
        self.cluster.check_slots()
        if self.cluster.master:
            for node in self.cluster.master._members.nodes.values():
                wanted = [each for each in node.placements.values() if each.is_wanted]
                assert len(wanted) <= node.slots

    @invariant()
    def nothing_is_to_run_on_in_a_drained_node(self):
        """Nor does a slot of it wait for anything; and the store knows of every drain."""
        if master := self.cluster.master:
            assert master._members.drains == self.cluster.store.drains
            for node in master._members.nodes.values():
                assert (node.drain is not None) == (node.node_id in self.cluster.store.drains)
                if node.drain is not None:
                    assert not node.held
                    wanted = [each for each in node.placements.values() if each.is_wanted]
                    for each in wanted:  # but a controller that has not called the new master yet
                        controller = master._roster.get(each.ex_id).controller
                        assert controller.proc_id == each.proc_id
                        assert controller.is_replaceable is None

    @invariant()
    def generations_never_fall(self):
        for record in self.cluster.store.records.values():
            assert record.generation >= self.generations.get(record.ex_id, 0)
            self.generations[record.ex_id] = record.generation

    @invariant()
    def an_ended_execution_stays_as_it_is(self):
        for ex_id, history in self.cluster.store.history.items():
            if history[-1] in TERMINAL_STATUSES:
                assert self.ended.setdefault(ex_id, history[-1]) is history[-1]
                reason = self.cluster.record(ex_id).failure_reason
                if history[-1] is Status.FAILED:
                    assert any(each in reason for each in (*MAY_FAIL, "told to")), reason

    @invariant()
    def at_most_one_controller_of_an_execution_counts_and_may_hand_out_slices(self):
        now = self.cluster.now
        accepted, leased = [], []
        for host in self.cluster.hosts.values():
            for proc_id, controller in host.controllers.items():
                spec = controller.spec
                master = self.cluster.master
                if master and master.accepts(spec.ex_id, spec.generation, proc_id):
                    accepted.append(spec.ex_id)
                if controller.welcomed and not controller.refused and controller.leases[-1] > now:
                    leased.append(spec.ex_id)
        assert len(set(accepted)) == len(accepted)
        assert len(set(leased)) == len(leased)

    @invariant()
    def nothing_hangs(self):
        """Every execution waits with a reason, has its controller, or has a deadline."""
        master = self.cluster.master
        if master is None:
            return
        for ex_id in self.unended():
            execution = master._roster.get(ex_id)
            has_deadline = execution.due_at(self.cluster.now) is not None
            assert has_deadline or execution.controller is not None or "wait" in master.waiting_reason(ex_id)

    # --- what holds in the end ---

    def teardown(self):
        cluster = self.cluster
        cluster.keeps = lambda peer, message: True
        for host in cluster.hosts.values():
            host.is_cut = host.is_frozen = host.is_daemon_cut = False
        for host in cluster.hosts.values():
            for controller in host.controllers.values():
                controller.is_silent = False
        for host in list(cluster.hosts.values()):
            host.ignores_term = False
            for proc_id in list(host.running):
                if host.machine._processes[proc_id].kill_at is not None:
                    cluster.end(proc_id, exit_code=0)
        if cluster.master is None:
            cluster.start_master()
        cluster.join("roomy", 60)
        cluster.run(100)
        self.check_that_all_is_as_wanted()
        for node_id in list(cluster.store.drains):
            self.ask(UndrainNode(node_id=node_id))
        for ex_id in self.unended():
            self.ask(StopRequested(ex_id=ex_id))
        cluster.run(40)
        assert self.unended() == []
        assert cluster.running() == []
        assert len(cluster.master._roster) == 0
        for node in cluster.master.cluster_state().values():
            assert node.available == node.total

    def check_that_all_is_as_wanted(self):
        cluster = self.cluster
        for ex_id in self.unended():
            record = cluster.record(ex_id)
            allowed = {Status.PAUSED} if record.intent.paused else {Status.RUNNING, Status.FAILING}
            assert record.status in allowed, (record, cluster.master.waiting_reason(ex_id))
            assert len(cluster.running(ex_id, ProcessRole.CONTROLLER)) == 1
            assert len(cluster.workers(ex_id)) == record.intent.workers
        for node_id, proc_id in cluster.running():
            assert proc_id.split("/")[0] in self.unended()
            assert node_id not in cluster.store.drains


TestRandomCluster = RandomCluster.TestCase
TestRandomCluster.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

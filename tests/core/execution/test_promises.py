"""The promises of the execution core, searched by hypothesis: any order of events, then a calm end.

One controller core and real worker cores work through a job while workers die, vanish, freeze and drain, the
network loses, doubles and reorders messages, the master and its store go away and come back, the
controller is replaced, and somebody pauses and resumes. What must hold is checked after each step, at each
message that hands out slices, at each batch and at each report; at the end everything is healed, and
every slice must have ended.
"""

import json
import random

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.execution_rig import EX, LIMITS, Rig
from tsd.core.execution import events as ev
from tsd.core.execution.ledger import PENDING, START
from tsd.core.messages import Again
from tsd.core.records import (
    ENDS_AFTER_REPLAY,
    REPLAYED_STATES,
    TERMINAL_STATUSES,
    RecoveryMode,
    SliceState,
)

PROMISE_LIMITS = attrs.evolve(
    LIMITS, credit_max=16, max_buffered_records=40, worker_disconnect_timeout_s=6.0, slicer_timeout_s=500.0
)
FAST, SLOW = 0.004, 1.5


class Promises(RuleBasedStateMachine):
    """Rules are what can happen to a running execution."""

    rig: Rig

    @initialize(
        seed=st.integers(0, 2**32),
        counts=st.lists(st.integers(0, 120), min_size=1, max_size=2),
        bad=st.sets(st.integers(1, 60), max_size=3),
        slow=st.sets(st.integers(1, 60), max_size=4),
        deadly=st.sets(st.integers(1, 60), max_size=1),
        persistent=st.booleans(),
        mode=st.sampled_from(["", "", *RecoveryMode]),
        old=st.lists(st.sampled_from(list(SliceState)), max_size=40),
        ends=st.sampled_from(["by itself", "by itself", "drain", "now", "terminated"]),
        keeps=st.sampled_from([0, 0, 1, 5, 200]),
    )
    def begin(self, *, seed, counts, bad, slow, deadly, persistent, mode, old, ends, keeps):
        # A slice that fails while recovering fails the execution, which is tested elsewhere.
        self.bad = bad if not mode else set()
        self.slow, self.deadly, self.ends = slow, deadly if not mode else set(), ends
        # Nothing makes a persistent execution that has nothing to do release what operations hold back.
        self.keeps = 0 if persistent and ends == "by itself" else keeps
        self.starts = 0
        records = {}
        if mode:
            for n, state in enumerate(old, start=1):
                request = json.dumps({"old": n})
                records[1, 0, n] = (1, 0, n, int(state), 1_000, 2_000, request, 0, None, None, None)
        again = REPLAYED_STATES[mode] if mode else ()
        self.again = {key for key, row in records.items() if row[3] in again}
        self.is_ending_after_replay = mode in ENDS_AFTER_REPLAY
        self.rig = Rig(
            slicers=[[{"i": i, "s": s} for i in range(1, count + 1)] for s, count in enumerate(counts)],
            limits=PROMISE_LIMITS,
            persistent=persistent,
            max_queue_length=30,
            job={"max_retries": 1, "probation_window": 500},
            master={"mode": mode, "records": records, "sources": (EX, "old") if mode else (EX,)},
        )
        self.rig.rng = random.Random(seed)
        self.rig.ran_requests |= {row[6] for row in records.values() if row[3] == SliceState.COMPLETED}
        self.rig.run(0.1)

    # --- what happens

    def live(self):
        return [w for w in self.rig.workers.values() if not w.is_dead]

    def pick(self, index):
        workers = self.live()
        return workers[index % len(workers)] if workers else None

    def start_worker(self):
        self.starts += 1
        self.rig.worker(
            self.starts % 4 + 1,
            start=self.starts,
            duration_s=lambda item: SLOW if item[2] in self.slow | self.deadly else FAST,
            outcome=lambda item: (3, 1, "bad", None) if item[2] in self.bad else None,
            keeps=self.keeps,
        )

    @rule(seconds=st.sampled_from([0.002, 0.01, 0.05, 0.3, 1.0, 2.5, 8.0]))
    def time_passes(self, seconds):
        self.rig.run(seconds)

    @precondition(lambda self: len(self.live()) < 4)
    @rule()
    def a_worker_starts(self):
        self.start_worker()

    @invariant()
    def deadly_slices_kill(self):
        for worker in self.live():
            if worker.running and worker.running[2] in self.deadly and worker.running[4] is None:
                worker.die(signal=11)

    @rule(index=st.integers(0, 3))
    def a_worker_dies(self, index):
        if worker := self.pick(index):
            worker.die()

    @rule(index=st.integers(0, 3))
    def a_worker_is_told_to_end(self, index):
        if worker := self.pick(index):
            worker.feed(ev.Terminate())

    @rule(index=st.integers(0, 3))
    def a_link_breaks_or_heals(self, index):
        if worker := self.pick(index):
            worker.is_cut_off = not worker.is_cut_off

    @rule(index=st.integers(0, 3))
    def a_worker_freezes_or_thaws(self, index):
        if worker := self.pick(index):
            if worker.is_frozen:
                worker.thaw()
            else:
                worker.is_frozen = True

    @rule(index=st.integers(0, 3))
    def a_worker_is_asked_to_say_hello_again(self, index):
        if worker := self.pick(index):
            worker.feed(ev.FromController(Again()))

    @rule(
        loss=st.sampled_from([0.0, 0.05, 0.4]),
        doubling=st.sampled_from([0.0, 0.2]),
        disorder=st.sampled_from([0, 0.2]),
    )
    def the_network_changes(self, loss, doubling, disorder):
        self.rig.loss, self.rig.doubling, self.rig.disorder = loss, doubling, disorder

    @rule()
    def the_master_goes_or_comes(self):
        self.rig.master.is_away = not self.rig.master.is_away
        if not self.rig.master.is_away:
            self.rig.to_controller(Again())

    @rule()
    def the_store_goes_or_comes(self):
        self.rig.master.saves = not self.rig.master.saves

    @rule()
    def somebody_pauses_or_resumes(self):
        self.rig.master.want(paused=not self.rig.master.wanted.paused)

    @rule()
    def the_controller_is_replaced(self):
        if self.rig.exit is None and self.rig.master.status not in TERMINAL_STATUSES:
            self.rig.restart()

    # --- what must hold

    @invariant()
    def each_slice_has_one_holder_or_waits(self):
        machine = self.rig.machine
        held = {}
        for peer, worker in machine._table.members.items():
            for n, entry in (*worker.held.items(), *worker.kept.items()):
                assert n not in held, "held twice"
                assert entry.holder == peer
                assert entry.state == START
                held[n] = entry
        waiting = {n: e for n, e in machine._ledger.unfinished.items() if n not in held}
        assert all(e.state == PENDING and e.holder is None for e in waiting.values())
        assert len(waiting) == machine._ledger.waiting
        assert machine._ledger.kept == sum(len(w.kept) for w in machine._table.members.values())
        assert held.keys() <= machine._ledger.unfinished.keys()
        assert machine._dispatcher.active == sum(bool(w.held) for w in machine._table.members.values())

    @invariant()
    def what_is_counted_has_ended_once(self):
        machine = self.rig.machine
        ledger = machine._ledger
        ended = ledger.made - len(ledger.unfinished)
        earlier = self.rig.counted_before.get(self.rig.generation, 0)
        assert ledger.processed == ended + earlier
        assert ledger.failed <= ledger.processed

    @invariant()
    def buffers_are_bounded(self):
        recorder = self.rig.machine._recorder
        room = PROMISE_LIMITS.credit_max * 4 * 4
        assert recorder.buffered() <= PROMISE_LIMITS.max_buffered_records + room
        assert recorder.owed >= 0
        assert len(recorder.batches) <= 3

    @invariant()
    def what_is_recorded_as_completed_was_run_to_its_end(self):
        rows = self.rig.master.records.values()
        assert {r[6] for r in rows if r[3] == SliceState.COMPLETED} <= self.rig.ran_requests

    # --- and at the end

    def teardown(self):
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        self.heal()
        if self.ends == "by itself":
            self.run_to_the_end()
        else:
            self.end_it()
        self.each_slice_has_one_holder_or_waits()
        self.what_is_recorded_as_completed_was_run_to_its_end()
        assert rig.master.illegal == []

    def run_to_the_end(self):
        """All that was made has ended, and with it the execution if it is one that ends."""
        rig = self.rig
        made = {(0, s, i + 1) for s, results in enumerate(rig.slicer.all) for i in range(len(results))}
        every = self.again | (set() if self.is_ending_after_replay else made)
        for _ in range(400):
            rig.run(0.5)
            self.deadly_slices_kill()
            goes_on = rig.slicer.persistent and not self.is_ending_after_replay
            if rig.exit is not None or (goes_on and self.ended() >= every):
                break
            if len(self.live()) < 2:
                self.start_worker()
        if "have disconnected" in (rig.master.reports[-1].reason if rig.master.reports else ""):
            # Nobody was there for too long; `Rig` has checked that all that was made is recorded.
            assert rig.master.status == "failed"
            return
        assert self.ended() >= every, "a slice got lost"
        if not goes_on:
            assert rig.exit is not None, "it never ended"
            has_errors = any(r[0] == 0 and r[3] == SliceState.ERROR for r in rig.master.records.values())
            assert rig.master.status == ("failed" if has_errors else "completed")

    def end_it(self):
        """It is stopped, or leaves for another generation: all that was made is recorded."""
        rig = self.rig
        rig.run(0.05)
        if self.ends == "terminated":
            rig.feed(ev.Terminate())
        else:
            rig.master.want(stop=self.ends, stop_within_s=20.0)
        for _ in range(60):
            if rig.exit is None:
                rig.run(0.5)
        assert rig.exit is not None, "it never left"
        recorded = {(row[1], row[6]) for row in rig.master.records.values()}
        assert {(slicer_id, request) for slicer_id, request, *_rest in rig.slicer.handed_out} <= recorded
        plan = rig.machine._plan
        if self.ends == "drain" and (plan is None or plan.is_read):
            states = {row[3] for row in rig.master.records.values() if row[0] == 0}
            assert SliceState.START not in states
            assert rig.master.events()[-1] in ("stopped", "completed", "failed")

    def heal(self):
        rig = self.rig
        rig.loss = rig.doubling = rig.disorder = 0.0
        rig.master.is_away, rig.master.saves = False, True
        rig.to_controller(Again())
        if rig.master.wanted.paused:
            rig.master.want(paused=False)
        for worker in self.live():
            worker.is_cut_off = False
            if worker.is_frozen:
                worker.thaw()

    def ended(self):
        done = (SliceState.COMPLETED, SliceState.ERROR)
        return {key for key, row in self.rig.master.records.items() if row[3] in done}


TestPromises = Promises.TestCase
TestPromises.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

"""The worker core: what it holds, what it reports, how it ends."""

import pytest

from tests.support.execution_rig import EX, LIMITS
from tsd.core.execution import events as ev
from tsd.core.execution.worker import WorkerMachine
from tsd.core.messages import (
    Again,
    Alive,
    GiveBack,
    Refused,
    Results,
    ResultsSeen,
    Slices,
    StopWorker,
    WorkerBeat,
    WorkerBye,
    WorkerHello,
    WorkerSettings,
    WorkerWelcome,
)


class Bench:
    """A worker core and a hand on each of its wires."""

    def __init__(self, *, welcomed=True, ready=True):
        self.now = 10.0
        self.machine = WorkerMachine(
            proc_id=f"{EX}/1/w1.1", ex_id=EX, generation=1, number=1, pid=7, limits=LIMITS
        )
        self.first = self.feed(ev.Tick())
        if welcomed:
            self.tell(WorkerWelcome(execution="{}", beat_interval_s=1.0, keep=[]))
            if ready:
                self.feed(ev.PipelineReady())

    def feed(self, event):
        effects = self.machine.handle(event, now=self.now)
        self.sends = [message for _peer, message in effects.sends]
        self.actions = effects.actions
        return effects

    def tell(self, message):
        return self.feed(ev.FromController(message))

    def give(self, *ns):
        return self.tell(Slices(items=[(n, 0, n, "{}", None, None) for n in ns]))

    def ran(self, *ns, **more):
        return self.feed(ev.SlicesRan(list(ns), [], 100, **more))

    def sleep(self, seconds):
        """Feed ticks when they are due; return all that was sent."""
        end, sends, actions = self.now + seconds, [], []
        while (at := self.machine.wake_at()) is not None and at <= end:
            self.now = max(at, self.now)
            self.feed(ev.Tick())
            sends += self.sends
            actions += self.actions
        self.now = end
        self.actions = actions
        return sends

    def exit(self):
        return next((action for action in self.actions if isinstance(action, ev.Exit)), None)


def kinds(messages):
    return [type(message) for message in messages]


def test_it_says_hello_ever_more_seldom_until_welcomed_and_gives_up_after_the_slicer_timeout():
    bench = Bench(welcomed=False)
    assert [WorkerHello] == kinds(message for _peer, message in bench.first.sends)

    assert [WorkerHello] * 4 == kinds(bench.sleep(19.5))  # after 1, 3, 7 and 15 s
    bench.sleep(1)
    assert bench.exit().code == 1
    assert "Unable to connect" in bench.exit().reason


def test_the_welcome_builds_the_pipeline_once():
    bench = Bench(ready=False)
    assert [ev.BuildPipeline("{}")] == bench.actions

    bench.tell(WorkerWelcome(execution="{}", beat_interval_s=1.0, keep=[]))
    assert bench.actions == []


def test_slices_are_run_in_order_and_reported_until_they_are_seen():
    bench = Bench()
    bench.give(1, 2, 3)
    assert [item[0] for item in bench.actions[0].items] == [1, 2, 3]

    bench.ran(1, 2)
    first = Results(seq=1, done=[1, 2], full=[], returned=[], busy_us=100)
    assert [first] == bench.sends
    assert [first, first] == [m for m in bench.sleep(2.5) if isinstance(m, Results)]

    bench.tell(ResultsSeen(seq=1))
    assert Results not in kinds(bench.sleep(2.5))


def test_a_slice_that_is_held_or_was_just_reported_is_not_run_twice():
    bench = Bench()
    bench.give(1, 2)
    bench.ran(1)
    bench.give(1, 2, 3)

    assert [item[0] for item in bench.actions[0].items] == [3]


def test_beats_say_what_runs_and_for_how_long():
    bench = Bench()
    bench.give(5, 6, 7)
    (beat,) = [m for m in bench.sleep(1.0) if isinstance(m, WorkerBeat)]

    assert (beat.running, beat.held, beat.draining) == (5, 2, False)
    assert 0.9 < beat.running_for_s <= 1.0
    bench.ran(5)
    bench.tell(ResultsSeen(seq=1))
    bench.sleep(0.4)
    bench.feed(ev.SliceBegun(6))
    (beat,) = [m for m in bench.sleep(0.7) if isinstance(m, WorkerBeat)]
    assert (beat.running, beat.held) == (6, 1)
    assert beat.running_for_s < 0.7


def test_nothing_is_said_to_run_before_the_pipeline_is_ready():
    bench = Bench(ready=False)
    bench.give(5, 6)
    (beat,) = [m for m in bench.sleep(1.0) if isinstance(m, WorkerBeat)]

    assert (beat.running, beat.held) == (None, 2)


def test_again_is_answered_with_a_hello_that_says_what_is_held():
    """E24, B6: results that were not seen follow the welcome."""
    bench = Bench()
    bench.give(1, 2, 3)
    bench.ran(1)
    bench.tell(Again())
    (hello,) = bench.sends
    assert hello.holds == [2, 3, 1]
    assert bench.tell(Again()).sends == []

    bench.ran(2)
    assert bench.sends == []
    bench.tell(WorkerWelcome(execution="{}", beat_interval_s=1.0, keep=[1, 2, 3]))
    assert [message.seq for message in bench.sends] == [1, 2]
    assert bench.actions == []


def test_slices_that_are_no_longer_ours_are_dropped():
    bench = Bench()
    bench.give(1, 2, 3)
    bench.tell(Again())
    bench.tell(WorkerWelcome(execution="{}", beat_interval_s=1.0, keep=[1, 3]))
    assert [ev.Drop([2])] == bench.actions

    bench.tell(Again())
    assert bench.sends[0].holds == [1, 3]


def test_silence_leads_to_a_new_hello():
    bench = Bench()
    bench.give(1)
    sends = bench.sleep(6)

    assert WorkerHello in kinds(sends)
    assert bench.machine.wake_at() is not None
    bench.sleep(3_600)
    assert bench.exit() is None


def test_a_worker_with_nothing_to_do_beats_seldom_and_says_hello_later():
    busy, idle = Bench(), Bench()
    busy.give(1)
    idle.sleep(5)  # the rhythm changes at a beat
    said = {}
    for bench in (busy, idle):
        sends = []
        for _ in range(20):
            sends += bench.sleep(1)
            bench.tell(Alive())
        said[bench] = kinds(sends).count(WorkerBeat)
    assert said[busy] >= 4 * said[idle] > 0

    idle.give(1)
    assert WorkerBeat in kinds(idle.sleep(1.5))
    lonely = Bench()
    assert WorkerHello not in kinds(lonely.sleep(5))
    assert WorkerHello in kinds(lonely.sleep(20))


def test_a_worker_that_was_held_up_itself_reads_first_what_has_come_meanwhile():
    bench = Bench()
    bench.give(1)
    bench.now += 10  # nothing of it runs, as when user code keeps the interpreter
    bench.feed(ev.Tick())
    assert WorkerHello not in kinds(bench.sends)
    bench.give(2)
    assert WorkerHello in kinds(bench.sleep(6)), "it is silence when nothing comes afterwards either"
    assert bench.machine._queue.keys() == {1, 2}


def test_slices_are_given_back_on_request():
    bench = Bench()
    bench.give(1, 2, 3)
    bench.tell(GiveBack(count=2))
    assert [ev.TakeBack(2)] == bench.actions

    bench.feed(ev.TookBack([3, 2]))
    assert bench.sends[0].returned == [3, 2]
    bench.tell(Again())
    assert bench.sends[0].holds == [1, 3, 2]


def test_a_drain_gives_back_runs_to_the_end_flushes_and_says_goodbye():
    """E43, B5: nothing that was cut short is reported as done."""
    bench = Bench()
    bench.give(1, 2, 3)
    bench.feed(ev.Terminate())
    assert [ev.TakeBack(-1)] == bench.actions
    assert bench.sends[-1].draining

    bench.feed(ev.TookBack([3, 2]))
    assert bench.sends[0].returned == [3, 2]
    bench.give(4)
    assert bench.actions == []
    assert bench.sends[0].returned == [4]

    bench.ran(1)
    assert [ev.Flush()] == bench.actions
    bench.feed(ev.Flushed())
    assert bench.actions == []
    bench.tell(ResultsSeen(seq=3))
    assert [WorkerBye] == kinds(bench.sends)
    assert not bench.sends[0].failed
    assert bench.exit().code == 0


def test_a_drain_waits_only_so_long_for_its_results_to_be_seen():
    bench = Bench()
    bench.give(1)
    bench.feed(ev.Terminate())
    bench.feed(ev.TookBack([]))
    bench.ran(1)
    bench.feed(ev.Flushed())
    sends = bench.sleep(10)

    assert WorkerBye is kinds(sends)[-1]
    assert Results in kinds(sends)
    assert bench.exit().code == 0


def test_a_slice_that_was_cut_short_is_returned():
    """B5."""
    bench = Bench()
    bench.give(1)
    bench.feed(ev.Terminate())
    bench.feed(ev.TookBack([]))
    bench.feed(ev.SlicesRan([], [], 0, returned=[1]))

    assert (bench.sends[0].done, bench.sends[0].full, bench.sends[0].returned) == ([], [], [1])


def test_a_controller_that_ends_its_workers_is_told_nothing_more():
    """It ends itself, so words for it would hold up the end of the worker until they are given up."""
    bench = Bench()
    bench.tell(StopWorker(drain=True))
    assert bench.sends == []
    bench.feed(ev.Flushed())
    assert bench.sends == []
    assert bench.exit().code == 0


@pytest.mark.parametrize("event", [ev.Terminate(hurry=True), ev.FromController(StopWorker(drain=False))])
def test_in_a_hurry_it_ends_at_once_and_what_it_holds_is_the_controllers_again(event):
    bench = Bench()
    bench.give(1, 2)
    bench.feed(event)

    assert ([WorkerBye] if isinstance(event, ev.Terminate) else []) == kinds(bench.sends)
    assert bench.exit().code == 0
    assert (bench.ran(1).sends, bench.actions) == ([], [])


def test_a_refused_worker_drops_everything():
    bench = Bench()
    bench.give(1, 2)
    bench.tell(Refused(reason="lost"))

    assert bench.sends == []
    assert bench.exit().code == 0


def test_a_pipeline_that_can_not_be_built_fails_the_execution():
    bench = Bench(ready=False)
    bench.feed(ev.PipelineFailed("no such operation"))

    assert [WorkerBye(reason="no such operation", failed=True)] == bench.sends
    assert bench.exit().code == 1


def test_a_fatal_error_ends_the_worker_without_a_flush_after_its_results_are_seen():
    bench = Bench()
    bench.give(1, 2)
    bench.feed(ev.SlicesRan([], [(1, 3, 0, "fatal", None, None)], 10, fatal="the pipeline broke"))
    bench.feed(ev.TookBack([2]))
    assert bench.exit() is None
    bench.tell(ResultsSeen(seq=2))

    assert bench.exit().code == 1
    assert bench.exit().reason == "the pipeline broke"


def test_log_levels_are_set_when_they_change():
    bench = Bench()
    bench.tell(WorkerSettings(log_level="debug"))
    assert [ev.SetLogLevel("debug")] == bench.actions
    bench.tell(WorkerSettings(log_level="debug"))
    assert bench.actions == []


def test_it_wakes_for_its_beats_only():
    bench = Bench()
    bench.give(1, 2)

    assert bench.machine.wake_at() == pytest.approx(bench.now + 1.0)

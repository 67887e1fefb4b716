import attrs
import pytest

from tsd.core.cluster.node import (
    Exit,
    Exited,
    FromMaster,
    NodeMachine,
    NodeSettings,
    NotSent,
    Prepare,
    Prepared,
    Signal,
    Start,
    Started,
    StartFailed,
    Terminate,
    Tick,
)
from tsd.core.hellos import LinkChanged
from tsd.core.messages import (
    Again,
    Alive,
    NodeBeat,
    NodeHello,
    NodeWanted,
    NodeWelcome,
    ProcessExit,
    ProcessSpec,
    Refused,
)
from tsd.core.records import ProcessRole
from tsd.ids import parse_process_id

SETTINGS = NodeSettings(node_id="a", hostname="h", pid=5, slots=4, shutdown_timeout_s=60.0)


def spec(proc_id="x/1/c"):
    number = parse_process_id(proc_id).number
    role = ProcessRole.WORKER if number else ProcessRole.CONTROLLER
    return ProcessSpec(
        proc_id=proc_id, role=role, ex_id="x", job_id="j", generation=1, number=number, dial=""
    )


def exit_of(proc_id="x/1/c", **how):
    return ProcessExit(**{"proc_id": proc_id, "ex_id": "x", "exit_code": None, "signal": 9, **how})


class Daemon:
    """A node machine on a clock of its own."""

    def __init__(self, *, is_welcome=True):
        self.machine = NodeMachine(settings=SETTINGS)
        self.now = 100.0
        self.actions = []
        self.sends = []
        self.revision = 0
        self.feed(Tick())
        if is_welcome:
            self.hear(NodeWelcome(version="", beat_interval_s=1.0))
        self.forget()

    def forget(self):
        self.actions.clear()
        self.sends.clear()

    def feed(self, event):
        effects = self.machine.handle(event, now=self.now)
        self.actions += effects.actions
        self.sends += effects.sends
        return effects

    def hear(self, message):
        return self.feed(FromMaster(message=message))

    def want(self, *proc_ids, endings=None, exits_seen=()):
        self.revision += 1
        return self.hear(
            NodeWanted(
                revision=self.revision,
                processes=tuple(spec(each) for each in proc_ids),
                endings=endings or {},
                exits_seen=exits_seen,
            )
        )

    def run(self, *proc_ids):
        self.want(*proc_ids)
        for number, proc_id in enumerate(proc_ids):
            self.feed(Started(proc_id=proc_id, pid=10 + number))
        self.forget()

    def wait(self, seconds):
        """Let time pass, with a master that answers."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.machine.wake_at())
            self.feed(Tick())
            if not any(isinstance(each, Exit) for each in self.actions):
                self.hear(Alive())


def hello_times(daemon, seconds):
    """When it says hello within so much time from now, in whole seconds."""
    began, times = daemon.now, []
    while daemon.machine.wake_at() <= began + seconds:
        daemon.now = daemon.machine.wake_at()
        times += [
            round(daemon.now - began) for each in daemon.feed(Tick()).sends if isinstance(each, NodeHello)
        ]
    return times


def test_it_says_hello_ever_more_seldom_until_it_is_welcomed():
    daemon = Daemon(is_welcome=False)

    assert hello_times(daemon, 130) == [1, 3, 7, 15, 31, 61, 91, 121]

    daemon.forget()
    daemon.hear(NodeWelcome(version="", beat_interval_s=0.5))
    daemon.forget()
    daemon.now = daemon.machine.wake_at()
    daemon.feed(Tick())

    assert [type(each) for each in daemon.sends] == [NodeBeat]
    assert daemon.machine.wake_at() == pytest.approx(daemon.now + 0.5)


def test_while_the_link_is_down_one_hello_waits_and_when_it_comes_up_a_fresh_one_is_said():
    """Otherwise a master that was away for half an hour gets hundreds, and believes what they say."""
    daemon = Daemon(is_welcome=False)
    daemon.feed(LinkChanged(is_up=False))
    assert len(hello_times(daemon, 1800)) == 1

    daemon.forget()
    daemon.feed(LinkChanged(is_up=True))
    assert [type(each) for each in daemon.sends] == [NodeHello]
    assert hello_times(daemon, 10) == [1, 3, 7]


def test_a_hello_that_waited_for_a_moment_only_is_not_said_twice():
    daemon = Daemon(is_welcome=False)
    daemon.feed(LinkChanged(is_up=False))
    daemon.wait(1.0)
    assert [type(each) for each in daemon.sends] == [NodeHello]

    daemon.forget()
    daemon.feed(LinkChanged(is_up=True))

    assert daemon.sends == []
    assert hello_times(daemon, 4) == [1, 3]


def test_a_node_that_is_welcome_says_nothing_when_its_link_comes_and_goes():
    daemon = Daemon()

    daemon.feed(LinkChanged(is_up=False))
    daemon.feed(LinkChanged(is_up=True))

    assert daemon.sends == []


def test_it_says_hello_again_when_asked():
    daemon = Daemon()
    daemon.run("x/1/c")

    daemon.hear(Again())

    (hello,) = daemon.sends
    assert isinstance(hello, NodeHello)
    assert [run.proc_id for run in hello.runs] == ["x/1/c"]


def test_it_says_hello_again_when_the_master_is_silent_and_ends_nothing():
    daemon = Daemon()
    daemon.run("x/1/c", "x/1/w1.1")

    for _ in range(600):
        daemon.now = daemon.machine.wake_at()
        daemon.feed(Tick())

    assert isinstance(daemon.sends[-1], NodeHello)
    assert daemon.actions == []
    assert not daemon.machine.is_welcome


def test_it_starts_what_is_wanted_once():
    daemon = Daemon()

    daemon.want("x/1/c")
    daemon.want("x/1/c")

    assert daemon.actions == [Start(spec=spec())]
    assert isinstance(daemon.sends[-1], NodeBeat)
    assert (daemon.sends[-1].revision, daemon.sends[-1].runs[0].pid) == (2, 0)


def test_it_takes_no_list_that_is_older_than_the_last():
    daemon = Daemon()
    old = NodeWanted(revision=1, processes=(spec("x/1/c"),), endings={})
    daemon.revision = 5
    daemon.want()

    daemon.hear(old)

    assert daemon.actions == []


def test_it_reports_a_process_that_started_and_one_that_ended_at_once():
    daemon = Daemon()
    daemon.want("x/1/c")
    daemon.forget()

    daemon.feed(Started(proc_id="x/1/c", pid=77))
    assert daemon.sends[-1].runs[0].pid == 77

    daemon.feed(Exited(exit=exit_of()))
    assert (daemon.sends[-1].runs, daemon.sends[-1].exits) == ((), (exit_of(),))


def test_an_exit_is_repeated_until_it_was_seen_and_the_process_is_not_started_again():
    daemon = Daemon()
    daemon.run("x/1/c")
    daemon.feed(Exited(exit=exit_of()))
    daemon.want("x/1/c")
    assert daemon.sends[-1].exits == (exit_of(),)

    daemon.want("x/1/c", exits_seen=("x/1/c",))
    assert daemon.sends[-1].exits == ()
    daemon.want("x/1/c")

    assert daemon.actions == []


def test_a_start_that_failed_is_an_exit_with_the_reason():
    daemon = Daemon()
    daemon.want("x/1/c")

    daemon.feed(StartFailed(proc_id="x/1/c", reason="no fork server"))

    started = exit_of(signal=None, doing="it was to be started", detail="no fork server")
    assert daemon.sends[-1].exits == (started,)


def test_what_is_in_neither_list_is_killed_at_once():
    daemon = Daemon()
    daemon.run("x/1/c", "x/1/w1.1")

    daemon.want("x/1/c")

    assert daemon.actions == [Signal(proc_id="x/1/w1.1", signal="kill")]


def test_what_ends_is_told_to_drain_and_killed_after_its_grace():
    daemon = Daemon()
    daemon.run("x/1/w1.1")
    daemon.want(endings={"x/1/w1.1": 5.0})
    assert daemon.actions == [Signal(proc_id="x/1/w1.1", signal="term")]
    daemon.forget()

    daemon.wait(4.9)
    daemon.want(endings={"x/1/w1.1": 100.0})
    assert daemon.actions == []
    daemon.wait(0.2)

    assert daemon.actions == [Signal(proc_id="x/1/w1.1", signal="kill")]


def test_a_process_that_is_not_wanted_before_it_runs_is_killed_when_it_does():
    daemon = Daemon()
    daemon.want("x/1/w1.1")
    daemon.want()
    assert daemon.actions == [Start(spec=spec("x/1/w1.1"))]
    assert daemon.sends[-1].runs[0].proc_id == "x/1/w1.1"

    daemon.feed(Started(proc_id="x/1/w1.1", pid=4))

    assert daemon.actions[-1] == Signal(proc_id="x/1/w1.1", signal="kill")


def test_a_node_without_processes_leaves_at_once():
    daemon = Daemon()

    daemon.feed(Terminate())

    assert daemon.actions == [Exit(code=0)]
    assert daemon.sends[-1].draining


def test_a_node_that_is_told_to_end_lets_its_processes_drain():
    """Cluster 20."""
    daemon = Daemon()
    daemon.run("x/1/c", "x/1/w1.1")
    daemon.feed(Terminate())
    assert [(each.proc_id, each.signal) for each in daemon.actions] == [
        ("x/1/c", "term"),
        ("x/1/w1.1", "term"),
    ]
    assert daemon.sends[0].draining
    daemon.want("x/1/c", "x/1/w1.1", "x/1/w2.1")
    daemon.forget()

    daemon.feed(Exited(exit=exit_of("x/1/c", exit_code=0, signal=None)))
    daemon.feed(Exited(exit=exit_of("x/1/w1.1", exit_code=0, signal=None)))

    assert daemon.actions == [Exit(code=0)]
    assert [each.proc_id for each in daemon.sends[-1].exits] == ["x/1/c", "x/1/w1.1"]


def test_what_does_not_drain_in_time_is_killed():
    """Cluster 20."""
    daemon = Daemon()
    daemon.run("x/1/w1.1")
    daemon.feed(Terminate())
    daemon.wait(62.9)
    daemon.forget()

    daemon.wait(0.2)
    assert daemon.actions == [Signal(proc_id="x/1/w1.1", signal="kill")]
    daemon.feed(Exited(exit=exit_of("x/1/w1.1")))

    assert daemon.actions[-1] == Exit(code=0)


def test_it_leaves_even_if_a_process_can_not_be_killed():
    daemon = Daemon()
    daemon.run("x/1/w1.1")
    daemon.feed(Terminate())

    daemon.wait(70)

    assert daemon.actions[-1] == Exit(code=0)
    assert daemon.feed(Tick()).actions == ()


@pytest.mark.parametrize("events", [[Terminate(hurry=True)], [Terminate(), Terminate()]])
def test_a_second_signal_hurries(events):
    daemon = Daemon()
    daemon.run("x/1/w1.1")

    for event in events:
        daemon.feed(event)

    assert daemon.actions[-1] == Signal(proc_id="x/1/w1.1", signal="kill")


def test_a_refused_node_kills_what_it_runs_and_leaves_with_the_reason():
    daemon = Daemon()
    daemon.run("x/1/c")

    daemon.hear(Refused(reason="node id a is taken"))
    assert daemon.actions == [Signal(proc_id="x/1/c", signal="kill")]
    daemon.feed(Exited(exit=exit_of()))

    assert daemon.actions[-1].reason == "node id a is taken"
    assert daemon.actions[-1].code != 0


def test_words_about_processes_that_are_not_there_change_nothing():
    daemon = Daemon()

    for event in (
        Started(proc_id="x/1/c", pid=3),
        StartFailed(proc_id="x/1/c", reason="?"),
        Exited(exit=exit_of()),
        NotSent(message=NodeBeat(revision=0, runs=(), exits=())),
    ):
        assert attrs.asdict(daemon.feed(event)) == {"actions": (), "sends": ()}


def bundled(proc_id="x/1/c"):
    return attrs.evolve(spec(proc_id), assets=("a" * 40,))


def wanted(revision, *specs, endings=None):
    return NodeWanted(revision=revision, processes=specs, endings=endings or {})


def test_a_process_with_bundles_is_started_when_they_are_there():
    daemon = Daemon()

    daemon.hear(wanted(1, bundled()))
    assert daemon.actions == [Prepare(spec=bundled())]
    assert [run.pid for run in daemon.sends[-1].runs] == [0]
    daemon.hear(wanted(2, bundled()))
    daemon.feed(Prepared(proc_id="x/1/c"))
    daemon.feed(Prepared(proc_id="x/1/c"))

    assert daemon.actions == [Prepare(spec=bundled()), Start(spec=bundled())]


def test_bundles_that_can_not_be_had_are_an_exit_with_the_reason():
    daemon = Daemon()
    daemon.hear(wanted(1, bundled()))

    daemon.feed(StartFailed(proc_id="x/1/c", reason="no such asset"))

    started = exit_of(signal=None, doing="it was to be started", detail="no such asset")
    assert daemon.sends[-1].exits == (started,)
    assert daemon.machine.processes == ()


def test_a_process_that_is_not_wanted_any_more_ends_while_its_bundles_are_fetched():
    for message in (wanted(2), wanted(2, endings={"x/1/c": 5.0})):
        daemon = Daemon()
        daemon.hear(wanted(1, bundled()))
        daemon.forget()

        daemon.hear(message)
        (ended,) = daemon.sends[-1].exits
        daemon.feed(Prepared(proc_id="x/1/c"))
        daemon.feed(StartFailed(proc_id="x/1/c", reason="late"))

        assert ended.detail == "it was told to end before it had begun"
        assert daemon.actions == []
        assert daemon.machine.processes == ()


def test_a_node_that_ends_does_not_wait_for_bundles():
    daemon = Daemon()
    daemon.hear(wanted(1, bundled()))
    daemon.forget()

    daemon.feed(Terminate())

    assert [type(action) for action in daemon.actions] == [Exit]

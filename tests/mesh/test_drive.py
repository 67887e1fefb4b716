"""The loop around a machine."""

import attrs
import pytest
import trio

from tsd.core.execution.events import Effects, Exit, NotSent, SetLogLevel
from tsd.core.messages import Alive
from tsd.mesh.drive import Driver, perform_effects
from tsd.mesh.endpoint import Sent


@attrs.define
class Alarms:
    """A machine that only notes when it was fed what, and wants ticks at given times."""

    wanted: list[float]
    fed: list = attrs.field(factory=list)

    def handle(self, event, *, now):
        self.fed.append((event, round(now - self.start, 3)))
        self.wanted = [at for at in self.wanted if at > now]
        return ()

    def wake_at(self):
        return min(self.wanted, default=None)

    start: float = attrs.field(factory=trio.current_time)


@pytest.fixture
async def drive(nursery):
    def make(*offsets):
        start = trio.current_time()
        machine = Alarms([start + offset for offset in offsets])
        driver = Driver(machine, tick="tick", perform=lambda effects: None)
        nursery.start_soon(driver.keep_time)
        return machine, driver

    return make


async def test_ticks_come_when_they_are_wanted(autojump_clock, drive):
    machine, _ = drive(1.0, 2.5)
    await trio.sleep(10)

    assert machine.fed == [("tick", 0.0), ("tick", 1.0), ("tick", 2.5)]


async def test_an_event_can_bring_the_next_tick_forward(autojump_clock, drive):
    machine, driver = drive(5.0)
    await trio.sleep(1)
    machine.wanted.append(machine.start + 2.0)
    driver.feed("news")
    await trio.sleep(10)

    assert machine.fed == [("tick", 0.0), ("news", 1.0), ("tick", 2.0), ("tick", 5.0)]


class Scripted:
    """A machine that answers each event from a script."""

    def __init__(self, script):
        self.script = script
        self.fed = []

    def handle(self, event, *, now):
        self.fed.append(event)
        return self.script.get(event, Effects([], []))

    def wake_at(self):
        return None


def scripted(script, *, send=lambda peer, message: Sent.SENT, act=lambda action: None):
    machine = Scripted(script)
    driver = Driver(
        machine,
        tick="tick",
        perform=lambda effects: perform_effects(effects, driver, send=send, act=act),
    )
    return machine, driver


async def test_what_was_not_sent_comes_back_before_anything_else():
    answers = {"a": Sent.FULL, "b": Sent.UNREACHABLE, "c": Sent.SENT}
    script = {"go": Effects([(peer, Alive()) for peer in answers], [])}
    machine, driver = scripted(script, send=lambda peer, message: answers[peer])
    driver.feed("go")
    driver.feed("next")

    assert machine.fed == [
        "go",
        NotSent("a", Alive(), unreachable=False),
        NotSent("b", Alive(), unreachable=True),
        "next",
    ]


async def test_an_action_may_feed_what_is_handled_after_it():
    order = []
    script = {"go": Effects([], [SetLogLevel("debug"), SetLogLevel("info")])}

    def act(action):
        order.append(action.level)
        driver.feed(action.level)

    machine, driver = scripted(script, act=act)
    driver.feed("go")

    assert order == ["debug", "info"]
    assert machine.fed == ["go", "debug", "info"]


async def test_nothing_is_fed_or_done_after_the_end():
    done = []
    script = {"go": Effects([], [SetLogLevel("a"), Exit(3, "over"), SetLogLevel("b")])}
    machine, driver = scripted(script, act=lambda action: done.append(action.level))
    driver.feed("go")
    driver.feed("late")
    end = await driver.wait_end()

    assert (end.code, end.reason) == (3, "over")
    assert done == ["a"]
    assert machine.fed == ["go"]

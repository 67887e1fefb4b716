"""Who can not reach whom says so, soon and again and again."""

import pytest
import trio

from tests.support.mesh import CODEC
from tsd.mesh.memory import MemoryNetwork
from tsd.mesh.reach import Reach


class Watch:
    """A watched link to an address, and what was said of it."""

    def __init__(self, dialer, address):
        self.said = []
        self.reach = Reach(
            dialer,
            address,
            on_absent=lambda reason, seconds: self.said.append((reason, seconds)),
            on_present=lambda seconds: self.said.append(("back", seconds)),
        )


@pytest.fixture
async def watch(nursery):
    network = MemoryNetwork()
    async with network.dial("nowhere", identity="w1", codec=CODEC) as dialer:
        watch = Watch(dialer, "tcp://127.0.0.1:1")
        watch.network = network
        nursery.start_soon(watch.reach.watch)
        yield watch


async def test_absence_is_told_after_3_seconds_and_every_30_and_the_end_of_it_too(autojump_clock, watch):
    await trio.sleep(2.9)
    assert watch.said == []

    await trio.sleep(61)
    watch.reach.note(is_present=True)
    await trio.sleep(1)

    assert [round(seconds) for _, seconds in watch.said] == [3, 33, 63, 64]
    assert "nothing listens there" in watch.said[0][0]
    assert watch.said[-1][0] == "back"


async def test_a_link_that_comes_soon_is_no_news(autojump_clock, watch):
    await trio.sleep(2)
    watch.reach.note(is_present=True)
    await trio.sleep(100)
    assert watch.said == []

    watch.reach.note(is_present=False)
    await trio.sleep(4)
    assert [round(seconds) for _, seconds in watch.said] == [3]


async def test_a_listener_that_does_not_answer_is_told_apart(autojump_clock, watch):
    async with watch.network.listen("nowhere", codec=CODEC):
        await trio.sleep(4)

    assert watch.said[0][0] == "it is connected, and does not answer"


async def test_a_name_that_does_not_resolve_is_told_with_the_error_of_the_resolver():
    network = MemoryNetwork()
    async with network.dial("nowhere", identity="w1", codec=CODEC) as dialer:
        reason = await Watch(dialer, "tcp://no-such-host.invalid:1").reach._reason()

    assert "no-such-host.invalid does not resolve" in reason

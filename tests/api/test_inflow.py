"""Bodies that come slowly, by a clock of our own."""

import pytest
import trio

from tsd.errors import NotReady
from tsd.master.api.framing import BodyTooLarge, BodyTooSlow
from tsd.master.api.gate import Gate
from tsd.master.api.inflow import GRACE_S, RATE_MIN, Inflow


def chunk(size, *, more=True):
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


class Client:
    """Sends pieces of `size` bytes, one each `every_s`."""

    def __init__(self, *, size, every_s, count):
        self.size, self.every_s, self.left = size, every_s, count

    async def receive(self):
        if self.left == 0:
            return {"type": "http.disconnect"}
        await trio.sleep(self.every_s)
        self.left -= 1
        return chunk(self.size, more=self.left > 0)


async def read(inflow):
    """What the application gets as a body."""
    size, is_last = 0, False
    while not is_last:
        message = await inflow.receive()
        size += len(message["body"])
        is_last = not message["more_body"]
    return size


async def test_a_byte_a_second_is_not_waited_for(autojump_clock):
    inflow = Inflow(Client(size=1, every_s=1.0, count=1000).receive, size_max=10_000)
    began = trio.current_time()
    await read(inflow)

    assert trio.current_time() - began < GRACE_S + 0.1
    with pytest.raises(BodyTooSlow):
        inflow.check()


async def test_what_comes_after_a_body_was_given_up_is_dropped(autojump_clock):
    inflow = Inflow(Client(size=1, every_s=1.0, count=30).receive, size_max=10_000)
    await read(inflow)

    assert await inflow.receive() == {"type": "http.disconnect"}


async def test_a_large_body_may_take_its_time(autojump_clock):
    """Twice as fast as it must be, and far longer than the grace."""
    inflow = Inflow(Client(size=RATE_MIN, every_s=0.5, count=200).receive, size_max=10_000_000)

    assert await read(inflow) == 200 * RATE_MIN
    inflow.check()


async def test_a_client_that_waits_for_a_long_answer_is_not_too_slow(autojump_clock):
    """Only the body is timed; a blocking stop may take minutes."""
    inflow = Inflow(Client(size=10, every_s=0.1, count=1).receive, size_max=100)
    await read(inflow)
    with trio.move_on_after(1000):
        await trio.sleep(999)

    assert await inflow.receive() == {"type": "http.disconnect"}
    inflow.check()


async def test_no_more_is_kept_than_the_limit(autojump_clock):
    inflow = Inflow(Client(size=1000, every_s=0.01, count=50).receive, size_max=2500)

    assert await read(inflow) == 2000
    with pytest.raises(BodyTooLarge, match="2500"):
        inflow.check()


def test_a_gate_lets_so_many_in_and_more_once_some_have_left():
    gate = Gate(1)
    with gate.passed("/jobs"):
        with pytest.raises(NotReady, match="try again"), gate.passed("/jobs"):
            pass
        with gate.passed("/health"):
            pass
    with gate.passed("/jobs"):
        assert gate.count == 1

    assert gate.count == 0

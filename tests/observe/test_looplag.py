"""How late the loop is."""

import time

import trio

from tests.support.waiting import wait_for
from tsd.observe.looplag import PAUSE_S, LoopLag


async def test_a_loop_that_was_held_shows_it():
    lag = LoopLag()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        await wait_for(lambda: lag.histogram().count == 1, "the first look")
        time.sleep(2 * PAUSE_S)  # holds the loop longer than the pause between two looks
        await wait_for(lambda: lag.histogram().count >= 2, "the next look")
        nursery.cancel_scope.cancel()

    assert lag.histogram().sum >= PAUSE_S / 2

import pytest
import trio

from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.errors import NotReady
from tsd.master.watches import Watches


async def test_a_watch_ends_with_the_first_status_that_is_waited_for(nursery, autojump_clock):
    watches = Watches()
    with watches.watch("x") as watch:

        async def tell():
            for status in (Status.STOPPING, Status.STOPPED):
                await trio.sleep(1)
                watches.tell("y", Status.FAILED)
                watches.tell("x", status)

        nursery.start_soon(tell)

        assert await watch.until(TERMINAL_STATUSES, now=Status.RUNNING) is Status.STOPPED


async def test_a_status_that_came_between_the_watch_and_the_wait_is_not_missed():
    watches = Watches()
    with watches.watch("x") as watch:
        watches.tell("x", Status.COMPLETED)

        assert await watch.until(TERMINAL_STATUSES, now=Status.RUNNING) is Status.COMPLETED


async def test_a_status_that_has_passed_before_the_wait_is_not_missed():
    """Somebody resumes what another one pauses, who is still reading from the store meanwhile."""
    watches = Watches()
    with watches.watch("x") as watch:
        watches.tell("x", Status.PAUSED)
        watches.tell("x", Status.RUNNING)

        assert await watch.until({Status.PAUSED}, now=Status.RUNNING) is Status.PAUSED


async def test_a_status_that_passed_before_the_watch_began_anew_does_not_count(autojump_clock):
    watches = Watches()
    with watches.watch("x") as watch:
        watches.tell("x", Status.PAUSED)
        watches.tell("x", Status.RUNNING)
        watch.begin_anew()

        with trio.move_on_after(1) as waiting:
            await watch.until({Status.PAUSED}, now=Status.RUNNING)
        assert await watch.until({Status.RUNNING}, now=Status.PAUSED) is Status.RUNNING

    assert waiting.cancelled_caught


async def test_a_status_that_holds_already_is_not_waited_for():
    with Watches().watch("x") as watch:
        assert await watch.until({Status.PAUSED}, now=Status.PAUSED) is Status.PAUSED


async def test_whoever_waits_is_told_when_the_master_ends(nursery, autojump_clock):
    watches = Watches()

    async def close():
        await trio.sleep(1)
        watches.close()

    nursery.start_soon(close)
    with watches.watch("x") as watch, pytest.raises(NotReady, match="running"):
        await watch.until(TERMINAL_STATUSES, now=Status.RUNNING)
    with watches.watch("x") as late, pytest.raises(NotReady):
        await late.until(TERMINAL_STATUSES, now=Status.RUNNING)


async def test_whoever_waits_for_nodes_looks_again_when_one_changes(nursery, autojump_clock):
    watches = Watches()
    empty = []
    looks = []

    async def change():
        for node_id in ("a", "b"):
            await trio.sleep(1)
            empty.append(node_id)
            watches.tell_of_nodes()

    def is_empty():
        looks.append(trio.current_time())
        return "b" in empty

    nursery.start_soon(change)
    await watches.until_nodes(is_empty)

    assert len(looks) == 3


async def test_whoever_waits_for_nodes_is_told_when_the_master_ends(nursery, autojump_clock):
    watches = Watches()

    async def end():
        await trio.sleep(1)
        watches.close()

    nursery.start_soon(end)
    with pytest.raises(NotReady):
        await watches.until_nodes(lambda: False)
    await watches.until_nodes(lambda: True)

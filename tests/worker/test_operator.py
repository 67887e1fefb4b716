"""The operation thread of a worker: order, taking back, flushing, and how it ends."""

import random
import threading

import pytest
import trio

from tsd.core.kinds import KINDS
from tsd.core.messages import WorkerBye
from tsd.errors import Fatal
from tsd.mesh.codec import BODY_BYTES_MAX, Codec
from tsd.observe.blackbox import BlackBox
from tsd.operations.context import Interrupted
from tsd.operations.outcome import SliceOutcome
from tsd.worker.operator import ChainFlushed, Closed, Crashed, Interruption, Kept, Opened, Operator, Ran

DONE = SliceOutcome(state="completed")


class FakeChain:
    """A chain whose slices do what `on_run` says."""

    wants_finished = True
    records_read = 0

    def __init__(self, on_run=lambda slice_: DONE, on_initialize=lambda: None, on_flush=lambda: DONE):
        self.on_run = on_run
        self.on_initialize = on_initialize
        self.on_flush = on_flush
        self.may_hold = False
        self.runs_user_code = True
        self.oldest = None
        self.ran = []
        self.told = []
        self.is_shut_down = False

    def initialize(self):
        self.on_initialize()

    def run(self, slice_):
        self.ran.append(slice_.slicer_order)
        return self.on_run(slice_)

    def finished(self, slice_id):
        self.told.append(slice_id)

    @property
    def slice_number(self):
        return len(self.ran)

    def held_since(self):
        return self.oldest

    def flush(self):
        return self.on_flush()

    def shutdown(self):
        self.is_shut_down = True


class Running:
    """An operator with what it said so far."""

    def __init__(self, chain, box):
        self.said = []
        self._news = trio.Event()
        self.operator = Operator(ex_id="ex", make_chain=lambda: chain, box=box, on_words=self._wake)

    def _wake(self):
        self._news.set()

    async def hear(self, condition):
        with trio.fail_after(20):
            while not condition(self.said):
                await self._news.wait()
                self._news = trio.Event()
                self.said += self.operator.words()
        return self.said

    async def hear_first(self, kind):
        said = await self.hear(lambda said: any(isinstance(word, kind) for word in said))
        return next(word for word in said if isinstance(word, kind))

    async def close(self):
        self.operator.close()
        return await self.hear_first(Closed)


@pytest.fixture
def box():
    box = BlackBox()
    yield box
    box.close()


def item(number):
    return (number, 0, number, "{}", None, None)


def numbers(said):
    return [word.number for word in said if isinstance(word, Ran)]


async def test_slices_run_in_order_and_then_the_chain_is_shut_down(box):
    chain = FakeChain()
    running = Running(chain, box)
    running.operator.start()
    running.operator.add(map(item, range(100)))
    await running.close()

    assert numbers(running.said) == list(range(100))
    assert isinstance(running.said[0], Opened)
    assert isinstance(running.said[-1], Closed)
    assert chain.is_shut_down


async def test_a_chain_that_does_not_open_says_why_and_runs_nothing(box):
    def fail():
        raise RuntimeError("no such table")

    chain = FakeChain(on_initialize=fail)
    running = Running(chain, box)
    running.operator.add([item(1)])
    running.operator.start()
    opened = await running.hear_first(Opened)
    await running.close()

    assert "no such table" in opened.error
    assert chain.ran == []
    assert chain.is_shut_down


async def test_why_a_chain_does_not_open_fits_into_a_message(box):
    """Else the worker died of it, and was started again for ever instead of failing the execution."""

    def fail():
        raise RuntimeError("no such row: " + "x" * BODY_BYTES_MAX)

    running = Running(FakeChain(on_initialize=fail), box)
    running.operator.start()
    opened = await running.hear_first(Opened)
    await running.close()

    assert "no such row" in opened.error
    assert Codec(KINDS).encode(WorkerBye(reason=opened.error, failed=True))


async def test_a_slice_is_either_run_or_taken_back(box):
    """Whatever the timing, each slice is seen exactly once on one of the two ways out."""
    rng = random.Random(3)
    chain = FakeChain()
    running = Running(chain, box)
    running.operator.start()
    taken = []
    for start in range(0, 20_000, 20):
        running.operator.add(map(item, range(start, start + 20)))
        if rng.random() < 0.5:
            taken += [entry[0] for entry in running.operator.take_back(rng.randint(0, 15))]
        if rng.random() < 0.2:
            await trio.sleep(0)
    await running.close()

    assert taken
    assert numbers(running.said)
    assert sorted(taken + numbers(running.said)) == list(range(20_000))


async def test_the_newest_are_taken_back_first(box):
    gate = threading.Event()
    running = Running(FakeChain(lambda _: gate.wait(20) and DONE), box)
    running.operator.start()
    running.operator.add(map(item, range(5)))
    await wait_running(running, 0)
    taken = running.operator.take_back(2)
    running.operator.drop([2])
    gate.set()
    await running.close()

    assert [entry[0] for entry in taken] == [4, 3]
    assert numbers(running.said) == [0, 1]


async def wait_running(running, number):
    with trio.fail_after(20):
        while running.operator.running is None or running.operator.running[0] != number:
            await trio.sleep(0.001)


async def test_the_black_box_names_the_slice_in_work_only(box):
    seen = []

    def look(_):
        seen.append(box.running)
        return DONE

    running = Running(FakeChain(look), box)
    running.operator.start()
    running.operator.add(map(item, (7, 8)))
    await running.close()

    assert seen == [7, 8]
    assert box.running is None


async def test_hurry_puts_a_waiting_slice_down(box):
    """B5: a slice that a stop cut short is neither completed nor failed."""
    running = Running(FakeChain(lambda _: running.operator.sleep(600)), box)
    running.operator.start()
    running.operator.add(map(item, (1, 2)))
    await wait_running(running, 1)
    running.operator.hurry()
    await running.close()

    assert numbers(running.said) == []
    assert [word.number for word in running.said if isinstance(word, Interruption)] == [1]
    assert box.running is None


async def test_nothing_runs_after_a_fatal_outcome(box):
    fatal = SliceOutcome(state="error", error=str(Fatal("gone")), is_fatal=True)
    running = Running(FakeChain(lambda _: fatal), box)
    running.operator.add(map(item, (1, 2, 3)))
    running.operator.start()
    await running.hear_first(Ran)

    assert [entry[0] for entry in running.operator.take_back(-1)] == [3, 2]
    await running.close()
    assert numbers(running.said) == [1]


async def test_user_code_that_ends_the_thread_is_a_crash_within_its_slice(box):
    def leave(_):
        raise SystemExit(3)

    running = Running(FakeChain(leave), box)
    running.operator.add([item(9)])
    running.operator.start()
    crashed = await running.hear_first(Crashed)

    assert "SystemExit: 3" in crashed.error
    assert box.running == 9


async def test_flush_follows_what_waits(box):
    running = Running(FakeChain(), box)
    running.operator.start()
    running.operator.add(map(item, (1, 2)))
    running.operator.flush()
    flushed = await running.hear_first(ChainFlushed)

    assert flushed.outcome is DONE
    assert numbers(running.said) == [1, 2]
    await running.close()


async def test_slices_that_were_taken_in_are_told_to_the_chain(box):
    chain = FakeChain()
    running = Running(chain, box)
    running.operator.start()
    running.operator.tell_finished(["a", "b"])
    await running.close()

    assert chain.told == ["a", "b"]


async def test_the_thread_wakes_the_loop_once_until_it_looks(box):
    wakes = []
    operator = Operator(ex_id="ex", make_chain=FakeChain, box=box, on_words=lambda: wakes.append(1))
    operator.add(map(item, range(1000)))
    operator.close()
    operator.start()
    await trio.to_thread.run_sync(operator._thread.join, 20)

    assert len(numbers(operator.words())) == 1000
    assert len(wakes) == 1


# --- what operations hold back


def held_at(chain, by_order):
    """The oldest slice that is held when the slice of that order has been run."""

    def run(slice_):
        chain.oldest = by_order.get(slice_.slicer_order)
        return DONE

    chain.may_hold = True
    chain.on_run = run
    return chain


async def test_a_slice_is_kept_until_nothing_of_it_and_of_those_before_is_held(box):
    chain = held_at(FakeChain(), {1: 1, 2: 1, 3: 3, 4: None})
    running = Running(chain, box)
    running.operator.start()
    running.operator.add(map(item, (1, 2, 3, 4)))
    await running.close()

    told = [(type(word).__name__, word.number) for word in running.said if isinstance(word, Ran | Kept)]
    assert told == [
        ("Kept", 1),
        ("Kept", 2),
        ("Ran", 1),
        ("Ran", 2),
        ("Kept", 3),
        ("Ran", 3),
        ("Ran", 4),
    ]


async def test_the_time_of_a_kept_slice_is_told_once(box):
    chain = held_at(FakeChain(), {1: 1})
    running = Running(chain, box)
    running.operator.start()
    running.operator.add([item(1), item(2)])
    await running.close()
    first = next(word for word in running.said if isinstance(word, Ran) and word.number == 1)
    assert first.busy_us == 0


async def test_a_slice_that_fails_ends_at_once_and_those_before_stay_kept(box):
    chain = held_at(FakeChain(), {1: 1, 2: 1})
    bad = SliceOutcome(state="error", error="no")
    keep = chain.on_run
    chain.on_run = lambda slice_: (keep(slice_), bad)[1] if slice_.slicer_order == 2 else keep(slice_)
    running = Running(chain, box)
    running.operator.start()
    running.operator.add([item(1), item(2)])
    await running.close()
    assert [(w.number, w.outcome.state) for w in running.said if isinstance(w, Ran)] == [(2, "error")]


async def test_a_flush_ends_what_is_kept_before_it_is_answered(box):
    chain = held_at(FakeChain(), {1: 1, 2: 1})

    def flush():
        chain.oldest = None
        return DONE

    chain.on_flush = flush
    running = Running(chain, box)
    running.operator.start()
    running.operator.add([item(1), item(2)])
    running.operator.flush()
    await running.hear_first(ChainFlushed)
    assert [type(word) for word in running.said[-3:]] == [Ran, Ran, ChainFlushed]
    assert numbers(running.said) == [1, 2]
    await running.close()


@pytest.mark.parametrize("fault", ["raises", "holds on"])
async def test_what_a_flush_could_not_release_is_in_error(box, fault):
    chain = held_at(FakeChain(), {1: 1, 2: 1})
    chain.on_flush = lambda: SliceOutcome(state="error", error="disk full") if fault == "raises" else DONE
    running = Running(chain, box)
    running.operator.start()
    running.operator.add([item(1), item(2)])
    running.operator.flush()
    flushed = await running.hear_first(ChainFlushed)
    ended = [word for word in running.said if isinstance(word, Ran)]
    assert [(word.number, word.outcome.state) for word in ended] == [(1, "error"), (2, "error")]
    assert flushed.outcome.state == "error"
    reason = "disk full" if fault == "raises" else "did not release"
    assert all(reason in word.outcome.error for word in ended)
    await running.close()


async def test_a_flush_that_is_cut_short_gives_back_what_is_kept(box):
    chain = held_at(FakeChain(), {1: 1})

    def flush():
        raise Interrupted("stopping")

    chain.on_flush = flush
    running = Running(chain, box)
    running.operator.start()
    running.operator.add([item(1)])
    running.operator.flush()
    await running.hear_first(ChainFlushed)
    assert [word.number for word in running.said if isinstance(word, Interruption)] == [1]
    await running.close()


async def test_dead_letters_of_a_flush_go_with_the_last_slice_that_it_released(box):
    chain = held_at(FakeChain(), {1: 1, 2: 1})

    def flush():
        chain.oldest = None
        return SliceOutcome(state="completed", letters=[b"letter"])

    chain.on_flush = flush
    running = Running(chain, box)
    running.operator.start()
    running.operator.add([item(1), item(2)])
    running.operator.flush()
    flushed = await running.hear_first(ChainFlushed)
    ended = [word for word in running.said if isinstance(word, Ran)]
    assert [word.outcome.letters for word in ended] == [None, [b"letter"]]
    assert flushed.outcome.letters is None
    await running.close()


async def test_an_operation_that_can_not_say_what_it_holds_fails_slices_and_not_the_worker(box):
    chain = held_at(FakeChain(), {1: 1})

    def ask():
        if len(chain.ran) > 1:
            raise LookupError("no idea")
        return chain.oldest

    chain.held_since = ask
    running = Running(chain, box)
    running.operator.start()
    running.operator.add([item(1), item(2)])
    running.operator.flush()
    flushed = await running.hear_first(ChainFlushed)
    ended = [word for word in running.said if isinstance(word, Ran)]
    assert [(word.number, word.outcome.state) for word in ended] == [(2, "error"), (1, "error")]
    assert all("no idea" in word.outcome.error for word in ended)
    assert flushed.outcome.state == "error"
    await running.close()

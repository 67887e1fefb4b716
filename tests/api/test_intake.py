"""Record batches on their way to a real store."""

import pytest
import trio

from tsd.core.cluster.events import SaveGeneration
from tsd.core.messages import RecordBatch, RecordsSaved, RecoveryAsk, Refused
from tsd.core.records import EndedSlices
from tsd.master.intake import Intake
from tsd.store.executions import CreateExecution
from tsd.store.store import open_store

PEER = "x/1/c"


class Desk:
    """An intake with what it answered and told."""

    def __init__(self, store, nursery):
        self.answers = []
        self.stored = []
        self.nursery = nursery
        self.answered = trio.Event()
        self.intake = Intake(store=store, answer=self._answer, on_stored=self._note_stored)

    def _note_stored(self, ex_id, stored):
        self.stored.append(ex_id)
        self.ended = stored.ended

    def _answer(self, peer, message):
        self.answers.append((peer, message))
        self.answered.set()
        self.answered = trio.Event()

    def take(self, seq, *, first=0, peer=PEER, generation=1, state=2):
        rows = [(0, 0, seq, state, 1000, 2000, "{}", 0, None, None, None)]
        batch = RecordBatch(ex_id="x", generation=generation, seq=seq, first=first, sources=("x",), rows=rows)
        self.intake.take(peer, batch, self.nursery)

    async def saved(self, seq):
        """Wait for the acknowledgement of `seq`."""
        with trio.fail_after(10):
            while RecordsSaved(seq=seq) not in [message for _, message in self.answers]:
                await self.answered.wait()


@pytest.fixture
async def desk(tmp_path, nursery):
    async with open_store(tmp_path) as store:
        request = CreateExecution(ex_id="x", job_id="j", document={"workers": 1}, job={"name": "n"})
        await store.create_execution(request)
        await store.apply_saves([SaveGeneration(ex_id="x", generation=1, controller_node="n")])
        desk = Desk(store, nursery)
        desk.store = store
        yield desk


async def counts(desk):
    ask = RecoveryAsk(ask_id=1, generation=1, mode="", after=None, limit=10)
    return (await desk.store.recovery_page("x", ask)).counts


async def test_batches_are_acknowledged_in_order_once_they_are_durable(desk):
    for seq in range(1, 6):
        desk.take(seq, first=1)

    await desk.saved(5)

    assert [message.seq for _, message in desk.answers] == [1, 2, 3, 4, 5]
    assert desk.stored == ["x"] * 5
    assert desk.ended == EndedSlices(completed=5)
    assert await counts(desk) == (0, 0, 5, 0)


async def test_a_batch_that_was_saved_is_acknowledged_again_and_not_stored_again(desk):
    desk.take(1, first=1)
    await desk.saved(1)
    desk.answers.clear()

    desk.take(1, first=1, state=3)

    assert desk.answers == [(PEER, RecordsSaved(seq=1))]
    assert desk.stored == ["x"]


async def test_a_batch_whose_predecessor_is_missing_waits_for_it_to_be_repeated(desk):
    """Else its acknowledgement would cover records that are nowhere."""
    desk.take(1, first=1)
    await desk.saved(1)

    desk.take(3, first=2)
    desk.take(2, first=2)
    desk.take(3, first=2)
    await desk.saved(3)

    assert [message.seq for _, message in desk.answers] == [1, 2, 3]
    assert await counts(desk) == (0, 0, 3, 0)


async def test_after_a_restart_of_the_master_a_controller_goes_on_with_its_oldest_batch(desk):
    desk.take(58, first=57)
    assert desk.answers == []

    desk.take(57, first=57)
    desk.take(58, first=57)
    await desk.saved(58)

    assert [message.seq for _, message in desk.answers] == [57, 58]


async def test_records_of_an_older_generation_are_refused_by_the_store(desk):
    await desk.store.apply_saves([SaveGeneration(ex_id="x", generation=2, controller_node="n")])

    desk.take(1, first=1)

    with trio.fail_after(10):
        while not desk.answers:
            await desk.answered.wait()
    assert isinstance(desk.answers[0][1], Refused)
    assert desk.stored == []


async def test_the_next_generation_has_a_lane_of_its_own(desk):
    desk.take(1, first=1)
    await desk.saved(1)
    await desk.store.apply_saves([SaveGeneration(ex_id="x", generation=2, controller_node="n")])
    desk.answers.clear()

    desk.take(1, first=1, peer="x/2/c", generation=2)

    await desk.saved(1)
    assert desk.answers == [("x/2/c", RecordsSaved(seq=1))]

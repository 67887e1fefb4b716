"""Slice records on their way from controllers to the store, past the cluster core.

Each controller has a lane: its batches are stored one after the other, in the order of their numbers,
while those of other controllers are stored at the same time (the store gathers all of them into one
transaction). A batch is acknowledged after its commit, never before, and only when all before it are
durable too. What comes twice is acknowledged again or left out; what comes too early is left out, because
a controller repeats, in order, what was not acknowledged.
"""

from collections import deque
from collections.abc import Callable

import attrs
import structlog
import trio

from tsd.core.messages import RecordBatch, RecordsSaved, Refused
from tsd.errors import StateError, StoreError
from tsd.store.records import Recorded
from tsd.store.store import Store

log = structlog.get_logger()

LANE_SIZE = 16
"""Batches that wait in one lane; a controller has two under way, and a few more at its end."""


@attrs.define(eq=False, kw_only=True)
class _Lane:
    """One controller's batches.

    Attributes:
        taken: Number of the last batch that was taken in; None before the first.
        saved: Number of the last durable one.
    """

    peer: str
    taken: int | None = None
    saved: int = 0
    waiting: deque[RecordBatch] = attrs.field(factory=deque)
    is_running: bool = False


@attrs.define(eq=False, kw_only=True)
class Intake:
    """Takes batches in; see the module's docstring.

    Attributes:
        store: Where they go.
        answer: Sends an answer to a peer; what is lost is asked for again.
        on_stored: Told the execution whose records became durable, and what came of them.
    """

    store: Store
    answer: Callable[[str, RecordsSaved | Refused], object]
    on_stored: Callable[[str, Recorded], None]
    _lanes: dict[str, _Lane] = attrs.field(factory=dict)

    def take(self, peer: str, batch: RecordBatch, nursery: trio.Nursery) -> None:
        """Take in a batch of a controller that is accepted.

        Args:
            peer: The controller.
            batch: Its batch.
            nursery: Of the caller; the lane's task lives in it while there is something to store.
        """
        lane = self._lanes.get(batch.ex_id)
        if lane is None or lane.peer != peer:
            # What a lane of an older generation still holds is refused by the store.
            lane = self._lanes[batch.ex_id] = _Lane(peer=peer)
        if lane.taken is None:
            # The master may have been away: where the controller stands is what it says itself.
            if batch.first not in (0, batch.seq):
                return
            lane.taken = lane.saved = batch.seq - 1
        if batch.seq <= lane.taken:
            if batch.seq <= lane.saved:
                self.answer(peer, RecordsSaved(seq=lane.saved))
            return
        if batch.seq != lane.taken + 1 or len(lane.waiting) >= LANE_SIZE:
            return
        lane.taken = batch.seq
        lane.waiting.append(batch)
        if not lane.is_running:
            lane.is_running = True
            nursery.start_soon(self._store_all, lane)

    def forget(self, ex_id: str) -> None:
        """The execution has ended: nothing more comes."""
        self._lanes.pop(ex_id, None)

    async def _store_all(self, lane: _Lane) -> None:
        while lane.waiting:
            batch = lane.waiting.popleft()
            try:
                stored = await self.store.store_records(batch)
            except StateError as error:
                log.warning("records.refused", ex_id=batch.ex_id, peer_id=lane.peer, reason=str(error))
                lane.waiting.clear()
                self.answer(lane.peer, Refused(reason=str(error)))
                break
            except StoreError as error:
                # Damaged for good: unanswered, the controller keeps its records and pauses.
                log.warning("records.unsaved", ex_id=batch.ex_id, reason=str(error))
                lane.waiting.clear()
                lane.taken = lane.saved
                break
            if any(one.is_first for one in stored.letters.dropped):
                count = sum(one.count for one in stored.letters.dropped)
                log.warning("letters.dropped", ex_id=batch.ex_id, count=count)
            lane.saved = batch.seq
            self.answer(lane.peer, RecordsSaved(seq=batch.seq))
            self.on_stored(batch.ex_id, stored)
        lane.is_running = False

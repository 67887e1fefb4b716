"""Which completed slices the controller has taken in, for operations that want to hear of it.

The worker machine keeps only numbers, so the ids are noted here, and only when some operation has a
hook for it.
"""

from collections.abc import Iterable

from tsd.core.messages import Message, Results, ResultsSeen, SliceItem
from tsd.core.records import SliceState
from tsd.ids import slice_id as derive_slice_id


class Tidings:
    """Follows slices from their arrival to the word that their result was taken in."""

    def __init__(self, ex_id: str) -> None:
        self._ex_id = ex_id
        self._held: dict[int, SliceItem] = {}
        self._sent: dict[int, list[SliceItem]] = {}

    def arrived(self, items: Iterable[SliceItem]) -> None:
        """Take in slices that are to be run."""
        self._held.update((item[0], item) for item in items)

    def sending(self, message: Message) -> None:
        """Take in what is sent to the controller; repeated results change nothing."""
        if not isinstance(message, Results):
            return
        completed = message.done + [n for n, state, *_ in message.full if state == SliceState.COMPLETED]
        known = [self._held.pop(number) for number in completed if number in self._held]
        for number in (*message.returned, *(full[0] for full in message.full)):
            self._held.pop(number, None)
        if known:
            self._sent[message.seq] = self._sent.get(message.seq, []) + known

    def received(self, message: Message) -> list[str]:
        """Take in what the controller said; the ids of completed slices it has now taken in."""
        if not isinstance(message, ResultsSeen):
            return []
        seen = sorted(seq for seq in self._sent if seq <= message.seq)
        return [self._id_of(item) for seq in seen for item in self._sent.pop(seq)]

    def _id_of(self, item: SliceItem) -> str:
        _, slicer_id, order, _, ex_id, slice_id = item
        return slice_id or derive_slice_id(ex_id or self._ex_id, slicer_id, order)

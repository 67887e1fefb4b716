"""Processors that keep records from one slice to the next, and lose none of them."""

from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations.base import BatchProcessor
from tsd.operations.record import Record


class HoldingProcessor(BatchProcessor):
    """Base of processors that hold records back.

    A subclass keeps what it holds where `snapshot` and `restore` find it, and says with `held_since` how far
    back that reaches. Then

    * an attempt of a slice that fails leaves what was held before the slice, so that a retry neither loses
      records of earlier slices nor doubles those of this one;
    * the slices that it holds records of count as done only when these have left and the slice in which they
      did has succeeded; when the worker dies before, they are run again.

    Attributes:
        is_flushing: No more slices come: release everything.
    """

    is_flushing: bool = False
    _before: Any = None

    def snapshot(self) -> Any:
        """What is held now, such that nothing that happens later changes it."""
        raise NotImplementedError

    def restore(self, snapshot: Any) -> None:
        """Hold again what a snapshot says; the snapshot itself must stay as it is."""
        raise NotImplementedError

    def held_since(self) -> int | None:
        """The `OpContext.slice_number` of the oldest record that is held; None when none is."""
        raise NotImplementedError

    def released(self, records: list[Record]) -> list[Record]:
        """What to pass on of records that are held: copies, as the attempt may fail yet.

        Operations behind change what they get, and `restore` must bring back what was held. Nothing is
        brought back in a flush, so then they are the records themselves.
        """
        return records if self.is_flushing else [record.clone() for record in records]

    def on_slice_initialized(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Note what is held before the slice."""
        self._before = self.snapshot()

    def on_slice_retry(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Hold what was held before the slice."""
        self.restore(self._before)

    def on_slice_failed(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Hold what was held before the slice; a flush that fails has no slice of its own."""
        if not self.is_flushing:
            self.restore(self._before)

    def on_flush_start(self) -> None:
        """From now on everything is released."""
        self.is_flushing = True

    def on_flush_end(self) -> None:
        """Go on as before."""
        self.is_flushing = False

    @override
    def shutdown(self) -> None:
        if self.held_since() is not None:
            raise OperationError(f"{self.name} ends with records that were never released")


class Holdings:
    """How far back what the operations of a process hold reaches, as numbers of slices.

    A record that goes from one holding operation to the next comes to the second in a later slice than the
    one that it is of. So what comes to the second counts as old as what the first held when the slice began.
    """

    def __init__(self, holders: Sequence[Callable[[], int | None]]) -> None:
        """Begin with nothing held.

        Args:
            holders: The `held_since` of each, in the order in which records pass them.
        """
        self._holders = tuple(holders)
        self._since: list[int | None] = [None] * len(self._holders)
        # For each, by number of a slice: the oldest slice of what can have come to it in that one.
        self._ages: list[dict[int, int]] = [{} for _ in self._holders]

    def __bool__(self) -> bool:
        return bool(self._holders)

    def begin(self, number: int) -> None:
        """A slice begins."""
        oldest = number
        for index, since in enumerate(self._since):
            self._ages[index][number] = oldest
            if since is not None and since < oldest:
                oldest = since

    def since(self) -> int | None:
        """The number of the oldest slice of which records are held; None when none are."""
        for index, held_since in enumerate(self._holders):
            self._since[index] = self._look(self._ages[index], held_since())
        return min((n for n in self._since if n is not None), default=None)

    @staticmethod
    def _look(ages: dict[int, int], number: int | None) -> int | None:
        if number is None:
            ages.clear()
            return None
        for known in list(ages):
            if known >= number:
                break
            del ages[known]
        return ages.get(number, number)

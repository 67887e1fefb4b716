"""What a controller runs again before its slicers go on.

The master answers `RecoveryAsk` with pages of unfinished slices: those of this execution first, for
all slicers, then those of the executions it recovers. They keep their key and id. Then each slicer
goes on after its last recorded slice (docs/adr/0004).
"""

import attrs

from tsd.core.execution.ledger import Slice
from tsd.core.messages import RecoveryAsk, RecoveryPage
from tsd.core.records import ENDS_AFTER_REPLAY, RecoveryMode, SlicerPosition, UnfinishedSlice


@attrs.define(kw_only=True)
class RecoveryPlan:
    """Pages asked for and taken in.

    Attributes:
        mode: A `RecoveryMode` word, or empty when only own slices are run again.
        outstanding: The question that waits for its answer; it is repeated.
        is_read: The last page was taken in.
        has_records: This execution has records of its own.
    """

    generation: int
    mode: str
    page_limit: int
    autorecover: bool
    outstanding: RecoveryAsk | None = None
    is_read: bool = False
    has_records: bool = False
    _ask_id: int = 0
    _after: tuple[int, int, int] | None = None
    _page_size: int = 0
    _positions: dict[int, SlicerPosition] = attrs.field(factory=dict)

    @property
    def ends_the_execution(self) -> bool:
        """Whether the execution is completed once all is run again."""
        return self.mode != "" and RecoveryMode(self.mode) in ENDS_AFTER_REPLAY and not self.autorecover

    def ask(self) -> RecoveryAsk:
        """The question for the next page; call it when none is outstanding."""
        self._ask_id += 1
        self.outstanding = RecoveryAsk(
            ask_id=self._ask_id,
            generation=self.generation,
            mode=self.mode,
            after=self._after,
            limit=self.page_limit,
        )
        return self.outstanding

    def wants_page(self, waiting: int) -> bool:
        """Whether to ask for more while so many slices wait."""
        # A page that is smaller than asked for has large slices: of these fewer wait.
        low = min(self.page_limit, self._page_size or self.page_limit)
        return not self.is_read and self.outstanding is None and waiting < low

    def take(self, page: RecoveryPage) -> tuple[UnfinishedSlice, ...] | None:
        """The slices of a page; None when it does not answer the outstanding question."""
        if self.outstanding is None or page.ask_id != self.outstanding.ask_id:
            return None
        if self.outstanding.after is None:
            self._positions = {position.slicer_id: position for position in page.positions}
            self.has_records = any(page.counts) or any(p.slicer_order for p in page.positions)
        self.outstanding = None
        self._page_size = len(page.slices)
        self.is_read = page.is_last or not page.slices
        if page.slices:
            self._after = page.slices[-1][:3]
        return page.slices

    def positions(self, slicer_count: int) -> list[SlicerPosition]:
        """Where each slicer goes on, one entry a slicer; nothing when none has begun (a fresh start)."""
        if not self._positions:
            return []
        return [
            self._positions.get(slicer_id)
            or SlicerPosition(slicer_id=slicer_id, slicer_order=0, last_slice=None)
            for slicer_id in range(slicer_count)
        ]


def replayed_slice(found: UnfinishedSlice, n: int, sources: tuple[str, ...], at_ms: int) -> Slice:
    """A stored slice that waits again, under its own key and id, as number `n`."""
    source, slicer_id, order, _state, created_ms, request, _retry_count, slice_id = found
    ex_id = None if source == 0 else sources[source]
    return Slice((n, slicer_id, order, request, ex_id, slice_id), source, created_ms, at_ms, recorded=True)

"""What survives a crash of the master in the simulation: only what was committed."""

import json

import attrs

from tsd.core.cluster.events import Save, SaveDrain, SaveGeneration, SaveIntent, SaveMetadata, SaveStatus
from tsd.core.cluster.records import Drain, ExecutionRecord
from tsd.core.messages import RecordBatch, RecoveryAsk, RecoveryPage
from tsd.core.records import (
    REPLAYED_STATES,
    TERMINAL_STATUSES,
    EndedSlices,
    RecoveryMode,
    SlicerPosition,
    SliceState,
    UnfinishedSlice,
)

Key = tuple[str, int, int]


class BrokenPromise(AssertionError):
    """An invariant does not hold; the seed and the trace go with it."""


@attrs.define
class StoredSlice:
    state: SliceState
    created_ms: int
    request: str
    retry_count: int
    error: str | None
    slice_id: str | None
    run_by: str = ""


class SimulatedStore:
    """Executions and slice records, with the rules of the real store."""

    def __init__(self) -> None:
        self.executions: dict[str, ExecutionRecord] = {}
        self.slices: dict[Key, StoredSlice] = {}
        self.drains: dict[str, Drain] = {}
        self.is_down = False
        self.recorded: dict[str, int | None] = {}

    def apply(self, saves: list[Save]) -> None:
        for save in saves:
            if isinstance(save, SaveDrain):
                self.drains.pop(save.node_id, None)
                if save.drain is not None:
                    self.drains[save.node_id] = save.drain
                continue
            record = self.executions[save.ex_id]
            match save:
                case SaveStatus():
                    if record.status is not save.expected:
                        raise BrokenPromise(f"status is {record.status}, save expected {save.expected}")
                    changes = {
                        name: value
                        for name in ("has_errors", "failure_reason", "stats")
                        if (value := getattr(save, name)) is not None
                    }
                    if save.started is not None:
                        changes["started"] = save.started
                    if save.status in TERMINAL_STATUSES:
                        self.recorded[save.ex_id] = save.recorded
                    if record.status in TERMINAL_STATUSES and save.status is not record.status:
                        raise BrokenPromise(f"{record.status} is final, not {save.status}")
                    self.executions[save.ex_id] = attrs.evolve(record, status=save.status, **changes)
                    self._correct_stats(save.ex_id)
                case SaveGeneration():
                    if save.generation < record.generation:
                        raise BrokenPromise("a generation went back")
                    self.executions[save.ex_id] = attrs.evolve(
                        record, generation=save.generation, controller_node=save.controller_node
                    )
                case SaveIntent():
                    self.executions[save.ex_id] = attrs.evolve(record, intent=save.intent)
                case SaveMetadata():
                    document = json.loads(record.document) | {"metadata": json.loads(save.metadata)}
                    self.executions[save.ex_id] = attrs.evolve(record, document=json.dumps(document))

    def store_records(self, batch: RecordBatch) -> bool:
        """Store a batch; False when its generation is over. A completed record is final, as in the real store."""
        if batch.generation != self.executions[batch.ex_id].generation:
            return False
        for source, slicer_id, order, state, created, _, request, retries, error, slice_id, _ in batch.rows:
            key = (batch.sources[source], slicer_id, order)
            old = self.slices.get(key)
            if old is not None and old.state is SliceState.COMPLETED:
                continue
            if old is not None and old.request != request:
                raise BrokenPromise(f"slice {key} changed its request")
            self.slices[key] = StoredSlice(
                SliceState(state), created, request, retries, error, slice_id, batch.ex_id
            )
        self._check_prefix(batch.ex_id)
        self._correct_stats(batch.ex_id)
        return True

    def ended(self, ex_id: str) -> EndedSlices:
        """What an execution has done: slices of its own, and of earlier ones that it ran again."""
        states = [s.state for (source, _, _), s in self.slices.items() if ex_id in (source, s.run_by)]
        return EndedSlices(
            completed=states.count(SliceState.COMPLETED), failed=states.count(SliceState.ERROR)
        )

    def _correct_stats(self, ex_id: str) -> None:
        """The last counters are those of the records, as in the real store."""
        record = self.executions[ex_id]
        if record.status in TERMINAL_STATUSES:
            ended = self.ended(ex_id)
            stats = attrs.evolve(record.stats, processed=ended.processed, failed=ended.failed)
            self.executions[ex_id] = attrs.evolve(record, stats=stats)

    def _check_prefix(self, ex_id: str) -> None:
        """The records of each slicer have no gap."""
        orders: dict[int, list[int]] = {}
        for source, slicer_id, order in self.slices:
            if source == ex_id:
                orders.setdefault(slicer_id, []).append(order)
        for slicer_id, known in orders.items():
            if len(known) != max(known):
                raise BrokenPromise(f"slicer {slicer_id} has {len(known)} records up to {max(known)}")

    def states_of(self, ex_id: str) -> list[SliceState]:
        return [s.state for (source, _, _), s in self.slices.items() if source == ex_id]

    def recovery_page(self, ask: RecoveryAsk, sources: tuple[str, ...]) -> RecoveryPage:
        replayed = REPLAYED_STATES[RecoveryMode(ask.mode)] if ask.mode else frozenset[SliceState]()
        own = {SliceState.PENDING, SliceState.START}
        found: list[UnfinishedSlice] = []
        for (source, slicer_id, order), s in self.slices.items():
            if source not in sources:
                continue
            index = sources.index(source)
            if index and not ask.mode:
                continue
            # What this execution had begun to run again is its own by now.
            is_own = index == 0 or s.run_by == sources[0]
            if s.state in (own if index == 0 else replayed) or (is_own and s.state in own):
                found.append(
                    (
                        index,
                        slicer_id,
                        order,
                        int(s.state),
                        s.created_ms,
                        s.request,
                        s.retry_count,
                        s.slice_id,
                    )
                )
        found.sort()
        left = [s for s in found if ask.after is None or s[:3] > ask.after]
        page = tuple(left[: ask.limit])
        if ask.after is not None:
            return RecoveryPage(ask_id=ask.ask_id, slices=page, is_last=len(page) == len(left))
        states = self.states_of(sources[0])
        counts = (
            states.count(SliceState.PENDING),
            states.count(SliceState.START),
            states.count(SliceState.COMPLETED),
            states.count(SliceState.ERROR),
        )
        return RecoveryPage(
            ask_id=ask.ask_id,
            slices=page,
            is_last=len(page) == len(left),
            positions=self._positions(sources),
            counts=counts,
            rerun=self._rerun(sources[0]),
        )

    def _rerun(self, ex_id: str) -> tuple[int, int]:
        states = [s.state for (source, _, _), s in self.slices.items() if source != ex_id == s.run_by]
        return (states.count(SliceState.COMPLETED), states.count(SliceState.ERROR))

    def _positions(self, sources: tuple[str, ...]) -> tuple[SlicerPosition, ...]:
        positions: dict[int, SlicerPosition] = {}
        for index, source in enumerate(sources):
            last: dict[int, tuple[int, str]] = {}
            for (ex_id, slicer_id, order), s in self.slices.items():
                if ex_id == source and order > last.get(slicer_id, (0, ""))[0]:
                    last[slicer_id] = (order, s.request)
            for slicer_id, (order, request) in last.items():
                positions.setdefault(
                    slicer_id,
                    SlicerPosition(
                        slicer_id=slicer_id, slicer_order=order if index == 0 else 0, last_slice=request
                    ),
                )
        return tuple(positions[i] for i in sorted(positions))

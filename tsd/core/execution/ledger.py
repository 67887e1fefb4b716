"""The slices of one execution: how each stands, who holds it, and the counters.

A slice is in `SliceLedger.unfinished` from the moment at which its slicer made it (or recovery brought it
back) until its first result. In between it waits (state pending, no holder) or is held by exactly one
worker (state start). What ends twice is counted once.

A worker *keeps* a slice that it has run when an operation holds records of it back. Such a slice is not done:
its first result comes when they have left, and if the worker dies before, it waits again.
"""

from typing import TYPE_CHECKING

import attrs

from tsd.core.letters import NONE_LEFT
from tsd.core.messages import FullResult, Results, SliceItem
from tsd.core.records import SliceState

if TYPE_CHECKING:
    from tsd.core.execution.recording import Recorder
    from tsd.core.execution.workers import Worker

PENDING = int(SliceState.PENDING)
START = int(SliceState.START)
COMPLETED = int(SliceState.COMPLETED)
ERROR = int(SliceState.ERROR)


@attrs.define(eq=False)
class Slice:
    """One slice; there can be tens of thousands a second, so it holds what is needed and no more.

    Attributes:
        item: What a worker gets; `item[0]` is its number here.
        source: Index of its execution in `ControllerWelcome.sources`; 0 is this one.
        created_ms: Unix milliseconds at which it was made.
        at_ms: Unix milliseconds at which `state` changed.
        recorded: It has a row in the store or in a batch.
        state: A `SliceState` number.
        holder: The worker that holds it, None while it waits.
        owed: Its state changed since its last row, or it was handed out and has none.
        result: Its first result when that had more to say than "done".
    """

    item: SliceItem
    source: int
    created_ms: int
    at_ms: int
    recorded: bool = False
    state: int = PENDING
    holder: str | None = None
    owed: bool = False
    result: FullResult | None = None


@attrs.define(kw_only=True, eq=False)
class SliceLedger:
    """Unfinished slices and counters.

    Attributes:
        members: The connected workers, by identity; shared with `WorkerTable`.
        unfinished: Slices without a result, by number.
        waiting: How many of them no worker holds.
        kept: How many of them were run and are kept by their worker.
        processed: Slices that ended, those in error included.
        failed: Slices that ended in error.
        refused_results: Results that were not counted, because one had come before.
        completed_here: Slices that this process saw completed; unlike `processed` it knows nothing of
            earlier generations and never falls.
        failed_here: Slices that this process saw end in error, likewise.
        deaths: How often a worker died while it ran the slice, by number.
        pins: The worker that a slice asks for, by number of the slice.
        made: How many slices were taken in.
        rerun: Numbers of those that were recorded before and may have dead letters in the store.
        outrun: How many workers run a slice that has ended by the result of another one.
        disturbed: Workers that lost a slice to the result of another one; dispatch looks at them again.
    """

    recorder: "Recorder"
    members: "dict[str, Worker]"
    unfinished: dict[int, Slice] = attrs.field(factory=dict)
    waiting: int = 0
    kept: int = 0
    processed: int = 0
    failed: int = 0
    refused_results: int = 0
    completed_here: int = 0
    failed_here: int = 0
    deaths: dict[int, int] = attrs.field(factory=dict)
    pins: dict[int, str] = attrs.field(factory=dict)
    made: int = 0
    rerun: set[int] = attrs.field(factory=set)
    disturbed: "list[Worker]" = attrs.field(factory=list)
    outrun: int = 0

    def held(self) -> int:
        """How many slices workers hold, kept ones among them."""
        return len(self.unfinished) - self.waiting

    def loaded(self) -> int:
        """How many slices workers have to run yet, the running ones among them."""
        return len(self.unfinished) - self.waiting - self.kept

    def note_turn(self, worker: "Worker") -> None:
        """What the worker ran has ended, or the worker is gone."""
        if worker.is_outrun:
            worker.is_outrun = False
            self.outrun -= 1

    def keep(self, worker: "Worker", numbers: list[int]) -> None:
        """A worker has run these, and keeps them."""
        for n in numbers:
            entry = worker.held.pop(n, None)
            if entry is not None:
                worker.kept[n] = entry
                self.kept += 1

    def unkeep(self, worker: "Worker", n: int) -> Slice | None:
        """A slice that the worker keeps, which it does no longer; None when it does not keep it."""
        entry = worker.kept.pop(n, None)
        if entry is not None:
            self.kept -= 1
        return entry

    def add(self, entry: Slice, pin: str | None) -> None:
        """Take in a slice that waits; its number is `made + 1`."""
        self.made += 1
        self.unfinished[self.made] = entry
        self.waiting += 1
        if pin is not None:
            self.pins[self.made] = pin

    def readmit(self, entry: Slice, state: SliceState, pin: str | None) -> None:
        """Take in a recorded slice that is to be run again; `state` is the recorded one."""
        if entry.source == 0 and state is SliceState.ERROR:
            # It was counted as failed and is given another chance.
            self.processed -= 1
            self.failed -= 1
        if state is SliceState.START:
            # It waits now. A recorded error stays one until it is handed out.
            self.recorder.mark(entry)
        self.add(entry, pin)
        self.rerun.add(self.made)

    def take(self, worker: "Worker", message: Results, at_ms: int) -> tuple[list[Slice], list[Slice]]:
        """Count the results of a worker; the first result of a slice wins, whoever had it.

        Returns:
            The slices that ended, and those of them that ended in error.
        """
        held = worker.held
        unfinished = self.unfinished
        recorder = self.recorder
        ended: list[Slice] = []
        failures: list[Slice] = []
        for n in message.done:
            entry = held.pop(n, None) or self.unkeep(worker, n) or self._reclaim(n)
            if entry is None:
                self.refused_results += 1
                continue
            del unfinished[n]
            entry.state = COMPLETED
            entry.at_ms = at_ms
            if entry.recorded and not entry.owed:
                recorder.mark(entry)
            ended.append(entry)
        for result in message.full:
            n = result[0]
            entry = held.pop(n, None) or self.unkeep(worker, n) or self._reclaim(n)
            if entry is None:
                self.refused_results += 1
                continue
            del unfinished[n]
            entry.at_ms = at_ms
            entry.result = result
            if result[5] is not None:
                recorder.letters_b += len(result[5])
            if entry.recorded and not entry.owed:
                recorder.mark(entry)
            ended.append(entry)
            if result[1] == COMPLETED:
                entry.state = COMPLETED
            else:
                entry.state = ERROR
                failures.append(entry)
        self.processed += len(ended)
        self.failed += len(failures)
        self.completed_here += len(ended) - len(failures)
        self.failed_here += len(failures)
        if self.deaths or self.pins or self.rerun:
            self._forget(ended)
        return ended, failures

    def fail(self, entry: Slice, result: FullResult, at_ms: int) -> None:
        """End a slice in error without a result of a worker (it killed its workers)."""
        self._reclaim(entry.item[0])
        del self.unfinished[entry.item[0]]
        entry.state = ERROR
        entry.at_ms = at_ms
        entry.result = result
        self.recorder.mark(entry)
        self.processed += 1
        self.failed += 1
        self.failed_here += 1
        self._forget([entry])

    def _reclaim(self, n: int) -> Slice | None:
        """Take an unfinished slice away from wherever it is; queues skip it when they come to it."""
        entry = self.unfinished.get(n)
        if entry is None:
            return None
        if entry.holder is None:
            self.waiting -= 1
        elif holder := self.members.get(entry.holder):
            if not holder.is_outrun and next(iter(holder.held), None) == n:
                holder.is_outrun = True
                self.outrun += 1
            if holder.held.pop(n, None) is None:
                self.unkeep(holder, n)
            self.disturbed.append(holder)
        return entry

    def _forget(self, ended: list[Slice]) -> None:
        for entry in ended:
            n = entry.item[0]
            self.deaths.pop(n, None)
            self.pins.pop(n, None)
            if n in self.rerun:
                self.rerun.remove(n)
                result = entry.result or (n, entry.state, 0, None, None, None)
                if result[5] is None:
                    entry.result = (*result[:5], NONE_LEFT)

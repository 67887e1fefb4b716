"""The one writer: it gathers writes into transactions, and holds them through an outage of the disk.

Whatever is asked for while a commit runs goes into the next transaction together, so the number of syncs
does not grow with the number of those who ask. When a commit fails nothing of it is acknowledged: requests
that are `is_held` stay and are tried again until they succeed or nobody waits for them, all others get the
error at once.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar, cast

import attrs
import trio
from sqlalchemy import Connection

from tsd.core.histograms import Histogram, Observations
from tsd.errors import StoreCorrupt, StoreError, TsdError
from tsd.store import sqlite
from tsd.store.records import Recorded, StoreRecords
from tsd.store.transactions import Outcome, Write, transact

R = TypeVar("R")

QUEUE_SIZE: Final = 1000
"""Requests that wait for the next transaction; whoever comes then waits before queueing. Controllers have
a batch or two under way each, API requests are few."""
GROUP_SIZE: Final = 64
"""Most requests in one transaction, so that it ends soon and its answers are not late."""
FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 2.0
"""In an outage the next attempt waits so long at first and at most; it doubles in between."""
PATIENCE_S: Final = 1.0
"""Writes that fail for longer than this are an outage; a lock that is held for a moment is none."""
IDLE_S: Final = 1.0
"""After so long without writes the log is moved into the database."""
COMMIT_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Of the histogram of commits: a good disk syncs in a millisecond, a busy one in a tenth of a second."""
ROWS_BOUNDS: Final = (1, 10, 100, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
"""Of the histogram of rows a commit."""


@attrs.frozen(kw_only=True)
class StoreHealth:
    """Whether writes succeed.

    Attributes:
        is_ok: The last transaction was committed.
        reason: What was wrong with it otherwise.
        since_ms: Unix milliseconds at which that began.
    """

    is_ok: bool
    reason: str = ""
    since_ms: int


@attrs.frozen(kw_only=True)
class WriterStatistics:
    """Counts since the store was opened.

    Attributes:
        transactions: Committed ones.
        requests: Answered by those.
        failures: Transactions that failed.
        records: Slice records that controllers sent and that are durable.
        letters: Dead letters that came with them.
        commit_s: How long committed transactions took, in seconds.
        rows: Slice records of each transaction that had any.
        waiting: Requests that wait for the next transaction now.
        held: Requests that wait now for the end of an outage.
    """

    transactions: int
    requests: int
    failures: int
    records: int
    letters: int
    commit_s: Histogram
    rows: Histogram
    waiting: int
    held: int


@attrs.define(eq=False, kw_only=True)
class _Entry:
    """A request on its way. `error` and `result` are set before `done` is."""

    request: Write[Any]
    done: trio.Event = attrs.field(factory=trio.Event)
    result: object = None
    error: TsdError | None = None
    is_abandoned: bool = False

    def answer(self, result: object, error: TsdError | None) -> None:
        self.result, self.error = result, error
        self.done.set()


def unix_ms() -> int:
    """The time, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


@attrs.define(eq=False, kw_only=True)
class Writer:
    """Owns the writing connection. `run` must be running for `write` to be answered.

    Attributes:
        health: As of the last transaction.
    """

    _connection: Connection
    _window_s: float
    _on_health: Callable[[StoreHealth], None]
    health: StoreHealth = attrs.field(init=False, factory=lambda: StoreHealth(is_ok=True, since_ms=unix_ms()))
    _damage: StoreCorrupt | None = attrs.field(init=False, default=None)
    _limiter: trio.CapacityLimiter = attrs.field(init=False, factory=lambda: trio.CapacityLimiter(1))
    _transactions: int = attrs.field(init=False, default=0)
    _requests: int = attrs.field(init=False, default=0)
    _failures: int = attrs.field(init=False, default=0)
    _records: int = attrs.field(init=False, default=0)
    _letters: int = attrs.field(init=False, default=0)
    _commit_s: Observations = attrs.field(init=False, factory=lambda: Observations(COMMIT_BOUNDS_S))
    _rows: Observations = attrs.field(init=False, factory=lambda: Observations(ROWS_BOUNDS))
    _held: list[_Entry] = attrs.field(init=False, factory=list)
    _closing: trio.Event = attrs.field(init=False, factory=trio.Event)
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)
    _inbox: trio.MemorySendChannel[_Entry] = attrs.field(init=False)
    _queue: trio.MemoryReceiveChannel[_Entry] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._inbox, self._queue = trio.open_memory_channel[_Entry](QUEUE_SIZE)

    async def write(self, request: Write[R]) -> R:
        """Have a request written; returns once it is durable.

        When cancelled, the write has happened whole or will not happen at all.

        Raises:
            StateError: It does not fit what is stored.
            StoreError: It can not be stored; a held request waits for the end of an outage instead.
        """
        if self._damage is not None:
            raise StoreCorrupt(str(self._damage))
        if not self.health.is_ok and not request.is_held:
            raise StoreError(self.health.reason)
        entry = _Entry(request=request)
        try:
            await self._inbox.send(entry)
            await entry.done.wait()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise StoreError("the store is closed") from None
        finally:
            entry.is_abandoned = True
        if entry.error is not None:
            raise entry.error
        return cast("R", entry.result)

    async def unless_failing(self, wait: Callable[[], Awaitable[R]]) -> R:
        """What `wait` returns; cancels it when writes have failed for `PATIENCE_S`.

        Raises:
            StoreError: Writes fail, before it began or while it waited.
        """
        if not self.health.is_ok:
            raise StoreError(self.health.reason)
        refusal: TsdError | None = None
        async with trio.open_nursery() as nursery:

            async def end_in_outage() -> None:
                while await self._is_well_again():
                    await self._changed.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(end_in_outage)
            try:
                result = await wait()
            except TsdError as error:
                refusal = error  # raised below, where it is not put into a group
            else:
                nursery.cancel_scope.cancel()
                return result
            nursery.cancel_scope.cancel()
        if refusal is not None:
            raise refusal
        raise StoreError(f"{self.health.reason}; what was asked for is done once the store can be written")

    async def _is_well_again(self) -> bool:
        """Whether writes succeed, now or within `PATIENCE_S`."""
        with trio.move_on_after(PATIENCE_S):
            while not self.health.is_ok:
                await self._changed.wait()
        return self.health.is_ok

    def statistics(self) -> WriterStatistics:
        """What was written so far, and what waits."""
        return WriterStatistics(
            transactions=self._transactions,
            requests=self._requests,
            failures=self._failures,
            records=self._records,
            letters=self._letters,
            commit_s=self._commit_s.histogram(),
            rows=self._rows.histogram(),
            waiting=self._queue.statistics().current_buffer_used,
            held=0 if self.health.is_ok else len(self._held),
        )

    def close(self) -> None:
        """Take no more requests; `run` ends when those that wait are written, or failed once more."""
        self._inbox.close()
        self._closing.set()

    async def run(self) -> None:
        """Write until `close`. Cancelled, it ends after the transaction that is under way."""
        held = self._held
        try:
            while await self._gather(held):
                await self._settle(held)
        finally:
            held += self._waiting()
            self._queue.close()
            _refuse(held, StoreError("the store is closed"))
            held.clear()

    async def _settle(self, held: list[_Entry]) -> None:
        """Try to write what is held until nothing is, and writing is possible."""
        retry_s = FIRST_RETRY_S
        while True:
            began_at = time.perf_counter()
            try:
                outcomes = await self._transact(held)
            except StoreError as error:
                self._failures += 1
                self._after_failure(error, held)
            else:
                self._commit_s.add(time.perf_counter() - began_at)
                self._count(held, outcomes)
                for entry, outcome in zip(held, outcomes, strict=True):
                    entry.answer(*outcome)
                held.clear()
                self._set_health(is_ok=True, reason="")
                return
            with trio.move_on_after(math.inf if self._damage else retry_s):
                await self._closing.wait()
                return
            retry_s = min(2 * retry_s, LAST_RETRY_S)
            held[:] = [entry for entry in [*held, *self._waiting()] if not entry.is_abandoned]

    def _count(self, held: list[_Entry], outcomes: list[Outcome]) -> None:
        """Count a transaction that was committed."""
        self._transactions += 1
        self._requests += len(held)
        self._letters += sum(result.letters.count for result, _ in outcomes if isinstance(result, Recorded))
        rows = sum(
            len(entry.request.batch.rows)
            for entry, (_, error) in zip(held, outcomes, strict=True)
            if error is None and isinstance(entry.request, StoreRecords)
        )
        if rows:
            self._records += rows
            self._rows.add(rows)

    async def _transact(self, held: list[_Entry]) -> list[Outcome]:
        requests = [entry.request for entry in held]
        return await self._in_thread(
            lambda: transact(self._connection, requests, now_ms=unix_ms(), is_probe=not self.health.is_ok)
        )

    async def _gather(self, held: list[_Entry]) -> bool:
        """Wait for requests and put them into `held`; False when no more will come."""
        try:
            held.append(await self._next())
        except trio.EndOfChannel:
            return False
        with trio.move_on_after(self._window_s):
            await self._closing.wait()
        held += self._waiting(GROUP_SIZE - 1)
        return True

    async def _next(self) -> _Entry:
        for wait_s in (IDLE_S, math.inf):
            with trio.move_on_after(wait_s):
                while True:
                    entry = await self._queue.receive()
                    if not entry.is_abandoned:
                        return entry
            await self._in_thread(lambda: sqlite.checkpoint(self._connection))
        raise AssertionError("the last wait has no end")

    def _waiting(self, count: int = QUEUE_SIZE) -> list[_Entry]:
        """The next requests that somebody still waits for, without waiting for more."""
        entries: list[_Entry] = []
        try:
            while len(entries) < count:
                entries.append(self._queue.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            pass
        return [entry for entry in entries if not entry.is_abandoned]

    def _after_failure(self, error: StoreError, held: list[_Entry]) -> None:
        """Note it, and leave in `held` only what waits for its end."""
        if isinstance(error, StoreCorrupt):
            self._damage = error
        self._set_health(is_ok=False, reason=str(error))
        held += self._waiting()
        stays = [entry.request.is_held and self._damage is None for entry in held]
        waiting = [entry for entry, does in zip(held, stays, strict=True) if does]
        _refuse((entry for entry, does in zip(held, stays, strict=True) if not does), error)
        held[:] = waiting

    def _set_health(self, *, is_ok: bool, reason: str) -> None:
        health = self.health
        if (is_ok, reason) == (health.is_ok, health.reason):
            return
        since_ms = health.since_ms if is_ok == health.is_ok else unix_ms()
        self.health = StoreHealth(is_ok=is_ok, reason=reason, since_ms=since_ms)
        self._on_health(self.health)
        self._changed.set()
        self._changed = trio.Event()

    async def _in_thread(self, function: Callable[[], R]) -> R:
        return await trio.to_thread.run_sync(function, limiter=self._limiter)


def _refuse(entries: Iterable[_Entry], error: StoreError) -> None:
    for entry in entries:
        # One object each: a traceback grows where an error is raised.
        entry.answer(None, type(error)(str(error)))

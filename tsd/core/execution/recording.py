"""Rows on their way to the store: which slices owe one, batches, acknowledgements.

The rule that recovery rests on: when the row of slice *k* of a slicer is in a batch, the rows of all
slices before *k* of that slicer are in it or were in an earlier one. It holds by construction: slices
that have no row yet stand in one lane a slicer, in order, and rows are taken from the front of a lane only,
as long as the front is *ripe*: ended, or handed out for `start_record_delay_s`, or waiting for
`pending_record_delay_s`, or pinned. So a slice that ends soon is one row, and one that does not
keeps the rows behind it back for a moment only. Slices that have a row and changed stand in `changed`.
"""

from collections import deque
from collections.abc import Container

import attrs

from tsd.core.execution.ledger import START, Slice
from tsd.core.execution.terms import Limits
from tsd.core.messages import RecordBatch
from tsd.core.records import SliceRow

BATCHES_UNACKED_MAX = 2
"""One is being stored while the next is on its way."""
BATCH_CHARS_MAX = 2_000_000
"""Text of requests, errors and analytics in a batch, and its dead letters, stay far below what one message
may have."""
LETTERS_B_MAX = 64 * 1024 * 1024
"""With more bytes of dead letters not yet durable nothing is handed out."""
SMALL_BATCH_ROWS = 256
"""A batch with fewer rows costs mostly what every transaction costs."""
SMALL_BATCH_PAUSE = 5
"""After a small batch the next one comes so many times `commit_interval_s` later, unless it is urgent
or large."""
_NEVER = float("inf")


def slice_row(entry: Slice) -> SliceRow:
    """The row that says how a slice stands now."""
    _n, slicer_id, order, request, _ex_id, slice_id = entry.item
    result = entry.result
    if result is None:
        return (
            entry.source,
            slicer_id,
            order,
            entry.state,
            entry.created_ms,
            entry.at_ms,
            request,
            0,
            None,
            slice_id,
            None,
        )
    return (
        entry.source,
        slicer_id,
        order,
        entry.state,
        entry.created_ms,
        entry.at_ms,
        request,
        result[2],
        result[3],
        slice_id,
        result[4],
    )


@attrs.define(kw_only=True, eq=False)
class Recorder:
    """Gathers rows and holds batches until they are durable.

    Attributes:
        pinned: Numbers of slices whose row is taken at once although they wait.
        lanes: Slices without a row, a deque a slicer, in slicer order.
        changed: Slices that have a row and changed since.
        owed: How many slices were handed out or changed and wait for a batch.
        flush_at: When rows are to be gathered next, if not `paced_until` holds them back.
        paced_until: No earlier, after a small batch, unless it is urgent or many rows wait.
        batches: Those not yet acknowledged, oldest first.
        letters_b: Bytes of dead letters that are not yet durable.
    """

    ex_id: str
    generation: int
    sources: tuple[str, ...]
    limits: Limits
    pinned: Container[int]
    lanes: dict[int, deque[Slice]] = attrs.field(factory=dict)
    changed: deque[Slice] = attrs.field(factory=deque)
    owed: int = 0
    flush_at: float = _NEVER
    paced_until: float = -_NEVER
    batches: deque[RecordBatch] = attrs.field(factory=deque)
    letters_b: int = 0
    _letters: list[tuple[int, bytes]] = attrs.field(factory=list)
    _flush_letters: deque[bytes] = attrs.field(factory=deque)
    _rows_unacked: int = 0
    _seq: int = 0
    _first_lane: int = 0
    _resend_at: float = _NEVER
    _resend_pause_s: float = 0.0

    def buffered(self) -> int:
        """Rows that are owed or not yet durable."""
        return self.owed + self._rows_unacked

    def is_full(self) -> bool:
        """Whether so much waits for the master that no more may come."""
        return self.buffered() > self.limits.max_buffered_records or self.letters_b > LETTERS_B_MAX

    def add_flush(self, letters: bytes) -> None:
        """Take in the dead letters of a flush; they go with the next batch."""
        self.letters_b += len(letters)
        self._flush_letters.append(letters)

    def all_saved(self) -> bool:
        """Whether every slice has a durable row that says how it stands."""
        return not (self.batches or self.changed or self._flush_letters or any(self.lanes.values()))

    def wake_at(self, *, is_urgent: bool) -> float:
        """When `flush` has something to do; infinite while only an answer can change that.

        Args:
            is_urgent: Somebody waits for the rows: they are not held back to save transactions.
        """
        if len(self.batches) >= BATCHES_UNACKED_MAX:
            return _NEVER
        if is_urgent or self.owed >= SMALL_BATCH_ROWS:
            return self.flush_at
        return max(self.flush_at, self.paced_until)

    def mark(self, entry: Slice) -> None:
        """A slice changed its state: it owes a row."""
        if not entry.owed:
            entry.owed = True
            self.owed += 1
            if entry.recorded:
                self.changed.append(entry)

    def within(self, delay_s: float, now: float) -> None:
        """Gather rows at the latest `delay_s` from now."""
        self.flush_at = min(self.flush_at, now + delay_s)

    def flush(self, now: float, at_ms: int, *, force: bool, extra: int = 0) -> list[RecordBatch]:
        """Make batches of what is ripe, or with `force` of all.

        Args:
            now: Monotonic seconds.
            at_ms: The same moment in Unix milliseconds.
            force: Take rows that are not ripe too.
            extra: Go beyond the limit of unacknowledged batches by so many (a last word before the exit).
        """
        made: list[RecordBatch] = []
        while len(self.batches) < BATCHES_UNACKED_MAX + extra:
            rows = self._gather(at_ms, force)
            if not rows and not self._letters:
                self.flush_at = self._next_ripe(now, at_ms)
                break
            self._seq += 1
            batch = RecordBatch(
                ex_id=self.ex_id,
                generation=self.generation,
                seq=self._seq,
                sources=self.sources,
                rows=rows,
                letters=self._letters,
                first=self.batches[0].seq if self.batches else self._seq,
            )
            self.batches.append(batch)
            self._rows_unacked += len(rows)
            made.append(batch)
        if made:
            is_small = sum(len(batch.rows) for batch in made) < SMALL_BATCH_ROWS
            self.paced_until = now + (SMALL_BATCH_PAUSE * self.limits.commit_interval_s if is_small else 0.0)
            if self._resend_at == _NEVER:
                self._wait_for_answer(now)
        return made

    def saved(self, seq: int, now: float) -> None:
        """All batches up to `seq` are durable."""
        while self.batches and self.batches[0].seq <= seq:
            batch = self.batches.popleft()
            self._rows_unacked -= len(batch.rows)
            if batch.letters:
                self.letters_b -= sum(len(letters) for _, letters in batch.letters)
            self._resend_pause_s = 0.0
            self._wait_for_answer(now)

    def overdue(self, now: float) -> list[RecordBatch]:
        """Batches to send again because no answer came; the pause doubles each time."""
        return self.again(now) if now >= self._resend_at else []

    def again(self, now: float) -> list[RecordBatch]:
        """All unacknowledged batches in order, to be sent again."""
        self._wait_for_answer(now)
        first = self.batches[0].seq if self.batches else 0
        return [attrs.evolve(batch, first=first) for batch in self.batches]

    def _wait_for_answer(self, now: float) -> None:
        shortest_s, longest_s = 2 * self.limits.beat_interval_s, 16 * self.limits.beat_interval_s
        self._resend_pause_s = min(longest_s, max(shortest_s, 2 * self._resend_pause_s))
        self._resend_at = now + self._resend_pause_s if self.batches else _NEVER

    def _gather(self, at_ms: int, force: bool) -> list[SliceRow]:
        rows: list[SliceRow] = []
        letters: list[tuple[int, bytes]] = []
        self._letters = letters
        room = self.limits.batch_rows
        chars = 0
        while self._flush_letters and chars < BATCH_CHARS_MAX:
            letters.append((-1, self._flush_letters.popleft()))
            chars += len(letters[-1][1])
        changed = self.changed
        while changed and len(rows) < room and chars < BATCH_CHARS_MAX:
            entry = changed.popleft()
            entry.owed = False
            self.owed -= 1
            if (result := entry.result) is not None and result[5] is not None:
                letters.append((len(rows), result[5]))
            rows.append(slice_row(entry))
            chars += _chars(entry)
        lanes = list(self.lanes.values())
        # Another lane goes first each time, or a full batch would starve the last ones.
        self._first_lane += 1
        first = self._first_lane % len(lanes) if lanes else 0
        started_before_ms = at_ms - int(self.limits.start_record_delay_s * 1000)
        waiting_since_ms = at_ms - int(self.limits.pending_record_delay_s * 1000)
        owed = 0
        for lane in lanes[first:] + lanes[:first]:
            while lane and len(rows) < room and chars < BATCH_CHARS_MAX:
                entry = lane[0]
                state = entry.state
                if (
                    state <= START
                    and not force
                    and entry.at_ms > (started_before_ms if state == START else waiting_since_ms)
                    and not (state != START and entry.item[0] in self.pinned)
                ):
                    break
                lane.popleft()
                entry.recorded = True
                if entry.owed:
                    entry.owed = False
                    owed += 1
                if (result := entry.result) is not None and result[5] is not None:
                    letters.append((len(rows), result[5]))
                rows.append(slice_row(entry))
                chars += _chars(entry)
        self.owed -= owed
        return rows

    def _next_ripe(self, now: float, at_ms: int) -> float:
        at = _NEVER
        for lane in self.lanes.values():
            if lane:
                entry = lane[0]
                limits = self.limits
                delay_s = (
                    limits.start_record_delay_s if entry.state == START else limits.pending_record_delay_s
                )
                # One millisecond more, because times are cut to whole ones.
                at = min(at, now + max(0.0, delay_s - (at_ms - entry.at_ms) / 1000) + 0.001)
        return at


def _chars(entry: Slice) -> int:
    result = entry.result
    if result is None:
        return len(entry.item[3])
    return len(entry.item[3]) + len(result[3] or "") + len(result[4] or b"") + len(result[5] or b"")

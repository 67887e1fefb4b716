"""The workers of one execution, as its controller sees them: who is there, reachable, silent, lost.

A worker is lost when its link stays down for `worker_disconnect_timeout`; it is then fenced: what it says
later is answered with `Refused`. One that is silent on a healthy link is only counted as stalled,
because user code may hold its interpreter.
"""

from collections import OrderedDict
from functools import reduce

import attrs

from tsd.core.counts import MeshCounts, plus, without_queue
from tsd.core.execution.ledger import Slice
from tsd.core.messages import IDLE_BEATS, LINK_SILENCE_BEATS

CREDITS_FIRST = 2
"""Before anything is known of how long slices take: one to run, one ahead."""
PAST_KEPT = 8
"""Of each seat so many processes that are over are remembered. A message of one before these would have been
on its way for as long as it took eight processes to start and to end."""
BATCH_WORK_US = 2_000
"""Messages with less work than this cost more than a fair share of few slices among many workers brings."""


@attrs.define(eq=False)
class Worker:
    """One connected worker process.

    Attributes:
        peer: Its ProcessId.
        held: Slices it holds by number, in the order in which they were handed out.
        kept: Slices that it has run and whose records an operation holds back; they need no credit.
        flush_asked: It was asked since the last beat to release them.
        depth: Credits: how many slices it may hold.
        batch: How many it is given at least, if there are so many: work for `BATCH_WORK_US`.
        slice_us: Moving average of the time a slice takes.
        seq: Last `Results` taken in.
        heard_at: When it was last heard.
        progress_at: When it last reported a result, or got a slice while it held none.
        hello_at: When it last said hello.
        spoke: It has sent something else since, so the next hello is no repetition of that one.
        busy: It holds a slice; kept by dispatch.
        blocked: Too much waits for it already; nothing is given until it is heard.
        down_since: When its link was first found down, None while it is up.
        probed: A probe was sent in the last round.
        unreached: That probe or another send found the link down.
        asked_back: A `GiveBack` waits for its answer.
        is_outrun: The slice that it runs was ended by another one's result, so of what it is said to hold it
            has begun nothing.
        alone: Number of a slice that is run here and must be the only one.
        reserved: It is being emptied for such a slice.
        is_ready: It has run a slice, or has said that it could.
        is_leaving: It was told to end and takes no more slices.
        passed_over: Oldest slice that it held at its last beat although it was running a later one.
        log_level: Level it was last told; `"?"` when that did not arrive.
        mesh: What its link has counted, by its last word.
        place: Which list of dispatch it stands in.
    """

    peer: str
    number: int
    heard_at: float
    progress_at: float
    log_level: str | None
    held: dict[int, Slice] = attrs.field(factory=dict)
    kept: dict[int, Slice] = attrs.field(factory=dict)
    flush_asked: bool = False
    depth: int = CREDITS_FIRST
    batch: int = 1
    slice_us: float = 0.0
    seq: int = 0
    hello_at: float = 0.0
    spoke: bool = False
    busy: bool = False
    blocked: bool = False
    down_since: float | None = None
    probed: bool = False
    unreached: bool = False
    asked_back: bool = False
    is_outrun: bool = False
    alone: int | None = None
    reserved: bool = False
    is_ready: bool = False
    is_leaving: bool = False
    passed_over: int | None = None
    mesh: MeshCounts = attrs.field(factory=MeshCounts)
    place: "OrderedDict[str, Worker] | None" = None

    @property
    def names(self) -> tuple[str, str]:
        """What a `request_worker` can call it."""
        return (self.peer, str(self.number))

    def note_pace(self, count: int, busy_us: int, credit_s: float, credit_max: int) -> None:
        """Adapt the credits to slices that took `busy_us` together; they at most double each time."""
        slice_us = max(1.0, busy_us / count)
        if self.slice_us:
            weight = min(0.8, 0.2 * count)
            slice_us = self.slice_us + weight * (slice_us - self.slice_us)
        self.slice_us = slice_us
        self.batch = 1 + int(BATCH_WORK_US / slice_us)
        self.depth = min(1 + int(credit_s * 1e6 / slice_us), 2 * self.depth, credit_max)

    def passes_over(self, running: int | None, held: int) -> bool:
        """Whether two beats in a row say that it will never run the oldest slice it is said to hold.

        Workers run in the order given, so a worker that runs a later one, or nothing, never got it.
        """
        oldest = next(iter(self.held), None)
        is_passed = oldest is not None and (
            (running is None and held == 0) or (running != oldest and running in self.held)
        )
        is_known = is_passed and self.passed_over == oldest
        self.passed_over = oldest if is_passed else None
        return is_known


@attrs.define(kw_only=True, eq=False)
class PastProcesses:
    """Remembers processes that are over, in memory that does not grow with their number.

    The processes of one seat differ in their last part alone, `.1`, `.2`, `.3`, ... Of each seat the last
    `PAST_KEPT` that were added are remembered one by one; those that started no later than a forgotten one
    count as over too, unless `is_exact`.

    Attributes:
        is_exact: What was forgotten counts as never added.
    """

    is_exact: bool = False
    _kept: dict[str, dict[str, None]] = attrs.field(factory=dict)
    _forgotten: dict[str, int] = attrs.field(factory=dict)

    def add(self, proc_id: str) -> None:
        """This process is over."""
        seat, _start = _seat_of(proc_id)
        kept = self._kept.setdefault(seat, {})
        kept[proc_id] = None
        if len(kept) > PAST_KEPT:
            oldest = next(iter(kept))
            del kept[oldest]
            if not self.is_exact:
                self._forgotten[seat] = max(self._forgotten.get(seat, 0), _seat_of(oldest)[1])

    def __contains__(self, proc_id: str) -> bool:
        """Whether it is over."""
        seat, start = _seat_of(proc_id)
        return proc_id in self._kept.get(seat, ()) or start <= self._forgotten.get(seat, -1)

    def __len__(self) -> int:
        """How many are remembered one by one."""
        return sum(map(len, self._kept.values()))


def _seat_of(proc_id: str) -> tuple[str, int]:
    """What all processes of a seat have in common, and which of them this is; 0 when it does not say."""
    seat, _, start = proc_id.rpartition(".")
    return (seat, int(start)) if seat and start.isascii() and start.isdigit() else (proc_id, 0)


@attrs.define(kw_only=True, eq=False)
class WorkerTable:
    """All workers that ever said hello to this controller.

    Attributes:
        members: Connected ones by identity.
        named: Connected ones by each name that a slice can ask for.
        lost: Those given up whose end the master has not told yet, in order of loss.
        ended: Those that said goodbye or whose process ended, as far as it matters.
        busy_us: Microseconds of work in all results so far.
        records_read: Records that readers gave for them.
    """

    disconnect_timeout_s: float
    members: dict[str, Worker] = attrs.field(factory=dict)
    named: dict[str, Worker] = attrs.field(factory=dict)
    lost: dict[str, None] = attrs.field(factory=dict)
    ended: PastProcesses = attrs.field(factory=PastProcesses)
    joined: int = 0
    reconnected: int = 0
    disconnected: int = 0
    stalled: int = 0
    busy_us: int = 0
    records_read: int = 0
    _fenced: PastProcesses = attrs.field(factory=PastProcesses)
    _gone: MeshCounts = attrs.field(factory=MeshCounts)

    def join(self, peer: str, number: int, log_level: str | None, now: float) -> Worker:
        """A worker that was never seen before."""
        worker = Worker(peer, number, now, now, log_level)
        self.members[peer] = worker
        for name in worker.names:
            self.named[name] = worker
        self.joined += 1
        return worker

    def remove(self, peer: str, *, is_lost: bool) -> Worker | None:
        """A worker that is gone; None when it was not connected. A lost one is fenced."""
        if is_lost:
            self._fenced.add(peer)
            self.lost[peer] = None
        else:
            self.ended.add(peer)
        worker = self.members.pop(peer, None)
        if worker is not None:
            self.disconnected += 1
            self._gone = plus(self._gone, without_queue(worker.mesh))
            for name in worker.names:
                if self.named.get(name) is worker:
                    del self.named[name]
        return worker

    def mesh(self) -> MeshCounts:
        """What the links of all workers, also of those that are gone, have counted."""
        return reduce(plus, (worker.mesh for worker in self.members.values()), self._gone)

    def is_fenced(self, peer: str) -> bool:
        """Whether it was given up."""
        return peer in self._fenced

    def round(self, beat_s: float, now: float) -> tuple[list[Worker], list[Worker]]:
        """Look at every worker; once a beat.

        Returns:
            Those whose link is to be probed, and those that are lost now.
        """
        probes: list[Worker] = []
        lost: list[Worker] = []
        stalled = 0
        for worker in self.members.values():
            if worker.down_since is not None:
                if worker.probed and not worker.unreached:
                    # The probe was taken: the link is up again, though its loop is silent yet.
                    worker.down_since = None
                elif now - worker.down_since >= self.disconnect_timeout_s:
                    lost.append(worker)
                    continue
            # One that has nothing to do beats seldom.
            rhythm_s = beat_s if worker.held else (IDLE_BEATS + 1) * beat_s
            silent_s = now - max(worker.heard_at, worker.progress_at)
            worker.blocked = False
            worker.unreached = False
            worker.probed = silent_s >= rhythm_s or worker.down_since is not None
            if worker.probed:
                probes.append(worker)
            if silent_s >= LINK_SILENCE_BEATS * rhythm_s and worker.down_since is None:
                stalled += 1
        self.stalled = stalled
        return probes, lost

"""What processes count, how it travels to the master, and how it becomes totals that only grow.

Every process counts since its own start and says the sums in its hello and its beats. The listener adds up by
how much they grew since the last word of the same process, beginning with the hello. So nothing is
counted twice when a link breaks, a process is replaced or the listener itself starts anew, and the totals
never fall while it runs.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

import attrs

COUNT_MAX = 2**53
"""Larger ones are a broken peer's; sums stay at it, so that they can always be sent on."""

C = TypeVar("C", "MeshCounts", "WorkCounts")


def _is_count(_owner: object, field: "attrs.Attribute[int]", value: int) -> None:
    if not 0 <= value <= COUNT_MAX:
        raise ValueError(f"{field.name} must be 0..{COUNT_MAX}, got {value}")


def _count() -> int:
    """A field of a class of counts."""
    return attrs.field(default=0, validator=_is_count)


@attrs.frozen(kw_only=True)
class MeshCounts:
    """Messages of the links of one process since its start, or of several processes together.

    Attributes:
        messages_in: Read from the network, bad ones included.
        messages_out: Taken for sending.
        bytes_in: Of those read.
        bytes_out: Of those taken for sending.
        bad_frames: Dropped because they could not be read, or came over a connection without identity.
        unreachable: Not sent because no connection to the peer was up.
        full: Not sent because too much waited for the peer already.
        dropped: Taken, but dropped when the peer became unreachable.
        reconnects: Times the process was welcomed again after it had lost its listener.
        queued: Waiting now for peers that read too slowly; the one number here that falls too.
    """

    messages_in: int = _count()
    messages_out: int = _count()
    bytes_in: int = _count()
    bytes_out: int = _count()
    bad_frames: int = _count()
    unreachable: int = _count()
    full: int = _count()
    dropped: int = _count()
    reconnects: int = _count()
    queued: int = _count()


@attrs.frozen(kw_only=True)
class WorkCounts:
    """What came of slices under one controller process since its start.

    Attributes:
        completed: Slices that were completed.
        failed: Slices that ended in error.
        refused: Results that were not counted, because one had come before.
        busy_us: Microseconds that workers spent on slices.
        records: Records that readers gave to workers, also for attempts that failed.
    """

    completed: int = _count()
    failed: int = _count()
    refused: int = _count()
    busy_us: int = _count()
    records: int = _count()


@attrs.frozen(kw_only=True)
class ControllerCounts:
    """What a controller says of itself and of all workers that it ever had.

    Attributes:
        mesh: Its own links.
        workers: Those of its workers together.
    """

    work: WorkCounts = attrs.field(factory=WorkCounts)
    mesh: MeshCounts = attrs.field(factory=MeshCounts)
    workers: MeshCounts = attrs.field(factory=MeshCounts)


def as_count(number: int) -> int:
    """The nearest number that a count can be: what others say of their work is not checked one by one."""
    return min(max(0, number), COUNT_MAX)


def plus(one: C, other: C) -> C:
    """Both together."""
    sums = {
        field.name: min(COUNT_MAX, getattr(one, field.name) + getattr(other, field.name))
        for field in attrs.fields(type(one))
    }
    return type(one)(**sums)


def growth(new: C, old: C) -> C:
    """By how much each count grew; one that fell, as that of a late message does, counts as unchanged."""
    grown = {
        field.name: max(0, getattr(new, field.name) - getattr(old, field.name))
        for field in attrs.fields(type(new))
    }
    return type(new)(**grown)


def without_queue(counts: MeshCounts) -> MeshCounts:
    """The counts of a process that is gone: nothing waits in it any more."""
    return attrs.evolve(counts, queued=0)


@attrs.define
class _Source(Generic[C]):
    """What was heard of one process: the highest of each count, and the newest word."""

    peer: str
    highest: C
    newest: C


class Total(Generic[C]):
    """Adds up what the processes of one kind count.

    Each is known by a name that it shares with its successors, and by its identity on the mesh.

    Attributes:
        sum: All growth so far.
    """

    def __init__(self, nothing: C) -> None:
        self.sum: C = nothing
        self._sources: dict[str, _Source[C]] = {}

    def hear(self, name: str, peer: str, counts: C) -> None:
        """A process said its counts; the first ones of each identity only say where it begins."""
        source = self._sources.get(name)
        if source is None or source.peer != peer:
            self._sources[name] = _Source(peer, counts, counts)
            return
        grown = growth(counts, source.highest)
        self.sum = plus(self.sum, grown)
        source.highest = plus(source.highest, grown)
        source.newest = counts

    def forget(self, name: str) -> None:
        """No process of this name is left."""
        self._sources.pop(name, None)

    def newest(self) -> Iterator[C]:
        """The last word of every process that is there."""
        return (source.newest for source in self._sources.values())


def mesh_sum(total: Total[MeshCounts]) -> MeshCounts:
    """The sums of a total, with what waits in its processes now."""
    sums: MeshCounts = total.sum
    queued = sum(counts.queued for counts in total.newest())
    return attrs.evolve(sums, queued=min(COUNT_MAX, queued))

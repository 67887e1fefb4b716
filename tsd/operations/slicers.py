"""Slicers: the controller's half of a reader, which cuts its input into slice requests."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from tsd.operations.base import Component
from tsd.operations.context import OpContext

MAX_QUEUE_LENGTH = 10_000


@attrs.frozen(kw_only=True)
class RecoveryEntry:
    """Where a slicer stood in an earlier run of its execution.

    Attributes:
        slicer_id: Number of the slicer, from 0.
        last_slice: The request of its last recorded slice; None when it recorded none.
        slicer_order: Order of that slice in this execution, 0 when it belongs to an earlier one.
    """

    slicer_id: int
    last_slice: Mapping[str, Any] | None
    slicer_order: int = 0


class SlicerBase(Component):
    """What both kinds of slicers share.

    Attributes:
        recovery: One entry per slicer when the execution goes on after an earlier run; else empty.
        stats: What the controller last told: `{"workers": {"connected", "available"}, "slices":
            {"processed", "failed"}}`.
    """

    def __init__(self, ctx: OpContext, config: Any, execution: Mapping[str, Any]) -> None:
        super().__init__(ctx, config, execution)
        self.recovery: tuple[RecoveryEntry, ...] = ()
        self.stats: Mapping[str, Any] = {}

    @property
    def workers_connected(self) -> int:
        """How many workers the controller has now."""
        return int(self.stats.get("workers", {}).get("connected", 0))

    def is_recoverable(self) -> bool:
        """Whether it can go on from `recovery`."""
        return False

    def is_relocatable(self) -> bool:
        """Whether its controller may move to another host without losing its position."""
        return False

    def max_queue_length(self) -> int:
        """How many slices may wait for workers; asked again and again."""
        return MAX_QUEUE_LENGTH

    def last_slice(self, slicer_id: int = 0) -> Mapping[str, Any] | None:
        """The request after which a slicer goes on; None when it begins."""
        for entry in self.recovery:
            if entry.slicer_id == slicer_id:
                return entry.last_slice
        return None


class Slicer(SlicerBase):
    """One function that makes all slices."""

    def slice(self) -> Any:
        """Make the next slice.

        Returns:
            A request (an object that JSON can hold), a list of requests, or None: the end in a `once` job,
            nothing for now in a `persistent` one. An empty list is neither.
        """
        raise NotImplementedError


class ParallelSlicer(SlicerBase):
    """Several functions, each of which makes its own slices; the job says how many as `slicers`."""

    def new_slicer(self, slicer_id: int) -> Callable[[], Any] | Any:
        """Make the function number `slicer_id`; it works as `Slicer.slice`. None leaves the number out.

        Plain functions take turns in one thread, so a slow one holds up the others; async ones do not.
        """
        raise NotImplementedError

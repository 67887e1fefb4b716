"""The controller's side of a job in a test: the real slicer runner, in the thread of the test."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from typing_extensions import override

from tsd.operations.outcome import SliceOutcome
from tsd.operations.slice import Slice
from tsd.operations.slicers import RecoveryEntry, SlicerBase
from tsd.operations.slicing import SlicerRunner
from tsd.operations.testing.bundles import BundlePaths
from tsd.operations.testing.errors import HarnessError
from tsd.operations.testing.jobs import Connections
from tsd.operations.testing.loop import HarnessLoop
from tsd.operations.testing.process import ProcessHarness

LIMIT = 10_000
"""How many slices a job may make in a test unless it says otherwise."""
_ROOM = 2**31
"""More than any slicer makes in one round."""


class SlicerHarness(ProcessHarness[SlicerRunner]):
    """Makes the slices of a job, as its controller does.

    Use it in a `with` statement. Slicer functions are called one after another, also async ones, so that the
    same slices come in the same order each time.

    Attributes:
        is_finished: No slice will ever follow.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        *,
        recovery: Sequence[RecoveryEntry] = (),
        bundle: BundlePaths = None,
        modules: Iterable[str] = (),
        connections: Connections | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check a job; only its first operation is built, and its APIs.

        Args:
            job: As posted; `new_test_job` makes one.
            recovery: Where each slicer stood in an earlier run; refused when the slicer is not recoverable.
            bundle: As of `WorkerHarness`, and so are the next three.
            modules: See there.
            connections: See there.
            sleep: See there.

        Raises:
            JobInvalid: With every fault and its path.
            AssetError: A module or a bundle can not be imported.
            HarnessError: A folder holds no bundle.
        """
        super().__init__(job, bundle=bundle, modules=modules, connections=connections, sleep=sleep)
        self.is_finished = False
        self._recovery = tuple(recovery)
        self._orders = Counter({entry.slicer_id: entry.slicer_order for entry in recovery})

    @override
    def _build(self, stack: ExitStack, loop: HarnessLoop) -> SlicerRunner:
        context = self._bench.context(worker_id="test-controller", run_async=loop.run, sleep=self._sleep)
        runner = SlicerRunner(self._bench.job, self._bench.registry, context)
        stack.callback(runner.shutdown)
        runner.begin()
        runner.initialize(self._recovery)
        return runner

    @override
    def __enter__(self) -> Self:
        super().__enter__()
        self.set_workers(int(self.job["workers"]))
        return self

    @property
    def slicer(self) -> SlicerBase:
        """The controller's half of the reader."""
        return self._built.slicer

    @property
    def slicer_count(self) -> int:
        """How many slicer functions there are."""
        return self._built.slicer_count

    @property
    def max_queue_length(self) -> int:
        """How many slices may wait for workers, as the slicer says now; the harness makes more if asked."""
        return self._built.max_queue_length()

    @property
    def stats(self) -> Mapping[str, Any]:
        """What the slicer was last told of the execution."""
        return self._built.slicer.stats

    def complete_output(self) -> None:
        """Tell all that write the output that every slice is done, as the controller does at the end.

        Raises:
            Exception: What one of them raised, unchanged.
        """
        self._built.complete()

    def set_workers(self, count: int) -> None:
        """Tell the slicer that there are so many workers now; at first there are as many as the job wants."""
        slices = dict(self.stats.get("slices") or {"processed": 0, "failed": 0})
        self._built.execution_stats({"workers": {"connected": count, "available": count}, "slices": slices})

    def create_slices(self) -> list[Slice]:
        """Call each slicer function that has not ended once; the slices of this round, in order.

        Raises:
            OperationError: The slicer raised, which is the cause, or returned something that is no request.
        """
        runner = self._open
        made = runner.make(_ROOM, 0.0)
        self.is_finished = made.is_finished
        slices = [self._number(id_, request) for id_, requests in made.slices for request in requests]
        for slice_ in slices:
            runner.slice_enqueued(slice_)
        return slices

    def all_slices(self, limit: int = LIMIT) -> list[Slice]:
        """All slices that a `once` job still makes.

        Raises:
            HarnessError: The job never ends, or makes more than `limit` slices.
            OperationError: As `create_slices`.
        """
        if self.job["lifecycle"] != "once":
            raise HarnessError(
                f"a {self.job['lifecycle']} job never ends: call create_slices as often as is needed"
            )
        slices: list[Slice] = []
        rounds = 0
        while not self.is_finished:
            slices += self.create_slices()
            rounds += 1
            if max(len(slices), rounds - 1) > limit:
                raise HarnessError(
                    f"{self.slicer.name} has not ended after {len(slices)} slices in {rounds} rounds; "
                    "a slicer ends when it returns None; if it really makes so many, give a higher `limit`"
                )
        return slices

    def create_requests(self) -> list[Any]:
        """The requests of `create_slices`."""
        return [slice_.decode_request() for slice_ in self.create_slices()]

    def all_requests(self, limit: int = LIMIT) -> list[Any]:
        """The requests of `all_slices`."""
        return [slice_.decode_request() for slice_ in self.all_slices(limit)]

    def dispatch(self, slice_: Slice) -> None:
        """Tell the components that a worker has the slice."""
        self._built.slice_dispatched(slice_)

    def complete(self, slice_: Slice, error: str | None = None) -> None:
        """Tell the components that the slice has ended, in error when there is a text of one."""
        outcome = SliceOutcome(state="completed" if error is None else "error", error=error)
        self._built.slice_completed(slice_, outcome)

    def _number(self, slicer_id: int, request: str) -> Slice:
        self._orders[slicer_id] += 1
        return Slice(
            ex_id=str(self.job["ex_id"]),
            slicer_id=slicer_id,
            slicer_order=self._orders[slicer_id],
            request=request,
        )

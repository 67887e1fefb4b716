"""The controller's side of a job in a test: the real slicer runner, in the thread of the test."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from tsd.operations.apis import Apis
from tsd.operations.context import Events
from tsd.operations.outcome import SliceOutcome
from tsd.operations.slice import Slice
from tsd.operations.slicers import RecoveryEntry, SlicerBase
from tsd.operations.slicing import SlicerRunner
from tsd.operations.testing.bundles import BundlePaths
from tsd.operations.testing.errors import HarnessError
from tsd.operations.testing.jobs import Bench, Connections
from tsd.operations.testing.loop import HarnessLoop

LIMIT = 10_000
"""How many slices a job may make in a test unless it says otherwise."""
_ROOM = 2**31
"""More than any slicer makes in one round."""


class SlicerHarness:
    """Makes the slices of a job, as its controller does.

    Use it in a `with` statement. Slicer functions are called one after another, also async ones, so that the
    same slices come in the same order each time.

    Attributes:
        job: The checked job, with every default.
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
        self._bench = Bench.of(job, bundle=bundle, modules=modules, connections=connections)
        self.job: Mapping[str, Any] = self._bench.job
        self.is_finished = False
        self._recovery = tuple(recovery)
        self._sleep = sleep
        self._stack = ExitStack()
        self._is_closed = False
        self._runner: SlicerRunner | None = None
        self._orders = Counter({entry.slicer_id: entry.slicer_order for entry in recovery})

    def __enter__(self) -> Self:
        if self._runner is not None:
            raise HarnessError("a harness is entered once; make another one")
        with ExitStack() as stack:
            loop = HarnessLoop()
            stack.callback(loop.close)
            context = self._bench.context(worker_id="test-controller", run_async=loop.run, sleep=self._sleep)
            runner = SlicerRunner(self._bench.job, self._bench.registry, context)
            stack.callback(runner.shutdown)
            runner.initialize(self._recovery)
            self._runner = runner
            self._stack = stack.pop_all()
        self.set_workers(int(self.job["workers"]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        self._stack.close()

    @property
    def _built(self) -> SlicerRunner:
        if self._runner is None:
            raise HarnessError("the harness is not open: use it in a with statement")
        return self._runner

    @property
    def _open(self) -> SlicerRunner:
        built = self._built
        if self._is_closed:
            raise HarnessError("the harness is closed: run slices within its with statement")
        return built

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
    def apis(self) -> Apis:
        """The APIs of the job."""
        return self._built.apis

    def get_api(self, name: str) -> Any:
        """What an API made.

        Raises:
            OperationError: There is no such API.
        """
        return self._built.apis.get(name)

    @property
    def events(self) -> Events:
        """The events of the process."""
        return self._built.context.events

    @property
    def metadata(self) -> dict[str, Any]:
        """A copy of the execution's metadata, as slicer and APIs have set it."""
        return dict(self._built.context.get_metadata())

    @property
    def stats(self) -> Mapping[str, Any]:
        """What the slicer was last told of the execution."""
        return self._built.slicer.stats

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

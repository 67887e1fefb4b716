"""A whole job in a test: its slicer and one worker, slice by slice."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from tsd.error_texts import error_text
from tsd.ids import new_id
from tsd.operations.context import Rejection
from tsd.operations.record import Record
from tsd.operations.slice import Slice
from tsd.operations.testing.bundles import BundlePaths
from tsd.operations.testing.jobs import Connections
from tsd.operations.testing.slicer import LIMIT, SlicerHarness
from tsd.operations.testing.worker import SliceResult, WorkerHarness

Ran = tuple[Slice, list[Record]]
"""A slice, and what left the last operation."""


class JobHarness:
    """Runs a job from its first slice to its flush, with one worker.

    Use it in a `with` statement. Slicer and worker share nothing but slices, as in a cluster, where they are
    processes: each has APIs and metadata of its own.

    Attributes:
        slicer: The controller's side.
        worker: The worker's side.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        *,
        bundle: BundlePaths = None,
        modules: Iterable[str] = (),
        connections: Connections | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check a job; arguments and faults as of `WorkerHarness`."""
        modules = tuple(modules)
        job = {"ex_id": new_id(), **job}
        self.slicer = SlicerHarness(job, bundle=bundle, modules=modules, connections=connections, sleep=sleep)
        self.worker = WorkerHarness(job, bundle=bundle, modules=modules, connections=connections, sleep=sleep)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.slicer)
            stack.enter_context(self.worker)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def job(self) -> Mapping[str, Any]:
        """The checked job, with every default."""
        return self.worker.job

    @property
    def warnings(self) -> Sequence[Mapping[str, Any]]:
        """What is said of the job though it may run, as in the answer of a master."""
        return self.worker.warnings

    @property
    def rejected(self) -> list[Rejection]:
        """Every record that an operation rejected."""
        return self.worker.rejected

    def run(self) -> list[Ran]:
        """Call each slicer function once, and run the slices of it one after another.

        Raises:
            Exception: What an operation raised, unchanged; the slices behind it are not run.
            OperationError: The slicer failed.
        """
        return [self._run_one(slice_) for slice_ in self.slicer.create_slices()]

    def run_to_completion(self, limit: int = LIMIT) -> list[Ran]:
        """Run all slices of a `once` job one after another, flush, and complete the output.

        Returns:
            Each slice with its records, in order; at the end, under the id of the flush, the records that the
            flush released, if there were any.

        Raises:
            Exception: As `run`.
            HarnessError: The job never ends, or makes more than `limit` slices.
        """
        results = [self._run_one(slice_) for slice_ in self.slicer.all_slices(limit)]
        flushed = self.worker.flush_full()
        if flushed is not None and flushed.unwrap():
            results.append((flushed.slice, flushed.records))
        self.slicer.complete_output()
        return results

    def _run_one(self, slice_: Slice) -> Ran:
        self.slicer.dispatch(slice_)
        result: SliceResult = self.worker.run_slice_full(slice_)
        self.slicer.complete(slice_, None if result.error is None else error_text(result.error))
        return slice_, result.unwrap()

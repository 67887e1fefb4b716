"""The worker's side of a job in a test: the real pipeline, in the thread of the test."""

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import attrs
from typing_extensions import override

from tsd.operations.base import Component, Fetcher
from tsd.operations.context import Rejection
from tsd.operations.outcome import Analytics, SliceOutcome
from tsd.operations.pipeline import Pipeline
from tsd.operations.record import Record
from tsd.operations.slice import Slice
from tsd.operations.testing.bundles import BundlePaths
from tsd.operations.testing.errors import HarnessError
from tsd.operations.testing.jobs import (
    PASS_THROUGH,
    Connections,
    entry_of,
    new_test_job,
    new_test_slice,
)
from tsd.operations.testing.loop import HarnessLoop
from tsd.operations.testing.process import ProcessHarness

Entry = str | Mapping[str, Any]
"""An operation or API as in a job; a text is one with only its name."""


@attrs.frozen(kw_only=True)
class SliceResult:
    """What became of a slice.

    Attributes:
        slice: The slice; a flush has one of its own.
        status: `completed`, `error`, or `flushed` for a flush that succeeded.
        records: What left the last operation.
        retry_count: Attempts beyond the first.
        analytics: None unless the job has `analytics` and the slice succeeded.
        error: What was raised in the last attempt; None when it succeeded.
    """

    slice: Slice
    status: str
    records: list[Record]
    retry_count: int
    analytics: Analytics | None
    error: Exception | None

    def unwrap(self) -> list[Record]:
        """The records.

        Raises:
            Exception: What was raised in the last attempt, unchanged.
        """
        if self.error is not None:
            raise self.error
        return self.records


class WorkerHarness(ProcessHarness[Pipeline]):
    """Runs slices through the fetcher and processors of a job, as one worker does.

    Use it in a `with` statement: entering builds and initializes every component, leaving shuts them down.
    Plain methods of operations run in the thread of the test, async ones on a loop that lives as long as the
    harness. So it also works in async tests, whose own loop waits meanwhile.

    Attributes:
        rejected: Every record that an operation rejected, whatever its dead-letter action, in all attempts.
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
        """Check a job.

        Args:
            job: As posted; `new_test_job` makes one. An `ex_id` in it is kept, else it gets a new one.
            bundle: Folder or folders of bundles, each with its `asset.json`; without it the nearest at or
                above the working directory, if there is one. The job may use their operations without naming
                them in `assets`.
            modules: Names of installed modules with operations, as `tsd.operation_modules`.
            connections: Type of a connection to its name to its settings.
            sleep: Waits so many seconds, between attempts and for operations that call `ctx.sleep`.

        Raises:
            JobInvalid: With every fault and its path.
            AssetError: A module or a bundle can not be imported.
            HarnessError: A folder holds no bundle.
        """
        super().__init__(job, bundle=bundle, modules=modules, connections=connections, sleep=sleep)
        self.rejected: list[Rejection] = []
        self._error: Exception | None = None
        self._order = 0

    @classmethod
    def for_processor(
        cls,
        operation: Entry,
        *,
        apis: Sequence[Entry] = (),
        bundle: BundlePaths = None,
        modules: Iterable[str] = (),
        connections: Connections | None = None,
        sleep: Callable[[float], None] = time.sleep,
        **job_fields: Any,
    ) -> Self:
        """A harness of one processor; `run_slice` takes the records for it.

        Args:
            operation: Its entry in the job, for example `{"_op": "clamp", "field": "n", "high": 5}`.
            apis: Entries of APIs and observers that it uses.
            bundle: As of the class, and so are the next three.
            modules: See there.
            connections: See there.
            sleep: See there.
            job_fields: Other fields of the job, such as `max_retries`, which is 0 without.
        """
        entries = [entry_of(each, "_name") for each in apis]
        job = new_test_job(PASS_THROUGH, operation, apis=entries, **job_fields)
        return cls(job, bundle=bundle, modules=modules, connections=connections, sleep=sleep)

    @classmethod
    def for_fetcher(
        cls,
        operation: Entry,
        *,
        apis: Sequence[Entry] = (),
        bundle: BundlePaths = None,
        modules: Iterable[str] = (),
        connections: Connections | None = None,
        sleep: Callable[[float], None] = time.sleep,
        **job_fields: Any,
    ) -> Self:
        """A harness of the fetcher of one reader; `run_slice` takes a request. Else as `for_processor`."""
        entries = [entry_of(each, "_name") for each in apis]
        job = new_test_job(operation, "noop", apis=entries, **job_fields)
        return cls(job, bundle=bundle, modules=modules, connections=connections, sleep=sleep)

    @classmethod
    def for_sender(
        cls,
        operation: Entry,
        api: Entry,
        *,
        apis: Sequence[Entry] = (),
        bundle: BundlePaths = None,
        modules: Iterable[str] = (),
        connections: Connections | None = None,
        sleep: Callable[[float], None] = time.sleep,
        **job_fields: Any,
    ) -> Self:
        """A harness of an operation that writes through an API.

        Args:
            operation: Its entry; it gets the name of the API as `_api_name` unless it has one.
            api: The entry of the API.
            apis: Entries of further APIs; the rest as `for_processor`.
            bundle: See there.
            modules: See there.
            connections: See there.
            sleep: See there.
            job_fields: See there.
        """
        sender, first = entry_of(operation, "_op"), entry_of(api, "_name")
        if not sender.keys() & {"_api_name", "api_name"}:
            sender["_api_name"] = first.get("_name")
        return cls.for_processor(
            sender,
            apis=[first, *apis],
            bundle=bundle,
            modules=modules,
            connections=connections,
            sleep=sleep,
            **job_fields,
        )

    # --- opening and closing --------------------------------------------------------------------

    @override
    def _build(self, stack: ExitStack, loop: HarnessLoop) -> Pipeline:
        # A pipeline has the collector run less often, as its process has nothing else to do.
        stack.callback(gc.set_threshold, *gc.get_threshold())
        context = self._bench.context(
            worker_id="test-worker", run_async=loop.run, sleep=self._sleep, on_reject=self.rejected.append
        )
        context.events.on("slice:failure", self._note_failure)
        pipeline = Pipeline(self._bench.job, self._bench.registry, context, keep_records=True)
        stack.callback(pipeline.shutdown)
        pipeline.initialize()
        return pipeline

    def _note_failure(self, _slice: Slice, error: Exception) -> None:
        self._error = error

    # --- what there is --------------------------------------------------------------------------

    @property
    def fetcher(self) -> Fetcher:
        """The worker's half of the reader."""
        fetcher = self._built.operations[0]
        assert isinstance(fetcher, Fetcher), "the first operation of a checked job is a reader"
        return fetcher

    @property
    def processors(self) -> tuple[Component, ...]:
        """What stands behind the reader, in order."""
        return self._built.operations[1:]

    def get_operation(self, name_or_index: str | int) -> Any:
        """The operation with that name, the first of several; or the one in that place, the fetcher being 0.

        Raises:
            HarnessError: There is none.
        """
        operations = self._built.operations
        if isinstance(name_or_index, int):
            found = operations[name_or_index : name_or_index + 1] if name_or_index >= 0 else ()
        else:
            found = tuple(each for each in operations if name_or_index in _names_of(each))
        if not found:
            names = ", ".join(each.name for each in operations)
            raise HarnessError(f"the job has no operation {name_or_index!r}; it has {names}")
        return found[0]

    # --- running --------------------------------------------------------------------------------

    def run_slice(self, given: Any) -> list[Record]:
        """Run one slice and return what left the last operation.

        Args:
            given: The records, for a harness of a processor or sender; a request, for one of a fetcher or a
                whole job; or a `Slice`. Nothing that operations do to it changes the given one.

        Raises:
            Exception: What the last attempt raised, unchanged, when the hooks of a failed slice have run.
            HarnessError: Records were given to a job whose reader takes requests.
        """
        return self.run_slice_full(given).unwrap()

    def run_slice_full(self, given: Any) -> SliceResult:
        """As `run_slice`, but a slice that fails raises nothing."""
        pipeline = self._open
        slice_ = given if isinstance(given, Slice) else self._slice_of(given)
        self._error = None
        outcome = pipeline.run(slice_)
        if outcome.state == "completed":
            pipeline.finished(slice_.slice_id)
        return self._result(slice_, outcome, outcome.state)

    def flush(self) -> list[Record]:
        """Have operations release what they hold back, as when a worker ends; the records that this gave.

        As in a worker, nothing happens when no slice was run, or the last one failed and nothing is held.

        Raises:
            Exception: What the last attempt raised, unchanged.
        """
        result = self.flush_full()
        return [] if result is None else result.unwrap()

    def flush_full(self) -> SliceResult | None:
        """As `flush`, but one that fails raises nothing; None when there was nothing to do."""
        pipeline = self._open
        self._error = None
        outcome = pipeline.flush()
        if outcome is None:
            return None
        slice_ = pipeline.context.slice
        assert slice_ is not None, "a flush has a slice"
        return self._result(slice_, outcome, "flushed" if outcome.state == "completed" else outcome.state)

    def _slice_of(self, given: Any) -> Slice:
        if not isinstance(given, Mapping):
            self._check_takes_records(given)
        self._order += 1
        return new_test_slice(given, ex_id=str(self.job["ex_id"]), slicer_order=self._order)

    def _check_takes_records(self, given: Any) -> None:
        if not isinstance(given, Iterable) or isinstance(given, str | bytes):
            raise HarnessError(f"{given!r} is no slice, request or list of records")
        entry = self.job["operations"][0]
        if entry["_op"] != PASS_THROUGH["_op"] or not entry.get("passthrough_slice"):
            raise HarnessError(
                f"{entry['_op']} takes requests, which are objects; records are for a job that begins with "
                f"{dict(PASS_THROUGH)}, as those of for_processor and for_sender do"
            )

    def _result(self, slice_: Slice, outcome: SliceOutcome, status: str) -> SliceResult:
        return SliceResult(
            slice=slice_,
            status=status,
            records=outcome.records or [],
            retry_count=outcome.retry_count,
            analytics=outcome.analytics,
            error=self._error if outcome.state == "error" else None,
        )


def _names_of(operation: Component) -> tuple[str, str]:
    """Its name in the job, and that without its bundle."""
    return operation.name, operation.name.partition("@")[0]

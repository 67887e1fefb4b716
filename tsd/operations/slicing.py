"""The controller's side of a job: the slicer and the APIs, asked for slices in batches.

Plain code for one thread, as the pipeline is. Async slicer functions are run on the trio loop, each in a task
of its own where the context can spawn, so that a slow one holds up nobody.
"""

import inspect
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tsd.error_texts import located
from tsd.errors import OperationError
from tsd.operations.apis import call_hooks, collect_hooks
from tsd.operations.base import Component
from tsd.operations.build import build, build_apis
from tsd.operations.completion import Completion, ExecutionScope, is_whole
from tsd.operations.context import OpContext
from tsd.operations.exact_json import encode_exactly
from tsd.operations.forked import HERE, leave
from tsd.operations.outcome import SliceOutcome
from tsd.operations.registry import Registry
from tsd.operations.slice import Slice
from tsd.operations.slicers import ParallelSlicer, RecoveryEntry, Slicer, SlicerBase

RESERVED_KEYS = frozenset({"slice_id"})
"""Keys that a request can not have: in Teraslice one with it is a slice of an earlier run."""
REQUEST_B_MAX = 16 * 1024 * 1024
"""Of a request as JSON: it travels in one message, and is kept in memory until its slice has ended."""
_SHOWN_CHARS = 200


@attrs.define(kw_only=True)
class Made:
    """Slices that were made by one call.

    Attributes:
        slices: (slicer_id, requests) in the order of production; requests are JSON text.
        is_finished: No slice will ever follow.
        is_idle: Nothing more for now; ask again after a while.
    """

    slices: list[tuple[int, list[str]]] = attrs.field(factory=list)
    is_finished: bool = False
    is_idle: bool = False

    @property
    def count(self) -> int:
        """How many slices."""
        return sum(len(requests) for _, requests in self.slices)


@attrs.define(eq=False)
class _Source:
    """One slicer function."""

    slicer_id: int
    function: Callable[[], Any]
    is_async: bool
    is_busy: bool = False
    """An async call is under way."""


class SlicerRunner:
    """Slicer and APIs of a job in the controller.

    `initialize`, then `make` again and again, `shutdown` in any case; all of it in the same thread.

    Attributes:
        slicer: The user's slicer.
        subslice_by_key: How many results were lists.
        subslices: How often the slicer emitted `slicer:slice:recursion`.
        slice_range_expansion: How often it emitted `slicer:slice:range_expansion`.
    """

    def __init__(self, job: Mapping[str, Any], registry: Registry, context: OpContext) -> None:
        """Construct the slicer and the APIs.

        Raises:
            AssetError: The reader or an API is unknown.
            JobInvalid: Options are wrong, which a checked job does not have.
        """
        self.context = context
        self.apis = build_apis(job, registry, context)
        entry = job["operations"][0]
        slicer = build(registry.reader(entry["_op"]), entry, "operations[0]", context, is_slicer=True)
        if not isinstance(slicer, Slicer | ParallelSlicer):
            raise OperationError(f"the slicer of {slicer.name} is no Slicer or ParallelSlicer")
        self.slicer: SlicerBase = slicer
        self.subslice_by_key = self.subslices = self.slice_range_expansion = 0
        self._is_once = job.get("lifecycle", "once") == "once"
        self._slicers_wanted = int(job.get("slicers", 1))
        self._sources: list[_Source] = []
        self._slicer_count = 1
        self._ready: queue.SimpleQueue[tuple[_Source, Any, Exception | None]] = queue.SimpleQueue()
        self._begun: list[Component] = []
        scope = ExecutionScope(execution=job, is_whole=is_whole(job), log=context.log)
        self._completion = Completion(job, registry, scope)
        components = (*self.apis.components, slicer)
        self._on_enqueued = collect_hooks(components, "on_slice_enqueued", context)
        self._on_dispatch = collect_hooks(components, "on_slice_dispatch", context)
        self._on_complete = collect_hooks(components, "on_slice_complete", context)
        self._on_stats = collect_hooks(components, "on_execution_stats", context)
        context.events.on("slicer:slice:recursion", self._count_subslice)
        context.events.on("slicer:slice:range_expansion", self._count_expansion)

    @property
    def is_recoverable(self) -> bool:
        """Whether the slicer can go on from an earlier run."""
        return bool(self.slicer.is_recoverable())

    @property
    def slicer_count(self) -> int:
        """How many slicer functions there are; after `initialize`."""
        return self._slicer_count

    @property
    def wants_enqueued(self) -> bool:
        """Whether `slice_enqueued` does anything."""
        return bool(self._on_enqueued)

    @property
    def wants_dispatch(self) -> bool:
        """Whether `slice_dispatched` does anything."""
        return bool(self._on_dispatch)

    @property
    def wants_complete(self) -> bool:
        """Whether `slice_completed` does anything."""
        return bool(self._on_complete)

    @property
    def completes(self) -> bool:
        """Whether something in the job has to be told when all slices are done: `complete` does."""
        return bool(self._completion)

    def begin(self) -> None:
        """Tell all that write the output that the execution begins; before any slice is handed out.

        Raises:
            Exception: What one of them raised.
        """
        self._completion.begin()

    def complete(self, last_orders: Mapping[int, int] | None = None) -> None:
        """Tell all that write the output that every slice is recorded, and none is in error.

        Args:
            last_orders: See `ExecutionScope`.

        Raises:
            Exception: What one of them raised.
        """
        self._completion.complete(last_orders)

    def max_queue_length(self) -> int:
        """How many slices may wait for workers, as the slicer says now."""
        return int(self.slicer.max_queue_length())

    def initialize(self, recovery: Sequence[RecoveryEntry] = ()) -> None:
        """Initialize the APIs, then the slicer, and make its functions.

        Args:
            recovery: Where each slicer stood; empty for a first run.

        Raises:
            OperationError: Slices were recorded and the slicer can not go on after them.
            Exception: What a component raised; call `shutdown` then too.
        """
        if any(entry.last_slice is not None for entry in recovery) and not self.is_recoverable:
            raise OperationError(f"Slicer is not recoverable: {self.slicer.name} can not go on after a slice")
        self._begun += self.apis.components
        self.apis.initialize()
        self.slicer.recovery = tuple(recovery)
        self._begun.append(self.slicer)
        self.context.on_doing(f"initializing the slicer of {self.slicer.place}")
        try:
            self.context.call(self.slicer.initialize)
            self._sources = self._make_sources()
        except Exception as error:
            located(error, self.slicer.place)
            raise
        self._slicer_count = len(self._sources)

    def _make_sources(self) -> list[_Source]:
        slicer = self.slicer
        if isinstance(slicer, Slicer):
            return [_Source(0, slicer.slice, inspect.iscoroutinefunction(slicer.slice))]
        assert isinstance(slicer, ParallelSlicer)
        sources = []
        for slicer_id in range(self._slicers_wanted):
            function = self.context.call(slicer.new_slicer, slicer_id)
            if callable(function):
                sources.append(_Source(slicer_id, function, inspect.iscoroutinefunction(function)))
            else:
                self.context.log.info("slicer.left_out", slicer_id=slicer_id)
        return sources

    def make(self, room: int, budget_s: float) -> Made:
        """Make slices until there is no room, the time is up, or there are none.

        A list that a slicer returns is taken whole, so there may be more than `room`.

        Args:
            room: How many to make at most.
            budget_s: For how long at most, not counting the last call to the slicer.

        Raises:
            OperationError: The slicer raised, or returned something that is no request.
        """
        deadline = time.monotonic() + budget_s
        if len(self._sources) == 1 and not self._sources[0].is_async:
            return self._make_from_one(self._sources[0], room, deadline)
        made = Made()
        count = 0
        while self._sources and count < room:
            before = count
            is_quiet = True
            for source in tuple(self._sources):
                if count >= room:
                    is_quiet = False
                    break
                if source.is_async and self.context.spawn is not None:
                    self._start(source)
                    continue
                taken = self._take(made, source, *self._ask(source))
                count += taken or 0
                is_quiet = is_quiet and taken is None
            wait_s = max(deadline - time.monotonic(), 0.0) if is_quiet else 0.0
            taken_async = self._take_ready(made, wait_s)
            count += taken_async or 0
            if is_quiet and taken_async is None and count == before:
                made.is_idle = bool(self._sources)
                break
            if time.monotonic() >= deadline:
                break
        made.is_finished = not self._sources
        return made

    def _make_from_one(self, source: _Source, room: int, deadline: float) -> Made:
        """`make` where there is one plain function, as nearly always; it is called as fast as it goes."""
        made = Made()
        requests: list[str] = []
        while len(requests) < room:
            result, error = self._ask(source)
            taken = self._requests_of(source.slicer_id, result, error)
            if taken is None:
                self._take_null(source)
                made.is_idle = bool(self._sources)
                break
            requests += taken
            if time.monotonic() >= deadline:
                break
        if requests:
            made.slices.append((source.slicer_id, requests))
        made.is_finished = not self._sources
        return made

    def _ask(self, source: _Source) -> tuple[Any, Exception | None]:
        try:
            if source.is_async:
                return self.context.run_async(source.function), None
            return source.function(), None
        except Exception as error:  # noqa: BLE001 - the seam to user code: fails the execution
            return None, error
        finally:
            if HERE.is_child:
                leave()

    def _start(self, source: _Source) -> None:
        if source.is_busy:
            return
        source.is_busy = True

        async def call() -> None:
            result, error = None, None
            try:
                result = await source.function()
            except Exception as raised:  # noqa: BLE001 - the seam to user code: fails the execution
                error = raised
            self._ready.put((source, result, error))

        assert self.context.spawn is not None, "make asks before"
        self.context.spawn(call)

    def _take_ready(self, made: Made, wait_s: float) -> int | None:
        """Take what async functions have returned, waiting for the first; None when all of it was null."""
        total: int | None = None
        while any(source.is_busy for source in self._sources):
            try:
                source, result, error = (
                    self._ready.get(timeout=wait_s) if wait_s else self._ready.get_nowait()
                )
            except queue.Empty:
                break
            source.is_busy = False
            taken = self._take(made, source, result, error)
            if taken is None and source not in self._sources:
                taken = 0  # it has ended, which is news
            if taken is not None:
                total = (total or 0) + taken
                wait_s = 0.0
        return total

    def _take(self, made: Made, source: _Source, result: Any, error: Exception | None) -> int | None:
        """Take in one result: how many slices it was, None for null."""
        slicer_id = source.slicer_id
        requests = self._requests_of(slicer_id, result, error)
        if requests is None:
            self._take_null(source)
            return None
        if made.slices and made.slices[-1][0] == slicer_id:
            made.slices[-1][1].extend(requests)
        elif requests:
            made.slices.append((slicer_id, requests))
        return len(requests)

    def _take_null(self, source: _Source) -> None:
        """In a `once` job the function has ended."""
        if self._is_once:
            self._sources.remove(source)
            self.context.events.emit("slicer:done", source.slicer_id)

    def _requests_of(self, slicer_id: int, result: Any, error: Exception | None) -> list[str] | None:
        """What a function returned as JSON texts; None for null."""
        if error is not None:
            raise OperationError(f"slicer {slicer_id} of {self.slicer.place} failed") from error
        if result is None:
            return None
        if isinstance(result, list):
            self.subslice_by_key += 1
            self.context.events.emit("slicer:subslice")
            return [self._encode(slicer_id, item) for item in result]
        return [self._encode(slicer_id, result)]

    def _encode(self, slicer_id: int, request: Any) -> str:
        if not isinstance(request, dict):
            raise self._nonsense(slicer_id, request, "which is no object, list or null")
        if not RESERVED_KEYS.isdisjoint(request):
            keys = ", ".join(sorted(RESERVED_KEYS & request.keys()))
            raise self._nonsense(slicer_id, request, f"with the reserved key {keys}")
        try:
            text = encode_exactly(request, "request")
        except ValueError as error:
            reason = (
                f"slicer {slicer_id} of {self.slicer.name} returned a request that would not reach the"
                f" fetcher as it is: {error}"
            )
            raise OperationError(reason) from None
        # Characters first: most requests are short, and counting bytes copies the text.
        if len(text) * 4 > REQUEST_B_MAX and (size_b := len(text.encode())) > REQUEST_B_MAX:
            raise OperationError(
                f"the slicer's request of a slice, of slicer {slicer_id} of {self.slicer.name}, is"
                f" {size_b / 1e6:.1f} MB as JSON; at most {REQUEST_B_MAX / 1e6:.1f} MB can be sent to a"
                " worker: name data, as a file and a range in it, rather than putting it into the request"
            )
        return text

    def _nonsense(self, slicer_id: int, request: Any, why: str) -> OperationError:
        try:
            shown = ascii(request)
        except Exception as error:  # noqa: BLE001 - what a class says of itself is user code
            shown = f"a {type(request).__name__} ({type(error).__name__} when it is shown)"
        if len(shown) > _SHOWN_CHARS:
            shown = shown[:_SHOWN_CHARS] + "..."
        return OperationError(f"slicer {slicer_id} of {self.slicer.name} returned {shown}, {why}")

    def slice_enqueued(self, slice_: Slice) -> None:
        """Tell the components that a slice waits for a worker."""
        call_hooks(self._on_enqueued, slice_)

    def slice_dispatched(self, slice_: Slice) -> None:
        """Tell the components that a slice was handed to a worker."""
        call_hooks(self._on_dispatch, slice_)

    def slice_completed(self, slice_: Slice, outcome: SliceOutcome) -> None:
        """Tell the components what became of a slice."""
        call_hooks(self._on_complete, slice_, outcome)

    def execution_stats(self, stats: Mapping[str, Any]) -> None:
        """Tell the components how the execution does, in the form of `SlicerBase.stats`."""
        self.slicer.stats = stats
        call_hooks(self._on_stats, stats)

    def shutdown(self) -> None:
        """Shut down what `initialize` has begun, the slicer before APIs; faults are logged. Once only."""
        begun, self._begun = self._begun, []
        for component in reversed(begun):
            try:
                self.context.call(component.shutdown)
            except Exception:  # the seam to user code: nothing can be changed any more
                self.context.log.exception("operation.failed", during=f"shutdown of {component.name}")

    def _count_subslice(self, *_: object) -> None:
        self.subslices += 1

    def _count_expansion(self, *_: object) -> None:
        self.slice_range_expansion += 1

"""The worker's side of a job: the reader's fetcher and the processors behind it, run slice by slice.

Everything here is plain code for one thread, the operation thread. Async methods of users are run on the trio
loop through `OpContext.run_async`; when there are none, a slice costs no hop and no await.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from tsd.error_texts import error_line, error_text, first_line_of, located
from tsd.errors import Fatal, OperationError
from tsd.operations.apis import call_hooks, collect_hooks
from tsd.operations.base import Component, Fetcher, LateFetcher
from tsd.operations.build import build, build_apis
from tsd.operations.collector import relax_collector
from tsd.operations.context import Interrupted, OpContext
from tsd.operations.forked import HERE, leave
from tsd.operations.holding import Holdings
from tsd.operations.letters import LetterBox
from tsd.operations.outcome import Analytics, SliceOutcome
from tsd.operations.record import Record
from tsd.operations.registry import Registry
from tsd.operations.retries import BackOff, may_retry
from tsd.operations.slice import Slice
from tsd.operations.steps import bind_fetch, bind_step, record_in_work

_OF_HOLDERS = ("held_since", "on_flush_start", "on_flush_end")
"""A processor that has one of these may hold records back."""
_CLEAN = SliceOutcome(state="completed")
_OWN = "tsd.operations."


class Pipeline:
    """Fetcher and processors of a job, with their APIs and hooks.

    `initialize`, then `run` for each slice, `flush` when no more are to come, `shutdown` in any case; all of
    it in the same thread.

    Attributes:
        records_read: Records that the fetcher gave, in all attempts; other threads may look.
    """

    def __init__(
        self, job: Mapping[str, Any], registry: Registry, context: OpContext, *, keep_records: bool = False
    ) -> None:
        """Construct every component of the job.

        Args:
            job: The execution document, or a checked job.
            registry: Where operations are found.
            context: Runtime services; becomes the pipeline's own.
            keep_records: Put what leaves the last operation into the outcomes.

        Raises:
            AssetError: An operation or API is unknown.
            JobInvalid: Options are wrong, which a checked job does not have.
        """
        self.context = context
        self._letters = context.letters = LetterBox()
        self.apis = build_apis(job, registry, context)
        self.operations = _build_operations(job, registry, context)
        components = (*self.apis.components, *self.operations)
        context.runs_user_code = not all(type(each).__module__.startswith(_OWN) for each in components)
        self._attempts = int(job.get("max_retries", 3)) + 1
        self._keep_records = keep_records
        self._begun: list[Component] = []
        self._last: SliceOutcome | None = None
        self._flush_count = 0
        self.records_read = 0
        self._bind(bool(job.get("analytics", True)))

    def _bind(self, has_analytics: bool) -> None:
        components = (*self.apis.components, *self.operations)

        def hooks(name: str) -> tuple[Callable[..., Any], ...]:
            return collect_hooks(components, name, self.context)

        self._on_initialized = hooks("on_slice_initialized")
        self._on_started = hooks("on_slice_started")
        self._on_operation_start = hooks("on_operation_start")
        self._on_operation_complete = hooks("on_operation_complete")
        self._on_retry = hooks("on_slice_retry")
        self._on_completing = hooks("on_slice_completing")
        self._on_failed = hooks("on_slice_failed")
        self._on_finalizing = hooks("on_slice_finalizing")
        self._on_finished = hooks("on_slice_finished")
        self._on_flush_start = hooks("on_flush_start")
        self._on_flush_end = hooks("on_flush_end")
        # An API has what operations gave to it, so records pass it last.
        in_order = (*self.operations, *self.apis.components)
        self._holdings = Holdings([each.held_since for each in in_order if hasattr(each, "held_since")])
        fetcher = self.operations[0]
        assert isinstance(fetcher, Fetcher), "the first operation of a checked job is a reader"
        self._fetch = bind_fetch(fetcher, self.context)
        self._steps = tuple(bind_step(op, self.context) for op in self.operations[1:])
        self._has_flush = tuple(any(hasattr(op, name) for name in _OF_HOLDERS) for op in self.operations)
        self._numbered_steps = tuple(enumerate(self._steps, start=1))
        self._analytics = Analytics.blank(len(self.operations)) if has_analytics else None
        is_watched = has_analytics or self._on_started or self._on_operation_start
        self._chain = self._run_watched if is_watched or self._on_operation_complete else self._run_plain
        self._enters_at: Callable[[Any], int] | None = None
        if isinstance(fetcher, LateFetcher):
            self._enters_at = fetcher.enters_at
            self._chain = self._run_watched

    @property
    def wants_finished(self) -> bool:
        """Whether `finished` does anything."""
        return bool(self._on_finished)

    @property
    def runs_user_code(self) -> bool:
        """Whether some component of the job is not tsd's own."""
        return self.context.runs_user_code

    @property
    def may_hold(self) -> bool:
        """Whether some operation or API may hold records of a slice back when it has been run."""
        return bool(self._holdings)

    @property
    def slice_number(self) -> int:
        """How many slices were begun."""
        return self.context.slice_number

    def held_since(self) -> int | None:
        """The number of the oldest slice of which records are held back; None when none are."""
        return self._holdings.since()

    def initialize(self) -> None:
        """Initialize the APIs, then the operations in the order of the job.

        Raises:
            Exception: What a component raised; call `shutdown` then too.
        """
        relax_collector()  # a process has one pipeline and little else
        self._begun += self.apis.components
        self.apis.initialize()
        for component in self.operations:
            self._begun.append(component)
            self.context.on_doing(f"initializing operation {component.place}")
            try:
                self.context.call(component.initialize)
            except Exception as error:
                located(error, component.place)
                raise

    def run(self, slice_: Slice) -> SliceOutcome:
        """Run one slice through the whole chain, retries included.

        Never raises for what user code does, short of ending the process.

        Raises:
            Interrupted: The process is stopping; the slice is not done.
        """
        context = self.context
        context.slice = slice_
        context.slice_number += 1
        if self._holdings:
            self._holdings.begin(context.slice_number)
        context.attempt = 1
        self._last = None  # so that a flush after an interruption does nothing
        if self._analytics is not None:
            self._analytics = Analytics.blank(len(self.operations))
        if context.events:
            context.events.emit("slice:initialize", slice_)
        is_begun = False
        error: Exception
        try:
            if self._on_initialized:
                call_hooks(self._on_initialized, slice_.slice_id)
            is_begun = True
            records = self._chain(slice_)
        except Interrupted:
            context.forget_rejections()
            raise
        except Exception as raised:  # noqa: BLE001 - the seam to user code: a retry, or fails the slice
            error = raised
        else:
            return self._complete(slice_, records)
        if HERE.is_child:
            leave()
        # outside of the handler, so that no attempt's error becomes the context of the next one's
        return self._retry(slice_, error) if is_begun else self._fail(slice_, error)

    def _retry(self, slice_: Slice, error: Exception) -> SliceOutcome:
        """Attempts 2 and on."""
        context = self.context
        back_off = BackOff()
        while context.attempt < self._attempts and may_retry(error):
            context.forget_rejections()
            context.attempt += 1
            context.log.warning(
                "slice.retried", slice_id=slice_.slice_id, attempt=context.attempt, reason=error_line(error)
            )
            context.events.emit("slice:retry", slice_, error)
            try:
                call_hooks(self._on_retry, slice_.slice_id)
            except Interrupted:
                raise
            except Exception as veto:  # noqa: BLE001 - the seam to user code: no further attempt
                context.attempt -= 1
                return self._fail(slice_, _chained("Slice failed to retry", veto, error))
            context.sleep(back_off.next_wait_s())
            try:
                records = self._chain(slice_)
            except Interrupted:
                context.forget_rejections()
                raise
            except Exception as raised:  # noqa: BLE001 - the seam to user code: the next retry
                error = raised
            else:
                return self._complete(slice_, records)
        return self._fail(slice_, error)

    def _run_plain(self, slice_: Slice) -> list[Record]:
        """One attempt, when nobody looks between operations."""
        index = 0
        try:
            records = self._fetch(slice_.decode_request())
            self.records_read += len(records)
            for index, step in self._numbered_steps:  # noqa: B007 - read where an error is told
                if HERE.is_child:
                    leave()
                records = step(records)
        except Exception as error:
            self._locate(error, index)
            raise
        if self._on_completing:
            call_hooks(self._on_completing, slice_.slice_id)
        if self.context.rejections:
            self.context.deliver_rejections()
        return records

    def _run_watched(self, slice_: Slice) -> list[Record]:
        """One attempt, with hooks around operations, analytics, or records that enter behind the reader."""
        slice_id = slice_.slice_id if self._on_operation_start or self._on_operation_complete else ""
        request = slice_.decode_request()
        records = self._run_one(slice_id, 0, self._fetch, request)
        self.records_read += len(records)
        if self._on_started:
            call_hooks(self._on_started, slice_.slice_id)
        first = 1 if self._enters_at is None else max(1, self._enters_at(slice_.decode_request()))
        for index, step in self._numbered_steps[first - 1 :]:
            records = self._run_one(slice_id, index, step, records)
        if self._on_completing:
            call_hooks(self._on_completing, slice_.slice_id)
        if self.context.rejections:
            self.context.deliver_rejections()
        return records

    def _run_one(
        self, slice_id: str, index: int, step: Callable[[Any], list[Record]], argument: Any
    ) -> list[Record]:
        call_hooks(self._on_operation_start, slice_id, index)
        if HERE.is_child:
            leave()
        began = time.perf_counter()
        try:
            records = step(argument)
        except Exception as error:
            self._locate(error, index)
            raise
        if self._analytics is not None:
            elapsed_ms = (time.perf_counter() - began) * 1000
            self._analytics.note(index, time_ms=elapsed_ms, size=len(records))
        call_hooks(self._on_operation_complete, slice_id, index, len(records), records)
        return records

    def _locate(self, error: Exception, index: int) -> None:
        """Note at which operation, and at which record of its batch, an error was raised."""
        located(error, self.operations[index].place, record_in_work(error))

    def _complete(self, slice_: Slice, records: list[Record]) -> SliceOutcome:
        if HERE.is_child:
            leave()
        context = self.context
        if context.events:
            context.events.emit("slice:success", slice_)
        if self._on_finalizing:
            self._finalize(slice_, "ok")
        letters = self._letters.take() if self._letters.letters else None
        if self._analytics is None and context.attempt == 1 and not self._keep_records and letters is None:
            self._last = _CLEAN
        else:
            self._last = SliceOutcome(
                state="completed",
                retry_count=context.attempt - 1,
                analytics=self._analytics,
                letters=letters,
                records=records if self._keep_records else None,
            )
        return self._last

    def _fail(self, slice_: Slice, error: Exception) -> SliceOutcome:
        context = self.context
        retry_count = context.attempt - 1
        text = error_text(error)
        context.log.error(
            "slice.failed",
            slice_id=slice_.slice_id,
            attempt=context.attempt,
            reason=first_line_of(text),
            exc_info=error,
        )
        self._letters.fault = ""
        self._quietly("rejections of a failed slice", context.deliver_rejections)
        context.rejections.clear()
        context.events.emit("slice:failure", slice_, error)
        for hook in self._on_failed:
            self._quietly("on_slice_failed", hook, slice_.slice_id)
        self._finalize(slice_, "failed")
        self._last = SliceOutcome(
            state="error",
            retry_count=retry_count,
            error=text,
            is_fatal=isinstance(error, Fatal),
            letters=self._letters.take(),
        )
        return self._last

    def _finalize(self, slice_: Slice, outcome: str) -> None:
        self.context.events.emit("slice:finalize", slice_)
        for hook in self._on_finalizing:
            self._quietly("on_slice_finalizing", hook, slice_.slice_id, outcome)

    def finished(self, slice_id: str) -> None:
        """Tell the components that the controller has taken in that the slice is completed."""
        for hook in self._on_finished:
            self._quietly("on_slice_finished", hook, slice_id)

    def flush(self) -> SliceOutcome | None:
        """Let operations that hold records back release them: run these with an empty list.

        What they release goes through the processors behind. One that says nothing of holding (`held_since`,
        or a hook of the flush) is not called unless something was released in front of it.

        An operation that fails is run again with what the one before it released, so nothing that was
        released is lost between two attempts.

        Returns:
            The outcome, with the analytics of the last slice and of the flush added up; None when there is
            nothing to flush: no slice was run, or the last one failed and nothing is held back.
        """
        last = self._last
        if last is None or last.state != "completed":
            if self.held_since() is None:
                return None
            last = _CLEAN
        self._last = None
        self._flush_count += 1
        context = self.context
        slice_ = Slice(
            ex_id=str(context.execution.get("ex_id", "")),
            slicer_id=0,
            slicer_order=0,
            request="{}",
            slice_id=f"flush-{context.worker_id.replace('/', '-')}-{self._flush_count}",
        )
        context.slice = slice_
        context.attempt = 1
        if self._analytics is not None:
            self._analytics = Analytics.blank(len(self.operations))
        context.events.emit("slice:flush:start", slice_)
        outcome = self._run_flush(slice_, last)
        context.events.emit("slice:flush:end", slice_)
        for hook in self._on_flush_end:
            self._quietly("on_flush_end", hook)
        return outcome

    def _run_flush(self, slice_: Slice, last: SliceOutcome) -> SliceOutcome:
        records: list[Record] = []
        slice_id = slice_.slice_id
        retry_count = 0
        try:
            call_hooks(self._on_flush_start)
            for index, step in self._numbered_steps:
                if not records and not self._has_flush[index]:
                    continue
                stage = functools.partial(self._run_one, slice_id, index, step)
                records, retries = self._persist(stage, records)
                retry_count += retries
            _, retries = self._persist(functools.partial(self._end_flush, slice_id), records)
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - the seam to user code: fails the flush
            return self._fail(slice_, error)
        self._finalize(slice_, "ok")
        analytics = last.analytics
        if analytics is not None and self._analytics is not None:
            analytics = analytics.plus(self._analytics)
        return SliceOutcome(
            state="completed",
            retry_count=retry_count + retries,
            analytics=analytics,
            letters=self._letters.take(),
            records=records if self._keep_records else None,
        )

    def _end_flush(self, slice_id: str, records: list[Record]) -> list[Record]:
        call_hooks(self._on_completing, slice_id)
        self.context.deliver_rejections()
        return records

    def _persist(
        self, stage: Callable[[list[Record]], list[Record]], records: list[Record]
    ) -> tuple[list[Record], int]:
        """Run one stage of a flush, again if it fails; returns its records and the number of retries."""
        # `OpContext.attempt` stays 1: another try of one stage is no new run of the chain
        back_off = BackOff()
        retries = 0
        rejected, lettered = len(self.context.rejections), len(self._letters.letters)
        while True:
            try:
                return stage(list(records)), retries
            except Interrupted:
                raise
            except Exception as error:
                if retries + 1 >= self._attempts or not may_retry(error):
                    raise
                self.context.log.warning("flush.retried", attempt=retries + 2, reason=error_line(error))
            retries += 1
            # The next try rejects them again; what earlier stages rejected stays.
            del self.context.rejections[rejected:]
            self._letters.cut(lettered)
            self.context.sleep(back_off.next_wait_s())

    def shutdown(self) -> None:
        """Shut down what `initialize` has begun, operations before APIs; faults are logged. Once only."""
        begun, self._begun = self._begun, []
        api_count = len(self.apis.components)
        self.context.events.emit("worker:shutdown")
        for component in (*begun[api_count:], *begun[:api_count]):
            self.context.on_doing(f"shutting down {component.place}")
            self._quietly(f"shutdown of {component.name}", self.context.call, component.shutdown)
        self._quietly("rejections", self.context.deliver_rejections)
        self.context.events.emit("worker:shutdown:complete")

    def _quietly(self, what: str, function: Callable[..., Any], *args: Any) -> None:
        try:
            function(*args)
        except Exception:  # the seam to user code: what it does can not be changed any more
            self.context.log.exception("operation.failed", during=what)


def _build_operations(
    job: Mapping[str, Any], registry: Registry, context: OpContext
) -> tuple[Component, ...]:
    components = []
    for index, entry in enumerate(job["operations"]):
        definition = registry.processor(entry["_op"]) if index else registry.reader(entry["_op"])
        path = f"operations[{index}]"
        components.append(build(definition, entry, path, context))
    return tuple(components)


def _chained(message: str, cause: Exception, context: Exception) -> OperationError:
    """An error that shows two others: why there is no retry, and what failed before."""
    error = OperationError(message)
    cause.__context__ = context
    error.__cause__ = cause
    return error

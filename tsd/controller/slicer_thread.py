"""The one thread of a controller that runs the slicer, so that a slow one does not stop the beats."""

import contextvars
import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from tsd.assets.folders import AssetFolders
from tsd.core.execution.events import (
    BuildSlicer,
    CompleteOutput,
    ControllerEvent,
    MadeItem,
    MakeSlices,
    OutputCompleted,
    SlicerFailed,
    SlicerInfo,
    SlicerReady,
    SlicesMade,
    StartSlicer,
    TellHooks,
)
from tsd.core.execution.terms import pinned_worker
from tsd.core.messages import SliceItem
from tsd.core.records import ExecutionStats, SlicerPosition, SliceState
from tsd.error_texts import error_text
from tsd.operations.context import Interrupted, OpContext
from tsd.operations.forked import HERE, leave
from tsd.operations.outcome import SliceOutcome
from tsd.operations.registry import Registry
from tsd.operations.slice import Slice
from tsd.operations.slicers import MAX_QUEUE_LENGTH, RecoveryEntry
from tsd.operations.slicing import Made, SlicerRunner

MAKE_BUDGET_S = 0.02
"""What was made within so long is handed over before more is made, so that workers need not wait."""

PATIENCE_S = 0.05
"""When that takes longer, what was made so far is handed over: a slicer may wait long for its next slice."""

Request = BuildSlicer | StartSlicer | MakeSlices | TellHooks | CompleteOutput
MakeRunner = Callable[[dict[str, Any]], SlicerRunner]
"""Builds the runner of an execution document; called in the thread, as all user code."""


@attrs.frozen(kw_only=True)
class _RoundDone:
    """The thread has ended a round of `MakeSlices`; its slices are in `_made`.

    Attributes:
        news: Lists returned, recursions and range expansions since the round before.
    """

    is_finished: bool
    is_idle: bool
    max_queue_length: int
    news: tuple[int, ...]


class SlicerThread:
    """Answers what the machine asks of the slicer, one request after another, in a thread of its own.

    The thread is a daemon: a slicer that never returns does not keep the process.

    Args:
        make_runner: Builds the runner.
        answer: Called in the trio loop with each answer.
    """

    def __init__(self, make_runner: MakeRunner, answer: Callable[[ControllerEvent], None]) -> None:
        self._make_runner = make_runner
        self._answer = answer
        self._token = trio.lowlevel.current_trio_token()
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._closed = trio.Event()
        self._is_shutting_down = False
        self._runner: SlicerRunner | None = None
        self._ex_id = ""
        self._spoken = (0, 0, 0)
        # The state of `MakeSlices`; only `_made` is touched by the thread.
        self._made: deque[MadeItem] = deque()
        self._is_making = False
        self._is_owed = False
        self._unasked: _RoundDone | None = None
        self._asked = trio.Event()
        self._max_queue_length = MAX_QUEUE_LENGTH
        bound = contextvars.copy_context().run
        self._thread = threading.Thread(target=bound, args=(self._work,), name="slicer", daemon=True)
        self._thread.start()

    def ask(self, request: Request) -> None:
        """Put a request to the slicer; an answer follows, but for `TellHooks`."""
        if isinstance(request, MakeSlices):
            self._is_owed = True
            self._asked.set()
            if self._unasked is not None:
                self._round_done(self._unasked)
                return
            if self._is_making:
                return  # what the round under way makes is the answer
            self._is_making = True
        self._requests.put(request)

    async def hand_over_early(self) -> None:
        """While a call of the slicer takes long, hand over what it had made before; run it as a task."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            await trio.sleep(PATIENCE_S)
            if self._is_owed and self._is_making and self._made:
                self._is_owed = False
                self._answer(
                    SlicesMade(
                        items=self._take_made(),
                        finished=False,
                        idle=False,
                        max_queue_length=self._max_queue_length,
                    )
                )

    def _round_done(self, done: "_RoundDone") -> None:
        self._is_making = False
        self._max_queue_length = done.max_queue_length
        if not self._is_owed:
            self._unasked = done  # all was handed over early, and there was no room for more
            return
        self._is_owed = False
        self._unasked = None
        by_key, recursions, expansions = done.news
        self._answer(
            SlicesMade(
                items=self._take_made(),
                finished=done.is_finished,
                idle=done.is_idle,
                max_queue_length=done.max_queue_length,
                subslices=by_key,
                recursions=recursions,
                range_expansions=expansions,
            )
        )

    def _take_made(self) -> list[MadeItem]:
        items: list[MadeItem] = []
        while self._made:
            items.append(self._made.popleft())
        return items

    async def close(self, *, patience_s: float, shutdown_s: float) -> bool:
        """Shut the slicer down after what it does now; whether it managed.

        Args:
            patience_s: For the call that is under way.
            shutdown_s: For the shutdown of the slicer, once it has begun.
        """
        self._hurry.set()
        self._requests.put(None)
        with trio.move_on_after(patience_s):
            await self._closed.wait()
        if self._is_shutting_down:
            with trio.move_on_after(shutdown_s):
                await self._closed.wait()
        return self._closed.is_set()

    def sleep(self, seconds: float) -> None:
        """For the thread: wait.

        Raises:
            Interrupted: The controller is ending.
        """
        if self._hurry.wait(seconds):
            raise Interrupted("the controller is stopping")

    def _work(self) -> None:
        try:
            while (request := self._requests.get()) is not None:
                # Slices that ended last still reach the hooks; new ones are of no use any more.
                if isinstance(request, TellHooks) or not self._hurry.is_set():
                    self._serve(request)
            self._is_shutting_down = True
            if self._runner is not None:
                self._runner.shutdown()
            self._token.run_sync_soon(self._closed.set)
        except trio.RunFinishedError:
            return  # the loop has ended, and with it the process

    def _serve(self, request: Request) -> None:
        try:
            answer = self._do(request)
        except Exception as error:  # noqa: BLE001  the seam to user code: fails the execution
            answer = SlicerFailed(error_text(error))
        except BaseException as error:  # noqa: BLE001  sys.exit and its like; without an answer all would wait
            answer = SlicerFailed(f"the slicer tried to end its process, caused by {error_text(error)}")
        if HERE.is_child:
            leave()
        if answer is not None:
            self._token.run_sync_soon(self._answer, answer)

    def _do(self, request: Request) -> ControllerEvent | None:
        match request:
            case BuildSlicer():
                return self._build(request.execution)
            case StartSlicer():
                return self._start(self._made_runner(), request.recovery)
            case MakeSlices():
                self._make(self._made_runner(), request)
                return None
            case CompleteOutput():
                return self._complete(self._made_runner(), request)
            case TellHooks():
                self._tell_hooks(self._made_runner(), request)
                return None

    def _made_runner(self) -> SlicerRunner:
        assert self._runner is not None, "BuildSlicer comes first"
        return self._runner

    def _build(self, execution: str) -> SlicerInfo:
        document = json.loads(execution)
        self._ex_id = str(document.get("ex_id", ""))
        self._runner = self._make_runner(document)
        self._runner.begin()
        return SlicerInfo(
            recoverable=self._runner.is_recoverable,
            slicer_count=document.get("slicers", 1),
            completes=self._runner.completes,
        )

    @staticmethod
    def _complete(runner: SlicerRunner, request: CompleteOutput) -> OutputCompleted:
        try:
            runner.complete(request.last_orders if request.has_predecessor else None)
        except Exception as error:  # noqa: BLE001  the seam to user code: fails the execution
            return OutputCompleted(error_text(error))
        return OutputCompleted()

    def _start(self, runner: SlicerRunner, recovery: Iterable[SlicerPosition]) -> SlicerReady:
        runner.initialize([_entry(position) for position in recovery])
        runner.context.on_doing("")
        return SlicerReady(
            slicer_count=runner.slicer_count,
            max_queue_length=runner.max_queue_length(),
            wants_hooks=runner.wants_enqueued or runner.wants_dispatch or runner.wants_complete,
        )

    def _make(self, runner: SlicerRunner, request: MakeSlices) -> None:
        """Make slices, each handed over at once; a slicer that then does not return holds back nothing."""
        runner.execution_stats(_stats_of(request.stats))
        deadline = time.monotonic() + MAKE_BUDGET_S
        room, made = request.room, Made()
        while room > 0 and (budget_s := deadline - time.monotonic()) > 0:
            # Each slicer once, so that they take turns.
            made = runner.make(min(room, max(runner.slicer_count, 1)), budget_s)
            for slicer_id, requests in made.slices:
                self._made.extend((slicer_id, text, None, pinned_worker(text)) for text in requests)
                room -= len(requests)
            if made.is_finished or made.is_idle:
                break
        spoken = (runner.subslice_by_key, runner.subslices, runner.slice_range_expansion)
        news = tuple(now - before for now, before in zip(spoken, self._spoken, strict=True))
        self._spoken = spoken
        done = _RoundDone(
            is_finished=made.is_finished,
            is_idle=made.is_idle,
            max_queue_length=runner.max_queue_length(),
            news=news,
        )
        self._token.run_sync_soon(self._round_done, done)

    def _tell_hooks(self, runner: SlicerRunner, request: TellHooks) -> None:
        for entry in request.payload:
            match request.kind:
                case "enqueued":
                    runner.slice_enqueued(self._slice_of(entry))
                case "dispatched":
                    runner.slice_dispatched(self._slice_of(entry))
                case "completed":
                    item, state, error = entry
                    word = SliceState(state).word
                    runner.slice_completed(self._slice_of(item), SliceOutcome(state=word, error=error))

    def _slice_of(self, item: SliceItem) -> Slice:
        _, slicer_id, order, request, ex_id, slice_id = item
        return Slice(
            ex_id=ex_id or self._ex_id,
            slicer_id=slicer_id,
            slicer_order=order,
            request=request,
            slice_id=slice_id,
        )


def make_runner_with(
    modules: tuple[str, ...], folders: AssetFolders, context_of: Callable[[dict[str, Any]], OpContext]
) -> MakeRunner:
    """A maker of runners that finds operations in these modules and in the bundles of the execution too."""

    def make(document: dict[str, Any]) -> SlicerRunner:
        context = context_of(document)
        context.bundles = folders.read_all(document.get("assets") or ())
        return SlicerRunner(document, Registry(modules, context.bundles), context)

    return make


def _entry(position: SlicerPosition) -> RecoveryEntry:
    return RecoveryEntry(
        slicer_id=position.slicer_id,
        last_slice=None if position.last_slice is None else json.loads(position.last_slice),
        slicer_order=position.slicer_order,
    )


def _stats_of(stats: ExecutionStats) -> dict[str, Any]:
    """The statistics as slicers get them; see `SlicerBase.stats`."""
    return {
        "workers": {
            "connected": stats.workers_available + stats.workers_active,
            "available": stats.workers_available,
        },
        "slices": {"processed": stats.processed, "failed": stats.failed},
    }

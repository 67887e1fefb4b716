"""The worker process: one trio loop for the machine and the mesh, one thread for user code."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterable

import attrs
import msgspec
import structlog
import trio

from tsd.assets.folders import AssetFolders
from tsd.core.execution.events import (
    BuildPipeline,
    CutShort,
    Drop,
    Effects,
    Flush,
    Flushed,
    FromController,
    PipelineFailed,
    PipelineReady,
    Run,
    SetLogLevel,
    SlicesRan,
    TakeBack,
    Terminate,
    Tick,
    TookBack,
    WorkerAction,
)
from tsd.core.execution.worker import WorkerMachine
from tsd.core.hellos import LinkChanged
from tsd.core.kinds import CONTROLLER_TO_WORKER, WORKER_TO_CONTROLLER
from tsd.core.letters import SLICE_LETTERS_B_MAX, decode_letters, join_letters
from tsd.core.messages import FullResult, Message, ProcessSpec, WorkerBeat, WorkerBye
from tsd.core.records import SliceState
from tsd.mesh.codec import Codec
from tsd.mesh.counts import counts_of
from tsd.mesh.drive import Driver, follow_link, perform_effects
from tsd.mesh.endpoint import Dialer, Sent
from tsd.mesh.limits import limits_of
from tsd.mesh.options import mesh_options
from tsd.mesh.reach import Reach
from tsd.mesh.socket import dial_tcp
from tsd.observe import log
from tsd.observe.blackbox import CRASHED, BlackBox
from tsd.observe.prints import capture_prints
from tsd.operations.forked import watch_forks
from tsd.operations.pipeline import Pipeline
from tsd.operations.registry import Registry
from tsd.operations.runtime import make_context
from tsd.settings import Settings
from tsd.worker.operator import (
    ChainFlushed,
    Closed,
    Crashed,
    Interruption,
    Kept,
    Opened,
    Operator,
    Ran,
    Word,
)
from tsd.worker.tidings import Tidings

RESULTS_PAUSE_S = 0.001
"""While slices wait results are looked at no more often: each look costs the thread the interpreter."""
_BUSY_CLOSE_S = 1.0
"""How long a process that must end waits for a slice, or for a chain that initializes, that does not end."""

_log = structlog.get_logger()
_encode_json = msgspec.json.Encoder().encode


def worker_main(spec: ProcessSpec, settings: Settings, box: BlackBox) -> int:
    """Run the worker that `spec` describes to its end; returns the exit code.

    User code may still be running in its thread: end the process then, do not wait for threads.
    """
    log.configure(settings.terafoundation, role="worker")
    log.set_level(spec.log_level)
    log.set_facts({**spec.ids(), "node_id": settings.node_id})
    capture_prints()
    box.note_doing("starting")
    watch_forks()
    return trio.run(_run, spec, settings, box)


async def _run(spec: ProcessSpec, settings: Settings, box: BlackBox) -> int:
    # Outermost, so that being told once more does not cut short the last messages.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with dial_tcp(
            spec.dial,
            identity=spec.proc_id,
            codec=Codec(CONTROLLER_TO_WORKER, WORKER_TO_CONTROLLER),
            options=mesh_options(settings),
            on_bad_frame=_on_bad_frame,
        ) as dialer:
            async with trio.open_nursery() as nursery:
                shell = WorkerShell(spec, settings, box, dialer=dialer, nursery=nursery)
                nursery.start_soon(shell.take_signals, signals)
                code = await shell.run()
                nursery.cancel_scope.cancel()
            return code


class WorkerShell:
    """Carries what happens to the worker machine, and what it wants to the mesh and the thread.

    Args:
        spec: Which worker this is.
        settings: Of the cluster.
        box: Survives this process.
        dialer: The link to the controller.
        nursery: Runs the tasks of the shell; cancelled by the owner after `run`.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        settings: Settings,
        box: BlackBox,
        *,
        dialer: Dialer,
        nursery: trio.Nursery,
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._box = box
        self._dialer = dialer
        self._nursery = nursery
        self._operator: Operator | None = None
        # Until it is known that nobody listens, so that the first slices are in it.
        self._tidings: Tidings | None = Tidings(spec.ex_id)
        self._has_words = trio.Event()
        self._is_closed = trio.Event()
        self._has_crashed = False
        self._is_cut_short = False
        # Of the operator's `records_read`, what the machine knows.
        self._records_told = 0
        # User code runs that is no slice: it initializes or flushes.
        self._is_awaited = False
        self._machine = WorkerMachine(
            proc_id=spec.proc_id,
            ex_id=spec.ex_id,
            generation=spec.generation,
            number=spec.number,
            pid=os.getpid(),
            limits=limits_of(settings),
        )
        self._driver: Driver[Effects] = Driver(self._machine, tick=Tick(), perform=self._perform)
        self._was_connected = False
        self._reach = Reach(
            dialer,
            spec.dial,
            on_absent=lambda reason, seconds: _log.warning(
                "worker.no_controller", address=spec.dial, reason=reason, elapsed_s=seconds
            ),
            on_present=lambda seconds: _log.info(
                "worker.controller_found", address=spec.dial, elapsed_s=seconds
            ),
        )

    async def run(self) -> int:
        """Work until the machine says that it is over; returns the exit code."""
        self._driver.feed(LinkChanged(is_up=self._dialer.is_up))
        self._nursery.start_soon(follow_link, self._dialer, self._driver)
        self._nursery.start_soon(self._reach.watch)
        for task in (self._receive, self._take_words, self._driver.keep_time):
            self._nursery.start_soon(task)
        end = await self._driver.wait_end()
        if end.code and not self._was_connected:
            self._box.say(f"{end.reason}; it dials {self._spec.dial}")
        _log.info("worker.ending", reason=end.reason, code=end.code)
        if not self._has_crashed:
            await self._close_operator()
        self._log_unseen_letters()
        return end.code

    def _log_unseen_letters(self) -> None:
        """Write down what a flush rejected when no controller was left to take it."""
        for letters in self._machine.unseen_letters():
            for letter in decode_letters(letters):
                _log.error(
                    "record.rejected",
                    operation=letter.operation,
                    record=json.loads(bytes(letter.record)),
                    reason=letter.error,
                )

    async def take_signals(self, signals: AsyncIterator[int]) -> None:
        """Drain at the first signal, hurry at each further one, until cancelled."""
        is_first = True
        async for _ in signals:
            self._driver.feed(Terminate(hurry=not is_first))
            is_first = False

    def _perform(self, effects: Effects) -> None:
        self._box.note_alive()
        perform_effects(effects, self._driver, send=self._send, act=self._act)
        is_welcomed = self._machine.is_welcomed
        self._was_connected = self._was_connected or is_welcomed
        self._reach.note(is_present=is_welcomed)

    def _send(self, _peer: str, message: Message) -> Sent:
        if self._tidings is not None:
            self._tidings.sending(message)
        if isinstance(message, WorkerBeat | WorkerBye):
            mesh = counts_of(self._dialer, reconnects=message.mesh.reconnects)
            message = attrs.evolve(message, mesh=mesh)
        return self._dialer.send(message)

    def _act(self, action: WorkerAction) -> None:
        if isinstance(action, BuildPipeline):
            self._operator = self._make_operator(action.execution)
            self._is_awaited = True
            self._operator.start()
            return
        if isinstance(action, SetLogLevel):
            log.set_level(action.level)
            return
        operator = self._operator
        assert operator is not None, "BuildPipeline comes first"
        match action:
            case Run():
                if self._tidings is not None:
                    self._tidings.arrived(action.items)
                operator.add(action.items)
            case TakeBack():
                taken = operator.take_back(action.count)
                self._driver.feed(TookBack([item[0] for item in taken]))
            case Drop():
                operator.drop(action.ns)
            case Flush():
                self._is_awaited = True
                operator.flush()
            case CutShort():
                self._is_cut_short = True
                operator.hurry()
            case _:
                raise TypeError(f"no action of a worker: {action!r}")

    def _make_operator(self, execution: str) -> Operator:
        document = json.loads(execution)
        context = make_context(
            self._settings,
            token=trio.lowlevel.current_trio_token(),
            process_id=self._spec.proc_id,
            execution=document,
            nursery=self._nursery,
        )
        modules = self._settings.tsd.operation_modules
        folders = AssetFolders(self._settings.teraslice.assets_directory)

        def make_chain() -> Pipeline:
            self._box.note_doing("loading the operations of the job")
            context.bundles = folders.read_all(document.get("assets") or ())
            return Pipeline(document, Registry(modules, context.bundles), context)

        operator = Operator(
            ex_id=self._spec.ex_id,
            make_chain=make_chain,
            box=self._box,
            on_words=self._note_words,
        )
        context.sleep = operator.sleep
        context.on_doing = operator.note_doing
        log.set_facts(
            {**self._spec.ids(), "node_id": self._settings.node_id},
            lambda: context.slice.slice_id if operator.running and context.slice else None,
        )
        return operator

    def _note_words(self) -> None:
        self._has_words.set()

    async def _receive(self) -> None:
        while True:
            for message in await self._dialer.receive():
                self._driver.feed(FromController(message))  # type: ignore[arg-type]  # the codec checks
                if self._tidings is not None and self._operator is not None:
                    self._operator.tell_finished(self._tidings.received(message))  # type: ignore[arg-type]  # it checks

    async def _take_words(self) -> None:
        while True:
            await self._has_words.wait()
            self._has_words = trio.Event()
            operator = self._operator
            if operator is None:
                continue
            if operator.waiting_count:
                # More results come at once. Until we look the thread does not wake us a second time.
                await trio.sleep(RESULTS_PAUSE_S)
            self._hear(operator.words())

    def _hear(self, words: Iterable[Word]) -> None:
        """Feed what the thread said: results together, the rest one by one, in order."""
        results = _Results()
        for word in words:
            match word:
                case Ran():
                    results.add(word)
                    if results.size_b >= SLICE_LETTERS_B_MAX:
                        # Letters and errors of two slices fit into a message, those of many do not.
                        results = self._feed_results(results)
                    continue
                case Kept():
                    results.kept.append(word.number)
                    results.busy_us += word.busy_us
                    continue
                case Interruption():
                    results.returned.append(word.number)
                    continue
            results = self._feed_results(results)
            self._is_awaited = False
            match word:
                case Opened(error=""):
                    if not word.wants_finished:
                        self._tidings = None
                    self._driver.feed(PipelineReady())
                case Opened():
                    self._driver.feed(PipelineFailed(word.error))
                case ChainFlushed():
                    outcome = word.outcome
                    letters = (
                        None if outcome is None or not outcome.letters else join_letters(outcome.letters)
                    )
                    self._driver.feed(Flushed((outcome and outcome.error) or "", letters))
                case Closed():
                    self._is_closed.set()
                case Crashed():
                    self._crash(word)
        self._feed_results(results)

    def _feed_results(self, results: "_Results") -> "_Results":
        if results.is_empty():
            return results
        assert self._operator is not None
        told, self._records_told = self._records_told, self._operator.records_read
        self._driver.feed(results.event(self._records_told - told))
        return _Results()

    def _crash(self, word: Crashed) -> None:
        # The box still names the slice, so its death is counted against the slice.
        self._box.say(word.error)
        _log.error("worker.crashed", reason=word.error)
        self._has_crashed = True
        self._driver.end(CRASHED, "user code ended its thread")

    async def _close_operator(self) -> None:
        if self._operator is None or (self._is_cut_short and self._operator.running is not None):
            return
        is_busy = self._is_awaited or self._operator.running is not None
        if is_busy:
            self._operator.hurry()
        self._operator.close()
        with trio.move_on_after(_BUSY_CLOSE_S if is_busy else self._settings.teraslice.shutdown_timeout_s):
            await self._is_closed.wait()


class _Results:
    """Results that go to the machine as one event."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.full: list[FullResult] = []
        self.returned: list[int] = []
        self.kept: list[int] = []
        self.busy_us = 0
        self.fatal = ""
        self.size_b = 0

    def is_empty(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.done or self.full or self.returned or self.kept)

    def add(self, ran: Ran) -> None:
        """Take in one result."""
        outcome = ran.outcome
        self.busy_us += ran.busy_us
        is_completed = outcome.state == "completed"
        letters = None if outcome.letters is None else join_letters(outcome.letters)
        if is_completed and outcome.analytics is None and not outcome.retry_count and letters is None:
            self.done.append(ran.number)
            return
        state = SliceState.COMPLETED if is_completed else SliceState.ERROR
        analytics = None if outcome.analytics is None else _encode_json(outcome.analytics)
        self.size_b += len(letters or b"") + len(outcome.error or "") + len(analytics or b"")
        self.full.append((ran.number, int(state), outcome.retry_count, outcome.error, analytics, letters))
        if outcome.is_fatal:
            self.fatal = outcome.error or "the pipeline can not go on"

    def event(self, records: int) -> SlicesRan:
        """Them all, with the records that were read since the last one."""
        return SlicesRan(self.done, self.full, self.busy_us, self.returned, self.fatal, records, self.kept)


def _on_bad_frame(peer: str, reason: str, count: int) -> None:
    _log.warning("mesh.bad_frame", peer_id=peer, reason=reason, count=count)

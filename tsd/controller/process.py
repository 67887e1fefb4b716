"""The controller process: one trio loop for the machine and two links, one thread for the slicer."""

import random
import signal
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import structlog
import trio

from tsd.addresses import tcp_address
from tsd.assets.folders import AssetFolders
from tsd.controller.slicer_thread import SlicerThread, make_runner_with
from tsd.core.cluster.executions import FINDING_PORT, NO_PORT_EXIT
from tsd.core.execution.events import (
    BuildSlicer,
    CompleteOutput,
    ControllerAction,
    Effects,
    FromMaster,
    FromWorker,
    MakeSlices,
    SetLogLevel,
    StartSlicer,
    TellHooks,
    Terminate,
    Tick,
)
from tsd.core.execution.machine import ExecutionMachine
from tsd.core.fields import metadata_fault
from tsd.core.hellos import LinkChanged
from tsd.core.kinds import (
    CONTROLLER_TO_MASTER,
    CONTROLLER_TO_WORKER,
    MASTER_TO_CONTROLLER,
    WORKER_TO_CONTROLLER,
)
from tsd.core.letters import unreadable_letters
from tsd.core.messages import (
    ControllerBeat,
    ControllerHello,
    Message,
    ProcessSpec,
    StatusReport,
)
from tsd.errors import ConfigError, PortInUse
from tsd.mesh.codec import Codec
from tsd.mesh.counts import counts_of
from tsd.mesh.drive import Driver, follow_link, perform_effects
from tsd.mesh.endpoint import Dialer, Listener, Sent
from tsd.mesh.limits import limits_of
from tsd.mesh.options import mesh_options
from tsd.mesh.socket import dial_tcp, listen_tcp
from tsd.observe import log
from tsd.observe.blackbox import BlackBox
from tsd.observe.prints import capture_prints
from tsd.operations.context import OpContext
from tsd.operations.exact_json import encode_exactly
from tsd.operations.forked import watch_forks
from tsd.operations.runtime import make_context
from tsd.settings import Settings, advertised_host

NO_ADDRESS = 78
"""Exit code when the address can not be bound whatever the port (EX_CONFIG of sysexits)."""
_CLOSE_S = 2.0
"""How long a process that must end waits for a slicer to return: all that matters is recorded by then."""

_log = structlog.get_logger()


def controller_main(spec: ProcessSpec, settings: Settings, box: BlackBox) -> int:
    """Run the controller that `spec` describes to its end; returns the exit code.

    User code may still be running in its thread: end the process then, do not wait for threads.

    Args:
        spec: Which controller this is; its `dial` is the master.
        settings: Of the cluster.
        box: Survives this process.
    """
    log.configure(settings.terafoundation, role="controller")
    log.set_level(spec.log_level)
    log.set_facts({**spec.ids(), "node_id": settings.node_id})
    capture_prints()
    box.note_doing("starting")
    watch_forks()
    try:
        return trio.run(_run, spec, settings, box)
    except PortInUse as error:
        # Another controller gives one back when it ends; the master tries again.
        box.say("; ".join(fault for _, fault in error.faults))
        return NO_PORT_EXIT
    except ConfigError as error:
        # The reason reaches the execution through the node's report of this exit.
        _log.error("controller.unable", reason=str(error))
        box.say(str(error))
        return NO_ADDRESS


async def _run(spec: ProcessSpec, settings: Settings, box: BlackBox) -> int:
    options = mesh_options(settings)
    box.note_doing(FINDING_PORT)
    # The receiver outermost, so that being told once more does not cut short the last messages.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with (
            listen_tcp(
                tcp_address(settings.tsd.mesh_listen),
                ports=_ports(settings),
                codec=Codec(WORKER_TO_CONTROLLER, CONTROLLER_TO_WORKER),
                options=options,
                on_bad_frame=_on_bad_frame,
                allow_plaintext=settings.tsd.allow_plaintext,
            ) as listener,
            dial_tcp(
                spec.dial,
                identity=spec.proc_id,
                codec=Codec(MASTER_TO_CONTROLLER, CONTROLLER_TO_MASTER),
                options=options,
                on_bad_frame=_on_bad_frame,
            ) as dialer,
        ):
            box.note_doing("starting")
            async with trio.open_nursery() as nursery:
                shell = ControllerShell(
                    spec, settings, box, listener=listener, dialer=dialer, nursery=nursery
                )
                nursery.start_soon(shell.take_signals, signals)
                code = await shell.run()
                nursery.cancel_scope.cancel()
            return code


def _ports(settings: Settings) -> list[int]:
    """The ports to try, in a random order: controllers that start together then seldom collide."""
    first, last = settings.teraslice.slicer_port_range
    ports = list(range(first, last + 1))
    random.shuffle(ports)
    return ports


class ControllerShell:
    """Carries what happens to the execution machine, and what it wants to the mesh and the slicer.

    Args:
        spec: Which controller this is.
        settings: Of the cluster.
        box: Survives this process.
        listener: Workers come here.
        dialer: The link to the master.
        nursery: Runs the tasks of the shell; cancelled by the owner after `run`.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        settings: Settings,
        box: BlackBox,
        *,
        listener: Listener,
        dialer: Dialer,
        nursery: trio.Nursery,
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._box = box
        self._listener = listener
        self._dialer = dialer
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._metadata = ""
        port = int(listener.address.rpartition(":")[2])
        machine = ExecutionMachine(
            ex_id=spec.ex_id,
            generation=spec.generation,
            address=tcp_address(advertised_host(settings), port),
            wall_offset_s=time.time() - trio.current_time(),
            limits=limits_of(settings),
        )
        self._driver: Driver[Effects] = Driver(machine, tick=Tick(), perform=self._perform)
        self._slicer = SlicerThread(
            make_runner_with(
                settings.tsd.operation_modules,
                AssetFolders(settings.teraslice.assets_directory),
                self._make_context,
            ),
            self._driver.feed,
        )

    async def run(self) -> int:
        """Work until the machine says that it is over; returns the exit code."""
        self._driver.feed(LinkChanged(is_up=self._dialer.is_up))
        self._nursery.start_soon(follow_link, self._dialer, self._driver)
        for task in (
            self._hear_master,
            self._hear_workers,
            self._slicer.hand_over_early,
            self._driver.keep_time,
        ):
            self._nursery.start_soon(task)
        end = await self._driver.wait_end()
        _log.info("controller.ending", reason=end.reason, code=end.code)
        shutdown_s = self._settings.teraslice.shutdown_timeout_s
        if not await self._slicer.close(patience_s=_CLOSE_S, shutdown_s=shutdown_s):
            _log.warning("slicer.left_running")
        return end.code

    async def take_signals(self, signals: AsyncIterator[int]) -> None:
        """Drain at the first signal, hurry at each further one, until cancelled."""
        is_first = True
        async for _ in signals:
            self._driver.feed(Terminate(hurry=not is_first))
            is_first = False

    def _perform(self, effects: Effects) -> None:
        perform_effects(effects, self._driver, send=self._send, act=self._act)

    def _send(self, peer: str, message: Message) -> Sent:
        if peer == "":
            return self._dialer.send(self._with_counts(message))
        return self._listener.send(peer, message)

    def _with_counts(self, message: Message) -> Message:
        """The message with what our own links have counted and the metadata, if it is one that says so."""
        if not isinstance(message, ControllerHello | ControllerBeat | StatusReport):
            return message
        if not isinstance(message, ControllerHello):
            message = attrs.evolve(message, metadata=self._metadata)
        counts = message.counts
        mesh = counts_of(self._listener, self._dialer, reconnects=counts.mesh.reconnects)
        return attrs.evolve(message, counts=attrs.evolve(counts, mesh=mesh))

    def _act(self, action: ControllerAction) -> None:
        match action:
            case BuildSlicer() | StartSlicer() | MakeSlices() | TellHooks() | CompleteOutput():
                self._slicer.ask(action)
            case SetLogLevel():
                log.set_level(action.level)
            case _:
                raise TypeError(f"no action of a controller: {action!r}")

    def _make_context(self, document: dict[str, Any]) -> OpContext:
        """For the slicer's thread."""
        context = make_context(
            self._settings,
            token=self._token,
            process_id=self._spec.proc_id,
            execution=document,
            nursery=self._nursery,
        )
        context.sleep = self._slicer.sleep
        context.on_metadata = self._keep_metadata
        context.on_doing = self._box.note_doing
        return context

    def _keep_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Called in the slicer's thread; what is kept goes with the next report or beat."""
        try:
            text = encode_exactly(metadata, "metadata")
        except ValueError as error:
            raise ValueError(f"metadata of an execution must be JSON: {error}") from None
        if fault := metadata_fault(text):
            raise ValueError(f"metadata of an execution {fault}")
        self._metadata = text

    async def _hear_master(self) -> None:
        while True:
            for message in await self._dialer.receive():
                self._driver.feed(FromMaster(message))  # type: ignore[arg-type]  # the codec checks

    async def _hear_workers(self) -> None:
        while True:
            for received in await self._listener.receive():
                if reason := unreadable_letters(received.message):
                    self._listener.count_bad(received.peer, reason)
                    continue
                self._driver.feed(FromWorker(received.peer, received.message))  # type: ignore[arg-type]  # as above


def _on_bad_frame(peer: str, reason: str, count: int) -> None:
    _log.warning("mesh.bad_frame", peer_id=peer, reason=reason, count=count)

"""The node daemon: one trio loop for the machine, the link to the master, and the fork server."""

import fcntl
import os
import platform
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import attrs
import structlog
import trio

import tsd
from tsd.addresses import tcp_address
from tsd.assets.sweeping import keep_swept
from tsd.core.cluster.node import (
    Exit,
    Exited,
    FromMaster,
    NodeEffects,
    NodeMachine,
    NodeSettings,
    NotSent,
    Prepare,
    Prepared,
    Reconfigured,
    Signal,
    Start,
    Started,
    StartFailed,
    Terminate,
    Tick,
)
from tsd.core.hellos import LinkChanged
from tsd.core.kinds import MASTER_TO_NODE, NODE_TO_MASTER
from tsd.core.messages import AssetPart, AssetUnavailable, ProcessExit, ProcessSpec
from tsd.core.records import ProcessRole
from tsd.errors import AssetError, ConfigError, exit_code_of
from tsd.mesh.codec import Codec
from tsd.mesh.counts import counts_of
from tsd.mesh.drive import Driver, follow_link
from tsd.mesh.endpoint import Dialer, Sent
from tsd.mesh.options import mesh_options
from tsd.mesh.reach import Reach
from tsd.mesh.socket import dial_tcp
from tsd.node import fork_messages
from tsd.node.library import Library
from tsd.node.processes import NodeProcesses
from tsd.observe import log
from tsd.observe.notify import Notifier
from tsd.observe.reloading import Reloading, signals_of_reload
from tsd.observe.streams import drain_streams, unblock_streams
from tsd.observe.titles import title_node
from tsd.operations.registry import STANDARD_MODULES
from tsd.prctl import adopt_orphans
from tsd.settings import Settings, advertised_host, note_on_node

EX_TEMPFAIL = 75
"""Exit code when another daemon runs as this node here; it may be on its way out."""
ENTRIES = {
    ProcessRole.CONTROLLER.value: "tsd.controller.process:controller_main",
    ProcessRole.WORKER.value: "tsd.worker.process:worker_main",
}
"""What the processes of a node run."""
PRELOAD = ("tsd.controller.process", "tsd.worker.process", *STANDARD_MODULES)
"""Imported once by the fork server; modules of users never are."""

_RESOLVE_PAUSE_S = 1.0
"""Between attempts to find out which address of this host faces the master."""
_DRAIN_AHEAD_S = 15.0
"""A drain asks the service manager for so much more time again and again; a frozen one can not."""
_SIGNALS = {"term": signal.SIGTERM, "kill": signal.SIGKILL}

_log = structlog.get_logger()


def run_node(
    settings: Settings,
    node_id: str | None = None,
    *,
    reload: Callable[[], Settings] | None = None,
    before_dialing: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Run the node daemon until it is told to end; returns its exit code.

    Call it in a process without threads or event loop.

    Args:
        settings: Of the cluster, or already of this node.
        node_id: Which node this is; what the settings say by default.
        reload: Reads the settings again, on SIGHUP; raises ConfigError.
        before_dialing: Waited for before the master is dialed; everything else is prepared meanwhile.
    """
    node_id = node_id or settings.node_id
    if settings.tsd.node_id != node_id:
        settings = settings.for_node(node_id)
    title_node(node_id)
    unblock_streams(on_dropped=log.note_dropped_lines)
    notifier = Notifier.from_environment()
    try:
        log.configure(settings.terafoundation, role="node")
        with _only_one(settings, node_id):
            adopt_orphans()
            processes = NodeProcesses(_setup_of(settings), adopts=True)
            return trio.run(_run, settings, processes, notifier, reload, before_dialing)
    except ConfigError as error:
        _log.error("node.misconfigured", reason=str(error))
        return exit_code_of(error)
    except BlockingIOError:
        reason = f"another daemon runs as node {node_id} in {settings.tsd.data_dir}"
        _log.error("node.already_running", node_id=node_id, reason=reason)
        return EX_TEMPFAIL
    finally:
        drain_streams()


def _setup_of(settings: Settings) -> fork_messages.Setup:
    return fork_messages.Setup(settings=settings, entries=ENTRIES, preload=PRELOAD, node_id=settings.node_id)


@contextmanager
def _only_one(settings: Settings, node_id: str) -> Iterator[None]:
    """Hold the lock of this node in the data folder; the kernel lets go of it with the process."""
    folder = settings.tsd.data_dir
    try:
        # As private as the master makes it: with one folder for both, the node may come first.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / f"node-{quote(node_id, safe='')}.lock").open("a")
    except OSError as error:
        raise ConfigError("The data folder can not be used", [("tsd.data_dir", str(error))]) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


async def _run(
    settings: Settings,
    processes: NodeProcesses,
    notifier: Notifier,
    reload: Callable[[], Settings] | None,
    before_dialing: Callable[[], Awaitable[None]] | None,
) -> int:
    structlog.contextvars.bind_contextvars(node_id=settings.node_id)
    for warning in filter(None, (*settings.warnings, note_on_node(settings))):
        _log.warning("settings.noted", reason=warning)
    address = _master_address(settings)
    with signals_of_reload() as reload_signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(processes.run)
            nursery.start_soon(processes.reap_adopted)
            if notifier.watchdog_s is not None:
                nursery.start_soon(_pet_watchdog, notifier, notifier.watchdog_s / 2)
            notifier.ready(f"Looking for the master at {address}. Config {settings.digest}")
            hostname = await _own_address(settings)
            if before_dialing is not None:
                await before_dialing()
            identity = f"{settings.node_id}~{secrets.token_hex(4)}"
            options = mesh_options(settings)
            async with dial_tcp(
                address,
                identity=identity,
                codec=Codec(MASTER_TO_NODE, NODE_TO_MASTER),
                options=options,
                on_bad_frame=_on_bad_frame,
            ) as dialer:
                library = Library.of(settings, send=dialer.send)
                library.sweep()
                nursery.start_soon(keep_swept, library.folders, settings.tsd.keep_unused_assets_s)
                shell = NodeShell(
                    settings, hostname, processes, library, dialer=dialer, notifier=notifier, reload=reload
                )
                nursery.start_soon(shell.reloading.serve, reload_signals)
                code = await shell.run()
            nursery.cancel_scope.cancel()
    return code


def _master_address(settings: Settings) -> str:
    return tcp_address(settings.teraslice.master_hostname, settings.tsd.mesh_port)


async def _own_address(settings: Settings) -> str:
    """Where others reach this host; waits for the network when it is not up yet."""
    said = ""
    while True:
        try:
            return await trio.to_thread.run_sync(advertised_host, settings)
        except OSError as error:
            name = settings.teraslice.master_hostname
            reason = f"teraslice.master_hostname {name}: {error.strerror or error}"
            if reason != said:  # not a line a second for as long as a resolver is away
                said = reason
                _log.warning("node.no_address", reason=reason)
            await trio.sleep(_RESOLVE_PAUSE_S)


async def _pet_watchdog(notifier: Notifier, pause_s: float) -> None:
    while True:
        notifier.watchdog()
        await trio.sleep(pause_s)


class NodeShell:
    """Carries what happens to the node machine, and what it wants to the mesh and the fork server.

    Args:
        settings: Of this node.
        hostname: Where other hosts reach this one.
        processes: Those of this node; already running.
        library: The bundles of this node.
        dialer: The link to the master.
        notifier: Tells the service manager.
        reload: Reads the settings again.

    Attributes:
        reloading: The settings as they are now.
    """

    def __init__(
        self,
        settings: Settings,
        hostname: str,
        processes: NodeProcesses,
        library: Library,
        *,
        dialer: Dialer,
        notifier: Notifier,
        reload: Callable[[], Settings] | None,
    ) -> None:
        self._master = _master_address(settings)
        self._hostname = hostname
        self.reloading = Reloading(settings=settings, load=reload, apply=self._reconfigure, notifier=notifier)
        self._processes = processes
        self._library = library
        self._preparing: trio.Nursery | None = None
        self._dialer = dialer
        self._notifier = notifier
        self._specs: dict[str, ProcessSpec] = {}
        self._told_to_end: set[str] = set()
        self._was_welcome = False
        self._status = ""
        self._machine = NodeMachine(settings=self._machine_settings())
        self._driver: Driver[NodeEffects] = Driver(self._machine, tick=Tick(), perform=self._perform)
        self._reach = Reach(
            dialer,
            self._master,
            on_absent=lambda reason, seconds: _log.warning(
                "node.no_master", master=self._master, reason=reason, elapsed_s=seconds
            ),
            on_present=lambda seconds: _log.info("node.master_found", master=self._master, elapsed_s=seconds),
        )

    def _machine_settings(self) -> NodeSettings:
        settings = self.reloading.settings
        return NodeSettings(
            node_id=settings.node_id,
            hostname=self._hostname,
            pid=os.getpid(),
            slots=settings.teraslice.workers,
            version=tsd.__version__,
            python=platform.python_version(),
            heartbeat_interval_s=settings.tsd.heartbeat_interval_s,
            shutdown_timeout_s=settings.teraslice.shutdown_timeout_s,
            config=settings.digest,
            labels=settings.tsd.labels,
        )

    def _reconfigure(self, settings: Settings) -> None:
        self._processes.set_up(_setup_of(settings))
        self._driver.feed(Reconfigured(settings=self._machine_settings()))

    async def run(self) -> int:
        """Serve the master until the machine says that it is over; returns the exit code."""
        async with trio.open_nursery() as nursery:
            self._preparing = nursery
            self._driver.feed(LinkChanged(is_up=self._dialer.is_up))
            nursery.start_soon(follow_link, self._dialer, self._driver)
            nursery.start_soon(self._reach.watch)
            for task in (self._hear_master, self._hear_processes, self._take_signals, self._driver.keep_time):
                nursery.start_soon(task)
            end = await self._driver.wait_end()
            write = _log.info if end.code == 0 else _log.warning
            write("node.ending", reason=end.reason, code=end.code)
            nursery.cancel_scope.cancel()
        return end.code

    def _perform(self, effects: NodeEffects) -> None:
        for action in effects.actions:
            match action:
                case Prepare():
                    assert self._preparing is not None, "nothing is prepared before `run`"
                    self._preparing.start_soon(self._prepare, action.spec)
                case Start():
                    self._start(action.spec)
                case Signal():
                    # What a process started is not asked to drain, but goes down with it.
                    number = _SIGNALS[action.signal]
                    self._told_to_end.add(action.proc_id)
                    self._processes.signal(action.proc_id, number, with_descendants=number == signal.SIGKILL)
        for message in effects.sends:
            mesh = counts_of(self._dialer, reconnects=message.mesh.reconnects)
            if self._dialer.send(attrs.evolve(message, mesh=mesh)) is not Sent.SENT:
                self._driver.feed(NotSent(message=message))
        for action in effects.actions:
            if isinstance(action, Exit):
                self._driver.end(action.code, action.reason)
        self._library.release(self._machine.processes)
        self._note_welcome()
        self._reach.note(is_present=self._machine.is_welcome)
        self._tell_status()

    async def _prepare(self, spec: ProcessSpec) -> None:
        try:
            await self._library.provide_for(spec.proc_id, spec.assets)
        except AssetError as error:
            _log.error("process.not_started", proc_id=spec.proc_id, reason=str(error))
            self._driver.feed(StartFailed(proc_id=spec.proc_id, reason=str(error)))
        else:
            self._driver.feed(Prepared(proc_id=spec.proc_id))

    def _start(self, spec: ProcessSpec) -> None:
        self._specs[spec.proc_id] = spec
        dial = spec.dial if spec.role is ProcessRole.WORKER else self._master
        env = self.reloading.settings.teraslice.env_vars
        self._processes.spawn(attrs.evolve(spec, dial=dial, env={**env, **spec.env}))

    def _note_welcome(self) -> None:
        if self._machine.is_welcome == self._was_welcome:
            return
        self._was_welcome = self._machine.is_welcome
        if self._was_welcome:
            _log.info("node.joined", master=self._master)
        else:
            _log.warning("node.master_lost", master=self._master)

    def _tell_status(self) -> None:
        """Keep the line of `systemctl status` true."""
        link = "Connected to" if self._machine.is_welcome else "Looking for"
        taken, slots = len(self._machine.processes), self._machine.settings.slots
        end = "Draining, " if self._machine.is_draining else ""
        status = (
            f"{end}{taken} of {slots} slots in use. {link} the master at {self._master}."
            f" {self.reloading.status().capitalize()}"
        )
        if status != self._status:
            self._status = status
            self._notifier.status(status)

    async def _hear_master(self) -> None:
        while True:
            for message in await self._dialer.receive():
                if isinstance(message, AssetPart | AssetUnavailable):
                    self._library.take(message)
                    continue
                self._driver.feed(FromMaster(message=message))  # type: ignore[arg-type]  # the codec checks

    async def _hear_processes(self) -> None:
        async for event in self._processes.events:
            match event:
                case fork_messages.Started():
                    spec = self._specs.get(event.proc_id)
                    ex_id = spec.ex_id if spec is not None else None
                    _log.info("process.started", proc_id=event.proc_id, ex_id=ex_id, pid=event.pid)
                    self._driver.feed(Started(proc_id=event.proc_id, pid=event.pid))
                case fork_messages.NotStarted():
                    _log.error("process.not_started", proc_id=event.proc_id, reason=event.reason)
                    self._specs.pop(event.proc_id, None)
                    self._driver.feed(StartFailed(proc_id=event.proc_id, reason=event.reason))
                case fork_messages.Exited():
                    self._exited(event)

    def _exited(self, event: fork_messages.Exited) -> None:
        spec = self._specs.pop(event.proc_id)
        was_told = event.proc_id in self._told_to_end
        self._told_to_end.discard(event.proc_id)
        is_well = event.exit_code == 0 or (was_told and event.signal == signal.SIGTERM)
        write = _log.info if is_well else _log.warning
        write(
            "process.exited",
            proc_id=event.proc_id,
            ex_id=spec.ex_id,
            pid=event.pid,
            code=event.exit_code,
            signal=event.signal,
            reason=event.detail,
        )
        self._driver.feed(
            Exited(
                exit=ProcessExit(
                    proc_id=event.proc_id,
                    ex_id=spec.ex_id,
                    exit_code=event.exit_code,
                    signal=event.signal,
                    running=event.running,
                    behind=event.behind,
                    doing=event.doing,
                    was_frozen=event.was_frozen,
                    detail=event.detail,
                )
            )
        )

    async def _take_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            is_first = True
            async with trio.open_nursery() as nursery:
                async for number in signals:
                    _log.info("node.told_to_end", signal=signal.Signals(number).name, hurry=not is_first)
                    self._driver.feed(Terminate(hurry=not is_first))
                    self._notifier.stopping()
                    if is_first:
                        nursery.start_soon(self._ask_for_time)
                    is_first = False

    async def _ask_for_time(self) -> None:
        """Have the service manager wait while the drain goes on, which has an end of its own."""
        while True:
            self._notifier.extend_timeout(_DRAIN_AHEAD_S)
            await trio.sleep(_DRAIN_AHEAD_S / 3)


def _on_bad_frame(peer: str, reason: str, count: int) -> None:
    _log.warning("mesh.bad_frame", peer_id=peer, reason=reason, count=count)

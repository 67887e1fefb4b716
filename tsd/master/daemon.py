"""The master daemon: store, cluster core, mesh and API in one process.

It starts in the order in which less can go wrong: ports, store, core, API. It ends in the opposite order,
and what runs in the cluster goes on without it.
"""

import contextlib
import json
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import attrs
import structlog
import trio

from tsd import __version__
from tsd.addresses import tcp_address
from tsd.assets.archive import Limits
from tsd.assets.folders import AssetFolders
from tsd.assets.host import this_host
from tsd.assets.sweeping import keep_swept
from tsd.core.cluster.events import SettingsChanged
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.records import ClusterSettings
from tsd.core.kinds import FROM_MASTER, TO_MASTER
from tsd.errors import AssetError, ConfigError, PortInUse, StoreError, exit_code_of
from tsd.master.api.app import ApiOptions, create_api
from tsd.master.assets import AssetService
from tsd.master.brain import Brain
from tsd.master.bundles import FOLDER, BundleFiles
from tsd.master.clock import Clock
from tsd.master.clusterview import ClusterService
from tsd.master.connections import Connections
from tsd.master.executions import ExecutionService
from tsd.master.http import bind_api, serve_api, url_of
from tsd.master.jobs import JobService
from tsd.master.letters import LetterService
from tsd.master.metrics import MasterMetrics
from tsd.master.nodes import NodeService
from tsd.master.ports import Stopped, bound
from tsd.master.requests import RequestCounter
from tsd.master.roomwatch import RoomWatch
from tsd.master.service import MasterService
from tsd.master.statusline import StatusLine
from tsd.master.validation import JobChecker
from tsd.mesh.codec import Codec
from tsd.mesh.endpoint import Listener
from tsd.mesh.options import mesh_options
from tsd.mesh.socket import listen_tcp
from tsd.observe import log as logs
from tsd.observe.looplag import LoopLag
from tsd.observe.notify import Notifier
from tsd.observe.reloading import Reloading, signals_of_reload
from tsd.observe.streams import drain_streams, unblock_streams
from tsd.observe.titles import title_master
from tsd.operations.registry import Registry
from tsd.setting_fields import is_loopback
from tsd.settings import Settings, note_on_master
from tsd.store.store import Store, open_store
from tsd.store.writer import StoreHealth

log = structlog.get_logger()

API_FILE = "api.json"
"""In the data folder: `{"url", "mesh", "pid"}` of the master that runs."""
LEAST_OPEN_FILES = 32
"""With fewer the store, the sockets and the first clients do not fit."""
OPEN_FILES = 65_536
"""Files and connections the master may have open, where the system allows it."""
STATUS_EVERY_S = 2.0
"""How often the line of `systemctl status` may change."""
SHUT_DOWN_S = 3.0
"""How long the last decisions may take at the end; in an outage of the store they would take for ever."""


def run_master(settings: Settings, *, reload: Callable[[], Settings] | None = None) -> int:
    """Run the master until SIGTERM or SIGINT; the exit code of the process.

    A second signal cuts off the requests that are still being answered.

    Args:
        settings: Of the cluster.
        reload: Reads the settings again, on SIGHUP; raises ConfigError.

    Returns:
        0 after a clean end; 78 when a setting is wrong or a newer tsd wrote the store, 77 when the
        data folder may not be written, 75 when another master uses it, 1 when the store can not be used for
        another reason. All but the first come with one line on stderr.
    """
    title_master()
    unblock_streams(on_dropped=logs.note_dropped_lines)
    notifier = Notifier.from_environment()
    code = 0
    try:
        logs.configure(settings.terafoundation, role="master")
        _allow_open_files()
        trio.run(_run, settings, notifier, reload)
    except* Stopped:
        log.info("master.stopped")
    except* (ConfigError, AssetError, StoreError) as group:
        code = _complain(group)
    finally:
        drain_streams()
    return code


def _allow_open_files() -> None:
    """Raise the limit of open files: each client is one. Raises ConfigError when the hard limit is too low.

    The usual limit is for programs that might use `select`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if resource.RLIM_INFINITY != wanted < LEAST_OPEN_FILES:
        fault = f"is {wanted}, and the master needs {LEAST_OPEN_FILES} or more"
        raise ConfigError("The master cannot run", [("the limit of open files (ulimit -n)", fault)])


def _complain(group: BaseExceptionGroup[Exception]) -> int:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    sys.stderr.write(f"tsd: {error}\n")
    return exit_code_of(error)


async def _run(settings: Settings, notifier: Notifier, reload: Callable[[], Settings] | None) -> None:
    for warning in settings.warnings:
        log.warning("settings.noted", reason=warning)
    tsd = settings.tsd
    registry = Registry(tsd.operation_modules)

    store_fault = ""

    def on_health(health: StoreHealth) -> None:
        nonlocal store_fault
        store_fault = "" if health.is_ok else health.reason
        if health.is_ok:
            log.info("store.recovered")
        else:
            log.error("store.failing", reason=health.reason)

    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
        signals_of_reload() as reload_signals,
    ):
        async with (
            _listening(settings, signals, notifier) as (listener, mesh),
            open_store(tsd.data_dir, letters_max=tsd.dead_letters_max, on_health=on_health) as store,
        ):
            clock = Clock()
            machine = ClusterMachine.restore(
                await store.load_unended(),
                await store.load_drains(),
                settings=_cluster_settings(settings),
                now=clock.now(),
            )
            bundles = BundleFiles(tsd.data_dir / FOLDER, tsd.max_asset_size)
            brain = Brain(machine=machine, store=store, listener=mesh, now=clock.now, bundles=bundles)
            lag = LoopLag()
            service = _service(settings, store, brain, registry=registry, lag=lag, bundles=bundles)
            reloading = Reloading(
                settings=settings,
                load=reload,
                apply=partial(_reconfigure, brain, service),
                notifier=notifier,
            )
            master = _Master(
                settings=settings,
                notifier=notifier,
                reloading=reloading,
                store_fault=lambda: store_fault,
                listener=listener,
                mesh=mesh,
                brain=brain,
                service=service,
                lag=lag,
            )
            await master.serve(signals, reload_signals)


@contextlib.asynccontextmanager
async def _listening(
    settings: Settings, signals: AsyncIterator[int], notifier: Notifier
) -> AsyncIterator[tuple[socket.socket, Listener]]:
    """The sockets of the API and of the mesh, once their ports are free. Raises Stopped, ConfigError."""
    tsd = settings.tsd
    async with contextlib.AsyncExitStack() as stack:

        async def bind() -> socket.socket:
            return bind_api(tsd.listen, settings.teraslice.port)

        async def listen() -> Listener:
            listening = listen_tcp(
                tcp_address(tsd.mesh_listen, tsd.mesh_port),
                codec=Codec(TO_MASTER, FROM_MASTER),
                options=mesh_options(settings),
                on_bad_frame=_on_bad_frame,
                allow_plaintext=tsd.allow_plaintext,
            )
            try:
                return await stack.enter_async_context(listening)
            except PortInUse as error:
                raise PortInUse(
                    error.title, [("tsd.mesh_port", fault) for _, fault in error.faults]
                ) from error

        api = stack.enter_context(contextlib.closing(await bound(bind, signals=signals, notifier=notifier)))
        yield api, await bound(listen, signals=signals, notifier=notifier)


@attrs.frozen(eq=False, kw_only=True)
class _Master:
    """The parts that run, and the order in which they begin and end."""

    settings: Settings
    notifier: Notifier
    reloading: Reloading
    store_fault: Callable[[], str]
    listener: socket.socket
    mesh: Listener
    brain: Brain
    service: MasterService
    lag: LoopLag
    stop: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, signals: AsyncIterator[int], reload_signals: AsyncIterator[int]) -> None:
        """Serve until a signal comes, then end in order."""
        url = url_of(self.listener)
        app = create_api(
            self.service,
            ApiOptions(
                body_size_max=self.settings.tsd.max_body_size,
                answer_within_s=self.settings.teraslice.api_response_timeout_s,
                request_max=self.settings.tsd.max_requests,
                is_local=is_loopback(self.settings.tsd.listen),
            ),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(self.brain.run)
            nursery.start_soon(self._keep_watchdog)
            nursery.start_soon(self.lag.run)
            nursery.start_soon(RoomWatch(machine=self.brain.machine, now=trio.current_time).run)
            folders = self.service.assets.folders
            nursery.start_soon(keep_swept, folders, self.settings.tsd.keep_unused_assets_s)
            await self.service.assets.sweep()
            await self.service.assets.autoload(self.settings.teraslice.autoload_directory)
            with _announced(self.settings.tsd.data_dir, {"url": url, "mesh": self.mesh.address}):
                async with trio.open_nursery() as requests:
                    serve = partial(serve_api, connections=Connections(self.settings.tsd.max_connections))
                    await requests.start(serve, app, self.listener, self.stop.wait)
                    nursery.start_soon(self._take_signals, signals, requests.cancel_scope)
                    log.info("master.ready", url=url, mesh=self.mesh.address, version=__version__)
                    self.notifier.ready(f"Serving at {url}")
                    nursery.start_soon(self.reloading.serve, reload_signals)
                    nursery.start_soon(_look_at_own_name, self.settings)
                    if self.notifier.address is not None:
                        nursery.start_soon(self._keep_status)
            await self.service.jobs.checker.close()
            with trio.move_on_after(SHUT_DOWN_S):
                await self.brain.shut_down()
            nursery.cancel_scope.cancel()
        log.info("master.stopped")

    async def _take_signals(self, signals: AsyncIterator[int], requests: trio.CancelScope) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if self.stop.is_set():
                log.warning("master.hurried", signal=name)
                requests.cancel()
                continue
            log.info("master.stopping", signal=name)
            self.notifier.stopping("Answering what is in flight")
            self.service.is_closing = True
            self.service.jobs.checker.hurry()
            self.brain.watches.close()
            self.stop.set()

    async def _keep_status(self) -> None:
        """Keep the line of `systemctl status` true until the end begins."""
        line = StatusLine(machine=self.brain.machine, now=trio.current_time)
        while not self.stop.is_set():
            text = f"{line.text(self.store_fault())}. {self.reloading.status().capitalize()}"
            if line.is_new(text):
                self.notifier.status(text)
            with trio.move_on_after(STATUS_EVERY_S):
                await self.stop.wait()

    async def _keep_watchdog(self) -> None:
        if self.notifier.watchdog_s is None:
            return
        while True:
            self.notifier.watchdog()
            await trio.sleep(self.notifier.watchdog_s / 3)


async def _look_at_own_name(settings: Settings) -> None:
    """Warn when nodes would look for their master elsewhere; a resolver may take its time."""
    if is_loopback(settings.tsd.mesh_listen):
        return
    note = await trio.to_thread.run_sync(note_on_master, settings, abandon_on_cancel=True)
    if note:
        log.warning("settings.noted", reason=note)


def _service(
    settings: Settings, store: Store, brain: Brain, *, registry: Registry, lag: LoopLag, bundles: BundleFiles
) -> MasterService:
    teraslice = settings.teraslice
    assets = AssetService(
        store=store,
        files=bundles,
        folders=AssetFolders(teraslice.assets_directory),
        limits=Limits.of(settings.tsd.max_asset_size),
        host=this_host(),
        child_within_s=math.ceil(settings.tsd.job_check_timeout_s),
    )
    connectors = settings.terafoundation.connectors
    checker = JobChecker(
        registry=registry,
        modules=settings.tsd.operation_modules,
        assets=assets,
        connections=frozenset(name for connections in connectors.values() for name in connections),
        cpu_count=os.cpu_count() or 1,
        child_within_s=math.ceil(settings.tsd.job_check_timeout_s),
    )
    requests = RequestCounter()
    metrics = MasterMetrics(
        cluster_name=teraslice.name,
        url=settings.terafoundation.prom_metrics_display_url,
        brain=brain,
        store=store,
        requests=requests,
        lag=lag,
    )
    return MasterService(
        cluster_name=teraslice.name,
        store=store,
        jobs=JobService(store=store, brain=brain, checker=checker),
        executions=ExecutionService(
            store=store,
            brain=brain,
            confirm_within_s=_confirm_within_s(settings),
        ),
        letters=LetterService(store=store, brain=brain, checker=checker),
        cluster=ClusterService(machine=brain.machine),
        nodes=NodeService(brain=brain),
        assets=assets,
        brain=brain,
        requests=requests,
        metrics=metrics,
    )


def _reconfigure(brain: Brain, service: MasterService, settings: Settings) -> None:
    """Apply what a reload changed."""
    service.executions.confirm_within_s = _confirm_within_s(settings)
    brain.post(SettingsChanged(settings=_cluster_settings(settings)))


def _confirm_within_s(settings: Settings) -> float:
    return settings.teraslice.action_timeout_s + settings.teraslice.network_latency_buffer_s


def _cluster_settings(settings: Settings) -> ClusterSettings:
    teraslice, tsd = settings.teraslice, settings.tsd
    return ClusterSettings(
        version=__version__,
        heartbeat_interval_s=tsd.heartbeat_interval_s,
        shutdown_timeout_s=teraslice.shutdown_timeout_s,
        action_timeout_s=teraslice.action_timeout_s,
        node_disconnect_timeout_s=teraslice.node_disconnect_timeout_s,
        slicer_timeout_s=teraslice.slicer_timeout_s,
        slicer_allocation_attempts=teraslice.slicer_allocation_attempts,
        controller_lease_s=tsd.controller_lease_s,
        controller_restarts=tsd.controller_restarts,
        config=settings.digest,
    )


def _on_bad_frame(peer: str, reason: str, count: int) -> None:
    log.warning("mesh.bad_frame", peer_id=peer, reason=reason, count=count)


@contextlib.contextmanager
def _announced(data_dir: Path, addresses: dict[str, str]) -> Iterator[None]:
    """Say in the data folder where the master is reached, while the body runs."""
    path = data_dir / API_FILE
    partial = data_dir / f"{API_FILE}.{os.getpid()}"
    partial.write_text(json.dumps({**addresses, "pid": os.getpid()}) + "\n", encoding="utf-8")
    partial.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)

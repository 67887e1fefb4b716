"""`tsd up`: a whole cluster on one host, as one process tree."""

import fcntl
import os
import random
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import IO

import attrs
import structlog

from tsd.cli import exit_codes
from tsd.cli.client import ApiFile, MasterClient
from tsd.cli.supervisor import KILL_AFTER_S, Child, Supervisor
from tsd.errors import ConfigError, exit_code_of
from tsd.observe import log as logs
from tsd.observe.notify import Notifier
from tsd.observe.streams import drain_streams, unblock_streams
from tsd.observe.titles import title_up
from tsd.settings import Settings

PRIVATE_PORTS = range(20_000, 30_000)
"""Where free ports are looked for: below those that the kernel gives to outgoing connections, so that a
port stays free between the look and its use, and after a restart of the master."""

_LOOK_EVERY_S = 0.02
"""How often the node looks whether the master of this cluster is up."""

log = structlog.get_logger()


def run_up(settings: Settings, *, announce: bool = True) -> int:
    """Run master and node until a signal; the exit code of the command.

    Args:
        settings: Of the cluster; a port 0 is replaced by a free one that lasts as long as this cluster.
        announce: Print the URL when the cluster is ready.
    """
    # Daemons are forked from here, so there may be no thread.
    unblock_streams(may_use_thread=False)
    notifier = Notifier.from_environment()
    data_dir = settings.tsd.data_dir
    try:
        logs.configure(settings.terafoundation, role="up")
        with _open_lock(data_dir) as file:
            patience_s = settings.teraslice.shutdown_timeout_s + KILL_AFTER_S
            other = _lock(file, patience_s=patience_s)
            if other is not None:
                print(f"tsd: {data_dir} is in use by another tsd (pid {other})", file=sys.stderr)
                return exit_codes.BUSY
            return _supervise(_with_ports(settings), notifier, announce=announce)
    except ConfigError as error:
        print(f"tsd: {error}", file=sys.stderr)
        return exit_code_of(error)
    finally:
        drain_streams()


def _supervise(settings: Settings, notifier: Notifier, *, announce: bool) -> int:
    title_up()
    api = ApiFile.in_folder(settings.tsd.data_dir)
    api.remove()
    node_id = settings.node_id

    def ready() -> None:
        url = api.read_url() or ""
        log.info("cluster.ready", url=url)
        if announce:
            print(f"tsd is up: {url} (Ctrl-C drains, twice hurries)", flush=True)
        notifier.ready(url)

    def stopping() -> None:
        log.info("cluster.stopping")
        notifier.stopping("draining")

    supervisor = Supervisor(
        [
            Child(name="master", run=partial(_run_master, settings)),
            Child(name="node", run=partial(_run_node, settings.for_node(node_id), node_id, api)),
        ],
        drain_s=settings.teraslice.shutdown_timeout_s,
        probe=partial(_wait_until_ready, api),
        on_ready=ready,
        on_stop=stopping,
    )
    return supervisor.run()


def _run_master(settings: Settings) -> int:
    from tsd.master.daemon import run_master  # noqa: PLC0415 - the supervisor itself must stay free of trio

    return run_master(settings)


def _run_node(settings: Settings, node_id: str, api: ApiFile) -> int:
    from tsd.node.daemon import run_node  # noqa: PLC0415 - the same

    return run_node(settings, node_id, before_dialing=partial(_wait_for_own_master, api))


async def _wait_for_own_master(api: ApiFile) -> None:
    """Return when the master of this `tsd up` has its ports.

    While it waits for one, the master of another cluster answers there, and would take this node for its own.
    """
    import trio  # noqa: PLC0415 - as above

    while not ((pid := api.read_pid()) and _is_sibling(pid)):  # noqa: ASYNC110 - nothing tells of a file
        await trio.sleep(_LOOK_EVERY_S)


def _is_sibling(pid: int) -> bool:
    """Whether a process is a child of our parent."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return int(status.rpartition(")")[2].split()[1]) == os.getppid()


def _wait_until_ready(api: ApiFile) -> int:
    """Ask the master until it says that it is ready; runs in a process of its own, which may be killed."""
    while not ((url := api.read_url()) and MasterClient(url).is_ready()):
        time.sleep(0.05)
    return exit_codes.OK


def _open_lock(data_dir: Path) -> IO[str]:
    """Open the lock file of the data folder, which is made when it is missing."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (data_dir / "up.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigError("The data folder can not be used", [("tsd.data_dir", str(error))]) from error


def _lock(file: IO[str], *, patience_s: float) -> str | None:
    """Take the lock; returns None, or the pid in the file when another process holds it.

    The lock belongs to the open file, which the daemons inherit. So it outlives a supervisor that was killed
    until its daemons have drained, and that is waited for; a supervisor that lives is not.
    """
    deadline = time.monotonic() + patience_s
    while not _try_lock(file):
        file.seek(0)
        holder = file.read().strip()
        if (holder.isdigit() and Path(f"/proc/{holder}").exists()) or time.monotonic() > deadline:
            return holder or "unknown"
        time.sleep(0.1)
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return None


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _with_ports(settings: Settings) -> Settings:
    """The settings with each port 0 replaced by a free one."""
    port = settings.teraslice.port or _free_port(settings.tsd.listen, PRIVATE_PORTS[::2])
    mesh_port = settings.tsd.mesh_port or _free_port(settings.tsd.mesh_listen, PRIVATE_PORTS[1::2])
    return attrs.evolve(
        settings,
        teraslice=attrs.evolve(settings.teraslice, port=port),
        tsd=attrs.evolve(settings.tsd, mesh_port=mesh_port),
    )


def _free_port(host: str, ports: range) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.SystemRandom().sample(ports, len(ports)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port of {ports} at {host}")

"""The listening socket of the API, and Hypercorn serving an application on it inside our nursery."""

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from tsd.errors import ConfigError

GRACEFUL_S = 3.0
"""How long requests in flight have to be answered when the API ends."""
_HANG_UP_S = 1.0
"""After so much longer, connections whose client does not even read its answer are cut."""
_BACKLOG = 1024


def bind_api(host: str, port: int) -> socket.socket:
    """Listen on the address of the API; from here on connections wait until they are served.

    Args:
        host: Address or name of this machine.
        port: 0 for any free one.

    Raises:
        ConfigError: The port is in use, needs a permission we lack, or the host is not ours.
    """
    title = "The API can not listen"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(title, [("tsd.listen", f"{host}: {error.strerror}")]) from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        key, fault = "tsd.listen", f"{host}:{port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            key, fault = "teraslice.port", f"port {port} of {host} is in use"
        elif error.errno == errno.EACCES:
            key, fault = "teraslice.port", f"port {port} needs a permission that this user does not have"
        raise ConfigError(title, [(key, fault)]) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where clients of this machine reach the API."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_api(
    app: Any,
    listener: socket.socket,
    shutdown: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an application until `shutdown` returns, then answer what is in flight for `GRACEFUL_S`.

    Args:
        app: The ASGI application.
        listener: From `bind_api`; it is closed at the end.
        shutdown: Returns when the API is to end.
        task_status: Told when requests are served.
    """
    config = Config()
    port = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = _BACKLOG
    config.graceful_timeout = GRACEFUL_S
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn")
    # A client that went away in the middle of an answer is noticed by the sending side only.
    async with trio.open_nursery() as nursery:
        has_ended = trio.Event()

        async def until_told() -> None:
            await shutdown()
            nursery.start_soon(_hang_up, port, has_ended)

        await nursery.start(_serve, app, config, until_told, has_ended)
        task_status.started()


async def _serve(
    app: Any,
    config: Config,
    shutdown: Callable[[], Awaitable[None]],
    has_ended: trio.Event,
    *,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    try:
        await serve(app, config, shutdown_trigger=shutdown, task_status=task_status)
    finally:
        has_ended.set()


async def _hang_up(port: int, has_ended: trio.Event) -> None:
    """Cut what is left when the time for answers is over.

    Hypercorn sends shielded and without a limit, so one client that does not read would keep it from ending.
    """
    with trio.move_on_after(GRACEFUL_S + _HANG_UP_S):
        await has_ended.wait()
    if not has_ended.is_set():
        _cut_connections(port)


def _cut_connections(port: int) -> None:
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            _cut_connection(int(descriptor.name), port)


def _cut_connection(descriptor: int, port: int) -> None:
    """End the connection behind a descriptor of this process if it is one of the API.

    Raises:
        OSError: The descriptor is no socket, or is gone.
    """
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.type == socket.SOCK_STREAM and connection.getsockname()[1:2] == (port,):
            connection.shutdown(socket.SHUT_RDWR)

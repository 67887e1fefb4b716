"""The listening socket of the API, and Hypercorn serving an application on its connections.

Connections are accepted here and not by Hypercorn, so that they can be counted, limited and cut.
"""

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from typing_extensions import override

from tsd.errors import ConfigError, PortInUse
from tsd.master.connections import Connections, turn_away

log = structlog.get_logger()

GRACEFUL_S = 3.0
"""How long requests in flight have to be answered when the API ends."""
_HANG_UP_S = 1.0
"""After so much longer, connections whose client does not even read its answer are cut."""
_BACKLOG = 1024
HEADER_WITHIN_S = 5.0
"""A connection must send a complete header within so many seconds, when it is new and after each answer."""
HEADER_SIZE_MAX = 16 * 1024
"""Largest path and headers of a request, in bytes, as in other servers; more is answered by 431."""


def bind_api(host: str, port: int) -> socket.socket:
    """Listen on the address of the API; from here on connections wait until they are served.

    Args:
        host: Address or name of this machine.
        port: 0 for any free one.

    Raises:
        PortInUse: Another process has the port.
        ConfigError: The port needs a permission that we lack, or the host is not ours.
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
            in_use = ("teraslice.port", f"port {port} of {host} is in use")
            raise PortInUse(title, [in_use]) from error
        if error.errno == errno.EACCES:
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
    connections: Connections,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an application until `shutdown` returns, then answer what is in flight for `GRACEFUL_S`.

    Args:
        app: The ASGI application; it needs no lifespan.
        listener: From `bind_api`; it is closed at the end.
        shutdown: Returns when the API is to end.
        connections: The clients, none yet.
        task_status: Told when requests are served.
    """
    context = WorkerContext(None)
    serve = partial(_serve_connection, ASGIWrapper(app), _config(), context, connections)
    async with trio.open_nursery() as serving:
        async with (
            trio.SocketListener(trio.socket.from_stdlib_socket(listener)) as listening,
            trio.open_nursery() as accepting,
        ):
            accepting.start_soon(partial(trio.serve_listeners, serve, [listening], handler_nursery=serving))
            task_status.started()
            await shutdown()
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        serving.cancel_scope.deadline = trio.current_time() + GRACEFUL_S
        # Hypercorn sends shielded, so a client that does not read its answer would keep it from ending.
        serving.start_soon(partial(connections.hang_up, after_s=GRACEFUL_S + _HANG_UP_S))


def _config() -> Config:
    config = Config()
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn")
    config.keep_alive_timeout = HEADER_WITHIN_S
    config.h11_max_incomplete_size = HEADER_SIZE_MAX
    config.h2_max_header_list_size = HEADER_SIZE_MAX
    return config


class _Server(TCPServer):
    """Hypercorn's end of a connection, which is over when its client has left."""

    @override
    async def _read_data(self) -> None:
        await super()._read_data()
        # Else it would wait for the time in which another request may come.
        await self.idle_task.stop()


async def _serve_connection(
    app: ASGIWrapper,
    config: Config,
    context: WorkerContext,
    connections: Connections,
    stream: trio.SocketStream,
) -> None:
    with connections.joined(stream) as connection:
        if connection is None:
            await turn_away(stream)
            return
        try:
            # It is a stream in all that Hypercorn uses; for its types, a stream is one of trio's own.
            await _Server(app, config, context, ConnectionState({}), cast("Any", connection))
        except Exception:
            # A fault of one connection must not end the others, and with them the master.
            log.exception("api.connection_failed")

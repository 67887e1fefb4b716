"""The mesh over TCP: ROUTER and DEALER sockets, their options and addresses.

Connecting again, pinging and noticing that a connection is dead is libzmq's thread's work. It needs no
Python, so it goes on while user code holds the interpreter.

No receive marks: libzmq 4.3.5 aborts the process when a connection breaks while its input is at the receive
mark, if the socket pings (`!_io_error`, stream_engine_base.cpp:310) or dials again (`_input_stopped`, libzmq
#3937 and #4767), and it ends healthy connections whose input is at the mark, because it does not read the
answers to its pings either. So libzmq always reads on. What a peer may have on its way to us is bounded
by credits and acknowledgements above this layer.
"""

import errno
import ipaddress
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio
import zmq

from tsd.addresses import tcp_address
from tsd.errors import ConfigError, PortInUse, RemoteWireError
from tsd.mesh.auth import check_bind
from tsd.mesh.codec import Codec
from tsd.mesh.endpoint import (
    DEFAULT_OPTIONS,
    Dialer,
    Listener,
    MeshOptions,
    MeshStatistics,
    OnBadFrame,
    Received,
    Sent,
    check_identity,
)
from tsd.mesh.linkstate import LinkState
from tsd.mesh.pump import Pump, run, shared_context
from tsd.mesh.tally import Tally, encode_counted

RESOLVE_S = 5.0
"""How long a resolver may take before the dialing begins without its answer."""


class _TcpListener:
    def __init__(
        self, socket: zmq.Socket[bytes], *, codec: Codec, options: MeshOptions, tally: Tally
    ) -> None:
        self.address = socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self.pump = Pump(socket, self._read, options=options, tally=tally)
        self._codec = codec
        self._tally = tally

    async def receive(self) -> list[Received]:
        return await self.pump.receive()

    def send(self, peer: str, message: object) -> Sent:
        frames = encode_counted(self._codec, self._tally, message)
        identity = peer.encode()
        sent = self.pump.send(identity, [identity, *frames])
        self._tally.count_out(sent, frames)
        return sent

    def count_bad(self, peer: str, reason: str) -> None:
        self._tally.count_bad(peer, reason)

    def statistics(self) -> MeshStatistics:
        return self._tally.statistics(queued=self.pump.queued)

    def _read(self, frames: list[bytes]) -> Received | None:
        identity, *content = frames
        self._tally.count_in(content)
        # libzmq names connections that give no identity, and those that lost theirs to a newer
        # one, with a NUL and a number.
        is_nameless = identity.startswith(b"\0")
        peer = "" if is_nameless else identity.decode(errors="backslashreplace")
        try:
            message = self._codec.decode(content)
        except RemoteWireError as error:
            self._tally.count_bad(peer, str(error))
            return None
        if is_nameless:
            self._tally.nameless += 1
            return None
        return Received(peer, message)


class _TcpDialer:
    def __init__(
        self, socket: zmq.Socket[bytes], *, codec: Codec, options: MeshOptions, tally: Tally
    ) -> None:
        self.pump: Pump[object] = Pump(socket, self._read, options=options, tally=tally)
        self.link = LinkState(socket)
        self._codec = codec
        self._tally = tally

    @property
    def is_up(self) -> bool:
        return self.link.is_up

    async def wait_link_change(self) -> bool:
        return await self.link.wait_change()

    async def receive(self) -> list[object]:
        return await self.pump.receive()

    def send(self, message: object) -> Sent:
        frames = encode_counted(self._codec, self._tally, message)
        sent = self.pump.send(b"", frames)
        self._tally.count_out(sent, frames)
        return sent

    def statistics(self) -> MeshStatistics:
        return self._tally.statistics(queued=self.pump.queued)

    def _read(self, frames: list[bytes]) -> object | None:
        self._tally.count_in(frames)
        try:
            return self._codec.decode(frames)
        except RemoteWireError as error:
            self._tally.count_bad("", str(error))
            return None


@asynccontextmanager
async def listen_tcp(
    address: str,
    *,
    codec: Codec,
    ports: Iterable[int] | None = None,
    options: MeshOptions = DEFAULT_OPTIONS,
    on_bad_frame: OnBadFrame | None = None,
    allow_plaintext: bool = False,
) -> AsyncIterator[Listener]:
    """Listen for dialers while the body runs.

    On leaving, messages that wait are sent for `options.linger_s`; then what is left is dropped. libzmq
    frees the port when that is done, which can be a moment after the body was left.

    Args:
        address: `tcp://host:port`; port 0 lets the kernel choose. The host is an address of this
            machine, a name that resolves to one, or `*` for all IPv4 addresses.
        codec: The messages of this link.
        ports: Ports to try in turn instead of the address's own, which may then be left out.
        options: Bounds and times.
        on_bad_frame: Told of bad frames, of each peer ever more seldom. Frames beyond the codec's largest are
            not among them: libzmq closes the connection they come from.
        allow_plaintext: Bind an address that other machines can reach, without encryption.

    Yields:
        The listener. Its `address` has the address that was bound, which for `*` is 0.0.0.0.

    Raises:
        PortInUse: All of the ports are in use; the message names them.
        ConfigError: The address is none of this machine's, or needs `allow_plaintext`.
    """
    host, port = _split(address)
    check_bind(host, allow_plaintext=allow_plaintext)
    host = "0.0.0.0" if host == "*" else await _resolve(host)  # noqa: S104 - asked for, and checked above
    candidates = [port] if ports is None else list(ports)
    tally = Tally(on_bad_frame)
    socket = shared_context.open_socket(zmq.ROUTER)
    try:
        _configure(socket, options, codec, use_ipv6=":" in host)
        # Without MANDATORY a ROUTER drops what it can not send, silently.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A restarted peer, or one whose old connection is not yet noticed to be dead, takes its name back.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.BACKLOG, 1024)
        _bind(socket, host, candidates)
        listener = _TcpListener(socket, codec=codec, options=options, tally=tally)
    except BaseException:
        await shared_context.close_socket(socket, linger_s=0)
        raise
    async with run(listener.pump, socket):
        yield listener


@asynccontextmanager
async def dial_tcp(
    address: str,
    *,
    identity: str,
    codec: Codec,
    options: MeshOptions = DEFAULT_OPTIONS,
    on_bad_frame: OnBadFrame | None = None,
) -> AsyncIterator[Dialer]:
    """Keep a connection to the listener while the body runs.

    Whether the listener is there does not matter: libzmq dials until it is, and messages wait meanwhile.
    On leaving, messages that wait are sent for `options.linger_s`; then what is left is dropped.

    Args:
        address: `tcp://host:port`. libzmq resolves a name at each attempt to connect.
        identity: The name that the listener knows this peer by: 1 to 255 bytes of UTF-8. Of two
            connections with one name the listener keeps the newer.
        codec: The messages of this link.
        options: Bounds and times.
        on_bad_frame: Told of the listener's first bad frame, with the peer empty.

    Yields:
        The dialer.

    Raises:
        ConfigError: The address is not `tcp://host:port`.
        LocalWireError: The identity is empty, too long or starts with NUL.
    """
    host, port = _split(address)
    routing_id = check_identity(identity)
    tally = Tally(on_bad_frame)
    socket = shared_context.open_socket(zmq.DEALER)
    try:
        _configure(socket, options, codec, use_ipv6=await _needs_ipv6(host))
        socket.setsockopt(zmq.ROUTING_ID, routing_id)
        socket.setsockopt(zmq.RECONNECT_IVL, _ms(options.reconnect_s))
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, _ms(options.reconnect_max_s))
        socket.setsockopt(zmq.CONNECT_TIMEOUT, _ms(options.connect_timeout_s))
        # Before it connects, to see all that happens.
        dialer = _TcpDialer(socket, codec=codec, options=options, tally=tally)
        try:
            socket.connect(tcp_address(host, port))
        except zmq.ZMQError as error:
            dialer.link.close()
            raise ConfigError("The mesh can not dial", [("", f"{address}: {error}")]) from error
    except BaseException:
        await shared_context.close_socket(socket, linger_s=0)
        raise
    async with run(dialer.pump, socket, dialer.link):
        yield dialer


def _configure(socket: zmq.Socket[bytes], options: MeshOptions, codec: Codec, *, use_ipv6: bool) -> None:
    for option, value in (
        (zmq.SNDHWM, options.send_hwm),
        (zmq.RCVHWM, 0),
        (zmq.HEARTBEAT_IVL, _ms(options.heartbeat_interval_s)),
        (zmq.HEARTBEAT_TIMEOUT, _ms(options.heartbeat_timeout_s)),
        (zmq.MAXMSGSIZE, codec.body_bytes_max),
        (zmq.LINGER, _ms(options.linger_s)),
        (zmq.HANDSHAKE_IVL, _ms(options.connect_timeout_s)),
        (zmq.IPV6, int(use_ipv6)),
    ):
        socket.setsockopt(option, value)
    if options.kernel_buffer_b is not None:
        socket.setsockopt(zmq.SNDBUF, options.kernel_buffer_b)
        socket.setsockopt(zmq.RCVBUF, options.kernel_buffer_b)


def _bind(socket: zmq.Socket[bytes], host: str, ports: list[int]) -> None:
    for port in ports:
        try:
            socket.bind(tcp_address(host, port))
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            fault = f"{tcp_address(host, port)}: {error}"
            raise ConfigError("The mesh can not listen", [("", fault)]) from error
        return
    if not ports:
        raise ConfigError("The mesh can not listen", [("", f"{host}: no port to listen on")])
    fault = f"{host}: all {len(ports)} ports of {min(ports)} to {max(ports)} are in use"
    if len(ports) == 1:
        fault = f"{host}: port {ports[0]} is in use"
    raise PortInUse("The mesh can not listen", [("", fault)])


def _split(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        if parts.scheme == "tcp" and parts.hostname and not (parts.path or parts.query):
            return parts.hostname, parts.port or 0
    except ValueError:
        pass
    raise ConfigError("Not an address of the mesh", [("", f"{address!r} is not tcp://host:port")])


async def _needs_ipv6(host: str) -> bool:
    """Whether a host is reached by IPv6 only; libzmq takes the first address of the kind it is told."""
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        pass
    with trio.move_on_after(RESOLVE_S):
        try:
            found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
        except OSError:
            return False  # nothing is known of it yet; libzmq asks again at each attempt
        return all(family == trio.socket.AF_INET6 for family, *_ in found)
    return False


async def _resolve(host: str) -> str:
    """Return the host as an IP address, which is what libzmq can bind."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError("The mesh can not listen", [("", f"{host}: {error}")]) from error
    # As dialers do, which take IPv4 where a name has addresses of both kinds.
    found.sort(key=lambda entry: entry[0] != trio.socket.AF_INET)
    return str(found[0][4][0])


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

"""Messages, options and both networks for the tests of the mesh."""

import socket
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio
import zmq

from tests.support.waiting import wait_for
from tsd.errors import ConfigError
from tsd.mesh.codec import Codec
from tsd.mesh.endpoint import MeshOptions, Received, Sent
from tsd.mesh.memory import MemoryNetwork
from tsd.mesh.socket import dial_tcp, listen_tcp


@attrs.frozen(kw_only=True)
class Note:
    n: int
    text: str = ""


@attrs.frozen(kw_only=True)
class Blob:
    data: bytes


@attrs.frozen(kw_only=True)
class Ack:
    n: int


@attrs.frozen(kw_only=True)
class OtherNote:
    """Sent under the kind of `Note`, which it is not."""

    n: str


BODY_BYTES_MAX = 8_000_000
CODEC = Codec({"note": Note, "blob": Blob, "ack": Ack}, body_bytes_max=BODY_BYTES_MAX)
WRONG_CODEC = Codec({"note": OtherNote, "strange": Blob})
"""What it encodes is garbage to `CODEC`."""

NARROW = MeshOptions(send_hwm=2, outbox_count=5, inbox_count=4, kernel_buffer_b=4096, linger_s=5.0)
"""Room for a few messages only; with `PAD` in each, also in the kernel."""
PAD = "x" * 8000


class TcpMesh:
    """Real sockets on loopback."""

    def __init__(self):
        self.address = f"tcp://127.0.0.1:{free_port()}"

    def listen(self, address="tcp://127.0.0.1:0", *, codec=CODEC, **options):
        return listen_tcp(address, codec=codec, **options)

    def dial(self, address, identity, *, codec=CODEC, **options):
        return dial_tcp(address, identity=identity, codec=codec, **options)

    @asynccontextmanager
    async def listen_again(self, address, **options):
        """Listen where another listener may not yet have freed the port."""
        deadline = trio.current_time() + 20
        while True:
            try:
                async with self.listen(address, **options) as listener:
                    yield listener
                    return
            except ConfigError:
                assert trio.current_time() < deadline
                await trio.sleep(0.01)

    @asynccontextmanager
    async def dial_slowly(self, address, identity):
        """A peer whose libzmq reads nothing that was not asked for; that of a `Dialer` reads on and on."""
        with _bare_socket(zmq.DEALER) as bare:
            bare.routing_id = identity.encode()
            bare.connect(address)
            yield BareEndpoint(bare)

    @asynccontextmanager
    async def listen_slowly(self):
        """A listener whose libzmq reads nothing that was not asked for."""
        with _bare_socket(zmq.ROUTER) as bare:
            bare.bind("tcp://127.0.0.1:0")
            yield BareEndpoint(bare)


@contextmanager
def _bare_socket(socket_type):
    with zmq.Context() as context, context.socket(socket_type) as bare:
        bare.linger = 0
        bare.rcvhwm = 2
        bare.rcvbuf = 4096
        yield bare


class BareEndpoint:
    """Just enough of an endpoint on a bare socket that nothing else uses."""

    def __init__(self, bare):
        self.bare = bare
        self.address = bare.last_endpoint.decode()

    async def receive(self):
        while not self.bare.poll(0):
            await trio.sleep(0.001)
        *sender, kind, body = self.bare.recv_multipart()
        message = CODEC.decode([kind, body])
        return [Received(sender[0].decode(), message) if sender else message]


class MemoryMesh:
    """The network in memory."""

    def __init__(self):
        self.address = "memory://later"
        self.network = MemoryNetwork()

    def listen(self, address=None, *, codec=CODEC, **options):
        return self.network.listen(address, codec=codec, **options)

    def dial(self, address, identity, *, codec=CODEC, **options):
        return self.network.dial(address, identity=identity, codec=codec, **options)

    listen_again = listen

    def dial_slowly(self, address, identity):
        return self.dial(address, identity, options=NARROW)

    def listen_slowly(self):
        return self.listen(options=NARROW)


@asynccontextmanager
async def linked(mesh, *, identity="w1", **options):
    """A listener and a dialer that know each other."""
    async with mesh.listen(**options) as listener, mesh.dial(listener.address, identity, **options) as dialer:
        await reach(listener, identity, dialer)
        yield listener, dialer


async def reach(listener, peer, dialer):
    """Wait until the dialer has got an empty note from the listener."""
    await wait_for(lambda: listener.send(peer, Note(n=-1)) is Sent.SENT, f"{peer} connects")
    with trio.fail_after(20):
        assert await dialer.receive() == [Note(n=-1)]


async def receive_count(endpoint, count, within_s=20.0):
    """Receive exactly so many messages."""
    messages = []
    with trio.fail_after(within_s):
        while len(messages) < count:
            messages += await endpoint.receive()
    assert len(messages) == count
    return messages


async def send_all(send, messages, within_s=20.0):
    """Send each message, waiting while `send` answers full."""
    with trio.fail_after(within_s):
        for message in messages:
            while (sent := send(message)) is Sent.FULL:
                await trio.sleep(0.001)
            assert sent is Sent.SENT
            await trio.lowlevel.checkpoint()


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

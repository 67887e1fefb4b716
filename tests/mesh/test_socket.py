"""What only real sockets have: ports, addresses, threads, and peers that speak no ZMTP or no tsd."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
import zmq

from tests.support.mesh import CODEC, NARROW, Note, TcpMesh, free_port, linked, reach, receive_count
from tests.support.waiting import wait_for
from tsd.errors import ConfigError
from tsd.mesh.endpoint import MeshOptions, Received, Sent
from tsd.mesh.pump import shared_context
from tsd.mesh.socket import dial_tcp, listen_tcp


async def test_the_address_has_the_real_port():
    async with listen_tcp("tcp://127.0.0.1:0", codec=CODEC) as listener:
        host, _, port = listener.address.rpartition(":")

        assert host == "tcp://127.0.0.1"
        assert int(port) > 0


async def test_ports_in_use_are_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        busy_port, port = busy.getsockname()[1], free_port()
        async with listen_tcp("tcp://127.0.0.1", ports=[busy_port, port], codec=CODEC) as listener:
            assert listener.address == f"tcp://127.0.0.1:{port}"


async def test_a_busy_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is in use"):
            async with listen_tcp(f"tcp://127.0.0.1:{port}", codec=CODEC):
                pass


async def test_a_range_without_a_free_port_is_named():
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        ports = sorted(server.getsockname()[1] for server in (one, other))
        with pytest.raises(ConfigError, match=f"all 2 ports of {ports[0]} to {ports[1]} are in use"):
            async with listen_tcp("tcp://127.0.0.1", ports=ports, codec=CODEC):
                pass
    with pytest.raises(ConfigError, match="no port"):
        async with listen_tcp("tcp://127.0.0.1", ports=[], codec=CODEC):
            pass


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:5", "tcp://", "tcp://127.0.0.1:99999", "ipc://x", "tcp://[::1:5", "tcp://a:1/path"],
)
async def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigError, match="not tcp://host:port"):
        async with listen_tcp(address, codec=CODEC, allow_plaintext=True):
            pass
    with pytest.raises(ConfigError, match="not tcp://host:port"):
        async with dial_tcp(address, identity="w1", codec=CODEC):
            pass


async def test_an_address_of_another_machine_can_not_be_bound():
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        async with listen_tcp("tcp://192.0.2.1:0", codec=CODEC, allow_plaintext=True):
            pass


async def test_a_name_that_does_not_resolve_can_not_be_bound():
    with pytest.raises(ConfigError, match=r"nowhere\.invalid"):
        async with listen_tcp("tcp://nowhere.invalid:0", codec=CODEC, allow_plaintext=True):
            pass


async def test_a_bind_that_others_reach_must_be_allowed_in_plaintext():
    with pytest.raises(ConfigError, match="allow_plaintext"):
        async with listen_tcp("tcp://*:0", codec=CODEC):
            pass
    async with listen_tcp("tcp://*:0", codec=CODEC, allow_plaintext=True) as listener:
        address = listener.address.replace("0.0.0.0", "127.0.0.1")
        assert address != listener.address
        async with dial_tcp(address, identity="w1", codec=CODEC) as dialer:
            await reach(listener, "w1", dialer)


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
async def test_names_and_ipv6_addresses_work_at_both_ends(host):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        if host != "localhost":
            pytest.skip("no IPv6 here")
    async with (
        listen_tcp(f"tcp://{host}:0", codec=CODEC) as listener,
        dial_tcp(listener.address, identity="w1", codec=CODEC) as dialer,
    ):
        await reach(listener, "w1", dialer)


def test_importing_the_mesh_starts_no_thread():
    """A process with ZeroMQ's threads must not be forked, so the fork server imports and starts none."""
    code = "import os, tsd.mesh.socket, tsd.mesh.memory; print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "1"


async def test_the_context_ends_with_the_last_socket():
    async with linked(TcpMesh()):
        context = shared_context._context
        assert not context.closed
    assert context.closed
    assert shared_context._context is None

    with pytest.raises(ConfigError):
        async with listen_tcp("tcp://192.0.2.1:0", codec=CODEC, allow_plaintext=True):
            pass
    assert shared_context._context is None


async def test_closing_without_a_peer_takes_no_longer_than_linger_allows():
    with trio.fail_after(5):
        async with dial_tcp(
            f"tcp://127.0.0.1:{free_port()}",
            identity="w1",
            codec=CODEC,
            options=MeshOptions(linger_s=0.2, send_hwm=1),
        ) as dialer:
            for n in range(10):
                assert dialer.send(Note(n=n)) is Sent.SENT


async def test_a_cancelled_dialer_still_sends_what_waits_in_its_outbox():
    mesh = TcpMesh()
    has_sent = trio.Event()

    async def send_and_be_cancelled():
        with trio.CancelScope() as scope:
            async with mesh.dial(mesh.address, "w1", options=NARROW) as dialer:
                for n in range(6):  # nobody listens yet, and libzmq takes only two
                    assert dialer.send(Note(n=n)) is Sent.SENT
                scope.cancel()
                has_sent.set()
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_and_be_cancelled)
        await has_sent.wait()
        await trio.testing.wait_all_tasks_blocked()
        async with mesh.listen(mesh.address) as listener:
            received = await receive_count(listener, 6)

    assert [item.message.n for item in received] == list(range(6))


async def test_a_port_can_be_bound_again_at_once():
    address = f"tcp://127.0.0.1:{free_port()}"
    for _ in range(5):
        async with (
            listen_tcp(address, codec=CODEC) as listener,
            dial_tcp(address, identity="w1", codec=CODEC) as dialer,
        ):
            await reach(listener, "w1", dialer)


async def test_connections_that_speak_no_zmtp_disturb_nobody():
    async with linked(TcpMesh()) as (listener, dialer):
        port = int(listener.address.rpartition(":")[2])
        for junk in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\xff" * 5000):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(junk)
            dialer.send(Note(n=len(junk)))
            assert await receive_count(listener, 1) == [Received("w1", Note(n=len(junk)))]


async def test_peers_that_speak_no_tsd_are_counted_and_reported():
    reports = []
    async with listen_tcp(
        "tcp://127.0.0.1:0", codec=CODEC, on_bad_frame=lambda *report: reports.append(report[:2])
    ) as listener:
        good = CODEC.encode(Note(n=1))
        with zmq.Context() as context:
            for identity, frames in (
                (b"one-frame", [b"note"]),
                (b"many", [*good, b"more"]),
                (b"empty", [b""]),
                (b"", good),
                (b"", [b"nameless"]),
                (b"", [b"nameless"]),
                (b"fine", good),
            ):
                with context.socket(zmq.DEALER) as raw:
                    raw.linger = 1000
                    if identity:
                        raw.routing_id = identity
                    raw.connect(listener.address)
                    raw.send_multipart(frames)

            assert await receive_count(listener, 1) == [Received("fine", Note(n=1))]
            await wait_for(lambda: listener.statistics().bad_frames == 5, "bad frames are counted")

        reasons = dict(reports)
        assert len(reports) == len(reasons) == 4
        assert listener.statistics().nameless == 1
        assert "1 frames" in reasons["one-frame"]
        assert "3 frames" in reasons["many"]
        assert "1 frames" in reasons["empty"]
        assert "1 frames" in reasons[""]


async def test_a_frame_beyond_the_largest_ends_its_connection_and_no_other():
    mesh = TcpMesh()
    async with linked(mesh, identity="good") as (listener, good):
        with zmq.Context() as context, context.socket(zmq.DEALER) as raw:
            raw.linger = 0
            raw.routing_id = b"bloated"
            raw.reconnect_ivl = -1
            raw.connect(listener.address)
            raw.send_multipart(CODEC.encode(Note(n=1)))
            assert await receive_count(listener, 1) == [Received("bloated", Note(n=1))]
            raw.send_multipart([b"note", bytes(CODEC.body_bytes_max + 1)])

            await wait_for(lambda: listener.send("bloated", Note(n=1)) is Sent.UNREACHABLE, "bloated is cut")
        good.send(Note(n=2))
        assert await receive_count(listener, 1) == [Received("good", Note(n=2))]


async def test_an_arrival_whose_edge_a_send_ate_is_received():
    """The descriptor is edge-triggered, and a send in another task takes the edge of an arrival."""
    async with linked(TcpMesh(), identity="w1") as (listener, dialer):
        for n in range(300):
            dialer.send(Note(n=n))
            with trio.fail_after(10):
                while True:
                    # Without a checkpoint before, the owner can not have seen the edge first.
                    assert listener.send("w1", Note(n=n)) is Sent.SENT
                    if listener.statistics().frames_in > n:
                        break
                    await trio.lowlevel.checkpoint()
                assert await listener.receive() == [Received("w1", Note(n=n))]
            await dialer.receive()


@pytest.mark.parametrize("end", ["dialer", "listener"])
def test_an_endpoint_that_is_not_read_while_connections_break_lives_on(end):
    """With a receive mark libzmq would abort the process (libzmq #3937), hence one of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.mesh_unread", end],
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )

    assert done.returncode == 0


async def test_two_event_loops_in_two_threads_share_the_context():
    def other_thread():
        async def echo_once():
            async with linked(TcpMesh(), identity="b") as (listener, dialer):
                dialer.send(Note(n=5))
                return await receive_count(listener, 1)

        results.append(trio.run(echo_once))

    results = []
    async with linked(TcpMesh(), identity="a") as (listener, dialer):
        thread = threading.Thread(target=other_thread)
        thread.start()
        await trio.to_thread.run_sync(thread.join, 20)
        dialer.send(Note(n=6))

        assert results == [[Received("b", Note(n=5))]]
        assert await receive_count(listener, 1) == [Received("a", Note(n=6))]

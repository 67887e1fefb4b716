"""The processes of a node, as its daemon sees them: start one, signal one, hear how it ended.

All of it goes through the fork server. When that dies, its children die with it; they are reported as
exited and another server is started. What they had started themselves is adopted by the daemon then, and
ended by it.
"""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque

import structlog
import trio

from tsd.core.messages import ProcessSpec
from tsd.node.adopted import children, kill, owners_of, reap
from tsd.node.fork_messages import (
    MAX_PACKET_B,
    Exited,
    FromServer,
    NotStarted,
    Ready,
    Setup,
    Signal,
    Spawn,
    Started,
    ToServer,
    decode,
    encode,
)

SERVER_LOST = "the fork server of the node ended, and its processes with it"

_EVENTS_COUNT = 256
"""Events that may wait for the daemon; the server's socket holds the others back."""
_RESTART_PAUSES_S = (0.0, 0.1, 0.5, 1.0, 5.0)
_END_S = 10.0
"""How long an ending server may take to kill its children; it needs a few milliseconds."""
_LEFT_BEHIND_S = 5.0
_LOOK_S = 0.02
"""After the end of a server: for how long, and how often, what it left behind is ended."""
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]);"
    "from tsd.node.forkserver import main; main(int(sys.argv[1]))"
)
"""The server resolves user modules as the daemon does."""

_log = structlog.get_logger()

ProcessEvent = Started | NotStarted | Exited


class _Server:
    """One start of the fork server program, and our end of its socket."""

    def __init__(self, setup: Setup) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET_B)
        with theirs:
            self.program = subprocess.Popen(  # noqa: S603  our own interpreter and code
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        # The socket is new and the packet smaller than its buffer, so this does not wait.
        ours.send(encode(setup))
        ours.setblocking(False)
        self.ours = ours


class NodeProcesses:
    """Starts, signals and watches the processes of a node.

    Create it before the trio run: the first fork server starts here, and imports while the daemon does too.

    Args:
        setup: What all children have in common.
        adopts: This process is a subreaper or the first one of its namespace, and starts no others: it reaps
            what is adopted, and ends what a fork server leaves behind.
    """

    def __init__(self, setup: Setup, *, adopts: bool = False) -> None:
        self._setup = setup
        self._adopts = adopts
        self._server: _Server | None = _Server(setup)
        self._outbox: deque[ToServer] = deque()
        self._outbox_filled = trio.Event()
        self._running: dict[str, int] = {}
        self._events_in, self.events = trio.open_memory_channel[ProcessEvent](_EVENTS_COUNT)

    @property
    def server_pid(self) -> int | None:
        """Pid of the fork server; None while there is none."""
        return self._server.program.pid if self._server else None

    def spawn(self, spec: ProcessSpec) -> None:
        """Start a process; `Started` or `NotStarted` follows in `events`, and `Exited` after `Started`."""
        self._post(Spawn(spec=spec))

    def signal(self, proc_id: str, number: int, *, with_descendants: bool = False) -> None:
        """Signal a process, or it and all that it started; no effect when it has ended."""
        self._post(Signal(proc_id=proc_id, number=number, with_descendants=with_descendants))

    def set_up(self, setup: Setup) -> None:
        """Have this in common from the next process on."""
        self._setup = setup
        self._post(setup)

    def _post(self, message: ToServer) -> None:
        self._outbox.append(message)
        self._outbox_filled.set()

    async def run(self) -> None:
        """Keep a fork server running until cancelled; then it ends, and all processes with it."""
        failures = 0
        try:
            while True:
                server = self._server
                if server is None:
                    await trio.sleep(_RESTART_PAUSES_S[min(failures, len(_RESTART_PAUSES_S) - 1)])
                    server = self._server = _Server(self._setup)
                got_ready = await self._converse(server)
                failures = 1 if got_ready else failures + 1
                await self._bury_server(server)
        finally:
            with trio.move_on_after(_END_S, shield=True):
                await self._end_server()

    async def reap_adopted(self) -> None:
        """Reap what others leave behind until cancelled, so that it does not fill the table of processes."""
        with trio.open_signal_receiver(signal.SIGCHLD) as signals:
            self._reap_adopted()
            async for _ in signals:
                self._reap_adopted()

    def _reap_adopted(self) -> None:
        reap(pid for pid in children() if pid != self.server_pid)

    async def _converse(self, server: _Server) -> bool:
        """Carry messages both ways until the server is gone; whether it had become ready."""
        sock = trio.socket.from_stdlib_socket(server.ours)
        got_ready = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, sock)
            while packet := await _next_packet(sock):
                message = decode(packet)
                if isinstance(message, Ready):
                    got_ready = True
                    continue
                await self._hear(message)
            nursery.cancel_scope.cancel()
        return got_ready

    async def _hear(self, message: ToServer | FromServer) -> None:
        match message:
            case Started():
                self._running[message.proc_id] = message.pid
            case Exited() | NotStarted():
                self._running.pop(message.proc_id, None)
            case _:
                raise TypeError(f"not for a node: {message!r}")
        await self._events_in.send(message)

    async def _send(self, sock: trio.socket.SocketType) -> None:
        while True:
            while self._outbox:
                message = self._outbox.popleft()
                if isinstance(message, Spawn):
                    self._running[message.spec.proc_id] = 0  # sent, and not yet answered
                try:
                    await sock.send(encode(message))
                except ConnectionError:
                    return  # the receiving side notices too
                except OSError as error:
                    await self._refuse(message, error)
            self._outbox_filled = trio.Event()
            await self._outbox_filled.wait()

    async def _refuse(self, message: ToServer, error: OSError) -> None:
        # Only a job environment or connections beyond all reason make a packet too long.
        match message:
            case Spawn():
                reason = f"it can not be described to the fork server: {error}"
                if error.errno == errno.EMSGSIZE:
                    size_b = sum(len(f"{name}={value}") for name, value in message.spec.env.items())
                    reason = (
                        f"its environment of {size_b:,} characters is too large: make env_vars of the job and"
                        f" of the cluster smaller ({error})"
                    )
                await self._hear(NotStarted(proc_id=message.spec.proc_id, reason=reason))
            case Setup():
                _log.error("settings.not_passed_on", reason=str(error))

    async def _bury_server(self, server: _Server) -> None:
        self._server = None
        server.ours.close()
        server.program.kill()
        await trio.to_thread.run_sync(server.program.wait)
        if self._adopts:
            await trio.to_thread.run_sync(_end_left_behind)
        for proc_id, pid in sorted(self._running.items()):
            await self._hear(_lost(proc_id, pid))

    async def _end_server(self) -> None:
        if self._server is None:
            return
        self._server.ours.close()
        with contextlib.suppress(subprocess.SubprocessError):
            await trio.to_thread.run_sync(self._server.program.wait, _END_S)


def _end_left_behind() -> None:
    """End all that a fork server has left behind when it died, for so long as that may take."""
    deadline = time.monotonic() + _LEFT_BEHIND_S
    # The first process of a container adopts strangers too.
    is_init = os.getpid() == 1
    while time.monotonic() < deadline:
        ours = [pid for pid in reap(children()) if not is_init or owners_of(pid, {}) is not None]
        if not ours:
            return
        for pid in ours:
            kill(pid)
        time.sleep(_LOOK_S)


async def _next_packet(sock: trio.socket.SocketType) -> bytes:
    """What the server said next; empty when it is gone and all that it said was read."""
    with contextlib.suppress(ConnectionError):
        return await sock.recv(MAX_PACKET_B)
    # It died with something of ours unread. Linux tells of that first; what it said waits behind.
    with contextlib.suppress(ConnectionError):
        return await sock.recv(MAX_PACKET_B)
    return b""


def _lost(proc_id: str, pid: int) -> Exited | NotStarted:
    if not pid:
        return NotStarted(proc_id=proc_id, reason=SERVER_LOST)
    return Exited(
        proc_id=proc_id, pid=pid, exit_code=None, signal=signal.SIGKILL, running=None, detail=SERVER_LOST
    )

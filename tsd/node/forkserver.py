"""The fork server of a node: a process with Python and tsd imported that becomes controllers and workers.

It is its own program, started by exec, so that it has no thread, trio loop or ZeroMQ context of the
daemon to inherit (a fork would break on each of them) and can be started again at any time. One loop
waits on two descriptors: the socket pair to the node, and the wake-up of SIGCHLD. It takes nothing from user
code: that is imported in the children.

What ends when: a child dies with the server (parent-death signal); the server kills its children and
ends when the node's end of the socket closes, however the node ended; what a child started dies with
the child, because it shares its process group, or because the server has adopted it (`tsd.node.adopted`).
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time

import attrs

from tsd.core.messages import LINK_SILENCE_BEATS, OUT_OF_MEMORY, ProcessSpec
from tsd.node.adopted import MARK, Adopted, children, kill, next_ended, reap
from tsd.node.fork_child import live
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
from tsd.node.memory_kills import MemoryKills
from tsd.observe.blackbox import BlackBox
from tsd.observe.lean import import_structlog
from tsd.observe.titles import title_fork_server
from tsd.prctl import adopt_orphans

_LAST_REAP_S = 5.0
"""How long an ending server waits for the children it has killed."""
_LAST_LOOK_S = 0.05
"""So often it looks then for what has become its child by that."""


@attrs.frozen
class _Child:
    spec: ProcessSpec
    box: BlackBox


class ForkServer:
    """The loop; see the module.

    Args:
        node: Packet socket to the node daemon; closed when the server ends.
        setup: The first message.
    """

    def __init__(self, node: socket.socket, setup: Setup) -> None:
        self._node = node
        self._setup = setup
        self._wake, self._waker = _wake_on_sigchld()
        self._children: dict[int, _Child] = {}
        self._pids: dict[str, int] = {}
        self._adopted = Adopted()
        self._memory_kills = MemoryKills()
        self._told_to_die: set[int] = set()

    def serve(self) -> None:
        """Serve until the node is gone; then no child is left."""
        poll = select.poll()
        poll.register(self._node, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        with contextlib.suppress(ConnectionError):
            self._tell(Ready(pid=os.getpid()))
            while self._take(poll.poll()):
                self._reap()
        self._kill_all()

    def _take(self, ready: list[tuple[int, int]]) -> bool:
        for descriptor, _ in ready:
            if descriptor == self._wake.fileno():
                self._wake.recv(4096)
                continue
            packet = self._node.recv(MAX_PACKET_B)
            if not packet:
                return False
            message = decode(packet)
            match message:
                case Spawn():
                    self._spawn(message.spec)
                case Signal():
                    self._signal(message)
                case Setup():
                    self._setup = message
                case _:
                    raise TypeError(f"not for a fork server: {message!r}")
        return True

    def _spawn(self, spec: ProcessSpec) -> None:
        server_pid = os.getpid()
        box: BlackBox | None = None
        try:
            box = BlackBox()
            pid = os.fork()
        except OSError as error:
            if box is not None:
                box.close()
            self._tell(NotStarted(proc_id=spec.proc_id, reason=str(error)))
            return
        if pid == 0:
            self._close_inherited()
            live(spec, self._setup.settings, self._setup.entries[spec.role], box, parent_pid=server_pid)
        self._children[pid] = _Child(spec, box)
        self._pids[spec.proc_id] = pid
        self._tell(Started(proc_id=spec.proc_id, pid=pid))

    def _close_inherited(self) -> None:
        self._node.close()
        self._wake.close()
        self._waker.close()
        for child in self._children.values():
            child.box.close()

    def _signal(self, message: Signal) -> None:
        pid = self._pids.get(message.proc_id)
        if pid is None:
            return
        if message.number == signal.SIGKILL:
            self._told_to_die.add(pid)
        os.kill(pid, message.number)
        if message.with_descendants:
            _signal_group(pid, message.number)

    def _reap(self) -> None:
        exits: list[Exited] = []
        is_news = False
        # First only look: the pid of a process that was not waited for is not given to another.
        while (pid := next_ended()) is not None:
            if pid in self._children:
                _signal_group(pid, signal.SIGKILL)
                exits.append(self._bury(pid, os.waitpid(pid, 0)[1]))
                is_news = True
            else:
                os.waitpid(pid, 0)
                is_news = self._adopted.reaped(pid) or is_news
        if is_news:
            living = {child.box.inode: child.spec.proc_id for child in self._children.values()}
            self._adopted.sweep(self._children, living)
        for exited in exits:
            self._tell(exited)

    def _bury(self, pid: int, status: int) -> Exited:
        child = self._children.pop(pid)
        del self._pids[child.spec.proc_id]
        box = child.box
        was_killed = os.WIFSIGNALED(status)
        # Looked at each time, so that an old kill is not taken for a new one.
        is_news = self._memory_kills.look() and pid not in self._told_to_die
        ran_out = is_news and was_killed and os.WTERMSIG(status) == signal.SIGKILL
        self._told_to_die.discard(pid)
        beat_s = self._setup.settings.tsd.heartbeat_interval_s
        exited = Exited(
            proc_id=child.spec.proc_id,
            pid=pid,
            exit_code=None if was_killed else os.WEXITSTATUS(status),
            signal=os.WTERMSIG(status) if was_killed else None,
            running=None if box.is_broken else box.running,
            behind=box.running if box.is_broken and box.running is not None else box.ended,
            doing=box.doing,
            was_frozen=was_killed and box.silence_s() > LINK_SILENCE_BEATS * beat_s,
            detail=f"{OUT_OF_MEMORY}: the kernel ended it" if ran_out else box.words(),
        )
        box.close()
        return exited

    def _kill_all(self) -> None:
        """End all children, and what becomes a child by that: all of it belongs to processes of this node."""
        for pid in self._children:
            _signal_group(pid, signal.SIGKILL)
        deadline = time.monotonic() + _LAST_REAP_S
        while (left := reap(children())) and time.monotonic() < deadline:
            for pid in left:
                kill(pid)
            select.select([self._wake], [], [], _LAST_LOOK_S)
            with contextlib.suppress(BlockingIOError):
                self._wake.recv(4096)

    def _tell(self, message: FromServer) -> None:
        self._node.send(encode(message))


def _signal_group(leader_pid: int, number: int) -> None:
    # A child that was killed before it made its own group has none.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, number)


def _wake_on_sigchld() -> tuple[socket.socket, socket.socket]:
    """A pair whose first end is readable after each SIGCHLD, so that one poll waits for everything."""
    wake, waker = socket.socketpair()
    wake.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    return wake, waker


def _receive_setup(node: socket.socket) -> Setup:
    packet = node.recv(MAX_PACKET_B)
    message: ToServer | FromServer | None = decode(packet) if packet else None
    if not isinstance(message, Setup):
        sys.exit(0)  # the node ended before it had said what it wants
    return message


def main(descriptor: int) -> None:
    """Run the fork server on the packet socket `descriptor`."""
    # Blocked and not ignored: only the node ends us, and children unblock them without a gap.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    node = socket.socket(fileno=descriptor)
    node.set_inheritable(False)
    setup = _receive_setup(node)
    os.environ.pop(MARK, None)  # of a process that started this cluster
    adopt_orphans()
    title_fork_server(setup.node_id)
    import_structlog()
    for module in setup.preload:
        importlib.import_module(module)
    # What is there now is never freed: keep the collector from touching, and so copying, its pages.
    gc.collect()
    gc.freeze()
    gc.disable()
    ForkServer(node, setup).serve()

"""Standard streams that never block a daemon, and never end it.

A daemon writes log lines from its loop. A pipe that nobody reads, a terminal that is stopped with Ctrl-S
and a stuck journal would block that write, and with it heartbeats, leases and SIGTERM. So daemons write
through `NonBlockingText`:

* It opens a pipe or terminal again, without blocking. The flag belongs to the new description, so other
  processes that share the stream are not affected. A socket is written to with MSG_DONTWAIT.
* What the stream does not take now waits in a backlog of at most `BACKLOG_B` bytes. A thread, which exists
  only while something waits, writes it in order. Beyond that, whole lines are dropped and counted; the
  threads of operations, which may block, wait `PATIENCE_S` for room before that.
* An error of the stream (closed, disk full, reader gone) drops the line. It never raises.

Processes that fork have no thread (`may_use_thread=False`): their backlog goes out with the next line.
"""

import io
import os
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO, cast

from typing_extensions import override

BACKLOG_B = 1 << 20
"""Bytes that may wait for a stream that takes nothing."""
PATIENCE_S = 5.0
"""How long a thread other than the loop's waits for room before its line is dropped."""
_PIPE_BUF_B = 4096
"""A pipe that is writable takes this many bytes without blocking (pipe(7))."""
_LOOK_EVERY_S = 1.0
"""How often the thread looks whether it is still needed."""
_DRAIN_S = 0.5
"""How long the end of a process waits for its backlog to be written."""

_all: list["NonBlockingText"] = []


class NonBlockingText(io.TextIOBase):
    """A text stream over a descriptor; see the module.

    Args:
        descriptor: Where text goes, as UTF-8; it stays open.
        may_use_thread: Whether a thread may write what could not be written at once.
        on_dropped: Called in that thread with the number of lines that were dropped, once the stream takes
            lines again.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        may_use_thread: bool = True,
        on_dropped: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._may_use_thread = may_use_thread
        self._on_dropped = on_dropped
        self._write_some = _writer_of(descriptor)
        self._lock = threading.Lock()
        self._backlog: deque[bytes] = deque()
        self._backlog_b = 0
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._is_stuck = False
        os.register_at_fork(after_in_child=self._forget_backlog)
        _all.append(self)

    @property
    @override
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the base
        return "utf-8"

    @property
    @override
    def errors(self) -> str:  # type: ignore[override]  # a plain attribute in the base
        return "backslashreplace"

    @property
    def buffer(self) -> "_Bytes":
        """For callers that write bytes."""
        return _Bytes(self)

    @override
    def writable(self) -> bool:
        return True

    @override
    def isatty(self) -> bool:
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    @override
    def fileno(self) -> int:
        return self._descriptor

    def reconfigure(self, **_options: object) -> None:
        """Programs ask for an encoding or for line buffering; every write goes out at once anyway."""

    @override
    def write(self, text: str, /) -> int:
        self.write_bytes(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def allow_thread(self, on_dropped: Callable[[int], None] | None) -> None:
        """Let a thread write what waits, from now on: this process does not fork."""
        self._may_use_thread, self._on_dropped = True, on_dropped

    def write_bytes(self, data: bytes) -> None:
        """Write now, or later, or not at all; never raises, and never blocks the main thread."""
        if self._is_full(data) and threading.current_thread() is not threading.main_thread():
            self._wait_for_room(data)
        with self._lock:
            if self._backlog:
                self._write_backlog()
            rest = data if self._backlog else self._write_now(data)
            if rest:
                self._keep(rest, is_whole=len(rest) == len(data))

    def drain(self, within_s: float = _DRAIN_S) -> None:
        """Wait for the backlog to be written, at most this many seconds."""
        deadline = time.monotonic() + within_s
        while self._backlog and (left_s := deadline - time.monotonic()) > 0:
            _wait_writable(self._descriptor, left_s)
            with self._lock:
                self._write_backlog()

    def _is_full(self, data: bytes) -> bool:
        return bool(self._backlog) and self._backlog_b + len(data) > BACKLOG_B

    def _wait_for_room(self, data: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_stuck and self._is_full(data):
            if time.monotonic() > deadline:
                self._is_stuck = True  # the next lines do not wait, until something is taken again
                return
            _wait_writable(self._descriptor, 0.1)
            with self._lock:
                self._write_backlog()

    def _write_now(self, data: bytes) -> bytes:
        """Write what the stream takes; returns the rest."""
        try:
            while data:
                data = data[self._write_some(data) :]
                self._is_stuck = False
        except BlockingIOError:
            return data
        except (OSError, ValueError):
            return b""  # the reader is gone, the disk is full: logging must not end a daemon
        return b""

    def _write_backlog(self) -> None:
        while self._backlog:
            first = self._backlog.popleft()
            rest = self._write_now(first)
            self._backlog_b -= len(first) - len(rest)
            if rest:
                self._backlog.appendleft(rest)
                return

    def _keep(self, data: bytes, *, is_whole: bool) -> None:
        if is_whole and self._is_full(data):
            self._dropped += 1
            return
        # The rest of a line that was begun is kept in any case, so that no line is torn.
        self._backlog.append(data)
        self._backlog_b += len(data)
        if self._may_use_thread and self._thread is None:
            self._thread = threading.Thread(target=self._write_later, name="log-backlog", daemon=True)
            with suppress(RuntimeError):  # no room for a thread, or the interpreter ends
                self._thread.start()

    def _write_later(self) -> None:
        while True:
            _wait_writable(self._descriptor, _LOOK_EVERY_S)
            with self._lock:
                self._write_backlog()
                if self._backlog:
                    continue
                dropped, self._dropped = self._dropped, 0
                self._thread = None
            if dropped and self._on_dropped is not None:
                self._on_dropped(dropped)
            return

    def _forget_backlog(self) -> None:
        """In a forked child: the parent writes its backlog itself, and its thread is not here."""
        self._lock = threading.Lock()
        self._backlog.clear()
        self._backlog_b = self._dropped = 0
        self._thread = None


class _Bytes(io.RawIOBase):
    """The bytes side of a `NonBlockingText`."""

    def __init__(self, text: NonBlockingText) -> None:
        super().__init__()
        self._text = text

    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        return self._text.fileno()

    @override
    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]  # the usual ones
        self._text.write_bytes(bytes(data))
        return len(data)


class TolerantText(io.TextIOBase):
    """A text stream whose errors are nobody's business: what cannot be written is dropped.

    Unlike `NonBlockingText` it waits for a slow reader, so that a command loses nothing of its output.
    """

    def __init__(self, beneath: TextIO) -> None:
        super().__init__()
        self._beneath = beneath

    @property
    @override
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the base
        return self._beneath.encoding

    @override
    def writable(self) -> bool:
        return True

    @override
    def isatty(self) -> bool:
        return self._beneath.isatty()

    @override
    def fileno(self) -> int:
        return self._beneath.fileno()

    @override
    def write(self, text: str, /) -> int:
        with suppress(OSError, ValueError):
            self._beneath.write(text)
        return len(text)

    @override
    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._beneath.flush()


def prepare_process() -> None:
    """Undo what a parent may have left behind: closed standard streams, ignored and blocked signals.

    A process inherits ignored signals and the signal mask across exec (signal(7)). With SIGCHLD ignored the
    kernel reaps children itself and `waitpid` finds none. SIGHUP and SIGINT stay ignored where they are:
    `nohup` and shells mean it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Takes the lowest number that is free, which is this one. Children have it too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            text = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, text)


def unblock_streams(*, may_use_thread: bool = True, on_dropped: Callable[[int], None] | None = None) -> None:
    """Have this process write to its standard streams without blocking from now on; see the module."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, NonBlockingText):
            if may_use_thread:
                stream.allow_thread(on_dropped)
            continue
        if (descriptor := _descriptor_of(stream)) is None:
            continue
        with suppress(OSError, ValueError):
            stream.flush()
        unblocked = NonBlockingText(descriptor, may_use_thread=may_use_thread, on_dropped=on_dropped)
        setattr(sys, name, cast("TextIO", unblocked))


def print_to(stream: TextIO, text: str) -> None:
    """Print a line; a stream that takes nothing, as on a full disk, is given up and changes nothing else.

    Raises:
        BrokenPipeError: Nobody reads any more.
    """
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        # What is in its buffer, and what comes later, goes nowhere.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())


def drain_streams() -> None:
    """Give the backlogs of this process a moment to be written; for its end."""
    for stream in _all:
        stream.drain()


def _descriptor_of(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _wait_writable(descriptor: int, within_s: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll(within_s * 1000)


def _writer_of(descriptor: int) -> Callable[[bytes], int]:
    """A function that writes some bytes without blocking; raises BlockingIOError when none are taken."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return lambda data: os.write(descriptor, data)
    if stat.S_ISSOCK(mode):
        with suppress(OSError):
            sock = socket.socket(fileno=os.dup(descriptor))
            return lambda data: sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    if stat.S_ISFIFO(mode) or os.isatty(descriptor):
        return _reopened(descriptor) or (lambda data: _write_if_writable(descriptor, data))
    return lambda data: os.write(descriptor, data)


def _reopened(descriptor: int) -> Callable[[bytes], int] | None:
    """Writes to the same pipe or terminal by a description of our own; None where it may not be opened."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return None
    opened = os.fstat(own)

    def write(data: bytes) -> int:
        # User code may have closed our number, and opened a file of its own under it.
        if not _is_same(own, opened):
            return _write_if_writable(descriptor, data)
        return os.write(own, data)

    return write


def _is_same(descriptor: int, opened: os.stat_result) -> bool:
    try:
        now = os.fstat(descriptor)
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)


def _write_if_writable(descriptor: int, data: bytes) -> int:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[:_PIPE_BUF_B])

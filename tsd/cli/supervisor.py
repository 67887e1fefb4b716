"""Runs the daemons of an embedded cluster as children: starts them again, drains them in order.

Plain synchronous code with one wait (`sigtimedwait`): the daemons are forked from here, so there may be
no thread, no event loop and no ZeroMQ context. Signals are blocked and waited for, never handled, so none can
come between a decision and its deed.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import structlog

from tsd.cli import exit_codes
from tsd.cli.forking import fork
from tsd.prctl import adopt_orphans

FIRST_PAUSE_S = 0.1
"""Pause before a child that died is started again; doubles with each death."""
LONGEST_PAUSE_S = 5.0
SETTLED_AFTER_S = 10.0
"""A child that ran so long has settled: its next death begins with the first pause again."""
KILL_AFTER_S = 5.0
"""How long past its deadline a draining child may take before it is killed."""

_STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_SIGNALS = _STOP_SIGNALS | {signal.SIGCHLD}
_HOPELESS = frozenset({exit_codes.PERMISSION, exit_codes.CONFIG})

log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class Child:
    """A process to keep running: `run` is its whole life and returns its exit code."""

    name: str
    run: Callable[[], int]


@attrs.define(kw_only=True)
class _Running:
    """What is known of a child now."""

    child: Child
    pid: int | None = None
    started_at: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    start_at: float | None = None
    """When it is to be started (again); None when it runs or is to stay down."""
    kill_at: float | None = None
    """It was told to stop and is killed then."""


class Supervisor:
    """Keeps children running until a signal or a hopeless child, then drains them.

    Args:
        children: In the order in which they start; they stop in the opposite order, one after the other.
        drain_s: How long a child may drain after SIGTERM; `KILL_AFTER_S` later it is killed.
        probe: Run in a helper process; when it returns 0 the children are up and `on_ready` is called.
        on_ready: Called once, here.
        on_stop: Called once when the draining begins.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        drain_s: float,
        probe: Callable[[], int] | None = None,
        on_ready: Callable[[], None] = lambda: None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._running = [_Running(child=child, start_at=0.0) for child in children]
        self._drain_s = drain_s
        self._probe = probe
        self._probe_pid: int | None = None
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._drain_until: float | None = None
        self._exit_code = exit_codes.OK

    def run(self) -> int:
        """Run until all children are gone.

        A first SIGINT, SIGTERM or SIGHUP drains the children, each further one hurries the one that drains.

        Returns:
            0 after a clean drain, 1 when a child had to be killed, the child's exit code when it says
            that no restart can help (77, 78).
        """
        former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        adopt_orphans()
        try:
            self._start_due()
            if self._probe is not None:
                self._probe_pid = fork(self._probe, death_signal=signal.SIGKILL)
            while self._has_work():
                caught = signal.sigtimedwait(_SIGNALS, self._wait_s())
                if caught is not None and caught.si_signo in _STOP_SIGNALS:
                    self._stop_asked()
                self._reap()
                self._start_due()
                self._drain_next()
        finally:
            self._kill_all()
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        return self._exit_code

    def _has_work(self) -> bool:
        return any(entry.pid is not None or entry.start_at is not None for entry in self._running)

    def _wait_s(self) -> float:
        """Seconds until something is due; an hour when nothing is."""
        times = [t for entry in self._running for t in (entry.start_at, entry.kill_at) if t is not None]
        return max(0.0, min(times) - time.monotonic()) if times else 3600.0

    def _start_due(self) -> None:
        now = time.monotonic()
        for entry in self._running:
            if entry.start_at is not None and entry.start_at <= now:
                entry.start_at = None
                entry.started_at = now
                entry.pid = fork(entry.child.run, death_signal=signal.SIGTERM)

    def _stop_asked(self) -> None:
        if self._drain_until is None:
            self._begin_drain()
            return
        for entry in self._running:
            if entry.pid is not None and entry.kill_at is not None:
                log.info("child.hurried", child=entry.child.name)
                os.kill(entry.pid, signal.SIGTERM)

    def _begin_drain(self) -> None:
        self._drain_until = time.monotonic() + self._drain_s + KILL_AFTER_S
        for entry in self._running:
            entry.start_at = None
        if self._probe_pid is not None:
            os.kill(self._probe_pid, signal.SIGKILL)
        self._on_stop()

    def _drain_next(self) -> None:
        """Tell the last running child to stop, and kill it when its time is over.

        The master stops last: while the node drains, the master must still take the records.
        """
        if self._drain_until is None:
            return
        now = time.monotonic()
        last = next((entry for entry in reversed(self._running) if entry.pid is not None), None)
        if last is None or last.pid is None:
            return
        if last.kill_at is None:
            last.kill_at = max(self._drain_until, now + KILL_AFTER_S)
            os.kill(last.pid, signal.SIGTERM)
        elif last.kill_at <= now:
            log.error("child.killed", child=last.child.name, reason="it did not end in time")
            last.kill_at = now + KILL_AFTER_S
            self._exit_code = self._exit_code or exit_codes.FAILED
            os.kill(last.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Take note of every process that has ended, and end what a dead child left behind."""
        while ended := _next_ended():
            pid, code = ended
            if pid == self._probe_pid:
                self._probe_pid = None
                if code == exit_codes.OK and self._drain_until is None:
                    self._on_ready()
                continue
            entry = next((entry for entry in self._running if entry.pid == pid), None)
            if entry is not None:
                self._child_ended(entry, code)
        known = {entry.pid for entry in self._running} | {self._probe_pid}
        for pid in _children():
            if pid not in known:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _child_ended(self, entry: _Running, code: int) -> None:
        now = time.monotonic()
        was_told = entry.kill_at is not None
        entry.pid = entry.kill_at = None
        if was_told or self._drain_until is not None:
            log.info("child.stopped", child=entry.child.name, exit_code=code)
            if code in _HOPELESS:
                self._exit_code = self._exit_code or code
            return
        if code in _HOPELESS:
            log.error("child.hopeless", child=entry.child.name, exit_code=code)
            self._exit_code = code
            self._begin_drain()
            return
        if now - entry.started_at >= SETTLED_AFTER_S:
            entry.pause_s = FIRST_PAUSE_S
        log.warning("child.lost", child=entry.child.name, exit_code=code, restart_in_s=entry.pause_s)
        entry.start_at = now + entry.pause_s
        entry.pause_s = min(entry.pause_s * 2, LONGEST_PAUSE_S)

    def _kill_all(self) -> None:
        """Leave no child, whatever went wrong here."""
        while pids := _children():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(-1, 0)


def _next_ended() -> tuple[int, int] | None:
    """One child that ended, as (pid, exit code; negative: the signal), or None."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def _children() -> list[int]:
    """Pids of all children of this process, adopted ones included."""
    try:
        return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN: the children's own care must do
        return []

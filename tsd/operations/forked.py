"""Keeps a process that user code forks from going on as its parent.

After `os.fork()` the child has the thread that forked, in the middle of an operation. One that does not leave
returns from there into the code around operations: it would run the operations behind that one, and later the
slices that wait, a second time; and where the loop has forked, it would read from the sockets of the parent.

So the code around operations asks `HERE.is_child` after each piece of user code, and before it does anything
of which the parent would know; a child ends there. Children that leave by themselves, as those of
`multiprocessing` and `subprocess` do, never come to it. Where the loop itself has forked, in an async
operation, the child ends when the task that did so gives the loop back.
"""

import contextlib
import os
import signal
import threading
from typing import NoReturn

import structlog
import trio
from trio.lowlevel import Task
from typing_extensions import override

_EXIT_CODE = 70
"""EX_SOFTWARE of sysexits, as of a process that crashed."""
_LEAVE_S = 2
_HANDLED = (signal.SIGTERM, signal.SIGINT)
_held = threading.local()
_log = structlog.get_logger()


class _Here:
    """This process.

    Attributes:
        is_child: User code has forked it off a process that runs operations.
    """

    __slots__ = ("is_child",)

    def __init__(self) -> None:
        self.is_child = False


HERE = _Here()


def watch_forks() -> None:
    """From now on take note in each child that is forked from here; call it once in a process."""
    os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals_in, after_in_child=_note_child)


def leave() -> NoReturn:
    """End this child, which was forked by user code and came back from it."""
    # Its logs and streams may be locked by threads that are not here.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_LEAVE_S)
    try:
        _log.error(
            "fork.ended",
            pid=os.getpid(),
            parent_pid=os.getppid(),
            reason="user code forked this process and did not end it; a child of os.fork() calls os._exit()",
        )
    finally:
        os._exit(_EXIT_CODE)


class _Leaving(trio.abc.Instrument):
    """Ends the child of a loop when the task that has forked it gives the loop back."""

    @override
    def after_task_step(self, task: Task) -> None:
        leave()


def _hold_signals() -> None:
    """A signal that comes to the child at once is not to meet the handlers of the parent there."""
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)


def _let_signals_in() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)


def _note_child() -> None:
    HERE.is_child = True
    # The handlers are those of the parent's loop, which is woken through a socket that both have.
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    _let_signals_in()
    with contextlib.suppress(RuntimeError):  # not in a loop
        trio.lowlevel.add_instrument(_Leaving())

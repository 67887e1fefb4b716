"""Forks a child that runs a function and nothing else of this program."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from tsd.cli import exit_codes
from tsd.error_texts import error_text
from tsd.observe.streams import drain_streams
from tsd.prctl import signal_at_death_of_parent


def fork(run: Callable[[], int], *, death_signal: signal.Signals) -> int:
    """Start a child in a process group of its own; returns its pid here, never returns there.

    Args:
        run: The whole life of the child; what it returns is the exit code.
        death_signal: What the kernel sends the child when this process dies.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        _live(run, death_signal, parent_pid)
    return pid


def _live(run: Callable[[], int], death_signal: signal.Signals, parent_pid: int) -> NoReturn:
    code = exit_codes.FAILED
    try:
        os.setpgid(0, 0)  # Ctrl-C on the terminal is for the parent alone
        signal_at_death_of_parent(death_signal)
        if os.getppid() == parent_pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            code = run()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else exit_codes.FAILED
    except Exception as error:  # noqa: BLE001 - the supervisor's seam: the exit code tells the parent
        sys.stderr.write(f"tsd: {error_text(error)}\n")
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            drain_streams()
        os._exit(code)

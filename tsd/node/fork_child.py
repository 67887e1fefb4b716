"""The life of a forked process around its entry point: what it undoes first and what it leaves last."""

import gc
import importlib
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from tsd.core.messages import ProcessSpec
from tsd.core.records import ProcessRole
from tsd.error_texts import error_text
from tsd.node.adopted import MARK
from tsd.observe.blackbox import CRASHED, BlackBox
from tsd.observe.log import note_dropped_lines
from tsd.observe.streams import drain_streams, unblock_streams
from tsd.observe.titles import title_controller, title_worker
from tsd.prctl import signal_at_death_of_parent
from tsd.settings import Settings

Entry = Callable[[ProcessSpec, Settings, BlackBox], int]
"""What a child runs; it returns the exit code."""

_LEAVE_S = 2


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, also when that has happened already."""
    signal_at_death_of_parent(signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(CRASHED)


def live(spec: ProcessSpec, settings: Settings, entry: str, box: BlackBox, *, parent_pid: int) -> NoReturn:
    """Become the process of `spec`; ends the process.

    A crash leaves its traceback in the black box and on stderr. The random module reseeds itself after
    a fork, and nothing else with a state worth a new seed is imported before it.
    """
    code = CRASHED
    try:
        os.setsid()
        die_with_parent(parent_pid)
        _reset_signals()
        _set_title(spec)
        os.environ.update(spec.env)
        os.environ[MARK] = spec.proc_id
        time.tzset()
        _print_to_stderr()
        box.catch_faults()
        gc.enable()
        code = _load(entry)(spec, settings, box)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:  # noqa: BLE001  the last frame of the process: nobody above could take it
        box.note_broken()
        words = error_text(error)
        box.say(words)
        sys.stderr.write(f"{words}\n")
    finally:
        leave(code)


def leave(code: int) -> NoReturn:
    """End the process now, whatever its threads do; what was printed and logged gets out first.

    A thread that holds a lock of the logs or of a stream for ever can not hold up the end.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(code))
    signal.alarm(_LEAVE_S)
    try:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        drain_streams()
    finally:
        os._exit(code)


def _print_to_stderr() -> None:
    """What user code prints goes where the logs go, line by line."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    unblock_streams(on_dropped=note_dropped_lines)


def _set_title(spec: ProcessSpec) -> None:
    if spec.role is ProcessRole.CONTROLLER:
        title_controller(spec.ex_id)
    else:
        title_worker(spec.ex_id, spec.number)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Whoever is told to end before or after its entry listens for that ends as well as anybody.
    signal.signal(signal.SIGTERM, lambda *_: leave(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The server blocks them, so one that came since the fork is delivered now and not lost.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _load(entry: str) -> Entry:
    module, _, function = entry.partition(":")
    loaded: Entry = getattr(importlib.import_module(module), function)
    return loaded

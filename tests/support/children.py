"""What forked processes do in the tests of the fork server, chosen by the variable ACT."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tsd.core.messages import ProcessSpec
from tsd.observe.blackbox import BlackBox
from tsd.settings import Settings


def act(spec: ProcessSpec, settings: Settings, box: BlackBox) -> int:
    kind, _, argument = os.environ["ACT"].partition(" ")
    return ACTS[kind](argument, spec, settings, box)


def _exit(argument, spec, settings, box):
    return int(argument)


def _raise(argument, spec, settings, box):
    raise RuntimeError(argument)


def _run_slice_and_die(argument, spec, settings, box):
    box.mark(1)
    box.clear()
    box.mark(int(argument))
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault(argument, spec, settings, box):
    ctypes.string_at(0)


def _tell(argument, spec, settings, box):
    """Write what this process is to a file."""
    facts = [
        os.environ.get("COLOUR", ""),
        Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode(),
        str(os.getpgid(0) == os.getpid()),
        os.readlink("/proc/self/fd/0"),
        str(signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL),
        str(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        str(settings.tsd.data_dir),
        str(len(os.listdir("/proc/self/fd"))),
    ]
    Path(argument).write_text("\n".join(facts))
    return 0


def _start_child(argument, spec, settings, box):
    """Start a process of our own, write both pids to a file, then wait for ever."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    file = Path(argument)
    partial = file.with_suffix(".part")
    partial.write_text(f"{os.getpid()} {child.pid}")
    partial.rename(file)
    time.sleep(600)


def _sleep(argument, spec, settings, box):
    # Bit by bit: a signal that comes after Python's last look and before the system call would wait for its end.
    while True:
        time.sleep(0.05)


ACTS = {
    "exit": _exit,
    "raise": _raise,
    "die-in-slice": _run_slice_and_die,
    "segfault": _segfault,
    "tell": _tell,
    "start-child": _start_child,
    "sleep": _sleep,
}

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


_DAEMON = """
import os, signal, sys, time
os.setsid()
if os.fork():
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1] + ".part", "w") as file:
    file.write(f"{sys.argv[2]} {os.getpid()}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""


def _daemonize(argument, spec, settings, box):
    """Have a program become a daemon, write its pid beside our own to a file, then wait for ever."""
    subprocess.run([sys.executable, "-c", _DAEMON, argument, str(os.getpid())], check=True)
    time.sleep(600)


def _daemonize_without_a_trace(argument, spec, settings, box):
    """As `_daemonize`, with an empty environment."""
    subprocess.run([sys.executable, "-c", _DAEMON, argument, str(os.getpid())], check=True, env={})
    time.sleep(600)


def _fork_daemon(argument, spec, settings, box):
    """As `_daemonize`, by nothing but forks."""
    us = os.getpid()
    if not os.fork():
        os.setsid()
        if not os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            file = Path(argument)
            partial = file.with_suffix(".part")
            partial.write_text(f"{us} {os.getpid()}")
            partial.rename(file)
            time.sleep(600)
        os._exit(0)
    time.sleep(600)


def _leave_zombies(argument, spec, settings, box):
    """Have programs leave short-lived children behind."""
    for _ in range(int(argument)):
        subprocess.run(["/bin/sh", "-c", "sleep 0.1 & sleep 0.1 & true"], check=True)
    time.sleep(1)
    return 0


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
    "daemonize": _daemonize,
    "daemonize-without-a-trace": _daemonize_without_a_trace,
    "fork-daemon": _fork_daemon,
    "leave-zombies": _leave_zombies,
    "sleep": _sleep,
}

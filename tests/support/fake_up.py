"""A supervisor with small stand-ins for the daemons, run as a process: `fake_up.py LOG DRAIN_S NAME=ACT...`.

Each stand-in appends what happens to it to LOG as `name word pid time`, so that a test can wait for it.
"""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tsd.cli import supervisor
from tsd.cli.supervisor import Child, Supervisor

LOG = Path(sys.argv[1])


def note(name, word):
    with LOG.open("a") as file:
        file.write(f"{name} {word} {os.getpid()} {time.monotonic()}\n")


def serve(name, *, drains_for_s=0.0, hears=True):
    """A daemon: drains at the first SIGTERM, ends at once at the second."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    note(name, "started")
    while True:
        caught = signal.sigwait(signals)
        note(name, caught.name)
        if hears:
            break
    if signal.sigtimedwait(signals, drains_for_s):
        note(name, "hurried")
    note(name, "stopped")
    return 0


def end(name, code):
    note(name, "started")
    return code


def end_once(name, code):
    """Ends with a code at its first start, serves at the next."""
    return serve(name) if f"{name} started" in LOG.read_text() else end(name, code)


def end_after_the_master_started(name, code):
    while "master started" not in LOG.read_text():
        time.sleep(0.01)
    return end(name, code)


def leave_an_orphan(name):
    """Starts a process of its own that does not die with it."""
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    with LOG.open("a") as file:
        file.write(f"{name} orphaned {orphan.pid} {time.monotonic()}\n")
    return serve(name)


ACTS = {
    "serve": serve,
    "slow": partial(serve, drains_for_s=600.0),
    "deaf": partial(serve, hears=False),
    "fail": partial(end, code=3),
    "misconfigured": partial(end_after_the_master_started, code=78),
    "fail-once": partial(end_once, code=3),
    "orphan": leave_an_orphan,
}


def probe():
    while LOG.read_text().count("started") < 2:
        time.sleep(0.01)
    return 0


def main():
    supervisor.KILL_AFTER_S = 0.5
    LOG.touch()
    children = []
    for argument in sys.argv[3:]:
        name, _, act = argument.partition("=")
        children.append(Child(name=name, run=partial(ACTS[act], name)))
    return Supervisor(
        children,
        drain_s=float(sys.argv[2]),
        probe=probe,
        on_ready=partial(note, "up", "ready"),
        on_stop=partial(note, "up", "stopping"),
    ).run()


if __name__ == "__main__":
    sys.exit(main())

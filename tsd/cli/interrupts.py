"""Ctrl-C as something to wait for: a command asks whether it came, between two requests."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_ASKED = frozenset({signal.SIGINT, signal.SIGTERM})
_SIGNALS = _ASKED | {signal.SIGCHLD}


@contextmanager
def held_signals() -> Iterator[None]:
    """Keep SIGINT, SIGTERM and SIGCHLD waiting for `asked_to_stop`; undone at the end."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def asked_to_stop(within_s: float) -> bool:
    """Wait so long, or until a stop signal comes or a child ends; whether it was a stop signal.

    Only inside of `held_signals`.
    """
    caught = signal.sigtimedwait(_SIGNALS, within_s)
    return caught is not None and caught.si_signo in _ASKED

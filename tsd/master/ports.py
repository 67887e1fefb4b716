"""Waits for a port that another process has: it may be about to end, as in a restart."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from tsd.errors import PortInUse
from tsd.observe.notify import Notifier

T = TypeVar("T")

RETRY_S = 0.5
"""Pause between two attempts to bind."""
SAY_EVERY_S = 30.0
"""How often the log says that a port is still waited for."""

log = structlog.get_logger()


class Stopped(Exception):
    """A signal came while a port was waited for."""


async def bound(bind: Callable[[], Awaitable[T]], *, signals: AsyncIterator[int], notifier: Notifier) -> T:
    """What `bind` returns, once its port is free.

    Args:
        bind: Raises PortInUse as long as another process has the port.
        signals: One of them ends the wait.
        notifier: Shows what is waited for.

    Raises:
        Stopped: A signal came first.
        ConfigError: The address can never be bound.
    """
    say_at = trio.current_time()
    while True:
        try:  # in the caller's own scope: `bind` may open a nursery that outlives this call
            return await bind()
        except PortInUse as error:
            reason = str(error)
        if trio.current_time() >= say_at:
            say_at += SAY_EVERY_S
            log.warning("master.port_in_use", reason=reason)
            notifier.status(f"Waiting: {reason}")
        notifier.extend_timeout(SAY_EVERY_S)
        with trio.move_on_after(RETRY_S):
            await anext(aiter(signals))
            raise Stopped

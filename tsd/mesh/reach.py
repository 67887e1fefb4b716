"""Says when the other side of a link has not been there for a while, again and again, and when it is back.

A process that can not reach another one goes on trying, which nobody sees. So its shell says it soon, with
the address and, where that is the cause, with the error of the resolver.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

import trio

from tsd.mesh.endpoint import Dialer

SILENT_S = 3.0
"""A link that takes longer than this is told."""
AGAIN_S = 30.0
"""And again after each of these."""
_RESOLVE_S = 5.0
"""Longest wait for a resolver."""


class Reach:
    """Watches whether the listener of a dialer knows this process.

    Args:
        dialer: The link.
        address: What it dials.
        on_absent: Told why the listener is not reached, and for how many seconds so far.
        on_present: Told that it is, after so many seconds; only after it was told absent.
    """

    def __init__(
        self,
        dialer: Dialer,
        address: str,
        *,
        on_absent: Callable[[str, float], None],
        on_present: Callable[[float], None],
    ) -> None:
        self._dialer = dialer
        self._address = address
        self._on_absent = on_absent
        self._on_present = on_present
        self._is_present = False
        self._changed = trio.Event()

    def note(self, *, is_present: bool) -> None:
        """Say how it is now; cheap when nothing has changed."""
        if is_present != self._is_present:
            self._is_present = is_present
            self._changed.set()
            self._changed = trio.Event()

    async def watch(self) -> None:
        """Watch until cancelled."""
        while True:
            while self._is_present:
                await self._changed.wait()
            await self._wait_present()

    async def _wait_present(self) -> None:
        began_at = trio.current_time()
        pause_s = SILENT_S
        while not await self._is_present_within(pause_s):
            self._on_absent(await self._reason(), round(trio.current_time() - began_at, 1))
            pause_s = AGAIN_S
        if pause_s == AGAIN_S:
            self._on_present(round(trio.current_time() - began_at, 1))

    async def _is_present_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            while not self._is_present:
                await self._changed.wait()
        return self._is_present

    async def _reason(self) -> str:
        if self._dialer.is_up:
            return "it is connected, and does not answer"
        host = urlsplit(self._address).hostname or ""
        with trio.move_on_after(_RESOLVE_S):
            try:
                await trio.socket.getaddrinfo(host, None)
            except (OSError, UnicodeError) as error:
                return f"{host} does not resolve: {getattr(error, 'strerror', None) or error}"
            return "no connection: nothing listens there, or the way is blocked"
        return f"{host} does not resolve: the resolver does not answer"

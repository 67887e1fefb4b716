"""The bytes of a request body on their way in: how many are kept, and how slowly they may come."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import trio

from tsd.master.api.framing import BodyTooLarge, BodyTooSlow

GRACE_S = 10.0
"""Time that any body may take."""
RATE_MIN = 8_192
"""Bytes a second that a body has to come with once `GRACE_S` is over, on average."""


class Inflow:
    """Stands between the server and the application: keeps up to `size_max` bytes, drops the rest.

    The rest is still read, because a client that is sending does not read its answer yet. A client that
    sends too slowly is not waited for: for the application its body ends.
    """

    KEY: ClassVar[str] = "tsd.inflow"
    """Where the scope of a request carries its inflow."""

    def __init__(self, receive: Callable[[], Awaitable[Any]], *, size_max: int) -> None:
        self._receive = receive
        self._size_max = size_max
        self._size = 0
        self._began_at = trio.current_time()
        self._is_complete = False
        self._is_too_slow = False

    async def receive(self) -> Any:
        """The next message for the application."""
        if self._is_too_slow:
            return await self._disconnected()
        message = await self._next()
        if message["type"] != "http.request":
            return message
        self._is_complete = not message.get("more_body", False)
        self._size += len(message.get("body", b""))
        if self._size <= self._size_max:
            return message
        return {**message, "body": b""}

    def check(self) -> None:
        """To be called when the body is complete.

        Raises:
            BodyTooLarge: It was larger than the limit, so what was kept is not all of it.
            BodyTooSlow: It came too slowly, so it is not complete.
        """
        if self._is_too_slow:
            raise BodyTooSlow(f"the body did not come within {GRACE_S:g} s and {RATE_MIN} bytes a second")
        if self._size > self._size_max:
            raise BodyTooLarge(f"the body is larger than {self._size_max} bytes")

    async def _next(self) -> Any:
        if self._is_complete:
            return await self._receive()
        with trio.move_on_at(self._began_at + GRACE_S + self._size / RATE_MIN):
            return await self._receive()
        self._is_too_slow = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _disconnected(self) -> Any:
        """Drop what still comes, until the connection ends."""
        while (message := await self._receive())["type"] == "http.request":
            pass
        return message

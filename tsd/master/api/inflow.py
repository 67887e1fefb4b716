"""The bytes of a request body on their way in, with a limit on what is kept of them."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from tsd.master.api.framing import BodyTooLarge


class Inflow:
    """Stands between the server and the application: keeps up to `size_max` bytes, drops the rest.

    The rest is still read, because a client that is sending does not read its answer yet.
    """

    KEY: ClassVar[str] = "tsd.inflow"
    """Where the scope of a request carries its inflow."""

    def __init__(self, receive: Callable[[], Awaitable[Any]], *, size_max: int) -> None:
        self._receive = receive
        self._size_max = size_max
        self._size = 0

    async def receive(self) -> Any:
        """The next message for the application."""
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        self._size += len(message.get("body", b""))
        if self._size <= self._size_max:
            return message
        return {**message, "body": b""}

    def check(self) -> None:
        """To be called when the body is complete.

        Raises:
            BodyTooLarge: It was larger than the limit, so what was kept is not all of it.
        """
        if self._size > self._size_max:
            raise BodyTooLarge(f"the body is larger than {self._size_max} bytes")

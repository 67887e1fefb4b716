"""A request body that goes to the disk and not into memory."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, ClassVar, Final

import trio

from tsd.errors import InvalidRequest
from tsd.master.api.framing import BodyTooSlow, UnsupportedBody
from tsd.master.api.inflow import GRACE_S, RATE_MIN

UPLOAD_PATH: Final = "/assets"
"""The canonical path whose POST brings a file."""
_NO_FILE = {"application/json", "application/x-www-form-urlencoded", "multipart/form-data"}


def is_upload(method: str, path: str) -> bool:
    """Whether the body of a request, under its canonical path, is an `Upload`."""
    return method == "POST" and path == UPLOAD_PATH


def check_headers(*, content_type: str | None, content_encoding: str | None) -> None:
    """Refuse what can not be a file.

    Raises:
        InvalidRequest: The type is JSON or a form, as `curl -d` says of everything.
        UnsupportedBody: It is compressed on its way.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in _NO_FILE or kind.endswith("+json"):
        raise InvalidRequest("/asset endpoints do not accept json")
    encoding = (content_encoding or "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedBody(f"content encoding {encoding[:80]} is not read; send the zip as it is")


class Upload:
    """Stands between server and application for a request whose handler reads the body piece by piece.

    The application is told that the body is empty, since it would gather all of it. The server holds a
    client back that is faster than the handler. What the handler did not read is read and dropped before
    the answer, because a client that is sending does not read its answer yet. A client that sends too
    slowly is not waited for.
    """

    KEY: ClassVar[str] = "tsd.upload"
    """Where the scope of a request carries its upload."""

    def __init__(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._began_at = trio.current_time()
        self._size_b = 0
        self._is_announced = False
        self._is_over = False
        self._gone: Any = None
        self._ended = trio.Event()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body. When the client goes away the application cancels whoever waits here.

        Raises:
            BodyTooSlow: It comes too slowly.
        """
        while not self._is_over:
            message = await self._next()
            if message["type"] != "http.request":
                self._gone = message
                self._end()
                await trio.sleep_forever()
            data = message.get("body", b"")
            self._size_b += len(data)
            if not message.get("more_body", False):
                self._end()
            if data:
                yield data

    async def receive(self) -> Any:
        """The next message for the application: first an empty body, then the end of the connection."""
        if not self._is_announced:
            self._is_announced = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._ended.wait()
        while self._gone is None:
            message = await self._receive()
            if message["type"] != "http.request":
                self._gone = message
        return self._gone

    async def send(self, message: Any) -> None:
        """A message of the application; before the first one the rest of the body is dropped."""
        try:
            async for _ in self.chunks():
                pass
        except BodyTooSlow:
            pass  # the server cuts off what still comes
        await self._send(message)

    async def _next(self) -> Any:
        with trio.move_on_at(self._began_at + GRACE_S + self._size_b / RATE_MIN):
            return await self._receive()
        self._end()
        raise BodyTooSlow(f"the body did not come within {GRACE_S:g} s and {RATE_MIN} bytes a second")

    def _end(self) -> None:
        """Nothing more of the body is taken in."""
        self._is_over = True
        self._ended.set()

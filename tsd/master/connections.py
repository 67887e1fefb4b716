"""Connections of API clients: how many there may be, and how long one of them may keep us waiting.

Hypercorn speaks HTTP on them and closes those that send no complete header in time. It sends without a limit
of time, though, and what it refuses by itself it answers without a word; both are mended here.
"""

import contextlib
import socket
from collections.abc import Iterator
from http import HTTPStatus

import attrs
import trio

from tsd.master.api.framing import JSON_TYPE, encode_json
from tsd.master.api.problems import RETRY_AFTER_S, problem

READ_ANSWER_S = 20.0
"""A client must take the next `_PIECE_B` bytes of its answer within so many seconds."""
_PIECE_B = 65_536
_LINGER_S = 1.0
"""How long a client that is turned away has to read why."""
_REASONS = {
    HTTPStatus.BAD_REQUEST: "this is not HTTP as it should be",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "path and headers are too large",
    HTTPStatus.NOT_IMPLEMENTED: "this transfer encoding is not supported",
}


@attrs.define(eq=False)
class Connection:
    """One client. It has what Hypercorn uses of a `trio.SocketStream`."""

    _stream: trio.SocketStream

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket, for its addresses."""
        return self._stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Bytes of the client; none at their end."""
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        """Send bytes of an answer.

        Raises:
            BrokenResourceError: The client is gone, or does not read what it asked for.
        """
        data = _with_words(data)
        try:
            for start in range(0, len(data), _PIECE_B):
                with trio.fail_after(READ_ANSWER_S):
                    await self._stream.send_all(data[start : start + _PIECE_B])
        except trio.TooSlowError as error:
            self.cut()
            raise trio.BrokenResourceError("the client does not read its answer") from error

    async def send_eof(self) -> None:
        """No more bytes follow."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    def cut(self) -> None:
        """End it at once; whoever sends or receives notices."""
        with contextlib.suppress(OSError):  # it may be gone already
            self._stream.socket.shutdown(socket.SHUT_RDWR)


def _with_words(data: bytes) -> bytes:
    """Put a reason into an answer that Hypercorn made up by itself; all of ours carry a request id."""
    if not data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")) or b"\r\ncontent-length: 0\r\n" not in data:
        return data
    if b"\r\nx-request-id:" in data.lower():
        return data
    status = HTTPStatus(int(data[9:12]))
    return _answer(status, _REASONS.get(status, status.phrase))


def _answer(status: HTTPStatus, message: str, *headers: str) -> bytes:
    body = encode_json(problem(status, message))
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"content-type: {JSON_TYPE}",
        f"content-length: {len(body)}",
        "connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@attrs.define(eq=False)
class Connections:
    """All clients.

    Attributes:
        count_max: More are turned away with 503.
    """

    count_max: int
    _open: set[Connection] = attrs.field(factory=set, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._open)

    @contextlib.contextmanager
    def joined(self, stream: trio.SocketStream) -> Iterator[Connection | None]:
        """A new client, while the body runs; None when there are too many already."""
        if len(self._open) >= self.count_max:
            yield None
            return
        connection = Connection(stream)
        self._open.add(connection)
        try:
            yield connection
        finally:
            self._open.discard(connection)
            self._changed.set()
            self._changed = trio.Event()

    async def hang_up(self, *, after_s: float) -> None:
        """Give all clients so much time to leave, then cut those that are left."""
        with trio.move_on_after(after_s, shield=True):
            while self._open:
                await self._changed.wait()
        for connection in self._open:
            connection.cut()


async def turn_away(stream: trio.SocketStream) -> None:
    """Tell a client that there are too many, and close its connection."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    answer = _answer(status, "too many connections, try again later", f"retry-after: {RETRY_AFTER_S}")
    with trio.move_on_after(_LINGER_S):
        try:
            await stream.send_all(answer)
            await stream.send_eof()
            # Closing while bytes of the client are unread would take the answer away from it.
            while await stream.receive_some(_PIECE_B):
                pass
        except trio.BrokenResourceError:
            pass
    await trio.aclose_forcefully(stream)

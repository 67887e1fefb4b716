"""A body that is read piece by piece, without a server."""

import pytest
import trio

from tsd.master.api.framing import BodyTooSlow
from tsd.master.api.inflow import GRACE_S
from tsd.master.api.upload import Upload


def part(data, *, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


class Client:
    """Sends these messages and then nothing; keeps what the application sends."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.answers = []
        self.upload = Upload(self.receive, self.send)

    async def receive(self):
        if not self.messages:
            await trio.sleep_forever()
        return self.messages.pop(0)

    async def send(self, message):
        self.answers.append((message, len(self.messages)))


async def test_the_application_is_told_of_no_body_and_its_handler_gets_it():
    client = Client(part(b"a"), part(b""), part(b"b", more=False))

    assert await client.upload.receive() == part(b"", more=False)
    assert [data async for data in client.upload.chunks()] == [b"a", b"b"]


async def test_the_rest_is_read_before_the_answer():
    client = Client(part(b"a"), part(b"b"), part(b"c", more=False))
    await client.upload.send("answer")
    await client.upload.send("more")

    assert client.answers == [("answer", 0), ("more", 0)]


async def test_a_client_that_sends_nothing_is_given_up(autojump_clock):
    client = Client(part(b"a"))
    began_at = trio.current_time()
    with pytest.raises(BodyTooSlow):
        async for _ in client.upload.chunks():
            pass
    assert GRACE_S <= trio.current_time() - began_at < GRACE_S + 1

    await client.upload.send("answer")
    assert client.answers == [("answer", 0)]


async def test_the_application_hears_of_a_client_that_went_away():
    """It cancels the handler, which waits meanwhile."""
    client = Client(part(b"a"), {"type": "http.disconnect"})
    await client.upload.receive()

    async def handle(nursery):
        async for _ in client.upload.chunks():
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle, nursery)
        assert await client.upload.receive() == {"type": "http.disconnect"}
        nursery.cancel_scope.cancel()

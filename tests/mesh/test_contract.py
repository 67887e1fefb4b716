"""What TCP and memory both promise."""

import random

import pytest
import trio

from tests.support.mesh import (
    BODY_BYTES_MAX,
    NARROW,
    PAD,
    WRONG_CODEC,
    Blob,
    MemoryMesh,
    Note,
    OtherNote,
    TcpMesh,
    linked,
    reach,
    receive_count,
    send_all,
)
from tests.support.waiting import wait_for
from tsd.errors import ConfigError, LocalWireError
from tsd.mesh.endpoint import RECEIVE_COUNT_MAX, MeshOptions, MeshStatistics, Received, Sent


@pytest.fixture(params=[TcpMesh, MemoryMesh], ids=["tcp", "memory"])
def mesh(request):
    return request.param()


async def test_messages_of_each_peer_arrive_in_the_order_sent(mesh):
    names = ["a", "b", "c"]
    async with mesh.listen() as listener, trio.open_nursery() as nursery:

        async def dial_and_send(name):
            async with mesh.dial(listener.address, name) as dialer:
                await send_all(dialer.send, [Note(n=n) for n in range(500)])

        for name in names:
            nursery.start_soon(dial_and_send, name)
        received = await receive_count(listener, 1500)

    for name in names:
        assert [item.message.n for item in received if item.peer == name] == list(range(500))


async def test_each_peer_gets_its_own_messages_in_order(mesh):
    async with (
        mesh.listen() as listener,
        mesh.dial(listener.address, "a") as a,
        mesh.dial(listener.address, "b") as b,
    ):
        await reach(listener, "a", a)
        await reach(listener, "b", b)
        for n in range(200):
            assert listener.send("a", Note(n=n, text="a")) is Sent.SENT
            assert listener.send("b", Note(n=n, text="b")) is Sent.SENT
        for name, dialer in (("a", a), ("b", b)):
            expected = [Note(n=n, text=name) for n in range(200)]

            assert await receive_count(dialer, 200) == expected


async def test_an_unknown_peer_is_unreachable(mesh):
    async with mesh.listen() as listener:
        assert listener.send("nobody", Note(n=1)) is Sent.UNREACHABLE
        assert listener.send("", Note(n=1)) is Sent.UNREACHABLE
        assert listener.statistics().unreachable == 2


async def test_a_peer_that_left_becomes_unreachable(mesh):
    async with mesh.listen() as listener:
        async with mesh.dial(listener.address, "w1") as dialer:
            await reach(listener, "w1", dialer)

        await wait_for(lambda: listener.send("w1", Note(n=1)) is Sent.UNREACHABLE, "w1 is gone")


async def test_a_slow_dialer_makes_send_answer_full_and_loses_nothing(mesh):
    async with (
        mesh.listen(options=NARROW) as listener,
        mesh.dial_slowly(listener.address, "w1") as dialer,
    ):
        await reach(listener, "w1", dialer)
        taken = await _fill(lambda message: listener.send("w1", message))
        assert listener.statistics().queued > 0
        received = await receive_count(dialer, taken)

        assert listener.statistics().queued == 0
        assert [message.n for message in received] == list(range(taken))
        assert listener.statistics().full >= 1
        await send_all(lambda message: listener.send("w1", message), [Note(n=taken)])
        assert await receive_count(dialer, 1) == [Note(n=taken)]


async def test_a_slow_listener_makes_send_answer_full_and_loses_nothing(mesh):
    async with (
        mesh.listen_slowly() as listener,
        mesh.dial(listener.address, "w1", options=NARROW) as dialer,
    ):
        taken = await _fill(dialer.send)
        received = await receive_count(listener, taken)

        assert [item.message.n for item in received] == list(range(taken))
        await send_all(dialer.send, [Note(n=taken)])
        assert await receive_count(listener, 1) == [Received("w1", Note(n=taken))]


async def _fill(send):
    """Send until the answer stays full for a while; return how many were taken."""
    taken = 0
    deadline = trio.current_time() + 20
    last = trio.current_time()
    while trio.current_time() < last + 0.3:
        assert trio.current_time() < deadline
        if send(Note(n=taken, text=PAD)) is Sent.SENT:
            taken += 1
            last = trio.current_time()
            assert taken < 2000, "nothing bounds what is taken"
        await trio.sleep(0.001)
    return taken


async def test_a_slow_peer_does_not_hold_up_another(mesh):
    async with (
        mesh.listen(options=NARROW) as listener,
        mesh.dial_slowly(listener.address, "slow") as slow,
        mesh.dial(listener.address, "quick", options=NARROW) as quick,
    ):
        await reach(listener, "slow", slow)
        await reach(listener, "quick", quick)
        await _fill(lambda message: listener.send("slow", message))

        for n in range(100):
            assert listener.send("quick", Note(n=n)) is Sent.SENT
            with trio.fail_after(10):
                assert await quick.receive() == [Note(n=n)]


async def test_a_peer_that_leaves_while_blocked_is_unreachable_and_what_waited_is_counted(mesh):
    async with mesh.listen(options=NARROW) as listener:
        async with mesh.dial_slowly(listener.address, "w1") as dialer:
            await reach(listener, "w1", dialer)
            await _fill(lambda message: listener.send("w1", message))

        await wait_for(lambda: listener.send("w1", Note(n=1)) is Sent.UNREACHABLE, "w1 is gone")
        assert listener.statistics().dropped >= 1

        async with mesh.dial(listener.address, "w1", options=NARROW) as dialer:
            await wait_for(lambda: listener.send("w1", Note(n=2)) is Sent.SENT, "w1 is back")
            with trio.fail_after(10):
                assert await dialer.receive() == [Note(n=2)]


async def test_a_new_connection_takes_an_identity_over(mesh):
    async with (
        linked(mesh, options=MeshOptions(reconnect_s=60, reconnect_max_s=60)) as (listener, old),
        mesh.dial(listener.address, "w1") as new,
    ):
        await send_all(new.send, [Note(n=1)])
        assert await receive_count(listener, 1) == [Received("w1", Note(n=1))]
        assert listener.send("w1", Note(n=2)) is Sent.SENT
        assert await receive_count(new, 1) == [Note(n=2)]

        with trio.move_on_after(0.05) as waited:
            await old.receive()
        assert waited.cancelled_caught


async def test_one_receive_returns_all_that_is_there_up_to_its_bound(mesh):
    count = 2 * RECEIVE_COUNT_MAX + 10
    async with linked(mesh, options=MeshOptions(outbox_count=count)) as (listener, dialer):
        await send_all(dialer.send, [Note(n=n) for n in range(count)])
        await wait_for(lambda: mesh_holds(mesh, listener, count), "all have arrived")
        batches = [await listener.receive() for _ in range(3)]

        assert [len(batch) for batch in batches] == [RECEIVE_COUNT_MAX, RECEIVE_COUNT_MAX, 10]


def mesh_holds(mesh, listener, count):
    """Whether so many messages wait for `receive`; in memory they always do."""
    return isinstance(mesh, MemoryMesh) or listener.statistics().frames_in == count


async def test_big_messages_arrive_whole_both_ways(mesh):
    data = random.Random(1).randbytes(5_000_000)
    async with linked(mesh) as (listener, dialer):
        assert dialer.send(Blob(data=data)) is Sent.SENT
        [received] = await receive_count(listener, 1)
        assert received.message.data == data
        assert listener.send("w1", received.message) is Sent.SENT
        [message] = await receive_count(dialer, 1)
        assert message.data == data


async def test_garbage_is_counted_reported_once_a_peer_and_dropped(mesh):
    reports = []
    async with (
        mesh.listen(on_bad_frame=lambda *report: reports.append(report[:2])) as listener,
        mesh.dial(listener.address, "bad", codec=WRONG_CODEC) as bad,
        mesh.dial(listener.address, "worse", codec=WRONG_CODEC) as worse,
        mesh.dial(listener.address, "good") as good,
    ):
        for _ in range(5):
            bad.send(OtherNote(n="not a number"))
        worse.send(Blob(data=b""))
        good.send(Note(n=1))

        assert await receive_count(listener, 1) == [Received("good", Note(n=1))]
        with trio.move_on_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.receive)  # must go on reading and return nothing
                await wait_for(lambda: listener.statistics().bad_frames == 6, "garbage is counted")
                nursery.cancel_scope.cancel()
        assert sorted(peer for peer, _reason in reports) == ["bad", "worse"]
        assert "note can not be read" in dict(reports)["bad"]
        assert "'strange' is no kind of this link" in dict(reports)["worse"]


async def test_garbage_from_the_listener_is_counted_reported_and_dropped(mesh):
    reports = []
    async with (
        mesh.listen(codec=WRONG_CODEC) as listener,
        mesh.dial(listener.address, "w1", on_bad_frame=lambda *report: reports.append(report[:2])) as dialer,
    ):
        await wait_for(lambda: listener.send("w1", OtherNote(n="x")) is Sent.SENT, "w1 connects")
        with trio.move_on_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dialer.receive)
                await wait_for(lambda: dialer.statistics().bad_frames == 1, "garbage is counted")
                nursery.cancel_scope.cancel()
        assert [peer for peer, _reason in reports] == [""]


async def test_what_is_no_message_is_refused_before_it_is_sent(mesh):
    async with linked(mesh) as (listener, dialer):
        for wrong in ("text", OtherNote(n="x"), Blob(data=bytes(BODY_BYTES_MAX + 1))):
            with pytest.raises(LocalWireError):
                dialer.send(wrong)
            with pytest.raises(LocalWireError):
                listener.send("w1", wrong)

        assert dialer.statistics().refused == 3
        assert listener.statistics().refused == 3
        dialer.send(Note(n=1))
        assert await receive_count(listener, 1) == [Received("w1", Note(n=1))]


async def test_a_dialers_last_message_is_delivered_after_it_closed(mesh):
    async with mesh.listen() as listener:
        for n in range(5):
            async with mesh.dial(listener.address, f"w{n}") as dialer:
                dialer.send(Note(n=n))

        received = await receive_count(listener, 5)
        assert sorted(received, key=lambda item: item.peer) == [
            Received(f"w{n}", Note(n=n)) for n in range(5)
        ]


async def test_a_listeners_last_message_is_delivered_after_it_closed(mesh):
    async with mesh.dial(mesh.address, "w1") as dialer:
        async with mesh.listen(mesh.address) as listener:
            await reach(listener, "w1", dialer)
            listener.send("w1", Note(n=9))

        assert await receive_count(dialer, 1) == [Note(n=9)]


async def test_closing_goes_on_sending_what_waits_in_the_outbox(mesh):
    async with mesh.listen_slowly() as listener, trio.open_nursery() as nursery:
        taken = None

        async def fill_and_leave():
            nonlocal taken
            async with mesh.dial(listener.address, "w1", options=NARROW) as dialer:
                taken = await _fill(dialer.send)

        nursery.start_soon(fill_and_leave)
        await wait_for(lambda: taken is not None, "the dialer is full")
        # libzmq drops what its engine has encoded and a full kernel did not yet take, here up to two messages
        # (libzmq #4660). The seven before them were in the outbox and in libzmq's queue.
        received = []
        with trio.fail_after(20):
            while len(received) < taken - 2:
                received += await listener.receive()

        assert [item.message.n for item in received] == list(range(len(received)))


async def test_cancelling_receive_loses_nothing(mesh):
    rng = random.Random(7)
    async with linked(mesh) as (listener, dialer), trio.open_nursery() as nursery:
        nursery.start_soon(send_all, dialer.send, [Note(n=n) for n in range(3000)])
        numbers = []
        with trio.fail_after(30):
            while len(numbers) < 3000:
                with trio.move_on_after(rng.choice([0, 0.0001, 0.001])):
                    numbers += [item.message.n for item in await listener.receive()]

        assert numbers == list(range(3000))


async def test_messages_wait_for_a_listener_that_comes_later(mesh):
    async with mesh.dial(mesh.address, "w1") as dialer:
        assert dialer.send(Note(n=1)) is Sent.SENT
        async with mesh.listen(mesh.address) as listener:
            assert await receive_count(listener, 1) == [Received("w1", Note(n=1))]


async def test_a_dialer_without_a_listener_fills_up_and_says_so(mesh):
    async with mesh.dial(mesh.address, "w1", options=NARROW) as dialer:
        answers = [dialer.send(Note(n=n)) for n in range(20)]

        assert answers[0] is Sent.SENT
        assert answers[-1] is Sent.FULL
        taken = answers.count(Sent.SENT)
        async with mesh.listen(mesh.address) as listener:
            received = await receive_count(listener, taken)
            assert [item.message.n for item in received] == list(range(taken))


async def test_a_dialer_finds_a_listener_that_restarted(mesh):
    async with mesh.dial(mesh.address, "w1") as dialer:
        for n in range(3):
            async with mesh.listen_again(mesh.address) as listener:
                await reach(listener, "w1", dialer)
                dialer.send(Note(n=n))
                assert await receive_count(listener, 1) == [Received("w1", Note(n=n))]


async def test_an_address_in_use_is_refused_by_name(mesh):
    async with mesh.listen() as listener:
        with pytest.raises(ConfigError, match="in use"):
            async with mesh.listen(listener.address):
                pass


async def test_an_identity_that_zeromq_can_not_carry_is_refused(mesh):
    for identity in ("", "\0x", "x" * 256):
        with pytest.raises(LocalWireError):
            async with mesh.dial(mesh.address, identity):
                pass


async def test_a_closed_endpoint_refuses_use_and_wakes_who_waits(mesh):
    async with mesh.listen() as listener, mesh.dial(listener.address, "w1") as dialer:
        pass
    for use in (lambda: listener.send("w1", Note(n=1)), lambda: dialer.send(Note(n=1))):
        with pytest.raises(trio.ClosedResourceError):
            use()
    for endpoint in (listener, dialer):
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.receive()

    async def expect_closed(endpoint):
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.receive()

    async with (
        trio.open_nursery() as nursery,
        mesh.listen() as listener,
        mesh.dial(listener.address, "w1") as dialer,
    ):
        nursery.start_soon(expect_closed, listener)
        nursery.start_soon(expect_closed, dialer)
        await trio.testing.wait_all_tasks_blocked()


async def test_an_error_of_the_body_leaves_as_itself(mesh):
    async with mesh.listen() as listener:
        with pytest.raises(KeyError, match="mine"):
            async with mesh.dial(listener.address, "w1"):
                raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        async with mesh.listen():
            raise KeyError("mine")


async def test_a_cancelled_body_still_sends_its_last_message(mesh):
    async with mesh.listen() as listener:
        with trio.CancelScope() as scope:
            async with mesh.dial(listener.address, "w1") as dialer:
                dialer.send(Note(n=1))
                scope.cancel()
                await trio.sleep_forever()

        assert scope.cancelled_caught
        assert await receive_count(listener, 1) == [Received("w1", Note(n=1))]


async def test_statistics_count_messages_and_bytes(mesh):
    async with linked(mesh) as (listener, dialer):
        dialer.send(Note(n=1))
        dialer.send(Note(n=2))
        await receive_count(listener, 2)
        size_b = len(b"note") + len(b"\x82\xa1n\x01\xa4text\xa0")

        assert dialer.statistics() == MeshStatistics(
            frames_in=1, bytes_in=size_b, frames_out=2, bytes_out=2 * size_b
        )
        statistics = listener.statistics()
        assert (statistics.frames_in, statistics.bytes_in) == (2, 2 * size_b)
        assert (statistics.frames_out, statistics.bytes_out) == (1, size_b)
        assert statistics.bad_frames == statistics.full == statistics.dropped == 0


async def test_a_dialer_tells_when_its_link_comes_up_and_goes_down(mesh):
    async with mesh.dial(mesh.address, "w1") as dialer:
        assert not dialer.is_up
        with trio.fail_after(20):
            async with mesh.listen_again(mesh.address):
                assert await dialer.wait_link_change()
                assert dialer.is_up
            assert not await dialer.wait_link_change()
            assert not dialer.is_up
            async with mesh.listen_again(mesh.address):
                assert await dialer.wait_link_change()


async def test_a_link_that_breaks_unwatched_is_told_afterwards(mesh):
    """What was on its way is lost, so its dialer has to know although the link is up again."""
    async with mesh.dial(mesh.address, "w1") as dialer:
        with trio.fail_after(20):
            async with mesh.listen_again(mesh.address) as listener:
                assert await dialer.wait_link_change()
                await reach(listener, "w1", dialer)
            async with mesh.listen_again(mesh.address) as listener:
                await reach(listener, "w1", dialer)
                assert await dialer.wait_link_change()

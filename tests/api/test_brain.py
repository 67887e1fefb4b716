"""The driver of the cluster core, with a real store and a network in memory."""

import contextlib

import pytest
import trio
import trio.testing

from tsd.core.cluster.events import PauseRequested, StopRequested, Tick
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.records import ClusterSettings
from tsd.core.kinds import KINDS
from tsd.core.messages import (
    PROTOCOL,
    ControllerHello,
    ControllerWelcome,
    NodeHello,
    NodeWanted,
    RecordBatch,
    RecordsSaved,
    RecoveryAsk,
    Refused,
)
from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.errors import Conflict, NotActive, NotFound, NotReady
from tsd.master.brain import ASKS_MAX, Brain
from tsd.master.clock import Clock
from tsd.mesh.codec import BODY_BYTES_MAX, Codec
from tsd.mesh.memory import MemoryNetwork
from tsd.store.executions import CreateExecution
from tsd.store.store import open_store

CODEC = Codec(KINDS)


@contextlib.asynccontextmanager
async def running_brain(folder, network):
    """A brain as the daemon runs it; restored from the folder's store."""
    clock = Clock()
    async with open_store(folder) as store, network.listen("master", codec=CODEC) as listener:
        machine = ClusterMachine.restore(
            await store.load_unended(), settings=ClusterSettings(controller_lease_s=0.5), now=clock.now()
        )
        brain = Brain(machine=machine, store=store, listener=listener, now=clock.now)
        async with trio.open_nursery() as nursery:
            await nursery.start(brain.run)
            with trio.fail_after(30):
                yield brain
            nursery.cancel_scope.cancel()


@pytest.fixture
async def brain(tmp_path):
    async with running_brain(tmp_path, MemoryNetwork()) as brain:
        yield brain


def execution(ex_id="x", job_id="j", *, job=True):
    return CreateExecution(
        ex_id=ex_id, job_id=job_id, document={"workers": 1, "name": "n"}, job={"name": "n"} if job else None
    )


def hello(node_id="n1", slots=4):
    return NodeHello(
        protocol=PROTOCOL,
        version="1",
        python="3.11",
        node_id=node_id,
        hostname="h",
        pid=1,
        slots=slots,
        runs=(),
        exits=(),
    )


async def wanted(dialer):
    """The first list of processes that is not empty."""
    while True:
        for message in await dialer.receive():
            if isinstance(message, NodeWanted) and message.processes:
                return message


async def test_nothing_is_sent_before_it_is_saved(tmp_path):
    """When a node is told to run a controller, a restarted master would know of it."""
    network = MemoryNetwork()
    async with (
        running_brain(tmp_path, network) as brain,
        network.dial("master", identity="n1~1", codec=CODEC) as node,
    ):
        node.send(hello())
        await brain.create(execution())

        message = await wanted(node)

        stored = await brain.store.get_execution("x")
        records = await brain.store.load_unended()
    assert [spec.role for spec in message.processes] == ["controller"]
    assert stored["_status"] == "scheduling"
    assert records[0].generation == message.processes[0].generation == 1


async def test_a_request_that_does_not_fit_is_refused_and_the_others_are_answered(brain):
    await brain.create(execution())
    outcomes = []

    async def ask(event):
        try:
            outcomes.append(await brain.ask(event))
        except NotActive as error:
            outcomes.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, PauseRequested(ex_id="unknown"))
        nursery.start_soon(ask, StopRequested(ex_id="x"))

    assert sorted(outcomes, key=str) == [
        None,
        "no active execution context was found for ex_id: unknown",
    ]


async def test_a_request_is_refused_when_too_many_wait_and_answered_later(brain):
    """In an outage of the store requests pile up, also those of clients that have given up."""
    await brain.create(execution())
    for _ in range(ASKS_MAX):
        brain.post(Tick())

    with pytest.raises(NotReady, match="too many requests"):
        await brain.ask(StopRequested(ex_id="x"))

    await trio.testing.wait_all_tasks_blocked()
    assert await brain.ask(StopRequested(ex_id="x")) is None


async def test_a_watch_sees_the_status_only_when_it_is_stored(brain):
    await brain.create(execution())
    with brain.watches.watch("x") as watch:
        await brain.ask(StopRequested(ex_id="x"))

        status = await watch.until(TERMINAL_STATUSES, now=Status.PENDING)

    assert status is Status.STOPPED
    assert (await brain.store.get_execution("x"))["_status"] == "stopped"


async def test_of_two_starts_one_is_refused(brain):
    await brain.create(execution())

    with pytest.raises(Conflict, match="currently running"):
        await brain.create(execution(ex_id="y", job=False))


async def test_a_stop_by_whoever_sees_an_execution_in_the_store_first_is_not_lost(brain):
    """It is there a moment before the machine hears of it; clients that list executions may be that fast."""

    async def stop_when_stored(ex_id):
        stored = None
        while stored is None:
            with contextlib.suppress(NotFound):
                stored = await brain.store.get_execution(ex_id)
        await brain.ask(StopRequested(ex_id=ex_id))

    for number in range(40):
        ex_id = f"x{number}"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(brain.create, execution(ex_id, f"j{number}"))
            for _ in range(3):
                nursery.start_soon(stop_when_stored, ex_id)

        assert (await brain.store.get_execution(ex_id))["_status"] == "stopped"


async def test_whoever_hangs_up_while_an_execution_is_stored_still_has_it_run(tmp_path):
    """Cancelling the request must not leave an execution that is stored and unknown to the core."""
    network = MemoryNetwork()
    async with (
        running_brain(tmp_path, network) as brain,
        network.dial("master", identity="n1~1", codec=CODEC) as node,
    ):
        node.send(hello())
        with trio.CancelScope() as hasty:
            hasty.cancel()
            await brain.create(execution())

        message = await wanted(node)

    assert message.processes[0].ex_id == "x"


async def test_records_of_nobody_we_know_are_turned_away(tmp_path):
    network = MemoryNetwork()
    async with (
        running_brain(tmp_path, network),
        network.dial("master", identity="x/1/c", codec=CODEC) as controller,
    ):
        controller.send(RecordBatch(ex_id="x", generation=1, seq=1, sources=("x",), rows=[]))

        (answer,) = await controller.receive()

    assert isinstance(answer, Refused)


async def test_what_no_message_can_carry_ends_its_controller_and_not_the_master(tmp_path):
    """The last requests of many slicers go into one page; they may be more than a message takes."""
    network = MemoryNetwork()
    request = '"' + "x" * (BODY_BYTES_MAX * 2 // 3) + '"'
    async with (
        running_brain(tmp_path, network) as brain,
        network.dial("master", identity="n1~1", codec=CODEC) as node,
        network.dial("master", identity="x/1/c", codec=CODEC) as controller,
    ):
        node.send(hello())
        await brain.create(execution())
        await wanted(node)
        controller.send(
            ControllerHello(protocol=PROTOCOL, ex_id="x", generation=1, address="tcp://127.0.0.1:1")
        )
        assert isinstance((await controller.receive())[0], ControllerWelcome)
        for slicer in range(2):
            row = (0, slicer, 1, 0, 1, 1, request, 0, None, None, None)
            controller.send(RecordBatch(ex_id="x", generation=1, seq=slicer + 1, sources=("x",), rows=[row]))
            await answer_of(controller, RecordsSaved)
        controller.send(RecoveryAsk(ask_id=1, generation=1, mode="", after=None, limit=10))

        refused = await answer_of(controller, Refused)

        assert "more than a message can carry" in refused.reason
        assert await brain.ask(StopRequested(ex_id="x")) is None


async def answer_of(dialer, kind):
    """The next message of this kind."""
    while True:
        for message in await dialer.receive():
            if isinstance(message, kind):
                return message


async def test_a_restarted_brain_goes_on_with_what_was_stored(tmp_path):
    network = MemoryNetwork()
    async with running_brain(tmp_path, network) as brain:
        await brain.create(execution())
    async with (
        running_brain(tmp_path, network) as brain,
        network.dial("master", identity="n1~1", codec=CODEC) as node,
    ):
        node.send(hello())

        assert (await wanted(node)).processes[0].ex_id == "x"


async def test_shutting_down_answers_what_was_asked_before(tmp_path):
    async with running_brain(tmp_path, MemoryNetwork()) as brain:
        await brain.create(execution())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(brain.ask, StopRequested(ex_id="x"))
            await trio.testing.wait_all_tasks_blocked()
            await brain.shut_down()

        assert (await brain.store.get_execution("x"))["_status"] == "stopped"

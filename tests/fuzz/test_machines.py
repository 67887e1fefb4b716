"""Any well-formed messages in any order, from anybody, to each of the four machines; hypothesis shrinks what breaks."""

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.values import values_of
from tsd.core.cluster import events as cluster
from tsd.core.cluster import node as nodes
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.records import ClusterSettings, ExecutionRecord, Intent
from tsd.core.execution import events as ex
from tsd.core.execution.machine import ExecutionMachine
from tsd.core.execution.terms import Limits
from tsd.core.execution.worker import WorkerMachine
from tsd.core.hellos import LinkChanged
from tsd.core.kinds import KINDS
from tsd.core.messages import (
    PROTOCOL,
    ControllerHello,
    ControllerWelcome,
    FromController,
    FromNode,
    FromWorker,
    NodeHello,
    NodeWelcome,
    ToController,
    ToNode,
    ToWorker,
    Wanted,
    WorkerHello,
    WorkerWelcome,
)
from tsd.mesh.codec import Codec

CODEC = Codec(KINDS)
RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PEERS = ("n1~1", "n2~1", "x/1/c", "x/1/w1.1", "x/2/c", "x/1/w2.1", "evil", "")
WELCOME = ControllerWelcome(
    lease_s=15.0,
    beat_interval_s=1.0,
    execution='{"lifecycle":"once"}',
    resume=True,
    sources=("x",),
    mode="",
    wanted=Wanted(revision=1, workers=1),
)


def hello(node_id="n1"):
    return NodeHello(
        protocol=PROTOCOL,
        version="1",
        python="3.11",
        node_id=node_id,
        hostname="h",
        pid=1,
        slots=4,
        runs=(),
        exits=(),
    )


def anyone_says(union, *usual):
    """Lists of (peer, message, seconds later); the usual messages come again and again among the others."""
    nonsense = st.tuples(st.sampled_from(PEERS), values_of(union))
    said = st.one_of(nonsense, nonsense, *map(st.just, usual)) if usual else nonsense
    return st.lists(st.tuples(said, st.sampled_from((0.0, 0.01, 1.0, 40.0))), max_size=25)


def feed(machine, events, tick):
    """Feed events, and a tick after each; all that is said must be readable by the other side."""
    now = 1000.0
    for event, later_s in events:
        now += later_s
        for each in (event, tick):
            for send in machine.handle(each, now=now).sends:
                message = send[1] if isinstance(send, tuple) else getattr(send, "message", send)
                assert CODEC.decode(CODEC.encode(message)) == message
        machine.wake_at()


@RELAXED
@given(
    anyone_says(
        FromNode | FromController,
        ("n1~1", hello()),
        ("n2~1", hello("n2")),
        ("x/1/c", ControllerHello(protocol=PROTOCOL, ex_id="x", generation=1, address="tcp://h:1")),
    )
)
def test_the_machine_of_the_master(said):
    machine = ClusterMachine(settings=ClusterSettings())
    record = ExecutionRecord(ex_id="x", job_id="j", name="n", created=1, intent=Intent(workers=2))
    machine.handle(cluster.ExecutionAdded(record=record), now=1000.0)
    machine.handle(cluster.FromNode(peer="n1~1", message=hello()), now=1000.0)

    def event_of(peer, message):
        is_of_node = isinstance(message, FromNode)
        return (cluster.FromNode if is_of_node else cluster.FromController)(peer=peer, message=message)

    feed(machine, [(event_of(*words), later_s) for words, later_s in said], cluster.Tick())
    assert len(machine.nodes()) < 40


@RELAXED
@given(anyone_says(ToNode, ("", NodeWelcome(version="1", beat_interval_s=1.0))))
def test_the_machine_of_a_node(said):
    machine = nodes.NodeMachine(
        settings=nodes.NodeSettings(node_id="n1", hostname="h", pid=1, slots=4, shutdown_timeout_s=5.0)
    )
    events = [(nodes.FromMaster(message=message), later_s) for (_, message), later_s in said]
    feed(machine, [(LinkChanged(is_up=True), 0.0), *events], nodes.Tick())


@RELAXED
@given(
    anyone_says(
        ToController | FromWorker,
        ("", WELCOME),
        (
            "x/1/w1.1",
            WorkerHello(protocol=PROTOCOL, ex_id="x", generation=1, number=1, pid=1, holds=[]),
        ),
        ("slicer", ex.SlicerInfo(recoverable=True)),
        ("slicer", ex.SlicerReady(slicer_count=1)),
    )
)
def test_the_machine_of_a_controller(said):
    machine = ExecutionMachine(
        ex_id="x", generation=1, address="tcp://h:1", wall_offset_s=1e9, limits=Limits()
    )

    def event_of(peer, message):
        if peer == "slicer":
            return message
        is_of_worker = isinstance(message, FromWorker)
        return ex.FromWorker(peer, message) if is_of_worker else ex.FromMaster(message)

    events = [(event_of(*words), later_s) for words, later_s in said]
    feed(machine, [(ex.FromMaster(WELCOME), 0.0), *events], ex.Tick())


@RELAXED
@given(
    anyone_says(
        ToWorker,
        ("", WorkerWelcome(execution="{}", beat_interval_s=1.0, keep=[])),
        ("thread", ex.PipelineReady()),
        ("thread", ex.SlicesRan([1, 2], [], 10)),
    )
)
def test_the_machine_of_a_worker(said):
    machine = WorkerMachine(
        proc_id="x/1/w1.1", ex_id="x", generation=1, number=1, pid=1, limits=attrs.evolve(Limits())
    )
    events = [
        (message if peer == "thread" else ex.FromController(message), later_s)
        for (peer, message), later_s in said
    ]
    feed(machine, events, ex.Tick())

"""`/metrics` of a small cluster: a real store, a real brain, and nodes and controllers that say what we tell them."""

import contextlib
import re
import time
from pathlib import Path

import attrs
import pytest
import trio

from tests.support.scrape import fallen, series, values_of
from tests.support.waiting import wait_for
from tsd.core.cluster.events import ExecutionAdded
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.records import ClusterSettings, ExecutionRecord, Intent
from tsd.core.counts import ControllerCounts, MeshCounts, WorkCounts
from tsd.core.kinds import KINDS
from tsd.core.messages import (
    PROTOCOL,
    ControllerBeat,
    ControllerHello,
    ControllerWelcome,
    NodeBeat,
    NodeHello,
    NodeWanted,
    NodeWelcome,
    RecordBatch,
    RecordsSaved,
    StatusIs,
    StatusReport,
)
from tsd.core.records import ExecutionStats
from tsd.master.brain import Brain
from tsd.master.clock import Clock
from tsd.master.metrics import MasterMetrics
from tsd.master.requests import RequestCounter
from tsd.mesh.codec import Codec
from tsd.mesh.memory import MemoryNetwork
from tsd.observe.looplag import LoopLag
from tsd.observe.metric_names import METRICS
from tsd.store.executions import CreateExecution
from tsd.store.store import open_store

GOLDEN = Path(__file__).with_name("metrics_of_a_small_cluster.txt")
CODEC = Codec(KINDS)
EX = {"ex_id": "x", "job_id": "j", "job_name": "numbers"}
VERSIONS = re.compile(r'((?:arch|platform|version|\w+_version)=)"[^"]*"')
CHANCE = re.compile(
    r"""((?:.*_timestamp_seconds|.*_seconds_sum|tsd_store_commit_seconds_count|tsd_mesh_bytes_total)\{.*\}
    |tsd_mesh_messages_total\{.*role="master".*\})\ .*""",
    re.VERBOSE,
)
FAST = re.compile(r"tsd_(?:store_commit|master_loop_lag)_seconds_bucket.*\n")


class SmallCluster:
    """A master in this process, and what we say in the name of others."""

    def __init__(self, network, brain, requests, metrics):
        self.network = network
        self.brain = brain
        self.requests = requests
        self.metrics = metrics

    async def text(self):
        """What a scrape gives, without what this process and its Python say of themselves."""
        whole = (await self.metrics.scrape()).decode()
        return whole[: whole.index("# HELP process_")]

    async def values(self):
        """{(name, labels but for the two that all have): value}; the parser has found nothing wrong."""
        return values_of(await self.text())


@contextlib.asynccontextmanager
async def small_cluster(folder, network=None):
    network = network or MemoryNetwork()
    clock = Clock()
    async with open_store(folder) as store, network.listen("master", codec=CODEC) as listener:
        machine = ClusterMachine.restore(
            await store.load_unended(), settings=ClusterSettings(heartbeat_interval_s=5.0), now=clock.now()
        )
        brain = Brain(machine=machine, store=store, listener=listener, now=clock.now)
        requests = RequestCounter()
        metrics = MasterMetrics(
            cluster_name="c1", url="http://here", brain=brain, store=store, requests=requests, lag=LoopLag()
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(brain.run)
            with trio.fail_after(30):
                yield SmallCluster(network, brain, requests, metrics)
            nursery.cancel_scope.cancel()


@pytest.fixture
async def cluster(tmp_path):
    async with small_cluster(tmp_path) as cluster:
        yield cluster


def node_hello(**counts):
    return NodeHello(
        protocol=PROTOCOL,
        version="1",
        python="3.11",
        node_id="n1",
        hostname="h",
        pid=1,
        slots=4,
        runs=(),
        exits=(),
        mesh=MeshCounts(**counts),
    )


def execution(ex_id="x", job_id="j", **document):
    whole = {"workers": 2, "slicers": 1, "name": "numbers", "teraslice_version": "v3.18.0", **document}
    return CreateExecution(ex_id=ex_id, job_id=job_id, document=whole, job={"name": "numbers"})


def beat(counts, **stats):
    return ControllerBeat(
        ex_id="x",
        generation=1,
        sent_at=1.0,
        revision=0,
        workers=(),
        lost_workers=(),
        exits_seen=(),
        stats=ExecutionStats(**stats),
        counts=counts,
    )


def report(seq, event, counts=None, **stats):
    return StatusReport(
        ex_id="x",
        generation=1,
        seq=seq,
        event=event,
        reason="",
        stats=ExecutionStats(**stats),
        counts=counts or ControllerCounts(),
    )


def records(seq, count, *, after=0, failed=0):
    """A batch of so many completed slices, the last ones in error."""
    rows = [
        (0, 0, after + n, 3 if n > count - failed else 2, 1, 1, "{}", 0, None, None, None)
        for n in range(1, count + 1)
    ]
    return RecordBatch(ex_id="x", generation=1, seq=seq, sources=("x",), rows=rows)


async def answer_of(dialer, kind):
    """The next message of this kind."""
    while True:
        for message in await dialer.receive():
            if isinstance(message, kind):
                return message


async def until_value(cluster, key, value):
    """Wait until a series has a value; what was scraped then."""
    with trio.fail_after(10):
        while True:
            found = await cluster.values()
            if found.get(key) == value:
                return found
            await trio.sleep(0.01)


@contextlib.asynccontextmanager
async def running_execution(cluster, **document):
    """An execution that runs with two workers; its node and its controller."""
    network = cluster.network
    async with (
        network.dial("master", identity="n1~1", codec=CODEC) as node,
        network.dial("master", identity="x/1/c", codec=CODEC) as controller,
    ):
        node.send(node_hello(messages_in=100))
        await answer_of(node, NodeWelcome)
        node.send(NodeBeat(revision=0, runs=(), exits=(), mesh=MeshCounts(messages_in=103, reconnects=1)))
        await cluster.brain.create(execution(**document))
        while not (await answer_of(node, NodeWanted)).processes:
            pass
        controller.send(ControllerHello(protocol=PROTOCOL, ex_id="x", generation=1, address="tcp://h:1"))
        await answer_of(controller, ControllerWelcome)
        controller.send(report(1, "slicing_started"))
        counts = ControllerCounts(
            work=WorkCounts(completed=6, failed=1, refused=2, busy_us=1_500_000, records=70),
            mesh=MeshCounts(messages_in=40, messages_out=50, bad_frames=3, queued=2),
            workers=MeshCounts(messages_in=20, unreachable=1, reconnects=1),
        )
        controller.send(
            beat(
                counts,
                processed=7,
                failed=1,
                queued=3,
                workers_active=1,
                workers_available=1,
                workers_joined=2,
                slicers=1,
                stalled_workers=1,
            )
        )
        controller.send(records(1, 7, failed=1))
        await answer_of(controller, RecordsSaved)
        await until_value(cluster, series("tsd_slices_completed_total"), 6.0)
        await until_value(cluster, series("tsd_slices_busy_seconds_total"), 1.5)
        yield node, controller


async def test_the_whole_text_of_a_small_cluster(cluster):
    """All names and labels; what this machine and the moment decide is left out."""
    async with running_execution(cluster, cpu=2, resources_limits_memory=1e9):
        cluster.requests.answered("GET", "/jobs/<job_id>", 200, 0.004)
        text = await cluster.text()

    lines = [line for line in FAST.sub("", text).splitlines() if not line.startswith("#")]
    shown = CHANCE.sub(r"\1 …", VERSIONS.sub(r'\1"…"', "\n".join(lines))) + "\n"
    assert shown == GOLDEN.read_text()


async def test_every_metric_is_declared_also_without_a_series(cluster):
    text = await cluster.text()

    for metric in METRICS:
        assert f"# TYPE {metric.name} {metric.kind}\n" in text


async def test_an_execution_that_ends_takes_its_series_with_it_and_no_counter_falls(cluster):
    async with running_execution(cluster) as (node, controller):
        before = await cluster.values()
        assert any("ex_id" in dict(key[1:]) for key in before)
        controller.send(records(2, 3, after=7))
        await answer_of(controller, RecordsSaved)
        # What it says of its slices does not count: the records do.
        counts = ControllerCounts(work=WorkCounts(completed=12, failed=2, refused=2, busy_us=1_500_000))
        controller.send(report(2, "completed", counts, processed=10, failed=1))
        while (await answer_of(controller, StatusIs)).status != "completed":
            pass
        node.send(NodeBeat(revision=2**52, runs=(), exits=()))
        after = await until_value(cluster, series("tsd_executions_ended_total", status="completed"), 1.0)

    assert not any("ex_id" in dict(key[1:]) for key in after)
    assert after[series("tsd_slices_completed_total")] == 9
    assert fallen(before, after) == []


async def test_records_and_commits_are_counted(cluster):
    async with running_execution(cluster) as (_, controller):
        controller.send(records(2, 30, after=7))
        await answer_of(controller, RecordsSaved)
        found = await cluster.values()

    assert found[series("tsd_records_committed_total")] == 37
    assert found[series("tsd_store_commit_rows_bucket", le="10")] == 1
    assert found[series("tsd_store_commit_rows_bucket", le="100")] == 2
    assert found[series("tsd_store_up")] == 1


async def test_the_age_of_the_oldest_waiting_execution_is_shown(cluster):
    assert (await cluster.values())[series("tsd_pending_age_seconds")] == 0
    began_at = time.monotonic()
    await cluster.brain.create(execution())
    await cluster.brain.create(execution("y", "k"))
    await until_value(cluster, series("tsd_executions", status="pending"), 2.0)
    first = (await cluster.values())[series("tsd_pending_age_seconds")]
    with trio.fail_after(10):
        while (second := (await cluster.values())[series("tsd_pending_age_seconds")]) <= first:
            await trio.sleep(0.01)

    assert -0.01 <= first < second <= time.monotonic() - began_at + 0.1


async def test_a_status_that_was_stored_moves_the_time_of_the_update(cluster):
    async with running_execution(cluster):
        found = await cluster.values()

    created = found[series("teraslice_execution_created_timestamp_seconds", **EX)]
    updated = found[series("teraslice_execution_updated_timestamp_seconds", **EX)]
    assert abs(time.time() - created) < 60
    assert created - 0.01 <= updated <= created + 60


async def test_a_master_that_starts_shows_what_it_finds_and_counts_anew(tmp_path):
    async with small_cluster(tmp_path) as cluster:
        await cluster.brain.create(execution(name="a\nb", cpu="2", memory=True))
    async with small_cluster(tmp_path) as cluster:
        found = await cluster.values()

    labels = {**EX, "job_name": "a�b"}
    assert found[series("teraslice_execution_status", **labels, status="pending")] == 1
    assert found[series("teraslice_execution_updated_timestamp_seconds", **labels)] > 1e9
    assert found[series("tsd_slices_completed_total")] == 0
    # Numbers that are none are not shown.
    assert not [key for key in found if "cpu_request" in key[0] or "memory" in key[0]]


async def test_a_scrape_asks_nothing_of_the_database(tmp_path):
    """Else a slow disk would blind those who look for it."""
    async with small_cluster(tmp_path) as cluster:
        await cluster.brain.create(execution())
        await until_value(cluster, series("tsd_executions", status="pending"), 1.0)
        cluster.brain.store._reader.close()
    after_the_end = await cluster.values()

    assert after_the_end[series("tsd_executions", status="pending")] == 1


@pytest.mark.parametrize("count", [1000])
async def test_a_scrape_of_a_thousand_executions_is_quick_and_lets_others_run(cluster, count):
    for number in range(count):
        record = ExecutionRecord(
            ex_id=f"ex-{number}",
            job_id=f"job-{number}",
            name=f"job number {number}",
            created=number,
            intent=Intent(workers=3),
            document='{"name": "x", "_created": "2026-01-31T01:02:03.004Z", "operations": []}',
        )
        cluster.brain.machine.handle(ExecutionAdded(record=record), now=cluster.brain.now())
    turns = []

    async def take_turns():
        while True:
            turns.append(None)
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        began_at = time.perf_counter()
        body = await cluster.metrics.scrape()
        took_s = time.perf_counter() - began_at
        nursery.cancel_scope.cancel()

    print(f"TOOK {took_s:.3f} s for {len(body)} bytes; the loop turned {len(turns)} times meanwhile")
    assert body.count(b"teraslice_execution_status{") == 13 * count
    assert len(turns) > 10


async def test_scrapes_at_the_same_time_all_get_an_answer(cluster):
    answers = []

    async def scrape():
        answers.append(await cluster.metrics.scrape())

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(scrape)

    assert len(answers) == 10
    assert all(answer.endswith(b"\n") for answer in answers)


async def test_bad_frames_are_counted_by_the_role_that_got_them(cluster):
    @attrs.frozen
    class Nonsense:
        n: int = 1

    async with cluster.network.dial("master", identity="evil", codec=Codec({"nonsense": Nonsense})) as evil:
        for _ in range(3):
            evil.send(Nonsense())
        await wait_for(lambda: cluster.brain.listener.statistics().bad_frames == 3, "they were read")
        found = await cluster.values()

    assert found[series("tsd_mesh_bad_frames_total", role="master")] == 3
    assert found[series("tsd_mesh_bad_frames_total", role="worker")] == 0

"""Gathers what is measured: read at one moment in the loop, written down in a thread.

Nothing here waits for the store or asks the disk: an execution's document is in memory already.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs
import msgspec
import trio

from tsd.core.cluster.views import ClusterFigures, ExecutionFigures
from tsd.core.counts import MeshCounts
from tsd.core.histograms import Histogram
from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.master import identity
from tsd.master.brain import Brain
from tsd.master.ended import Ends
from tsd.master.requests import RequestCounter, RequestFigures
from tsd.mesh.counts import counts_of
from tsd.observe import metric_names as names
from tsd.observe.looplag import LoopLag
from tsd.observe.metrics import Metric, Sheet, label_value
from tsd.store.store import Store
from tsd.store.writer import WriterStatistics

_CONTROLLER_GAUGES: Final = (
    (names.CONTROLLER_WORKERS_ACTIVE, "workers_active"),
    (names.CONTROLLER_WORKERS_AVAILABLE, "workers_available"),
    (names.CONTROLLER_WORKERS_JOINED, "workers_joined"),
    (names.CONTROLLER_WORKERS_RECONNECTED, "workers_reconnected"),
    (names.CONTROLLER_WORKERS_DISCONNECTED, "workers_disconnected"),
    (names.CONTROLLER_SLICES_PROCESSED, "processed"),
    (names.CONTROLLER_SLICES_FAILED, "failed"),
    (names.CONTROLLER_SLICES_QUEUED, "queued"),
    (names.CONTROLLER_SLICERS, "slicers"),
)
_CLUSTER_GAUGES: Final = (
    (names.SLICES_PROCESSED, "processed"),
    (names.SLICES_FAILED, "failed"),
    (names.SLICES_QUEUED, "queued"),
    (names.WORKERS_JOINED, "workers_joined"),
    (names.WORKERS_DISCONNECTED, "workers_disconnected"),
    (names.WORKERS_RECONNECTED, "workers_reconnected"),
)
_RESOURCES: Final = (
    (names.EXECUTION_CPU_REQUEST, "resources_requests_cpu", "cpu"),
    (names.EXECUTION_CPU_LIMIT, "resources_limits_cpu", "cpu"),
    (names.EXECUTION_MEMORY_REQUEST, "resources_requests_memory", "memory"),
    (names.EXECUTION_MEMORY_LIMIT, "resources_limits_memory", "memory"),
)
"""Gauge, the key that says it, and the older key that says both request and limit."""


@attrs.frozen(kw_only=True)
class Reading:
    """Everything that is measured, at one moment.

    Attributes:
        now: Unix seconds.
        mesh: Of the master's own links.
        ended: Executions that ended, by their last status.
        ended_jobs: The same by the name of the job too, and when the last one did.
        changed_at: When a status was stored last, by execution; without those of an earlier master.
    """

    now: float
    cluster: ClusterFigures
    store: WriterStatistics
    is_store_up: bool
    mesh: MeshCounts
    ended: Mapping[Status, int]
    ended_jobs: Mapping[tuple[str, Status], Ends]
    changed_at: Mapping[str, float]
    events_waiting: int
    lag: Histogram
    requests: RequestFigures


class _Document(msgspec.Struct):
    """The parts of an execution's document that are measured; people write what they like into some."""

    created: str = msgspec.field(default="", name="_created")
    updated: str = msgspec.field(default="", name="_updated")
    teraslice_version: Any = ""
    kubernetes_image: Any = ""
    cpu: Any = None
    memory: Any = None
    resources_requests_cpu: Any = None
    resources_limits_cpu: Any = None
    resources_requests_memory: Any = None
    resources_limits_memory: Any = None


@attrs.frozen(kw_only=True)
class _Facts:
    """What does not change while an execution lives, ready to be shown.

    Attributes:
        labels: Execution, job and name of the job.
        resources: Values of the gauges of `_RESOURCES` that the job has.
    """

    labels: tuple[str, str, str]
    image: str
    version: str
    created_s: float
    updated_s: float
    resources: tuple[tuple[Metric, float], ...]


_decode = msgspec.json.Decoder(_Document).decode


class MasterMetrics:
    """What `/metrics` shows.

    Args:
        cluster_name: Value of the label `name`.
        url: Value of the label `url`.
        brain: The cluster.
        store: Where everything is written.
        requests: Counts those of the API.
        lag: Measures the loop.
    """

    def __init__(
        self,
        *,
        cluster_name: str,
        url: str,
        brain: Brain,
        store: Store,
        requests: RequestCounter,
        lag: LoopLag,
    ) -> None:
        self._cluster_name = cluster_name
        self._url = url
        self._brain = brain
        self._store = store
        self._requests = requests
        self._lag = lag
        # One scrape at a time: the others wait and cost nothing meanwhile.
        self._turn = trio.Lock()
        self._facts: dict[str, _Facts] = {}

    async def scrape(self) -> bytes:
        """The text of all metrics."""
        async with self._turn:
            return await trio.to_thread.run_sync(self.render, self.read())

    def read(self) -> Reading:
        """Read everything, in the loop."""
        return Reading(
            now=self._brain.now(),
            cluster=self._brain.machine.figures(),
            store=self._store.statistics(),
            is_store_up=self._store.health.is_ok,
            mesh=counts_of(self._brain.listener),
            ended=dict(self._brain.ended),
            ended_jobs=self._brain.ended_jobs.figures(),
            changed_at=dict(self._brain.changed_at),
            events_waiting=self._brain.waiting_count,
            lag=self._lag.histogram(),
            requests=self._requests.figures(),
        )

    def render(self, reading: Reading) -> bytes:
        """Write a reading down; one at a time, in any thread."""
        sheet = Sheet(cluster_name=self._cluster_name, url=self._url)
        sheet.declare(names.METRICS)
        _put_identity(sheet)
        self._put_executions(sheet, reading)
        _put_cluster(sheet, reading)
        _put_store(sheet, reading)
        _put_mesh(sheet, reading)
        _put_master(sheet, reading)
        return sheet.render()

    def _put_executions(self, sheet: Sheet, reading: Reading) -> None:
        executions = reading.cluster.executions
        # What has ended is left out, so this does not grow.
        self._facts = {each.ex_id: self._facts.get(each.ex_id) or _facts_of(each) for each in executions}
        waits_since = reading.now
        for each in executions:
            facts = self._facts[each.ex_id]
            _put_execution(sheet, each, facts, reading.changed_at.get(each.ex_id, facts.updated_s))
            if each.status is Status.PENDING:
                waits_since = min(waits_since, facts.created_s)
        sheet.put(names.PENDING_AGE, reading.now - waits_since)


def _put_identity(sheet: Sheet) -> None:
    info = identity.info("")
    sheet.put(names.MASTER_INFO, 1, *(label_value(info[label]) for label in names.MASTER_INFO.labels))
    python = str(info["node_version"]).removeprefix("v")
    sheet.put(names.BUILD_INFO, 1, label_value(info["tsd_version"]), label_value(python))


def _put_execution(sheet: Sheet, each: ExecutionFigures, facts: _Facts, updated_s: float) -> None:
    labels = facts.labels
    sheet.put(names.EXECUTION_INFO, 1, labels[0], labels[1], facts.image, facts.version)
    for status in Status:
        sheet.put(names.EXECUTION_STATUS, int(status is each.status), *labels, status)
    sheet.put(names.EXECUTION_CREATED, facts.created_s, *labels)
    sheet.put(names.EXECUTION_UPDATED, updated_s, *labels)
    sheet.put(names.EXECUTION_SLICERS, each.slicers, *labels)
    sheet.put(names.EXECUTION_WORKERS, each.workers, *labels)
    for metric, value in facts.resources:
        sheet.put(metric, value, *labels)
    if each.is_listed:
        for metric, counter in _CONTROLLER_GAUGES:
            sheet.put(metric, getattr(each.stats, counter), *labels)


def _put_cluster(sheet: Sheet, reading: Reading) -> None:
    cluster = reading.cluster
    for metric, counter in _CLUSTER_GAUGES:
        sheet.put(metric, getattr(cluster.stats, counter))
    work = cluster.counts.work
    sheet.put(names.COMPLETED, work.completed)
    sheet.put(names.FAILED, work.failed)
    sheet.put(names.READ, work.records)
    sheet.put(names.REFUSED, work.refused)
    sheet.put(names.BUSY, work.busy_us / 1e6)
    listed = [each.stats for each in cluster.executions if each.is_listed]
    sheet.put(names.QUEUED, sum(stats.queued for stats in listed))
    sheet.put(names.STALLED, sum(stats.stalled_workers for stats in listed))
    for status in Status:
        if status in TERMINAL_STATUSES:
            sheet.put(names.ENDED, reading.ended.get(status, 0), status)
        else:
            sheet.put(names.EXECUTIONS, sum(each.status is status for each in cluster.executions), status)
    for (name, status), ends in reading.ended_jobs.items():
        sheet.put(names.JOB_ENDED, ends.count, name, status)
        sheet.put(names.JOB_LAST_END, ends.last_s, name, status)
    room = cluster.capacity
    sheet.put(names.NODES, room.nodes_taking_work, "connected")
    sheet.put(names.NODES, room.nodes_draining, "draining")
    sheet.put(names.NODES, room.nodes_drained, "drained")
    sheet.put(names.NODES, room.nodes_away, "disconnected")
    sheet.put(names.SLOTS, cluster.capacity.slots)
    sheet.put(names.SLOTS_FREE, cluster.capacity.slots_free)


def _put_store(sheet: Sheet, reading: Reading) -> None:
    store = reading.store
    sheet.put(names.STORE_UP, int(reading.is_store_up))
    sheet.put(names.STORE_HELD, store.held)
    sheet.put(names.STORE_WAITING, store.waiting)
    sheet.put(names.RECORDS, store.records)
    sheet.put(names.LETTERS, store.letters)
    sheet.put(names.COMMIT_FAILURES, store.failures)
    sheet.put_histogram(names.COMMIT_SECONDS, store.commit_s)
    sheet.put_histogram(names.COMMIT_ROWS, store.rows)


def _put_mesh(sheet: Sheet, reading: Reading) -> None:
    counts = reading.cluster.counts
    by_role = {
        "master": reading.mesh,
        "node": counts.nodes,
        "controller": counts.controllers,
        "worker": counts.workers,
    }
    for role, mesh in by_role.items():
        sheet.put(names.MESH_MESSAGES, mesh.messages_in, role, "in")
        sheet.put(names.MESH_MESSAGES, mesh.messages_out, role, "out")
        sheet.put(names.MESH_BYTES, mesh.bytes_in, role, "in")
        sheet.put(names.MESH_BYTES, mesh.bytes_out, role, "out")
        sheet.put(names.MESH_BAD_FRAMES, mesh.bad_frames, role)
        sheet.put(names.MESH_UNREACHABLE, mesh.unreachable, role)
        sheet.put(names.MESH_FULL, mesh.full, role)
        sheet.put(names.MESH_DROPPED, mesh.dropped, role)
        if mesh is not reading.mesh:  # the master dials nobody
            sheet.put(names.MESH_RECONNECTS, mesh.reconnects, role)
        sheet.put(names.MESH_QUEUED, mesh.queued, role)


def _put_master(sheet: Sheet, reading: Reading) -> None:
    sheet.put(names.EVENTS_WAITING, reading.events_waiting)
    sheet.put_histogram(names.LOOP_LAG, reading.lag)
    requests = reading.requests
    sheet.put(names.HTTP_IN_FLIGHT, requests.in_flight)
    for (method, route, status), count in requests.answered.items():
        sheet.put(names.HTTP_REQUESTS, count, method, route, str(status))
    for (method, route), elapsed_s in requests.elapsed_s.items():
        sheet.put_histogram(names.HTTP_SECONDS, elapsed_s, method, route)


def _facts_of(each: ExecutionFigures) -> _Facts:
    document = _decode(each.document)
    values = [
        (metric, _number(getattr(document, key), getattr(document, older_key)))
        for metric, key, older_key in _RESOURCES
    ]
    return _Facts(
        labels=(each.ex_id, each.job_id, label_value(each.name)),
        image=label_value(document.kubernetes_image or ""),
        version=label_value(document.teraslice_version or ""),
        created_s=_unix_s(document.created),
        updated_s=_unix_s(document.updated),
        resources=tuple((metric, value) for metric, value in values if value is not None),
    )


def _number(*values: object) -> float | None:
    """The first of these that is a number."""
    numbers = (value for value in values if isinstance(value, int | float) and not isinstance(value, bool))
    return next(numbers, None)


def _unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0

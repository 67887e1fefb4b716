"""Every metric of `/metrics`; docs/metrics.md says what to do about each.

Those that begin with `teraslice_` have the names and labels of Teraslice's master, so its dashboards work.
"""

from typing import Final

from tsd.observe.metrics import Kind, Metric

_declared: list[Metric] = []


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return _declare(Metric(name, Kind.GAUGE, text, labels))


def _counter(name: str, text: str, *labels: str) -> Metric:
    return _declare(Metric(name, Kind.COUNTER, text, labels))


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return _declare(Metric(name, Kind.HISTOGRAM, text, labels))


def _declare(metric: Metric) -> Metric:
    _declared.append(metric)
    return metric


# --- Teraslice's --------------------------------------------------------------------------------

_EXECUTION: Final = ("ex_id", "job_id", "job_name")

MASTER_INFO = _gauge(
    "teraslice_master_info",
    "What this master is; always 1",
    "arch",
    "clustering_type",
    "node_version",
    "platform",
    "teraslice_version",
)
SLICES_PROCESSED = _gauge("teraslice_slices_processed", "Slices that ended, as in /cluster/stats")
SLICES_FAILED = _gauge("teraslice_slices_failed", "Slices that ended in error, as in /cluster/stats")
SLICES_QUEUED = _gauge("teraslice_slices_queued", "Slices that no worker held, as in /cluster/stats")
WORKERS_JOINED = _gauge("teraslice_workers_joined", "Workers that joined, as in /cluster/stats")
WORKERS_DISCONNECTED = _gauge("teraslice_workers_disconnected", "Workers that left, as in /cluster/stats")
WORKERS_RECONNECTED = _gauge("teraslice_workers_reconnected", "Workers that came back, as in /cluster/stats")

CONTROLLER_WORKERS_ACTIVE = _gauge(
    "teraslice_controller_workers_active", "Workers of an execution that hold a slice", *_EXECUTION
)
CONTROLLER_WORKERS_AVAILABLE = _gauge(
    "teraslice_controller_workers_available", "Workers of an execution that hold none", *_EXECUTION
)
CONTROLLER_WORKERS_JOINED = _gauge(
    "teraslice_controller_workers_joined", "Workers that joined the controller", *_EXECUTION
)
CONTROLLER_WORKERS_RECONNECTED = _gauge(
    "teraslice_controller_workers_reconnected", "Workers that came back to the controller", *_EXECUTION
)
CONTROLLER_WORKERS_DISCONNECTED = _gauge(
    "teraslice_controller_workers_disconnected", "Workers that left the controller", *_EXECUTION
)
CONTROLLER_SLICES_PROCESSED = _gauge(
    "teraslice_controller_slices_processed", "Slices of an execution that ended", *_EXECUTION
)
CONTROLLER_SLICES_FAILED = _gauge(
    "teraslice_controller_slices_failed", "Slices of an execution that ended in error", *_EXECUTION
)
CONTROLLER_SLICES_QUEUED = _gauge(
    "teraslice_controller_slices_queued", "Slices of an execution that no worker holds", *_EXECUTION
)
CONTROLLER_SLICERS = _gauge("teraslice_controller_slicers_count", "Slicers of the controller", *_EXECUTION)

EXECUTION_INFO = _gauge(
    "teraslice_execution_info", "What an execution is; always 1", "ex_id", "job_id", "image", "version"
)
EXECUTION_STATUS = _gauge(
    "teraslice_execution_status", "1 for the present status, 0 for the others", *_EXECUTION, "status"
)
EXECUTION_CREATED = _gauge(
    "teraslice_execution_created_timestamp_seconds", "When the execution was created", *_EXECUTION
)
EXECUTION_UPDATED = _gauge(
    "teraslice_execution_updated_timestamp_seconds", "When its status was stored last", *_EXECUTION
)
EXECUTION_SLICERS = _gauge("teraslice_execution_slicers", "Slicers of its job", *_EXECUTION)
EXECUTION_WORKERS = _gauge("teraslice_execution_workers", "Workers that it is to have", *_EXECUTION)
EXECUTION_CPU_REQUEST = _gauge(
    "teraslice_execution_cpu_request", "Processors that its job asks for", *_EXECUTION
)
EXECUTION_CPU_LIMIT = _gauge(
    "teraslice_execution_cpu_limit", "Processors that its job names as limit", *_EXECUTION
)
EXECUTION_MEMORY_REQUEST = _gauge(
    "teraslice_execution_memory_request", "Bytes of memory that its job asks for", *_EXECUTION
)
EXECUTION_MEMORY_LIMIT = _gauge(
    "teraslice_execution_memory_limit", "Bytes of memory that its job names as limit", *_EXECUTION
)

# --- slices and executions ----------------------------------------------------------------------

BUILD_INFO = _gauge("tsd_build_info", "Version of tsd and of Python; always 1", "version", "python_version")
COMPLETED = _counter("tsd_slices_completed_total", "Slices completed since the master started")
FAILED = _counter("tsd_slices_failed_total", "Slices that ended in error since the master started")
BUSY = _counter("tsd_slices_busy_seconds_total", "Time that workers spent on slices")
READ = _counter("tsd_records_read_total", "Records that readers gave to workers")
REFUSED = _counter("tsd_results_refused_total", "Late or double results, which were not counted")
QUEUED = _gauge("tsd_slices_queued", "Slices of all running executions that no worker holds")
STALLED = _gauge("tsd_workers_stalled", "Workers that are silent on a healthy link")
EXECUTIONS = _gauge("tsd_executions", "Executions that have not ended, by status", "status")
ENDED = _counter("tsd_executions_ended_total", "Executions that ended, by their last status", "status")
JOB_ENDED = _counter(
    "tsd_job_executions_ended_total",
    "Executions that ended, by their job and last status",
    "job_name",
    "status",
)
JOB_LAST_END = _gauge(
    "tsd_job_last_end_timestamp_seconds",
    "When an execution of the job last ended with this status, in Unix time",
    "job_name",
    "status",
)
PENDING_AGE = _gauge("tsd_pending_age_seconds", "Age of the oldest execution that waits for room")

# --- nodes --------------------------------------------------------------------------------------

NODES = _gauge("tsd_nodes", "Nodes by state; disconnected are those whose return is waited for", "state")
SLOTS = _gauge("tsd_slots", "Slots of connected nodes")
SLOTS_FREE = _gauge("tsd_slots_free", "Slots on which something may be placed now")

# --- store --------------------------------------------------------------------------------------

STORE_UP = _gauge("tsd_store_up", "1 while writes succeed, else 0")
STORE_HELD = _gauge("tsd_store_held_writes", "Writes that wait for the end of an outage")
STORE_WAITING = _gauge("tsd_store_waiting_writes", "Writes that wait for the next transaction")
RECORDS = _counter("tsd_records_committed_total", "Slice records that were committed")
LETTERS = _counter("tsd_dead_letters_committed_total", "Dead letters that were committed")
COMMIT_FAILURES = _counter("tsd_store_commit_failures_total", "Transactions that could not be committed")
COMMIT_SECONDS = _histogram("tsd_store_commit_seconds", "How long committed transactions took")
COMMIT_ROWS = _histogram("tsd_store_commit_rows", "Slice records in a transaction that had any")

# --- mesh ---------------------------------------------------------------------------------------

_ROLE: Final = "role"

MESH_MESSAGES = _counter("tsd_mesh_messages_total", "Messages of the processes of a role", _ROLE, "direction")
MESH_BYTES = _counter("tsd_mesh_bytes_total", "Bytes of those messages", _ROLE, "direction")
MESH_BAD_FRAMES = _counter(
    "tsd_mesh_bad_frames_total", "What came over the mesh and was no message of a known peer", _ROLE
)
MESH_UNREACHABLE = _counter("tsd_mesh_unreachable_total", "Sends to peers that were not connected", _ROLE)
MESH_FULL = _counter("tsd_mesh_full_total", "Sends refused because too much waited already", _ROLE)
MESH_DROPPED = _counter("tsd_mesh_dropped_total", "Messages dropped when their peer was gone", _ROLE)
MESH_RECONNECTS = _counter(
    "tsd_mesh_reconnects_total", "Times a process was welcomed again after it had lost its peer", _ROLE
)
MESH_QUEUED = _gauge("tsd_mesh_queued_messages", "Messages that wait for slow peers", _ROLE)

# --- the master ---------------------------------------------------------------------------------

EVENTS_WAITING = _gauge("tsd_master_events_waiting", "Events that wait for a decision of the master")
LOOP_LAG = _histogram("tsd_master_loop_lag_seconds", "How late the master's loop ran a task that was due")
HTTP_REQUESTS = _counter(
    "tsd_http_requests_total", "Requests that were answered", "method", "route", "status"
)
HTTP_SECONDS = _histogram(
    "tsd_http_request_seconds", "How long requests took to be answered", "method", "route"
)
HTTP_IN_FLIGHT = _gauge("tsd_http_requests_in_flight", "Requests that are being answered")

METRICS: Final = tuple(_declared)
"""All of ours, in the order in which they are shown."""

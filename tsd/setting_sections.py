# ruff: noqa: RUF009 - `setting` makes an attrs field, it is no default value
"""Every setting of a cluster file, declared once: name, type, unit, default and meaning.

A setting that Teraslice has too has its name and meaning here. docs/configuration.md and the files in
config/ are generated from these records by `python -m tsd.cli.reference`; `tsd.settings` reads files
into them.

In the records durations are seconds and end in `_s`; in the file they are `5 minutes`, `90s` or a
number of milliseconds, under the name without `_s`.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from tsd.setting_fields import (
    AT_ONCE,
    LOG_LEVELS,
    NEW_PROCESSES,
    WrongValue,
    optional,
    read_bool,
    read_choice,
    read_host,
    read_int,
    read_path,
    read_port,
    read_port_range,
    read_seconds,
    read_size,
    read_text,
    read_text_map,
    read_texts,
    setting,
    shown,
)

MAX_SLOTS = 100_000
"""More slots than any host has room for; a number beyond that is a mistake."""
MIN_WORKERS = 4
"""Fewest slots by default: the controller takes one, and a job of one worker should not fill a node."""


@attrs.frozen(kw_only=True)
class LogLevels:
    """Lowest level that is written, for each place that logs go to."""

    console: str
    file: str


@attrs.frozen(kw_only=True)
class NodeOverrides:
    """What one node of a shared file has of its own; None leaves the shared value."""

    workers: int | None = None
    hostname: str | None = None
    labels: Mapping[str, str] = attrs.field(factory=dict)


def read_log_level(value: object) -> LogLevels:
    """One level for all places, or a list such as `[{console: warn}, {file: debug}]`."""
    read_level = read_choice(*LOG_LEVELS)
    if not isinstance(value, list):
        level = read_level(value)
        return LogLevels(console=level, file=level)
    levels = {"console": "info", "file": "info"}
    for entry in value:
        if not isinstance(entry, Mapping) or not set(entry) <= set(levels):
            raise WrongValue(f"must be a level or a list of console and file levels, got {shown(entry)}")
        levels |= {place: read_level(level) for place, level in entry.items()}
    return LogLevels(**levels)


def read_logging(value: object) -> tuple[str, ...]:
    """The places that logs go to."""
    return tuple(read_choice("console", "file")(place) for place in read_texts(value))


def read_connectors(value: object) -> dict[str, dict[str, dict[str, Any]]]:
    """Connections by type and name, as jobs refer to them; what is in one belongs to its operations."""
    if not isinstance(value, Mapping):
        raise WrongValue(f"must be a mapping of types to connections, got {shown(value)}")
    for kind, connections in value.items():
        if not isinstance(connections, Mapping) or not all(
            isinstance(entry, Mapping) for entry in connections.values()
        ):
            raise WrongValue(f"{kind} must be a mapping of connection names to settings")
    return {
        str(kind): {str(name): dict(entry) for name, entry in connections.items()}
        for kind, connections in value.items()
    }


def read_nodes(value: object) -> dict[str, NodeOverrides]:
    """Overrides by node id."""
    readers: dict[str, Callable[[object], Any]] = {
        "workers": read_int(0, MAX_SLOTS),
        "hostname": read_host,
        "labels": read_text_map,
    }
    if not isinstance(value, Mapping):
        raise WrongValue(f"must be a mapping of node ids to their settings, got {shown(value)}")
    nodes = {}
    for node_id, entry in value.items():
        if not isinstance(entry, Mapping) or not set(entry) <= set(readers):
            raise WrongValue(f"{node_id} can have {', '.join(readers)} only, got {shown(entry)}")
        own = {}
        for key, item in entry.items():
            try:
                own[key] = readers[key](item)
            except ValueError as error:
                raise WrongValue(f"{node_id}.{key} {error}") from error
        nodes[str(node_id)] = NodeOverrides(**own)
    return nodes


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where state lives unless told: systemd's state folder, else the user's data folder."""
    if state := environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0])
    if data_home := environ.get("XDG_DATA_HOME"):
        return Path(data_home) / "tsd"
    try:
        return Path("~/.local/share/tsd").expanduser()
    except RuntimeError as error:
        raise WrongValue("must be set: HOME is not set and this user has no home folder") from error


def _default_data_dir_or_here() -> Path:
    try:
        return default_data_dir(os.environ)
    except WrongValue:
        return Path("tsd-data")


def default_workers() -> int:
    """The number of processors this process may use, but at least `MIN_WORKERS`."""
    return max(MIN_WORKERS, len(os.sched_getaffinity(0)))


@attrs.frozen(kw_only=True)
class TerafoundationSettings:
    """Logs and connections."""

    connectors: Mapping[str, Mapping[str, Mapping[str, Any]]] = setting(
        "connectors",
        read_connectors,
        {},
        kind="mapping",
        doc="Connections that operations name in `_connection`: type, then name, then what the"
        " operation's client needs. Values whose names look like secrets, and passwords in URLs, are never"
        " shown.",
    )
    log_level: LogLevels = setting(
        "log_level",
        read_log_level,
        "info",
        kind="one of trace, debug, info, warn, error, fatal, or a list as [{console: warn}, {file: debug}]",
        doc="Lowest level that is logged. A job's own `log_level` wins for its processes.",
        reload=AT_ONCE,
    )
    log_path: Path | None = setting(
        "log_path",
        optional(read_path),
        None,
        kind="path",
        doc="Existing folder for log files when `logging` has `file`.",
        default_text="the data folder",
    )
    logging: tuple[str, ...] = setting(
        "logging",
        read_logging,
        ["console"],
        kind="list of console, file",
        doc="Where logs go. `console` is stderr: JSON under systemd, coloured lines on a terminal."
        " `file` is `tsd.log` in `log_path`, JSON lines, shared by all processes of the host.",
    )
    prom_metrics_display_url: str = setting(
        "prom_metrics_display_url",
        lambda value: value if isinstance(value, str) else read_text(value),
        "",
        kind="text",
        doc="Value of the label `url` on every metric. Metrics are always at `/metrics` on the API port.",
    )


@attrs.frozen(kw_only=True)
class TerasliceSettings:
    """The cluster, as Teraslice names it."""

    name: str = setting(
        "name", read_text, "teracluster", kind="text", doc="Name of the cluster, shown at `/`."
    )
    port: int = setting(
        "port",
        read_port,
        5678,
        kind="port",
        doc="Port of the REST API. 0 takes any free one, which is then written to `api.json` in the data"
        " folder.",
    )
    hostname: str | None = setting(
        "hostname",
        optional(read_host),
        None,
        kind="text",
        doc="Address at which workers on other hosts reach the controllers of this node.",
        default_text="`mesh_listen` when that is one address, else the address this host"
        " uses towards `master_hostname`",
    )
    master_hostname: str = setting(
        "master_hostname",
        read_host,
        "localhost",
        kind="text",
        doc="Host on which the master runs; nodes and controllers dial it at `mesh_port`.",
    )
    workers: int = setting(
        "workers",
        lambda value: default_workers() if value is None else read_int(0, MAX_SLOTS)(value),
        None,
        kind="whole number",
        unit="slots",
        doc="Slots of a node. Each worker takes one, and so does each controller.",
        default_text=f"the number of processors, at least {MIN_WORKERS}",
        reload=AT_ONCE,
    )
    shutdown_timeout_s: float = setting(
        "shutdown_timeout",
        read_seconds(),
        "1 minute",
        kind="duration",
        unit="ms",
        doc="Longest time that running slices have to end on stop and shutdown, before they are cut short.",
        reload=AT_ONCE,
    )
    action_timeout_s: float = setting(
        "action_timeout",
        read_seconds(),
        "30 seconds",
        kind="duration",
        unit="ms",
        doc="Longest wait for the answer to a request inside the cluster.",
        reload=AT_ONCE,
    )
    network_latency_buffer_s: float = setting(
        "network_latency_buffer",
        read_seconds(0),
        "15 seconds",
        kind="duration",
        unit="ms",
        doc="Added once to `action_timeout` where a request crosses the network.",
        reload=AT_ONCE,
    )
    node_disconnect_timeout_s: float = setting(
        "node_disconnect_timeout",
        read_seconds(),
        "30 seconds",
        kind="duration",
        unit="ms",
        doc="How long the link of a node may be down before what it ran is placed on other nodes.",
        reload=AT_ONCE,
    )
    worker_disconnect_timeout_s: float = setting(
        "worker_disconnect_timeout",
        read_seconds(),
        "30 seconds",
        kind="duration",
        unit="ms",
        doc="How long the link of a worker may be down before its slices are given to others; also how"
        " long an execution may have no worker at all, once it had one, before it fails.",
        reload=NEW_PROCESSES,
    )
    slicer_timeout_s: float = setting(
        "slicer_timeout",
        read_seconds(),
        "3 minutes",
        kind="duration",
        unit="ms",
        doc="How long a controller waits for its first worker, and a worker for its controller.",
        reload=NEW_PROCESSES,
    )
    node_state_interval_s: float = setting(
        "node_state_interval",
        read_seconds(),
        "5 seconds",
        kind="duration",
        unit="ms",
        doc="Accepted for files written for Teraslice; nodes report at every heartbeat and on every change.",
        reload=AT_ONCE,
    )
    analytics_rate_s: float = setting(
        "analytics_rate",
        read_seconds(),
        "1 minute",
        kind="duration",
        unit="ms",
        doc="Accepted for files written for Teraslice; statistics travel with every heartbeat.",
        reload=AT_ONCE,
    )
    slicer_allocation_attempts: int = setting(
        "slicer_allocation_attempts",
        read_int(1),
        3,
        kind="whole number",
        doc="How often the first start of a controller is tried before the execution fails.",
        reload=AT_ONCE,
    )
    slicer_port_range: tuple[int, int] = setting(
        "slicer_port_range",
        read_port_range,
        "45679:46678",
        kind="two ports",
        doc="Ports of the controllers on each node, both ends included.",
        reload=NEW_PROCESSES,
    )
    api_response_timeout_s: float = setting(
        "api_response_timeout",
        read_seconds(),
        "5 minutes",
        kind="duration",
        unit="ms",
        doc="Longest time one API request may take.",
    )
    assets_directory: Path = setting(
        "assets_directory",
        lambda value: Path("assets") if value is None else read_path(value),
        None,
        kind="path",
        doc="Where bundles are unpacked on each host.",
        default_text="`assets` in the data folder",
    )
    autoload_directory: Path = setting(
        "autoload_directory",
        lambda value: Path("autoload") if value is None else read_path(value),
        None,
        kind="path",
        doc="Bundles in this folder are uploaded when the master starts.",
        default_text="`autoload` in the data folder",
    )
    cluster_manager_type: str = setting(
        "cluster_manager_type",
        read_choice("native"),
        "native",
        kind="native",
        doc="How processes are run: by tsd's own nodes.",
    )
    env_vars: Mapping[str, str] = setting(
        "env_vars",
        read_text_map,
        {},
        kind="mapping of texts",
        doc="Environment variables of all controllers and workers; those of a job win.",
        reload=AT_ONCE,
    )


@attrs.frozen(kw_only=True)
class TsdSettings:
    """What only tsd has."""

    data_dir: Path = setting(
        "data_dir",
        # Without a home folder the default is unknown; `load_settings` names that as a fault.
        lambda value: _default_data_dir_or_here() if value is None else read_path(value),
        None,
        kind="path",
        doc="The data folder: store, bundles, sockets. Back this up.",
        default_text="`$STATE_DIRECTORY` (systemd sets it), else `$XDG_DATA_HOME/tsd`,"
        " else `~/.local/share/tsd`",
    )
    listen: str = setting(
        "listen",
        read_host,
        "127.0.0.1",
        kind="address",
        doc="Address the REST API is bound to. Whoever reaches it can run code, so an address that other"
        " hosts can reach needs `allow_anonymous`.",
    )
    allow_anonymous: bool = setting(
        "allow_anonymous",
        read_bool,
        False,
        kind="true or false",
        doc="Serve the API on a non-loopback address without asking who calls.",
    )
    mesh_listen: str = setting(
        "mesh_listen",
        read_host,
        "127.0.0.1",
        kind="address",
        doc="Address that the master and the controllers bind for the links of the cluster. One that other"
        " hosts can reach needs `allow_plaintext`.",
    )
    allow_plaintext: bool = setting(
        "allow_plaintext",
        read_bool,
        False,
        kind="true or false",
        doc="Let the links of the cluster cross the network unencrypted and without keys.",
    )
    mesh_port: int = setting(
        "mesh_port",
        read_port,
        5679,
        kind="port",
        doc="Port of the master for nodes and controllers. 0 takes any free one; it is in `api.json` too.",
    )
    controller_lease_s: float = setting(
        "controller_lease",
        read_seconds(1),
        "15 seconds",
        kind="duration",
        unit="ms",
        doc="A controller that has not heard from the master for so long hands out no slices until it has;"
        " only then may the master start another in its place.",
    )
    heartbeat_interval_s: float = setting(
        "heartbeat_interval",
        read_seconds(0.01),
        "1 second",
        kind="duration",
        unit="ms",
        doc="Time between two beats on every link. A link without an answer for three of them, and at least"
        " one second, is down.",
    )
    max_body_size: int = setting(
        "max_body_size",
        read_size,
        "10 MiB",
        kind="size",
        unit="bytes",
        doc="Largest request body the API reads; bundles have a limit of their own.",
    )
    max_requests: int = setting(
        "max_requests",
        read_int(1),
        1000,
        kind="whole number",
        unit="requests",
        doc="Requests the API works on at the same time, those that wait for a stop included; more are"
        " answered by 503.",
    )
    max_connections: int = setting(
        "max_connections",
        read_int(1),
        2000,
        kind="whole number",
        unit="connections",
        doc="Connections of clients to the API at the same time; more are answered by 503.",
    )
    max_asset_size: int = setting(
        "max_asset_size",
        read_size,
        "256 MiB",
        kind="size",
        unit="bytes",
        doc="Largest bundle that can be uploaded. Unpacked it may have four times as much.",
    )
    keep_unused_assets_s: float = setting(
        "keep_unused_assets",
        read_seconds(),
        "1 day",
        kind="duration",
        unit="ms",
        doc="How long an unpacked bundle stays on a host where no process uses it. What is needed is fetched"
        " again.",
    )
    operation_modules: tuple[str, ...] = setting(
        "operation_modules",
        read_texts,
        [],
        kind="list of texts",
        doc="Python modules on every host whose operations jobs may use by name, besides those in assets.",
    )
    job_check_timeout_s: float = setting(
        "job_check_timeout",
        read_seconds(1),
        "30 seconds",
        kind="duration",
        unit="ms",
        doc="How long the code of operations may take to be imported and to check a job, or a bundle that is"
        " uploaded. Then it is killed, and the answer says where it was.",
    )
    max_buffered_records: int = setting(
        "max_buffered_records",
        read_int(100),
        50_000,
        kind="whole number",
        unit="records",
        doc="When so many slice records of an execution wait for the master, no more slices are handed out.",
        reload=NEW_PROCESSES,
    )
    dead_letters_max: int = setting(
        "dead_letters_max",
        read_int(1),
        100_000,
        kind="whole number",
        unit="letters",
        doc="Dead letters that are kept of an execution. When there are more the oldest go, which is logged"
        " once.",
    )
    commit_interval_s: float = setting(
        "commit_interval",
        read_seconds(0),
        "10 ms",
        kind="duration",
        unit="ms",
        doc="How long a controller gathers slice records before it sends them to be stored in one"
        " transaction; five times as long when the last one had few and nothing waits for them.",
        reload=NEW_PROCESSES,
    )
    controller_restarts: int = setting(
        "controller_restarts",
        read_int(0),
        5,
        kind="whole number",
        doc="How often a lost controller is replaced before the execution fails, and how often workers in a"
        " row may end before they are ready when no other one is.",
        reload=AT_ONCE,
    )
    node_id: str | None = setting(
        "node_id",
        optional(read_text),
        None,
        kind="text",
        doc="Name of this node, unique in the cluster.",
        default_text="the host name",
    )
    labels: Mapping[str, str] = setting(
        "labels",
        read_text_map,
        {},
        kind="mapping of texts",
        doc="Labels of this node, shown in its state.",
        reload=AT_ONCE,
    )
    nodes: Mapping[str, NodeOverrides] = setting(
        "nodes",
        read_nodes,
        {},
        kind="mapping of node ids to workers, hostname, labels",
        doc="What single nodes have of their own, so that all hosts can share one file.",
        reload=AT_ONCE,
    )

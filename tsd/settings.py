"""One YAML file for all daemons of a cluster, read into frozen records with every fault named.

What the settings are stands in `tsd.setting_sections`. A file is found by `--config`, else by
`$TSD_CONFIG`, else it is /etc/tsd/tsd.yaml when that exists; without any the embedded defaults hold.
"""

import difflib
import errno
import hashlib
import json
import os
import pwd
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import yaml
from typing_extensions import override

from tsd.addresses import ANY_HOST, own_host_name
from tsd.errors import ConfigError
from tsd.setting_fields import is_loopback, setting_of, shown
from tsd.setting_sections import (
    NodeOverrides,
    TerafoundationSettings,
    TerasliceSettings,
    TsdSettings,
    default_data_dir,
)

SYSTEM_FILE = Path("/etc/tsd/tsd.yaml")
"""Where packages and unit files put the cluster file."""
FILE_VARIABLE = "TSD_CONFIG"

SECTIONS = {
    "terafoundation": TerafoundationSettings,
    "teraslice": TerasliceSettings,
    "tsd": TsdSettings,
}

_NO_NEED = "is ignored: tsd keeps its own state and needs no such thing"
_NO_KUBERNETES = "is ignored: tsd runs processes by its own nodes"
_OF_OLD = "is ignored: only older versions of Teraslice have it"
IGNORED_SETTINGS = {
    "teraslice.master": "is ignored: the command (tsd master, tsd node, tsd up) says what runs here",
    "terafoundation.workers": "is ignored: teraslice.workers is the number of slots",
    "terafoundation.prom_metrics_enabled": "is ignored: metrics are always at /metrics on the API port",
    "terafoundation.prom_metrics_port": "is ignored: metrics are at /metrics on the API port",
    "terafoundation.prom_metrics_add_default": "is ignored: process metrics are always there",
    **dict.fromkeys(
        (
            "terafoundation.environment",
            "terafoundation.log_buffer_interval",
            "terafoundation.log_buffer_limit",
            "terafoundation.log_connection",
            "terafoundation.log_index_rollover_frequency",
            "terafoundation.asset_storage_bucket",
            "terafoundation.asset_storage_connection",
            "terafoundation.asset_storage_connection_type",
            "teraslice.reporter",
        ),
        _OF_OLD,
    ),
    **dict.fromkeys(
        (
            "teraslice.state",
            "teraslice.index_rollover_frequency",
            "teraslice.index_settings",
            "teraslice.asset_storage_connection",
            "teraslice.asset_storage_connection_type",
            "teraslice.asset_storage_bucket",
        ),
        _NO_NEED,
    ),
    **dict.fromkeys(
        (
            "teraslice.assets_volume",
            "teraslice.cpu",
            "teraslice.cpu_execution_controller",
            "teraslice.ephemeral_storage",
            "teraslice.execution_controller_targets",
            "teraslice.memory",
            "teraslice.memory_execution_controller",
        ),
        _NO_KUBERNETES,
    ),
}
"""Settings of Teraslice that are accepted so that its files load, and why they do nothing."""

_PATHS_IN_DATA_DIR = ("assets_directory", "autoload_directory")

Faults = list[tuple[str, str]]
Section = TypeVar("Section", TerafoundationSettings, TerasliceSettings, TsdSettings)


@attrs.frozen(kw_only=True)
class Settings:
    """All settings of one daemon, checked; made by `load_settings`.

    Attributes:
        path: The file they came from, None for the embedded defaults.
        warnings: What is accepted and worth a word, one sentence each; the daemon logs them.
        digest: Stands for what the file says, whatever the host and the command line: daemons that read the
            same file have the same one.
    """

    terafoundation: TerafoundationSettings = attrs.field(factory=TerafoundationSettings)
    teraslice: TerasliceSettings = attrs.field(factory=TerasliceSettings)
    tsd: TsdSettings = attrs.field(factory=TsdSettings)
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    digest: str = ""

    @property
    def node_id(self) -> str:
        """The id of the node on this host: the one set, else its name among `nodes`, else the host name."""
        return self.tsd.node_id or _own_name(own_host_name(), self.tsd.nodes)

    def for_node(self, node_id: str, *, workers: int | None = None) -> "Settings":
        """These settings as the node `node_id` has them: its entry of `nodes` laid over the shared ones.

        `workers`, where given, wins over both.
        """
        own = self.tsd.nodes.get(node_id, NodeOverrides())
        slots = (workers, own.workers, self.teraslice.workers)
        teraslice = attrs.evolve(
            self.teraslice,
            workers=next(count for count in slots if count is not None),
            hostname=own.hostname or self.teraslice.hostname,
        )
        labels = {**self.tsd.labels, **own.labels}
        return attrs.evolve(
            self, teraslice=teraslice, tsd=attrs.evolve(self.tsd, node_id=node_id, labels=labels)
        )


def _own_name(hostname: str, listed: Iterable[str]) -> str:
    """How the file calls this host: by its name, or by one that is as long or as short without a domain."""
    names = set(listed)
    if hostname in names:
        return hostname
    short = hostname.partition(".")[0]
    alike = [name for name in names if name.partition(".")[0] == short and "." in name + hostname]
    # `db.east` and `db.west` are two hosts: only one of two such names may be a full one.
    fitting = [name for name in alike if short in {name, hostname}]
    return fitting[0] if len(fitting) == 1 else hostname


def note_on_node(settings: Settings) -> str:
    """A word on a node that the file does not list though it lists others; empty when all is well."""
    node_id, listed = settings.node_id, settings.tsd.nodes
    if not listed or node_id in listed:
        return ""
    return (
        f"tsd.nodes does not list {node_id}, which has the shared settings then"
        f" (it lists {', '.join(sorted(listed))}); --node-id says who a host is"
    )


def note_on_master(settings: Settings) -> str:
    """A word on a master that does not run where the nodes look for it; empty when all is well.

    Asks the resolver, and the kernel whether an address is its own.
    """
    name = settings.teraslice.master_hostname
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"teraslice.master_hostname {name} can not be resolved here: {error.strerror or error}"
    if any(_is_own(family, address) for family, _, _, _, address in found):
        return ""
    return (
        f"teraslice.master_hostname is {name}, which is no address of this host: nodes that read this file"
        " look for their master there, and two masters are two clusters"
    )


def _is_own(family: int, address: Any) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def advertised_host(settings: Settings) -> str:
    """The address at which other processes of the cluster reach what this node binds.

    The set `hostname` if there is one; a `mesh_listen` that is one address; else the address this host uses
    towards the master (asks the routing table, sends nothing).

    Raises:
        OSError: `master_hostname` can not be resolved or has no route.
    """
    if settings.teraslice.hostname:
        return settings.teraslice.hostname
    bound = settings.tsd.mesh_listen
    if bound not in ANY_HOST:
        return bound
    master = (settings.teraslice.master_hostname, settings.tsd.mesh_port or 9)
    # Only `::` takes IPv6; a name with addresses of both kinds is reached by IPv4, as by the dialer.
    family = socket.AF_UNSPEC if bound == "::" else socket.AF_INET
    found = socket.getaddrinfo(*master, family=family, type=socket.SOCK_DGRAM)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def find_file(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The cluster file to read: the given one, `$TSD_CONFIG`, /etc/tsd/tsd.yaml; None for the defaults."""
    if given is not None:
        return given
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    return SYSTEM_FILE if SYSTEM_FILE.exists() else None


def load_settings(
    path: Path | str | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check the settings of this cluster.

    Args:
        path: The cluster file; None looks for it (`find_file`).
        overrides: Raw values by dotted name, such as `{"teraslice.port": 0}`; they win over the file and
            are checked like it. None values are left out.
        environ: Environment to look in; the process's own by default.

    Raises:
        ConfigError: All faults at once, each with its path.
    """
    environ = os.environ if environ is None else environ
    found = find_file(Path(path) if path is not None else None, environ)
    faults: Faults = []
    try:
        document = _read_document(found, faults) if found is not None else {}
        digest = _digest(document)
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{found}", [("", "is nested too deeply, or holds itself by an alias")]) from error
    for name, value in (overrides or {}).items():
        if value is not None:
            section, _, key = name.partition(".")
            document.setdefault(section, {})[key] = value
    settings = _structure(document, found, environ, faults)
    if faults:
        title = f"{found}: the cluster file is wrong" if found else "the settings are wrong"
        raise ConfigError(title, faults)
    return attrs.evolve(settings, digest=digest)


def _digest(document: Mapping[str, Mapping[str, object]]) -> str:
    """Twelve hex digits that stand for what a file says, comments and order left aside."""
    filled = {name: section for name, section in document.items() if section}
    text = json.dumps(_with_text_keys(filled), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _with_text_keys(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `1:20` as text, not as base 60."""

    @override
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        # The library lets through what Python says of a day such as 2026-02-30, or of too many digits.
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":int")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$|0x[0-9a-fA-F_]+$"), list("-+0123456789")
)


def _read_document(path: Path, faults: Faults) -> dict[str, dict[str, object]]:
    """The sections of a file as raw values; what is no section becomes a fault."""
    try:
        document = _load_yaml(path.read_text(encoding="utf-8"), faults)
    except PermissionError as error:
        who = f"the user {_user()} must be able to read it"
        raise ConfigError(f"{path}", [("", f"{error.strerror}: {who}")]) from error
    except OSError as error:
        raise ConfigError(f"{path}", [("", error.strerror or str(error))]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}", [("", f"is not UTF-8 text: {error.reason}")]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}: not valid YAML", [(where, error.problem or "")]) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML", [("", str(error))]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}", [("", f"must be a mapping of {', '.join(SECTIONS)}")])
    sections: dict[str, dict[str, object]] = {}
    for name, section in document.items():
        if name not in SECTIONS:
            faults.append((str(name), f"is no section{_did_you_mean(str(name), SECTIONS)}"))
        elif section is not None and not isinstance(section, dict):
            faults.append((name, f"must be a mapping of settings, got {shown(section)}"))
        else:
            sections[name] = dict(section or {})
    return sections


def _user() -> str:
    """Who this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _load_yaml(text: str, faults: Faults) -> Any:
    """The one document of a YAML text; a key given twice is a fault, because one of them would be lost."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _find_doubles(root, faults)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _find_doubles(root: yaml.Node, faults: Faults) -> None:
    waiting = [("", root)]
    walked: set[int] = set()
    while waiting:
        path, node = waiting.pop(0)
        if not isinstance(node, yaml.MappingNode) or id(node) in walked:
            continue
        walked.add(id(node))  # an alias may lead back here
        seen: set[str] = set()
        for key, value in node.value:
            name = f"{path}.{key.value}" if path else str(key.value)
            if name in seen:
                faults.append((name, f"is given twice, again in line {key.start_mark.line + 1}"))
            seen.add(name)
            waiting.append((name, value))


def _structure(
    document: Mapping[str, Mapping[str, object]],
    path: Path | None,
    environ: Mapping[str, str],
    faults: Faults,
) -> Settings:
    """Typed settings; a faulty one has its default and stands in `faults`."""
    warnings: list[str] = []
    settings = Settings(
        terafoundation=_section("terafoundation", TerafoundationSettings, document, faults, warnings),
        teraslice=_section("teraslice", TerasliceSettings, document, faults, warnings),
        tsd=_section("tsd", TsdSettings, document, faults, warnings),
        path=path,
    )
    settings = _resolve_paths(settings, document, path, environ, faults)
    settings = _follow_mesh(settings, document)
    _check_together(settings, faults, warnings)
    return attrs.evolve(settings, warnings=tuple(warnings))


def _section(
    name: str,
    record: type[Section],
    document: Mapping[str, Mapping[str, object]],
    faults: Faults,
    warnings: list[str],
) -> Section:
    fields = {setting_of(field).key: field for field in attrs.fields(record)}
    values: dict[str, Any] = {}
    for key, raw in document.get(name, {}).items():
        path = f"{name}.{key}"
        if key in fields:
            try:
                values[fields[key].name] = setting_of(fields[key]).read(raw)
            except ValueError as error:
                faults.append((path, str(error)))
        elif reason := _why_ignored(path):
            warnings.append(f"{path} {reason}")
        else:
            faults.append((path, f"is no setting{_did_you_mean(str(key), fields)}"))
    return record(**values)


def _why_ignored(path: str) -> str | None:
    if path.startswith("teraslice.kubernetes_"):
        return _NO_KUBERNETES
    return IGNORED_SETTINGS.get(path)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _resolve_paths(
    settings: Settings,
    document: Mapping[str, Mapping[str, object]],
    path: Path | None,
    environ: Mapping[str, str],
    faults: Faults,
) -> Settings:
    """Make every path absolute: given ones from the file's folder, default ones in the data folder."""
    base = path.absolute().parent if path is not None else Path.cwd()
    given = document.get("teraslice", {})
    data_dir = settings.tsd.data_dir
    if document.get("tsd", {}).get("data_dir") is None:
        try:
            data_dir = default_data_dir(environ)
        except ValueError as error:
            faults.append(("tsd.data_dir", str(error)))
    data_dir = base / data_dir
    in_data_dir = {
        name: (base if given.get(name) is not None else data_dir) / getattr(settings.teraslice, name)
        for name in _PATHS_IN_DATA_DIR
    }
    log_path = settings.terafoundation.log_path
    return attrs.evolve(
        settings,
        terafoundation=attrs.evolve(
            settings.terafoundation, log_path=base / log_path if log_path is not None else data_dir
        ),
        teraslice=attrs.evolve(settings.teraslice, **in_data_dir),
        tsd=attrs.evolve(settings.tsd, data_dir=data_dir),
    )


def _follow_mesh(settings: Settings, document: Mapping[str, Mapping[str, object]]) -> Settings:
    """On a mesh of one host the master is where the mesh is bound, unless the file says otherwise."""
    host = settings.tsd.mesh_listen
    is_given = document.get("teraslice", {}).get("master_hostname") is not None
    if is_given or document.get("tsd", {}).get("mesh_listen") is None or not is_loopback(host):
        return settings
    return attrs.evolve(settings, teraslice=attrs.evolve(settings.teraslice, master_hostname=host))


def _check_together(settings: Settings, faults: Faults, warnings: list[str]) -> None:
    """Checks that need more than one setting; those with a fault of their own are left alone."""
    faulty = {path for path, _ in faults}
    teraslice, tsd = settings.teraslice, settings.tsd

    ports = {"teraslice.port": teraslice.port, "tsd.mesh_port": tsd.mesh_port}
    first, last = teraslice.slicer_port_range
    for path, port in ports.items():
        if first <= port <= last and not faulty & {path, "teraslice.slicer_port_range"}:
            faults.append((path, f"{port} is inside slicer_port_range {first}:{last}"))
    if teraslice.port == tsd.mesh_port != 0 and not faulty & set(ports):
        faults.append(("tsd.mesh_port", f"{tsd.mesh_port} is teraslice.port already"))

    for key, address, permission, danger in (
        ("listen", tsd.listen, "allow_anonymous", "whoever reaches the API can run code here"),
        ("mesh_listen", tsd.mesh_listen, "allow_plaintext", "cluster links are readable and open"),
    ):
        if is_loopback(address) or faulty & {f"tsd.{key}", f"tsd.{permission}"}:
            continue
        if getattr(tsd, permission):
            warnings.append(f"tsd.{key} is {address}: {danger} ({permission} is set)")
        else:
            wanted = f"set tsd.{permission}: true if that is meant"
            faults.append((f"tsd.{key}", f"{address} is reachable from other hosts and {danger}; {wanted}"))

    log_path = settings.terafoundation.log_path
    if (
        "file" in settings.terafoundation.logging
        and "terafoundation.log_path" not in faulty
        and log_path not in {None, tsd.data_dir}
        and not os.path.isdir(str(log_path))  # noqa: PTH112 - that of Path raises for a folder that is closed to us
    ):
        faults.append(("terafoundation.log_path", f"{log_path} is no folder"))

"""Checking a job: defaults, conversions, and every fault at once."""

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import attrs

from tsd.errors import AssetError, JobInvalid
from tsd.operations import formats
from tsd.operations.base import Definition
from tsd.operations.config import BUILT_IN_ACTIONS, BaseConfig, Note, load, to_wire
from tsd.operations.job_fields import KEPT_FIELDS, OF_KUBERNETES, fields_of, is_remark, read_assets
from tsd.operations.job_warnings import THE_JOB, Subject, WarningKind, warning
from tsd.operations.qualifiers import NO_ASSETS, AssetNames, qualify
from tsd.operations.registry import Registry
from tsd.shown import bare, did_you_mean, in_json
from tsd.teraslice_bundles import BUNDLES, public_name

_MIXED = "cpu/memory can't be mixed with resource settings of the same type"
_UNLINKED = "An operation with a _api_name keyword must link it to a valid api configuration on the job"
_RESOURCES = {
    "cpu": ("resources_requests_cpu", "resources_limits_cpu"),
    "memory": ("resources_requests_memory", "resources_limits_memory"),
}

_ASSETS_SHOWN = 5
HINTS_MAX = 100
"""With more faults and warnings than this nothing is said of what was meant."""
WARNINGS_MAX = 500
"""More unknown options than this are not told one by one."""
_PLACE_LENGTH = 200

Fault = tuple[str, str]
_Loaded = tuple[str, Definition, BaseConfig]
"""Path, what it is, its options."""


@attrs.frozen(kw_only=True)
class ValidatedJob:
    """A job that can run.

    Attributes:
        job: The document with all defaults filled in and unknown keys kept: what an execution is made of.
        warnings: What is said about it, in the form in which the API answers it; see
            `tsd.operations.job_warnings`.
        unknown_options: Paths of options that nobody declares.
    """

    job: dict[str, Any]
    warnings: tuple[dict[str, Any], ...]
    unknown_options: tuple[str, ...]


def asset_identifiers(raw: Mapping[str, Any]) -> list[str]:
    """The identifiers in the `assets` of a posted job, once each; none when they are not a list of texts."""
    try:
        return read_assets(raw.get("assets")) or []
    except ValueError:
        return []


def validate_job(
    raw: Mapping[str, Any],
    *,
    registry: Registry,
    connectors: Collection[str] = (),
    cpu_count: int = 1,
    assets: AssetNames = NO_ASSETS,
    on_check: Callable[[str, str], None] | None = None,
) -> ValidatedJob:
    """Check a job.

    Args:
        raw: The job as posted; never changed.
        registry: Where operations are found.
        connectors: Names of the configured connections, of any type.
        cpu_count: Processors of the master's host, for the default number of workers.
        assets: What its `assets` were resolved to; the operations in those bundles are in the registry.
        on_check: Told the place and name of each operation or API before its code runs, so that a check that
            never ends can be blamed.

    Raises:
        JobInvalid: With every fault and its path.
    """
    check = _Check(copy.deepcopy(dict(raw)), registry, frozenset(connectors), cpu_count, assets)
    check.on_check = on_check or _tell_nobody
    return check.run()


def _tell_nobody(_path: str, _name: str) -> None:
    """For checks whose code is trusted to end."""


class _Check:
    """One check of one job; gathers faults while it goes."""

    on_check: Callable[[str, str], None]

    def __init__(
        self,
        raw: dict[str, Any],
        registry: Registry,
        connections: frozenset[str],
        cpu_count: int,
        assets: AssetNames,
    ) -> None:
        self._raw = raw
        self._assets = assets
        self._given = qualify(raw, assets)
        self._registry = registry
        self._connections = connections
        self._cpu_count = cpu_count
        self._titles: list[str] = []
        self._faults: list[Fault] = []
        self._warnings: list[dict[str, Any]] = []
        self._unknown: list[str] = []
        self._read_of_last: frozenset[str] = frozenset()

    def run(self) -> ValidatedJob:
        job = self._top_level()
        operations = self._load_all(job, "operations", "_op", self._load_operation)
        apis = self._load_all(job, "apis", "_name", self._load_api)
        self._links(job)
        self._dead_letters(job, [*operations, *apis])
        if not self._faults:
            self._cross_checks(job, [*apis, *operations])
            self._advice(job, [*apis, *operations])
        if self._faults:
            raise JobInvalid(self._titles[0], self._faults)
        job["relocatable"] = False
        return ValidatedJob(job=job, warnings=tuple(self._warnings), unknown_options=tuple(self._unknown))

    def _fail(self, title: str, faults: list[Fault]) -> None:
        """Take in faults; those that the first title does not speak of carry their own."""
        title = self._as_given(title)
        faults = [(path, self._as_given(message)) for path, message in faults]
        if not self._titles:
            self._titles.append(title)
        if title == self._titles[0]:
            self._faults += faults
        else:
            self._faults += [(path, f"{title} - {message}") for path, message in faults]

    def _as_given(self, text: str) -> str:
        """A text with names as the job has them, where the check has put ids of bundles into them."""
        for name, given in self._given.items():
            if "@" in name:
                text = text.replace(name, given)
        return text

    # --- the job itself -------------------------------------------------------------------------

    def _top_level(self) -> dict[str, Any]:
        raw, job, faults = self._raw, dict[str, Any](), list[Fault]()
        for name, (default, convert) in fields_of(self._cpu_count).items():
            if name not in raw:
                job[name] = copy.copy(default)
            if name not in raw and name != "operations":
                continue
            try:
                job[name] = convert(raw.get(name))
            except ValueError as error:
                faults.append((name, str(error)))
                job[name] = []
        faults += self._operations_faults(job["operations"])
        faults += self._apis_faults(job["apis"])
        faults += self._assets_faults(job["assets"] or [])
        if job["assets"]:
            ids = self._assets.ids
            job["assets"] = list(dict.fromkeys(ids[asset] for asset in job["assets"] if asset in ids))
        faults += [
            (kind, _MIXED)
            for kind, others in _RESOURCES.items()
            if raw.get(kind) and any(raw.get(other) for other in others)
        ]
        self._note_unknown_fields([name for name in raw if name not in job], known=job)
        if faults:
            self._fail(f"Validation failed for job config: {_shown_name(raw, 'name')}", faults)
        return job | {name: value for name, value in raw.items() if name not in job}

    def _assets_faults(self, assets: list[str]) -> Iterator[Fault]:
        for i, asset in enumerate(assets):
            if asset in self._assets.built_in:
                self._warn_built_in(i, asset, self._assets.built_in[asset])
            elif asset not in self._assets.ids:
                yield f"assets[{i}]", self._assets.faults.get(asset, f'No assets found for "{asset}"')

    def _warn_built_in(self, index: int, asset: str, more: str) -> None:
        name = public_name(asset) or asset
        if any(self._registry.is_built_in(operation) for operation in BUNDLES.get(name, ())):
            what = "is a bundle of Teraslice, and what tsd has of its operations is built in"
        else:
            what = "is a bundle of Teraslice, of which tsd has no operations"
        path = f"assets[{index}]"
        description = f'{path}: "{asset}" {what}{more and f"; {more}"}'
        self._warnings.append(
            warning(WarningKind.BUILT_IN, THE_JOB, field="assets", description=description, path=path)
        )

    def _operations_faults(self, operations: list[Any]) -> Iterator[Fault]:
        for i, entry in enumerate(operations):
            path = f"operations[{i}]"
            if not isinstance(entry, dict):
                yield path, f"Invalid Operation config in operations, got {_type_name(entry)}"
                continue
            connection = entry.get("_connection")
            if connection and not self._is_configured(connection):
                yield (
                    f"{path}._connection",
                    _unavailable(f"Operation {_shown_name(entry, '_op')}", connection),
                )

    def _is_configured(self, connection: Any) -> bool:
        return isinstance(connection, str) and connection in self._connections

    def _apis_faults(self, apis: list[Any]) -> Iterator[Fault]:
        seen: set[str] = set()
        for i, entry in enumerate(apis):
            path = f"apis[{i}]"
            if not isinstance(entry, dict):
                yield path, f"Invalid API config in apis, got {_type_name(entry)}"
                continue
            name = entry.get("_name")
            if not isinstance(name, str) or not name:
                yield f"{path}._name", "API requires an _name"
            elif name in seen:
                yield f"{path}._name", f"Duplicate API configurations for {name} found"
            else:
                seen.add(name)
            key = "_connection" if entry.get("_connection") else "connection"
            connection = entry.get(key)
            if connection and not self._is_configured(connection):
                yield (
                    f"{path}.{key}",
                    _unavailable(f"API {_shown_name(entry, '_name')}", connection),
                )

    # --- operations and APIs --------------------------------------------------------------------

    def _load_all(
        self, job: dict[str, Any], key: str, name_key: str, find: Callable[[int, str], Definition]
    ) -> list[_Loaded]:
        """Load each entry; its place in the job gets the options with defaults."""
        loaded: list[_Loaded] = []
        kind = "operation" if key == "operations" else "api"
        for i, entry in enumerate(job[key]):
            if not isinstance(entry, dict):
                continue
            path, name = f"{key}[{i}]", entry.get(name_key)
            title = f"Validation failed for {kind} config: {_shown_name(entry, name_key)}"
            if not isinstance(name, str) or not name:
                if kind == "operation":
                    self._fail(
                        title, [(f"{path}.{name_key}", "This field is required and must be of type string")]
                    )
                continue
            self.on_check(path, name)
            try:
                definition = find(i, name)
                config, notes = load(definition.config, entry, path)
            except AssetError as error:
                self._fail(title, [(f"{path}.{name_key}", str(error))])
                continue
            except JobInvalid as error:
                self._fail(title, list(error.faults))
                continue
            job[key][i] = to_wire(config)
            self._note(path, kind, name, config, notes)
            loaded.append((path, definition, config))
        return loaded

    def _load_operation(self, index: int, name: str) -> Definition:
        self._check_qualifier("operation name for _op", name)
        find = self._registry.processor if index else self._registry.reader
        return find(name, has_hint=self._has_hints())

    def _load_api(self, _index: int, name: str) -> Definition:
        self._check_qualifier("api name for _name", name)
        return self._registry.api(name, has_hint=self._has_hints())

    def _has_hints(self) -> bool:
        """Whether to look for what was meant: it takes time, and nobody reads the thousandth."""
        return len(self._faults) + len(self._warnings) < HINTS_MAX

    def _check_qualifier(self, what: str, name: str) -> None:
        _, at, asset = name.partition("@")
        if at and name not in self._given:
            raise AssetError(
                f"Invalid {what}: {name}, could not find the hashID for asset identifier {asset}"
                f"{self._assets_to_write()}"
            )

    def _assets_to_write(self) -> str:
        """What may stand behind the @ of a name."""
        named = ", ".join(bare(asset) for asset in asset_identifiers(self._raw)[:_ASSETS_SHOWN])
        return (
            f"; behind the @ stands an entry of `assets`, as {named}"
            if named
            else "; the job has no `assets`"
        )

    def _note(self, path: str, kind: str, name: str, config: BaseConfig, notes: list[Note]) -> None:
        name = self._as_given(name)
        subject = Subject.of(kind, name)
        if path == "operations[0]":
            self._read_of_last = config.read_of_last
        known = config.known_elsewhere
        if kind == "api" or path == f"operations[{len(self._raw['operations']) - 1}]":
            known |= self._read_of_last
        for note in notes:
            if note.is_deprecation:
                self._warnings.append(
                    warning(
                        WarningKind.DEPRECATION,
                        subject,
                        field=note.field,
                        description=note.description,
                        path=None,
                    )
                )
                continue
            self._unknown.append(f"{path}.{note.field}")
            if not (config.keeps_unknown or note.field in known or is_remark(note.field)):
                self._warn_unknown(subject, f"{path}.{note.field}", f"no option of {name}", note.known)

    def _note_unknown_fields(self, names: list[str], *, known: Mapping[str, Any]) -> None:
        self._unknown += names
        for name in names:
            if name in OF_KUBERNETES:
                what = "a setting of Teraslice on Kubernetes and does nothing here"
                self._warn_unknown(THE_JOB, name, what, ())
            elif name not in KEPT_FIELDS and not is_remark(name):
                self._warn_unknown(THE_JOB, name, "no setting of a job", known)

    def _warn_unknown(self, subject: Subject, path: str, what: str, known: Iterable[str]) -> None:
        if len(self._warnings) == WARNINGS_MAX:
            return
        place, field = path[:_PLACE_LENGTH], path.rpartition(".")[2][:_PLACE_LENGTH]
        meant = did_you_mean(field, known) if self._has_hints() else ""
        if len(self._warnings) == WARNINGS_MAX - 1:
            meant = "; there are more such options"
        self._warnings.append(
            warning(
                WarningKind.UNKNOWN_OPTION,
                subject,
                field=field,
                description=f"{place} is {what}{meant}",
                path=place,
            )
        )

    # --- what needs the whole job ---------------------------------------------------------------

    def _links(self, job: dict[str, Any]) -> None:
        names = _api_names(job)
        for i, entry in enumerate(job["operations"]):
            key = next((k for k in ("_api_name", "api_name") if k in self._entry(i)), None)
            if not isinstance(entry, dict) or key is None:
                continue
            name, op = self._entry(i)[key], entry.get("_op")
            if name is None:
                message = _UNLINKED
            elif isinstance(name, str) and "@" in name and name not in names:
                asset = name.partition("@")[2]
                message = (
                    f"Invalid operation _api_name for _op: {op}, could not find the hashID for asset "
                    f"identifier {asset}{self._assets_to_write()}"
                )
            elif not isinstance(name, str) or name not in names:
                message = f"Could not find the associated api for {bare(name)}"
            else:
                continue
            title = f"Validation failed for operation config: {_shown_name(self._entry(i), '_op')}"
            self._fail(title, [(f"operations[{i}].{key}", message)])

    def _entry(self, index: int) -> Mapping[str, Any]:
        entry = self._raw["operations"][index]
        return entry if isinstance(entry, dict) else {}

    def _dead_letters(self, job: dict[str, Any], loaded: list[_Loaded]) -> None:
        """A typo here would show only when the first record is rejected, maybe after hours."""
        names = _api_names(job)
        for path, definition, config in loaded:
            action = config.dead_letter_action
            if action in BUILT_IN_ACTIONS or action in names:
                continue
            kind = "operation" if path.startswith("operations") else "api"
            meant = did_you_mean(action, [*BUILT_IN_ACTIONS, *names])
            words = ", ".join(BUILT_IN_ACTIONS)
            message = f"{in_json(action)} is none of {words}, and no API of the job has this name{meant}"
            fault = (f"{path}._dead_letter_action", message)
            self._fail(f"Validation failed for {kind} config: {definition.name}", [fault])

    def _cross_checks(self, job: dict[str, Any], loaded: list[_Loaded]) -> None:
        for path, definition, config in loaded:
            kind = "operation" if path.startswith("operations") else "api"
            title = f"Validation failed for {kind} config: {definition.name}"
            self.on_check(path, definition.name)
            try:
                faults = [*self._missing_assets(config), *definition.component.check_job(config, job)]
            except ValueError as error:
                faults = [("", str(error))]
            if faults:
                self._fail(title, [(f"{path}.{name}" if name else path, text) for name, text in faults])

    def _missing_assets(self, config: BaseConfig) -> Iterator[Fault]:
        """Bundles that an operation takes files of, and that the job does not list."""
        given = [asset for asset in asset_identifiers(self._raw) if asset not in self._assets.built_in]
        if any(self._assets.ids.get(asset) == asset for asset in given):
            return  # one is named by its id, and its name is not known here
        known = {*given, *(asset.partition(":")[0] for asset in given), *self._assets.ids.values()}
        for option, asset in config.assets_needed():
            if asset not in known and asset.partition(":")[0] not in known:
                meant = did_you_mean(asset, known)
                yield option, f'the bundle "{asset}" is not in assets of the job{meant}'

    def _advice(self, job: dict[str, Any], loaded: list[_Loaded]) -> None:
        """What the configs themselves say of the job."""
        for path, definition, config in loaded:
            kind = "operation" if path.startswith("operations") else "api"
            self.on_check(path, definition.name)
            hook: Any = config.warnings
            if not callable(hook):  # an option has the name of the hook
                continue
            for field, text in hook(job):
                place = f"{path}.{field}" if field else path
                self._warnings.append(
                    warning(
                        WarningKind.ADVICE,
                        Subject.of(kind, definition.name),
                        field=field,
                        description=f"{place}: {text}",
                        path=place,
                    )
                )


def _unavailable(who: str, connection: Any) -> str:
    return f'{who} refers to connection "{bare(connection)}" which is unavailable'


def _shown_name(entry: Mapping[str, Any], key: str) -> str:
    """What stands there as name, as JSON has it; `undefined`, as in Teraslice, when nothing does."""
    return bare(entry[key]) if key in entry else "undefined"


def _api_names(job: Mapping[str, Any]) -> set[str]:
    names = (api.get("_name") for api in job["apis"] if isinstance(api, dict))
    return {name for name in names if isinstance(name, str)}


def _type_name(value: Any) -> str:
    """The type as JavaScript names it, which is what messages carry."""
    return {
        "null": "Null",
        "boolean": "Boolean",
        "number": "Number",
        "string": "String",
        "array": "Array",
    }.get(formats.type_word(value), "Object")

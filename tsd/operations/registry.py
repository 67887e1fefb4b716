"""Finding operations and APIs by the names that jobs use."""

import importlib
from collections.abc import Iterable, Sequence
from types import ModuleType

import attrs

from tsd.error_texts import error_line
from tsd.errors import AssetError
from tsd.operations.base import MARK, Definition, Kind
from tsd.operations.bundled import OperationBundle, add_sites, import_bundle
from tsd.shown import closest
from tsd.teraslice_bundles import BUNDLES, USUAL_NAMES, home_of, instead_of, public_name

STANDARD_MODULES = (
    "tsd.operations.standard.accumulate",
    "tsd.operations.standard.collect",
    "tsd.operations.standard.conditions",
    "tsd.operations.standard.count",
    "tsd.operations.standard.data_generator",
    "tsd.operations.standard.date_router",
    "tsd.operations.standard.dead_letter_file",
    "tsd.operations.standard.dead_letter_reader",
    "tsd.operations.standard.dedupe",
    "tsd.operations.standard.delay",
    "tsd.operations.standard.derive",
    "tsd.operations.standard.fields",
    "tsd.operations.standard.file_exporter",
    "tsd.operations.standard.file_reader",
    "tsd.operations.standard.filter",
    "tsd.operations.standard.filter_by_date",
    "tsd.operations.standard.filter_by_fields",
    "tsd.operations.standard.group_by",
    "tsd.operations.standard.json_parser",
    "tsd.operations.standard.keys",
    "tsd.operations.standard.noop",
    "tsd.operations.standard.routed_sender",
    "tsd.operations.standard.routes",
    "tsd.operations.standard.samples",
    "tsd.operations.standard.script",
    "tsd.operations.standard.short_ids",
    "tsd.operations.standard.sort",
    "tsd.operations.standard.state_storage",
    "tsd.operations.standard.stdout",
    "tsd.operations.standard.test_reader",
    "tsd.operations.standard.window",
)
_API_KINDS = (Kind.API, Kind.OBSERVER)
_SURE = 0.8
"""How close a name must be to be suggested; names of operations are short, and many resemble each other."""


@attrs.frozen
class _Found:
    """A definition, and the bundle that it is in; None for what does not come from a bundle."""

    definition: Definition
    bundle: OperationBundle | None
    place: str

    @property
    def asset_id(self) -> str | None:
        """The id of its bundle."""
        return None if self.bundle is None else self.bundle.asset_id

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with tsd."""
        return self.place in STANDARD_MODULES

    @property
    def takes_the_place(self) -> bool:
        """Whether it is of a bundle that has the name and the operation of a public one of Teraslice."""
        public = None if self.bundle is None else public_name(self.bundle.name)
        return public is not None and self.definition.name in BUNDLES[public]


class Registry:
    """The operations that come with tsd, those of the modules that the cluster names, and those of bundles.

    A module's operations are its classes with a decorator; importing it anywhere else registers nothing.
    """

    def __init__(self, modules: Sequence[str] = (), bundles: Iterable[OperationBundle] = ()) -> None:
        """Import the modules.

        Args:
            modules: Names of modules that are installed.
            bundles: Unpacked bundles; how they are imported is in `tsd.operations.bundled`.

        Raises:
            AssetError: One can not be imported.
        """
        self._operations: dict[str, list[_Found]] = {}
        self._apis: dict[str, list[_Found]] = {}
        bundles = tuple(bundles)
        add_sites(bundles)
        for bundle in bundles:
            for definition in _definitions(import_bundle(bundle)):
                place = f"asset {bundle.name}:{bundle.version}"
                self._add(_Found(definition, bundle, place))
        for definition in _definitions(_import(name) for name in (*STANDARD_MODULES, *modules)):
            self._add(_Found(definition, None, definition.component.__module__))

    def _add(self, found: _Found) -> None:
        group = self._apis if found.definition.kind in _API_KINDS else self._operations
        group.setdefault(found.definition.name, []).append(found)

    def reader(self, name: str, *, has_hint: bool = True) -> Definition:
        """The reader of that name; if there is none, the error guesses what was meant when `has_hint`.

        Raises:
            AssetError: There is none; the message says why.
        """
        definition = self._find(self._operations, name, "reader", has_hint=has_hint)
        if definition.kind is not Kind.READER:
            raise AssetError(f"Failure loading slicer from module: {name}, error: it is a processor")
        return definition

    def processor(self, name: str, *, has_hint: bool = True) -> Definition:
        """The processor of that name; see `reader`.

        Raises:
            AssetError: There is none; the message says why.
        """
        definition = self._find(self._operations, name, "processor", has_hint=has_hint)
        if definition.kind is not Kind.PROCESSOR:
            raise AssetError(f"Failure loading processor from module: {name}, error: it is a reader")
        return definition

    def api(self, name: str, *, has_hint: bool = True) -> Definition:
        """The API or observer of that name; a tag behind `:` only tells instances apart. See `reader`.

        Raises:
            AssetError: There is none; the message says why.
        """
        return self._find(self._apis, name, "api", has_hint=has_hint)

    def is_built_in(self, name: str) -> bool:
        """Whether an operation or API of that name comes with tsd."""
        found = [*self._operations.get(name, ()), *self._apis.get(name, ())]
        return any(one.is_built_in for one in found)

    def is_of_users(self, name: str) -> bool:
        """Whether a name in a job may mean an operation or API that does not come with tsd."""
        base = name.partition("@")[0].partition(":")[0]
        found = [*self._operations.get(base, ()), *self._apis.get(base, ())]
        return any(not one.is_built_in for one in found)

    def definitions(self) -> list[Definition]:
        """Everything that jobs can name, by name."""
        groups = [*self._operations.values(), *self._apis.values()]
        return sorted((f.definition for group in groups for f in group), key=lambda d: (d.name, d.kind))

    def _find(self, group: dict[str, list[_Found]], name: str, kind: str, *, has_hint: bool) -> Definition:
        base, _, asset = name.partition("@")
        if base.startswith(("_", ".")):
            raise AssetError(f"Operation {name} is private or otherwise restricted")
        if kind == "api":
            base, asset = base.partition(":")[0], asset.partition(":")[0]
        found = group.get(base, [])
        if asset:
            found = [one for one in found if one.asset_id == asset]
        if not found:
            hint = self._hint(base, asset, kind) if has_hint else ""
            raise AssetError(f"Unable to find module for operation: {name}{hint and f'; {hint}'}")
        if len(found) > 1 and any(one.takes_the_place for one in found):
            # A bundle of the cluster that has the name of a public one stands for it, not what is built in.
            found = [one for one in found if not one.is_built_in]
        if len(found) > 1:
            places = ", ".join(one.place for one in found)
            raise AssetError(
                f'Multiple assets containing the same {kind} name _op: "{name}", please specify which '
                f"specific asset to use on its name; it is in {places}"
            )
        return found[0].definition

    def _hint(self, name: str, asset: str, kind: str) -> str:
        """What is probably meant by a name that is not there, or why it is not; empty when nobody knows."""
        group, other = self._operations, self._apis
        if kind == "api":
            group, other = other, group
        if asset and name in group:
            places = " and ".join(dict.fromkeys(one.place for one in group[name]))
            return f"that bundle has no {name}, which is in {places}"
        if name in other:
            is_of = "an API: name it in `apis`" if kind != "api" else "an operation: name it in `operations`"
            return f"{name} is {is_of}"
        if (bundle := home_of(name)) is not None:
            instead = instead_of(name)
            lack = f"{name} is an operation of Teraslice's bundle {bundle}, which tsd does not have"
            return f"{lack}; {instead}" if instead else lack
        near = USUAL_NAMES.get(name.lower()) or closest(name, self._names_of(group, kind), cutoff=_SURE)
        return f"did you mean {near}?" if near in group else ""

    def _names_of(self, group: dict[str, list[_Found]], kind: str) -> list[str]:
        """The names that would be right in this place, so that a reader is not suggested for a processor."""
        wanted = _API_KINDS if kind == "api" else (Kind(kind),)
        return [name for name, found in group.items() if any(one.definition.kind in wanted for one in found)]


def definitions_in(bundle: OperationBundle) -> list[Definition]:
    """All operations and APIs of one bundle.

    Raises:
        AssetError: It can not be imported.
    """
    add_sites([bundle])
    return list(_definitions(import_bundle(bundle)))


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module of the user may raise anything while it is imported
        is_absent = isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]
        hint = "; install it where tsd is installed, or name its folder in PYTHONPATH" if is_absent else ""
        raise AssetError(f"Unable to load operation module {name}: {error_line(error)}{hint}") from error


def _definitions(modules: Iterable[ModuleType]) -> Iterable[Definition]:
    """Marks of the modules' own classes, and of those that a package takes from its submodules."""
    seen: set[int] = set()
    for module in modules:
        for value in list(vars(module).values()):
            definition = vars(value).get(MARK) if isinstance(value, type) else None
            if not isinstance(definition, Definition) or id(value) in seen:
                continue
            if _is_within(value.__module__, module.__name__):
                seen.add(id(value))
                yield definition


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")

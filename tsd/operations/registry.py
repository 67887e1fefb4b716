"""Finding operations and APIs by the names that jobs use."""

import importlib
from collections.abc import Iterable, Sequence
from types import ModuleType

from tsd.errors import AssetError
from tsd.operations.base import MARK, Definition, Kind

STANDARD_MODULES = (
    "tsd.operations.standard.collect",
    "tsd.operations.standard.data_generator",
    "tsd.operations.standard.delay",
    "tsd.operations.standard.derive",
    "tsd.operations.standard.fields",
    "tsd.operations.standard.file_exporter",
    "tsd.operations.standard.file_reader",
    "tsd.operations.standard.filter",
    "tsd.operations.standard.noop",
    "tsd.operations.standard.test_reader",
)
_API_KINDS = (Kind.API, Kind.OBSERVER)


class Registry:
    """The operations that come with tsd and those of the modules that the cluster names.

    A module's operations are its classes with a decorator; importing it anywhere else registers nothing.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        """Import the modules.

        Raises:
            AssetError: One can not be imported.
        """
        self._operations: dict[str, list[Definition]] = {}
        self._apis: dict[str, list[Definition]] = {}
        for name in (*STANDARD_MODULES, *modules):
            for definition in _definitions(_import(name)):
                group = self._apis if definition.kind in _API_KINDS else self._operations
                group.setdefault(definition.name, []).append(definition)

    def reader(self, name: str) -> Definition:
        """The reader of that name.

        Raises:
            AssetError: There is none; the message says why.
        """
        definition = self._find(self._operations, name, "reader")
        if definition.kind is not Kind.READER:
            raise AssetError(f"Failure loading slicer from module: {name}, error: it is a processor")
        return definition

    def processor(self, name: str) -> Definition:
        """The processor of that name.

        Raises:
            AssetError: There is none; the message says why.
        """
        definition = self._find(self._operations, name, "processor")
        if definition.kind is not Kind.PROCESSOR:
            raise AssetError(f"Failure loading processor from module: {name}, error: it is a reader")
        return definition

    def api(self, name: str) -> Definition:
        """The API or observer of that name; a tag behind `:` only tells instances apart.

        Raises:
            AssetError: There is none; the message says why.
        """
        return self._find(self._apis, name, "api")

    def definitions(self) -> list[Definition]:
        """Everything that jobs can name, by name."""
        groups = [*self._operations.values(), *self._apis.values()]
        return sorted((d for group in groups for d in group), key=lambda d: (d.name, d.kind))

    def _find(self, group: dict[str, list[Definition]], name: str, kind: str) -> Definition:
        base, _, asset = name.partition("@")
        if base.startswith(("_", ".")):
            raise AssetError(f"Operation {name} is private or otherwise restricted")
        if asset:
            what = "Invalid api name for _name" if kind == "api" else "Invalid operation name for _op"
            raise AssetError(f"{what}: {name}, could not find the hashID for asset identifier {asset}")
        if kind == "api":
            base = base.partition(":")[0]
        found = group.get(base, [])
        if not found:
            raise AssetError(f"Unable to find module for operation: {name}")
        if len(found) > 1:
            places = ", ".join(d.component.__module__ for d in found)
            raise AssetError(
                f'Multiple assets containing the same {kind} name _op: "{name}", please specify which '
                f"specific asset to use on its name; it is in {places}"
            )
        return found[0]


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module of the user may raise anything while it is imported
        raise AssetError(f"Unable to load operation module {name}: {error!r}") from error


def _definitions(module: ModuleType) -> Iterable[Definition]:
    """Marks of the module's own classes, and of those that a package takes from its submodules."""
    classes = {id(value): value for value in vars(module).values() if isinstance(value, type)}
    for cls in classes.values():
        definition = vars(cls).get(MARK)
        if isinstance(definition, Definition) and _is_within(cls.__module__, module.__name__):
            yield definition


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")

"""Importing the modules of bundles.

The folder of a bundle is put at the end of `sys.path`, and its modules have the names they have in it. When
one of its modules has a name that is taken (by another bundle, which is usual as most have a package `ops`,
or by something that is installed), the whole bundle is imported under a prefix of its own, and the import
statements of its modules find their own neighbours first. See docs/adr/0012-bundles-are-imported-apart.md.
"""

import builtins
import importlib
import importlib.util
import linecache
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from typing_extensions import override

from tsd.error_texts import error_line
from tsd.errors import AssetError
from tsd.operations.sites import sites_of

PREFIX = "tsd_asset_"


class OperationBundle(Protocol):
    """An unpacked bundle of operations."""

    @property
    def asset_id(self) -> str:
        """The id, which names it in jobs that were checked."""
        ...

    @property
    def name(self) -> str:
        """For people and for jobs."""
        ...

    @property
    def version(self) -> str:
        """For people and for jobs."""
        ...

    @property
    def folder(self) -> Path:
        """Where it is."""
        ...

    @property
    def modules(self) -> Sequence[str]:
        """The modules to look for operations in."""
        ...


def add_sites(bundles: Sequence[OperationBundle]) -> None:
    """Make the libraries that bundles bring importable; to be called before one of them is imported.

    Raises:
        AssetError: Two bring different versions of one.
    """
    owners: dict[str, tuple[str, str]] = {}
    for bundle in bundles:
        for site in sites_of(bundle.folder):
            for name, version in sorted(_distributions(site)):
                who = f"asset {bundle.name}:{bundle.version}"
                other, other_version = owners.setdefault(name, (who, version))
                if version != other_version:
                    raise AssetError(
                        f"{other} brings {name} {other_version} and {who} brings {name} {version}:"
                        " one process can import one of them only, so one job can not use both"
                    )
            if str(site) not in sys.path:
                sys.path.insert(_place_of_libraries(), str(site))
    importlib.invalidate_caches()


def _place_of_libraries() -> int:
    """Where in `sys.path` libraries begin: what a bundle brings comes before them, behind Python's own."""
    names = [Path(entry).name for entry in sys.path]
    places = [names.index(name) for name in ("site-packages", "dist-packages") if name in names]
    return min(places, default=len(names))


def import_bundle(bundle: OperationBundle) -> list[ModuleType]:
    """Import the modules of a bundle that hold operations.

    Raises:
        AssetError: One can not be imported; the message has the file and line.
    """
    prefix = PREFIX + bundle.asset_id
    tops = top_names(bundle.folder)
    is_apart = prefix in sys.modules or any(_is_taken(name, bundle.folder) for name in sorted(tops))
    if is_apart:
        _set_apart(prefix, bundle.folder, tops)
    elif str(bundle.folder) not in sys.path:
        sys.path.append(str(bundle.folder))
    importlib.invalidate_caches()
    return [_import(f"{prefix}.{name}" if is_apart else name, bundle) for name in bundle.modules]


def top_names(folder: Path) -> frozenset[str]:
    """The names of what can be imported from a folder."""
    sites = sites_of(folder)
    files = (
        path.name.partition(".")[0] for path in folder.iterdir() if path.suffix in {".py", ".so", ".pyd"}
    )
    packages = (path.parent.name for path in folder.glob("*/*.py") if path.parent not in sites)
    return frozenset(name for name in (*files, *packages) if name.isidentifier())


def _distributions(site: Path) -> set[tuple[str, str]]:
    found = metadata.distributions(path=[str(site)])
    return {(re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(), one.version) for one in found}


def _import(name: str, bundle: OperationBundle) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a module of the user may raise anything while it is imported
        shown = name.removeprefix(f"{PREFIX}{bundle.asset_id}.")
        who = f"operation module {shown} of asset {bundle.name}:{bundle.version}"
        raise AssetError(
            f"Unable to load {who}: {error_line(error)}"
            f"{_missing(error, bundle.folder)}{where(error, bundle.folder)}"
        ) from error


def _missing(error: BaseException, folder: Path) -> str:
    """How a bundle gets a library that it imports and that is not there; empty for other errors."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    top = error.name.partition(".")[0]
    if top in top_names(folder) or top in sys.stdlib_module_names or top == "tsd":
        return ""
    return f" (a bundle brings {top} when it is built with `tsd assets build --wheels requirements.txt`)"


def where(error: BaseException, folder: Path) -> str:
    """The deepest place in a bundle that an error has come by, as `, in ops/a.py, line 3: code`.

    Args:
        error: The error.
        folder: Where the bundle is.

    Returns:
        The place; empty when it came by none.
    """
    places = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        places.append((error.filename, error.lineno or 0))
    for file, line in reversed(places):
        path = Path(file)
        if path.is_relative_to(folder):
            code = linecache.getline(file, line).strip()[:200]
            return f", in {path.relative_to(folder)}, line {line}" + (f": {code}" if code else "")
    return ""


def _is_taken(name: str, folder: Path) -> bool:
    """Whether importing a name would not lead into the folder."""
    if name in sys.modules:
        return not _leads_into(folder, getattr(sys.modules[name], "__spec__", None))
    spec = importlib.util.find_spec(name)
    return spec is not None and not _leads_into(folder, spec)


def _leads_into(folder: Path, spec: ModuleSpec | None) -> bool:
    if spec is None:
        return False
    places: Iterable[str] = spec.submodule_search_locations or [spec.origin or ""]
    return all(Path(place).is_relative_to(folder) for place in places)


# --- apart --------------------------------------------------------------------------------------


def _set_apart(prefix: str, folder: Path, tops: frozenset[str]) -> None:
    """Make the folder a package of that name."""
    if prefix in sys.modules:
        return
    parent = ModuleType(prefix)
    parent.__path__ = [str(folder)]
    sys.modules[prefix] = parent
    sys.meta_path.insert(0, _Finder(prefix, tops))


class _Finder(MetaPathFinder):
    """Finds the modules below a prefix as usual, and has them import each other below it."""

    def __init__(self, prefix: str, tops: frozenset[str]) -> None:
        self._prefix = prefix
        self._tops = tops

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{self._prefix}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._import)
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - as of the built-in one
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What the import statement calls in a module below the prefix."""
        top = name.partition(".")[0]
        if level or top not in self._tops:
            return importlib.__import__(name, globals, locals, fromlist or (), level)
        module = importlib.__import__(f"{self._prefix}.{name}", globals, locals, fromlist or (), 0)
        # `import a.b` binds `a`; `from a.b import c` takes from `a.b`.
        return module if fromlist else sys.modules[f"{self._prefix}.{top}"]


class _Loader(SourceFileLoader):
    """Gives a module its own import statement, for good: functions that import later have it too."""

    def __init__(self, fullname: str, path: str, import_: Any) -> None:
        super().__init__(fullname, path)
        self._import = import_

    @override
    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        super().exec_module(module)

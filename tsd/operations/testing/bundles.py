"""Bundles under development: folders with an `asset.json`, which no master has seen yet."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tsd.assets.folders import bundle_in
from tsd.assets.manifest import FILE_NAME
from tsd.assets.resolve import name_of
from tsd.errors import AssetError
from tsd.operations.bundled import OperationBundle
from tsd.operations.job import asset_identifiers
from tsd.operations.qualifiers import AssetNames
from tsd.operations.testing.errors import HarnessError
from tsd.teraslice_bundles import public_name

BundlePaths = str | Path | Iterable[str | Path] | None
"""Folders of bundles; None is the nearest one at or above the working directory."""


def read_bundles(given: BundlePaths) -> tuple[OperationBundle, ...]:
    """The bundles in these folders.

    Raises:
        HarnessError: A folder holds none.
    """
    if given is None:
        folder = _nearest(Path.cwd())
        folders: tuple[Path, ...] = () if folder is None else (folder,)
    elif isinstance(given, str | Path):
        folders = (Path(given),)
    else:
        folders = tuple(Path(each) for each in given)
    try:
        return tuple(bundle_in(folder) for folder in folders)
    except AssetError as error:
        raise HarnessError(str(error)) from error


def _nearest(folder: Path) -> Path | None:
    """The nearest folder with an `asset.json`, from this one upwards; None when there is none."""
    return next((each for each in (folder, *folder.parents) if (each / FILE_NAME).is_file()), None)


def with_assets(raw: dict[str, Any], bundles: Sequence[OperationBundle]) -> dict[str, Any]:
    """The job, which also names the bundles that it does not name itself."""
    named = {name_of(identifier) for identifier in asset_identifiers(raw)}
    more = [bundle.name for bundle in bundles if not named & {bundle.name, bundle.asset_id}]
    assets = raw.get("assets") or []
    return raw | {"assets": [*assets, *more]} if more and isinstance(assets, list) else raw


def names_of(raw: Mapping[str, Any], bundles: Sequence[OperationBundle]) -> AssetNames:
    """What identifiers stand for: the bundle of that name, whichever version a job asks for."""
    ids: dict[str, str] = {}
    faults: dict[str, str] = {}
    built_in: dict[str, str] = {}
    by_name = {name: bundle.asset_id for bundle in bundles for name in (bundle.name, bundle.asset_id)}
    known = ", ".join(bundle.name for bundle in bundles) or "none"
    for identifier in (*asset_identifiers(raw), *(bundle.name for bundle in bundles)):
        asset_id = by_name.get(name_of(identifier))
        if asset_id is not None:
            ids[identifier] = asset_id
        elif public_name(identifier) is not None:
            built_in[identifier] = ""
        else:
            faults[identifier] = (
                f'No assets found for "{identifier}": the harness has {known}; '
                "`bundle=` takes a list of folders"
            )
    return AssetNames(ids=ids, faults=faults, built_in=built_in)

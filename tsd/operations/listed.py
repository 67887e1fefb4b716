"""What a bundle offers: what its modules have, which must be what its manifest lists when it has a list."""

import sys
from collections.abc import Mapping, Sequence

from tsd.errors import AssetError
from tsd.operations.base import Definition, Kind
from tsd.operations.bundled import PREFIX, OperationBundle
from tsd.operations.registry import definitions_in


def offers_of(bundle: OperationBundle, listed: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """The operations and APIs of a bundle as (name, kind), by name.

    Args:
        bundle: The bundle, which is imported.
        listed: What its manifest lists, name to `module:Class`.

    Raises:
        AssetError: It can not be imported, has a name twice, or is not what it lists.
    """
    found = definitions_in(bundle)
    faults = [*_twice(found), *([] if listed is None else _differences(bundle, found, listed))]
    if faults:
        raise AssetError(f"asset {bundle.name}:{bundle.version}: {'; '.join(faults)}")
    return sorted((definition.name, definition.kind.value) for definition in found)


def _twice(found: Sequence[Definition]) -> list[str]:
    names = [(definition.kind in {Kind.API, Kind.OBSERVER}, definition.name) for definition in found]
    return [
        f"it has {'the API' if is_api else 'the operation'} {name} twice"
        for is_api, name in sorted(set(names))
        if names.count((is_api, name)) > 1
    ]


def _differences(
    bundle: OperationBundle, found: Sequence[Definition], listed: Mapping[str, str]
) -> list[str]:
    by_name = {definition.name: definition for definition in found}
    where = " and ".join(bundle.modules) or "no module"
    faults = [
        f"asset.json lists the operation {name}, but {where} has none of this name"
        for name in sorted(listed.keys() - by_name.keys())
    ]
    faults += [
        f"asset.json does not list the operation {name}" for name in sorted(by_name.keys() - listed.keys())
    ]
    for name in sorted(listed.keys() & by_name.keys()):
        definition, there = by_name[name], _target(bundle, listed[name])
        if there is None or (there is not definition.component and there is not definition.slicer):
            component = definition.component
            module = component.__module__.removeprefix(f"{PREFIX}{bundle.asset_id}.")
            faults.append(
                f"asset.json says that {name} is {listed[name]}, but it is {module}:{component.__qualname__}"
            )
    return faults


def _target(bundle: OperationBundle, target: str) -> object:
    """The class that a target names; None when it is not there."""
    name, _, attribute = target.partition(":")
    module = sys.modules.get(f"{PREFIX}{bundle.asset_id}.{name}") or sys.modules.get(name)
    return getattr(module, attribute, None)

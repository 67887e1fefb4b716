"""Which bundle an operation or API is of, when its name says so: `op@bundle`, `api@bundle:1.x:tag`."""

from collections.abc import Mapping
from typing import Any

import attrs

from tsd.teraslice_bundles import public_name

_BEGINS_OF_RANGES = tuple("0123456789^~*<>=")


@attrs.frozen(kw_only=True)
class AssetNames:
    """What the identifiers in the `assets` of a job stand for.

    Attributes:
        ids: Identifier to the id of the bundle that was chosen for it.
        faults: Identifier to why there is none.
        built_in: Identifiers of public bundles of Teraslice whose operations come with tsd, to what to say of
            a bundle of this name that the cluster has and that was not chosen; empty when it has none.
    """

    ids: Mapping[str, str] = attrs.field(factory=dict)
    faults: Mapping[str, str] = attrs.field(factory=dict)
    built_in: Mapping[str, str] = attrs.field(factory=dict)


NO_ASSETS = AssetNames()


def qualify(raw: dict[str, Any], assets: AssetNames) -> dict[str, str]:
    """Write the ids of bundles into the names of operations and APIs: `op@name:1.x` becomes `op@<id>`.

    A qualifier that means a public bundle of Teraslice whose operations are built in is taken away.

    Args:
        raw: A job as posted; changed in place. A qualifier that is none of the job's identifiers stays.
        assets: What identifiers stand for.

    Returns:
        The names that were written, and for each what stood there.
    """
    given_names: dict[str, str] = {}
    for key in ("operations", "apis"):
        entries = raw.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict):
                continue
            for key_of_name in ("_op", "_name", "_api_name", "api_name", "_dead_letter_action"):
                given = entry.get(key_of_name)
                if not isinstance(given, str):
                    continue
                qualified = _qualified(given, assets, has_tag=key_of_name != "_op")
                if qualified is not None:
                    entry[key_of_name] = qualified
                    given_names.setdefault(qualified, given)
    return given_names


def _qualified(name: str, assets: AssetNames, *, has_tag: bool) -> str | None:
    base, at, asset = name.partition("@")
    if not at:
        return None
    if asset in assets.ids:
        return f"{base}@{assets.ids[asset]}"
    # An API may have a tag behind the bundle, and the identifier of the bundle has colons itself.
    identifier, colon, tag = asset.rpartition(":")
    if has_tag and colon and identifier in assets.ids:
        return f"{base}@{assets.ids[identifier]}:{tag}"
    if asset in assets.built_in:
        return base
    if has_tag and colon and identifier in assets.built_in:
        return f"{base}:{tag}"
    if _is_unlisted_public(asset, assets):
        is_tag = has_tag and colon and not tag.startswith(_BEGINS_OF_RANGES)
        return f"{base}:{tag}" if is_tag else base
    return None


def _is_unlisted_public(asset: str, assets: AssetNames) -> bool:
    """Whether a qualifier means a public bundle of Teraslice that the job's `assets` leave out altogether."""
    public = public_name(asset)
    listed = [*assets.ids, *assets.built_in, *assets.faults]
    return public is not None and all(public_name(each) != public for each in listed)

"""Which bundle a job means: by id, by name, by name and version or range.

The names of Teraslice's public bundles mean what is built in, unless the cluster has a Python bundle of that
name, which wins. A JavaScript bundle of that name is there because Teraslice's tools upload it first; it
cannot run, and is passed by.
"""

from collections.abc import Collection

import attrs
from semantic_version import Version

from tsd.assets import code
from tsd.assets.host import Host, mismatches
from tsd.assets.versions import VersionRange, precedence
from tsd.core.assets import AssetRecord
from tsd.errors import AssetError
from tsd.shown import closest
from tsd.teraslice_bundles import BUNDLES, public_name

NEAREST = 5
"""How many versions a complaint names."""


def name_of(identifier: str) -> str:
    """The name in `name`, `name:version` or `name:range`."""
    return identifier.partition(":")[0]


def choose(identifier: str, candidates: Collection[AssetRecord], host: Host) -> AssetRecord:
    """The newest version that an identifier allows and that can run on a host.

    Args:
        identifier: `name`, or with a version or range of npm behind a colon; what follows a second colon is
            ignored.
        candidates: All bundles of that name.
        host: Where it is to run.

    Raises:
        AssetError: There is none; the message says why.
    """
    allowed = _range_of(identifier)
    fitting = [asset for asset in candidates if allowed.allows(asset.version)]
    if not fitting:
        raise AssetError(
            f'No assets found for "{identifier}"{_others(candidates) or _public_meant(identifier)}'
        )
    runnable = [asset for asset in fitting if not mismatches(asset, host)]
    if not runnable:
        raise AssetError(_incompatible(identifier, fitting, host))
    return max(runnable, key=_newest)


@attrs.frozen
class BuiltIn:
    """An identifier stands for operations that come with tsd.

    Attributes:
        remark: What to say of a bundle of this name that was passed by; else empty.
    """

    remark: str = ""


def resolve(
    identifier: str, record: AssetRecord | None, candidates: Collection[AssetRecord], host: Host
) -> AssetRecord | BuiltIn:
    """What an identifier in the `assets` of a job stands for.

    Args:
        identifier: As in the job.
        record: The bundle whose id it is, if it is one.
        candidates: All bundles of that name.
        host: Where it is to run.

    Raises:
        AssetError: There is no such bundle, or it cannot run; the message says why.
    """
    public = public_name(identifier if record is None else record.name)
    ours = [asset for asset in candidates if asset.language != code.JAVASCRIPT]
    if record is None and public is not None and not ours:
        return _built_in(identifier, candidates)
    chosen = record or choose(identifier, ours if public is not None else candidates, host)
    if chosen.language != code.JAVASCRIPT:
        return chosen
    if public is not None:
        return _built_in("", [chosen])
    raise AssetError(
        f'asset "{identifier}" ({chosen.name}:{chosen.version}) is JavaScript, which tsd can not run:'
        f" its operations have to be written in Python"
    )


def _built_in(identifier: str, theirs: Collection[AssetRecord]) -> BuiltIn:
    """Built in, whatever version is wanted, if it is one at all.

    Raises:
        AssetError: The version is none.
    """
    _range_of(identifier)
    if not theirs:
        return BuiltIn()
    newest = max(theirs, key=_newest)
    return BuiltIn(f"the bundle {newest.name}:{newest.version} of the cluster is JavaScript and is not used")


def _range_of(identifier: str) -> VersionRange:
    parts = identifier.split(":")
    wanted = parts[1] if len(parts) > 1 else ""
    try:
        return VersionRange.parse(wanted)
    except ValueError as error:
        raise AssetError(f'No assets found for "{identifier}": "{wanted}" is no version or range') from error


def _newest(asset: AssetRecord) -> Version:
    return precedence(asset.version)


def _public_meant(identifier: str) -> str:
    near = closest(name_of(identifier), BUNDLES, cutoff=0.8)
    return f"; did you mean {near}?" if near else ""


def _others(candidates: Collection[AssetRecord]) -> str:
    """Which versions there are, newest first."""
    if not candidates:
        return ""
    versions = [asset.version for asset in sorted(candidates, key=_newest, reverse=True)]
    shown = ", ".join(dict.fromkeys(versions[:NEAREST]))
    return f", there is {shown}" + (" and more" if len(versions) > NEAREST else "")


def _incompatible(identifier: str, fitting: list[AssetRecord], host: Host) -> str:
    newest = sorted(fitting, key=_newest, reverse=True)[:NEAREST]
    found = [(asset, mismatches(asset, host)) for asset in newest]
    fields = dict.fromkeys(field for _, reasons in found for field, _ in reasons)
    details = "; ".join(
        f"{asset.name}:{asset.version} {' and '.join(text for _, text in reasons)}"
        for asset, reasons in found
    )
    return f'No asset found for "{identifier}", due to a {" and ".join(fields)} mismatch: {details}'

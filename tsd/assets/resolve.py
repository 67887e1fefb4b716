"""Which bundle a job means: by id, by name, by name and version or range."""

from collections.abc import Collection

from semantic_version import Version

from tsd.assets.host import Host, mismatches
from tsd.assets.versions import VersionRange, precedence
from tsd.core.assets import AssetRecord
from tsd.errors import AssetError

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
    parts = identifier.split(":")
    wanted = parts[1] if len(parts) > 1 else ""
    try:
        allowed = VersionRange.parse(wanted)
    except ValueError as error:
        raise AssetError(f'No assets found for "{identifier}": "{wanted}" is no version or range') from error
    fitting = [asset for asset in candidates if allowed.allows(asset.version)]
    if not fitting:
        raise AssetError(f'No assets found for "{identifier}"{_others(candidates)}')
    runnable = [asset for asset in fitting if not mismatches(asset, host)]
    if not runnable:
        raise AssetError(_incompatible(identifier, fitting, host))
    return max(runnable, key=_newest)


def _newest(asset: AssetRecord) -> Version:
    return precedence(asset.version)


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

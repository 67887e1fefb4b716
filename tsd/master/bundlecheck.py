"""Checking a bundle that is uploaded: its zip, its wheels, and that its code can be imported."""

from pathlib import Path

import attrs
import structlog
import trio

from tsd import __version__
from tsd.assets import archive, code
from tsd.assets.archive import Contents, Limits
from tsd.assets.environment import this_environment
from tsd.assets.folders import AssetFolders
from tsd.assets.host import Host, mismatches
from tsd.assets.wheels import choose
from tsd.core.assets import AssetRecord
from tsd.errors import StoreError
from tsd.master.bundles import BundleFiles, Incoming
from tsd.master.childprocess import WITHIN_S
from tsd.master.identity import TERASLICE_VERSION
from tsd.master.inspection import Offer, inspect

CHECKS_AT_ONCE = 2
"""Bundles whose code is imported at the same time; more would only wait for the interpreter."""

log = structlog.get_logger()


@attrs.frozen(eq=False, kw_only=True)
class BundleChecker:
    """Checks uploads.

    Attributes:
        files: Where they are on the disk.
        limits: What they may unpack to.
        host: What runs here.
        child_within_s: How long the code of one may take to be imported.
    """

    files: BundleFiles
    limits: Limits
    host: Host
    child_within_s: int = WITHIN_S
    _inspecting: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(CHECKS_AT_ONCE), init=False
    )

    async def check(self, incoming: Incoming, asset_id: str) -> AssetRecord:
        """The record of an upload that is good.

        Raises:
            AssetInvalid: It is not.
        """
        contents = await trio.to_thread.run_sync(archive.check, incoming.path, self.limits)
        record = record_of(contents, asset_id, incoming.size_b)
        if record.language != code.PYTHON:
            return record
        if reasons := mismatches(record, self.host):
            said = "; ".join(text for _, text in reasons)
            log.info(
                "asset.unchecked", asset_id=asset_id, name=record.name, version=record.version, reason=said
            )
            return record
        choose(contents.wheels, contents.manifest.requirements(), this_environment())
        async with self._inspecting:
            offers = await self._inspect(incoming.path, asset_id)
        return attrs.evolve(record, operations=tuple(offer.name for offer in offers))

    async def _inspect(self, zip_file: Path, asset_id: str) -> tuple[Offer, ...]:
        with self.files.scratch() as scratch:
            folders = AssetFolders(scratch)
            try:
                await trio.to_thread.run_sync(folders.fill, asset_id, zip_file, self.limits)
            except OSError as error:
                raise StoreError(f"a bundle can not be unpacked: {error}") from error
            if not folders.read(asset_id).modules:
                return ()
            return await inspect(folders, asset_id, within_s=self.child_within_s)


def record_of(contents: Contents, asset_id: str, size_b: int) -> AssetRecord:
    """What is stored of a good zip.

    Raises:
        AssetInvalid: It needs a later release, or has not what its manifest says.
    """
    manifest = contents.manifest
    manifest.check_release(tsd=__version__, teraslice=TERASLICE_VERSION)
    code.check_modules(manifest, contents.files)
    language = code.PYTHON if contents.wheels else code.language_of(contents.files)
    if language == code.PYTHON:
        manifest.operations()  # refused when it is malformed, wherever the bundle is to run
        manifest.requirements()
    return AssetRecord(
        asset_id=asset_id,
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        platform=manifest.platform,
        arch=manifest.arch,
        node_version=manifest.node_version,
        python_version=manifest.python_version,
        language=language,
        is_compiled=code.is_compiled(contents.files) or any(wheel.is_compiled for wheel in contents.wheels),
        size_b=size_b,
        manifest=manifest.text(),
    )

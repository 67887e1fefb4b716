"""What can be done with bundles."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import structlog
import trio

from tsd.assets.archive import Limits
from tsd.assets.folders import AssetFolders, Use
from tsd.assets.host import Host
from tsd.assets.identity import ID_LENGTH, READ_B, is_asset_id
from tsd.assets.resolve import BuiltIn, name_of, resolve
from tsd.core.assets import AssetRecord
from tsd.errors import AssetError, InvalidRequest, NotFound, NotReady, StateError, StoreError, TsdError
from tsd.master.bundlecheck import BundleChecker
from tsd.master.bundles import BundleFiles, Incoming
from tsd.master.childprocess import WITHIN_S
from tsd.operations.qualifiers import AssetNames
from tsd.store.listing import Page
from tsd.store.store import Store

Document = dict[str, Any]

DEFAULT_SORT = "_created:desc"
UPLOADS_AT_ONCE = 32
"""Each one may take the largest size on the disk, and a megabyte or two in memory."""

log = structlog.get_logger()


class MalformedAssetId(InvalidRequest):
    """What should be an id is none. Clients expect the message as `error`, too; HTTP 400."""


@attrs.frozen(kw_only=True)
class Saved:
    """What became of an upload; `is_new` when there was no such bundle before."""

    asset_id: str
    is_new: bool


@attrs.frozen(eq=False, kw_only=True)
class AssetService:
    """Use cases of bundles; documents are as clients see them.

    Attributes:
        files: Their zips.
        folders: Where they are unpacked on this host.
        limits: What they may unpack to.
        host: What runs here.
        uploads_at_once: More are turned away.
        child_within_s: How long the code of one may take to be imported.
    """

    store: Store
    files: BundleFiles
    folders: AssetFolders
    limits: Limits
    host: Host
    uploads_at_once: int = UPLOADS_AT_ONCE
    child_within_s: int = WITHIN_S
    _checker: BundleChecker = attrs.field(init=False)
    _receiving: trio.CapacityLimiter = attrs.field(init=False)
    _one_by_one: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    """Held while records and files change together."""

    @_checker.default
    def _make_checker(self) -> BundleChecker:
        return BundleChecker(
            files=self.files, limits=self.limits, host=self.host, child_within_s=self.child_within_s
        )

    @_receiving.default
    def _limit_receiving(self) -> trio.CapacityLimiter:
        return trio.CapacityLimiter(self.uploads_at_once)

    async def save(self, chunks: AsyncGenerator[bytes, None]) -> Saved:
        """Store a bundle. When cancelled it is stored whole or not at all.

        The same bytes once more change nothing, except that they repair a zip that was lost.

        Args:
            chunks: The zip; read to its end unless something is wrong, and closed.

        Raises:
            AssetInvalid: It is no bundle, or one that may not be.
            Conflict: Another bundle has the same name, version and restrictions.
            NotReady: Too many others are being received.
            StoreError: It can not be stored.
        """
        async with aclosing(chunks):
            try:
                self._receiving.acquire_on_behalf_of_nowait(chunks)
            except trio.WouldBlock:
                count = self.uploads_at_once
                raise NotReady(f"{count} bundles are being uploaded, try again later") from None
            try:
                async with self.files.incoming() as incoming:
                    return await self._save(chunks, incoming)
            finally:
                self._receiving.release_on_behalf_of(chunks)

    async def _save(self, chunks: AsyncGenerator[bytes, None], incoming: Incoming) -> Saved:
        async for data in chunks:
            await incoming.write(data)
        asset_id = await incoming.finish()
        record = await self.store.find_asset(asset_id)
        if record is None:
            record = await self._checker.check(incoming, asset_id)
        async with self._one_by_one:
            is_new = await self._keep(incoming, record)
        return Saved(asset_id=asset_id, is_new=is_new)

    async def _keep(self, incoming: Incoming, record: AssetRecord) -> bool:
        asset_id = record.asset_id
        if await self.store.find_asset(asset_id) is not None:
            if not self.files.path(asset_id).exists():
                await trio.to_thread.run_sync(self.files.keep, incoming, asset_id)
                log.warning("asset.repaired", asset_id=asset_id)
            return False
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.files.keep, incoming, asset_id)
            try:
                await self.store.create_asset(record)
            except (StateError, StoreError):
                await trio.to_thread.run_sync(self.files.remove, asset_id)
                raise
        log.info(
            "asset.stored", asset_id=asset_id, name=record.name, version=record.version, size_b=record.size_b
        )
        return True

    async def delete(self, asset_id: str, *, is_forced: bool = False) -> None:
        """Remove a bundle from the store, from the disk, and from where it is unpacked on this host.

        Args:
            asset_id: The bundle.
            is_forced: Also when an execution that has not ended uses it, or a job needs it. Processes go on,
                and those that are started on a host that has the bundle unpacked.

        Raises:
            MalformedAssetId: It is no id.
            NotFound: There is no such bundle.
            Conflict: An execution uses it, or an active job could not be started without it.
            StoreError: It can not be removed.
        """
        if len(asset_id) != ID_LENGTH:
            raise MalformedAssetId(
                f"asset {asset_id[:200]} is not formatted correctly, please provide the full asset_id"
            )
        if re.fullmatch(r"[0-9a-f]+", asset_id) is None:
            raise NotFound(f"Unable to find asset {asset_id}")
        async with self._one_by_one:
            with trio.CancelScope(shield=True):
                await self.store.delete_asset(asset_id, is_forced=is_forced, resolve=self._means)
                await trio.to_thread.run_sync(self.files.remove, asset_id)
                if not is_forced:
                    await trio.to_thread.run_sync(self._remove_folder, asset_id)
        log.info("asset.deleted", asset_id=asset_id)

    def _remove_folder(self, asset_id: str) -> None:
        try:
            is_gone = self.folders.remove(asset_id)
        except OSError as error:
            log.warning("asset.left", path=str(self.folders.path(asset_id)), reason=str(error))
        else:
            if not is_gone:
                log.info(
                    "asset.left",
                    path=str(self.folders.path(asset_id)),
                    reason="a process uses it, or did just now",
                )

    async def find(
        self, *, size: int, start: int, sort: str, name: str | None = None, version: str | None = None
    ) -> list[Document]:
        """Bundles with this name and version, in both of which `*` stands for anything; None for all."""
        page = Page(size=size, start=start, sort=sort or DEFAULT_SORT)
        return await self.store.list_assets(page, name=name, version=version)

    # --- jobs -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def prepared(self, identifiers: Sequence[str]) -> AsyncIterator[AssetNames]:
        """Choose a bundle for each identifier; they are unpacked on this host until the end.

        Raises:
            StoreError: The store can not be read.
        """
        ids, faults, built_in = dict[str, str](), dict[str, str](), dict[str, str]()
        with ExitStack() as uses:
            for identifier in identifiers:
                try:
                    record = await self._resolve(identifier)
                    if isinstance(record, BuiltIn):
                        built_in[identifier] = record.remark
                        continue
                    uses.enter_context(await trio.to_thread.run_sync(self._unpacked, record.asset_id))
                except AssetError as error:
                    faults[identifier] = str(error)
                else:
                    ids[identifier] = record.asset_id
            yield AssetNames(ids=ids, faults=faults, built_in=built_in)

    async def _resolve(self, identifier: str) -> AssetRecord | BuiltIn:
        record = await self.store.find_asset(identifier) if is_asset_id(identifier) else None
        candidates = () if record else await self.store.assets_named(name_of(identifier))
        return resolve(identifier, record, candidates, self.host)

    def _means(self, identifier: str, candidates: Collection[AssetRecord]) -> str | None:
        try:
            found = resolve(identifier, None, candidates, self.host)
        except AssetError:
            return None
        return None if isinstance(found, BuiltIn) else found.asset_id

    def _unpacked(self, asset_id: str) -> Use:
        try:
            use = self.folders.use(asset_id)
        except OSError as error:
            raise AssetError(f"asset {asset_id} can not be unpacked on the master: {error}") from error
        try:
            self._unpack(asset_id)
        except BaseException:
            use.end()
            raise
        return use

    def _unpack(self, asset_id: str) -> None:
        try:
            self.folders.fill(asset_id, self.files.path(asset_id), self.limits)
        except FileNotFoundError as error:
            raise AssetError(
                f"the zip of asset {asset_id} is gone from the data folder; upload the same bytes again"
            ) from error
        except OSError as error:
            raise AssetError(f"asset {asset_id} can not be unpacked on the master: {error}") from error

    # --- the start of the master ----------------------------------------------------------------

    async def sweep(self) -> None:
        """Take away what uploads that were cut short by the end of a master have left."""
        known = await self.store.asset_ids()
        for name in await trio.to_thread.run_sync(self.files.sweep, known):
            log.info("asset.swept", path=name)

    async def autoload(self, directory: Path) -> None:
        """Store each zip of a folder that is not stored yet; one that is no good bundle stops nothing."""
        for path in await trio.to_thread.run_sync(_zips_in, directory):
            try:
                saved = await self.save(_chunks_of(path))
            except (TsdError, OSError) as error:
                log.warning("asset.not_loaded", path=str(path), reason=str(error))
            else:
                log.debug("asset.loaded", path=str(path), asset_id=saved.asset_id)


def _zips_in(directory: Path) -> list[Path]:
    try:
        found: Iterable[Path] = list(directory.glob("*.zip"))
    except OSError as error:
        log.warning("asset.not_loaded", path=str(directory), reason=str(error))
        return []
    return sorted(path for path in found if path.is_file())


async def _chunks_of(path: Path) -> AsyncGenerator[bytes, None]:
    async with await trio.open_file(path, "rb") as file:
        while data := await file.read(READ_B):
            yield data

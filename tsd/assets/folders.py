"""The unpacked bundles of a host, `assets_directory/<id>`, which all its daemons and processes share.

A folder with the name of an id is complete: it is filled under another name, made durable and renamed. A
lock for each id keeps two processes from doing that at the same time, and is held no longer than its process
lives; what a process that died has left is thrown away by the next one that needs the bundle.

A second lock for each id is shared by the daemons that have processes with the bundle. Who wants to take a
folder away needs it alone, so that none goes that is in use. Its file says when that was last.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import attrs

from tsd.assets.archive import Limits, sync, unpack
from tsd.assets.code import modules_of
from tsd.assets.identity import asset_id_of, is_asset_id
from tsd.assets.manifest import FILE_NAME, read_manifest
from tsd.errors import AssetError

_LOCKS = ".locks"


@attrs.frozen(kw_only=True)
class Bundle:
    """An unpacked bundle.

    Attributes:
        modules: Names of the modules to look for operations in.
    """

    asset_id: str
    name: str
    version: str
    folder: Path
    modules: tuple[str, ...]


class Use:
    """A bundle in use; ended by `end`, or by the end of this process.

    Args:
        descriptor: Of the locked file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        os.utime(descriptor)

    def end(self) -> None:
        """Nobody here uses it any more."""
        if self._descriptor is not None:
            os.utime(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


@attrs.frozen
class AssetFolders:
    """See the module's docstring. All methods block.

    Attributes:
        root: `assets_directory`.
    """

    root: Path

    def path(self, asset_id: str) -> Path:
        """The folder of a bundle, whether it is there or not."""
        if not is_asset_id(asset_id):
            raise AssetError(f"{asset_id!r} is no id of an asset")
        return self.root / asset_id

    def has(self, asset_id: str) -> bool:
        """Whether a bundle is there, complete."""
        return self.path(asset_id).is_dir()

    @contextlib.contextmanager
    def held(self, asset_id: str) -> Iterator[None]:
        """Hold the lock of a bundle; waits for whoever has it.

        Raises:
            OSError: The directory can not be used.
        """
        locks = self.root / _LOCKS
        locks.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(locks / asset_id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            # The file stays: a removed one could be locked by one process and made anew by another.
            os.close(descriptor)

    def fill(self, asset_id: str, archive: Path, limits: Limits) -> Path:
        """Unpack a bundle unless it is there; its folder.

        Args:
            asset_id: The bundle.
            archive: Its zip, which is not trusted to be that.
            limits: What it may unpack to.

        Raises:
            AssetError: The zip is not the one of this id, or no good one.
            OSError: It can not be read, or the files can not be written.
        """
        folder = self.path(asset_id)
        with self.held(asset_id):
            if folder.is_dir():
                return folder
            if (found := asset_id_of(archive)) != asset_id:
                raise AssetError(f"the zip of asset {asset_id} is damaged: its content has the id {found}")
            partial = self._cleared(asset_id)
            try:
                partial.mkdir(mode=0o755)
                unpack(archive, partial, limits)
                partial.rename(folder)
                sync(self.root)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return folder

    def use(self, asset_id: str) -> "Use":
        """Say that processes are going to import a bundle, before it is looked whether it is there.

        Waits for one who takes it away.

        Raises:
            OSError: The directory can not be used.
        """
        return Use(self._locked(asset_id, fcntl.LOCK_SH))

    def remove(self, asset_id: str) -> bool:
        """Take a bundle away if it is there, unless somebody uses it; whether it is gone.

        Raises:
            OSError: It can not be removed.
        """
        if not self.path(asset_id).is_dir():
            return True
        try:
            alone = self._locked(asset_id, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            self._remove(asset_id)
        finally:
            os.close(alone)
        return True

    def remove_unused(self, unused_s: float, now: float) -> list[str]:
        """Take away the bundles that nobody has used for so long; their ids.

        Args:
            unused_s: How long.
            now: The time of the day, as file systems have it.

        Raises:
            OSError: The directory can not be read, or one can not be removed.
        """
        if not self.root.is_dir():
            return []
        found = sorted(path.name for path in self.root.iterdir() if is_asset_id(path.name))
        return [
            asset_id
            for asset_id in found
            if now - self._used_at(asset_id) >= unused_s and self.remove(asset_id)
        ]

    def _used_at(self, asset_id: str) -> float:
        """When it was unpacked, or used last."""
        moments = [0.0]
        for path in (self.path(asset_id), self._use_file(asset_id)):
            with contextlib.suppress(FileNotFoundError):
                moments.append(path.stat().st_mtime)
        return max(moments)

    def _use_file(self, asset_id: str) -> Path:
        return self.root / _LOCKS / f"{asset_id}.used"

    def _locked(self, asset_id: str, kind: int) -> int:
        """The file of the uses of a bundle, locked."""
        self.path(asset_id)
        path = self._use_file(asset_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _remove(self, asset_id: str) -> None:
        folder = self.path(asset_id)
        with self.held(asset_id):
            partial = self._cleared(asset_id)
            with contextlib.suppress(FileNotFoundError):
                # First the name, so that half a folder is never taken for a whole one.
                folder.rename(partial)
                shutil.rmtree(partial)

    def read_all(self, asset_ids: Iterable[str]) -> tuple[Bundle, ...]:
        """What is in unpacked bundles, in this order.

        Raises:
            AssetError: One is not there.
        """
        return tuple(self.read(asset_id) for asset_id in asset_ids)

    def read(self, asset_id: str) -> Bundle:
        """What is in an unpacked bundle.

        Raises:
            AssetError: It is not there.
        """
        return read_bundle(self.path(asset_id), asset_id)

    def _cleared(self, asset_id: str) -> Path:
        """The name under which a folder is filled, free; whoever filled it is gone, as we have the lock."""
        partial = self.root / f".{asset_id}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        return partial


def bundle_in(folder: Path) -> Bundle:
    """The bundle that is being written in a folder, and was never zipped; its id is made of the path.

    Raises:
        AssetError: It is none, or its manifest is wrong.
    """
    folder = folder.resolve()
    if not (folder / FILE_NAME).is_file():
        raise AssetError(f"{folder} is no bundle: it has no {FILE_NAME}")
    asset_id = hashlib.sha1(str(folder).encode(), usedforsecurity=False).hexdigest()
    try:
        return read_bundle(folder, asset_id)
    except AssetError as error:
        raise AssetError(f"{folder / FILE_NAME}: {error}") from error


def read_bundle(folder: Path, asset_id: str) -> Bundle:
    """What is in the folder of a bundle, wherever it stands.

    Raises:
        AssetError: There is none, or its manifest is wrong.
    """
    try:
        text = (folder / FILE_NAME).read_bytes()
    except OSError as error:
        raise AssetError(f"asset {asset_id} is not unpacked here: {error}") from error
    manifest = read_manifest(text)
    return Bundle(
        asset_id=asset_id,
        name=manifest.name,
        version=manifest.version,
        folder=folder,
        modules=modules_of(manifest, folder),
    )

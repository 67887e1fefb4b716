"""The zips of bundles: files `<data_dir>/bundles/<id>.zip` beside the database.

The record in the store decides whether there is a bundle: it is written after the file and deleted before
it. So a file without a record is left over from a crash and swept away at the next start; a record without a
file, which only somebody else can bring about, is repaired by uploading the same bytes again.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import IO

import attrs
import trio

from tsd.assets.archive import sync
from tsd.assets.identity import AssetDigest, is_asset_id
from tsd.errors import AssetTooLarge, StoreError

FOLDER = "bundles"
"""In the data folder."""
_PARTIAL = ".partial"
_GATHERED_B = 1024 * 1024
"""So much of an upload is gathered in memory before a thread writes it."""


class Incoming:
    """An upload on its way to the disk; its digest is made in passing. Unless moved it is gone at the end.

    Args:
        path: A new file.
        size_max: In bytes.
    """

    def __init__(self, path: Path, size_max: int) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("xb")
        self._size_max = size_max
        self._digest = AssetDigest()
        self._gathered = bytearray()
        self.size_b = 0

    @property
    def path(self) -> Path:
        """Where it is; all of it after `finish`."""
        return self._path

    async def write(self, data: bytes) -> None:
        """Take in the next bytes.

        Raises:
            AssetTooLarge: There are too many.
            StoreError: The disk does not take them.
        """
        self.size_b += len(data)
        if self.size_b > self._size_max:
            raise AssetTooLarge(f"the bundle is larger than {self._size_max} bytes")
        self._gathered += data
        if len(self._gathered) >= _GATHERED_B:
            await self._flush()

    async def finish(self) -> str:
        """Make it durable; its id."""
        await self._flush(is_last=True)
        return self._digest.asset_id()

    async def _flush(self, *, is_last: bool = False) -> None:
        data, self._gathered = bytes(self._gathered), bytearray()
        await trio.to_thread.run_sync(self._store, data, is_last)

    def _store(self, data: bytes, is_last: bool) -> None:
        self._digest.update(data)
        with _told("a bundle can not be stored"):
            self._file.write(data)
            if is_last:
                self._file.flush()
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """The end; nothing is left under the name of the upload."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


@attrs.frozen
class BundleFiles:
    """The folder of the zips. Methods that are not async block.

    Attributes:
        folder: Made when it is missing.
        size_max: Of one zip, in bytes.
    """

    folder: Path
    size_max: int

    def path(self, asset_id: str) -> Path:
        """Where the zip of a bundle belongs."""
        assert is_asset_id(asset_id), asset_id
        return self.folder / f"{asset_id}.zip"

    @contextlib.asynccontextmanager
    async def incoming(self) -> AsyncIterator[Incoming]:
        """Room for an upload.

        Raises:
            StoreError: There is none.
        """
        with _told("a bundle can not be stored"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            incoming = Incoming(self.folder / f"{secrets.token_hex(8)}{_PARTIAL}", self.size_max)
        try:
            yield incoming
        finally:
            incoming.close()

    def keep(self, incoming: Incoming, asset_id: str) -> None:
        """Give a finished upload its place, durably."""
        with _told("a bundle can not be stored"):
            incoming.path.rename(self.path(asset_id))
            sync(self.folder)

    def read(self, asset_id: str, offset: int, count: int) -> tuple[bytes, int]:
        """Up to `count` bytes of a zip from `offset` on, and the size of the whole.

        Raises:
            OSError: It is not there, or can not be read.
        """
        with self.path(asset_id).open("rb") as file:
            file.seek(offset)
            return file.read(count), os.fstat(file.fileno()).st_size

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is gone at the end.

        Raises:
            StoreError: There is no room for it.
        """
        with _told("a bundle can not be unpacked"):
            folder = self.folder / f"{secrets.token_hex(8)}{_PARTIAL}"
            folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self, asset_id: str) -> None:
        """Take a zip away, if it is there."""
        with _told("a bundle can not be removed"):
            self.path(asset_id).unlink(missing_ok=True)

    def sweep(self, known: Collection[str]) -> list[str]:
        """Take away what uploads and deletions that were cut short have left; the names of it.

        Args:
            known: Ids of the bundles that have a record.
        """
        if not self.folder.is_dir():
            return []
        left = [
            path
            for path in self.folder.iterdir()
            if path.suffix == _PARTIAL
            or (path.suffix == ".zip" and is_asset_id(path.stem) and path.stem not in known)
        ]
        for path in left:
            with _told("a bundle can not be removed"):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        return sorted(path.name for path in left)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror or error}") from error

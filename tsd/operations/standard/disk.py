"""Putting files on the disk, many at once where the system can."""

import ctypes
import os
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

_FEW = 4
"""From so many paths on, one sync of the whole file system is faster than one of each (a tenth, measured)."""


def _find_syncfs() -> "ctypes._NamedFuncPointer | None":
    """The call of Linux; glibc and musl have it, Python does not."""
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_int]
    return function


_syncfs = _find_syncfs()


class Disk:
    """Syncs files below a folder; use it as a context around their writing.

    It holds the folder open meanwhile: a sync of the file system tells only of writes that failed since.
    """

    def __init__(self, folder: Path, *, is_durable: bool = True) -> None:
        """With `is_durable` False nothing is ever synced."""
        self._folder = folder
        self._is_durable = is_durable
        self._fd: int | None = None

    def __enter__(self) -> Self:
        if self._is_durable:
            self._fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def sync(self, paths: Collection[Path]) -> None:
        """Return when these files and folders are on the disk; those that are gone are skipped.

        Raises:
            OSError: They are not, and can not be.
        """
        if self._fd is None:
            return
        if len(paths) >= _FEW and _syncfs is not None:
            if _syncfs(self._fd) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(self._folder))
            return
        for path in paths:
            _sync_one(path)


def _sync_one(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # the folder of a stale file that was gone too
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

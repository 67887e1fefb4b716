"""The lock that keeps a data folder to one master, and a look at its files before SQLite opens them.

SQLite says "unable to open database file" for a folder, a path that is too long, a missing permission and a
full disk alike. So the files are looked at first, and each fault is named with its path.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tsd.errors import StoreError, StoreLocked, StoreUnusable

LOCK_NAME: Final = "master.lock"
_PATH_MAX_B: Final = 512 - len("-journal")
"""SQLite takes paths of at most 512 bytes (MAX_PATHNAME of its unix file system), suffixes included."""


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the lock of a data folder, which is made when it is missing.

    The lock belongs to this process and its end is the end of the lock, whatever ends it. A child that is
    forked meanwhile, and does not exec, would hold it too.

    Raises:
        StoreLocked: Another process has it.
        StoreError: The folder can not be made or written to.
    """
    path = data_dir / LOCK_NAME
    try:
        # What jobs say can be secret: others have no business here.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"the data folder {data_dir} can not be used: {error.strerror} ({error.filename})"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            raise StoreLocked(f"{path} is locked: a master with pid {holder} uses this data folder") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        # The file stays: a removed one could be locked by one process and made anew by another.
        os.close(descriptor)


def check_usable(path: Path) -> None:
    """Find what keeps a database file from being opened; makes the file when it is missing.

    Raises:
        StoreUnusable: It is no file, its path is too long, or a permission is missing.
        StoreError: There is no room for it.
    """
    size_b = len(os.fsencode(path))
    if size_b > _PATH_MAX_B:
        raise StoreUnusable(
            f"{path}: the path has {size_b} bytes and SQLite takes at most {_PATH_MAX_B};"
            " set a shorter tsd.data_dir"
        )
    if path.is_symlink() and not path.exists():
        raise StoreUnusable(f"{path} is a link to {os.readlink(path)}, which does not exist")  # noqa: PTH115 - as it is written
    if path.exists() and not path.is_file():
        raise StoreUnusable(f"{path} is no file")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.close(os.open(f"{path}{suffix}", os.O_RDWR | os.O_CLOEXEC))
        if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            # SQLite makes and removes those files beside the database.
            raise PermissionError(errno.EACCES, "the folder cannot be written to", str(path.parent))
    except OSError as error:
        kind = StoreUnusable if isinstance(error, PermissionError | IsADirectoryError) else StoreError
        raise kind(f"the store cannot be used: {error.strerror} ({error.filename})") from error


def named(error: StoreError, path: Path) -> StoreError:
    """The same error with the path of the database in front."""
    return type(error)(f"{path}: {error}")

"""The lock that keeps a data folder to one master."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tsd.errors import StoreError, StoreLocked

LOCK_NAME: Final = "master.lock"


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

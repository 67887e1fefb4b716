"""The data folder of one `tsd run`: whose it is, how long it stays, and what earlier runs have left.

A run holds a lock on a file in its temporary folder, and so does every process of its cluster. When the
command is killed the folder stays, but nobody holds the lock any more: the next run removes it. The folder of
a run that failed, or that has dead letters, is kept on purpose, for `KEPT_DAYS` days; one that the user wants
to keep stays for ever.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

PREFIX: Final = "tsd-run-"
KEPT_DAYS: Final = 7
_LOCK = "run.lock"
_KEPT = "run.kept"
"""Its time says since when the folder is kept; it says `for ever` when the user wanted that."""
_FOR_EVER = "for ever"
_YOUNG_S = 3600.0
"""A folder without a lock may just be made; after so long it is not."""


@attrs.define(eq=False)
class RunFolder:
    """The data folder of a run.

    Attributes:
        is_temporary: It goes with the run unless it is kept.
        is_kept: It stays.
        kept_as: Why it stays for a while; empty when it goes, or stays for good.
    """

    path: Path
    is_temporary: bool
    is_kept: bool
    kept_as: str = ""

    def keep_for_a_while(self, why: str) -> None:
        """Its store and its log are needed after the run; `why` is the end of a sentence."""
        if self.is_temporary and not self.is_kept:
            self.is_kept, self.kept_as = True, why
            with suppress(OSError):
                (self.path / _KEPT).touch()


@contextmanager
def run_folder(data_dir: Path | None, *, keep: bool) -> Iterator[RunFolder]:
    """The folder while the run lasts; behind it a temporary one is removed unless it is kept.

    Args:
        data_dir: A folder that stays; None for a temporary one.
        keep: The user wants the temporary folder.

    Raises:
        OSError: It cannot be made.
    """
    if data_dir is not None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield RunFolder(data_dir.absolute(), is_temporary=False, is_kept=True)
        return
    sweep_stale_folders()
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if keep:
        (path / _KEPT).write_text(_FOR_EVER, encoding="utf-8")
    folder = RunFolder(path, is_temporary=True, is_kept=keep)
    try:
        yield folder
    finally:
        if not folder.is_kept:
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep_stale_folders(*, now: float | None = None) -> None:
    """Remove the folders of runs that were killed, and those of failed runs when they are old; never raises.

    Args:
        now: Unix time; for tests.
    """
    now = time.time() if now is None else now
    with suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid():
                    _remove_if_stale(path, now)


def _remove_if_stale(path: Path, now: float) -> None:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        if now - path.stat().st_mtime > _YOUNG_S and (path / "store.db").is_file():
            shutil.rmtree(path, ignore_errors=True)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # its run, or a process of it, still lives
    else:
        if not _is_kept(path / _KEPT, now):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def _is_kept(mark: Path, now: float) -> bool:
    try:
        is_for_ever = mark.read_text(encoding="utf-8") == _FOR_EVER
        return is_for_ever or now - mark.stat().st_mtime < KEPT_DAYS * 86_400
    except FileNotFoundError:
        return False

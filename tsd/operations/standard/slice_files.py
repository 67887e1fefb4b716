"""Files of a slice that appear and are replaced as one, whatever dies when.

The promise: when `commit` has returned, the folder holds exactly what this call was given for the slice, and
nothing of any other attempt. What a reader may see before is the output of one earlier attempt, or during the
few milliseconds of the renames a mixture; never half a file.

How: each attempt takes the slice's lock, so attempts on several hosts go one after another (the file system
must have locks that work across them, as NFS 4 has); a lock falls when its process dies. Then

1. it removes the temporary files of attempts that died;
2. it writes and syncs its own, in `.tsd/work/<key>`, which is hidden and on the same file system, and makes
   the folders that they will stand in;
3. it renames a manifest into `.tsd/slices`, which names its files, and as stale all files of earlier attempts
   that are not among them: now the attempt is decided;
4. it renames its files into place and removes the stale ones.

An error in 1 or 2 (the disk is full, say) takes the temporary files along, so that a failed attempt leaves
nothing. When there is no room, those that died attempts of other slices left go, too. A crash in 1 or 2
leaves the earlier output whole; the slice is not done and is run again. A crash in 3 or 4 leaves a manifest
that names all files that can be there, so the next attempt knows what to replace and to remove. When there
is no next attempt, because an earlier one was counted already, `recover` (called by every exporter that
starts) finishes what was decided. A slice with one file whose name never changes needs no
manifest: one rename decides.

Nothing in `.tsd` is named as data would be: manifests end in `.tsd-manifest`, temporary files in a number.
They once ended in `.json`, and such ones are still read.
"""

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

import attrs
import msgspec

from tsd.errors import OperationError
from tsd.operations.standard.disk import Disk

SUCCESS = "_SUCCESS"
"""The file that says that the output of an execution is all there, under the name that Hadoop gave it."""
_HIDDEN = ".tsd"
_MANIFEST = ".tsd-manifest"
_OLD_MANIFEST = ".json"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_LOCK = "lock"
_LOCK_WAIT_S = 60.0
_LOCK_LOOK_S = 0.05


@attrs.frozen(kw_only=True)
class Manifest:
    """What a slice has in the folder.

    Attributes:
        attempt: Names the attempt; its temporary files begin with it.
        files: Paths below the folder; the temporary file of number i is `<attempt>.<i>`.
        stale: Paths of earlier attempts that are to be removed.
    """

    attempt: str
    files: list[str]
    stale: list[str]


@attrs.frozen(kw_only=True)
class Agreement:
    """What the slices of an execution have agreed on.

    Attributes:
        ex_id: The execution whose slice came first.
        words: What it said.
    """

    ex_id: str
    words: list[str]


_decode = msgspec.json.Decoder(Manifest).decode
_decode_agreement = msgspec.json.Decoder(Agreement).decode
_encode = msgspec.json.Encoder().encode


class SliceFiles:
    """The output folder of an exporter."""

    def __init__(
        self, root: Path, *, is_durable: bool = True, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Nothing is touched yet.

        Args:
            root: The folder.
            is_durable: Sync files and folders, so that a commit outlives a power failure.
            sleep: How to wait for the lock of another attempt.
        """
        self._root = root
        self._work = root / _HIDDEN / "work"
        self._manifests = root / _HIDDEN / "slices"
        self._agreed = root / _HIDDEN / "agreed"
        self._is_durable = is_durable
        self._sleep = sleep

    def prepare(self) -> None:
        """Make the folder, and finish or clear away what dead attempts left.

        Raises:
            OperationError: The folder can not be made or written.
        """
        try:
            self._work.mkdir(parents=True, exist_ok=True)
            self._manifests.mkdir(exist_ok=True)
        except OSError as error:
            raise OperationError(f"folder {self._root} can not be written: {error}") from error
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise OperationError(f"folder {self._root} can not be written: permission denied")
        self.recover()

    def begin(self, ex_id: str, *, is_whole: bool, is_new: bool = True) -> None:
        """An execution begins to write here, or goes on: take `_SUCCESS` away.

        Args:
            ex_id: The execution.
            is_whole: It makes all of the output. Otherwise the mark is put aside, for `complete`.
            is_new: It recovers nothing: what others agreed on is forgotten.

        Raises:
            OperationError: The folder can not be written.
        """
        mark = self._root / SUCCESS
        with self._told():
            if is_whole:
                mark.unlink(missing_ok=True)
            elif mark.exists():
                aside = self._aside(ex_id)
                aside.parent.mkdir(exist_ok=True)
                mark.replace(aside)
            if is_new:
                for path in self._agreed.glob("*"):
                    if _decode_agreement(path.read_bytes()).ex_id != ex_id:
                        path.unlink(missing_ok=True)

    def agree(self, key: str, ex_id: str, words: list[str]) -> list[str]:
        """Words on which all slices of an execution and of its recoveries agree: those of the first to ask.

        Args:
            key: What they are about.
            ex_id: The execution.
            words: What they are if nothing was agreed yet; when they are empty nothing is.

        Raises:
            OperationError: The folder can not be read or written.
        """
        path = self._agreed / f"{key}{_MANIFEST}"
        with self._told(), suppress(FileNotFoundError):
            return _decode_agreement(path.read_bytes()).words
        if not words:
            return []
        with self._told(), self._locked(key, wait_s=_LOCK_WAIT_S) as is_mine:
            if not is_mine:
                raise OperationError(f"another slice is about to decide on {path}")
            if not path.exists():
                temporary = self._work / key / "0"
                temporary.write_bytes(_encode(Agreement(ex_id=ex_id, words=words)))
                _move(temporary, path)
            shutil.rmtree(self._work / key, ignore_errors=True)
            return _decode_agreement(path.read_bytes()).words

    def forget(self, ex_id: str, slice_ids: Collection[str]) -> None:
        """Remove all that attempts of these slices of an execution have committed.

        Args:
            ex_id: The execution; keys of its slices begin with it, then comes the id of the slice.
            slice_ids: Ids of slices that are none; each as long as the others.

        Raises:
            OperationError: Something can not be removed.
        """
        begin, length = len(ex_id) + 1, len(next(iter(slice_ids), ""))

        def is_one(name: str) -> bool:
            return name.startswith(f"{ex_id}-") and name[begin : begin + length] in slice_ids

        with self._told():
            for path in [path for path in _entries(self._manifests) if is_one(path.name)]:
                manifest = _decode(path.read_bytes())
                self._remove([*manifest.files, *manifest.stale])
                path.unlink()
            for path in [path for path in _entries(self._root) if is_one(path.name)]:
                path.unlink()

    def complete(self, ex_id: str, *, is_whole: bool) -> bool:
        """All slices of the execution are there: write `_SUCCESS`, which is empty, as the last file.

        Args:
            ex_id: The execution.
            is_whole: It made all of the output. Otherwise `_SUCCESS` is written if it was there before.

        Returns:
            False when the folder is not there: it is on another host.

        Raises:
            OperationError: The folder can not be written.
        """
        if not self._root.is_dir():
            return False
        aside, mark = self._aside(ex_id), self._root / SUCCESS
        with self._told():
            if self._work.is_dir():
                self.recover()
            if is_whole:
                mark.touch()
            elif aside.exists():
                aside.replace(mark)
            with Disk(self._root, is_durable=self._is_durable) as disk:
                disk.sync([mark, self._root])
        return True

    def _aside(self, ex_id: str) -> Path:
        return self._root / _HIDDEN / f"before-{ex_id}{_MANIFEST}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the system with the path.

        Raises:
            OperationError: In the place of an OSError.
        """
        try:
            yield
        except OSError as error:
            place = f"file {error.filename}" if error.filename else f"folder {self._root}"
            raise OperationError(f"{place} cannot be written: {error.strerror or error}") from error

    def recover(self) -> None:
        """Finish every commit that was decided and clear away every one that was not, but for living ones."""
        for work in sorted(self._work.iterdir()):
            with self._locked(work.name, wait_s=0.0) as is_mine:
                if is_mine:
                    self._finish(work)
                    shutil.rmtree(work, ignore_errors=True)

    def _finish(self, work: Path) -> None:
        manifest = self._read_manifest(work.name)
        if manifest is None:
            return
        for i, name in enumerate(manifest.files):
            temporary = work / f"{manifest.attempt}.{i}"
            if temporary.exists():
                _move(temporary, self._root / name)
        self._remove(manifest.stale)

    def commit(self, key: str, files: Mapping[str, bytes], *, only_file: str | None = None) -> None:
        """Make these the files of a slice, in place of all that earlier attempts of it left.

        Args:
            key: Names the slice in this folder; a valid file name.
            files: Content by path below the folder.
            only_file: The one path that this slice ever has; None when it may have any.

        Raises:
            OperationError: Another attempt holds the lock for too long, or writing failed: the message has
                the file. The earlier output is whole, or the commit is decided and the next attempt
                replaces it.
        """
        with self._told():
            try:
                with self._locked(key, wait_s=_LOCK_WAIT_S) as is_mine:
                    if not is_mine:
                        raise OperationError(f"another attempt of slice {key} is writing its files")
                    self._replace(key, files, only_file)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    with suppress(OSError):
                        self.recover()
                raise

    def _replace(self, key: str, files: Mapping[str, bytes], only_file: str | None) -> None:
        """Do the commit; the lock is held."""
        work, attempt = self._work / key, secrets.token_hex(8)
        before = self._read_manifest(key)
        earlier = set() if before is None else {*before.files, *before.stale}
        if only_file is not None:
            earlier.add(only_file)
        stale = sorted(earlier.difference(files))
        manifest = None
        if before is not None or (only_file is None and files):
            manifest = Manifest(attempt=attempt, files=list(files), stale=stale)
        _clear(work)
        with Disk(self._root, is_durable=self._is_durable) as disk:
            made: list[Path] = []
            try:
                self._write(disk, work, attempt, files, manifest)
                self._make_folders(files, made)
            except Exception:
                self._give_up(work, made)
                raise
            if manifest is not None:
                _move(work / f"{attempt}.manifest", self._manifests / f"{key}{_MANIFEST}")
                (self._manifests / f"{key}{_OLD_MANIFEST}").unlink(missing_ok=True)
                disk.sync([self._manifests])
            for i, name in enumerate(files):
                _move(work / f"{attempt}.{i}", self._root / name)
            self._remove(stale)
            disk.sync({self._root / folder for name in (*files, *stale) for folder in PurePath(name).parents})
        shutil.rmtree(work, ignore_errors=True)

    def _write(
        self, disk: Disk, work: Path, attempt: str, files: Mapping[str, bytes], manifest: Manifest | None
    ) -> None:
        """Put the temporary files on the disk.

        Raises:
            OSError: One cannot be written; it names the file that it would have become.
        """
        contents = {
            work / f"{attempt}.{i}": (content, name) for i, (name, content) in enumerate(files.items())
        }
        if manifest is not None:
            contents[work / f"{attempt}.manifest"] = (_encode(manifest), f"{_HIDDEN}/slices")
        for path, (content, name) in contents.items():
            try:
                path.write_bytes(content)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._root / name)) from error
        disk.sync(contents)

    def _make_folders(self, names: Collection[str], made: list[Path]) -> None:
        """Make the folders that files will stand in, and put those that were not there first into `made`."""
        wanted = {self._root / folder for name in names for folder in PurePath(name).parents}
        for folder in sorted(wanted):
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                made.insert(0, folder)

    @staticmethod
    def _give_up(work: Path, made: Collection[Path]) -> None:
        """Take along what a failed attempt made."""
        shutil.rmtree(work, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # somebody uses it
                folder.rmdir()

    def _read_manifest(self, key: str) -> Manifest | None:
        for suffix in (_MANIFEST, _OLD_MANIFEST):
            with suppress(FileNotFoundError):
                return _decode((self._manifests / f"{key}{suffix}").read_bytes())
        return None

    def _remove(self, names: list[str]) -> None:
        for name in names:
            (self._root / name).unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str, *, wait_s: float) -> Iterator[bool]:
        """Hold the lock of a slice; False when another process has it all the time."""
        fd = self._lock(self._work / key / _LOCK, time.monotonic() + wait_s)
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)

    def _lock(self, path: Path, deadline: float) -> int | None:
        while True:
            fd = self._open_lock(path)
            if fd is not None and self._try_lock(fd, path):
                return fd
            if fd is not None:
                os.close(fd)
            if time.monotonic() >= deadline:
                return None
            self._sleep(_LOCK_LOOK_S)

    def _open_lock(self, path: Path) -> int | None:
        """The lock file, made if needed; None when another attempt took its folder along."""
        try:
            with suppress(FileExistsError):  # exist_ok would look again, when it may be gone already
                path.parent.mkdir(parents=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            return None

    @staticmethod
    def _try_lock(fd: int, path: Path) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(fd).st_ino == path.stat().st_ino  # else it is the lock of a folder that is gone
        except (BlockingIOError, FileNotFoundError):
            return False


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _move(temporary: Path, target: Path) -> None:
    try:
        temporary.replace(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)


def _clear(work: Path) -> None:
    for leftover in work.iterdir():
        if leftover.name != _LOCK:
            leftover.unlink()

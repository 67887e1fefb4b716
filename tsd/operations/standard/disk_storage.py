"""The local disk, or what is mounted there, as a `Storage`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations.standard.file_identity import Seen, describe, describe_closed, verify
from tsd.operations.standard.file_walk import WalkKey, check_readable, unreadable, walk, walk_key
from tsd.operations.standard.slice_files import SliceFiles
from tsd.operations.standard.storage import Found, Output, Storage, StoredFile

_PIECE_B = 1_048_576


class DiskFile(StoredFile):
    """A file that is open for reading."""

    def __init__(self, fd: int, path: str, seen: Seen | None = None) -> None:
        """Whoever gives the descriptor closes it; for `seen` look at `verify` in `file_identity`."""
        self._fd = fd
        self._path = path
        self._seen = seen

    @override
    def verify(self, total_b: int, version: str) -> None:
        try:
            verify(self._fd, self._path, total_b, version, self._seen)
        except OSError as error:
            raise unreadable(self._path, error) from error

    @override
    def read_at(self, offset_b: int, length_b: int) -> bytes:
        data = self._pread(length_b, offset_b)
        if len(data) == length_b:
            return data
        parts = [data]
        while data and (missing_b := length_b - sum(map(len, parts))):
            data = self._pread(missing_b, offset_b + length_b - missing_b)
            parts.append(data)
        whole = b"".join(parts)
        if len(whole) < length_b:
            end_b = offset_b + len(whole)
            raise OperationError(f"file {self._path} has become shorter: it ends at byte {end_b}")
        return whole

    @override
    def stream(self, total_b: int) -> Iterator[bytes]:
        for offset_b in range(0, total_b, _PIECE_B):
            yield self.read_at(offset_b, min(_PIECE_B, total_b - offset_b))

    def _pread(self, length_b: int, offset_b: int) -> bytes:
        try:
            return os.pread(self._fd, length_b, offset_b)
        except OSError as error:
            raise unreadable(self._path, error) from error


class DiskStorage(Storage):
    """Files by their paths; a relative path begins at the working directory of the process."""

    def __init__(self) -> None:
        self._seen: Seen = {}

    @override
    def check(self, root: str) -> None:
        check_readable(root)

    @override
    def list(self, root: str) -> Iterator[str]:
        return walk(root)

    @override
    def place(self, root: str, path: str) -> WalkKey:
        return walk_key(root, path)

    @override
    def find(self, path: str) -> Found | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except PermissionError:
            # Its slice fails, with its name; the other files are read.
            return Found(path, *describe_closed(Path(path).stat()))
        except OSError as error:
            raise unreadable(path, error) from error
        try:
            return Found(path, *describe(fd, path))
        except OSError as error:
            raise unreadable(path, error) from error
        finally:
            os.close(fd)

    @override
    @contextmanager
    def open(self, path: str) -> Iterator[DiskFile]:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(path, error) from error
        try:
            yield DiskFile(fd, path, self._seen)
        finally:
            os.close(fd)

    @override
    def output(self, root: str, *, is_durable: bool, sleep: Callable[[float], None]) -> Output:
        return SliceFiles(Path(root), is_durable=is_durable, sleep=sleep)

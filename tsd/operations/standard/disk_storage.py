"""The local disk, or what is mounted there, as a `Storage`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations.standard.file_walk import check_readable, shown, walk
from tsd.operations.standard.slice_files import SliceFiles
from tsd.operations.standard.storage import Found, Output, Storage, StoredFile

_PIECE_B = 1_048_576


class DiskFile(StoredFile):
    """A file that is open for reading."""

    def __init__(self, fd: int, path: str) -> None:
        """Whoever gives the descriptor closes it."""
        self._fd = fd
        self._path = path

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
            raise OperationError(f"file {shown(self._path)} can not be read: {error.strerror}") from error


class DiskStorage(Storage):
    """Files by their paths; a relative path begins at the working directory of the process."""

    @override
    def check(self, root: str) -> None:
        check_readable(root)

    @override
    def list(self, root: str, after: str | None = None) -> Iterator[Found]:
        for path in walk(root, after):
            try:
                yield Found(path, Path(path).stat().st_size)
            except FileNotFoundError:
                continue  # gone since its folder was listed, as if it had never been there
            except OSError as error:
                raise OperationError(f"file {shown(path)} can not be read: {error.strerror}") from error

    @override
    def size_of(self, path: str) -> int:
        try:
            return Path(path).stat().st_size
        except OSError as error:
            raise OperationError(f"file {shown(path)} can not be read: {error.strerror}") from error

    @override
    @contextmanager
    def open(self, path: str) -> Iterator[DiskFile]:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise OperationError(f"file {shown(path)} can not be read: {error.strerror}") from error
        try:
            yield DiskFile(fd, path)
        finally:
            os.close(fd)

    @override
    def output(self, root: str, *, is_durable: bool, sleep: Callable[[float], None]) -> Output:
        return SliceFiles(Path(root), is_durable=is_durable, sleep=sleep)

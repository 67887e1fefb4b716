"""The files below a folder, in an order that never changes."""

import errno
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePath

from tsd.errors import OperationError

WalkKey = tuple[int, tuple[str, ...], str]


def walk(root: str, after: str | None = None) -> Iterator[str]:
    """The files below a folder, or the file itself.

    Breadth first: the files of a folder by name, then those of its sub-folders. Names that begin with a dot
    are skipped, and so are folders behind symbolic links, which could lead in circles.

    Args:
        root: A file or a folder.
        after: A file of an earlier walk; begin with it, or with what comes after it if it is gone.

    Raises:
        OperationError: Something can not be read; the message names it.
    """
    if Path(root).is_file():
        yield root
        return
    start = None if after is None else _key(root, after)
    folders = deque([root.rstrip("/") or "/."])
    while folders:
        folder = folders.popleft()
        files, subfolders = _list(folder)
        folders.extend(f"{folder}/{name}" for name in subfolders)
        for name in files:
            path = f"{folder}/{name}"
            _check_name(path)
            if start is None or _key(root, path) >= start:
                yield path


def shown(path: str) -> str:
    """A path for people: a relative one with the place that it leads to."""
    return path if path.startswith("/") else f"{path} ({Path(path).absolute()})"


def check_readable(root: str) -> None:
    """Refuse a path that can not be read.

    Raises:
        OperationError: It does not exist, is neither file nor folder, or the permission is missing.
    """
    try:
        if Path(root).is_dir():
            os.scandir(root).close()
        elif Path(root).is_file():
            os.close(os.open(root, os.O_RDONLY))
        elif os.path.lexists(root):
            raise OperationError(f"path {shown(root)} is neither a file nor a folder")
        else:
            raise OperationError(f"path {shown(root)} does not exist")
    except OSError as error:
        raise OperationError(f"path {shown(root)} can not be read: {error.strerror}") from error


def _list(folder: str) -> tuple[list[str], list[str]]:
    files, subfolders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    subfolders.append(entry.name)
                elif _is_file(entry):
                    files.append(entry.name)
    except OSError as error:
        raise OperationError(f"folder {shown(folder)} can not be read: {error.strerror}") from error
    return sorted(files), sorted(subfolders)


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file, or a link to one; a link to nothing, or in a circle, is none.

    Raises:
        OperationError: It can not be told.
    """
    try:
        return entry.is_file()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise OperationError(f"file {shown(entry.path)} can not be read: {error.strerror}") from error


def _check_name(path: str) -> None:
    """Refuse a name that a slice request, which is JSON, can not hold."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise OperationError(f"the name of file {path!a} is no UTF-8: rename it") from error


def _key(root: str, path: str) -> WalkKey:
    """Where a file stands in the walk: breadth first is by depth, then by folder, then by name."""
    *folders, name = PurePath(path).relative_to(root).parts
    return len(folders), tuple(folders), name

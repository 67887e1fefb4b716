"""The files below a folder, in an order that never changes."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePath

from tsd.errors import OperationError

WalkKey = tuple[int, tuple[str, ...], str]


def walk(root: str) -> Iterator[str]:
    """The files below a folder, or the file itself, in the order of `walk_key`.

    Breadth first: the files of a folder by name, then those of its sub-folders. Names that begin with a dot
    or with `_` are skipped, as other tools have it, but for a folder of a partition (`_name=value`). So are
    folders behind symbolic links, which could lead in circles.

    Args:
        root: A file or a folder.

    Raises:
        OperationError: Something can not be read; the message names it.
    """
    if Path(root).is_file():
        yield root
        return
    folders = deque([root.rstrip("/") or "/."])
    while folders:
        folder = folders.popleft()
        files, subfolders = _list(folder)
        folders.extend(f"{folder}/{name}" for name in subfolders)
        for name in files:
            path = f"{folder}/{name}"
            _check_name(path)
            yield path


def walk_key(root: str, path: str) -> WalkKey:
    """Where a file stands in the walk: breadth first is by depth, then by folder, then by name.

    Raises:
        ValueError: It is not below the root.
    """
    if path == root:
        return 0, (), ""
    *folders, name = PurePath(path).relative_to(root).parts or ("",)
    return len(folders), tuple(folders), name


def is_hidden(name: str, *, is_folder: bool) -> bool:
    """Whether a walk skips the name."""
    return name.startswith(".") or (name.startswith("_") and not (is_folder and "=" in name))


def unreadable(path: str, error: OSError) -> OperationError:
    """The error for a file that the system does not let us read."""
    return OperationError(f"file {shown(path)} can not be read: {error.strerror}")


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
                is_folder = entry.is_dir(follow_symlinks=False)
                if is_hidden(entry.name, is_folder=is_folder):
                    continue
                if is_folder:
                    subfolders.append(entry.name)
                elif _is_file(entry):
                    files.append(entry.name)
    except OSError as error:
        raise OperationError(f"folder {shown(folder)} can not be read: {error.strerror}") from error
    return sorted(files), sorted(subfolders)


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file, or a link to one.

    Raises:
        OperationError: It can not be told, or it is a link to nothing.
    """
    try:
        is_file = entry.is_file()
    except OSError as error:
        raise unreadable(entry.path, error) from error
    if not is_file and entry.is_symlink() and not Path(entry.path).exists():
        target = Path(entry.path).readlink()
        raise OperationError(
            f"file {shown(entry.path)} is a link to {target}, which does not exist: remove the link, or "
            "bring back what it leads to"
        )
    return is_file


def _check_name(path: str) -> None:
    """Refuse a name that a slice request, which is JSON, can not hold."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise OperationError(f"the name of file {path!a} is no UTF-8: rename it") from error

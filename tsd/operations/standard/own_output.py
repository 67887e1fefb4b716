"""A job must not read what it writes: the paths of its reader against those of its writers.

They are compared as they lead, through `..`, links and mounts: first by the path without links, then by
what the file system says is the same folder. The master asks when a job is posted, as far as the paths
exist there; the processes ask again when they start, where they do. Relative paths begin at the working
directory of whoever asks.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from tsd.errors import OperationError
from tsd.operations.standard.file_walk import is_hidden

_READERS = ("file_reader", "file_reader_api")
_WRITERS = ("file_exporter", "file_sender_api", "dead_letter_file")


@attrs.frozen
class Used:
    """A path that a job uses.

    Attributes:
        option: Where it stands in the job, for example `operations[1].path`.
        path: As it is written there.
    """

    option: str
    path: str


def check_own_output(execution: Mapping[str, Any]) -> None:
    """Refuse an execution that would read what it writes.

    Raises:
        OperationError: It would; the message names both options and paths.
    """
    for fault in own_output_faults(execution):
        raise OperationError(fault)


def own_output_faults(job: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each writer of the job whose folder is the reader's, in it, or around it."""
    for source in _used(job, _READERS):
        for target in _used(job, _WRITERS):
            relation = _relation(source.path, target.path)
            if relation is not None:
                yield (
                    f"a job cannot read what it writes: {target.option} ({target.path}) {relation} "
                    f"{source.option} ({source.path}), which is read; write to a folder beside it"
                )


def _used(job: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[Used]:
    for kind, key in (("operations", "_op"), ("apis", "_name")):
        for i, entry in enumerate(job.get(kind) or ()):
            if not isinstance(entry, Mapping) or _base_name(entry.get(key)) not in names:
                continue
            path = entry.get("path")
            # An operation that names an API has the path of the API.
            is_linked = kind == "operations" and bool(entry.get("_api_name") or entry.get("api_name"))
            if isinstance(path, str) and path and "\0" not in path and not is_linked:
                yield Used(f"{kind}[{i}].path", path)


def _base_name(name: object) -> str:
    """The name of an operation or API without its bundle and its tag."""
    return str(name).partition("@")[0].partition(":")[0]


def _relation(source: str, target: str) -> str | None:
    """How the target stands to the source, as a clause; None when they have nothing to do with each other."""
    real_source, real_target = Path(os.path.realpath(source)), Path(os.path.realpath(target))
    below = _below(real_target, real_source)
    if below == ():
        return "is the same as"
    if below is not None:
        # What the walk of the reader skips is not read.
        return None if any(is_hidden(name, is_folder=True) for name in below) else "is inside"
    return None if _below(real_source, real_target) is None else "is around"


def _below(path: Path, folder: Path) -> tuple[str, ...] | None:
    """The names that lead from a folder down to a path; None when it is not below it."""
    wanted = _identity(folder)
    for ancestor in (path, *path.parents):
        if ancestor == folder or (wanted is not None and _identity(ancestor) == wanted):
            return path.relative_to(ancestor).parts
    return None


def _identity(path: Path) -> tuple[int, int] | None:
    """What the file system knows it by, which is the same through mounts; None when it does not exist."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino

"""Fields by path, the one rule of all options that name fields.

`a.b.0` is element 0 of field b of field a. A field of that very name, `"a.b.0"`, wins when the record has
one, for reading, setting and removing alike. A name without a dot is a field of the record itself. So an
option means the same in every operation; what an operation does with a record that lacks the field is its
own.
"""

from collections.abc import Callable, Iterable
from typing import Any

from tsd.operations.standard.values import MISSING

__all__ = ["MISSING", "drop_path", "get_path", "has_path", "path_reader", "set_path", "unknown_of"]


def get_path(record: dict[str, Any], path: str) -> Any:
    """The value at a path, or MISSING."""
    if path in record:
        return record[path]
    if "." not in path:
        return MISSING
    value: Any = record
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and _is_index(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value


def path_reader(path: str, default: Any = None) -> Callable[[dict[str, Any]], Any]:
    """A function that reads the value at a path, the default when it is not there; quick for plain names."""
    if "." not in path:
        return lambda record: record.get(path, default)

    def read(record: dict[str, Any]) -> Any:
        value = get_path(record, path)
        return default if value is MISSING else value

    return read


def has_path(record: dict[str, Any], path: str) -> bool:
    """Whether there is a field at a path, even if it is null."""
    return get_path(record, path) is not MISSING


def set_path(record: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a path.

    Objects on the way are made, and take the place of null and of what has no fields. An array takes elements
    that it has, and one more at its end.

    Raises:
        ValueError: An array stands in the way; nothing was changed.
    """
    if path in record or "." not in path:
        record[path] = value
        return
    steps = path.split(".")
    _check_arrays(record, steps)
    place: Any = record
    for step in steps[:-1]:
        inner = _inner(place, step)
        if not isinstance(inner, list | dict):
            inner = {}
            _put(place, step, inner)
        place = inner
    _put(place, steps[-1], value)


def _check_arrays(record: dict[str, Any], steps: list[str]) -> None:
    """See that every array on the way has the element that the path names, or can get it."""
    place: Any = record
    for number, step in enumerate(steps):
        if isinstance(place, list) and not (_is_index(step) and int(step) <= len(place)):
            raise ValueError(f"{'.'.join(steps[:number])} is an array and has no place {step!r}")
        place = _inner(place, step)
        if not isinstance(place, list | dict):
            return


def _inner(place: Any, step: str) -> Any:
    if isinstance(place, dict):
        return place.get(step)
    return place[int(step)] if int(step) < len(place) else None


def _put(place: Any, step: str, value: Any) -> None:
    if isinstance(place, dict):
        place[step] = value
    elif int(step) < len(place):
        place[int(step)] = value
    else:
        place.append(value)


def _is_index(step: str) -> bool:
    """Whether it is an index as JSON writes it: `0`, `17`, and not `01`, `-1` or digits of other scripts."""
    return step.isascii() and step.isdecimal() and (step == "0" or step[0] != "0") and len(step) < 10


def drop_path(record: dict[str, Any], path: str) -> None:
    """Remove the field at a path; nothing happens when it is not there.

    An element of an array goes too, and those behind it move up.
    """
    if path in record:
        del record[path]
        return
    parent, _, last = path.rpartition(".")
    place = get_path(record, parent) if parent else MISSING
    if isinstance(place, dict):
        place.pop(last, None)
    elif isinstance(place, list) and _is_index(last) and int(last) < len(place):
        del place[int(last)]


def unknown_of(record: dict[str, Any], known: Iterable[str]) -> str | None:
    """The first field of a record that is at none of the paths, or None.

    A path makes the field itself known and all within it; a field in which only some are known is looked
    into.
    """
    names: dict[str, list[str]] = {}
    whole = set()
    for path in known:
        whole.add(path)
        first, dot, rest = path.partition(".")
        if dot:
            names.setdefault(first, []).append(rest)
    for name, value in record.items():
        if name in whole:
            continue
        inner = names.get(name)
        if inner is None:
            return name
        fields = (
            {str(number): each for number, each in enumerate(value)} if isinstance(value, list) else value
        )
        if not isinstance(fields, dict):
            return name
        unknown = unknown_of(fields, inner)
        if unknown is not None:
            return f"{name}.{unknown}"
    return None

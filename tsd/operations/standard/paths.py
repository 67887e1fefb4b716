"""Fields by path: `a.b.0` is element 0 of field b of field a; a field of that very name wins."""

import itertools
from typing import Any

MISSING = object()
"""Stands for a field that is not there, which differs from null."""


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
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value


def set_path(record: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a path; objects on the way are made, and take the place of what can not be entered."""
    if path in record or "." not in path:
        record[path] = value
        return
    steps = path.split(".")
    place: Any = record
    for step, following in itertools.pairwise(steps):
        at = _place(place, step)
        inner = place.get(at) if isinstance(place, dict) else place[at]
        if not _can_enter(inner, following):
            inner = place[at] = {}
        place = inner
    place[_place(place, steps[-1])] = value


def _place(place: Any, step: str) -> Any:
    return int(step) if isinstance(place, list) else step


def _can_enter(place: Any, step: str) -> bool:
    if isinstance(place, list):
        return step.isdecimal() and int(step) < len(place)
    return isinstance(place, dict)


def drop_path(record: dict[str, Any], path: str) -> None:
    """Remove the field at a path; nothing happens when it is not there."""
    if path in record:
        del record[path]
        return
    parent, _, last = path.rpartition(".")
    place = get_path(record, parent) if parent else MISSING
    if isinstance(place, dict):
        place.pop(last, None)

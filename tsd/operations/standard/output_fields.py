"""Which fields of a record are written, and whether a name that an option has is a field of anything.

A name without a dot is the name of keys at any depth, as in Teraslice: `["a", "b"]` makes `{"a": {"b": 1,
"c": 2}}` into `{"a": {"b": 1}}`. A name with a dot is a path, and what stands there is written whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from tsd.operations.standard.paths import has_path
from tsd.operations.standard.values import MISSING

Tree = dict[str, Optional["Tree"]]
"""Steps of paths; None ends one."""


def none_of(names: Iterable[str]) -> str:
    """What is wrong with a record that has none of the fields."""
    return f"the record has none of the fields that are to be written: {', '.join(names)}"


class Chosen:
    """Makes what is written of a record."""

    def __init__(self, fields: Sequence[str]) -> None:
        """Look at the names once."""
        self._fields = tuple(fields)
        self._names = [name for name in fields if "." not in name]
        self._paths = [name for name in fields if "." in name]

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that are written.

        Raises:
            ValueError: The record has none of them, though it has others.
        """
        chosen: dict[str, Any] = _only(record, self._names)
        if self._paths:
            chosen |= {path: record[path] for path in self._paths if path in record}
            self._add_nested(chosen, record)
        if not chosen and record:
            raise ValueError(none_of(self._fields))
        return chosen

    def _add_nested(self, chosen: dict[str, Any], record: Mapping[str, Any]) -> None:
        tree: Tree = {}
        for path in self._paths:
            if path not in record:
                _grow(tree, path.split("."))
        for name, inner in tree.items():
            found = MISSING if name not in record else _pruned(record[name], inner)
            if found is MISSING:
                continue
            before = chosen.get(name)
            is_both = isinstance(before, dict) and isinstance(found, dict)
            chosen[name] = {**before, **found} if is_both else found  # type: ignore[dict-item]


def _only(value: Any, names: Sequence[str]) -> Any:
    """A JSON value with only these keys, also in the objects within it."""
    if isinstance(value, Mapping):
        return {name: _only(value[name], names) for name in names if name in value}
    if isinstance(value, list | tuple):
        return [_only(item, names) for item in value]
    return value


def _grow(tree: Tree, steps: list[str]) -> None:
    place = tree
    for step in steps[:-1]:
        inner = place.setdefault(step, {})
        if inner is None:  # all of it is written anyway
            return
        place = inner
    place[steps[-1]] = None


def _pruned(value: Any, tree: Tree | None) -> Any:
    """What of a value the paths lead to; MISSING when that is nothing."""
    if tree is None:
        return value
    if isinstance(value, list):
        named = {str(number): item for number, item in enumerate(value)}
        return list(kept.values()) if (kept := _pruned(named, tree)) is not MISSING else MISSING
    if not isinstance(value, dict):
        return MISSING
    found = {name: _pruned(value[name], inner) for name, inner in tree.items() if name in value}
    found = {name: each for name, each in found.items() if each is not MISSING}
    return found or MISSING


def nowhere(records: Sequence[Mapping[str, Any]], path: str, *, is_anywhere: bool = False) -> bool:
    """Whether no record has a field.

    Args:
        records: Some.
        path: Of the field.
        is_anywhere: A name without a dot may be the key of an object within a record, too.
    """
    if any(has_path(record, path) for record in records if isinstance(record, dict)):
        return False
    return not (is_anywhere and "." not in path and any(_has_key(record, path) for record in records))


def _has_key(value: Any, name: str) -> bool:
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, Mapping):
            if name in each:
                return True
            stack += each.values()
        elif isinstance(each, list):
            stack += each
    return False

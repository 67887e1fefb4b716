"""Writes the tables of docs/architecture.md from the code: statuses, slice states, kinds of recovery.

`python docs/generate.py` (or `make docs`) writes them; a test compares the page with what this writes.
"""

import ast
import inspect
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path

from tsd.core.execution.lifecycle import TRANSITIONS, LifecycleEvent
from tsd.core.records import (
    ENDS_AFTER_REPLAY,
    INIT_STATUSES,
    REPLAYED_STATES,
    RUNNING_STATUSES,
    TERMINAL_STATUSES,
    RecoveryMode,
    SliceState,
    Status,
)

PAGE = Path(__file__).parent / "architecture.md"
_GROUPS = (("init", INIT_STATUSES), ("running", RUNNING_STATUSES), ("terminal", TERMINAL_STATUSES))


def meanings(enum: type[Enum]) -> dict[str, str]:
    """The text under each member of an enum, in the order of the source; empty where there is none."""
    (node,) = ast.parse(inspect.getsource(enum)).body
    assert isinstance(node, ast.ClassDef)
    found: dict[str, str] = {}
    name = ""
    for line in node.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            name = line.targets[0].id
            found[name] = ""
        elif isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and name:
            found[name] = " ".join(str(line.value.value).split())
    return found


def statuses() -> str:
    """The groups of statuses, and what each event leads to."""
    about = meanings(Status)
    groups = [
        (f"`{status}`", group, about[status.name])
        for group, members in _GROUPS
        for status in members_of(members)
    ]
    events = meanings(LifecycleEvent)
    changes = [(f"`{event}`", events[event.name], change(event)) for event in LifecycleEvent]
    return "\n\n".join(
        [table(("status", "group", "meaning"), groups), table(("event", "who, and why", "changes"), changes)]
    )


def members_of(group: Iterable[Status]) -> list[Status]:
    """The statuses of a group in the order in which they are declared."""
    members = set(group)
    return [status for status in Status if status in members]


def change(event: LifecycleEvent) -> str:
    """From which statuses an event leads where."""
    after: dict[Status, list[Status]] = {}
    same: list[Status] = []
    for status in Status:
        target = TRANSITIONS.get((status, event))
        if target is status:
            same.append(status)
        elif target is not None:
            after.setdefault(target, []).append(status)
    parts = [f"{words(sources)} → `{target}`" for target, sources in after.items()]
    if same:
        parts.append(f"{words(same)} {'stays' if len(same) == 1 else 'stay'}")
    return "; ".join(parts)


def slice_states() -> str:
    """The states of a slice record, and which of them each kind of recovery runs again."""
    about = meanings(SliceState)
    states = [(f"`{state.word}`", about[state.name]) for state in SliceState]
    modes = [
        (
            f"`{mode}`",
            words(state.word for state in SliceState if state in REPLAYED_STATES[mode]),
            "ends" if mode in ENDS_AFTER_REPLAY else "goes on",
        )
        for mode in RecoveryMode
    ]
    return "\n\n".join(
        [table(("state", "meaning"), states), table(("recovery", "runs again", "then the execution"), modes)]
    )


def words(names: Iterable[str]) -> str:
    """Names in code style, separated by commas."""
    return ", ".join(f"`{name}`" for name in names)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def page() -> str:
    """The page with its generated parts as they have to be.

    Raises:
        ValueError: A marker is missing.
    """
    text = PAGE.read_text(encoding="utf-8")
    for name, content in (("statuses", statuses()), ("slice states", slice_states())):
        begin, end = f"<!-- {name}: written by docs/generate.py -->\n", f"<!-- end of {name} -->"
        before, has_begin, rest = text.partition(begin)
        _, has_end, after = rest.partition(end)
        if not (has_begin and has_end):
            raise ValueError(f"{PAGE.name} has no markers of {name}")
        text = f"{before}{begin}\n{content}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

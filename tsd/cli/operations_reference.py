"""The reference of the standard operations, written from their config classes into docs/operations.md."""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tsd.operations.base import Definition, Kind
from tsd.operations.config import ApiConfig, BaseConfig, OpConfig, Option, options_of
from tsd.operations.registry import Registry
from tsd.operations.standard.arithmetic import FUNCTIONS
from tsd.operations.standard.validators import VALIDATORS

PAGE = "docs/operations.md"
EXAMPLES = "examples/operations"
ROOT = Path(__file__).resolve().parents[2]
"""The project's folder; the page is written in a checkout only."""
BEGIN = "<!-- The rest is written by `make docs` from the classes of the operations: change it there. -->\n"
_GROUPS = (
    ("Readers", (Kind.READER,)),
    ("Processors", (Kind.PROCESSOR,)),
    ("APIs", (Kind.API, Kind.OBSERVER)),
)
_MORE: Mapping[str, str] = {
    "filter": f"Validators: {', '.join(f'`{name}`' for name in VALIDATORS)}.",
    "derive": (
        "An expression has numbers, text in quotes, `true`, `false`, `null`, names of fields, "
        '`field("any name")`, `+ - * / // % **`, comparisons with `in` and `not in`, `and`, `or`, `not`, '
        f"parentheses, and the functions {', '.join(f'`{name}`' for name in FUNCTIONS)}. Nothing else, so a "
        "job can not run code through it."
    ),
}
"""What the options alone do not tell."""


def with_reference(page: str) -> str:
    """The page with its reference, which is everything behind the marker, written anew.

    Raises:
        ValueError: The page has no marker.
    """
    guide, marker, _ = page.partition(BEGIN)
    if not marker:
        raise ValueError(f"{PAGE} has no line {BEGIN!r}")
    return f"{guide}{BEGIN}\n{reference()}"


def reference() -> str:
    """Every operation and API that comes with tsd."""
    parts = [
        "## Options that all have\n",
        "Every operation:\n",
        *_table(options_of(OpConfig)),
        "Every API:\n",
        *_table(options_of(ApiConfig)),
    ]
    definitions = Registry().definitions()
    for title, kinds in _GROUPS:
        parts.append(f"## {title}\n")
        for definition in definitions:
            if definition.kind in kinds:
                parts += _entry(definition)
    return "\n".join(parts).rstrip() + "\n"


def _entry(definition: Definition) -> list[str]:
    """One operation: what it does, and the options that only it has."""
    parts = [f"### `{definition.name}`\n", _doc(definition.component) + "\n"]
    if definition.slicer is not None:
        parts.append(f"**Slicer.** {_doc(definition.slicer)}\n")
    own = own_options(definition)
    parts += _table(own) if own else ["It has no options of its own.\n"]
    if more := _MORE.get(definition.name):
        parts.append(more + "\n")
    return [*parts, *_example(definition.name)]


def _example(name: str) -> list[str]:
    """Its job in `examples/operations`, when there is one."""
    path = f"{EXAMPLES}/{name}.json"
    file = ROOT / path
    if not file.exists():
        return []
    return [f"Example, [{path}](../{path}):\n", f"```json\n{file.read_text().rstrip()}\n```\n"]


def own_options(definition: Definition) -> list[Option]:
    """The options that not every operation, or API, has."""
    shared: type[BaseConfig] = ApiConfig if definition.kind in (Kind.API, Kind.OBSERVER) else OpConfig
    names = {option.name for option in options_of(shared)}
    return [option for option in options_of(definition.config) if option.name not in names]


def _doc(cls: type) -> str:
    doc = inspect.getdoc(cls)
    assert doc, f"{cls.__name__} needs a docstring"
    return doc


def _table(options: Iterable[Option]) -> list[str]:
    rows = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    for option in options:
        cells = (f"`{option.name}`", _type(option), _default(option), _meaning(option))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*rows, ""]


def _type(option: Option) -> str:
    choices = option.choices
    return f"one of {', '.join(f'`{choice}`' for choice in choices)}" if choices else option.type


def _default(option: Option) -> str:
    return "required" if option.is_required else f"`{msgspec.json.encode(option.default).decode()}`"


def _meaning(option: Option) -> str:
    return f"{option.doc} (deprecated: {option.deprecated})" if option.deprecated else option.doc

"""`tsd ops`: which operations there are, what they take, and the schema of jobs that use them."""

import difflib
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tsd.assets.folders import bundle_in
from tsd.cli.operations_reference import own_options
from tsd.errors import AssetError
from tsd.master.api.documents import JobBody
from tsd.operations.base import Definition, Kind
from tsd.operations.config import ApiConfig, OpConfig, Option, options_of
from tsd.operations.registry import Registry
from tsd.operations.schema import definition_schema, job_schema
from tsd.settings import Settings

TITLES = {
    Kind.READER: "Readers",
    Kind.PROCESSOR: "Processors",
    Kind.API: "APIs",
    Kind.OBSERVER: "Observers",
}
_LAID_OUT = re.compile(r"^(?: |\* |- |\||>|```)", re.MULTILINE)
_WIDTH = 100
"""Longer lines are hard to read, however wide the terminal is."""


def registry_of(settings: Settings, bundles: Sequence[Path]) -> Registry:
    """Operations of tsd, of the modules that the cluster file names, and of these folders.

    Raises:
        AssetError: A module or a bundle can not be imported, or a folder is none.
    """
    return Registry(settings.tsd.operation_modules, [bundle_in(folder) for folder in bundles])


def listing(definitions: Iterable[Definition]) -> str:
    """All of them by kind, each with the first line of what is known of it."""
    known = list(definitions)
    width = max((len(each.name) for each in known), default=0)
    blocks = []
    for kind, title in TITLES.items():
        lines = [
            _hung(f"  {each.name:{width}}  {_first_line(each)}".rstrip(), width + 4)
            for each in known
            if each.kind is kind
        ]
        if lines:
            blocks.append("\n".join([title, *lines]))
    return "\n\n".join(blocks)


def listing_json(definitions: Iterable[Definition]) -> str:
    """The same for programs."""
    return _json(
        [{"name": each.name, "kind": each.kind, "description": _first_line(each)} for each in definitions]
    )


def find(registry: Registry, name: str, kind: str | None) -> list[Definition]:
    """The definitions of that name; an operation and an API may share one.

    Raises:
        AssetError: There is none, or it is in several bundles; the message says what to do.
    """
    definitions = registry.definitions()
    found = [each for each in definitions if each.name == name and kind in (None, each.kind)]
    if not found:
        near = difflib.get_close_matches(name, {each.name for each in definitions})
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `tsd ops list` shows what there is"
        raise AssetError(f"there is no {kind or 'operation or API'} named {name}{hint}")
    getters = {Kind.READER: registry.reader, Kind.PROCESSOR: registry.processor}
    return [getters.get(each, registry.api)(name) for each in dict.fromkeys(each.kind for each in found)]


def _width() -> int:
    """How wide text is to be: as the terminal, at most `_WIDTH`."""
    return max(40, min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns))


def _hung(line: str, indent: int) -> str:
    """A line with its rest below its second column; on no terminal as it is, one line for `grep`."""
    if not sys.stdout.isatty():
        return line
    return "\n".join(textwrap.wrap(line, _width(), subsequent_indent=" " * indent, break_long_words=False))


def _wrapped(text: str) -> str:
    """The paragraphs of a text in the width; lists, tables and code stay as they are."""
    width = _width()
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        each
        if _LAID_OUT.search(each)
        else "\n".join(textwrap.wrap(each, width, break_long_words=False, break_on_hyphens=False))
        for each in paragraphs
    )


def description(definition: Definition) -> str:
    """What an operation does, and its options."""
    parts = [f"{definition.name} ({definition.kind})", _wrapped(_doc(definition.component))]
    if definition.slicer is not None:
        parts.append(_wrapped(f"Slicer: {_doc(definition.slicer)}"))
    shared = ApiConfig if definition.kind in (Kind.API, Kind.OBSERVER) else OpConfig
    own = own_options(definition)
    parts.append(_options("Options", own) if own else "It has no options of its own.")
    parts.append(_options("Options that all have", options_of(shared)))
    return "\n\n".join(part.rstrip() for part in parts)


def schema_of(definition: Definition) -> str:
    """The JSON Schema of an entry in a job."""
    return _json(definition_schema(definition))


def schema_of_jobs(definitions: Iterable[Definition]) -> str:
    """The JSON Schema of a job with any of them."""
    (reference,), schemas = msgspec.json.schema_components([JobBody], ref_template="{name}")
    return _json(job_schema(definitions, schemas[reference["$ref"]]))


def _options(title: str, options: Iterable[Option]) -> str:
    lines = [title]
    for option in options:
        facts = [" | ".join(option.choices) if option.choices else option.type]
        facts.append("required" if option.is_required else f"default {_default(option)}")
        lines += textwrap.wrap(
            f"  {option.name}: {', '.join(facts)}",
            _width(),
            subsequent_indent="      ",
            break_long_words=False,
        )
        text = option.doc + (f" (deprecated: {option.deprecated})" if option.deprecated else "")
        lines += textwrap.wrap(text, _width(), initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def _default(option: Option) -> str:
    return "hidden" if option.is_secret and option.default else msgspec.json.encode(option.default).decode()


def _first_line(definition: Definition) -> str:
    return _doc(definition.component).partition("\n")[0]


def _doc(cls: type) -> str:
    # What the base class says is about the base class.
    return inspect.cleandoc(cls.__doc__ or "")


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()

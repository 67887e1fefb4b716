"""The page at `/docs`, out of the declared endpoints. It needs nothing from elsewhere and runs no script."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from tsd import __version__
from tsd.master.api.endpoint import Endpoint
from tsd.master.api.openapi import ABOUT, BODY_WORDS, Forms
from tsd.master.api.problems import ANYWHERE

_FILES: Final = resources.files("tsd.master.api")
STYLE: Final = _FILES.joinpath("docs.css").read_text("utf-8")
"""All of the page's style; its hash is in the page's security policy."""


def render(endpoints: Sequence[Endpoint]) -> str:
    """The page.

    Args:
        endpoints: What it describes.
    """
    forms = Forms(endpoints)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "words": _words,
        "type": _type,
        "values": lambda schema: _codes(schema["enum"]),
        "form": lambda form: _type(forms[form]),
    }
    template = environment.from_string(_FILES.joinpath("docs.html").read_text("utf-8"))
    return template.render(
        version=__version__,
        style=Markup(STYLE),  # noqa: S704  # a file of ours
        about=ABOUT.strip().split("\n\n"),
        body_words=BODY_WORDS,
        groups=[
            (tag, [endpoint for endpoint in endpoints if endpoint.tag == tag])
            for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)
        ],
        anywhere=ANYWHERE,
        documents=forms.schemas,
    )


def _words(text: str) -> Markup:
    """Text with what stands between backticks as code."""
    parts = re.split(r"`([^`]*)`", text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _type(schema: Mapping[str, Any]) -> Markup:
    """What a value of a schema is, in words."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return Markup('<a href="#document-{0}">{0}</a>').format(name)
        case {"title": str(title)}:
            return escape(title)
        case {"anyOf": [*kinds]}:
            return Markup(" or ").join(_type(kind) for kind in kinds)
        case {"enum": [*values]}:
            return _codes(values)
        case {"const": value}:
            return _codes([value])
        case {"type": "array"}:
            return Markup("list of {}").format(_type(schema.get("items", {})))
        case {"type": "object", "additionalProperties": {"$ref": _} as items}:
            return Markup("object of {} by id").format(_type(items))
        case {"type": "string", "maxLength": 0}:
            return escape("empty")
        case {"type": "string"}:
            return escape("text")
        case {"type": "integer" | "number", **limits}:
            return escape(f"number{_range(limits)}")
        case {"type": str(word)}:
            return escape(word)
    return escape("any value")


def _codes(values: Iterable[Any]) -> Markup:
    return Markup(", ").join(Markup("<code>{}</code>").format(value) for value in values if value != "")


def _range(limits: Mapping[str, Any]) -> str:
    least, most = limits.get("minimum"), limits.get("maximum")
    return (f" from {least:,}" if least is not None else "") + (f" to {most:,}" if most is not None else "")

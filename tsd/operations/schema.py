"""JSON Schema (draft 2020-12) of options and of whole jobs, made of the config classes.

What a schema accepts is what `tsd.operations.config.load` accepts, with these differences:

* A text that a converter reads as a number or duration is only accepted in its plain spellings: `"10"` and
  `"5 minutes"`, but not `" 1e1 "` or `"5 MINUTES"`.
* What is read as a date is any text or number.
* A number in quotes is taken by `load`, as Teraslice takes it, and is no number for a schema.
* An option with a converter of its own that has no `schema` in `opt` accepts everything.
* Rules across options (`faults`, `check_job`) are not in a schema.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Literal

from tsd.durations import MS_MAX, UNITS, parse_duration
from tsd.operations import formats
from tsd.operations.base import Definition, Kind
from tsd.operations.config import BaseConfig, Option, options_of
from tsd.operations.job_fields import KEPT_FIELDS, OF_KUBERNETES, REMARK_PATTERN

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

BOOLEAN: Schema = {
    "title": "boolean",
    "anyOf": [{"type": "boolean"}, {"enum": ["true", "false", "1", "0", 1, 0]}],
}
DURATION_PATTERN = rf"[0-9]{{1,15}}|([0-9]{{1,4}}(\.[0-9]{{1,9}})?|\.[0-9]{{1,9}}) ?({'|'.join(UNITS)})"
"""Milliseconds, or a number and a unit. Longer numbers are read too, as far as they are durations."""
DURATION: Schema = {
    "title": "duration",
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MS_MAX},
        {"type": "string", "pattern": f"^({DURATION_PATTERN})$"},
    ],
}
_TEXT: Schema = {"type": "string", "minLength": 1}
_ANYTHING: Schema = {}


def whole_number(most: int) -> Schema:
    """A whole number from 1, also as digits; fractions are cut off."""
    digits = rf"^[1-9][0-9]{{0,{len(str(most)) - 2}}}$"
    return {
        "title": f"whole number from 1 to {most:,}",
        "anyOf": [
            {"type": "number", "minimum": 1, "exclusiveMaximum": most + 1},
            {"type": "string", "pattern": digits},
        ],
    }


_OF_CONVERTERS: Mapping[Any, Schema] = {
    parse_duration: DURATION,
    formats.boolean: BOOLEAN,
    formats.environment: {"type": "object"},
    formats.flat_object: {"type": "object"},
    formats.natural: {"type": "integer", "minimum": 0, "maximum": formats.SAFE_MAX},
    formats.number: {"type": "number"},
    formats.optional_date: {"type": ["string", "number", "null"]},
    formats.optional_string: {"type": ["string", "null"]},
    formats.positive_int: whole_number(formats.SAFE_MAX),
    formats.required_string: _TEXT,
    formats.string_list: {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
}


def json_schema(cls: type[BaseConfig]) -> Schema:
    """The schema of the options that a config class declares.

    Options that it does not declare are accepted, as they are kept. Each option has its type, description,
    default or choices; `deprecated` and, for secrets, `writeOnly` are set where they hold.
    """
    options = options_of(cls)
    return {
        "$schema": DRAFT,
        "title": cls.__name__,
        "description": inspect.getdoc(cls) or "",
        "type": "object",
        "properties": {option.name: _option_schema(option) for option in options},
        "required": [option.name for option in options if option.is_required],
    }


def definition_schema(definition: Definition) -> Schema:
    """The schema of an entry in a job that names this operation or API, with or without bundle and tag."""
    is_api = definition.kind in (Kind.API, Kind.OBSERVER)
    schema = json_schema(definition.config)
    schema["title"] = definition.name
    schema["description"] = inspect.getdoc(definition.component) or schema["description"]
    name = schema["properties"]["_name" if is_api else "_op"]
    name.pop("minLength", None)
    name |= {"pattern": _name_pattern(definition), "examples": [definition.name]}
    return schema


def job_schema(definitions: Iterable[Definition], fields: Mapping[str, Any]) -> Schema:
    """The schema of a whole job, for editors.

    An operation that is none of these is accepted only in a job that has `assets`, where it may be in one.
    What nobody declares is not valid here, so that an editor marks it, though tsd keeps it and only warns.

    Args:
        definitions: The operations and APIs that jobs can name.
        fields: Schema of the job's own fields; what it says of `operations` and `apis` is replaced.
    """
    known = sorted(definitions, key=lambda definition: (definition.kind, definition.name))
    readers = [each for each in known if each.kind is Kind.READER]
    processors = [each for each in known if each.kind is Kind.PROCESSOR]
    apis = [each for each in known if each.kind in (Kind.API, Kind.OBSERVER)]
    # Which operation is the last one of a job no schema can say.
    of_last = frozenset[str]().union(*(each.config.read_of_last for each in readers))
    entries = {
        _key_of(each): _closed(each, _without_draft(definition_schema(each)), of_last) for each in known
    }
    kept: Schema = {name: {} for name in sorted(KEPT_FIELDS | OF_KUBERNETES)}
    properties = kept | dict(fields["properties"])
    properties["operations"] = {
        "description": "a reader first, then processors",
        "type": "array",
        "minItems": 2,
        "prefixItems": [_entry("_op", readers)],
        "items": _entry("_op", processors),
    }
    properties["apis"] = {
        "description": "what operations share, found by its name",
        "type": "array",
        "items": _entry("_name", apis),
    }
    return {
        "$schema": DRAFT,
        "title": "Job",
        "description": "A job of tsd: a reader, then a chain of processors.",
        "type": "object",
        "properties": properties,
        "patternProperties": {REMARK_PATTERN: {}},
        "additionalProperties": False,
        "required": ["operations"],
        "if": {"not": {"properties": {"assets": {"type": "array", "minItems": 1}}, "required": ["assets"]}},
        "then": {
            "properties": {
                "operations": {
                    "prefixItems": [_named("_op", readers)],
                    "items": _named("_op", processors),
                },
                "apis": {"items": _named("_name", apis)},
            }
        },
        "$defs": entries,
    }


def _closed(definition: Definition, schema: Schema, of_last: frozenset[str]) -> Schema:
    """The schema of an entry that has no options but those that are declared or that somebody reads.

    `of_last` is what readers read from the last operation.
    """
    if definition.config.keeps_unknown:
        return schema
    known: Schema = {name: {} for name in sorted(definition.config.known_elsewhere | of_last)}
    return schema | {
        "properties": known | schema["properties"],
        "patternProperties": {REMARK_PATTERN: {}},
        "additionalProperties": False,
    }


# --- parts of a job -----------------------------------------------------------------------------


def _entry(key: str, definitions: Iterable[Definition]) -> Schema:
    """An entry: the name decides which schema holds, so that an editor shows the faults of that one only."""
    cases = [
        {
            "if": {"properties": {key: {"pattern": _name_pattern(each)}}, "required": [key]},
            "then": {"$ref": f"#/$defs/{_key_of(each)}"},
        }
        for each in definitions
    ]
    return {"type": "object", "properties": {key: _TEXT}, "required": [key], "allOf": cases}


def _named(key: str, definitions: Iterable[Definition]) -> Schema:
    names = [each.name for each in definitions]
    tagged = {"type": "string", "pattern": "^[^@]+:"}
    return {"properties": {key: {"anyOf": [{"enum": names}, *([tagged] if key == "_name" else [])]}}}


def _name_pattern(definition: Definition) -> str:
    name = "".join(char if char.isalnum() or char in "_-" else f"\\{char}" for char in definition.name)
    return f"^{name}(@.*)?$" if definition.kind in (Kind.READER, Kind.PROCESSOR) else f"^{name}([@:].*)?$"


def _key_of(definition: Definition) -> str:
    return f"{definition.kind}.{definition.name}"


def _without_draft(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "$schema"}


# --- options ------------------------------------------------------------------------------------


def _option_schema(option: Option) -> Schema:
    schema = dict(_value_schema(option))
    schema["description"] = option.doc
    if option.deprecated:
        schema["deprecated"] = True
        schema["description"] += f" (deprecated: {option.deprecated})"
    if option.is_secret:
        schema["writeOnly"] = True
    elif not option.is_required:
        schema["default"] = _raw(option.default)
    return schema


def _value_schema(option: Option) -> Schema:
    if option.schema is not None:
        return dict(option.schema)
    if option.convert is None:
        return type_schema(option.kind)
    schema = converter_schema(option.convert)
    if schema and type(None) in typing.get_args(option.kind):
        return _any_of([schema, {"type": "null"}])
    return schema


def converter_schema(convert: Callable[[Any], Any]) -> Schema:
    """What a converter takes; everything when it is not one of `tsd.operations.formats`."""
    if isinstance(convert, formats.OneOf):
        return {"enum": list(convert.words)}
    if isinstance(convert, functools.partial) and convert.func is formats.positive_int:
        return whole_number(convert.keywords["most"])
    return _OF_CONVERTERS.get(convert, _ANYTHING)


def type_schema(kind: Any) -> Schema:
    """What `tsd.operations.config.check_type` takes for an annotation."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _any_of([type_schema(each) for each in args])
    if origin is Literal:
        return {"enum": list(args)}
    if kind in _OF_TYPES:
        return dict(_OF_TYPES[kind])
    if origin is list:
        return {"type": "array", "items": type_schema(args[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": type_schema(args[1])}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    return _ANYTHING


_OF_TYPES: Mapping[Any, Schema] = {
    bool: BOOLEAN,
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    list: {"type": "array"},
    dict: {"type": "object"},
    type(None): {"type": "null"},
}


def _any_of(schemas: list[Schema]) -> Schema:
    if {} in schemas:
        return _ANYTHING
    names = [schema["type"] for schema in schemas if schema.keys() == {"type"}]
    if len(names) == len(schemas):
        flat = [name for entry in names for name in ([entry] if isinstance(entry, str) else entry)]
        return {"type": list(dict.fromkeys(flat))}
    if all(schema.keys() == {"enum"} or schema == {"type": "null"} for schema in schemas):
        return {"enum": [value for schema in schemas for value in schema.get("enum", [None])]}
    return {"anyOf": schemas}


def _raw(value: Any) -> Any:
    """A default as a job file has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return value

"""Options of operations and APIs: declared once as an attrs class, checked with all faults at once.

```python
@attrs.define(kw_only=True)
class ClampConfig(OpConfig):
    field: str = opt(doc="numeric field to limit")                  # no default: required
    low: float = opt(0.0, doc="lower bound")
    wait: int = opt("5 seconds", doc="how long", convert=parse_duration)
```
"""

import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, ClassVar, Literal, TypeVar

import attrs

from tsd.durations import parse_duration
from tsd.errors import JobInvalid
from tsd.operations import formats
from tsd.operations.record import ENCODINGS
from tsd.shown import closest

_WIRE = "tsd.wire"
_DOC = "tsd.doc"
_CONVERT = "tsd.convert"
_CHOICES = "tsd.choices"
_DEPRECATED = "tsd.deprecated"
_SECRET = "tsd.secret"  # noqa: S105 - the name of a marker
_SCHEMA = "tsd.schema"
_KEYS = "tsd.keys"

STORE_ACTION = "store"
"""Rejected records become dead letters in the store of the cluster; an API of the job with this name wins."""
BUILT_IN_ACTIONS = ("throw", "log", "none", STORE_ACTION)
"""What `_dead_letter_action` may be besides the name of an API."""


def opt(
    default: Any = attrs.NOTHING,
    *,
    doc: str,
    wire: str | None = None,
    choices: tuple[str, ...] | None = None,
    convert: Callable[[Any], Any] | None = None,
    deprecated: str | None = None,
    secret: bool = False,
    schema: Mapping[str, Any] | None = None,
    keys: tuple[str, ...] = (),
) -> Any:
    """Declare an option; use it as the value of a field of a config class.

    Args:
        default: Taken when the option is absent; lists and objects are copied. Without it the option is
            required. A null in the job is a value: it needs `None` in the type.
        doc: One line for people.
        wire: The name in job files when it is not the field's.
        choices: The words that are allowed.
        convert: Takes the raw value, returns the real one, or raises ValueError; also applied to a
            default that is text. Without it the value must have the field's type.
        deprecated: Why not to use it; supplying it warns.
        secret: Never show the value.
        schema: JSON Schema of the raw value, for a converter that is none of `tsd.operations.formats`.
        keys: The keys that the value, or each object in a list of them, may have; others are told as unknown.
    """
    if choices is not None and convert is None:
        convert = formats.one_of(choices)
    if isinstance(default, str) and convert is not None:
        default = convert(default)
    metadata = {
        _DOC: doc,
        _WIRE: wire,
        _CONVERT: convert,
        _CHOICES: choices,
        _DEPRECATED: deprecated,
        _SECRET: secret,
        _SCHEMA: schema,
        _KEYS: keys,
    }
    if isinstance(default, list | dict):
        return attrs.field(factory=default.copy, metadata=metadata)
    return attrs.field(default=default, metadata=metadata)


@attrs.define(kw_only=True)
class BaseConfig:
    """What the options of operations and APIs share.

    Attributes:
        extra: Options that were given and that the class does not declare.
    """

    dead_letter_action: str = opt(
        "throw",
        wire="_dead_letter_action",
        doc="throw, log, none, store, or the name of an API that takes rejects",
    )
    connection: str | None = opt(None, wire="_connection", doc="name of a configured connection")
    extra: dict[str, Any] = attrs.field(factory=dict, init=False)
    keeps_unknown: ClassVar[bool] = False
    """Whether options that it does not declare are read from `extra`, so that none of them is a mistake."""
    known_elsewhere: ClassVar[frozenset[str]] = frozenset()
    """Options that are read from `extra`: never told as unknown."""
    read_of_last: ClassVar[frozenset[str]] = frozenset()
    """What a reader reads from the last operation of its job, or from an API: not told as unknown there."""

    def assets_needed(self) -> Iterator[tuple[str, str]]:
        """Bundles whose files it needs, as (option, identifier); each must be in `assets` of the job."""
        yield from ()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Faults across options as (option, message); called when each option alone is right."""
        yield from ()

    def warnings(self, job: Mapping[str, Any]) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - for subclasses
        """What is no fault but may not do what is wanted, as (option, sentence).

        The sentences are in the `warnings` of the answer to whoever posts, changes or starts the job.

        Args:
            job: The whole job, defaults filled in; not to be changed.
        """
        return ()


@attrs.define(kw_only=True)
class OpConfig(BaseConfig):
    """Options that every operation has."""

    op: str = opt(wire="_op", convert=formats.required_string, doc="name of the operation")
    encoding: str = opt("json", wire="_encoding", choices=ENCODINGS, doc="how bytes become records")
    api_name: str | None = opt(None, wire="_api_name", doc="name of the API that it uses")
    known_elsewhere: ClassVar[frozenset[str]] = frozenset({"api_name"})

    @property
    def linked_api(self) -> str | None:
        """The API that it uses, also when the job says `api_name`."""
        return self.api_name or self.extra.get("api_name")


def _optional_encoding(value: object) -> str | None:
    if value is None or value in ENCODINGS:
        return value
    if not isinstance(value, str):
        raise ValueError("Invalid parameter _encoding, expect type string")  # noqa: TRY004 - a fault of the job
    raise ValueError(f"Invalid parameter _encoding, expected values {' or '.join(ENCODINGS)}")


@attrs.define(kw_only=True)
class ApiConfig(BaseConfig):
    """Options that every API has."""

    name: str = opt(wire="_name", convert=formats.required_string, doc="name of the API, with its tag")
    encoding: str | None = opt(
        None,
        wire="_encoding",
        convert=_optional_encoding,
        doc="how bytes become records",
        schema={"enum": [*ENCODINGS, None]},
    )
    known_elsewhere: ClassVar[frozenset[str]] = frozenset({"connection"})


@attrs.frozen(kw_only=True)
class Note:
    """Something about an option that is no fault.

    Attributes:
        field: Name of the option in the job.
        is_deprecation: It is deprecated; else it is unknown, and was kept.
        description: For people.
        known: What an unknown one could have been.
    """

    field: str
    is_deprecation: bool
    description: str
    known: tuple[str, ...] = ()


REQUIRED = "This field is required"

ConfigT = TypeVar("ConfigT", bound=BaseConfig)


def load(
    cls: type[ConfigT],
    raw: Mapping[str, Any],
    path: str = "",
    *,
    title: str = "Validation failed",
    is_strict: bool = False,
) -> tuple[ConfigT, list[Note]]:
    """Check options and make the config of them.

    Args:
        cls: A config class.
        raw: The options as in the job; never changed.
        path: Where they stand, for example `operations[1]`.
        title: First line of the error.
        is_strict: Refuse unknown options rather than keep them.

    Raises:
        JobInvalid: With every fault and its path.
    """
    faults: list[tuple[str, str]] = []
    notes: list[Note] = []
    values: dict[str, Any] = {}
    known = _fields(cls)
    for wire, (attribute, kind) in known.items():
        if wire not in raw:
            if attribute.default is attrs.NOTHING:
                faults.append((_join(path, wire), REQUIRED))
            continue
        if why := attribute.metadata[_DEPRECATED]:
            notes.append(Note(field=wire, is_deprecation=True, description=why))
        try:
            values[attribute.alias or attribute.name] = _convert(attribute, kind, raw[wire])
        except (ValueError, TypeError) as error:
            faults.append((_join(path, wire), str(error)))
    extra = {name: value for name, value in raw.items() if name not in known}
    if is_strict:
        faults += [(_join(path, name), "unknown option") for name in extra]
    notes += [_unknown(name, tuple(known)) for name in extra]
    notes += _unknown_keys(known, raw)
    if faults:
        raise JobInvalid(title, _with_what_was_written(faults, path, extra))
    try:
        config = cls(**values)
    except (ValueError, TypeError) as error:
        raise JobInvalid(title, [(path, str(error))]) from error
    config.extra = extra
    if faults := [(_join(path, name), message) for name, message in config.faults()]:
        raise JobInvalid(title, _with_what_was_written(faults, path, extra))
    return config, notes


def _with_what_was_written(
    faults: list[tuple[str, str]], path: str, extra: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Faults where a missing option is told with the misspelt one that stands there in its place."""

    def told(where: str, message: str) -> str:
        name = where.rpartition(".")[2]
        written = closest(name, extra) if message.startswith(REQUIRED) else None
        return f"{message}; {_join(path, written)} is no option, did you mean {name}?" if written else message

    return [(where, told(where, message)) for where, message in faults]


def _unknown(field: str, known: tuple[str, ...]) -> Note:
    return Note(field=field, is_deprecation=False, description="unknown option, kept", known=known)


def _unknown_keys(
    known: Mapping[str, tuple["attrs.Attribute[Any]", Any]], raw: Mapping[str, Any]
) -> Iterator[Note]:
    """Unknown keys in objects whose keys are declared."""
    for wire, (attribute, _) in known.items():
        keys = attribute.metadata[_KEYS]
        if not keys or wire not in raw:
            continue
        value = raw[wire]
        holders = [(wire, value)] if isinstance(value, dict) else []
        if isinstance(value, list):
            holders = [(f"{wire}[{i}]", each) for i, each in enumerate(value) if isinstance(each, dict)]
        for path, holder in holders:
            yield from (_unknown(f"{path}.{name}", keys) for name in holder if name not in keys)


def to_wire(config: BaseConfig) -> dict[str, Any]:
    """The options as a job file names them, defaults filled in and unknown ones kept.

    An `_api_name` or `_connection` that is not set is left out, as their mere presence means something.
    """
    document: dict[str, Any] = {}
    for wire, (attribute, _) in _fields(type(config)).items():
        value = getattr(config, attribute.name)
        if value is None and wire in ("_api_name", "_connection"):
            continue
        document[wire] = value.value if isinstance(value, Enum) else value
    return document | config.extra


@attrs.frozen(kw_only=True)
class Option:
    """An option as its class declares it.

    Attributes:
        name: As in job files.
        kind: Its annotation.
        default: What it is when it is absent; None when it is required.
        convert: See `opt`, and so for the others.
    """

    name: str
    kind: Any
    is_required: bool
    default: Any
    doc: str
    convert: Callable[[Any], Any] | None
    choices: tuple[str, ...] | None
    deprecated: str | None
    is_secret: bool
    schema: Mapping[str, Any] | None

    @property
    def type(self) -> str:
        """What may be written, in words."""
        return _CONVERTED.get(self.convert) or _type_text(self.kind)


def options_of(cls: type[BaseConfig]) -> list[Option]:
    """The options that a config class declares, in order."""
    return [
        Option(
            name=wire,
            kind=kind,
            is_required=attribute.default is attrs.NOTHING,
            default=_default_of(attribute),
            doc=attribute.metadata[_DOC],
            convert=attribute.metadata[_CONVERT],
            choices=attribute.metadata[_CHOICES],
            deprecated=attribute.metadata[_DEPRECATED],
            is_secret=attribute.metadata[_SECRET],
            schema=attribute.metadata[_SCHEMA],
        )
        for wire, (attribute, kind) in _fields(cls).items()
    ]


def _fields(cls: type[BaseConfig]) -> dict[str, tuple["attrs.Attribute[Any]", Any]]:
    hints = typing.get_type_hints(cls)
    return {
        attribute.metadata[_WIRE] or attribute.name: (attribute, hints[attribute.name])
        for attribute in attrs.fields(cls)
        if _DOC in attribute.metadata
    }


def _convert(attribute: "attrs.Attribute[Any]", kind: Any, value: Any) -> Any:
    convert = attribute.metadata[_CONVERT]
    if value.__class__ is str and _is_numeric(kind) and _DIGITS.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if convert is not None:
        if value is None and type(None) in typing.get_args(kind):
            return None
        return convert(value)
    return check_type(kind, value)


_DIGITS = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)
"""A number that a job file gives as text, which Teraslice takes as the number."""


def _is_numeric(kind: Any) -> bool:
    """Whether an option is a number, or null."""
    kinds = set(typing.get_args(kind)) or {kind}
    return kinds <= {int, float, type(None)} and kinds != {type(None)}


def check_type(kind: Any, value: Any) -> Any:
    """The value when it has the type that an annotation names; booleans take their usual spellings.

    Raises:
        ValueError: It has not.
    """
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _check_union(typing.get_args(kind), value)
    if origin is Literal:
        return formats.one_of(typing.get_args(kind))(value)
    if kind is bool:
        return formats.boolean(value)
    if kind is int:
        return _check_int(value)
    if kind is float:
        return formats.number(value)
    if origin is list and isinstance(value, list):
        (item,) = typing.get_args(kind)
        return [check_type(item, entry) for entry in value]
    if origin is dict and isinstance(value, dict):
        return {name: check_type(typing.get_args(kind)[1], entry) for name, entry in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(formats.one_of(member.value for member in kind)(value))
    if isinstance(kind, type) and origin is None and isinstance(value, kind):
        return value
    raise ValueError(f"Invalid input: expected {_type_text(kind)}, received {formats.type_word(value)}")


def _check_int(value: Any) -> int:
    if formats.number(value) != int(value):
        raise ValueError("Invalid input: expected int, received number")
    return int(value)


def _check_union(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return check_type(kind, value)
        except ValueError as error:
            errors.append(str(error))
    if len(errors) == 1:
        raise ValueError(errors[0])
    words = " or ".join(_type_text(kind) for kind in kinds)
    raise ValueError(f"Invalid input: expected {words}, received {formats.type_word(value)}")


_CONVERTED: Mapping[Any, str] = {
    parse_duration: "duration",
    formats.string_list: "string or array of string",
}
"""What may be written where a converter takes more than the type of the field says."""
_WORDS = {str: "string", int: "int", float: "number", bool: "boolean", type(None): "null", Any: "any"}


def _type_text(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_text(arg) for arg in args)
    if origin is list:
        return f"array of {_type_text(args[0])}"
    if origin is dict:
        return "object"
    return getattr(kind, "__name__", str(kind))


def _default_of(attribute: "attrs.Attribute[Any]") -> Any:
    default = attribute.default
    if default is attrs.NOTHING:
        return None
    factory = getattr(default, "factory", None)
    return default if factory is None else factory()


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

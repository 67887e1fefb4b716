"""Values of any message class, made from its type hints: what the codec lets through, and a bit beyond.

`values_of` is a hypothesis strategy, `draw` the same with a plain random generator, which is fifty times
faster. Both read the ranges from the classes, so a new message or field is covered without a line here.
"""

import enum
import re._constants as codes
import re._parser as parser
import types
import typing
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import attrs
import msgspec
from hypothesis import strategies as st

from tsd.core.counts import COUNT_MAX, MeshCounts, WorkCounts
from tsd.core.messages import ProcessExit, ProcessReport, ProcessSpec
from tsd.core.records import ProcessRole
from tsd.ids import parse_process_id

INT = (-(2**63), 2**64 - 1)
"""What MessagePack can carry."""


@attrs.frozen
class Range:
    """What the `Meta` of a type say together."""

    low: float | None = None
    high: float | None = None
    shortest: int = 0
    longest: int | None = None
    pattern: str | None = None


def split(hint: Any) -> tuple[Any, Range]:
    """A type without its annotations, and what they say."""
    found = Range()
    while typing.get_origin(hint) is typing.Annotated:
        hint, *notes = typing.get_args(hint)
        for note in notes:
            if not isinstance(note, msgspec.Meta):
                continue
            for name, value in (
                ("low", note.ge if note.gt is None else note.gt + 1),
                ("high", note.le if note.lt is None else note.lt - 1),
                ("shortest", note.min_length),
                ("longest", note.max_length),
                ("pattern", note.pattern),
            ):
                if value is not None:
                    found = attrs.evolve(found, **{name: value})
    return hint, found


@cache
def hints_of(message: type) -> dict[str, Any]:
    """The types of the fields of a class by name, with their annotations."""
    return typing.get_type_hints(message, include_extras=True)


# --- hypothesis ---------------------------------------------------------------------------------


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """A strategy for a type as it is written in a message class."""
    hint, bounds = split(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if attrs.has(hint):
        return _objects(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values_of(argument) for argument in arguments])
    size = min(3, bounds.longest if bounds.longest is not None else 3)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return st.lists(values_of(arguments[0]), min_size=bounds.shortest, max_size=size).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if origin is list:
        return st.lists(values_of(arguments[0]), min_size=bounds.shortest, max_size=size)
    if origin is dict:
        return st.dictionaries(*map(values_of, arguments), max_size=size)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if hint is str and bounds.pattern is not None:
        # By a seed: hypothesis's own strategy for patterns is very slow.
        make = _text_maker(bounds)
        return st.integers(0, 2**32).map(lambda seed: make(Random(seed), {}))
    low, high = INT if hint is int else (None, None)
    return {
        int: st.integers(
            low if bounds.low is None else int(bounds.low), high if bounds.high is None else int(bounds.high)
        ),
        float: st.floats(bounds.low, bounds.high, allow_nan=False),
        str: st.text(min_size=bounds.shortest, max_size=20),
        bytes: st.binary(max_size=20),
        bool: st.booleans(),
        type(None): st.none(),
    }[hint]


def _objects(cls: type) -> st.SearchStrategy[Any]:
    hints = hints_of(cls)
    fields = {field.alias: values_of(hints[field.name]) for field in attrs.fields(cls)}
    if cls in {MeshCounts, WorkCounts}:
        fields = dict.fromkeys(fields, st.integers(0, COUNT_MAX))
    if "metadata" in fields:
        fields["metadata"] = st.sampled_from(METADATA)
    if "execution" in fields:
        fields["execution"] = st.sampled_from(DOCUMENTS)
    if cls in (ProcessSpec, ProcessReport, ProcessExit):
        return st.builds(lambda **given: cls(**_own_process(given)), **fields)
    return st.builds(cls, **fields)


DOCUMENTS = ["{}", '{"max_retries":0,"slicers":2,"lifecycle":"persistent"}']
METADATA = ["", "{}", '{"a":{"b":[1,null]}}']


def _own_process(given: dict[str, Any]) -> dict[str, Any]:
    """What the id of a process says too."""
    name = parse_process_id(given["proc_id"])
    assert name is not None
    own: dict[str, Any] = {"ex_id": name.ex_id}
    if "generation" in given:
        role = ProcessRole.WORKER if name.number else ProcessRole.CONTROLLER
        own |= {"generation": name.generation, "number": name.number, "role": role}
    return given | own


# --- plain and fast -----------------------------------------------------------------------------

Pool = typing.Mapping[str, typing.Sequence[Any]]
"""Values that mean something to the one who gets them, by name of the field."""
Maker = Callable[[Random, Pool], Any]

_NUMBERS = (0, 1, 2, 3, 5, 10, 100, 2**31, 2**53, -1)
_TEXTS = (
    "",
    "a",
    "ö",
    "\x1b[31m",
    '"',
    "\u202e",
    "x" * 300,
    '{"s":0,"i":1}',
    "{}",
    "null",
    "../../x",
    "a\nb",
)


def draw(message: type, rng: Random, pool: Pool) -> Any:
    """A random object of a message class."""
    return _maker(message)(rng, pool)


@cache
def _maker(hint: Any, name: str = "") -> Maker:
    maker = _range_maker(hint)
    if not name:
        return maker

    def make(rng: Random, pool: Pool) -> Any:
        known = pool.get(name)
        return rng.choice(known) if known and rng.random() < 0.7 else maker(rng, pool)

    return make


def _range_maker(hint: Any) -> Maker:
    hint, bounds = split(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if attrs.has(hint):
        return _object_maker(hint)
    if origin in (typing.Union, types.UnionType):
        makers = [_maker(argument) for argument in arguments]
        return lambda rng, pool: rng.choice(makers)(rng, pool)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        parts = [_maker(argument) for argument in arguments]
        return lambda rng, pool: tuple([part(rng, pool) for part in parts])
    if origin in (tuple, list):
        item, shortest = _maker(arguments[0]), bounds.shortest
        return lambda rng, pool: origin(item(rng, pool) for _ in range(max(shortest, _size(rng))))
    if origin is dict:
        key, value = map(_maker, arguments)
        return lambda rng, pool: {key(rng, pool): value(rng, pool) for _ in range(_size(rng))}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        members = list(hint)
        return lambda rng, pool: rng.choice(members)
    if hint is int:
        low, high = (
            (INT[0] if bounds.low is None else int(bounds.low)),
            (INT[1] if bounds.high is None else int(bounds.high)),
        )
        usual = [n for n in (*_NUMBERS, low, high) if low <= n <= high]
        return lambda rng, pool: rng.choice(usual) if rng.random() < 0.9 else rng.randint(low, high)
    if hint is float:
        low_f = -1e300 if bounds.low is None else bounds.low
        high_f = float("inf") if bounds.high is None else bounds.high
        usual_f = [x for x in (0.0, 0.5, 1.0, 30.0, low_f, high_f, -0.0) if low_f <= x <= high_f]
        return lambda rng, pool: rng.choice(usual_f)
    if hint is str:
        return _text_maker(bounds)
    if hint is bytes:
        return lambda rng, pool: rng.choice((b"", b"[]", b"{}", b"\xff\x00", rng.randbytes(8)))
    if hint is bool:
        return lambda rng, pool: rng.random() < 0.5
    assert hint is type(None), hint
    return lambda rng, pool: None


def _size(rng: Random) -> int:
    return rng.choice((0, 1, 1, 2, 3, 8))


def _object_maker(cls: type) -> Maker:
    hints = hints_of(cls)
    makers = {field.alias: _maker(hints[field.name], field.name) for field in attrs.fields(cls)}
    if cls in {MeshCounts, WorkCounts}:
        makers = dict.fromkeys(makers, lambda rng, pool: rng.choice((0, 1, 7, COUNT_MAX)))
    if "metadata" in makers:
        makers["metadata"] = lambda rng, pool: rng.choice(METADATA)
    if "execution" in makers:
        makers["execution"] = lambda rng, pool: rng.choice(DOCUMENTS)
    is_of_process = cls in (ProcessSpec, ProcessReport, ProcessExit)

    def make(rng: Random, pool: Pool) -> Any:
        given = {name: maker(rng, pool) for name, maker in makers.items()}
        return cls(**(_own_process(given) if is_of_process else given))

    return make


def _text_maker(bounds: Range) -> Maker:
    if bounds.pattern is None:
        usual = [text for text in _TEXTS if bounds.shortest <= len(text) <= (bounds.longest or 10_000)]
        return lambda rng, pool: rng.choice(usual)
    tree, longest = parser.parse(bounds.pattern), bounds.longest or 10_000
    return lambda rng, pool: text_of(tree, rng)[:longest].ljust(bounds.shortest, "a")


def text_of(tree: Any, rng: Random) -> str:
    """A text that a parsed regular expression matches; repetitions are short."""
    made = []
    for code, value in tree:
        match code:
            case codes.LITERAL:
                made.append(chr(value))
            case codes.IN | codes.NOT_LITERAL:
                made.append(_char(value if code is codes.IN else [(codes.NEGATE, None), (code, value)], rng))
            case codes.MAX_REPEAT | codes.MIN_REPEAT:
                low, high, inner = value
                count = min(high, low + rng.choice((0, 0, 1, 2, 12)))
                made.extend(text_of(inner, rng) for _ in range(count))
            case codes.BRANCH:
                made.append(text_of(rng.choice(value[1]), rng))
            case codes.SUBPATTERN:
                made.append(text_of(value[3], rng))
            case codes.AT:
                pass
            case _:
                raise NotImplementedError(f"{code} in a pattern of tsd.core.fields")
    return "".join(made)


def _char(choices: Any, rng: Random) -> str:
    if choices[0][0] is codes.NEGATE:
        return rng.choice("ab0~.:-ö%\"'")
    code, value = rng.choice(choices)
    return chr(rng.randint(*value)) if code is codes.RANGE else chr(value)

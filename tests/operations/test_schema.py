"""JSON Schemas of options and jobs: what they accept is what `load` and `validate_job` accept."""

import json
import typing
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.support.pipelines import REGISTRY as SAMPLES
from tsd.cli.ops import schema_of_jobs
from tsd.durations import UNITS, parse_duration
from tsd.errors import JobInvalid
from tsd.operations import OpConfig, formats, opt
from tsd.operations.config import load, options_of
from tsd.operations.job import validate_job
from tsd.operations.registry import Registry
from tsd.operations.schema import (
    BOOLEAN,
    DURATION,
    converter_schema,
    definition_schema,
    json_schema,
    type_schema,
)

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = Registry()


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@attrs.define(kw_only=True)
class EverythingConfig(OpConfig):
    """One option of each form."""

    text: str = opt(doc="text")
    whole: int = opt(3, doc="a number")
    fraction: float = opt(0.5, doc="a fraction")
    switch: bool = opt(False, doc="yes or no")
    either: str | list[str] = opt("a", doc="one or several")
    maybe: int | None = opt(None, doc="a number or null")
    numbers: list[int] = opt([1], doc="numbers")
    table: dict[str, float] = opt({}, doc="numbers by name")
    literal: Literal["a", "b"] = opt("a", doc="one of two")
    colour: Colour = opt(Colour.RED, doc="an enum")
    anything: Any = opt(None, doc="anything")
    wait: int = opt("5 seconds", doc="a duration", convert=parse_duration)
    wait_or_not: int | None = opt(None, doc="a duration or null", convert=parse_duration)
    choice: str | None = opt(None, choices=("x", "y"), doc="a word or null")
    count: int = opt(1, doc="from one", convert=formats.positive_int)
    few: int = opt(1, doc="from one to nine hundred", convert=formats.up_to(900))
    natural: int = opt(0, doc="from zero", convert=formats.natural)
    name: str = opt("n", doc="not empty", convert=formats.required_string)
    names: list[str] = opt([], doc="one or several", convert=formats.string_list)
    own: str = opt("x", doc="converted by a function of its own", convert=str)
    shown: int = opt(5, doc="the same with a schema", convert=int, schema={"type": "integer"})
    old: int = opt(0, doc="a number", deprecated="use whole")
    password: str | None = opt(None, doc="hidden", secret=True)


CLASSES = {definition.name: definition.config for definition in REGISTRY.definitions()} | {
    "everything": EverythingConfig
}
OPTIONS = [
    pytest.param(cls, option, id=f"{name}.{option.name}")
    for name, cls in CLASSES.items()
    for option in options_of(cls)
]
WORDS = [
    "",
    "true",
    "false",
    "1",
    "0",
    "7",
    "12",
    "x",
    "a",
    "red",
    "json",
    "raw",
    "none",
    "gzip",
    "AND",
    "or",
]
DURATIONS = ["5 minutes", "1.5 hours", "90s", ".5 d", "5 Minutes", "5  min", "-1 s", "1.5", "3 apples", "1e3"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 2000)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1.0, 7.9, 0.0, 2.0**53, 2**53 - 1, 2**53])
    | st.sampled_from([*WORDS, *DURATIONS, *(f"3 {unit}" for unit in UNITS)])
    | st.text(max_size=5)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


def is_taken(cls, option, value):
    """Whether `load` converts the value; a required name is missing, so it never gets to rules across options."""
    try:
        load(cls, {option.name: value})
    except JobInvalid as error:
        return not any(f"{path}.".startswith(f"{option.name}.") for path, _ in error.faults)
    return True


def is_spelt_in_many_ways(option):
    convert = getattr(option.convert, "func", option.convert)
    return convert in (parse_duration, formats.positive_int)


def is_laxer(option):
    """The schema knows less than the converter."""
    return option.convert is formats.optional_date or converter_schema(option.convert) == {}


@pytest.mark.parametrize(("cls", "option"), OPTIONS)
@given(data=st.data())
def test_a_schema_accepts_what_load_takes(cls, option, data):
    """The exceptions are those in the docstring of `tsd.operations.schema`."""
    value = data.draw(VALUES)
    accepted = Draft202012Validator(json_schema(cls)["properties"][option.name]).is_valid(value)
    taken = is_taken(cls, option, value)

    if isinstance(value, str) and taken and set(typing.get_args(option.kind) or {option.kind}) & {int, float}:
        return  # a number in quotes
    if option.schema is not None:
        assert taken or not accepted
    elif option.convert is not None and is_spelt_in_many_ways(option):
        assert accepted == taken or (taken and isinstance(value, str))
    elif option.convert is not None and is_laxer(option):
        assert accepted or not taken
    else:
        assert accepted == taken


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_of_a_duration_is_in_the_schema(unit):
    validator = Draft202012Validator(DURATION)

    assert [validator.is_valid(text) for text in (f"5 {unit}", f"1.5{unit}")] == [True, True]


@pytest.mark.parametrize("name", CLASSES)
def test_every_schema_is_one_and_its_defaults_fit(name):
    schema = json_schema(CLASSES[name])
    Draft202012Validator.check_schema(schema)

    for option, entry in schema["properties"].items():
        if "default" in entry:
            assert Draft202012Validator(entry).is_valid(entry["default"]), option


def test_a_schema_says_what_the_class_says():
    schema = json_schema(EverythingConfig)
    properties = schema["properties"]

    assert schema["required"] == ["_op", "text"]
    assert properties["text"] == {"type": "string", "description": "text"}
    assert properties["choice"] == {
        "enum": ["x", "y", None],
        "description": "a word or null",
        "default": None,
    }
    assert properties["colour"] == {"enum": ["red", "blue"], "description": "an enum", "default": "red"}
    assert properties["switch"] == BOOLEAN | {"description": "yes or no", "default": False}
    assert properties["wait"] == DURATION | {"description": "a duration", "default": 5000}
    assert properties["password"]["writeOnly"] is True
    assert "default" not in properties["password"]
    assert properties["old"]["deprecated"] is True
    assert properties["old"]["description"] == "a number (deprecated: use whole)"


def test_types_in_one_another_are_written_out():
    assert type_schema(list[int] | None) == {
        "anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]
    }
    assert type_schema(str | int | None) == {"type": ["string", "integer", "null"]}
    assert type_schema(int | Any) == {}


# --- whole jobs ---------------------------------------------------------------------------------

JOB_SCHEMA = json.loads(schema_of_jobs(REGISTRY.definitions()))
GOOD = {
    "name": "good",
    "lifecycle": "once",
    "workers": 2,
    "operations": [{"_op": "test-reader"}, {"_op": "delay", "ms": "5 seconds"}, {"_op": "noop"}],
    "apis": [{"_name": "file_sender_api:one", "path": "/tmp", "format": "ldjson"}],
}


def with_(**fields):
    return GOOD | fields


BAD = [
    with_(operations=[]),
    with_(operations=[{"_op": "test-reader"}]),
    with_(operations=[{"_op": "noop"}, {"_op": "noop"}]),
    with_(operations=[{"_op": "test-reader"}, {"_op": "file_reader"}]),
    with_(operations=[{"_op": "test-reader"}, {"_op": "nope"}]),
    with_(operations=[{"_op": "test-reader"}, {"_op": "delay", "ms": "soon"}]),
    with_(operations=[{"_op": "test-reader"}, {"_op": "collect", "size": 5}]),
    with_(operations=[{"_op": "test-reader"}, {"ms": 5}]),
    with_(operations=[{"_op": "test-reader"}, "noop"]),
    with_(apis=[{"_name": "nope"}]),
    with_(apis=[{"_name": "file_sender_api:one", "durable": "maybe"}]),
    with_(apis=[{"path": "/tmp"}]),
    with_(lifecycle="forever"),
    with_(workers=0),
    with_(max_retries="many"),
    with_(name=""),
    {"name": "no operations"},
]


def is_valid_job(job):
    try:
        validate_job(job, registry=REGISTRY)
    except JobInvalid:
        return False
    return True


def test_the_schema_of_jobs_is_one_and_accepts_a_good_job():
    Draft202012Validator.check_schema(JOB_SCHEMA)

    assert list(Draft202012Validator(JOB_SCHEMA).iter_errors(GOOD)) == []
    assert is_valid_job(GOOD)


@pytest.mark.parametrize("job", BAD, ids=range(len(BAD)))
def test_the_schema_of_jobs_refuses_what_the_master_refuses(job):
    assert not is_valid_job(job)
    assert not Draft202012Validator(JOB_SCHEMA).is_valid(job)


def test_a_fault_is_shown_where_it_is():
    job = with_(operations=[{"_op": "test-reader"}, {"_op": "delay", "ms": "soon"}, {"_op": "noop"}])

    assert [list(error.path) for error in Draft202012Validator(JOB_SCHEMA).iter_errors(job)] == [
        ["operations", 1, "ms"]
    ]


def test_a_job_with_assets_may_name_operations_that_the_schema_does_not_know():
    job = with_(assets=["mine"], operations=[{"_op": "mine"}, {"_op": "theirs@mine"}, {"_op": "delay"}])

    assert Draft202012Validator(JOB_SCHEMA).is_valid(job)
    job["operations"][2]["ms"] = "soon"
    assert not Draft202012Validator(JOB_SCHEMA).is_valid(job)


def test_an_entry_is_known_by_its_name_with_or_without_bundle_and_tag():
    definitions = {definition.name: definition for definition in SAMPLES.definitions()}
    operation = Draft202012Validator(definition_schema(definitions["upper"]))
    api = Draft202012Validator(definition_schema(definitions["lines"]))

    names = ["upper", "upper@bundle:1.0.0", "upper:tag", "uppermost", "lines"]
    assert [operation.is_valid({"_op": name}) for name in names] == [True, True, False, False, False]
    names = ["lines", "lines:tag", "lines@bundle:tag", "lines2"]
    assert [api.is_valid({"_name": name}) for name in names] == [True, True, True, False]


def test_the_flights_job_is_valid_by_the_schema():
    job = json.loads((ROOT / "examples/flights.json").read_text())

    assert list(Draft202012Validator(JOB_SCHEMA).iter_errors(job)) == []

"""Options: operations.md points 42 to 45 and 48, job-config.md section 2."""

import attrs
import pytest

from tsd.durations import parse_duration
from tsd.errors import JobInvalid
from tsd.operations.config import ApiConfig, OpConfig, load, opt, options_of, to_wire


@attrs.define(kw_only=True)
class Sample(OpConfig):
    field: str = opt(doc="required text")
    count: int = opt(3, doc="a number")
    ratio: float = opt(0.5, doc="a fraction")
    wait: int = opt("5 seconds", doc="a duration", convert=parse_duration)
    names: list[str] = opt([], doc="texts")
    maybe: str | None = opt(None, doc="text or null")
    mixed: str | list[str] = opt("a", doc="one or several")
    mode: str = opt("fast", choices=("fast", "slow"), doc="a word")
    old: bool = opt(False, doc="a flag", deprecated="use mode")

    def faults(self):
        if self.count > 100:
            yield "count", "too many"


def faults_of(raw, cls=Sample):
    with pytest.raises(JobInvalid) as info:
        load(cls, raw, "operations[1]")
    return dict(info.value.faults)


def test_defaults_are_filled_in_and_common_options_have_theirs():
    """Point 45: the dead-letter action is throw."""
    config, notes = load(Sample, {"_op": "x", "field": "f"})

    assert (config.count, config.wait, config.names, config.mode) == (3, 5000, [], "fast")
    assert (config.encoding, config.dead_letter_action, config.api_name) == ("json", "throw", None)
    assert notes == []


def test_all_faults_are_reported_at_once_with_their_paths():
    """Point 42."""
    faults = faults_of({"_op": "", "count": "three", "wait": "soon", "mode": "odd", "_encoding": "xml"})

    assert list(faults) == [
        f"operations[1].{name}" for name in ("_op", "_encoding", "field", "count", "wait", "mode")
    ]
    assert faults["operations[1].count"] == "Invalid input: expected number, received string"
    assert faults["operations[1].mode"] == 'Invalid option: expected one of "fast"|"slow"'


def test_unknown_options_are_kept_and_noted():
    """Point 43."""
    raw = {"_op": "x", "field": "f", "colour": "red"}

    config, notes = load(Sample, raw)

    assert config.extra == {"colour": "red"}
    assert [(note.field, note.is_deprecation) for note in notes] == [("colour", False)]
    assert to_wire(config)["colour"] == "red"
    assert raw == {"_op": "x", "field": "f", "colour": "red"}


def test_strict_loading_refuses_unknown_options():
    """Point 43."""
    with pytest.raises(JobInvalid, match="colour: unknown option"):
        load(Sample, {"_op": "x", "field": "f", "colour": "red"}, is_strict=True)


def test_a_deprecated_option_is_noted_whenever_it_is_supplied():
    """Point 48."""
    _, notes = load(Sample, {"_op": "x", "field": "f", "old": True})

    assert [(note.field, note.is_deprecation, note.description) for note in notes] == [
        ("old", True, "use mode")
    ]


def test_booleans_have_six_other_spellings():
    def read(value):
        return load(Sample, {"_op": "x", "field": "f", "old": value})[0].old

    assert [read(value) for value in ("true", "1", 1)] == [True] * 3
    assert [read(value) for value in ("false", "0", 0)] == [False] * 3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("old", None),
        ("old", "yes"),
        ("old", 2),
        ("count", True),
        ("count", 1.5),
        ("count", None),
        ("ratio", "0.5x"),
        ("names", "a"),
        ("names", ["a", 1]),
        ("maybe", 1),
        ("mixed", [1]),
        ("wait", -1),
        ("field", None),
    ],
)
def test_a_value_of_another_type_is_refused(option, value):
    assert list(faults_of({"_op": "x", "field": "f", option: value})) == [f"operations[1].{option}"]


def test_rules_across_options_come_after_the_options():
    assert faults_of({"_op": "x", "field": "f", "count": 101}) == {"operations[1].count": "too many"}


def test_what_is_dumped_loads_to_the_same_options():
    config, _ = load(Sample, {"_op": "x", "field": "f", "wait": "2 seconds", "names": ["a"], "mixed": ["b"]})

    wire = to_wire(config)

    assert wire["wait"] == 2000
    assert "_api_name" not in wire
    assert load(Sample, wire)[0] == config


def test_an_api_has_no_default_encoding():
    config, _ = load(ApiConfig, {"_name": "x"})

    assert config.encoding is None
    assert (
        "expected values"
        in faults_of({"_name": "x", "_encoding": "xml"}, ApiConfig)["operations[1]._encoding"]
    )


def test_options_describe_themselves():
    options = {option.name: option for option in options_of(Sample)}

    assert (options["field"].is_required, options["names"].type) == (True, "array of string")
    assert (options["wait"].default, options["mode"].choices) == (5000, ("fast", "slow"))


@pytest.mark.parametrize(
    ("option", "text", "number"),
    [
        ("count", "25", 25),
        ("count", "-3", -3),
        ("ratio", "0.5", 0.5),
        ("ratio", "7", 7),
        ("wait", "500", 500),
    ],
)
def test_a_number_may_be_given_as_text(option, text, number):
    config, _ = load(Sample, {"_op": "x", "field": "f", option: text})

    assert getattr(config, option) == number
    assert isinstance(getattr(config, option), type(number))


@pytest.mark.parametrize(
    "text", ["", " ", "1_000", "0x10", "1e3", "NaN", "1.5", "\u0661", "5 ", "--5", "9" * 99]
)
def test_text_that_is_no_whole_number_is_none(text):
    assert list(faults_of({"_op": "x", "field": "f", "count": text})) == ["operations[1].count"]


def test_a_text_option_keeps_its_digits():
    config, _ = load(Sample, {"_op": "x", "field": "25", "names": ["7"]})

    assert (config.field, config.names) == ("25", ["7"])

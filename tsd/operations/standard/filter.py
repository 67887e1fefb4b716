"""filter: lets records through, or not."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.paths import MISSING, get_path
from tsd.operations.standard.regexes import compile_regex
from tsd.operations.standard.texts import text_of
from tsd.operations.standard.validators import VALIDATORS, ip_test, make_validator, validator_name
from tsd.operations.standard.values import same, told

_KINDS = ("match", "regex", "ip_range", "validator", "size")
_WHOLE = "doc"
_CHAR_B, _NUMBER_B, _BOOL_B = 2, 8, 4

Test = Callable[[Any], bool]
"""Whether one value matches."""


def _rules(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(rule, dict) and "field" in rule for rule in value):
        return value
    raise ValueError("must be an array of objects with field and value")


def _action(value: Any) -> str | None:
    return None if value is None else formats.one_of(("drop", "keep"))(value)


@attrs.define(kw_only=True)
class FilterConfig(OpConfig):
    """Options of filter."""

    field: list[str] = opt(convert=formats.string_list, doc="path or paths; any that matches counts")
    value: Any = opt(None, doc="what to look for, or a list of it; null also stands for a missing field")
    invert: bool = opt(False, doc="keep what matches, rather than remove it")
    action: str | None = opt(
        None, convert=_action, doc="drop or keep what matches: says plainly what invert means; tsd's own"
    )
    array_index: int = opt(-1, doc="test only this element of an array")
    filter_by: str = opt("match", choices=_KINDS, doc="how to look")
    validation_function: str | None = opt(None, convert=validator_name, doc="for the validator kind")
    validation_function_args: Any = opt(None, doc="its arguments")
    filtered_to_dead_letter_queue: bool = opt(False, doc="reject what is removed")
    exception_rules: list[dict[str, Any]] = opt(
        [],
        convert=_rules,
        doc="objects with field, value, and regex true or false: a record that fits one stays",
        keys=("field", "value", "regex"),
    )

    @property
    def keeps_matches(self) -> bool:
        """Whether what matches stays, and the rest goes."""
        return self.invert if self.action is None else self.action == "keep"

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if not self.field:
            yield "field", "must not be empty"
        if self.action == "drop" and self.invert:
            yield "action", "drop and invert contradict each other"
        if self.filter_by == "validator" and self.validation_function is None:
            yield "validation_function", f"is required, one of {', '.join(VALIDATORS)}"
        try:
            make_test(self)
        except (ValueError, TypeError) as error:
            yield "value", str(error)
        try:
            [_rule_test(rule) for rule in self.exception_rules]
        except (ValueError, TypeError) as error:
            yield "exception_rules", str(error)


def make_test(config: FilterConfig) -> Test:
    """The test of one value.

    Raises:
        ValueError: The value of the options does not suit the kind.
        TypeError: As ValueError.
    """
    wanted = config.value if isinstance(config.value, list) else [config.value]
    match config.filter_by:
        case "regex":
            return _any_of([_regex_test(text) for text in wanted])
        case "ip_range":
            return _any_of([ip_test(text) for text in wanted])
        case "size":
            (limit,) = [formats.number(value) for value in wanted]
            return lambda value: rough_size(value) > limit
        case "validator":
            if config.validation_function is None:
                return lambda _value: False
            return make_validator(config.validation_function, config.validation_function_args)
    return _match_test(wanted)


def _match_test(wanted: list[Any]) -> Test:
    if all(isinstance(value, str) or value is None for value in wanted):
        words = frozenset(wanted)
        return lambda value: (isinstance(value, str) or value is None) and value in words
    return lambda value: any(same(value, each) for each in wanted)


def _regex_test(text: Any) -> Test:
    search = compile_regex(formats.required_string(text)).search

    def test(value: Any) -> bool:
        if value.__class__ is str:
            return search(value) is not None
        # what is no text matches as JavaScript writes it; null, objects and what is missing have no text
        return isinstance(value, str | int | float) and search(text_of(value)) is not None

    return test


def _any_of(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _rule_test(rule: Mapping[str, Any]) -> Callable[[Record], bool]:
    wanted, field = rule.get("value"), str(rule["field"])
    test = (
        _regex_test(wanted)
        if rule.get("regex")
        else _match_test(wanted if isinstance(wanted, list) else [wanted])
    )
    return lambda record: _fits(test, get_path(record, field))


def _fits(test: Test, value: Any) -> bool:
    """Whether a value matches; of an array, whether an element does."""
    if isinstance(value, list):
        return any(test(element) for element in value)
    return test(None if value is MISSING else value)


def rough_size(value: Any) -> int:
    """About how many bytes a value takes: 2 per character, 8 per number, 4 per boolean."""
    match value:
        case str():
            return _CHAR_B * len(value)
        case bool():
            return _BOOL_B
        case int() | float():
            return _NUMBER_B
        case dict():
            return sum(rough_size(name) + rough_size(each) for name, each in value.items())
        case list():
            return sum(map(rough_size, value))
    return 0


def _record_test(config: FilterConfig) -> Callable[[Record], bool]:
    """Whether a record matches in any of the fields; options are looked at once, not for each record."""
    test = make_test(config)
    if config.filter_by == "size":
        tests = [_size_test(path, config, test) for path in config.field]
    elif config.array_index >= 0 or any("." in path for path in config.field):
        tests = [_path_test(path, config, test) for path in config.field]
    else:
        tests = [_name_test(name, test) for name in config.field]
    return tests[0] if len(tests) == 1 else lambda record: any(each(record) for each in tests)


def _name_test(name: str, test: Test) -> Callable[[Record], bool]:
    def matches(record: Record) -> bool:
        value = record.get(name)
        return any(map(test, value)) if isinstance(value, list) else test(value)

    return matches


def _path_test(path: str, config: FilterConfig, test: Test) -> Callable[[Record], bool]:
    return lambda record: _fits(test, _element(get_path(record, path), config.array_index))


def _size_test(path: str, config: FilterConfig, test: Test) -> Callable[[Record], bool]:
    if path == _WHOLE:
        return lambda record: test(_element(dict(record), config.array_index))
    return lambda record: test(_element(get_path(record, path), config.array_index))


def _element(value: Any, index: int) -> Any:
    """The element of an array that the options name, MISSING if there is none; else the value."""
    if index < 0:
        return value
    return value[index] if isinstance(value, list) and index < len(value) else MISSING


@operation("filter", config=FilterConfig)
class Filter(BatchProcessor):
    """Removes the records that match; with `invert` the others.

    Of an array any element may match. With `match`, values are equal as JSON has it: 1 is 1.0, and neither
    true nor "1". A regular expression looks at text, and at numbers and booleans as JavaScript writes them;
    null, objects and missing fields match none. A record that can not be tested is rejected.
    """

    @override
    def initialize(self) -> None:
        self._matches = _record_test(self.config)
        self._rules = [_rule_test(rule) for rule in self.config.exception_rules]

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        wanted = self.config.keeps_matches
        try:  # all at once is quicker, and nearly always right
            found = list(map(self._matches, records))
            if self._rules:
                found = [self._is_excepted(r) or m is wanted for r, m in zip(records, found, strict=True)]
                wanted = True
        except RECORD_FAULTS:
            records, found = self._testable(records)
            wanted = True
        kept = [record for record, is_match in zip(records, found, strict=True) if is_match is wanted]
        if self.config.filtered_to_dead_letter_queue:
            for record, is_match in zip(records, found, strict=True):
                if is_match is not wanted:
                    self.reject(record, "the record was filtered out")
        return kept

    def _is_excepted(self, record: Record) -> bool:
        return any(rule(record) for rule in self._rules)

    def _testable(self, records: list[Record]) -> tuple[list[Record], list[bool]]:
        """The records that can be tested, and whether each stays; the others are rejected."""
        tested: list[Record] = []
        stays: list[bool] = []
        for record in records:
            try:
                is_kept = self._matches(record) is self.config.keeps_matches or self._is_excepted(record)
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
            else:
                tested.append(record)
                stays.append(is_kept)
        return tested, stays

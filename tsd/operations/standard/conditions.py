"""set_field_conditional and drop_field_conditional: edit a field when a value says so."""

from collections.abc import Callable, Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record, cloned
from tsd.operations.standard.paths import MISSING, drop_path, get_path, set_path
from tsd.operations.standard.regexes import compile_regex
from tsd.operations.standard.validators import make_validator, validator_name
from tsd.operations.standard.values import same, told
from tsd.operations.windows import WindowProcessor

Test = Callable[[Any], bool]
"""Whether a value counts."""


@attrs.define(kw_only=True)
class SetFieldConditionalConfig(OpConfig):
    """Options of set_field_conditional."""

    conditional_field: str = opt(convert=formats.required_string, doc="path of the field to look at")
    conditional_values: list[Any] = opt([], doc="values that count; null also stands for a missing field")
    set_field: str = opt(convert=formats.required_string, doc="path of the field to set")
    value: Any = opt(None, doc="its value")


@operation("set_field_conditional", config=SetFieldConditionalConfig)
class SetFieldConditional(BatchProcessor):
    """Sets a field, whatever it holds, when another one has one of the values."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        config = self.config
        kept = []
        for record in records:
            found = get_path(record, config.conditional_field)
            found = None if found is MISSING else found
            try:
                if any(same(found, wanted) for wanted in config.conditional_values):
                    set_path(record, config.set_field, cloned(config.value))
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
            else:
                kept.append(record)
        return kept


def _regex(value: object) -> str | None:
    if value is not None:
        compile_regex(formats.required_string(value))
    return value  # type: ignore[return-value]  # text, as required_string refuses all else


@attrs.define(kw_only=True)
class DropFieldConditionalConfig(OpConfig):
    """Options of drop_field_conditional."""

    field: str = opt(convert=formats.required_string, doc="path of the field to test, and to drop")
    regex: str | None = opt(None, convert=_regex, doc="/pattern/flags that its text is to match")
    validation_method: str | None = opt(None, convert=validator_name, doc="name of a validator instead")
    validation_args: Any = opt(None, doc="arguments of the validator, an object")
    validation_method_args: Any = opt(
        None, doc="arguments of the validator", deprecated="validation_args is its name in Teraslice"
    )
    invert: bool = opt(False, doc="drop it when the test fails")

    @property
    def arguments(self) -> Any:
        """What the validator gets."""
        return self.validation_method_args if self.validation_args is None else self.validation_args

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if (self.regex is None) == (self.validation_method is None):
            yield "regex", "exactly one of regex and validation_method is required"
        elif self.validation_method is None:
            if self.arguments is not None:
                yield "validation_args", "needs validation_method"
        else:
            try:
                make_validator(self.validation_method, self.arguments)
            except ValueError as error:
                yield "validation_args", str(error)


@operation("drop_field_conditional", config=DropFieldConditionalConfig)
class DropFieldConditional(WindowProcessor):
    """Drops a field when a test of its value succeeds. A regular expression matches no value but text."""

    @override
    def initialize(self) -> None:
        config = self.config
        if config.regex is not None:
            search = compile_regex(config.regex).search
            self._test: Test = lambda value: isinstance(value, str) and search(value) is not None
        else:
            self._test = make_validator(config.validation_method, config.arguments)

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        field, test, invert = self.config.field, self._test, self.config.invert
        kept = []
        for record in records:
            value = get_path(record, field)
            try:
                if value is not MISSING and test(value) is not invert:
                    drop_path(record, field)
            except RECORD_FAULTS as error:
                self.reject(record, told(error, f"field {field}: "))
            else:
                kept.append(record)
        return kept

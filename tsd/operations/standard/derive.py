"""derive: new fields from expressions over the others; tsd's own."""

from collections.abc import Iterator

import attrs
from typing_extensions import override

from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.standard.expressions import ExpressionError, compile_expression


@attrs.define(kw_only=True)
class DeriveConfig(OpConfig):
    """Options of derive."""

    fields: dict[str, str] = opt(doc="expressions by the name of the field that each gives, in order")

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if not self.fields:
            yield "fields", "must name at least one field"
        for name, text in self.fields.items():
            try:
                compile_expression(text)
            except ExpressionError as error:
                yield f"fields.{name}", str(error)


@operation("derive", config=DeriveConfig)
class Derive(BatchProcessor):
    """Sets each field to the value of its expression.

    It is None when a field that the expression needs is missing or empty; an expression that can not be
    evaluated, for example `int(tailnum)` of a text, rejects the record.
    """

    @override
    def initialize(self) -> None:
        self._expressions = [
            (name, compile_expression(text).evaluate) for name, text in self.config.fields.items()
        ]

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        kept = []
        for record in records:
            try:
                for name, evaluate in self._expressions:
                    record[name] = evaluate(record)
            except (ArithmeticError, TypeError, ValueError) as error:
                self.reject(record, error)
            else:
                kept.append(record)
        return kept

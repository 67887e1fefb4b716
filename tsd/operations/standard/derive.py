"""derive: new fields from expressions over the others; tsd's own."""

from collections.abc import Iterator
from typing import Any

import attrs
from typing_extensions import override

from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record, cloned
from tsd.operations.standard.expressions import ExpressionError, compile_expression
from tsd.operations.standard.paths import set_path
from tsd.operations.standard.values import told


@attrs.define(kw_only=True)
class DeriveConfig(OpConfig):
    """Options of derive."""

    fields: dict[str, str] = opt(
        doc="expressions by the path of the field that each gives, in order; an expression sees the fields "
        "before it"
    )

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

    It is null when a field that the expression needs is missing, null or empty text. A record whose
    expression can not be evaluated, for example `int(tailnum)` of a text that is no number, or `price * 2`
    of a price that is text, is rejected as it came.

    Expressions have the types of JSON: a text is never a number, nor is true. `+` takes two numbers or two
    texts, `- * / // % **` numbers, `< <= > >=` two numbers or two texts, `==` and `!=` any values (1 is
    1.0, and neither true nor "1"), `in` a text in a text, a value in an array, or a name in an object. `//`
    rounds down, and `%` has the sign of the divisor. `and`, `or` and `not` take false, null, 0 and empty
    text as false, all else as true. The functions are `int` and `float` of a number or a text that is one,
    `str` (JSON text), `len`, `abs`, `min`, `max`, and `round(number, places)`, for which halves go away
    from zero. `field("user.id")` reads a path. A result beyond the range of numbers, or a division by zero,
    is a reject.
    """

    @override
    def initialize(self) -> None:
        self._made = [(name, compile_expression(text)) for name, text in self.config.fields.items()]
        self._is_single = len(self._made) == 1 and "." not in self._made[0][0]

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        kept = []
        name, evaluate = (self._made[0][0], self._made[0][1].evaluate) if self._is_single else ("", None)
        for record in records:
            try:
                if evaluate is not None:
                    record[name] = evaluate(record)
                else:
                    self._add(record)
            except RECORD_FAULTS:
                if fault := self._retried(record):
                    self.reject(record, fault)
                    continue
            kept.append(record)
        return kept

    def _add(self, record: Record) -> None:
        """Set one field after another; a record that fails becomes what it was."""
        before = dict(record)
        try:
            for name, expression in self._made:
                value = expression.evaluate(record)
                if "." in name:
                    _set_apart(record, name, value)
                else:
                    record[name] = value
        except RECORD_FAULTS:
            record.clear()
            record.update(before)
            raise

    def _retried(self, record: Record) -> ValueError | None:
        """Evaluate again with the careful code, which tells what is wrong; None when it is right now."""
        changed: dict[str, Any] = dict(record)
        name = ""
        try:
            for name, expression in self._made:
                _set_apart(changed, name, expression.explain(changed))
        except RECORD_FAULTS as fault:
            return told(fault, f"{name}: ")
        record.update(changed)
        return None


def _set_apart(record: dict[str, Any], path: str, value: Any) -> None:
    """Set a field without changing an object that another record, or the one before, has too."""
    first, dot, _ = path.partition(".")
    if dot and path not in record and isinstance(record.get(first), dict | list):
        record[first] = cloned(record[first])
    set_path(record, path, value)

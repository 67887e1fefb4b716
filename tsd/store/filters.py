"""Filters of lists: from a Lucene query to a condition over the rows of a table.

Every condition is an expression with bound parameters, joined to the rest of a statement as a whole; nothing
that a person types becomes part of the text of a statement.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, assert_never

import attrs
from sqlalchemy import ColumnElement, and_, false, func, not_, or_, true

from tsd.errors import InvalidRequest
from tsd.store import lucene
from tsd.store.fields import Condition, Field, Kind, sorted_first
from tsd.store.lucene import (
    Bound,
    Combination,
    Everything,
    Exists,
    FilterFault,
    Match,
    Pattern,
    Query,
    Range,
    Wildcard,
)
from tsd.store.moments import Stretch, read_stretch
from tsd.store.sqlite import has_words, matches, unindexed
from tsd.store.words import words_of

_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
"""Whole numbers that the database has as such; longer ones are compared as fractions."""
COMPARISONS_MAX: Final = 400
"""Conditions that a filter comes to; a word without a field is compared with each field that has words."""

ID_BLOCK: Final = 8
"""Characters before the first hyphen of an id, by which people call it."""


def condition_of(
    text: str, fields: Mapping[str, Field], *, now_ms: int, sort: str = ""
) -> ColumnElement[bool]:
    """The condition that a filter means.

    Args:
        text: The filter, not blank.
        fields: What may be filtered by.
        now_ms: What `now` means in dates, in Unix milliseconds.
        sort: What the list is sorted by, as in `order_by`.

    Raises:
        InvalidRequest: The text is no filter, or one that these fields can not answer.
    """
    try:
        compiler = _Compiler(fields=fields, now_ms=now_ms, sorted_by=sorted_first(sort))
        return compiler.condition(lucene.parse(text))
    except FilterFault as fault:
        raise InvalidRequest(
            f"the filter can not be used: at character {fault.at + 1}: {fault.what}."
            f" Fields to filter by: {', '.join(sorted(fields))}"
        ) from fault


@attrs.define(kw_only=True)
class _Compiler:
    """Makes conditions, and counts them.

    A list is best read in its order, through the index that has it, until the page is full. So an index may
    answer only conditions that leave few rows, and those on the field that the list is sorted by. The
    database can not tell which those are; left alone it would collect half of the table and sort it.
    """

    fields: Mapping[str, Field]
    now_ms: int
    sorted_by: str
    comparisons: int = 0

    def condition(self, query: Query) -> ColumnElement[bool]:
        match query:
            case Everything():
                return true()
            case Exists():
                return self._exists(self._field(query.field, query.at))
            case Match(field=None):
                return or_(*(self._match(query, field) for field in self._searched(query.at)))
            case Match():
                is_narrow = _names_few(query.pattern)
                return self._match(query, self._field(query.field, query.at, is_narrow=is_narrow))
            case Range():
                return self._range(query)
            case Combination():
                return self._combination(query)
        assert_never(query)

    def _combination(self, query: Combination) -> ColumnElement[bool]:
        # Optional clauses beside required ones would only change the order in Lucene. They are read all the
        # same, so that a fault in them is told.
        optional = [self.condition(part) for part in query.optional]
        required = [self.condition(part) for part in query.required]
        wanted = required or ([or_(*optional)] if optional else [])
        return and_(true(), *wanted, *(_none(self.condition(part)) for part in query.prohibited))

    def _field(self, name: str | None, at: int, *, is_narrow: bool = False) -> Field:
        field = None if name is None else self.fields.get(name)
        if field is None:
            raise FilterFault(f'can not filter by "{(name or "*")[:80]}"', at)
        self._count(1, at)
        return field if (field.narrows and is_narrow) or name == self.sorted_by else _unindexed(field)

    def _searched(self, at: int) -> Sequence[Field]:
        """The fields that a word without a field is looked for in."""
        words = {Kind.KEYWORD, Kind.TEXT}
        found = [_unindexed(field) for field in self.fields.values() if field.kind in words]
        self._count(len(found), at)
        return found

    def _count(self, comparisons: int, at: int) -> None:
        self.comparisons += comparisons
        if self.comparisons > COMPARISONS_MAX:
            raise FilterFault("it has too many words without a field, write them as in name:word", at)

    def _exists(self, field: Field) -> ColumnElement[bool]:
        return field.has(lambda value: value.is_not(None))

    def _match(self, query: Match, field: Field) -> ColumnElement[bool]:
        match field.kind:
            case Kind.KEYWORD:
                return field.has(_like(query.pattern))
            case Kind.TEXT:
                return _in_text(query, field)
            case Kind.BOOLEAN:
                return field.value == _boolean(query)
            case Kind.NUMBER:
                return field.value == _number(_text_of(query), query.at)
            case Kind.DATE:
                stretch = self._stretch(_text_of(query), query.at)
                return field.value.between(stretch.first, stretch.last)
        assert_never(field.kind)

    def _range(self, query: Range) -> ColumnElement[bool]:
        if query.field is None:
            raise FilterFault("a range needs a field", query.at)
        field = self._field(query.field, query.at)
        if field.kind in {Kind.TEXT, Kind.BOOLEAN}:
            raise FilterFault(f"{query.field} has no order, so no range", query.at)
        if query.low is None and query.high is None:
            return self._exists(field)
        conditions: list[Condition] = []
        if query.low is not None:
            conditions.append(self._above(field, query.low))
        if query.high is not None:
            conditions.append(self._below(field, query.high))
        return field.has(lambda value: and_(*(condition(value) for condition in conditions)))

    def _above(self, field: Field, bound: Bound) -> Condition:
        if field.kind is Kind.DATE:
            stretch = self._stretch(bound.text, bound.at)
            return lambda value: value >= stretch.first if bound.is_inclusive else value > stretch.last
        limit = _number(bound.text, bound.at) if field.kind is Kind.NUMBER else bound.text
        return lambda value: value >= limit if bound.is_inclusive else value > limit

    def _below(self, field: Field, bound: Bound) -> Condition:
        if field.kind is Kind.DATE:
            stretch = self._stretch(bound.text, bound.at)
            return lambda value: value <= stretch.last if bound.is_inclusive else value < stretch.first
        limit = _number(bound.text, bound.at) if field.kind is Kind.NUMBER else bound.text
        return lambda value: value <= limit if bound.is_inclusive else value < limit

    def _stretch(self, text: str, at: int) -> Stretch:
        try:
            return read_stretch(text, now_ms=self.now_ms)
        except ValueError as error:
            raise FilterFault(f'"{text[:80]}" is no date: {error}', at) from error


def _names_few(pattern: Pattern) -> bool:
    """Whether few values are like this: one, or those that begin with the first block of an id."""
    if not pattern or isinstance(pattern[0], Wildcard):
        return False
    return len(pattern) == 1 or len(pattern[0]) >= ID_BLOCK


def _unindexed(field: Field) -> Field:
    """The same field, in the form that no index is used for."""
    return attrs.evolve(
        field,
        value=unindexed(field.value),
        has=lambda condition: field.has(lambda value: condition(unindexed(value))),
    )


def _none(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The opposite, also where the condition is null because a row has no value."""
    return not_(func.coalesce(condition, false()))


def _text_of(query: Match) -> str:
    """A value without wildcards."""
    if any(isinstance(piece, Wildcard) for piece in query.pattern):
        raise FilterFault("only fields with words can be compared with wildcards", query.at)
    return "".join(piece for piece in query.pattern if isinstance(piece, str))


def _boolean(query: Match) -> int:
    text = _text_of(query)
    if text not in {"true", "false", ""}:
        raise FilterFault(f'"{text[:80]}" is neither true nor false', query.at)
    return int(text == "true")


def _number(text: str, at: int) -> float:
    if not _NUMBER.fullmatch(text):
        raise FilterFault(f'"{text[:80]}" is no number', at)
    number = int(text) if _WHOLE.fullmatch(text) else float(text)
    return number if math.isfinite(number) else math.copysign(1e308, number)


def _like(pattern: Pattern) -> Condition:
    """Whether a keyword is exactly this, upper and lower case told apart."""
    match pattern:
        case ():
            return lambda value: value == ""
        case (str(text),):
            return lambda value: value == text
    return lambda value: matches(value, pattern)


def _in_text(query: Match, field: Field) -> ColumnElement[bool]:
    """Whether a text has these words, one behind the other, or a word like this."""
    assert field.words is not None
    if all(isinstance(piece, str) for piece in query.pattern):
        words = words_of(_text_of(query))
        return has_words(field.words, words) if words else false()
    pattern = tuple(piece.lower() if isinstance(piece, str) else piece for piece in query.pattern)
    return field.has(lambda word: matches(word, pattern))

"""Lucene query syntax: from the text of a filter to a tree. Knows nothing of fields or databases.

    query  = { item [ OR ] }                        words beside each other are alternatives, as after OR
    item   = clause { AND clause }
    clause = [ + | - | ! | NOT ] part [ ^boost ]
    part   = "(" query ")" | [ field ":" ] value | field ":" "(" query ")" | "*:*" | "_exists_:" field
    value  = word | "phrase" | [low TO high] | {low TO high} | >low | >=low | <high | <=high

The grammar is read by one function a rule, with one character of look-ahead, in time that grows with the
length of the text. What a filter may cost is bounded: its length, how deep its groups go, how many clauses it
has. See docs/adr/0009-filters.md for what is different from Lucene, and why no parser library is used.
"""

import re
from enum import Enum
from typing import Final

import attrs

LENGTH_MAX: Final = 4000
"""Characters of a filter. An address with more is refused by most servers on the way."""
DEPTH_MAX: Final = 20
"""Groups inside of groups; nobody writes five. It also bounds how deep Python and SQLite recurse."""
CLAUSES_MAX: Final = 100
"""Each clause is a condition that the database tries on every row: a list of a hundred ids works."""
WILDCARDS_MAX: Final = 10
"""`*` and `?` of one word. The time to match it grows with each."""


class Wildcard(Enum):
    """What stands for other characters in a word."""

    ANY = "*"
    """Any number of them, also none."""
    ONE = "?"


Pattern = tuple[str | Wildcard, ...]
"""Text and wildcards in turn; plain text is one piece of it, and empty text is none."""


@attrs.frozen(kw_only=True)
class Everything:
    """`*` or `*:*`."""


@attrs.frozen(kw_only=True)
class Exists:
    """The field has a value.

    Attributes:
        at: Where this stands in the text, from 0. So in the other classes.
    """

    field: str
    at: int


@attrs.frozen(kw_only=True)
class Match:
    """A value is this word or phrase.

    Attributes:
        field: None for all fields that have words.
        pattern: Of a phrase it is plain text.
    """

    field: str | None
    pattern: Pattern
    at: int


@attrs.frozen(kw_only=True)
class Bound:
    """An end of a range."""

    text: str
    is_inclusive: bool
    at: int


@attrs.frozen(kw_only=True)
class Range:
    """A value lies between two bounds; None for no bound."""

    field: str | None
    low: Bound | None
    high: Bound | None
    at: int


@attrs.frozen(kw_only=True)
class Combination:
    """Clauses together: all required ones, no prohibited one, and one optional one if none is required."""

    required: "tuple[Query, ...]" = ()
    optional: "tuple[Query, ...]" = ()
    prohibited: "tuple[Query, ...]" = ()


Query = Everything | Exists | Match | Range | Combination


class FilterFault(Exception):
    """The text is no filter.

    Attributes:
        what: What is wrong.
        at: Where in the text, from 0.
    """

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what)
        self.what = what
        self.at = at


def parse(text: str) -> Query:
    """The tree of a filter that is not blank.

    Raises:
        FilterFault: The text is no filter, or a larger one than is allowed.
    """
    if len(text) > LENGTH_MAX:
        raise FilterFault(f"it has {len(text)} characters, at most {LENGTH_MAX} work", LENGTH_MAX)
    _check_characters(text)
    reader = _Reader(text)
    query = _query(reader, _Scope())
    if not reader.is_at_end:
        raise FilterFault('")" without a "("', reader.at)
    return query


def _check_characters(text: str) -> None:
    """Refuse what can not be stored, and what the database takes for the end of a text."""
    found = re.search(r"[\x00\ud800-\udfff]", text)
    if found is not None:
        raise FilterFault(f"the character {found[0]!a} can not be searched for", found.start())


_SPACE: Final = re.compile(r"\s*")
_COLON: Final = re.compile(r"\s*:\s*")
_ESCAPED: Final = r"\\."
# A colon ends a field, except in a time of day or a zone: `2026-01-31T01:02:03+01:00`.
_TIME: Final = r"(?<=T\d\d):\d\d(?::\d\d)?|(?<=[+-]\d\d):\d\d"
_WORD: Final = re.compile(
    rf'(?:[^\s+\-!():^\[\]"{{}}~\\/<>]|{_ESCAPED})(?:[^\s():^\[\]"{{}}~\\<>]|{_ESCAPED}|{_TIME})*', re.DOTALL
)
_VALUE: Final = re.compile(rf"[+-]?{_WORD.pattern}", re.DOTALL)
"""After a colon or a comparison a sign belongs to a number."""
_PHRASE: Final = re.compile(rf'"((?:[^"\\]|{_ESCAPED})*)"', re.DOTALL)
_END_OF_RANGE: Final = re.compile(rf'(?:[^\s"\]}}\\]|{_ESCAPED})+', re.DOTALL)
_COMPARISON: Final = re.compile(r"[<>]=?")
_BOOST: Final = re.compile(r"\^\d{1,9}(?:\.\d{1,9})?(?=[\s)]|$)")
_OPERATOR: Final = re.compile(r"(?:AND|OR)(?![^\s()+\-!\"\[{])|&&|\|\|")
_NOT: Final = re.compile(r"NOT(?![^\s()+\-!\"\[{])|!")
_TO: Final = re.compile(r"TO(?=\s)")
_SHOWN: Final = re.compile(r"\w{1,20}|.", re.DOTALL)
"""What is shown of text that is not understood."""
_ANDS: Final = frozenset({"AND", "&&"})
_UNSUPPORTED: Final = {
    "/": 'regular expressions are not supported, use * and ?, or quote a value that begins with "/"',
    "~": "fuzzy words and distances (~) are not supported, use the wildcards * and ?",
}


@attrs.define
class _Reader:
    """The text, how far it is read, and how many clauses it had so far."""

    text: str
    at: int = 0
    clauses: int = 0

    @property
    def is_at_end(self) -> bool:
        return self.at == len(self.text)

    @property
    def next(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def skip_space(self) -> None:
        self.take(_SPACE)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read on if the text goes on like this."""
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def take_text(self, text: str) -> bool:
        """Read on if the text goes on with this."""
        if not self.text.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def fault(self, wanted: str) -> FilterFault:
        """What to say when something else was wanted here."""
        if self.is_at_end:
            return FilterFault(f"it ends where {wanted} is missing", self.at)
        if self.next in _UNSUPPORTED:
            return FilterFault(_UNSUPPORTED[self.next], self.at)
        if self.next == '"':
            return FilterFault("a quote that does not end", self.at)
        found = _SHOWN.match(self.text, self.at)
        assert found is not None
        return FilterFault(f'"{found[0]}" where {wanted} is missing', self.at)


@attrs.frozen(kw_only=True)
class _Scope:
    """Where a query stands: the field of its group, and how many groups are around it."""

    field: str | None = None
    depth: int = 0


@attrs.frozen(kw_only=True)
class _Item:
    """A clause, or several joined by AND, in a query."""

    sign: str
    query: Query


def _query(reader: _Reader, scope: _Scope) -> Query:
    items: list[_Item] = []
    was_or = False
    while True:
        item, is_or = _item(reader, scope)
        # Beside a written OR, NOT makes an alternative of its own; elsewhere it takes away from all others.
        if item.sign == "NOT" and (was_or or is_or):
            item = _Item(sign="", query=Combination(prohibited=(item.query,)))
        items.append(item)
        was_or = is_or
        if not is_or and reader.next in {"", ")"}:
            return _combined(items)


def _item(reader: _Reader, scope: _Scope) -> tuple[_Item, bool]:
    """The next item, and whether OR follows it."""
    items = [_clause(reader, scope)]
    while True:
        operator = reader.take(_OPERATOR)
        if operator is None or operator[0] not in _ANDS:
            break
        items.append(_clause(reader, scope))
    if len(items) == 1:
        return items[0], operator is not None
    required = [attrs.evolve(item, sign=item.sign or "+") for item in items]
    return _Item(sign="", query=_combined(required)), operator is not None


def _combined(items: list[_Item]) -> Query:
    if len(items) == 1 and items[0].sign in {"", "+"}:
        return items[0].query
    return Combination(
        required=tuple(item.query for item in items if item.sign == "+"),
        optional=tuple(item.query for item in items if item.sign == ""),
        prohibited=tuple(item.query for item in items if item.sign in {"-", "NOT"}),
    )


def _clause(reader: _Reader, scope: _Scope) -> _Item:
    """A clause, and the space and the boost behind it."""
    reader.skip_space()
    sign = ""
    if reader.next in {"+", "-"}:
        sign = reader.next
        reader.at += 1
    elif reader.take(_NOT) is not None:
        sign = "NOT"
    reader.skip_space()
    query = _part(reader, scope)
    reader.take(_BOOST)
    if reader.next in {"~", "^"}:
        raise reader.fault("a number to boost by" if reader.next == "^" else "a space")
    reader.skip_space()
    return _Item(sign=sign, query=query)


def _part(reader: _Reader, scope: _Scope) -> Query:
    if reader.next == "(":
        return _group(reader, scope)
    at = reader.at
    if reader.take_text("*:*"):
        return _counted(reader, Everything())
    if _OPERATOR.match(reader.text, at) or _NOT.match(reader.text, at):
        raise reader.fault("a word")
    word = _WORD.match(reader.text, at)
    colon = None if word is None else _COLON.match(reader.text, word.end())
    if word is None or colon is None:
        return _value(reader, scope.field, reader.take(_WORD))
    reader.at = colon.end()
    field = _field(word[0], at)
    if field == "_exists_":
        at = reader.at
        named = reader.take(_WORD)
        if named is None:
            raise reader.fault("a field")
        name = _field(named[0], at)
        return _counted(reader, Everything() if name is None else Exists(field=name, at=at))
    if reader.next == "(":
        return _group(reader, attrs.evolve(scope, field=field))
    return _value(reader, field, reader.take(_VALUE), at)


def _field(word: str, at: int) -> str | None:
    """The name of a field; None for `*`, which are all."""
    pattern = _pattern(word, at)
    if pattern == (Wildcard.ANY,):
        return None
    if not all(isinstance(piece, str) for piece in pattern):
        raise FilterFault("the name of a field can not have wildcards", at)
    return "".join(piece for piece in pattern if isinstance(piece, str))


def _group(reader: _Reader, scope: _Scope) -> Query:
    at = reader.at
    if scope.depth == DEPTH_MAX:
        raise FilterFault(f"groups are nested more than {DEPTH_MAX} deep", at)
    reader.at += 1
    query = _query(reader, attrs.evolve(scope, depth=scope.depth + 1))
    if not reader.take_text(")"):
        raise FilterFault('"(" without a ")"', at)
    return query


def _value(reader: _Reader, field: str | None, word: re.Match[str] | None, at: int | None = None) -> Query:
    """A value of a field.

    Args:
        reader: Behind the word, or before what else it is.
        field: The field.
        word: The word that was read, if it is one.
        at: Where the field stands; None when the value has none of its own.
    """
    at = (reader.at if word is None else word.start()) if at is None else at
    if word is not None:
        return _counted(reader, _word(field, word[0], at))
    phrase = reader.take(_PHRASE)
    if phrase is not None:
        return _counted(reader, Match(field=field, pattern=_literal(phrase[1]), at=at))
    comparison = reader.take(_COMPARISON)
    if comparison is not None:
        return _counted(reader, _compared(reader, field, comparison[0], at))
    if reader.next in {"[", "{"}:
        return _counted(reader, _range(reader, field, at))
    raise reader.fault("a value" if field else "a word")


def _counted(reader: _Reader, query: Query) -> Query:
    reader.clauses += 1
    if reader.clauses > CLAUSES_MAX:
        raise FilterFault(f"it has more than {CLAUSES_MAX} clauses", reader.at)
    return query


def _word(field: str | None, word: str, at: int) -> Query:
    pattern = _pattern(word, at)
    if pattern == (Wildcard.ANY,):
        return Everything() if field is None else Exists(field=field, at=at)
    return Match(field=field, pattern=pattern, at=at)


def _compared(reader: _Reader, field: str | None, comparison: str, at: int) -> Query:
    bound = _bound(reader, _VALUE, is_inclusive=comparison.endswith("="))
    is_low = comparison.startswith(">")
    return Range(field=field, low=bound if is_low else None, high=None if is_low else bound, at=at)


def _range(reader: _Reader, field: str | None, at: int) -> Query:
    is_inclusive = reader.next == "["
    reader.at += 1
    low = _bound(reader, _END_OF_RANGE, is_inclusive=is_inclusive)
    if reader.take(_TO) is None:
        raise reader.fault('"TO"')
    high = _bound(reader, _END_OF_RANGE, is_inclusive=True)
    if reader.next not in {"]", "}"}:
        raise reader.fault('"]" or "}"')
    if high is not None and reader.next == "}":
        high = attrs.evolve(high, is_inclusive=False)
    reader.at += 1
    return Range(field=field, low=low, high=high, at=at)


def _bound(reader: _Reader, word: re.Pattern[str], *, is_inclusive: bool) -> Bound | None:
    """An end of a range, a phrase or a word, and the space around it; None for `*`."""
    reader.skip_space()
    at = reader.at
    phrase = reader.take(_PHRASE)
    found = phrase or reader.take(word)
    if found is None:
        raise reader.fault("a value")
    reader.skip_space()
    if found[0] == "*":
        return None
    return Bound(text=_plain(found[1] if phrase else found[0]), is_inclusive=is_inclusive, at=at)


def _plain(text: str) -> str:
    """Without the escapes."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _literal(text: str) -> Pattern:
    plain = _plain(text)
    return (plain,) if plain else ()


def _pattern(word: str, at: int) -> Pattern:
    """The text and the wildcards of a word."""
    pieces: list[str | Wildcard] = []
    for found in re.finditer(r"[*?]|(?:[^*?\\]|\\.)+", word, re.DOTALL):
        if found[0] in {"*", "?"}:
            pieces.append(Wildcard(found[0]))
        else:
            pieces.append(_plain(found[0]))
    if sum(isinstance(piece, Wildcard) for piece in pieces) > WILDCARDS_MAX:
        raise FilterFault(f"a word has more than {WILDCARDS_MAX} wildcards", at)
    return tuple(pieces)

"""The grammar of filters: what belongs together, and what is said of text that is no filter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsd.store import lucene
from tsd.store.lucene import Bound, Combination, Everything, Exists, FilterFault, Match, Range, Wildcard


def shape(query):
    """A tree as nested tuples, without places."""
    match query:
        case Everything():
            return "*"
        case Exists(field=field):
            return ("exists", field)
        case Match(field=field, pattern=pattern):
            text = "".join(piece.value if isinstance(piece, Wildcard) else piece for piece in pattern)
            return text if field is None else f"{field}={text}"
        case Range(field=field, low=low, high=high):
            return (field, end(low), end(high))
        case Combination(required=required, optional=optional, prohibited=prohibited):
            return {
                sign: [shape(part) for part in parts]
                for sign, parts in (("+", required), ("?", optional), ("-", prohibited))
                if parts
            }
    raise AssertionError(query)


def end(bound):
    return None if bound is None else (bound.text, bound.is_inclusive)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", "a"),
        ("a b", {"?": ["a", "b"]}),
        ("a OR b || c", {"?": ["a", "b", "c"]}),
        ("a AND b && c", {"+": ["a", "b", "c"]}),
        ("a AND b OR c", {"?": [{"+": ["a", "b"]}, "c"]}),
        ("a b AND c", {"?": ["a", {"+": ["b", "c"]}]}),
        ("a AND (b OR c)", {"+": ["a", {"?": ["b", "c"]}]}),
        ("+a b -c", {"+": ["a"], "?": ["b"], "-": ["c"]}),
        ("a OR b -c", {"?": ["a", "b"], "-": ["c"]}),
        ("a NOT b !c", {"?": ["a"], "-": ["b", "c"]}),
        ("NOT a", {"-": ["a"]}),
        ("a AND NOT b", {"+": ["a"], "-": ["b"]}),
        ("NOT a OR b", {"?": [{"-": ["a"]}, "b"]}),
        ("a OR !b c", {"?": ["a", {"-": ["b"]}, "c"]}),
        ("(a)", "a"),
        ("f:a", "f=a"),
        ("f : a", "f=a"),
        ("f:(a OR +b g:c)", {"?": ["f=a", "g=c"], "+": ["f=b"]}),
        ("f:(a)^2 b^0.5", {"?": ["f=a", "b"]}),
        ("f:-5", "f=-5"),
        ("*", "*"),
        ("*:*", "*"),
        ("*:a", "a"),
        ("f:*", ("exists", "f")),
        ("_exists_:f", ("exists", "f")),
        ("f:[1 TO 2}", ("f", ("1", True), ("2", False))),
        ('f:{"a b" TO *]', ("f", ("a b", False), None)),
        ("f:>=-5", ("f", ("-5", True), None)),
        ("f:< 7", ("f", None, ("7", False))),
        ('f:>"a b"', ("f", ("a b", False), None)),
        ("f:2026-01-31T01:02:03.004+01:00", "f=2026-01-31T01:02:03.004+01:00"),
        ("f:[now-1d/d TO 2026-01-01||+1M]", ("f", ("now-1d/d", True), ("2026-01-01||+1M", True))),
        (r"a\ b\:c", "a b:c"),
        (r'"a \"b\" c"', 'a "b" c'),
        ("ANDY OR NOTE TO", {"?": ["ANDY", "NOTE", "TO"]}),
        ("\\AND", "AND"),
        ("a/b c-d e+f", {"?": ["a/b", "c-d", "e+f"]}),
    ],
)
def test_a_query_means(text, tree):
    assert shape(lucene.parse(text)) == tree


def test_wildcards_are_such_only_outside_of_quotes_and_without_escape():
    assert lucene.parse(r"a*?\*") == Match(field=None, pattern=("a", Wildcard.ANY, Wildcard.ONE, "*"), at=0)
    assert lucene.parse('"a*"') == Match(field=None, pattern=("a*",), at=0)


def test_what_is_read_knows_its_place():
    assert lucene.parse("  f:[1 TO  2]") == Range(
        field="f",
        low=Bound(text="1", is_inclusive=True, at=5),
        high=Bound(text="2", is_inclusive=True, at=11),
        at=2,
    )


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("(", 1, "it ends where a word is missing"),
        ("(a", 0, '"(" without a ")"'),
        ("a)", 1, '")" without a "("'),
        ("a) OR (b", 1, '")" without a "("'),
        ("()", 1, '")" where a word is missing'),
        ("a AND", 5, "it ends where a word is missing"),
        ("OR a", 0, '"OR" where a word is missing'),
        ("a OR AND b", 5, '"AND" where a word is missing'),
        ("f:", 2, "it ends where a value is missing"),
        ("f:a:b", 3, '":" where a word is missing'),
        ("--a", 1, '"-" where a word is missing'),
        ("NOT NOT a", 4, '"NOT" where a word is missing'),
        ('f:"a', 2, "a quote that does not end"),
        ("a\\", 1, '"\\" where a word is missing'),
        ("f:[1 2]", 5, '"2" where "TO" is missing'),
        ("f:[1 TO 2", 9, 'it ends where "]" or "}" is missing'),
        ("f:[TO 2]", 6, '"2" where "TO" is missing'),
        ("f:>", 3, "it ends where a value is missing"),
        ("f:[ ]", 4, '"]" where a value is missing'),
        ("f*:a", 0, "the name of a field can not have wildcards"),
        ("a^", 1, '"^" where a number to boost by is missing'),
        ("a^1.2.3", 1, '"^" where a number to boost by is missing'),
        ("/a+/", 0, "regular expressions are not supported"),
        ("f:/a+/", 2, "regular expressions are not supported"),
        ("a~2", 1, "fuzzy words and distances (~) are not supported"),
        ('"a b"~2', 5, "fuzzy words and distances (~) are not supported"),
        ("a\x00", 1, "the character '\\x00' can not be searched for"),
        ("a\ud800", 1, "the character '\\ud800' can not be searched for"),
        ("a" * 4001, 4000, "it has 4001 characters, at most 4000 work"),
        ("(" * 21 + "a" + ")" * 21, 20, "groups are nested more than 20 deep"),
        ("a " * 101, 201, "it has more than 100 clauses"),
        ("a?" * 11, 0, "a word has more than 10 wildcards"),
    ],
)
def test_what_is_no_query_is_refused_with_the_place(text, at, what):
    with pytest.raises(FilterFault) as caught:
        lucene.parse(text)

    assert caught.value.at == at
    assert caught.value.what.startswith(what)


@given(st.text(alphabet=' ab:()[]{}+-!&|^"~*?\\/<>=0TORAND', max_size=60))
def test_any_text_is_a_query_or_refused_at_a_place_in_it(text):
    try:
        lucene.parse(text)
    except FilterFault as fault:
        place = fault.at
    else:
        place = 0

    assert 0 <= place <= len(text)

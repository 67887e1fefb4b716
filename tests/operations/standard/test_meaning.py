"""What operations mean, held against plain Python that was written from docs/operations.md alone.

Values are compared as JSON has them, by a function of this file: types first, numbers by value, arrays and
objects by what is in them.
"""

import ast
import itertools
import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipelines import make_pipeline
from tsd.operations import DataWindow, Record
from tsd.operations.context import OpContext
from tsd.operations.standard.expressions import compile_expression
from tsd.operations.standard.regexes import compile_regex
from tsd.operations.standard.values import identity, same

SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, -3, 10, 0.0, 1.0, -0.0, 2.5, -2.5, 1e308, 2**53 + 1, float(2**53)])
    | st.sampled_from(
        ["", "0", "1", "a", "b", "true", "null", "None", "1.0", "1_0", "nan", "\u0661", " 7 ", "1e400"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=3,
)


def equal(left, right):
    """Equality of JSON values, without Python's."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return sorted(left) == sorted(right) and all(equal(left[name], right[name]) for name in left)
    return type(left) is type(right) and left == right


def outcome(op, *records):
    """What comes out of an operation, and which records it rejects."""
    seen = []
    pipeline = make_pipeline({**op, "_dead_letter_action": "none"}, context=OpContext(on_reject=seen.append))
    return pipeline.operations[1].on_batch(Record.make_many(records)), [each.record for each in seen]


@given(VALUES, VALUES)
def test_equality_is_that_of_json(left, right):
    assert same(left, right) == equal(left, right)
    if left is not None and right is not None:
        assert (identity(left) == identity(right)) == equal(left, right)
        assert identity(left) != identity(right) or hash(identity(left)) == hash(identity(right))


# --- expressions ----------------------------------------------------------------------------------


class Rejected(Exception):
    """The record can not be taken."""


def number(value):
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected
    return value


def finite(value):
    if isinstance(value, float) and not math.isfinite(value):
        raise Rejected
    return value


def truth(value):
    return (
        value is not None
        and value is not False
        and value != ""
        and not (type(value) in (int, float) and value == 0)
    )


def rounded(value, places=0):
    """Half away from zero, of the number as it is written."""
    text = format_exactly(abs(number(value)))
    whole, _, rest = text.partition(".")
    digits = int(whole + (rest + "0" * places)[:places])
    following = (rest + "0" * (places + 1))[places]
    digits += following >= "5"
    sign = -1 if value < 0 else 1
    return sign * digits if places == 0 else sign * float(f"{digits}e-{places}")


def format_exactly(value):
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, rest = mantissa.partition(".")
    shift = int(exponent or 0)
    if shift >= 0:
        rest = rest.ljust(shift, "0")
        return f"{whole}{rest[:shift]}.{rest[shift:]}"
    whole = whole.rjust(1 - shift, "0")
    return f"{whole[:shift]}.{whole[shift:]}{rest}"


def interpret(node, record):
    """The value of an expression by a walk over its tree; raises Rejected."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return record[node.id]
        case ast.UnaryOp(op=ast.Not()):
            return not truth(interpret(node.operand, record))
        case ast.UnaryOp():
            return -number(interpret(node.operand, record))
        case ast.BinOp():
            return binary(type(node.op), interpret(node.left, record), interpret(node.right, record))
        case ast.BoolOp():
            value = None
            for each in node.values:
                value = interpret(each, record)
                if truth(value) is isinstance(node.op, ast.Or):
                    return value
            return value
        case ast.Compare():
            left = interpret(node.left, record)
            for op, other in zip(node.ops, node.comparators, strict=True):
                right = interpret(other, record)
                if not compare(type(op), left, right):
                    return False
                left = right
            return True
        case ast.Call():
            return call(node.func.id, [interpret(each, record) for each in node.args])
    raise AssertionError(ast.dump(node))


def binary(op, left, right):
    if op is ast.Add and isinstance(left, str) and isinstance(right, str):
        return left + right
    left, right = number(left), number(right)
    try:
        return finite(
            {
                ast.Add: lambda: left + right,
                ast.Sub: lambda: left - right,
                ast.Mult: lambda: left * right,
                ast.Div: lambda: left / right,
                ast.FloorDiv: lambda: left // right,
                ast.Mod: lambda: left % right,
                ast.Pow: lambda: left**right,
            }[op]()
        )
    except ArithmeticError as error:
        raise Rejected from error


def compare(op, left, right):
    if op in (ast.Eq, ast.NotEq):
        return equal(left, right) is (op is ast.Eq)
    if op in (ast.In, ast.NotIn):
        if isinstance(left, str) and isinstance(right, str | dict):
            found = left in right
        elif isinstance(right, list):
            found = any(equal(left, each) for each in right)
        else:
            raise Rejected
        return found is (op is ast.In)
    if not (isinstance(left, str) and isinstance(right, str)):
        left, right = number(left), number(right)
    return {ast.Lt: left < right, ast.LtE: left <= right, ast.Gt: left > right, ast.GtE: left >= right}[op]


def call(name, values):
    value = values[0]
    match name:
        case "str":
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        case "len" if isinstance(value, str | list | dict):
            return len(value)
        case "abs":
            return abs(number(value))
        case "round":
            return rounded(value, *values[1:]) if not isinstance(value, int) else number(value)
        case "int" if isinstance(value, str):
            text = value.strip(" ")
            if not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
                raise Rejected
            return int(text)
        case "int":
            return math.trunc(number(value))
        case "float" if isinstance(value, str):
            if not value.strip(" ") or set(value.strip(" ")) - set("0123456789.e+-"):
                raise Rejected
            return finite(float(value))
        case "float":
            return float(number(value))
        case "min" | "max":
            if not all(isinstance(each, str) for each in values):
                values = [number(each) for each in values]
            return min(values) if name == "min" else max(values)
    raise Rejected


LEAVES = st.sampled_from(["x", "y", "z", "1", "2.5", "0", "'a'", "''", "true", "null"])
OPERATORS = ("+", "-", "*", "/", "//", "%", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or")


def combined(inner):
    return st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} < {parts[1]} <= {parts[2]})"),
        st.tuples(st.sampled_from(["-", "not "]), inner).map(lambda parts: f"({''.join(parts)})"),
        st.tuples(st.sampled_from(["str", "len", "abs", "int", "float", "round"]), inner).map(
            "{0[0]}({0[1]})".format
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map("{0[0]}({0[1]}, {0[2]})".format),
        inner.map(lambda text: f"round({text}, 1)"),
        inner.map(lambda text: f"({text} ** 3)"),
    )


EXPRESSIONS = st.recursive(LEAVES, combined, max_leaves=6)
FIELDS = st.fixed_dictionaries({"x": VALUES, "y": VALUES, "z": SCALARS})


@settings(max_examples=400)
@given(EXPRESSIONS, st.lists(FIELDS, min_size=1, max_size=4))
def test_an_expression_has_the_value_that_a_walk_over_it_gives(text, records):
    if any(each in text for each in ("'a' *", "'a' %", "* 'a'", "% 'a'", "'' *", "'' %", "* ''", "% ''")):
        return  # refused when it is compiled
    expression = compile_expression(text)
    tree = ast.parse(text.replace("true", "True").replace("null", "None"), mode="eval").body
    for record in records:
        if any(
            record[name] in (None, "")
            for name in expression.fields
            if not isinstance(record[name], list | dict)
        ):
            expected = ("value", None)
        else:
            try:
                expected = ("value", interpret(tree, record))
            except Rejected:
                expected = ("rejected", None)
        for evaluate in (expression.evaluate, expression.explain):
            try:
                found = ("value", evaluate(record))
            except (ArithmeticError, TypeError, ValueError):
                found = ("rejected", None)
            assert found[0] == expected[0], (text, record, found, expected)
            assert equal(found[1], expected[1]) or close(found[1], expected[1]), (
                text,
                record,
                found,
                expected,
            )


def close(left, right):
    """Rounding to places may give the float beside it."""
    return type(left) is type(right) is float and math.isclose(left, right, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("text", "record", "reason"),
    [
        ("price * qty", {"price": "9", "qty": 3}, '"9" * 3: * takes two numbers, not a text and a number'),
        ("a % b", {"a": "%s", "b": 1}, '"%s" % 1: % takes two numbers, not a text and a number'),
        ("a * 2", {"a": [1]}, "an array * 2: * takes two numbers, not an array and a number"),
        ("a + 1", {"a": True}, "true + 1: + takes two numbers or two texts, not a boolean and a number"),
        ("a + 1", {"a": "1"}, '"1" + 1: + takes two numbers or two texts, not a text and a number'),
        ("a < 1", {"a": "0"}, '"0" < 1: < takes two numbers or two texts, not a text and a number'),
        ("a < b", {"a": True, "b": False}, "not a boolean and a boolean"),
        ("int(a)", {"a": "1_000"}, 'int("1_000"): the text is no whole number'),
        ("int(a)", {"a": "\u0661"}, "the text is no whole number"),
        ("int(a)", {"a": True}, "int takes a number or a text of digits, not a boolean"),
        ("float(a)", {"a": "NaN"}, 'float("NaN"): the text is no number'),
        ("float(a)", {"a": "inf"}, 'float("inf"): the text is no number'),
        ("float(a)", {"a": "1_0.5"}, "the text is no number"),
        ("float(a)", {"a": "1e400"}, "the number is beyond the range of numbers"),
        ("a * 10", {"a": 1e308}, "the result is beyond the range of numbers"),
        ("1 / (a * 10)", {"a": 1e308}, "the result is beyond the range of numbers"),
        ("a * 10 > 5", {"a": 1e308}, "the result is beyond the range of numbers"),
        ("min(a * 10, 1)", {"a": 1e308}, "the result is beyond the range of numbers"),
        ("round(a * 10, 1)", {"a": 1e308}, "the result is beyond the range of numbers"),
        ("a / b", {"a": 1, "b": 0}, "1 / 0: division by zero"),
        ("a % b", {"a": 1, "b": 0.0}, "1 % 0.0: division by zero"),
        ("a ** 16", {"a": 10**100}, "the result has more than 1000 digits"),
        ("((a ** 16) ** 16) ** 16", {"a": 10**9}, "the result has more than 1000 digits"),
        ("a * a", {"a": 10**600}, "the result has more than 1000 digits"),
        ("a + b", {"a": "x" * 2**23, "b": "y" * (2**23 + 1)}, "the text has more than"),
        ("a / 2", {"a": 10**400}, "the result is beyond the range of numbers"),
        ("len(a)", {"a": 5}, "len takes a text, an array or an object, not a number"),
        ("a in b", {"a": 1, "b": "x1"}, "in takes two texts, a value and an array"),
        ("max(a, 1)", {"a": "x"}, "max takes numbers, or texts, not a number, a text"),
        ("max(a)", {"a": []}, "max takes numbers, or texts, not nothing"),
        ("round(a, 99)", {"a": 1.5}, "a whole number of places"),
        ("str(a) + 1", {"a": 1}, '"1" + 1'),
    ],
)
def test_what_can_not_be_computed_is_rejected_with_the_reason_and_as_it_came(text, record, reason):
    seen = []
    op = {"_op": "derive", "fields": {"t": "1", "v": text}, "_dead_letter_action": "none"}
    pipeline = make_pipeline(op, context=OpContext(on_reject=seen.append))

    kept = pipeline.operations[1].on_batch([Record(record), Record(a=2, b=1, price=2, qty=3)])

    assert len(kept) <= 1
    assert seen[0].record == record
    assert reason in str(seen[0].error)
    assert str(seen[0].error).startswith("v: ")


@pytest.mark.parametrize(
    ("text", "record", "expected"),
    [
        ("str(a)", {"a": True}, "true"),
        ("str(a)", {"a": [1, None, {"b": 1.0}]}, '[1,null,{"b":1.0}]'),
        ("str(a)", {"a": "x"}, "x"),
        ("round(a)", {"a": 2.5}, 3),
        ("round(a)", {"a": -2.5}, -3),
        ("round(a)", {"a": 3.5}, 4),
        ("round(a, 2)", {"a": 2.675}, 2.68),
        ("round(a, 1)", {"a": 0.25}, 0.3),
        ("round(a, -2)", {"a": 150}, 200),
        ("round(a, 3)", {"a": 7}, 7),
        ("float(a)", {"a": " 1.5e3 "}, 1500.0),
        ("int(a)", {"a": "007"}, 7),
        ("int(a)", {"a": -2.9}, -2),
        ("a == 1", {"a": 1.0}, True),
        ("a == 1", {"a": True}, False),
        ('a == "1"', {"a": 1}, False),
        ("1 in a", {"a": [True, "1"]}, False),
        ("not a", {"a": []}, False),
        ('"b" in a', {"a": {"b": 1}}, True),
        ("-7 // a", {"a": 2}, -4),
        ("-7 % a", {"a": 2}, 1),
        ('field("u.c") + 1', {"u": {"c": 1}}, 2),
        ('field("u.c") + 1', {"u.c": 5, "u": {"c": 1}}, 6),
        ('field("t.1")', {"t": [1, "x"]}, "x"),
    ],
)
def test_values_of_expressions(text, record, expected):
    for evaluate in (compile_expression(text).evaluate, compile_expression(text).explain):
        value = evaluate(record)
        assert equal(value, expected)
        assert type(value) is type(expected)


def test_fields_are_set_by_path_and_a_record_that_fails_is_what_it_was():
    op = {"_op": "derive", "fields": {"u.t": "1 + v", "v": "v * 2", "w": 'field("u.t") + v'}}
    kept, rejected = outcome(op, {"v": 1, "u": {"c": 1}}, {"v": "x", "u": {"c": 2}}, {"v": 2})
    assert kept == [{"v": 2, "u": {"c": 1, "t": 2}, "w": 4}, {"v": 4, "u": {"t": 3}, "w": 7}]
    assert rejected == [{"v": "x", "u": {"c": 2}}]


# --- filters --------------------------------------------------------------------------------------

RECORDS = st.lists(
    st.fixed_dictionaries({}, optional={"v": VALUES, "n": st.fixed_dictionaries({"v": VALUES})}), max_size=5
)


@given(
    RECORDS,
    st.lists(VALUES.filter(lambda value: not isinstance(value, list)), min_size=1, max_size=3),
    st.booleans(),
)
def test_filter_by_match_is_equality_of_json(records, wanted, invert):
    def matches(value):
        return any(
            equal(each, want) for want in wanted for each in (value if isinstance(value, list) else [value])
        )

    for field, value_of in (("v", lambda r: r.get("v")), ("n.v", lambda r: r.get("n", {}).get("v"))):
        kept, _ = outcome({"_op": "filter", "field": field, "value": wanted, "invert": invert}, *records)
        assert kept == [record for record in records if matches(value_of(record)) is invert]


@given(RECORDS, st.sampled_from(["on", "rue", "None", "null", "True", "{", "1", "^$", "a|b", r"\.", "0"]))
def test_a_regex_sees_text_numbers_and_booleans_and_never_python(records, pattern):
    def text(value):
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None or isinstance(value, dict | list):
            return None
        return str(int(value)) if float(value).is_integer() and abs(value) < 1e21 else repr(value)

    def matches(value):
        texts = [text(each) for each in (value if isinstance(value, list) else [value])]
        return any(compile_regex(pattern).search(each) for each in texts if each is not None)

    op = {"_op": "filter", "field": "v", "value": pattern, "filter_by": "regex", "action": "keep"}
    kept, _ = outcome(op, *[record for record in records if record.get("v") != 1e308])
    assert kept == [r for r in records if r.get("v") != 1e308 and matches(r.get("v"))]


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        (r"/^a$/", "a\n", False),
        (r"/^a$/m", "b\na\nc", True),
        (r"/\d/", "\u0661", False),
        (r"/^\w$/", "\u00e9", False),
        (r"/[\d-]/", "-", True),
        (r"/^[\w-.]+$/", "a-b.c", True),
        (r"/^[+-\d]+$/", "-5", True),
        (r"/a.b/", "a\rb", False),
        (r"/a.b/s", "a\nb", True),
        (r"/(?<year>\d{4})-\k<year>/", "2024-2024", True),
        (r"/\u{1F600}/u", "\U0001f600", True),
        (r"/a\/b/", "a/b", True),
        (r"/[^]/", "\n", True),
        (r"/[]/", "x", False),
        (r"/É/i", "é", True),
        (r"/[[a]/", "[", True),
        ("abc", "xabcx", True),
    ],
)
def test_regular_expressions_are_those_of_javascript(pattern, text, is_match):
    assert (compile_regex(pattern).search(text) is not None) is is_match


@pytest.mark.parametrize("pattern", ["/?.lly/i", "/a/x", r"/\p{L}/u", "/(?<=a+)b/", "/[a/", "/(/", "/a**/"])
def test_what_the_engine_lacks_is_refused_with_the_pattern(pattern):
    with pytest.raises(ValueError, match=r"regular expression|there is no flag") as info:
        compile_regex(pattern)
    assert pattern in str(info.value)


# --- groups, order, twins -------------------------------------------------------------------------


def grouped(values):
    """Values with how often each is there, by looking at all pairs."""
    groups = []
    for value in values:
        for group in groups:
            if equal(group[0], value):
                group[1] += 1
                break
        else:
            groups.append([value, 1])
    return groups


@given(st.lists(VALUES, max_size=7))
def test_groups_twins_and_counts_go_by_equality_of_json(values):
    records = [{"v": value, "n": number} for number, value in enumerate(values)]
    groups = grouped(values)

    windows, _ = outcome({"_op": "group_by", "field": "v"}, *records)
    kept, _ = outcome({"_op": "dedupe", "field": "v"}, *records)

    assert [len(window.records) for window in windows] == [count for _, count in groups]
    assert all(isinstance(window, DataWindow) for window in windows)
    nulls = max(values.count(None) - 1, 0)
    assert len(kept) == len(groups) + nulls
    counted, rejected = outcome({"_op": "count_unique", "field": "v", "is_meta_field": False}, *records)
    countable = [count for value, count in groups if value is not None and value != ""]
    assert [record["count"] for record in counted] == countable
    assert len(rejected) == len(values) - sum(countable)


def before(left, right):
    """Whether a value stands before another: false, true, numbers, text, arrays, objects."""
    kinds = [
        (isinstance(v, bool) and int(v)) if isinstance(v, bool) else 2 if isinstance(v, int | float) else 3 if isinstance(v, str) else 4 if isinstance(v, list) else 5
        for v in (left, right)
    ]  # fmt: skip
    if kinds[0] != kinds[1]:
        return kinds[0] < kinds[1]
    return left < right if kinds[0] in (2, 3) else False


@given(st.lists(VALUES, max_size=7), st.booleans())
def test_sort_has_one_order_of_all_values(values, is_descending):
    records = [{"v": value, "n": number} for number, value in enumerate(values)]
    order = "desc" if is_descending else "asc"

    found, rejected = outcome({"_op": "sort", "field": "v", "order": order}, *records)

    assert rejected == []
    assert Counter(r["n"] for r in found) == Counter(range(len(values)))
    present = [r for r in found if r["v"] is not None]
    assert found[: len(present)] == present
    for one, other in itertools.pairwise(present):
        first, second = (other, one) if is_descending else (one, other)
        assert not before(second["v"], first["v"])
        if equal(one["v"], other["v"]):
            assert one["n"] < other["n"]


# --- dates and routes -----------------------------------------------------------------------------

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(  # noqa: DTZ001 - made aware
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)


@given(MOMENTS, st.sampled_from(["ms", "s", "us", "ns"]))
def test_a_moment_has_one_route_however_it_is_written(moment, unit):
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    scale = {"ms": (1, 1000), "s": (1, 1_000_000), "us": (1, 1), "ns": (1000, 1)}[unit]
    epoch = micros * scale[0] // scale[1]
    writings = [
        moment.isoformat(),
        moment.isoformat().replace("+00:00", "Z"),
        moment.astimezone(UTC).strftime("%Y").rjust(4, "0") + moment.strftime("%m%d"),
        moment.strftime("%Y").rjust(4, "0") + moment.strftime("%m%d%H%M%S"),
        epoch,
    ]
    if len(str(abs(epoch))) not in (1, 2, 3, 4, 8, 14):
        writings.append(str(epoch))

    op = {"_op": "date_router", "field": "at", "epoch_unit": unit, "date_delimiter": "-"}
    routed, rejected = outcome(op, *[{"at": each} for each in writings])

    assert rejected == []
    day = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}"
    assert [record.metadata["standard:route"] for record in routed] == [day] * len(writings)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1706695200000000, "it would be one in us: see the option epoch_unit"),
        (1706695200000000000, "it would be one in ns: see the option epoch_unit"),
        ("1706695200000000000", "it would be one in ns"),
        ("20241301", "has 8 digits and is no date"),
        ("20240131256060", "has 14 digits and is no date"),
        (10**400, "no point in time from the year 1 to 9999"),
        (True, "true is no point in time"),
        (None, "null is no point in time"),
        ("now", '"now" is no point in time: an epoch in ms, or ISO text'),
        ("9" * 5000, "is no point in time"),
        ([1], "[1] is no point in time"),
        (-1e300, "no point in time"),
    ],
)
def test_what_is_no_date_is_rejected_alone_with_the_reason(value, reason):
    seen = []
    op = {"_op": "date_router", "field": "at", "_dead_letter_action": "none"}
    pipeline = make_pipeline(op, context=OpContext(on_reject=seen.append))

    kept = pipeline.operations[1].on_batch([Record(at=1), Record(at=value), Record(at="20240131")])

    assert [record.metadata["standard:route"] for record in kept] == ["1970.01.01", "2024.01.31"]
    assert reason in str(seen[0].error)
    assert str(seen[0].error).startswith("field at: ")

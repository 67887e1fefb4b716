"""What user code hands over comes back as it was, or is refused by a sentence that names the place."""

import datetime as dt
import decimal
import enum
import json
import pathlib
import types
import uuid
from collections import OrderedDict, defaultdict

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsd.operations.exact_json import encode_exactly


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.StrEnum):
    RED = "red"


class Shade(enum.Enum):
    DARK = "dark"


class Whole(int):
    pass


class Odd:
    def __repr__(self):
        raise RuntimeError("no words")


@attrs.define
class Point:
    x: int = 1


KEPT = [
    {},
    {"a": None, "b": True, "c": -0.0, "d": 1e300, "e": "\u2028\U0001f600\x00", "f": [[], {}]},
    {"a": 2**63, "b": -(2**63), "c": 2**64 - 1, "d": 2**64, "e": -(10**100)},
    {"level": Level.HIGH, "colour": Colour.RED},
    OrderedDict(a=1),
    defaultdict(list, a=[1]),
]


@pytest.mark.parametrize("value", KEPT, ids=range(len(KEPT)))
def test_what_json_has_comes_back_equal(value):
    assert json.loads(encode_exactly(value, "request")) == value


REFUSED = [
    (float("nan"), "is nan, which JSON does not have"),
    (float("inf"), "is inf, which JSON does not have"),
    (-float("inf"), "is -inf, which JSON does not have"),
    (10**5000, "is a whole number with too many digits"),
    (Whole(2**70), "of type"),
    (b"abc", "is b'abc' of type bytes"),
    (bytearray(b"abc"), "of type bytearray"),
    (memoryview(b"abc"), "of type memoryview"),
    ({1, 2}, "is {1, 2} of type set, which JSON does not have: give a list"),
    (frozenset({1}), "of type frozenset"),
    ((1, 2), "is (1, 2) of type tuple, which JSON does not have: give a list"),
    ((), "is () of type tuple"),
    (range(3), "of type range"),
    (
        dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
        "of type datetime.datetime, which JSON does not have: give a text",
    ),
    (dt.date(2024, 1, 2), "of type datetime.date"),
    (dt.time(1), "of type datetime.time"),
    (dt.timedelta(1), "of type datetime.timedelta, which JSON does not have: give a number"),
    (decimal.Decimal("1.5"), "of type decimal.Decimal"),
    (uuid.UUID(int=1), "of type uuid.UUID"),
    (pathlib.Path("/x"), "of type pathlib.PosixPath, which JSON does not have: give a text: str(...)"),
    (1 + 2j, "of type complex"),
    (Shade.DARK, "Shade, which JSON does not have"),
    (Point(), "Point, which JSON does not have"),
    (object, "of type type"),
    (Odd(), "is something of type"),
    (types.MappingProxyType({"a": 1}), "of type mappingproxy, which JSON does not have: give a dict"),
    (iter([1]), "of type list_iterator"),
    ("caf\udce9", "is 'caf\\udce9', a text with half a surrogate pair"),
    ({1: "a"}, "has the key 1 of type int: keys must be text in JSON"),
    ({None: "a"}, "has the key None of type NoneType"),
    ({True: "a"}, "has the key True of type bool"),
    ({(1, 2): "a"}, "has the key (1, 2) of type tuple"),
    ({"\ud800": "a"}, "has the key '\\ud800', a text with half a surrogate pair"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_change_is_refused_with_its_place_and_type(value, reason):
    for wrapped, place in (
        ({"a": [0, {"b": value}]}, "request.a[1].b "),
        ({"fine": 1, "x": value}, "request.x "),
    ):
        with pytest.raises(ValueError, match="request") as info:
            encode_exactly(wrapped, "request")

        assert str(info.value).startswith(place)
        assert reason in str(info.value)
        str(info.value).encode()


def test_what_holds_itself_is_refused():
    loop = {}
    loop["again"] = loop
    with pytest.raises(ValueError, match="nested more than 200 levels deep"):
        encode_exactly(loop, "request")


def test_a_number_of_numpy_is_refused():
    numpy = pytest.importorskip("numpy")
    for value in (numpy.int64(1), numpy.float32(1.5), numpy.array([1, 2])):
        with pytest.raises(ValueError, match=r"request\.x is .* of type numpy\."):
            encode_exactly({"x": value}, "request")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.binary(max_size=3)
    | st.decimals()
    | st.datetimes()
    | st.sampled_from([*Level, *Colour, *Shade]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=[])) | st.integers(), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_whatever_it_is_it_comes_back_equal_or_is_refused(value):
    try:
        text = encode_exactly(value, "request")
    except ValueError as error:
        reason = str(error)
    else:
        reason = "request" if json.loads(text) == value else "changed"
    assert reason.startswith("request")
    assert reason.encode()

"""Validation methods: the examples of data-mate's documentation, and what JSON values do to each method."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import checked, make_pipeline, run
from tsd.errors import JobInvalid
from tsd.operations.standard.validators import VALIDATORS, make_validator

POLYGON = {"type": "Polygon", "coordinates": [[[10, 10], [10, 50], [50, 50], [50, 10], [10, 10]]]}
POINT = {"type": "Point", "coordinates": [12, 12]}
MULTI = {"type": "MultiPolygon", "coordinates": [POLYGON["coordinates"], POLYGON["coordinates"]]}
MIXED = ["hello", 3, {"some": "obj"}]
SHA256 = "85031b6f407e7f25cf826193338f7a4c2dc8c8b5130f5ca2c69a66d9f5107e33"
V2_UUID = "0668CF8B-27F8-2F4D-AF2D-763AC7C8F68B"
ODD_UUID = "123e4567-e89b-82d3-f456-426655440000"

PASS = [
    ("isString", "this is a string", None),
    ("isString", ["hello", "world"], None),
    ("isNumber", 42.32, None),
    ("isNumber", [42.32, 245], None),
    ("isInteger", 42, None),
    ("isInteger", [42, 1], None),
    ("isBoolean", False, None),
    ("isBoolean", [True, None], None),
    *[("isBooleanLike", value, None) for value in (None, 0, "0", "false", "no", ["no", "0", None])],
    *[("isGeoPoint", value, None) for value in ("60,80", [80, 60], {"lat": 60, "lon": 80})],
    ("isGeoPoint", {"latitude": 60, "longitude": 80}, None),
    ("isGeoPoint", ["60,80", {"lat": 60, "lon": 80}], None),
    ("isGeoJSON", POLYGON, None),
    ("isGeoShapePoint", POINT, None),
    ("isGeoShapePoint", [POINT, POINT], None),
    ("isGeoShapePolygon", POLYGON, None),
    ("isGeoShapePolygon", [POLYGON, POLYGON], None),
    ("isGeoShapeMultiPolygon", MULTI, None),
    ("isGeoShapeMultiPolygon", [MULTI, MULTI], None),
    ("inNumberRange", 42, {"min": 0, "max": 100}),
    ("inNumberRange", [42, 11, 94], {"min": 0, "max": 100}),
    ("inNumberRange", 42, {"min": 0, "max": 42, "inclusive": True}),
    *[("isEmpty", value, None) for value in ("", None, {}, [])],
    ("isEmpty", "     ", {"ignoreWhitespace": True}),
    ("contains", "hello", {"value": "hello"}),
    ("contains", "hello", {"value": "ll"}),
    ("contains", ["hello", "cello"], {"value": "ll"}),
    ("contains", "12345", {"value": "45"}),
    ("equals", "hello", {"value": "hello"}),
    ("equals", [3, 3], {"value": 3}),
    ("isLength", "astring", {"size": 7}),
    ("isLength", "astring", {"min": 3, "max": 10}),
    ("isLength", ["astring", "stuff", "other"], {"min": 3, "max": 10}),
    ("isAlpha", "validString", None),
    ("isAlpha", "ThisiZĄĆĘŚŁ", {"locale": "pl-PL"}),
    ("isAlpha", ["validString", "more"], None),
    ("isAlphanumeric", "123validString", None),
    ("isAlphanumeric", "فڤقکگ1234", {"locale": "ku-IQ"}),
    ("isAlphanumeric", ["134", "hello"], None),
    ("isASCII", "asciis__", None),
    ("isASCII", ["some", "words"], None),
    ("isBase64", "ZWFzdXJlLg==", None),
    ("isBase64", ["ZWFzdXJlLg==", "ZWFzdXJlLg=="], None),
    *[
        ("isValidDate", value, None)
        for value in (
            "2019-03-17T23:08:59.673Z",
            "2019-03-17",
            "2019-03-17T23:08:59",
            "03/17/2019",
            "03-17-2019",
            "Jan 22, 2012",
            "23 Jan 2012",
            1552000139,
            ["2019-03-17", 1552000139],
        )
    ],
    *[
        ("isISO8601", value, None)
        for value in (
            "2020-01-01T12:03:03.494Z",
            "2020-01-01",
            "2020-01-01T12:03:03",
            ["2020-01-01T12:03:03", "2020-01-01"],
            "2020-W03-2",
            "20200101T120303Z",
            "2020-01-01T12:03+02:00",
        )
    ],
    ("isRFC3339", "2020-01-01T12:05:05.001Z", None),
    ("isRFC3339", "2020-01-01 12:05:05.001Z", None),
    ("isRFC3339", "2020-01-01T12:05:05Z", None),
    ("isRFC3339", ["2020-01-01T12:05:05Z", "2020-01-01T12:05:05.001Z"], None),
    *[
        ("isJSON", value, None)
        for value in ('{ "bob": "gibson" }', "[]", "{}", ['{ "bob": "gibson" }', "[]"])
    ],
    ("isEmail", "ha3ke5@pawnage.com", None),
    ("isEmail", "email@example.com", None),
    ("isEmail", ["email@example.com", "ha3ke5@pawnage.com"], None),
    ("isFQDN", "example.com.uk", None),
    ("isFQDN", ["example.com.uk", "google.com"], None),
    ("isFQDN", "a_b.example.com", {"allowUnderscores": True}),
    ("isFQDN", "example.com.", {"allowTrailingDot": True}),
    *[
        ("isURL", value, None)
        for value in (
            "https://someurl.cc.ru.ch",
            "ftp://someurl.bom:8080?some=bar&hi=bob",
            "http://xn--fsqu00a.xn--3lr804guic",
            "http://example.com",
            ["http://example.com", "http://example.com"],
        )
    ],
    *[
        ("isIP", value, None)
        for value in (
            "8.8.8.8",
            "192.172.1.18",
            "2001:db8:85a3:8d3:1319:8a2e:370:7348",
            "fe80::1ff:fe23:4567:890a%eth2",
            "2001:DB8::1",
            ["172.16.0.1", "11.0.1.18"],
        )
    ],
    ("isRoutableIP", "8.8.8.8", None),
    ("isRoutableIP", "172.194.0.1", None),
    ("isRoutableIP", ["172.194.0.1", "8.8.8.8"], None),
    ("isNonRoutableIP", "192.168.0.1", None),
    ("isNonRoutableIP", "10.16.32.210", None),
    ("isNonRoutableIP", "fc00:db8::1", None),
    ("isNonRoutableIP", "2001:db8::1", None),  # as the code has it; the page says otherwise
    ("isNonRoutableIP", "::ffff:10.0.0.1", None),
    ("isCIDR", "8.8.0.0/12", None),
    ("isCIDR", "2001::1234:5678/128", None),
    ("isCIDR", ["8.8.0.0/12", "2001::1234:5678/128"], None),
    ("inIPRange", "8.8.8.8", {"cidr": "8.8.8.0/24"}),
    ("inIPRange", "fd00::b000", {"min": "fd00::123", "max": "fd00::ea00"}),
    ("inIPRange", ["8.8.8.64", "8.8.8.8"], {"min": "8.8.8.0", "max": "8.8.8.64"}),
    ("inIPRange", "8.8.8.8", None),
    *[("isISDN", v, None) for v in ("46707123456", "1-808-915-6800", 79525554602)],
    ("isISDN", ["46707123456", "1-808-915-6800"], None),
    ("isMACAddress", "00:1f:f3:5b:2b:1f", None),
    ("isMACAddress", "001ff35b2b1f", None),
    ("isMACAddress", "001f.f35b.2b1f", {"delimiter": "dot"}),
    ("isMACAddress", "00-1f-f3-5b-2b-1f", {"delimiter": ["dash", "colon", "space"]}),
    ("isMACAddress", ["001ff35b2b1f", "00:1f:f3:5b:2b:1f"], None),
    ("isUUID", V2_UUID, None),
    ("isUUID", ODD_UUID, {"version": "loose"}),
    ("isUUID", [V2_UUID, "123e4567-e89b-82d3-a456-426655440000"], None),
    ("isUUID", V2_UUID, {"version": 2}),
    ("isUUID", "00000000-0000-0000-0000-000000000000", {"version": "nil"}),
    ("isHash", "6201b3d1815444c87e00963fcf008c1e", {"algo": "md5"}),
    ("isHash", SHA256, {"algo": "sha256"}),
    ("isHash", "98fc121ea4c749f2b06e4a768b92ef1c740625a0", {"algo": "sha1"}),
    ("isHash", ["6201b3d1815444c87e00963fcf008c1e", None], {"algo": "md5"}),
    *[("isCountryCode", value, None) for value in ("IS", "ru", ["IS", "ru"])],
    ("isMIMEType", "application/javascript", None),
    ("isMIMEType", "text/html; charset=utf-8", None),
    ("isMIMEType", ["application/graphql", "application/javascript"], None),
    ("isISSN", "0378-5955", None),
    ("isISSN", "03785955", None),
    ("isISSN", "0378-5955", {"requireHyphen": True}),
    ("isISSN", ["0378-5955", "0000-006x"], None),
    ("guard", "03785955", None),
    ("exists", "03785955", None),
    ("exists", {"hello": "world"}, None),
    ("isArray", [1, 2, 3], None),
    ("isArray", [], None),
    ("some", MIXED, {"fn": "isString"}),
    ("every", ["hello", "world"], {"fn": "isString"}),
    ("every", [3, 4], {"fn": "inNumberRange", "options": {"min": 2, "max": 5}}),
    ("isPostalCode", "85249", None),
    ("isPostalCode", "85249", {"locale": "any"}),
    ("isPostalCode", "852", {"locale": "IS"}),
    ("isPostalCode", "885 49", {"locale": "SE"}),
    ("isPostalCode", ["85249"], None),
    ("isPostalCode", "SW1A 1AA", {"locale": "GB"}),
]
FAIL = [
    *[("isString", value, None) for value in (True, ["hello", 3], 17.343, None, [], [None])],
    *[("isNumber", value, None) for value in ("NOT A Number", [42.32, {"some": "obj"}], "1", True, None)],
    *[("isInteger", value, None) for value in (3.14, "1", True, [42, 3.14], 2**53)],
    *[("isBoolean", value, None) for value in ("astring", 0, ["true", None])],
    *[("isBooleanLike", value, None) for value in ("maybe", 2, {}, ["no", "perhaps"])],
    *[("isGeoPoint", value, None) for value in (["60,80", "hello"], "hello there", {"lat": 1}, None, True)],
    ("isGeoJSON", "hello", None),
    ("isGeoJSON", [POLYGON, {"other": "obj"}], None),
    ("isGeoShapePoint", POLYGON, None),
    ("isGeoShapePoint", [POLYGON, POINT], None),
    ("isGeoShapePolygon", 3, None),
    ("isGeoShapePolygon", POINT, None),
    ("isGeoShapePolygon", [POLYGON, POINT], None),
    ("isGeoShapeMultiPolygon", POLYGON, None),
    ("isGeoShapeMultiPolygon", POINT, None),
    ("isGeoShapeMultiPolygon", [MULTI, POINT], None),
    ("inNumberRange", [42, 11367, 94], {"min": 0, "max": 100}),
    ("inNumberRange", -42, {"min": 0, "max": 100}),
    ("inNumberRange", 42, {"min": 0, "max": 42}),
    ("inNumberRange", "42", {"min": 0, "max": 100}),
    ("inNumberRange", True, {"min": 0, "max": 100}),
    ("isEmpty", {"foo": "bar"}, None),
    ("isEmpty", "     ", None),
    ("contains", ["hello", "stuff"], {"value": "ll"}),
    ("contains", None, {"value": "one"}),
    ("contains", 12345, {"value": "45"}),
    ("equals", "hello", {"value": "ello"}),
    ("equals", 1, {"value": True}),
    ("equals", [1], {"value": [True]}),
    ("isLength", "astring", {"size": 10}),
    ("isLength", "astring", {"min": 8}),
    ("isLength", 7, {"min": 1}),
    ("isAlpha", "1123_not-valid", None),
    ("isAlpha", "ThisiZĄĆĘŚŁ", None),
    ("isAlpha", "", None),
    ("isAlphanumeric", "-- not valid", None),
    ("isAlphanumeric", "\u0661", None),
    ("isASCII", "\u02dc∆˙©∂ß", None),
    ("isBase64", "not base 64", None),
    ("isBase64", "ZWFzdXJlLg", None),
    *[("isValidDate", value, None) for value in ("1552000139", True, "soon", None, 1.5, "2019-02-30")],
    *[("isISO8601", value, None) for value in ("2020-13-01", "yesterday", 5, "2020-01-01T25:00")],
    *[("isRFC3339", value, None) for value in ("2020-01-01", "2020-01-01T12:05:05", 5)],
    *[("isJSON", value, None) for value in ({"bob": "gibson"}, "5", "NaN", "[NaN]", "{'a':1}", "[" * 9999)],
    *[("isEmail", value, None) for value in (12345, "a@b", "a b@c.de", "x@y.org\n", None)],
    *[("isFQDN", value, None) for value in ("notadomain", "-a.com", "a..com", "example.com.", "a_b.com", 5)],
    *[("isURL", value, None) for value in ("BAD-URL", "http://a b", "http:", 5, "://x")],
    *[("isIP", value, None) for value in ("8.8.8", "8.8.8.8/8", 134744072, "::g", None)],
    ("isRoutableIP", "192.168.0.1", None),
    ("isRoutableIP", "no", None),
    ("isNonRoutableIP", "8.8.8.8", None),
    ("isNonRoutableIP", "no", None),
    *[("isCIDR", value, None) for value in ("8.8.8.10", "8.8.8.8/99", "1.2.3.4/255.0.0.0", 8)],
    ("inIPRange", "8.8.8.8", {"cidr": "8.8.8.10/32"}),
    ("inIPRange", "::1", {"min": "1.1.1.1"}),
    *[("isISDN", v, None) for v in ("NOT A PHONE Number", "123", "1-108-915-6800", True, {})],
    ("isMACAddress", 12345, None),
    ("isMACAddress", "00-1f-f3-5b-2b-1f", {"delimiter": ["colon", "space"]}),
    ("isUUID", ODD_UUID, None),
    ("isUUID", "BAD-UUID", None),
    ("isUUID", V2_UUID, {"version": 4}),
    ("isHash", "6201b3d1815444c87e00963fcf008c1e", {"algo": "sha1"}),
    *[("isCountryCode", value, None) for value in ("USA", "XX", 5)],
    *[("isMIMEType", value, None) for value in (12345, "application", "nonsense/x y")],
    *[("isISSN", value, None) for value in ("0378-5956", "0378", 3785955)],
    ("isISSN", "03785955", {"requireHyphen": True}),
    ("isISSN", "0000-006x", {"caseSensitive": True}),
    ("exists", None, None),
    ("isArray", None, None),
    ("isArray", "abc", None),
    ("some", MIXED, {"fn": "isBoolean"}),
    ("some", "abc", {"fn": "isString"}),
    ("every", MIXED, {"fn": "isString"}),
    ("isPostalCode", "85249x", {"locale": "ES"}),
    ("isPostalCode", "85249", {"locale": "ES"}),
    ("isPostalCode", 1234567890, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "args"), PASS, ids=range(len(PASS)))
def test_what_passes(name, value, args):
    assert make_validator(name, args)(value) is True


@pytest.mark.parametrize(("name", "value", "args"), FAIL, ids=range(len(FAIL)))
def test_what_does_not_pass(name, value, args):
    assert make_validator(name, args)(value) is False


def test_all_methods_of_teraslice_are_there_and_tried():
    assert len(VALIDATORS) == 44  # as its page has them
    assert {name for name, _, _ in PASS} == set(VALIDATORS)
    assert {name for name, _, _ in FAIL} == set(VALIDATORS) - {"guard"}


ARGUMENTS = {
    "contains": {"value": "a"}, "equals": {"value": 1}, "isHash": {"algo": "md5"}, "isLength": {"min": 1},
    "some": {"fn": "isString"}, "every": {"fn": "isIP"},
}  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(set(VALIDATORS) - {"guard"})), JSON)
def test_every_method_says_yes_or_no_to_any_value(name, value):
    assert make_validator(name, ARGUMENTS.get(name))(value) in (True, False)


@pytest.mark.parametrize(
    ("name", "args", "fault"),
    [
        ("isHash", None, "isHash: needs algo"),
        ("contains", {}, "contains: needs value"),
        ("equals", {"value": None}, "equals: needs value"),
        ("isLength", {}, "isLength: needs size"),
        ("inNumberRange", {"min": "x"}, "inNumberRange: min must be a number"),
        ("inNumberRange", 5, "takes an object"),
        ("isAlpha", {"locale": "xx-XX"}, "there is no locale"),
        ("isPostalCode", {"locale": "XX"}, "there is no locale"),
        ("isUUID", {"version": 9}, "version must be of"),
        ("isMACAddress", {"delimiter": "plus"}, "delimiter must be of"),
        ("inIPRange", {"cidr": "x"}, "inIPRange"),
        ("inIPRange", {"min": "1.1.1.1", "max": "::1"}, "of one kind"),
        ("some", {"fn": "isNice"}, "needs fn"),
        ("every", {"fn": "isHash"}, "needs algo"),
    ],
)
def test_arguments_that_can_not_be_are_refused_when_the_job_is_checked(name, args, fault):
    for op in (
        {"_op": "drop_field_conditional", "field": "a", "validation_method": name, "validation_args": args},
        {
            "_op": "filter",
            "field": "a",
            "filter_by": "validator",
            "validation_function": name,
            "validation_function_args": args,
        },
    ):
        with pytest.raises(JobInvalid, match=fault):
            checked("list_reader", op)


def dropped(*records, **options):
    return run(make_pipeline({"_op": "drop_field_conditional", **options}), *records).records


def test_the_documented_examples_of_drop_field_conditional():
    people = [
        {"name": name, "number_field": n} for n, name in enumerate(("lilly", "willy", "billy", "ron"), 1)
    ]
    options = {"field": "number_field", "validation_method": "inNumberRange"}
    options["validation_args"] = {"min": 2, "max": 4}

    assert dropped(*people, **options) == [*people[:2], {"name": "billy"}, people[3]]
    assert dropped(*people, **options, invert=True) == [
        {"name": "lilly"},
        {"name": "willy"},
        people[2],
        {"name": "ron"},
    ]
    assert dropped(*people, field="name", regex="/.?.lly/i") == [
        {"number_field": 1},
        {"number_field": 2},
        {"number_field": 3},
        people[3],
    ]
    with pytest.raises(JobInvalid, match=r"\?\.lly/i is no regular expression"):
        dropped(field="name", regex="/?.lly/i")


def test_guard_rejects_the_record_whose_value_is_null():
    op = {"field": "a", "validation_method": "guard", "_dead_letter_action": "none"}
    assert dropped({"a": 1}, {"a": None}, {"b": 1}, **op) == [{}, {"b": 1}]

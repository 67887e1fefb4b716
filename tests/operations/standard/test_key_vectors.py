"""Keys that Teraslice's public tests of add_key expect (standard-assets, test/add_key): `style: teraslice`."""

import pytest

from tests.support.pipelines import make_pipeline, run
from tsd.operations.context import OpContext
from tsd.operations.standard import geo

PEOPLE = ({"name": "bob", "age": 122}, {"name": "joe", "age": 34}, {"name": "frank", "age": 99})
ALL_KEYS = ["ctzV5v3kRQAAEUJfEZt7nA", "3VR8R2rXctzyMfW8XQsJFg", "dopYygLk3RiI6_L6-VhydQ"]
NAME_AND_AGE = ["e6467-UbK9pmMAcFO0xGgQ", "wP5XmV4WDEHWREmpN7YRAQ", "S5nHugeGpGAeLbBeDNBLJA"]
LON_LAT = {"lon": -43.4432343234, "lat": 55.3454349123934}
ARRAY_KEYS = ["fdHmQuMtkkSnMEai3BQEEw", "38N4tH3xNbTjC3-Spe3vdA", "YPLpPggl-xPF_TDEa50CCA"]


def keys(*records, **options):
    seen = []
    op = {"_op": "add_key", "style": "teraslice", "_dead_letter_action": "none", **options}
    outcome = run(make_pipeline(op, context=OpContext(on_reject=seen.append)), *records)
    assert outcome.error is None, outcome.error
    return [record["_key"] for record in outcome.records], [str(each.error) for each in seen]


def people(*extra):
    return [{**person, **more} for person, more in zip(PEOPLE, extra, strict=True)]


@pytest.mark.parametrize(
    ("records", "options", "expected"),
    [
        (PEOPLE, {}, ALL_KEYS),
        (
            people({"thing": ["some", "thing"]}, {"foo": {"bar": "foo"}}, {}),
            {},
            ["spEib0qesWj68-lFBXD_Aw", "s_Az1xDGGOSRaVzbq1lk2Q", "dopYygLk3RiI6_L6-VhydQ"],
        ),
        (
            PEOPLE,
            {"key_fields": ["age"]},
            ["oKCA9C5vE7Oi3xM_BzCV3Q", "42mFPfdm-kTh7Q_2E_VjvQ", "rGJ6scy9ti7JbnAvB_ZCWw"],
        ),
        (
            PEOPLE,
            {"key_fields": ["age"], "invert_key_fields": True},
            ["n51RvHDvIcpcFPMHmAop2A", "j_MkifkvM0FmlL6P3C1MIg", "JiU8UHQfqpwuK4Nnc8af5g"],
        ),
        (
            PEOPLE,
            {"key_fields": ["name"], "hash_algorithm": "sha256"},
            [
                "gbY32PzSxtpjWeaWMROhFw3nleS3JbhNHgtM_Z7FjOk",
                "eGdcwXYIE3LEOrqz6p-3DHQ4HrAtxuk_ttRNFh2m7rM",
                "d2RvWk8xZmN2J6vpmOehRw_nLYtDDwZ9r6hiY_HyP5Q",
            ],
        ),
        (
            [{"name": "bob"}, {"age": 34}, PEOPLE[2]],
            {"key_fields": ["name", "age"], "minimum_field_count": 2},
            NAME_AND_AGE[2:],
        ),
        (
            people({"foo": []}, {"bar": {}}, {"foo": None, "bar": False}),
            {},
            [*ALL_KEYS[:2], "jmv4RTJMm7Z7vkKXeOuS7Q"],
        ),
        (
            [
                {**PEOPLE[0], "nested": {"count": 0, "foozer": {"barzer": 1, "a": 2}}},
                {**PEOPLE[0], "nested": {"count": 1, "foozer": {"barzer": 2, "a": 3}}},
                {**PEOPLE[0], "nested": {"foozer": {"a": 3, "barzer": 2}, "count": 1}},
            ],
            {},
            ["GfQnm6MUyVlVhjgKcMPdFw", "4WD27_nHjw8Si3W33j3yaA", "4WD27_nHjw8Si3W33j3yaA"],
        ),
    ],
    ids=["all", "nested", "one field", "inverted", "sha256", "minimum", "empty", "order within"],
)
def test_keys_of_values_are_those_of_teraslice(records, options, expected):
    assert keys(*records, **options) == (expected, [])


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ({"type": "Point", "coordinates": [-43.4432343234, 55.3454349123934]}, ["a7GxwT2WporvqjXqvWSYRw"]),
        (LON_LAT, ["LvKzh7sFNReVjg405KP3eA", "yHNFJ-PUzlfbPzHgIrtjRg", "dcTNShWJziZp7QKDNRUmjg"]),
        ([-43.4432343234, 55.3454349123934], ARRAY_KEYS),
        (["-43.4432343234", "55.3454349123934"], ARRAY_KEYS),
        (
            "-43.4432343234, 55.3454349123934",
            ["llbTgbr2KUXHEOmhq7g8Qw", "YbCqBl6R7CsJXbzEbWs6sg", "IjlFcIaARAbF-a1KkqfYFw"],
        ),
        (
            "POINT (-43.4432343234 55.3454349123934)",
            ["5Rstpm4Md5CSTzAciU2W9g", "qL9URXRqqmu5DFYYKGw14Q", "1f0Pue0bf4LmpMQxZ8Pi-w"],
        ),
        ("m0r2g7mk6", ["bKD4DiLbjo7q45c5-xSpAQ", "RWDSU0Xw2ZYnJvzLGTEn-w", "K5YQXB9bY-UWn8NaEXyZBw"]),
    ],
    ids=["GeoJSON", "object", "array", "array of texts", "text", "WKT", "geohash"],
)
def test_keys_of_places_are_those_of_teraslice(location, expected):
    records = people(*[{"location": location}] * 3)[: len(expected)]
    options = {"key_fields": ["name", "age", "location"], "truncate_location": ["location"]}
    assert keys(*records, **options) == (expected, [])
    assert all(record["location"] == location for record in records)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (LON_LAT, ["VXO_m8MSO2eQh2yRPBrFHw", "LupNL69izNwDtTOJ-1Ax2w", "tUY_80h-KwJpUNL_SteHHQ"]),
        (
            {"lat": "-25.4780706", "lon": "-49.2919064"},
            ["bGRK8gj0BhxxDa5g3oLZxA", "BX4BsXq-Sf_vNx_GAcqBUQ", "jVR0y0kYIf9ba_xrG4gfJA"],
        ),
        ({"lat": "6.92585216287241E-4", "lon": "51.54196872959797"}, ["t-SDCScAl0NR6N81ulut4g"]),
        (None, NAME_AND_AGE),
    ],
    ids=["numbers", "texts", "exponents", "missing"],
)
def test_keys_of_single_coordinates_are_those_of_teraslice(location, expected):
    paths = ["location.lon", "location.lat"]
    extra = {} if location is None else {"location": location}
    records = people(*[extra] * 3)[: len(expected)]
    assert keys(*records, key_fields=["name", "age", *paths], truncate_location=paths) == (expected, [])


@pytest.mark.parametrize("style", ["teraslice", "safe"])
@pytest.mark.parametrize(
    "location",
    [
        "POINT ()", "bad format", ["badPoint", "55.3"], {"lon": "no number", "lat": 55.3}, {"lat": 1}, "1,x", "ail",
        {"type": "Point", "coordinates": [1]}, "", True, [None, 1], "1_0,2", "nan,1", [[1, 2], [3, 4]], 1e300, {},
    ],
)  # fmt: skip
def test_a_place_that_can_not_be_read_rejects_its_record_alone(location, style):
    good = {"name": "bob", "at": [1.5, 2.5]}
    if location in ({}, ""):
        location = {"lat": location}
    made, reasons = keys(
        good,
        {"name": "bob", "at": location},
        good,
        style=style,
        key_fields=["name", "at"],
        truncate_location=["at"],
    )
    assert (len(made), len(set(made))) == (2, 1)
    assert len(reasons) == 1
    assert reasons[0].startswith("field at: ")


@pytest.mark.parametrize("style", ["teraslice", "safe"])
def test_places_a_metre_apart_have_one_key_in_all_forms(style):
    for one, other in (
        ({"lat": "-25.4780706", "lon": "-49.2919064"}, {"lat": "-25.4780799", "lon": "-49.2919001"}),
        (["-49.2919064", "-25.4780706"], [-49.2919001, -25.4780799]),
        ("-25.4780706,-49.2919064", "-25.47809,-49.29191"),
        ("6cvmh", "6cvmh"),
    ):
        made, _ = keys({"at": one}, {"at": other}, style=style, key_fields=["at"], truncate_location=["at"])
        assert made[0] == made[1]


@pytest.mark.parametrize("style", ["teraslice", "safe"])
def test_equal_records_have_one_key_in_whatever_order_their_names_stand(style):
    one = {"a": {"x": 1, "y": {"p": {"k": 1, "l": 2}, "q": 2}}, "b": 1}
    other = {"b": 1.0, "a": {"y": {"q": 2, "p": {"l": 2, "k": 1.0}}, "x": 1}}
    if style == "safe":  # of objects within arrays Teraslice's keys know the order
        one["c"], other["c"] = [1, {"k": 1, "l": 2}], [1.0, {"l": 2, "k": 1}]
    made, _ = keys(one, other, {"a": {"x": 2}, "b": 1}, style=style)
    assert made[0] == made[1] != made[2]


def test_a_record_with_none_of_the_key_fields_is_rejected():
    made, reasons = keys({"a": 1}, {"b": 1}, key_fields=["a"], style="safe")
    assert (len(made), reasons) == (1, ["the record has none of the fields that make its key"])


def test_nested_fields_can_be_left_out():
    made, _ = keys(
        {"a": {"x": 1, "y": 1}},
        {"a": {"x": 1, "y": 2}},
        style="safe",
        key_fields=["a.y"],
        invert_key_fields=True,
    )
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("text", "middle"),
    [("ezs42", (42.605, -5.603)), ("u4pruydqqvj", (57.64911, 10.40744)), ("s0", (1.0, 6.0))],
)
def test_geohashes_are_read_and_written(text, middle):
    lat, lon = geo.place_of(text)
    assert (lat, lon) == pytest.approx(middle, abs=2)
    south, north, west, east = geo.bounds_of(text)
    assert south <= lat <= north
    assert west <= lon <= east
    assert geo.geohash(lat, lon) == text

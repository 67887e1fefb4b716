"""Routers: connectors.md points 21 to 23."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import checked, make_pipeline, run
from tsd.errors import JobInvalid
from tsd.operations.standard.routes import ROUTE, fnv1a


def routes(op, *records, before=()):
    outcome = run(make_pipeline(*before, op), *records)
    assert outcome.error is None, outcome.error
    return [record.get_metadata(ROUTE) for record in outcome.records]


def routes_of_keys(options, *keys):
    before = [{"_op": "set_key", "field": "id"}]
    return routes({"_op": "key_router", **options}, *[{"id": key} for key in keys], before=before)


def date_route(when, **options):
    (route,) = routes({"_op": "date_router", "field": "at", **options}, {"at": when})
    return route


LAST = "2020-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        ("daily", "2020.12.31"),
        ("hourly", "2020.12.31.23"),
        ("monthly", "2020.12"),
        ("yearly", "2020"),
        ("weekly", "2020.52"),
        ("weekly_epoch", "2661"),
    ],
)
def test_routes_of_dates_are_in_utc(resolution, expected):
    """Point 21."""
    assert date_route(LAST, resolution=resolution) == expected
    assert date_route("2021-01-01T01:59:59+02:00", resolution=resolution) == expected


def test_weeks_begin_on_the_first_of_january():
    assert date_route("2020-01-07", resolution="weekly") == "2020.00"
    assert date_route("2020-01-08", resolution="weekly") == "2020.01"


def test_units_and_delimiters():
    assert date_route(LAST, include_date_units=True) == "year_2020.month_12.day_31"
    options = {"date_delimiter": "-", "date_unit_delimiter": "", "resolution": "monthly"}
    assert date_route(LAST, include_date_units=True, **options) == "year2020-month12"


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)))  # noqa: DTZ001 - made aware below
def test_every_moment_lies_in_the_week_that_its_route_names(moment):
    moment = moment.replace(tzinfo=UTC)
    year, week = date_route(moment.isoformat(), resolution="weekly").split(".")
    begins = datetime(int(year), 1, 1, tzinfo=UTC) + timedelta(weeks=int(week))
    assert begins <= moment < begins + timedelta(weeks=1)


def test_a_bad_date_is_rejected_and_makes_no_empty_record():
    """Point 23."""
    op = {"_op": "date_router", "field": "at", "_dead_letter_action": "none"}
    records = [{"at": LAST}, {"at": "now-1h"}, {"at": None}, {"at": "soon"}, {}]
    assert routes(op, *records) == ["2020.12.31"]


def test_the_clock_may_be_the_date():
    before = datetime.now(UTC)
    (route,) = routes({"_op": "date_router", "use_clock_time": True}, {})
    assert route in {when.strftime("%Y.%m.%d") for when in (before, datetime.now(UTC))}
    with pytest.raises(JobInvalid, match=r"operations\[1\].field"):
        checked("list_reader", "date_router")


def test_the_hash_is_fnv_1a():
    """Point 22; published values of the hash."""
    assert (fnv1a(""), fnv1a("a"), fnv1a("foobar")) == (0x811C9DC5, 0xE40C292C, 0xBF9CF968)
    before = [{"_op": "set_key", "field": "id"}]
    assert routes({"_op": "hash_router", "partitions": 10}, {"id": "abc"}, before=before) == ["1"]


def test_fields_are_hashed_one_behind_the_other():
    op = {"_op": "hash_router", "fields": ["a", "b"], "partitions": 1_000}
    assert routes(op, {"a": "ab", "b": "c"}, {"a": "abc"}, {"a": 1, "b": [2, 3]}) == [
        str(fnv1a("abc") % 1_000),
        str(fnv1a("abc") % 1_000),
        str(fnv1a("12,3") % 1_000),
    ]


def test_a_record_without_a_key_has_no_route():
    for op in ({"_op": "hash_router", "partitions": 2}, {"_op": "key_router"}):
        assert routes(op | {"_dead_letter_action": "none"}, {"a": 1}) == []


def test_routes_of_fields():
    """Point 22."""
    op = {"_op": "field_router", "fields": ["a", "b", "c.d"]}
    record = {"a": "x/y=z", "b": [1, 2], "c": {"d": None}}
    assert routes(op, record) == ["a_x_y_z-b_1,2-c.d_"]
    plain = {**op, "include_field_names": False, "field_delimiter": "."}
    assert routes(plain, record) == ["x_y_z.1,2."]


def test_routes_of_keys():
    """Point 22."""
    assert routes_of_keys({}, "abc", 12) == ["abc", "12"]
    assert routes_of_keys({"use": 2, "from": "beginning"}, "abc") == ["ab"]
    assert routes_of_keys({"use": 2, "from": "end", "case": "upper"}, "abc", "c") == ["BC", "C"]
    suffixes = {
        "suffix_use": True,
        "suffix_lower": "_l",
        "suffix_upper": "_u",
        "suffix_number": "_n",
        "suffix_other": "_o",
    }
    one = {"use": 1, "from": "beginning", **suffixes}
    assert routes_of_keys(one, "abc", "Abc", "1", "é") == ["a_l", "A_u", "1_n", "é_o"]
    assert routes_of_keys(one | {"case": "upper"}, "abc") == ["A_L"]
    assert routes_of_keys(one | {"use": 2}, "abc") == ["ab"]


@pytest.mark.parametrize(
    "options",
    [
        {"use": 1},
        {"from": "end"},
        {"use": 0, "from": "end"},
        {"suffix_use": True},
        {"use": 1, "from": "end", "suffix_use": True},
        {"case": "title"},
    ],
)
def test_options_of_key_router_that_can_not_work_are_refused(options):
    with pytest.raises(JobInvalid):
        checked("list_reader", {"_op": "key_router", **options})

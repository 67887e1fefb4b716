"""Durations: job-config.md section 2, points J6 and 44."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsd.durations import UNITS, parse_duration


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        (0, 0),
        (3000, 3000),
        (3600.0, 3600),
        ("3500", 3500),
        ("5 minutes", 300_000),
        ("5 Minutes", 300_000),
        ("1 minute", 60_000),
        ("1.5 hours", 5_400_000),
        ("1.5 days", 129_600_000),
        ("90s", 90_000),
        ("250ms", 250),
        (" 2 weeks ", 1_209_600_000),
        ("1 M", 2_592_000_000),
        ("1 m", 60_000),
    ],
)
def test_a_duration_is_read_as_milliseconds(value, expected_ms):
    assert parse_duration(value) == expected_ms


@pytest.mark.parametrize(
    "value",
    [
        -5,
        "-6",
        "-1 day",
        1.5,
        "2.5",
        "",
        "soon",
        "5 minutes ago",
        "1e3 s",
        True,
        None,
        [],
        float("nan"),
        "٣ s",
    ],
)
def test_garbage_and_negatives_are_refused_and_the_units_are_named(value):
    with pytest.raises(ValueError, match=r"must be a positive integer .* units are millisecond, second"):
        parse_duration(value)


def test_an_unknown_unit_is_named():
    with pytest.raises(ValueError, match=r"Invalid duration unit: parsecs; units are"):
        parse_duration("5 parsecs")


@given(st.integers(min_value=0, max_value=10_000), st.sampled_from(sorted(UNITS)))
def test_every_spelling_of_a_unit_is_a_factor(amount, unit):
    expected_ms = amount * UNITS[unit]

    assert parse_duration(f"{amount} {unit}") == parse_duration(f"{amount}{unit}") == expected_ms

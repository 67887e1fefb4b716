"""Dates in filters: which stretch of time each means."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsd.store.documents import shown_time
from tsd.store.moments import Stretch, read_stretch

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)
NOW = datetime(2026, 3, 31, 14, 35, 56, 789000, tzinfo=UTC)  # a Tuesday
NOW_MS = (NOW - EPOCH) // MS


def unix_ms(text):
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // MS


def stretch(first, end):
    """From one moment up to another."""
    return Stretch(unix_ms(first), unix_ms(end) - 1)


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("2026", "2026-01-01", "2027-01-01"),
        ("2026-02", "2026-02-01", "2026-03-01"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        ("2026-01-31T12", "2026-01-31T12:00", "2026-01-31T13:00"),
        ("2026-01-31T12:30Z", "2026-01-31T12:30", "2026-01-31T12:31"),
        ("2026-01-31 12:30:15", "2026-01-31T12:30:15", "2026-01-31T12:30:16"),
        ("2026-01-31T12:30:15.5Z", "2026-01-31T12:30:15.500", "2026-01-31T12:30:15.501"),
        ("2026-01-31T12:30:15.123456789", "2026-01-31T12:30:15.123", "2026-01-31T12:30:15.124"),
        ("2026-01-31T23:30-01:30", "2026-02-01T01:00", "2026-02-01T01:01"),
        ("2026-01-31T23:30+0200", "2026-01-31T21:30", "2026-01-31T21:31"),
        ("1767225600000", "2026-01-01", "2026-01-01T00:00:00.001"),
        ("now", "2026-03-31T14:35:56.789", "2026-03-31T14:35:56.790"),
        ("now-1d", "2026-03-30T14:35:56.789", "2026-03-30T14:35:56.790"),
        ("now-d", "2026-03-30T14:35:56.789", "2026-03-30T14:35:56.790"),
        ("now-1M", "2026-02-28T14:35:56.789", "2026-02-28T14:35:56.790"),
        ("now+1y", "2027-03-31T14:35:56.789", "2027-03-31T14:35:56.790"),
        ("now/y", "2026-01-01", "2027-01-01"),
        ("now/M", "2026-03-01", "2026-04-01"),
        ("now/w", "2026-03-30", "2026-04-06"),
        ("now/d", "2026-03-31", "2026-04-01"),
        ("now/H", "2026-03-31T14:00", "2026-03-31T15:00"),
        ("now/m", "2026-03-31T14:35", "2026-03-31T14:36"),
        ("now/s", "2026-03-31T14:35:56", "2026-03-31T14:35:57"),
        ("now-2h+30m/d-1d", "2026-03-30", "2026-03-31"),
        ("2026-01||+1M", "2026-02-01", "2026-03-01"),
        ("2026-01-15||/M", "2026-01-01", "2026-02-01"),
        ("2026-01||/d", "2026-01-01", "2026-02-01"),
        ("2026||", "2026-01-01", "2027-01-01"),
    ],
)
def test_a_date_means_all_that_it_does_not_say_more_exactly(text, first, end):
    assert read_stretch(text, now_ms=NOW_MS) == stretch(first, end)


def test_the_last_year_ends_with_time():
    assert read_stretch("9999", now_ms=NOW_MS).first == (datetime(9999, 1, 1, tzinfo=UTC) - EPOCH) // MS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13",
        "2026-02-30",
        "2026-1-1",
        "2026-01-01T25",
        "2026-01-01T10:61",
        "0000",
        "26",
        "٢٠٢٦",
        "now-1",
        "now-1x",
        "now1d",
        "now/",
        "2026-01-01+1d",
        "2026-01-01||1d",
        "9999-12-31||+1d",
        "now-999999y",
        "now-999999w",
        "now" + "+1d" * 11,
        "99999999999999999",
    ],
)
def test_what_is_no_date_is_a_value_error(text):
    with pytest.raises(ValueError):
        read_stretch(text, now_ms=NOW_MS)


@given(st.text(alphabet="0123456789-:TZ.+|/nowyMdhms ", max_size=30))
def test_any_text_is_a_stretch_or_a_value_error(text):
    try:
        found = read_stretch(text, now_ms=NOW_MS)
    except ValueError:
        found = Stretch(0, 0)

    assert found.first <= found.last


@given(st.datetimes(min_value=NOW.replace(tzinfo=None), timezones=st.just(UTC)))
def test_a_shown_time_is_its_own_millisecond(moment):
    at = (moment - EPOCH) // MS

    assert read_stretch(shown_time(at), now_ms=NOW_MS) == Stretch(at, at)

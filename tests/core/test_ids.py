"""Ids of slices."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from tsd.ids import slice_id

PLACES = st.tuples(st.text(max_size=40), st.integers(0, 100), st.integers(1, 10**6))


@given(PLACES)
def test_a_slice_id_has_the_form_of_a_random_uuid(place):
    """Operations 1."""
    assert uuid.UUID(slice_id(*place)).version == 4


@given(PLACES, PLACES)
def test_a_slice_id_says_where_the_slice_stands_and_nothing_else(place, other):
    """Operations 1: a slice that is made again has the id it had."""
    assert (slice_id(*place) == slice_id(*other)) == (place == other)

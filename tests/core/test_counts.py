"""Counts of processes become totals that only grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsd.core.counts import COUNT_MAX, MeshCounts, Total, WorkCounts, mesh_sum, plus, without_queue


def completed(count):
    return WorkCounts(completed=count)


def heard(*words):
    """The completed slices after these words, as (name, peer, count)."""
    total = Total(WorkCounts())
    for name, peer, count in words:
        total.hear(name, peer, completed(count))
    return total.sum.completed


def test_the_first_word_of_a_process_only_says_where_it_begins():
    assert heard(("x", "x/1/c", 500)) == 0
    assert heard(("x", "x/1/c", 500), ("x", "x/1/c", 507)) == 7


def test_a_repeated_or_late_word_adds_nothing():
    assert heard(("x", "a", 0), ("x", "a", 9), ("x", "a", 9), ("x", "a", 4), ("x", "a", 9)) == 9


def test_the_next_process_of_a_name_begins_anew():
    assert heard(("x", "a", 0), ("x", "a", 9), ("x", "b", 0), ("x", "b", 2)) == 11


def test_what_is_forgotten_and_comes_back_is_not_counted_twice():
    total = Total(WorkCounts())
    for count in (0, 5):
        total.hear("n", "n~1", completed(count))
    total.forget("n")
    for count in (6, 8):
        total.hear("n", "n~1", completed(count))

    assert total.sum.completed == 7


@given(st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from("ab"), st.integers(0, 20))))
def test_totals_never_fall(words):
    total, before = Total(WorkCounts()), 0
    for name, peer, count in words:
        total.hear(name, peer, completed(count))
        assert total.sum.completed >= before
        before = total.sum.completed


def test_what_waits_is_shown_as_it_is_now():
    total = Total(MeshCounts())
    for name in ("x", "y"):
        total.hear(name, name, MeshCounts(queued=5))
        total.hear(name, name, MeshCounts(queued=3, messages_in=1))
    assert mesh_sum(total) == MeshCounts(queued=6, messages_in=2)

    total.forget("x")

    assert mesh_sum(total) == MeshCounts(queued=3, messages_in=2)


def test_nothing_waits_in_a_process_that_is_gone():
    assert without_queue(MeshCounts(queued=3, bytes_in=1)) == MeshCounts(bytes_in=1)


@pytest.mark.parametrize("count", [-1, COUNT_MAX + 1])
def test_a_count_that_can_not_be_true_is_refused(count):
    with pytest.raises(ValueError, match="messages_in must be"):
        MeshCounts(messages_in=count)


def test_sums_stay_at_the_largest_count():
    assert plus(completed(COUNT_MAX), completed(1)) == completed(COUNT_MAX)

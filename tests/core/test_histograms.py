"""Histograms count what fell where."""

from tsd.core.histograms import Histogram, Observations


def test_a_value_belongs_to_the_first_bucket_that_is_not_below_it():
    seen = Observations((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 3.0, 100.0):
        seen.add(value)

    assert seen.histogram() == Histogram((1.0, 2.0), (2, 2, 2), 107.5)
    assert seen.histogram().count == 6


def test_a_histogram_stays_as_it_is():
    seen = Observations((1.0,))
    before = seen.histogram()
    seen.add(0.5)

    assert before == Histogram((1.0,), (0, 0), 0.0)

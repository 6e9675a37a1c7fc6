"""Counts of values by bounds."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.observe.histogram import RATIOS, ROWS, SECONDS, Histogram


def test_a_value_is_counted_under_the_first_bound_that_is_not_below_it():
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 1.5, 4.0, 4.1):
        histogram.add(value)
    assert histogram.counts == [2, 1, 1, 1]
    assert histogram.total == pytest.approx(11.1)


@given(st.floats(0, 100), st.integers(0, 50))
def test_the_same_value_many_times_is_counted_as_if_it_came_one_by_one(value, times):
    at_once, one_by_one = Histogram(SECONDS), Histogram(SECONDS)
    at_once.add_many(value, times)
    for _ in range(times):
        one_by_one.add(value)
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)


@given(
    st.lists(st.sampled_from([*SECONDS, 1e-5, 0.003, 0.3, 99.0]) | st.floats(0, 100), min_size=1, max_size=40)
)
def test_the_values_of_one_run_are_counted_as_if_they_came_one_by_one(values):
    at_once, one_by_one = Histogram(SECONDS), Histogram(SECONDS)
    at_once.add_each(values)
    for value in values:
        one_by_one.add(value)
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=40),
    st.sampled_from([SECONDS, RATIOS]),
    st.sampled_from([1, 10**9]),
)
def test_times_are_counted_by_their_begins_as_if_each_had_been_reckoned(begins, bounds, unit):
    """But where it lies on a bound to the last bit."""
    at_once, one_by_one = Histogram(bounds), Histogram(bounds)
    begins, end = [begin * unit for begin in begins], 101.0 * unit
    values = [(end - begin) / unit for begin in begins]
    assume(all(abs(value - bound) > 1e-9 for value in values for bound in bounds))
    assert at_once.add_since(begins, end, unit) == pytest.approx(sum(values) * unit)
    one_by_one.add_each(values)
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)


def test_a_time_that_is_as_long_as_a_bound_lies_within_it():
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.add_since([5, 9, 8, 7, 9], 9) == 7
    assert histogram.counts == [3, 1, 1, 0]


@given(st.lists(st.floats(0, 100), max_size=40))
def test_values_that_are_added_together_make_the_same_total_as_one_by_one(values):
    at_once, one_by_one = Histogram(SECONDS), Histogram(SECONDS)
    at_once.add(0.1)
    at_once.add_each(values)
    for value in [0.1, *values]:
        one_by_one.add(value)
    assert (at_once.counts, at_once.total) == (one_by_one.counts, one_by_one.total)


@pytest.mark.parametrize("bounds", [SECONDS, ROWS, RATIOS])
def test_bounds_rise(bounds):
    assert list(bounds) == sorted(set(bounds))
    assert bounds[0] > 0

"""When a worker that crashed is started again, and when not any more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.worker.crashes import Again, CrashRule, Quarantine

RULE = CrashRule(most=4, within_s=60, first_s=0.5, longest_s=1.5)


def test_each_crash_in_a_row_doubles_the_wait_up_to_the_longest():
    assert RULE.decide([100.0], 100.0) == Again(0.5)
    assert RULE.decide([99.0, 100.0], 100.0) == Again(1.0)
    assert RULE.decide([98.0, 99.0, 100.0], 100.0) == Again(1.5)


def test_too_many_within_the_time_are_the_end_of_it():
    assert RULE.decide([97.0, 98.0, 99.0, 100.0], 100.0) == Quarantine(4, 60)


def test_a_crash_that_is_long_ago_does_not_count():
    assert RULE.decide([1.0, 2.0, 39.9, 100.0], 100.0) == Again(0.5)


def test_an_end_that_was_no_crash_waits_as_after_the_first():
    assert RULE.decide([], 100.0) == Again(0.5)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30), st.floats(1, 1000), st.integers(1, 9))
def test_no_wait_is_longer_than_the_longest_and_only_too_many_end_it(times, within_s, most):
    rule, now = CrashRule(most=most, within_s=within_s), max(times)
    match rule.decide(times, now):
        case Again(wait_s):
            assert rule.first_s <= wait_s <= rule.longest_s
            assert len(rule.lately(times, now)) < most
        case Quarantine(crashes):
            assert crashes >= most


def test_no_crash_at_all_cannot_be_too_many():
    with pytest.raises(ValueError, match="at least 1"):
        CrashRule(most=0)

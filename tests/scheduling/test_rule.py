"""Who leaves together, and when: plain arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.scheduling.rule import BatchRule, Hold, Leave, Why


def test_a_lone_request_waits_no_longer_than_its_delay():
    rule = BatchRule(max_batch_size=8, max_queue_delay_us=5_000)
    assert rule.decide(rows=[1], waited_us=3_000) == Hold(2_000)
    assert rule.decide(rows=[1], waited_us=5_000) == Leave(1, 1, Why.DELAY)


def test_without_a_delay_everyone_who_fits_leaves_at_once():
    rule = BatchRule(max_batch_size=8)
    assert rule.decide(rows=[1, 2, 3], waited_us=0) == Leave(3, 6, Why.IDLE)


def test_a_full_batch_does_not_wait():
    rule = BatchRule(max_batch_size=4, max_queue_delay_us=1_000_000)
    assert rule.decide(rows=[2, 2, 2], waited_us=0) == Leave(2, 4, Why.FULL)


def test_a_batch_that_the_next_request_would_overfill_does_not_wait():
    rule = BatchRule(max_batch_size=4, max_queue_delay_us=1_000_000)
    assert rule.decide(rows=[3, 2], waited_us=0) == Leave(1, 3, Why.FULL)


def test_the_largest_preferred_size_that_can_be_formed_leaves_at_once():
    rule = BatchRule(max_batch_size=8, max_queue_delay_us=1_000_000, preferred_batch_sizes=(2, 4))
    assert rule.decide(rows=[1, 1, 1, 1, 1], waited_us=0) == Leave(4, 4, Why.PREFERRED)
    assert rule.decide(rows=[1, 1, 1], waited_us=0) == Leave(2, 2, Why.PREFERRED)
    assert rule.decide(rows=[1], waited_us=0) == Hold(1_000_000)


def test_rows_that_miss_every_preferred_size_leave_when_their_delay_is_over():
    rule = BatchRule(max_batch_size=8, max_queue_delay_us=1_000, preferred_batch_sizes=(4,))
    assert rule.decide(rows=[3, 3], waited_us=0) == Hold(1_000)
    assert rule.decide(rows=[3, 3], waited_us=1_000) == Leave(2, 6, Why.DELAY)


def test_one_that_is_too_large_for_a_batch_goes_alone():
    assert BatchRule(max_batch_size=4).decide(rows=[9, 1], waited_us=0) == Leave(1, 9, Why.FULL)


def test_nobody_waiting_means_nobody_leaves():
    assert BatchRule(max_batch_size=8).decide(rows=[], waited_us=0) == Hold(0)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_batch_size": 0},
        {"max_batch_size": 4, "max_queue_delay_us": -1},
        {"max_batch_size": 4, "preferred_batch_sizes": (5,)},
        {"max_batch_size": 4, "preferred_batch_sizes": (0,)},
    ],
)
def test_a_rule_that_makes_no_sense_cannot_be_made(fields):
    with pytest.raises(ValueError):
        BatchRule(**fields)


@st.composite
def situations(draw):
    size = draw(st.integers(1, 32))
    rule = BatchRule(
        max_batch_size=size,
        max_queue_delay_us=draw(st.sampled_from([0, 1, 1_000])),
        preferred_batch_sizes=tuple(draw(st.lists(st.integers(1, size), max_size=3))),
    )
    rows = draw(st.lists(st.integers(1, size), min_size=1, max_size=40))
    return rule, rows, draw(st.integers(0, 2_000))


@given(situations())
def test_a_batch_is_never_too_large_and_never_skips_anyone(situation):
    rule, rows, waited_us = situation
    match rule.decide(rows, waited_us):
        case Leave(requests, total, _):
            assert 1 <= requests <= len(rows)
            assert total == sum(rows[:requests]) <= rule.max_batch_size
        case Hold(us):
            assert 0 < us <= rule.max_queue_delay_us


@given(situations())
def test_nobody_is_held_longer_than_the_delay(situation):
    rule, rows, _ = situation
    assert isinstance(rule.decide(rows, rule.max_queue_delay_us), Leave)


@given(situations())
def test_a_batch_that_is_not_of_a_preferred_size_takes_everyone_who_fits(situation):
    rule, rows, waited_us = situation
    answer = rule.decide(rows, waited_us)
    if isinstance(answer, Leave) and answer.rows not in rule.preferred_batch_sizes:
        following = rows[answer.requests : answer.requests + 1]
        assert answer.rows + sum(following) > rule.max_batch_size or not following

"""Batches and admission from a latency target, as arithmetic. A thousand stands for a millisecond here."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.scheduling.latency_target import LOOK_AGAIN, LatencyTarget
from server.scheduling.profile import Curve
from server.scheduling.rule import Leave, Why
from server.scheduling.target import (
    Margin,
    answered_in,
    best_rows,
    most_rows,
    rows_within,
)


def line(fixed: float, per_row: float):
    return lambda rows: fixed + per_row * rows


def curve(fixed: float, per_row: float, upto: int = 32) -> Curve:
    made = Curve()
    for rows in range(1, upto + 1):
        made.note(rows, int(1000 * (fixed + per_row * rows)))
    return made


def test_a_full_batch_and_the_wait_for_the_one_before_fit_into_the_target():
    assert most_rows(line(2, 0.5), target_ns=50, slots=1, limit=64) == 43
    assert most_rows(line(2, 0.5), target_ns=50, slots=1, limit=32) == 32
    assert most_rows(line(2, 0.5), target_ns=50, slots=2, limit=64) == 59


def past_a_cache(fits: int):
    return lambda rows: 4 + rows + 2 * max(0, rows - fits)


def test_a_batch_is_as_large_as_it_may_be_unless_a_smaller_one_is_clearly_better():
    assert best_rows(line(2, 0.5), limit=32) == 32
    assert best_rows(line(0, 35), limit=6) == 6
    assert (
        best_rows(lambda rows: 4 + rows + max(0, rows - 16), limit=32) == 16
    )  # past a cache, a row takes twice
    assert best_rows(lambda rows: 4 + rows + max(0, rows - 30), limit=32) == 32


def test_a_smaller_batch_must_be_better_beyond_doubt():
    def lucky(rows: int) -> float:
        return line(2, 0.5)(rows) * (0.8 if rows == 28 else 1.0)

    assert best_rows(lucky, limit=32) == 28
    assert best_rows(lucky, limit=32, doubt=lambda rows: 0.2 * lucky(rows)) == 32
    assert best_rows(lucky, limit=32, doubt=lambda rows: 0.2 * lucky(rows) if rows == 28 else 0.0) == 32
    assert best_rows(lucky, limit=32, doubt=lambda rows: 0.2 * lucky(rows) if rows == 32 else 0.0) == 32


def test_what_is_not_known_limits_nothing():
    assert rows_within(lambda _: 0.0, ns=0, limit=16) == 16
    assert most_rows(lambda _: 0.0, target_ns=1, slots=1, limit=16) == 16


@given(st.floats(0, 100), st.floats(0.01, 10), st.floats(0, 200), st.integers(1, 256))
def test_the_most_rows_within_a_time_fit_and_one_more_would_not(fixed, per_row, ns, limit):
    expect = line(fixed, per_row)
    rows = rows_within(expect, ns, limit)
    assert 0 <= rows <= limit
    assert rows == 0 or expect(rows) <= ns
    assert rows == limit or expect(rows + 1) > ns


def test_a_request_is_answered_after_those_ahead_and_with_its_own_batch():
    def answered(**facts) -> float:
        still = {"rows": 1, "ahead": 0, "wait_ns": 0.0, "arriving": 0.0, "turn_ns": 0.0}
        return answered_in(line(2, 1), most=8, slots=1, **{**still, **facts})

    assert answered() == 3, "alone"
    assert answered(ahead=3) == 6, "with three others"
    assert answered(ahead=3, wait_ns=5.0) == 11, "once a slot is free"
    assert answered(ahead=3, wait_ns=5.0, arriving=2.9) == 13, "with those who come until then"
    assert answered(ahead=8) == 20, "after a full batch, and in one"
    assert answered(ahead=16, turn_ns=4.0) == 38, "and after the turns of others"


def target(ns: int = 50_000, limit: int = 32) -> LatencyTarget:
    made = LatencyTarget(ns, limit=limit, slots=1)
    made.note_run(SEEN)
    return made


SEEN = curve(2, 0.5)


def test_everybody_who_can_be_on_time_leaves_at_once():
    assert target().decide([1, 2, 3], 6, 50_000, SEEN) == Leave(3, 6, Why.IDLE)


def test_the_slack_of_the_oldest_bounds_the_batch():
    assert target().decide([1] * 30, 30, 12_000, SEEN) == Leave(20, 20, Why.DEADLINE)


def test_one_for_whom_the_batch_would_be_less_than_half_is_turned_away():
    assert target().decide([1] * 30, 30, 8_000, SEEN) is None
    assert target().decide([1] * 12, 12, 8_000, SEEN) == Leave(12, 12, Why.IDLE)


def test_one_that_is_late_already_is_turned_away():
    assert target().decide([1], 1, 1_000, SEEN) is None
    assert target().decide([4, 1], 5, 3_500, SEEN) is None


def test_a_full_batch_is_full_whatever_the_slack():
    leaving = target(limit=8).decide([1] * 30, 30, 50_000, SEEN)
    assert leaving == Leave(8, 8, Why.FULL)


def test_the_door_is_open_as_far_as_the_slower_reckoning_would_let_in():
    seen = SEEN
    for wait in (0.0, 5_000.0, 12_000.0, 30_000.0):
        one = target()
        open_rows = one.open_rows(wait, 0.0, seen)
        for ahead in range(open_rows):
            expected = one.expected(1, ahead, wait, 0.0, seen) + one.margin.ns
            assert expected <= 50_000, (wait, ahead, open_rows)


def test_while_nothing_is_known_every_request_is_reckoned():
    assert LatencyTarget(50_000, limit=8, slots=1).open_rows(0.0, 0.0, Curve()) == 0


@pytest.mark.parametrize("spread", [1, 5])
def test_the_margin_settles_where_three_in_a_thousand_are_late(spread):
    chance, margin = random.Random(3), Margin(100)
    late = 0
    for step in range(40_000):
        is_late = chance.gauss(0, spread) > margin.ns
        margin.note(late=is_late)
        late += is_late and step >= 10_000
    assert late / 30_000 == pytest.approx(Margin.LATE, abs=0.0015)


def test_the_margin_keeps_within_a_third_of_the_target():
    margin = Margin(90)
    for _ in range(1000):
        margin.note(late=True)
    assert margin.ns == 30
    for _ in range(100_000):
        margin.note(late=False)
    assert margin.ns == 0


def test_a_margin_goes_on_where_another_left_off():
    before, after, tight = Margin(90), Margin(60), Margin(30)
    for _ in range(5):
        before.note(late=True)
    after.go_on(before)
    tight.go_on(before)
    assert (after.ns, tight.ns) == (pytest.approx(17.97, abs=0.1), 10), "and no further than it may"


def test_each_shape_has_a_batch_of_its_own():
    one, short, long = LatencyTarget(50_000, limit=64, slots=1), curve(1, 0.1, 64), curve(5, 10, 64)
    for seen in (short, long):
        one.note_run(seen)
    assert one.decide([1] * 64, 64, 50_000, short) == Leave(64, 64, Why.FULL)
    waiting = one.decide([1] * 2, 2, 50_000, long)
    assert waiting == Leave(1, 1, Why.FULL) or waiting.requests <= 2


def test_what_each_run_takes_beyond_its_own_time_is_a_reason_for_larger_batches():
    dearer = Curve()
    for _ in range(20):
        for rows in range(1, 9):
            dearer.note(rows, 1000 if rows == 1 else 1300 * rows)
    quick, slow = (LatencyTarget(50_000, limit=8, slots=1) for _ in range(2))
    for _ in range(LOOK_AGAIN):
        quick.note_run(dearer)
        slow.note_run(dearer, overhead_ns=1000.0)
    assert quick.all_go(1, 2, 50_000, dearer) is None  # one row at a time is better
    assert slow.all_go(8, 8, 50_000, dearer) == Leave(8, 8, Why.FULL, 10_400)

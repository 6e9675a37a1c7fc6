"""What the next run is expected to take."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.scheduling.profile import Curve, Profile, shape_key


def curve(**seen: int) -> Curve:
    """`_8=20` is one run of 8 rows that took 20 ns."""
    made = Curve()
    for rows, ns in seen.items():
        made.note(int(rows[1:]), ns)
    return made


def test_nothing_is_known_of_what_was_never_run():
    assert Curve().expect(4) == 0
    assert Profile().expect(4, device="cpu") == 0


def test_rows_that_were_not_seen_lie_on_the_line_between_their_neighbours():
    seen = curve(_1=100, _9=500)
    assert [seen.expect(rows) for rows in (1, 5, 9)] == [100, 300, 500]


def test_more_rows_than_were_seen_go_on_along_the_line():
    assert curve(_1=100, _9=500).expect(17) == 900


def test_fewer_rows_than_were_seen_take_no_longer():
    assert curve(_4=100, _8=200).expect(1) == 100


def test_a_hiccup_of_the_machine_is_not_a_trend():
    seen = Curve()
    for _ in range(30):
        seen.note(4, 1000)
    seen.note(4, 100_000)
    assert seen.expect(4) == pytest.approx(1000, rel=0.05)


def test_a_model_that_gets_slower_is_believed_after_some_runs():
    seen = Curve()
    for _ in range(30):
        seen.note(4, 1000)
    for _ in range(60):
        seen.note(4, 2000)
    assert seen.expect(4) == pytest.approx(2000, rel=0.1)


def test_a_size_is_foretold_by_how_the_others_do_now():
    seen, chance = Curve(), random.Random(1)
    for _ in range(400):
        rows = chance.randint(1, 8)
        seen.note(rows, 1000 * rows)
    for _ in range(30):
        seen.note(8, 10_400)  # the machine is slower by 30 %
    assert seen.expect(8) == pytest.approx(10_400, rel=0.02)
    assert seen.expect(1) == pytest.approx(1300, rel=0.1)


def test_how_two_sizes_compare_does_not_change_while_one_of_them_runs_on_a_machine_that_goes_up_and_down():
    seen = Curve()
    for _ in range(10):
        seen.note(4, 5000)
        seen.note(8, 8000)
    for moment in range(20):
        for _ in range(50):
            seen.note(8, (8000, 14_000)[moment % 2])
        assert seen.expect(4) / seen.expect(8) == pytest.approx(5 / 8, rel=0.02)


def test_a_size_that_was_first_seen_in_a_slow_moment_is_put_right_by_the_next_times():
    seen = Curve()
    for _ in range(50):
        seen.note(8, 8000)
    seen.note(4, 9000)
    for _ in range(8):
        for _ in range(20):
            seen.note(8, 8000)
        seen.note(4, 5000)
    assert seen.expect(4) == pytest.approx(5000, rel=0.15)


def test_one_slow_run_changes_little_for_the_other_sizes():
    seen = Curve()
    for _ in range(50):
        seen.note(1, 1000)
        seen.note(8, 8000)
    seen.note(8, 80_000)
    assert seen.expect(1) == pytest.approx(1000, rel=0.02)


def test_a_run_that_took_no_time_at_all_is_borne():
    seen = Curve()
    for _ in range(5):
        seen.note(1, 0)
    assert seen.expect(1) == 0


def test_a_clock_that_stands_still_for_long_is_borne_and_forgotten():
    seen = Curve()
    for ns in (1000, 1000, 1000, *[0] * 5000, *[1000] * 50):
        seen.note(1, ns)
    assert seen.expect(1) == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize("spread", [0.01, 0.045])
def test_on_a_quiet_machine_nineteen_runs_of_twenty_are_within_a_tenth_of_what_was_expected(spread):
    chance, seen, good = random.Random(1), Curve(), 0
    for _ in range(1000):
        rows = chance.randint(1, 16)
        ns = (5_000_000 + 1_000_000 * rows) * chance.gauss(1, spread)
        expected = seen.expect(rows)
        good += abs(ns - expected) <= 0.1 * ns
        seen.note(rows, int(ns))
    assert good >= 950


@pytest.mark.parametrize("rows", [[8], [1, 8, 3]])
def test_on_a_machine_whose_speed_drifts_the_last_runs_tell_most(rows):
    chance, seen, speed, good, by_mean = random.Random(1), Curve(), 1.0, 0, 0
    for run in range(2000):
        count = rows[run % len(rows)]
        speed = min(2.0, max(1.0, speed * chance.gauss(1, 0.05)))
        ns = int((5_000_000 + 1_000_000 * count) * speed)
        good += abs(ns - seen.expect(count)) <= 0.1 * ns
        by_mean += abs(ns - (5_000_000 + 1_000_000 * count) * 1.4) <= 0.1 * ns
        seen.note(count, ns)
    assert by_mean < 700, "what it takes in the mean tells little"
    assert good >= 1850


def test_shapes_and_devices_have_curves_of_their_own():
    profile = Profile()
    profile.note(4, 100, device="cpu", shape=shape_key(10))
    profile.note(4, 900, device="cpu", shape=shape_key(1000))
    profile.note(4, 7, device="cuda:0", shape=shape_key(10))
    assert profile.expect(4, "cpu", shape_key(10)) == 100
    assert profile.expect(4, "cpu", shape_key(1000)) == 900
    assert profile.expect(4, "cuda:0", shape_key(10)) == 7
    assert profile.longest("cpu") == 900
    assert profile.learned("cpu") == {}


@given(st.integers(1, 100_000))
def test_what_shares_an_estimate_is_alike(rows):
    assert shape_key(rows) <= rows < shape_key(rows) * 33 / 32 + 1


@given(st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 10**12)), max_size=300))
def test_a_curve_is_bounded_however_many_sizes_come(runs):
    seen = Curve()
    for rows, ns in runs:
        seen.note(rows, ns)
    assert len(seen.sizes) <= 64 + 32 * 14
    assert all(seen.expect(rows) > 0 for rows in (1, 77, 10_000)) or not runs


def test_what_was_seen_seldom_is_in_doubt():
    seen, chance = Curve(), random.Random(1)
    assert seen.doubt(8) == 0
    seen.note(8, 1000)
    assert seen.doubt(8) == 1000
    for _ in range(50):
        seen.note(1, 400)
        seen.note(8, int(1000 * chance.uniform(0.9, 1.1)))
    assert 0 < seen.doubt(8) < 30
    seen.note(16, 2000)
    assert seen.doubt(12) == seen.doubt(16) == pytest.approx(2000, rel=0.2)  # the nearest are 8 and 16

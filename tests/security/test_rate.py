from hypothesis import given
from hypothesis import strategies as st

from server.security.rate import Level, Rate, take

RATES = st.builds(Rate, st.floats(0.01, 1e4), st.floats(1, 1e3))
PAUSES = st.lists(st.floats(0, 10), min_size=1, max_size=60)


def test_a_bucket_begins_full_and_is_filled_as_time_goes():
    rate, level = Rate(2, 2), None
    for _ in range(2):
        level, wait_s = take(level, rate, 0.0)
        assert wait_s == 0
    level, wait_s = take(level, rate, 0.0)
    assert wait_s == 0.5
    level, wait_s = take(level, rate, 0.5)
    assert (level, wait_s) == (Level(0.0, 0.5), 0)


@given(RATES, PAUSES)
def test_in_no_stretch_of_time_are_there_more_than_the_burst_and_the_rate_allow(rate, pauses):
    level, now, taken = None, 0.0, 0
    for pause in pauses:
        now += pause
        level, wait_s = take(level, rate, now)
        taken += wait_s == 0
    assert taken <= rate.burst + rate.per_second * (now - pauses[0]) + 1e-6


@given(RATES, PAUSES)
def test_who_waits_as_long_as_is_said_is_let_in(rate, pauses):
    level, now = None, 0.0
    for pause in pauses:
        now += pause
        level, wait_s = take(level, rate, now)
        if wait_s:
            now += wait_s * (1 + 1e-9) + 1e-9
            level, again_s = take(level, rate, now)
            assert again_s < 1e-6 / rate.per_second + 1e-9


@given(RATES, st.floats(-1e6, 0))
def test_a_clock_that_goes_back_gives_nothing(rate, back):
    level, _ = take(Level(0.0, 0.0), rate, back)
    assert level.requests == 0

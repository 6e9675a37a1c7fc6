from hypothesis import given
from hypothesis import strategies as st

from server.domain.backoff import BackOff
from server.supervisor.restart import Failures, RestartRule, has_refused

RULE = RestartRule(back_off=BackOff(first_s=0.5, most_s=30, jitter=0.5), settled_s=60)


@given(lives=st.lists(st.floats(0, 59.9), min_size=1, max_size=80), chance=st.floats(0, 1))
def test_who_keeps_failing_waits_longer_but_is_never_given_up(lives, chance):
    failures, wait_s = Failures(), 0.0
    for lived_s in lives:
        failures = failures.after(RULE, lived_s)
        assert wait_s <= failures.wait_s(RULE, chance) <= 30
        wait_s = failures.wait_s(RULE, chance)
    assert failures.ever == failures.in_a_row == len(lives)


def test_who_has_lived_for_long_starts_anew():
    failures = Failures(in_a_row=9, ever=20).after(RULE, lived_s=60)
    assert failures == Failures(in_a_row=1, ever=21)
    assert failures.wait_s(RULE, chance=0) == 0.5


def test_those_that_failed_together_do_not_come_back_together():
    failures = Failures(in_a_row=3, ever=3)
    assert failures.wait_s(RULE, chance=0) == 2.0
    assert failures.wait_s(RULE, chance=1) == 1.0


def test_only_a_first_start_that_ended_in_words_is_a_refusal():
    assert has_refused(1, ever_started=False)
    assert has_refused(2, ever_started=False)
    assert not has_refused(1, ever_started=True)
    assert not has_refused(-11, ever_started=False), "a signal is no answer"
    assert not has_refused(0, ever_started=False)

"""Which requests are traced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.observe.tracing.parent import Parent
from server.observe.tracing.sampling import Change, Sampler, Sampling

ASKED, DECLINED = Parent(1, 2), Parent(1, 2, sampled=False)


def sampler(**settings) -> Sampler:
    return Sampler(Sampling(**{"level": "TIMESTAMPS", **settings}))


@given(st.integers(0, 20), st.integers(-1, 5), st.integers(0, 100))
def test_every_so_many_th_is_picked_until_the_count_is_used_up(rate, count, requests):
    tracing = sampler(rate=rate, count=count)
    picked = sum(tracing.picks("m") for _ in range(requests))
    due = requests // rate if rate else 0
    assert picked == (due if count < 0 else min(due, count))
    assert tracing.of("m").count == (count if count < 0 else count - picked)


def test_a_caller_decides_for_its_own_requests():
    tracing = sampler(rate=0)
    assert tracing.picks("m", ASKED)
    assert not tracing.picks("m", DECLINED)
    assert not sampler(rate=1).picks("m", DECLINED)
    assert not sampler(level="OFF", rate=1).picks("m", ASKED)


def test_a_model_with_settings_of_its_own_is_counted_alone():
    tracing = sampler(rate=2)
    tracing.change(Change(rate=1, count=2), "own")
    assert [tracing.picks("own") for _ in range(3)] == [True, True, False]
    assert [tracing.picks("other") for _ in range(2)] == [False, True]
    assert tracing.of().count == -1


def test_what_a_model_does_not_say_itself_it_has_of_all():
    tracing = sampler(rate=2)
    tracing.change(Change(count=7), "own")
    tracing.change(Change(rate=5))
    assert (tracing.of("own").rate, tracing.of("own").count) == (5, 7)


def test_what_is_cleared_goes_back():
    tracing = sampler(rate=2, count=9)
    tracing.change(Change(rate=5, count=1))
    tracing.change(Change(level="OFF", rate=7, count=3), "own")
    everything = frozenset({"level", "rate", "count", "log_frequency"})
    assert tracing.change(Change(cleared=everything), "own") == tracing.of()
    assert tracing.change(Change(cleared=everything)) == Sampling(level="TIMESTAMPS", rate=2, count=9)


@pytest.mark.parametrize("model", ["", "m"])
def test_a_count_that_is_named_begins_anew(model):
    tracing = sampler(rate=1, count=1)
    assert tracing.picks("m")
    assert not tracing.picks("m")
    tracing.change(Change(count=1), model)
    assert tracing.picks("m")

"""Models beside each other, at the loads that are said, in simulation."""

from collections import Counter

import pytest

from benchmarks.scheduling.neighbours import FAST_BESIDE_SLOW, PAIRS, STEADY_BESIDE_FLOOD, lines, simulated


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_trace_has_each_model_at_its_rate(pair):
    asked = Counter(arrival.model for arrival in pair.trace(100))
    for model, rate in zip(pair.models, pair.rates, strict=True):
        assert asked[model.name] == pytest.approx(100 * rate, rel=0.25)


def test_a_fast_model_and_a_slow_one_ask_for_four_fifths_of_the_device():
    pair = FAST_BESIDE_SLOW
    asked = sum(rate * model.service.ns(1) / 1e9 for model, rate in zip(pair.models, pair.rates, strict=True))
    assert asked == pytest.approx(0.8)


def test_a_flood_keeps_the_device_busy_and_both_outcomes_are_told():
    ours, defaults = simulated(STEADY_BESIDE_FLOOD, seconds=3)
    assert ours.device_busy_s == pytest.approx(ours.seconds, rel=0.05)
    assert defaults.models["flood"].offered == ours.models["flood"].offered
    assert len(lines("simulated", STEADY_BESIDE_FLOOD, ours)) == 2

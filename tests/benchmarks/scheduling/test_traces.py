"""Traces keep to their rates, come in the order of time, and are the same for a seed."""

from collections import Counter
from itertools import islice, pairwise

import pytest

from benchmarks.scheduling.traces import (
    Arrival,
    bursts,
    diurnal,
    for_seconds,
    merged,
    poisson,
    regular,
    share,
    zipf,
)

MODELS = [f"m{number}" for number in range(100)]
MAKERS = {
    "poisson": lambda seed: poisson("m", 100, seed=seed),
    "bursts": lambda seed: bursts("m", quiet=10, burst=500, quiet_s=3, burst_s=1, seed=seed),
    "diurnal": lambda seed: diurnal("m", 100, swing=0.8, day_s=10, seed=seed),
    "zipf": lambda seed: zipf(MODELS, 100, seed=seed),
}


def seconds(trace) -> list[float]:
    return [arrival.at_ns / 1e9 for arrival in trace]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_trace_is_the_same_for_a_seed_and_another_for_another(make):
    assert list(islice(make(1), 100)) == list(islice(make(1), 100))
    assert list(islice(make(1), 100)) != list(islice(make(2), 100))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_arrivals_come_in_the_order_of_time(make):
    arrivals = list(islice(make(1), 1000))
    assert all(first.at_ns <= second.at_ns for first, second in pairwise(arrivals))


def test_poisson_arrivals_keep_to_their_rate_and_vary_as_poisson_does():
    moments = seconds(for_seconds(poisson("m", 200), 100))
    assert len(moments) == pytest.approx(20_000, rel=0.03)
    gaps = [second - first for first, second in pairwise(moments)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance == pytest.approx(mean**2, rel=0.05)  # of exponential gaps


def test_bursts_come_at_their_times_with_their_rate():
    moments = seconds(for_seconds(bursts("m", quiet=10, burst=500, quiet_s=3, burst_s=1), 400))
    quiet = [moment for moment in moments if moment % 4 < 3]
    assert len(quiet) == pytest.approx(3000, rel=0.08)
    assert len(moments) - len(quiet) == pytest.approx(50_000, rel=0.03)


def test_a_day_has_its_high_and_its_low_and_keeps_its_mean():
    moments = seconds(for_seconds(diurnal("m", 100, swing=0.8, day_s=10), 400))
    assert len(moments) == pytest.approx(40_000, rel=0.03)
    by_quarter = Counter(int(moment % 10 / 2.5) for moment in moments)
    assert by_quarter[0] + by_quarter[1] > 2.5 * (by_quarter[2] + by_quarter[3])


def test_models_are_asked_as_zipf_has_it():
    asked = Counter(arrival.model for arrival in islice(zipf(MODELS, 1000), 50_000))
    whole = sum(share(n, 1) for n in range(1, 101))
    for n in (1, 2, 10):
        assert asked[MODELS[n - 1]] == pytest.approx(50_000 * share(n, 1) / whole, rel=0.1)


def test_rows_are_drawn_from_those_given_and_deadlines_go_along():
    arrivals = list(islice(poisson("m", 100, rows=(1, 3), within_s=0.25), 1000))
    assert {arrival.rows for arrival in arrivals} == {1, 3}
    assert {arrival.within_ns for arrival in arrivals} == {250_000_000}


def test_traces_laid_over_each_other_stay_in_order_and_lose_nobody():
    both = list(for_seconds(merged(regular("a", 10), regular("b", 4)), 1))
    assert Counter(arrival.model for arrival in both) == {"a": 10, "b": 4}
    assert both == sorted(both, key=lambda arrival: arrival.at_ns)


def test_regular_arrivals_are_evenly_apart():
    assert list(islice(regular("m", 4), 3)) == [
        Arrival(0, "m"),
        Arrival(250_000_000, "m"),
        Arrival(500_000_000, "m"),
    ]


def test_a_million_arrivals_are_never_held_together():
    trace = poisson("m", 1e6)
    assert next(trace).at_ns > 0
    assert iter(trace) is trace

"""What a latency target is for: as many answers in time as can be, at any load. In virtual time, so exact."""

import pytest

from benchmarks.scheduling.contenders import Fixed, Target
from benchmarks.scheduling.neighbours import FAST_BESIDE_SLOW, STEADY_BESIDE_FLOOD, simulated
from benchmarks.scheduling.outcome import Outcome
from benchmarks.scheduling.simulate import simulate
from benchmarks.scheduling.sleeping import SleepingModel
from benchmarks.scheduling.traces import for_seconds, poisson
from runtimes.service_time import ServiceTime

SECONDS = 8


def model(fixed_ms: float, per_row_ms: float, rows: int, target_s: float, jitter: float) -> SleepingModel:
    service = ServiceTime(fixed_ms=fixed_ms, per_row_ms=per_row_ms, jitter=jitter)
    return SleepingModel(name="m", service=service, max_batch_size=rows, target_s=target_s)


MODELS = {
    "pays to batch": model(2, 0.5, 32, 0.05, 0.05),
    "pays little to batch": model(10, 1, 16, 0.1, 0.05),
    "does not pay to batch": model(1, 35, 8, 0.5, 0.0),
}


def played(which: SleepingModel, load: float, contender: Fixed | Target) -> Outcome:
    trace = for_seconds(poisson("m", which.capacity * load, seed=1), SECONDS)
    return simulate(trace, [which], contender)


@pytest.mark.parametrize("load", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("which", MODELS.values(), ids=MODELS.keys())
def test_nine_tenths_of_the_capacity_are_answered_in_time_at_any_load(which: SleepingModel, load: float):
    outcome = played(which, load, Target())
    assert outcome.goodput("m") >= 0.9 * which.capacity
    assert outcome.models["m"].p99_ms <= which.target_s * 1e3


@pytest.mark.parametrize("which", MODELS.values(), ids=MODELS.keys())
def test_nobody_is_refused_where_there_is_room(which: SleepingModel):
    told = played(which, 0.5, Target()).models["m"]
    assert told.in_time == told.offered


def test_what_an_unbounded_queue_would_do_is_far_worse():
    """So that the tests above show something."""
    which = MODELS["pays to batch"]
    outcome = played(which, 1.5, Fixed(max_queue_size=10**6))
    assert outcome.goodput("m") < 0.2 * which.capacity


def test_a_fast_model_beside_a_slow_one_is_in_time():
    ours, _ = simulated(FAST_BESIDE_SLOW, seconds=30)
    assert ours.models["fast"].share_in_time >= 0.99
    assert ours.models["slow"].share_in_time >= 0.9


def test_a_flood_on_one_model_does_not_starve_a_steady_one():
    ours, _ = simulated(STEADY_BESIDE_FLOOD, seconds=15)
    assert ours.models["steady"].share_in_time >= 0.99

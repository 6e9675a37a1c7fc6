"""What a rehearsal is judged by."""

from math import isnan

import pytest

from benchmarks.autoscaling.journal import Journal, Look, Told
from benchmarks.autoscaling.judge import figures, recovery_s, turns, windows
from benchmarks.autoscaling.pipelines import PIPELINES
from benchmarks.autoscaling.recording import Recording, recorded

SPEED = 10.0
BURST = Recording(step_s=15, rates=[8] * 8 + [40] * 16 + [8] * 24)


def looks(*replicas: int) -> list[Look]:
    return [Look(15.0 * number, [0.5], count, count) for number, count in enumerate(replicas)]


def told(bad_from_s: float, bad_to_s: float, took_s: float = 1.0, status: str = "OK") -> list[Told]:
    """Four requests in each period of 15 s, of 0.1 s each but for those in between."""
    moments = [at * 15 / 4 for at in range(int(BURST.seconds / 15 * 4))]
    return [
        Told(at / SPEED, took_s, status) if bad_from_s <= at < bad_to_s else Told(at / SPEED, 0.1, "OK")
        for at in moments
    ]


def test_one_up_and_one_down_is_one_turn_however_many_steps():
    assert turns(looks(1, 2, 3, 3, 4, 2, 1)) == 1
    assert turns(looks(1, 1, 1)) == 0
    assert turns(looks(1, 2, 1, 2, 1)) == 3


def test_windows_are_the_periods_of_the_autoscaler_in_the_clusters_time():
    seen = windows([Told(0.1, 0.2, "OK"), Told(1.6, 0.4, "UNAVAILABLE")], BURST, SPEED)
    assert len(seen) == 48
    assert (seen[0].answered, seen[0].p50_s, seen[0].per_s) == (1, 0.2, pytest.approx(1 / 1.5))
    assert (seen[1].answered, seen[1].failed) == (0, 1)
    assert isnan(seen[1].p99_s)


def test_it_has_recovered_once_three_windows_in_a_row_are_as_before_the_burst():
    assert recovery_s(windows(told(0, 0), BURST, SPEED), BURST) == 0
    assert recovery_s(windows(told(120, 180), BURST, SPEED), BURST) == 60
    assert recovery_s(windows(told(120, 10_000), BURST, SPEED), BURST) is None
    refused = told(120, 165, status="DEADLINE_EXCEEDED", took_s=0.1)
    assert recovery_s(windows(refused, BURST, SPEED), BURST) == 45


def test_who_is_refused_has_not_failed():
    idle = looks(1, 1)
    own = looks(1, 2, 4, 4, 1)
    journal = Journal(
        {"pre": own, "predict": idle, "post": idle}, told(120, 150, status="RESOURCE_EXHAUSTED")
    )
    found = figures(PIPELINES["pre"], BURST, SPEED, 0.7, journal)
    assert (found["failed"], found["flaps"], found["others"], found["last"]) == (0, 0, 1, 1)
    assert found["height"] == 1.0, "40/s, of which one process does 16, at 0.77 of that"
    assert found["refused"] == pytest.approx(8 / 192)


def test_the_recording_has_one_burst_and_gives_the_same_requests_again():
    load = recorded()
    began, ended = load.burst()
    assert (began, ended) == (180, 435)
    arrivals = list(load.arrivals(6.0))
    assert arrivals == list(load.arrivals(6.0))
    assert arrivals == sorted(arrivals)
    expected = sum(rate * load.step_s for rate in load.rates) / 6.0
    assert len(arrivals) == pytest.approx(expected, rel=0.1)


def test_minutes_pass_in_seconds_and_rates_stay_as_they_are():
    for speed in (1.0, 20.0):
        arrivals = list(BURST.arrivals(speed))
        assert arrivals[-1] * speed == pytest.approx(BURST.seconds, rel=0.1)
        in_burst = sum(120 <= at * speed < 360 for at in arrivals)
        assert in_burst / (240 / speed) == pytest.approx(40, rel=0.2)

"""From outcomes to figures: the worst of all loads, each against its aim."""

from dataclasses import replace

import pytest

from benchmarks.findings import verdicts
from benchmarks.scheduling.aims import AIMS
from benchmarks.scheduling.outcome import ModelOutcome, Refusals
from benchmarks.scheduling.overload import (
    Point,
    compared,
    compared_in_turn,
    findings,
    lines,
    point,
    typical,
)
from benchmarks.scheduling.overload_simulated import GRID, MODEL, compare


def a_point(load: float, goodput: float, p99: float = 0.5, refusal: float = 0.0) -> Point:
    return Point(
        load=load,
        setting="s",
        goodput=goodput,
        p99=p99,
        p99_refusal_ms=refusal,
        slowest_refusal_ms=2 * refusal,
        mean_batch=4,
        refused={"QueueFull": 3},
    )


def test_a_point_is_measured_by_capacity_and_target():
    told = ModelOutcome(
        offered=300,
        answered=250,
        in_time=200,
        refused={"QueueFull": Refusals(50, 1.0, 2.0)},
        p50_ms=20,
        p99_ms=60,
        slowest_ms=70,
        mean_batch=4,
        busy_s=1,
    )
    made = point(told, load=1.5, setting="s", seconds=2, capacity=125, target_s=0.05)
    assert made == Point(
        load=1.5,
        setting="s",
        goodput=0.8,
        p99=1.2,
        p99_refusal_ms=1.0,
        slowest_refusal_ms=2.0,
        mean_batch=4,
        refused={"QueueFull": 50},
    )


def test_of_several_rounds_each_figure_is_the_median():
    told = typical(
        [a_point(1.0, 0.5, p99=0.7, refusal=9), a_point(1.0, 0.9, p99=0.4), a_point(1.0, 0.8, p99=2)]
    )
    assert (told.goodput, told.p99, told.p99_refusal_ms) == (0.8, 0.7, 0.0)
    assert told.slowest_refusal_ms == 18
    assert told.refused == {"QueueFull": 9}


def test_contenders_that_took_turns_are_compared_in_each_round():
    target, worse, best = (
        [a_point(1.0, goodput) for goodput in rounds]
        for rounds in ((0.9, 0.45, 0.8, 0.8), (0.8, 0.3, 0.6, 0.7), (1.0, 0.5, 1.0, 0.8))
    )
    comparison = compared_in_turn(target, [worse, best])
    assert comparison.against_fixed == pytest.approx((0.9 + 0.8 + (1 - 0.05 / 0.65) + 1.0) / 4)
    assert comparison.error == pytest.approx(0.0825 / 2, abs=0.001)
    assert (comparison.target.goodput, comparison.fixed.goodput) == pytest.approx((0.8, 0.9))


def test_who_was_lucky_in_some_rounds_is_not_held_against_them():
    target, odd, even = (
        [a_point(1.0, goodput) for goodput in rounds]
        for rounds in ((1.0, 1.0, 1.0, 1.0), (1.2, 0.8, 1.2, 0.8), (0.8, 1.1, 0.8, 1.1))
    )
    comparison = compared_in_turn(target, [odd, even])
    assert comparison.against_fixed == pytest.approx(1 / 0.8)
    assert comparison.error == pytest.approx(0.0)


def test_a_round_in_which_the_machine_stood_still_counts_for_what_it_has_lost():
    target, fixed = (
        [a_point(1.0, goodput) for goodput in rounds]
        for rounds in ((0.9,) * 6, (0.9, 0.9, 0.01, 0.9, 0.9, 0.9))
    )
    comparison = compared_in_turn(target, [fixed])
    assert 1.0 < comparison.against_fixed < 1.0 + 2 / 6


def test_what_counts_is_the_worst_load_and_of_capacity_only_from_capacity_on():
    comparisons = [
        compared(a_point(0.7, 0.7, p99=0.4), a_point(0.7, 0.7)),
        compared(a_point(1.0, 0.9, p99=1.1, refusal=3), a_point(1.0, 0.8)),
        compared(a_point(1.5, 0.95), a_point(1.5, 1.0)),
    ]
    assert findings("live", comparisons) == pytest.approx(
        {
            "live against fixed": 0.95,
            "live doubt": 0.0,
            "live p99": 1.1,
            "live p99 refusal": 3,
            "live slowest refusal": 6,
            "live of capacity": 0.9,
        }
    )
    assert len(list(lines("live", comparisons))) == 10
    unsure = replace(comparisons[2], error=0.02)
    assert findings("live", [unsure])["live against fixed"] == pytest.approx(0.99)
    assert findings("live", [unsure])["live doubt"] == pytest.approx(0.04)


def test_every_promise_has_its_line_measured_or_not():
    told = list(verdicts(AIMS, {"simulated against fixed": 1.0, "simulated p99": 1.2, "predicted": None}))
    assert len(told) == len(AIMS)
    assert [line.split()[-1] for line in told if line.startswith("simulated: goodput over")] == ["met"]
    assert [line.split()[-1] for line in told if line.startswith("simulated: p99 of the")] == ["short"]
    assert all(line.endswith("not measured") for line in told if "10 %" in line)


def test_the_model_leaves_time_for_a_run_and_the_one_before():
    assert 2 * MODEL.service.ns(MODEL.max_batch_size) / 1e9 < MODEL.target_s


def test_a_comparison_holds_the_target_against_the_best_of_the_grid_at_each_load():
    said: list[str] = []
    comparisons = compare(seconds=0.5, search_seconds=0.02, say=said.append)
    assert [each.fixed.load for each in comparisons] == [0.7, 1.0, 1.5, 2.0]
    assert {each.fixed.setting for each in comparisons} <= {str(fixed) for fixed in GRID}
    assert len(said) == 4

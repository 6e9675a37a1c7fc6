"""One model at and above its capacity: the latency target against the best fixed setting.

The figures of both ways to measure it, in simulation and against a live server.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import mean, median, stdev

from benchmarks.scheduling.outcome import ModelOutcome

LOADS = (0.7, 1.0, 1.5, 2.0)
"""Offered, over capacity."""

AT_CAPACITY = 1.0

MOST_DOUBT = 0.03
"""Two standard errors of a comparison: one that leaves more says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One contender at one load.

    goodput   requests answered in time, a second, over the capacity
    p99       of those answered, over the target
    """

    load: float
    setting: str
    goodput: float
    p99: float
    p99_refusal_ms: float
    slowest_refusal_ms: float
    mean_batch: float
    refused: Mapping[str, int]


def point(
    told: ModelOutcome, *, load: float, setting: str, seconds: float, capacity: float, target_s: float
) -> Point:
    return Point(
        load=load,
        setting=setting,
        goodput=told.in_time / seconds / capacity,
        p99=told.p99_ms / (target_s * 1e3),
        p99_refusal_ms=told.p99_refusal_ms,
        slowest_refusal_ms=told.slowest_refusal_ms,
        mean_batch=told.mean_batch,
        refused={reason: refusals.count for reason, refusals in told.refused.items()},
    )


def typical(rounds: Sequence[Point]) -> Point:
    """One contender at one load, of several rounds: the median of each figure, and all that was refused."""
    refused: Counter[str] = Counter()
    for each in rounds:
        refused.update(each.refused)
    return replace(
        rounds[0],
        goodput=median(each.goodput for each in rounds),
        p99=median(each.p99 for each in rounds),
        p99_refusal_ms=median(each.p99_refusal_ms for each in rounds),
        slowest_refusal_ms=max(each.slowest_refusal_ms for each in rounds),
        mean_batch=median(each.mean_batch for each in rounds),
        refused=dict(refused),
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """At one load: the target, and the best that was found among the fixed settings.

    against_fixed   the target's goodput over that one's
    error           of that, its standard error; 0 in simulation, where a turn is like any other
    """

    target: Point
    fixed: Point
    against_fixed: float
    error: float = 0.0


def compared(target: Point, fixed: Point) -> Comparison:
    """Where a turn is like any other."""
    return Comparison(target, fixed, target.goodput / fixed.goodput)


def compared_in_turn(target: Sequence[Point], contenders: Sequence[Sequence[Point]]) -> Comparison:
    """The target against the best of these. All took turns, four at least: what is held against each other is
    what was done in the same round.

    Which is the best is told by the rounds that it is not held against, the even ones for the odd: whoever is
    chosen by the rounds that count has been lucky in them. Differences count, and not quotients: in a round
    in which the machine stood still one of them may have answered next to nothing.
    """
    shares: list[float] = []
    for half in (0, 1):
        fixed = _best(contenders, 1 - half)[half::2]
        usual = mean(each.goodput for each in fixed)
        shares += [
            1 + (ours.goodput - theirs.goodput) / usual
            for ours, theirs in zip(target[half::2], fixed, strict=True)
        ]
    error = stdev(shares) / sqrt(len(shares))
    whole = max(contenders, key=lambda rounds: mean(each.goodput for each in rounds))
    return Comparison(typical(target), typical(whole), mean(shares), error)


def _best(contenders: Sequence[Sequence[Point]], half: int) -> Sequence[Point]:
    return max(contenders, key=lambda rounds: mean(each.goodput for each in rounds[half::2]))


def findings(where: str, comparisons: Sequence[Comparison]) -> dict[str, float]:
    """The worst of all loads, each by its key.

    A ratio is told to a thousandth: which batch is the last one within the trace is chance, and makes less.
    Two that do alike differ by as much as the machine does from turn to turn. So what counts is whether the
    target is worse beyond doubt: by more than twice the error of the rounds, which is told beside it.
    """
    loaded = [each.target for each in comparisons if each.target.load >= AT_CAPACITY]
    targets = [each.target for each in comparisons]
    found = {
        f"{where} against fixed": round(min(each.against_fixed + 2 * each.error for each in comparisons), 3),
        f"{where} doubt": max(2 * each.error for each in comparisons),
        f"{where} p99": max(each.p99 for each in targets),
        f"{where} p99 refusal": max(each.p99_refusal_ms for each in targets),
        f"{where} slowest refusal": max(each.slowest_refusal_ms for each in targets),
    }
    if loaded:
        found[f"{where} of capacity"] = min(each.goodput for each in loaded)
    return found


def lines(where: str, comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A table for people."""
    yield f"{where:<10} load  goodput  p99/target  refused (p99 ms)  batch"
    for comparison in comparisons:
        for each in (comparison.target, comparison.fixed):
            refused = f"{sum(each.refused.values())} ({each.p99_refusal_ms:.1f})"
            yield (
                f"{'':<10} {each.load:>4.1f} {each.goodput:>8.1%} {each.p99:>11.2f} {refused:>17} "
                f"{each.mean_batch:>6.1f}  {each.setting}"
            )
        yield f"{'':<16} over the best fixed: {comparison.against_fixed:.3f} ± {comparison.error:.3f}"

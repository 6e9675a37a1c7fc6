"""Who asks what and when: seeded, lazy, endless series of arrivals in the order of time.

A trace is cut by `for_seconds`, or by `itertools.islice` where a number is wanted; `merged` lays several over
each other. The same arguments give the same arrivals, on every machine.
"""

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, takewhile
from random import Random
from typing import NamedTuple


class Arrival(NamedTuple):
    """
    at_ns       since the trace began
    within_ns   after which the caller gives up, its deadline; 0 for one that waits for ever
    """

    at_ns: int
    model: str
    rows: int = 1
    within_ns: int = 0


Trace = Iterator[Arrival]
Rows = int | Sequence[int]
"""So many for each request, or drawn from these with equal chances."""


def poisson(model: str, rate: float, *, rows: Rows = 1, within_s: float = 0.0, seed: int = 0) -> Trace:
    """`rate` requests a second, each independent of the others."""
    return _thinned(rate, lambda at: rate, lambda random: model, rows, within_s, seed)


def bursts(
    model: str,
    *,
    quiet: float,
    burst: float,
    quiet_s: float,
    burst_s: float,
    rows: Rows = 1,
    within_s: float = 0.0,
    seed: int = 0,
) -> Trace:
    """Poisson at `quiet` requests a second for `quiet_s`, then at `burst` for `burst_s`, and again."""

    def rate(at: float) -> float:
        return quiet if at % (quiet_s + burst_s) < quiet_s else burst

    return _thinned(max(quiet, burst), rate, lambda random: model, rows, within_s, seed)


def diurnal(
    model: str,
    rate: float,
    *,
    swing: float,
    day_s: float,
    rows: Rows = 1,
    within_s: float = 0.0,
    seed: int = 0,
) -> Trace:
    """Poisson whose rate goes from `rate` up and down by the share `swing` in a sine of `day_s`."""

    def now(at: float) -> float:
        return rate * (1 + swing * math.sin(2 * math.pi * at / day_s))

    return _thinned(rate * (1 + swing), now, lambda random: model, rows, within_s, seed)


def zipf(
    models: Sequence[str],
    rate: float,
    *,
    exponent: float = 1.0,
    rows: Rows = 1,
    within_s: float = 0.0,
    seed: int = 0,
) -> Trace:
    """Poisson over all `models`; the nth of them is asked in proportion to 1 / n ** `exponent`."""
    weights = list(accumulate(share(n, exponent) for n in range(1, len(models) + 1)))

    def choose(random: Random) -> str:
        return random.choices(models, cum_weights=weights)[0]

    return _thinned(rate, lambda at: rate, choose, rows, within_s, seed)


def share(n: int, exponent: float) -> float:
    return math.pow(n, -exponent)


def regular(model: str, rate: float, *, rows: int = 1, within_s: float = 0.0) -> Trace:
    """One request after the other, all as far apart."""
    within_ns, number = round(within_s * 1e9), 0
    while True:
        yield Arrival(round(number * 1e9 / rate), model, rows, within_ns)
        number += 1


def merged(*traces: Iterable[Arrival]) -> Trace:
    """All of them, in the order of time."""
    return heapq.merge(*traces, key=_at)


def for_seconds(trace: Iterable[Arrival], seconds: float) -> Trace:
    """What arrives within the first `seconds`."""
    end = round(seconds * 1e9)
    return takewhile(lambda arrival: arrival.at_ns < end, trace)


def _at(arrival: Arrival) -> int:
    return arrival.at_ns


def _thinned(
    peak: float,
    rate: Callable[[float], float],
    choose: Callable[[Random], str],
    rows: Rows,
    within_s: float,
    seed: int,
) -> Trace:
    """Poisson at the peak rate, of which each arrival stays with the chance that its moment's rate gives it.

    Source: Lewis and Shedler (1979), simulation of nonhomogeneous Poisson processes by thinning.
    """
    random = Random(seed)
    within_ns = round(within_s * 1e9)
    at = 0.0
    while True:
        at += random.expovariate(peak)
        now = rate(at)
        if now < peak and random.random() * peak >= now:
            continue
        count = rows if isinstance(rows, int) else random.choice(rows)
        yield Arrival(round(at * 1e9), choose(random), count, within_ns)

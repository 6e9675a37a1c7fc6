"""Overload in simulation: each contender on the same seeded arrivals."""

from collections.abc import Callable
from itertools import product
from operator import attrgetter

from benchmarks.scheduling.contenders import Contender, Fixed, Target
from benchmarks.scheduling.overload import LOADS, Comparison, Point, compared, point
from benchmarks.scheduling.simulate import simulate
from benchmarks.scheduling.sleeping import SleepingModel
from benchmarks.scheduling.traces import for_seconds, poisson
from runtimes.service_time import ServiceTime

MODEL = SleepingModel(
    name="model",
    service=ServiceTime(fixed_ms=2, per_row_ms=0.5, jitter=0.05),
    max_batch_size=32,
    target_s=0.05,
)
"""A full batch takes 18 ms, so that the target leaves time for one that runs and one's own."""

GRID = [
    Fixed(max_queue_delay_us=delay, max_batch_size=rows, max_queue_size=waiting)
    for delay, rows, waiting in product(
        (0, 1000, 3000, 10_000, 20_000), (4, 8, 16, 32), (8, 16, 32, 48, 64, 128, 1000)
    )
]
SEARCH_SEED, SEED = 1, 2
FINALISTS = 5


def compare(*, seconds: float, search_seconds: float, say: Callable[[str], None]) -> list[Comparison]:
    """The search is at each load anew, on arrivals of its own; its best few are then measured."""
    comparisons = []
    for load in LOADS:
        say(f"simulated: load {load}, {len(GRID)} fixed settings")
        found = {fixed: _point(fixed, load, search_seconds, SEARCH_SEED).goodput for fixed in GRID}
        best = sorted(found, key=found.__getitem__)[-FINALISTS:]
        fixed = max((_point(each, load, seconds, SEED) for each in best), key=attrgetter("goodput"))
        comparisons.append(compared(_point(Target(), load, seconds, SEED), fixed))
    return comparisons


def _point(contender: Contender, load: float, seconds: float, seed: int) -> Point:
    trace = for_seconds(poisson(MODEL.name, load * MODEL.capacity, seed=seed), seconds)
    told = simulate(trace, [MODEL], contender).models[MODEL.name]
    return point(
        told,
        load=load,
        setting=str(contender),
        seconds=seconds,
        capacity=MODEL.capacity,
        target_s=MODEL.target_s,
    )

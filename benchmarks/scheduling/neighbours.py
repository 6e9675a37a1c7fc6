"""Models side by side on one device: a fast one beside a slow one, and a steady one beside a flood.

Each pair in simulation and, with models that only sleep on a device that they share, against a live server.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.scheduling.contenders import Fixed, Target
from benchmarks.scheduling.live import lay_sleeping, sleeping_row, target
from benchmarks.scheduling.outcome import Outcome
from benchmarks.scheduling.replay import ServedModel, replay
from benchmarks.scheduling.simulate import simulate
from benchmarks.scheduling.sleeping import SleepingModel
from benchmarks.scheduling.traces import Trace, for_seconds, merged, poisson
from benchmarks.server_under_test import tercet
from runtimes.service_time import ServiceTime

UNITS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """
    guarded   whose share in time is told
    rates     requests a second, of each model in turn
    """

    name: str
    models: Sequence[SleepingModel]
    guarded: str
    rates: Sequence[float]

    def trace(self, seconds: float) -> Trace:
        streams = (
            poisson(model.name, rate, seed=seed)
            for seed, (model, rate) in enumerate(zip(self.models, self.rates, strict=True))
        )
        return for_seconds(merged(*streams), seconds)


FAST = SleepingModel(name="fast", service=ServiceTime(fixed_ms=2), max_batch_size=8, target_s=0.02)
SLOW = SleepingModel(name="slow", service=ServiceTime(fixed_ms=200), max_batch_size=1, target_s=2.0)
STEADY = SleepingModel(name="steady", service=ServiceTime(fixed_ms=5), max_batch_size=8, target_s=0.05)
FLOOD = SleepingModel(
    name="flood", service=ServiceTime(fixed_ms=10, per_row_ms=2), max_batch_size=16, target_s=0.2
)

FAST_BESIDE_SLOW = Pair(name="fast", models=(FAST, SLOW), guarded="fast", rates=(0.4 / 0.002, 0.4 / 0.2))
"""Together 80 % of the device, half of it each, counted in runs of one request."""

STEADY_BESIDE_FLOOD = Pair(
    name="steady", models=(STEADY, FLOOD), guarded="steady", rates=(0.2 / 0.005, 3 * FLOOD.capacity)
)
"""A fifth of the device, beside three times what the other one could do if it had the device alone."""

LIVE_TURNS = 3

PAIRS = (FAST_BESIDE_SLOW, STEADY_BESIDE_FLOOD)


def simulated(pair: Pair, *, seconds: float) -> tuple[Outcome, Outcome]:
    """With targets, and with the defaults."""
    ours = simulate(pair.trace(seconds), pair.models, Target(), units=UNITS)
    return ours, simulate(pair.trace(seconds), pair.models, Fixed(), units=UNITS)


def live(pair: Pair, *, seconds: float) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        repository = Path(scratch, "models")
        for model in pair.models:
            lay_sleeping(repository, model, units=UNITS, settings=target(model.target_s))
        served = [
            ServedModel(name=model.name, target_s=model.target_s, row=sleeping_row()) for model in pair.models
        ]
        with tercet(repository, Path(scratch, "server.log")) as server:
            return replay(pair.trace(seconds), served, server)


def lines(where: str, pair: Pair, outcome: Outcome) -> list[str]:
    written = []
    for name, told in outcome.models.items():
        refused = ", ".join(f"{each.count} {reason}" for reason, each in told.refused.items())
        written.append(
            f"{where:<22} {name:<7} in time {told.share_in_time:>7.2%} of {told.offered}, "
            f"p50 {told.p50_ms:.1f} ms, p99 {told.p99_ms:.1f} ms, batch {told.mean_batch:.1f}, "
            f"refused {refused or 'none'}"
        )
    return written


def measure(
    *, seconds: float, live_seconds: float, say: Callable[[str], None]
) -> tuple[dict[str, float], dict[str, Outcome]]:
    """Measure every pair, live ones several times. Gives the shares in time by their keys, and all outcomes.

    A target of 20 ms is missed whenever the machine stands still for as long, so of the live ones the median
    counts.
    """
    found: dict[str, float] = {}
    outcomes: dict[str, Outcome] = {}
    for pair in PAIRS:
        ours, defaults = simulated(pair, seconds=seconds)
        outcomes |= {f"{pair.name}, simulated": ours, f"{pair.name}, simulated, no targets": defaults}
        lived = [live(pair, seconds=live_seconds) for _ in range(LIVE_TURNS)]
        outcomes |= {f"{pair.name}, live {turn}": each for turn, each in enumerate(lived, 1)}
        found[f"{pair.name} simulated"] = ours.models[pair.guarded].share_in_time
        found[f"{pair.name} live"] = median(each.models[pair.guarded].share_in_time for each in lived)
        for where, outcome in (("simulated", ours), ("simulated, no targets", defaults)):
            for line in lines(where, pair, outcome):
                say(line)
        for turn, each in enumerate(lived, 1):
            for line in lines(f"live, turn {turn}", pair, each):
                say(line)
    return found, outcomes

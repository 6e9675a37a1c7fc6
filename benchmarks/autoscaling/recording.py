"""The load that is replayed: requests a second over time, as a file has it, and each request's moment.

The file's time is the cluster's. A replay squeezes it: minutes pass in seconds, while the rates stay as they
are, as the tiers are real. So the same file at the same speed gives the same requests.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

RECORDED = Path(__file__).with_name("recorded.csv")

BURST = 2.0
"""A burst is where the rate is this many times the mean of the first minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """
    step_s   that each of the rates holds for, in the cluster's time
    rates    requests a second
    """

    step_s: float
    rates: Sequence[float]

    @property
    def seconds(self) -> float:
        return self.step_s * len(self.rates)

    def at(self, cluster_s: float) -> float:
        return self.rates[min(int(cluster_s / self.step_s), len(self.rates) - 1)]

    def burst(self) -> tuple[float, float]:
        """From when to when, in the cluster's seconds; there is one."""
        first = self.rates[: max(1, int(60 / self.step_s))]
        high = [at for at, rate in enumerate(self.rates) if rate > BURST * sum(first) / len(first)]
        return high[0] * self.step_s, (high[-1] + 1) * self.step_s

    def arrivals(self, speed: float, seed: int = 1) -> Iterator[float]:
        """Real seconds since the beginning of each request, independent of the others; `speed` squeezes time.

        Source: Lewis and Shedler (1979), simulation of nonhomogeneous Poisson processes by thinning.
        """
        random, at, peak = Random(seed), 0.0, max(self.rates)
        while (at := at + random.expovariate(peak)) * speed < self.seconds:
            if random.random() * peak < self.at(at * speed):
                yield at


def recorded(path: Path = RECORDED) -> Recording:
    """The file has a line for each step: when it began, in seconds, and the requests a second."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [(float(row["second"]), float(row["requests_per_second"])) for row in csv.DictReader(lines)]
    return Recording(step_s=rows[1][0] - rows[0][0], rates=[rate for _, rate in rows])

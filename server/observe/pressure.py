"""How hard a queue is pressed: how long requests wait, over how long they may.

Pure arithmetic. 1 means that requests wait as long as they may: for the latency target of their model, or
for ten of its runs where it has none, and 50 ms at least then. A request that is refused counts with the
wait that it was spared. It is an average over the requests of the last seconds, the latest counting most, and
it fades when none come.
"""

from collections.abc import Iterable
from math import exp

MEMORY_NS = 10e9
"""What happened so long ago counts a third (1/e)."""

RUNS_OF_PATIENCE = 10
"""Where no target says how long requests may wait, it is for so many runs."""

LEAST_PATIENCE_NS = 50e6
"""And at least for so long: what is shorter is the way to a thread on a busy machine, and no queue."""


def patience_ns(run_ns: float) -> float:
    """How long requests may wait where no target says so, by what a run takes."""
    patience = RUNS_OF_PATIENCE * run_ns
    return patience if patience > LEAST_PATIENCE_NS else LEAST_PATIENCE_NS


class Pressure:
    """Times are monotonic nanoseconds; those of `note` come in order."""

    __slots__ = ("_at", "_ratio", "_weight")

    def __init__(self) -> None:
        self._ratio = 0.0
        self._weight = 0.0
        self._at = 0

    def note(self, ratio: float, requests: int, now: int) -> None:
        """So many requests waited for this part of the time that they may."""
        weight = self._weight
        self._weight = weight = (weight * exp((self._at - now) / MEMORY_NS) if weight else 0.0) + requests
        self._ratio += (ratio - self._ratio) * requests / weight
        self._at = now

    def note_each(self, noted: Iterable[tuple[float, int]]) -> None:
        """Of single requests: for what part of the time that it may each waited, and when that was noted.

        Others may have been noted since: what came before them has faded as if it had been noted then.
        """
        ratio, weight, at = self._ratio, self._weight, self._at
        for each, then in noted:
            if then >= at:
                weight = (weight * exp((at - then) / MEMORY_NS) if weight else 0.0) + 1.0
                ratio += (each - ratio) / weight
                at = then
            else:
                faded = exp((then - at) / MEMORY_NS)
                weight += faded
                ratio += (each - ratio) * faded / weight
        self._ratio, self._weight, self._at = ratio, weight, at

    def read(self, now: int) -> float:
        idle = now - self._at
        return self._ratio * exp(-idle / MEMORY_NS) if idle > 0 else self._ratio

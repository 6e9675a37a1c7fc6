"""How often values lay within which bounds, as Prometheus shows it."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
RATIOS = (0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 5.0)


class Histogram:
    """Counts by upper bound (inclusive), as Prometheus has them, not yet cumulated.

    `counts` has one more place than `bounds`: what lies above the last.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_since(self, begins: Sequence[float], end: float, unit: float = 1.0) -> float:
        """The times from each of these, at least one, until `end`; they and the sum that is returned are in
        units of which `unit` make one of the bounds'. Nothing is done for each: those of one run mostly lie
        within the same bounds.
        """
        bounds, counts = self.bounds, self.counts
        ascending = sorted(begins)
        left = len(ascending)
        at = bisect_left(bounds, (end - ascending[-1]) / unit)
        highest = bisect_left(bounds, (end - ascending[0]) / unit)
        while at < highest:
            later = bisect_left(ascending, end - bounds[at] * unit, 0, left)
            counts[at] += left - later
            left = later
            at += 1
        counts[highest] += left
        total = end * len(ascending) - sum(begins)
        self.total += total / unit
        return total

    def add_each(self, values: Sequence[float]) -> None:
        """The values of many runs, if any: all is as if each had come by itself, the rounding too."""
        if not values:
            return
        bounds, counts = self.bounds, self.counts
        self.total = sum(values, self.total)
        ascending = sorted(values)
        at, highest = bisect_left(bounds, ascending[0]), bisect_left(bounds, ascending[-1])
        counted = 0
        while at < highest:
            upto = bisect_right(ascending, bounds[at], counted)
            counts[at] += upto - counted
            counted = upto
            at += 1
        counts[highest] += len(ascending) - counted

    def add_many(self, value: float, times: int) -> None:
        """The same value, `times` times: what every request of a run shares."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

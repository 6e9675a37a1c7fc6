"""What the runs of one model version have taken, and what the next one is expected to take.

Pure arithmetic. A curve gives the time of a run by its rows, for one device and one shape of input, as
every run has shown it: a mean that follows, and how far runs lie from it. Rows that have not been seen
are read off the line between their neighbours. Source for the mean that follows and its deviation:
Jacobson, Congestion Avoidance and Control, 1988 (there of round-trip times).

A machine is slower at one moment than at another, for every size alike. So what a run takes is its size's
mean times a pace that all sizes share and that follows faster: a size that has not been seen for a while is
foretold by how the others do now, and compared with them. Runs of one size after another tell of the pace
alone: else the mean of a size that is run often would go along with the machine, and those of the others
stay behind. Only where the size changes does a run tell how two of them compare.

How fast the pace follows is learnt too: on a machine that others use the last run tells most, on a quiet one
it tells no more than any other. What is foretold as well as it can be errs to one side as often as to the
other, whatever it did before; a pace that follows too slowly errs to the same side again and again, one that
follows too fast goes to and fro. Source: Mehra, On the identification of variances and adaptive Kalman
filtering, 1970; only the signs of the errors are looked at, as a stall of the machine is no larger an error
than any other then.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass
from math import sqrt

EXACT = 64
"""Up to so many rows each count has its own estimate; above, counts share one with their neighbours (3 %)."""

MEMORY = 40
"""A mean or a deviation is that of so many runs, as far as they can be told apart from a change."""

FIRST = 3
"""So many runs of a size tell its mean, whichever ran before."""

SLOWEST, FASTEST = 1 / 16, 0.8
"""The part of an error of any size seen before by which the pace follows, at the least and at the most."""

KEENER = 1.05
"""So many times that part after two errors to the same side, and so much less after any others."""

SURPRISE = 4.0
"""One run moves the estimates by at most so many deviations: a hiccup of the machine is not a trend."""

LEAST_DEVIATION = 0.02
"""Of the mean: below that, a deviation is the clock's."""


@dataclass(slots=True)
class Estimate:
    """Of runs with so many rows; nanoseconds, at a pace of 1.

    seen   runs, up to `MEMORY`
    told   those of them that the mean is of
    """

    mean: float
    deviation: float
    seen: int = 1
    told: int = 1

    @property
    def doubt(self) -> float:
        """How far the mean may be off: as far as itself while there are too few to tell."""
        return self.deviation / sqrt(self.told) if self.told > 2 else self.mean


class Curve:
    """Time of a run by its rows."""

    __slots__ = ("_error", "_follows", "_known", "_last", "_pace", "_sizes")

    def __init__(self) -> None:
        self._known: dict[int, Estimate] = {}
        self._sizes: list[int] = []
        self._pace = 1.0
        self._follows = 1 / 8
        self._error = 0.0
        self._last = 0

    @property
    def sizes(self) -> list[int]:
        """The counts of rows that have been seen, ascending."""
        return self._sizes

    def note(self, rows: int, ns: int) -> None:
        """One more run has been seen. It comes with every run, so it calls nothing."""
        if rows > EXACT:
            rows = _shared(rows)
        last, self._last = self._last, rows
        known = self._known.get(rows)
        if known is None:
            self._known[rows] = Estimate(ns / self._pace, 0.0)
            insort(self._sizes, rows)
            return
        seen, mean, deviation = known.seen, known.mean, known.deviation
        if seen < MEMORY:
            known.seen = seen = seen + 1
        error = ns / self._pace - mean
        if seen > 2 and mean and ns:  # a clock that stands still tells of no pace
            least = LEAST_DEVIATION * mean
            bound = SURPRISE * (deviation if deviation > least else least)
            if error > bound:
                error = bound
            elif error < -bound:
                error = -bound
            follows = self._follows
            if error * self._error > 0:
                if follows < FASTEST:
                    self._follows = follows = follows * KEENER
            elif follows > SLOWEST:
                self._follows = follows = follows / KEENER
            self._error = error
            self._pace *= 1.0 + error / mean * follows
        told = known.told
        if told < FIRST or rows != last:
            if told < MEMORY:
                known.told = told = told + 1
            known.mean = mean + error / told
        known.deviation = deviation + ((error if error > 0 else -error) - deviation) / seen

    def expect(self, rows: int) -> float:
        """Nanoseconds; 0 if no run was seen at all."""
        if rows > EXACT:
            rows = _shared(rows)
        known = self._known.get(rows)
        return self._pace * (known.mean if known is not None else self._mean(rows))

    def doubt(self, rows: int) -> float:
        """How far the expectation may be off, in nanoseconds: that of the nearest sizes that were seen."""
        rows = _shared(rows)
        known = self._known.get(rows)
        if known is not None:
            return self._pace * known.doubt
        at = bisect_left(self._sizes, rows)
        near = self._sizes[max(0, at - 1) : at + 1]
        return self._pace * max([self._known[size].doubt for size in near], default=0.0)

    def _mean(self, rows: int) -> float:
        """Of a size that was never seen."""
        sizes = self._sizes
        if not sizes:
            return 0.0
        at = bisect_left(sizes, rows)
        if at == 0:
            return self._known[sizes[0]].mean  # fewer rows take no longer
        if at < len(sizes):
            return self._line(sizes[at - 1], sizes[at], rows)
        if len(sizes) == 1:
            return self._known[sizes[0]].mean  # a guess, and a bold one: so that larger runs come to be seen
        return max(self._line(sizes[0], sizes[-1], rows), self._known[sizes[-1]].mean)

    def _line(self, fewer: int, more: int, rows: int) -> float:
        low, high = self._known[fewer].mean, self._known[more].mean
        return low + (high - low) * (rows - fewer) / (more - fewer)


def _shared(rows: int) -> int:
    """The count that stands for this one and its neighbours: the six leading bits."""
    if rows <= EXACT:
        return rows
    shift = rows.bit_length() - 6
    return rows >> shift << shift


def shape_key(elements: int) -> int:
    """One key for inputs of about as many elements a row; 0 where all rows are alike."""
    return _shared(elements)


class Profile:
    """The curves of one model version, by device and by shape of its inputs (`shape_key`)."""

    __slots__ = ("_curves",)

    def __init__(self) -> None:
        self._curves: dict[tuple[str, int], Curve] = {}

    def curve(self, device: str = "", shape: int = 0) -> Curve:
        curve = self._curves.get((device, shape))
        if curve is None:
            curve = self._curves[device, shape] = Curve()
        return curve

    def note(self, rows: int, ns: int, device: str = "", shape: int = 0) -> None:
        self.curve(device, shape).note(rows, ns)

    def expect(self, rows: int, device: str = "", shape: int = 0) -> float:
        return self.curve(device, shape).expect(rows)

    def longest(self, device: str) -> float:
        """The longest run that is expected there, in nanoseconds; 0 if none was seen."""
        curves = [curve for (there, _), curve in self._curves.items() if there == device]
        return max([curve.expect(curve.sizes[-1]) for curve in curves if curve.sizes], default=0.0)

    def learned(self, device: str = "") -> dict[int, float]:
        """Rows -> nanoseconds, of inputs that are all alike."""
        curve = self.curve(device)
        return {rows: curve.expect(rows) for rows in curve.sizes}

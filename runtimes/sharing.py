"""A device that its runs share in equal parts: n runs on c units each progress at min(1, c / n).

Pure arithmetic of processor sharing: no clock, thread or loop. Whoever owns it brings the time, and asks
again when a run joins or leaves. As every run under way progresses at the same pace, one number says how far
all have come, and a run ends when that number has grown by what the run asked for.
"""

from heapq import heappop, heappush


class Sharing:
    """`units` runs at once go at full speed. Times are nanoseconds, and never go back."""

    def __init__(self, units: float) -> None:
        if units <= 0:
            raise ValueError(f"a device has more than 0 units, not {units}")
        self._units = units
        self._at = 0
        self._attained = 0.0
        self._ends: list[tuple[float, int]] = []
        self._over: list[int] = []
        self._joined = 0
        self.busy_ns = 0.0
        """The work that is done so far, in nanoseconds of one unit."""

    def __len__(self) -> int:
        """Runs under way."""
        return len(self._ends)

    @property
    def pace(self) -> float:
        """How fast each run goes now; 1 is as fast as alone."""
        return min(1.0, self._units / len(self._ends)) if self._ends else 1.0

    def join(self, now: int, ns: int) -> int:
        """A run begins that would take `ns` alone. Gives its number."""
        self._advance(now)
        self._joined += 1
        heappush(self._ends, (self._attained + ns, self._joined))
        return self._joined

    def ended(self, now: int) -> list[int]:
        """The numbers of the runs that have ended since this was last asked, first to end first."""
        self._advance(now)
        over, self._over = self._over, []
        return over

    def next_end(self) -> int | None:
        """When the first run ends if nobody joins; None if there is none."""
        if not self._ends:
            return None
        return self._at + max(0, round((self._ends[0][0] - self._attained) / self.pace))

    def _advance(self, now: int) -> None:
        """Step from end to end: each that leaves lets the others go faster."""
        while (end := self.next_end()) is not None and end <= now:
            self._progress(end)
            self._over.append(heappop(self._ends)[1])
        if not self._ends:
            self._attained = 0.0  # small numbers stay exact
        self._progress(now)

    def _progress(self, now: int) -> None:
        if self._ends:
            gone = (now - self._at) * self.pace
            self._attained += gone
            self.busy_ns += gone * len(self._ends)
        self._at = now

"""A latency target at work: which batch leaves, and who is let in.

Over a latency target, `max_queue_delay` and preferred sizes say nothing: who waits leaves as soon as an
instance is idle, in a batch as large as its oldest can bear. Waiting for company would not pay: while one
batch runs the next one forms, and the fuller the server, the larger it gets.
"""

from collections.abc import Sequence
from math import exp

from server.scheduling.profile import Curve
from server.scheduling.rule import Leave, Why
from server.scheduling.target import Margin, answered_in, enough_rows, most_rows, rows_within

FRESH = 15 / 16
"""Of a target that is left of a request which has just been asked."""

WORTH = 0.5
"""A batch is not made smaller than this part of what it could be, for its oldest to be on time.

Source: the early drop of Nexus (SOSP 2019).
"""

LOOK_AGAIN = 32
"""Runs after which the largest batch is computed anew; in the beginning it is after each."""


class LatencyTarget:
    """Times are monotonic nanoseconds. `limit` is the most rows of a run."""

    def __init__(self, target_ns: int, *, limit: int, slots: int) -> None:
        self.ns = target_ns
        self._limit = limit
        self._slots = slots
        self._margin = Margin(target_ns)
        self._most = limit
        self._parallel = float(slots)
        self._runs = 0
        self._arrived = 0
        self._rate = 0.0
        self._rate_at = 0
        self._rate_memory_ns = max(4.0 * target_ns, 2e8)

    @property
    def margin_ns(self) -> float:
        return self._margin.ns

    def decide(self, rows: Sequence[int], slack_ns: float, curve: Curve) -> Leave | None:
        """Who leaves, the oldest first, of whom the first has `slack_ns` left.

        None if the first is to be turned away: it is late already, or so nearly that for its sake the batch
        would be less than half of what it could be, and all who come after it would be late, too.
        """
        within = rows_within(curve.expect, slack_ns, self._limit)
        if within < self._most:
            waiting = sum(rows)
            if within < rows[0] or within < WORTH * min(waiting, self._most):
                return None
        most = min(self._most, within)
        going = total = 0
        for count in rows:
            if going and total + count > most:
                full = total + count > self._most
                return Leave(going, total, Why.FULL if full else Why.DEADLINE)
            going, total = going + 1, total + count
        return Leave(going, total, Why.FULL if total >= self._most else Why.IDLE)

    def short_ns(self, going: int, waiting: int, curve: Curve) -> float:
        """By how much the slack of the first was too short for all who wait, of whom so many rows go."""
        return curve.expect(min(waiting, self._most)) - curve.expect(going)

    def arrives(self, rows: int) -> None:
        """Somebody has asked."""
        self._arrived += rows

    def expected(self, rows: int, ahead: int, wait_ns: float, turn_ns: float, curve: Curve) -> float:
        """In how many nanoseconds a request that joins now is answered, beside the margin."""
        return answered_in(
            curve.expect,
            rows=rows,
            ahead=ahead,
            wait_ns=wait_ns,
            arriving=self._rate * wait_ns,
            most=self._most,
            slots=self._parallel,
            turn_ns=turn_ns,
        )

    def open_rows(self, wait_ns: float, turn_ns: float, curve: Curve) -> int:
        """With fewer rows ahead a request that has just been asked is in time, whoever else comes."""
        full = curve.expect(self._most)
        if not full:
            return 0
        left = FRESH * self.ns - self._margin.ns - wait_ns - full
        return max(0, self._most * (1 + int(left // (full / self._parallel + turn_ns))))

    def note_time(self, now: int) -> None:
        """How many rows come in a nanosecond, as far as those tell that have come lately."""
        fade = exp((self._rate_at - now) / self._rate_memory_ns) if self._rate_at else 0.0
        self._rate = self._rate * fade + self._arrived / self._rate_memory_ns
        self._rate_at = now
        self._arrived = 0

    def note_start(self, under_way: int) -> None:
        """A batch was started while others waited; now so many are under way."""
        self._parallel += (under_way - self._parallel) / 8

    def note_run(self, curve: Curve) -> None:
        self._runs += 1
        if self._runs < LOOK_AGAIN or not self._runs % LOOK_AGAIN:
            most = max(1, most_rows(curve.expect, self.ns, self._slots, self._limit))
            self._most = enough_rows(curve.expect, most)

    def note_answer(self, late_ns: float) -> None:
        """The oldest of a run is answered, or turned away, so long after it was due; below 0, before."""
        self._margin.note(late=late_ns > 0)

"""A latency target at work: which batch leaves, and who is let in.

Over a latency target, `max_queue_delay` and preferred sizes say nothing: who waits leaves as soon as an
instance is idle, in a batch as large as its oldest can bear. Waiting for company would not pay: while one
batch runs the next one forms, and the fuller the server, the larger it gets.
"""

from collections.abc import Iterable
from math import exp

from server.scheduling.profile import Curve
from server.scheduling.rule import Leave, Why
from server.scheduling.target import Margin, answered_in, enough_rows, most_rows, rows_within

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
        self._rate = 0.0
        self._rate_at = 0
        self._rate_memory_ns = max(4.0 * target_ns, 2e8)

    @property
    def margin_ns(self) -> float:
        return self._margin.ns

    def decide(self, rows: Iterable[int], slack_ns: float, curve: Curve) -> Leave | None:
        """Who leaves, the oldest first, of whom the first has `slack_ns` left; None if it is late already."""
        within = rows_within(curve.expect, slack_ns, self._limit)
        most = min(self._most, within)
        going = total = 0
        for count in rows:
            if going and total + count > most:
                full = total + count > self._most
                return Leave(going, total, Why.FULL if full else Why.DEADLINE)
            if count > within and not going:
                return None
            going, total = going + 1, total + count
        return Leave(going, total, Why.FULL if total >= self._most else Why.IDLE)

    def short_ns(self, going: int, waiting: int, curve: Curve) -> float:
        """By how much the slack of the first was too short for all who wait, of whom so many rows go."""
        return curve.expect(min(waiting, self._most)) - curve.expect(going)

    def arrives(self, rows: int, now: int) -> None:
        """Somebody has asked."""
        fade = exp((self._rate_at - now) / self._rate_memory_ns) if self._rate_at else 0.0
        self._rate = self._rate * fade + rows / self._rate_memory_ns
        self._rate_at = now

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

"""A latency target at work: which batch leaves, and who is let in.

Over a latency target, `max_queue_delay` and preferred sizes say nothing: who waits leaves as soon as an
instance is idle, in a batch as large as its oldest can bear. Waiting for company would not pay: while one
batch runs the next one forms, and the fuller the server, the larger it gets.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp

from server.scheduling.profile import Curve
from server.scheduling.rule import Leave, Why
from server.scheduling.target import Margin, answered_in, best_rows, most_rows, rows_within

IDLE, FULL = Why.IDLE, Why.FULL

FRESH = 15 / 16
"""Of a target that is left of a request which has just been asked."""

EXPLORE = 8
"""Every so often batches may be as large as the target allows: else nobody would see what large ones take."""

WORTH = 0.5
"""A batch is not made smaller than this part of what it could be, for its oldest to be on time.

Source: the early drop of Nexus (SOSP 2019).
"""

LOOK_AGAIN = 32
"""Runs after which the largest batch is computed anew; in the beginning it is after each."""


@dataclass(slots=True)
class _Batch:
    """The most rows of a run of one shape on one device, how many there have been, and when to look again."""

    most: int
    runs: int = 0
    look_at: int = 1


class LatencyTarget:
    """Times are monotonic nanoseconds. `limit` is the most rows of a run; so many have `asked` before.

    fresh_ns   that are left of the target to a request that has just been asked
    margin     hears of the oldest of each run, when it is answered or turned away
    """

    def __init__(self, target_ns: int, *, limit: int, slots: int, asked: int = 0) -> None:
        self.ns = target_ns
        self.fresh_ns = int(FRESH * target_ns)
        self._limit = limit
        self._slots = slots
        self.margin = Margin(target_ns)
        self._batches: dict[Curve, _Batch] = {}
        self._parallel = float(slots)
        self._asked = asked
        self._rate = 0.0
        self._rate_at = 0
        self._rate_memory_ns = max(4.0 * target_ns, 2e8)

    def decide(self, rows: Iterable[int], waiting: int, slack_ns: float, curve: Curve) -> Leave | None:
        """Who leaves, in their order: with these rows, `waiting` in all, and `slack_ns` left for the first.

        None if the first is to be turned away: it is late already, or so nearly that for its sake the batch
        would be less than half of what it could be, and all who come after it would be late, too.
        """
        best = self.most(curve)
        within = rows_within(curve.expect, slack_ns, self._limit)
        if within < WORTH * min(waiting, best):
            return None
        most = min(best, within)
        going = total = 0
        for count in rows:
            if going and total + count > most:
                return Leave(going, total, Why.FULL if total + count > best else Why.DEADLINE)
            if not going and count > within:
                return None
            going, total = going + 1, total + count
        return Leave(going, total, Why.FULL if total >= best else Why.IDLE)

    def all_go(self, requests: int, waiting: int, slack_ns: float, curve: Curve) -> Leave | None:
        """All who wait leave together, if they can; else `decide` says who does."""
        batch = self._batches.get(curve)
        best = self._limit if batch is None else batch.most
        expected_ns = curve.expect(waiting)
        if waiting > best or expected_ns > slack_ns:
            return None
        return Leave(requests, waiting, IDLE if waiting < best else FULL, expected_ns)

    def short_ns(self, going: int, waiting: int, curve: Curve) -> float:
        """By how much the slack of the first was too short for all who wait, of whom so many rows go."""
        return curve.expect(min(waiting, self.most(curve))) - curve.expect(going)

    def expected(
        self, rows: int, ahead: int, wait_ns: float, turn_ns: float, curve: Curve, most: int = 0
    ) -> float:
        """In how many nanoseconds a request that joins now is answered, beside the margin.

        `most` is of the rows of a batch, where it is not this that decides them.
        """
        return answered_in(
            curve.expect,
            rows=rows,
            ahead=ahead,
            wait_ns=wait_ns,
            arriving=0.0 if most else self._rate * wait_ns,
            most=most or self.most(curve),
            slots=self._parallel,
            turn_ns=turn_ns,
        )

    def open_rows(self, wait_ns: float, turn_ns: float, curve: Curve) -> int:
        """With fewer rows ahead a request that has just been asked is in time, whoever else comes."""
        most = self.most(curve)
        full = curve.expect(most)
        if not full:
            return 0
        left = self.fresh_ns - self.margin.ns - wait_ns - full
        return max(0, most * (1 + int(left // (full / self._parallel + turn_ns))))

    def note_time(self, now: int, asked: int) -> None:
        """How many rows come in a nanosecond, as far as those tell that came lately; so many have, ever."""
        fade = exp((self._rate_at - now) / self._rate_memory_ns) if self._rate_at else 0.0
        self._rate = self._rate * fade + (asked - self._asked) / self._rate_memory_ns
        self._rate_at = now
        self._asked = asked

    def note_start(self, under_way: int) -> None:
        """A batch was started while others waited; now so many are under way."""
        self._parallel += (under_way - self._parallel) / 8

    def note_run(self, curve: Curve, overhead_ns: float = 0.0) -> None:
        """A run is over, and its curve knows of it; each run takes so long beyond its own time."""
        batch = self._batches.get(curve)
        if batch is None:
            batch = self._batches[curve] = _Batch(self._limit)
        batch.runs = runs = batch.runs + 1
        if runs >= batch.look_at:
            batch.look_at = runs + (1 if runs < LOOK_AGAIN else LOOK_AGAIN)
            batch.most = max(1, most_rows(curve.expect, self.ns, self._slots, self._limit))
            if batch.runs // LOOK_AGAIN % EXPLORE:
                batch.most = best_rows(lambda rows: curve.expect(rows) + overhead_ns, batch.most, curve.doubt)

    def most(self, curve: Curve) -> int:
        """The rows of a full batch."""
        batch = self._batches.get(curve)
        return self._limit if batch is None else batch.most

"""Batches and admission from a latency target: plain arithmetic over what runs are expected to take.

`expect` gives the nanoseconds of a run by its rows, 0 where nothing is known yet; it grows with the rows.
The ideas are those of Clockwork (Gujarati et al., OSDI 2020: predict, decide at the door, refuse early) and
of Nexus (Shen et al., SOSP 2019: a batch may take half of the target, for who just missed one waits for it).
"""

from collections.abc import Callable

Expect = Callable[[int], float]

ROOM = 0.95
"""The part of a latency target that a full batch and the wait for the one before may take."""

CLEARLY = 1.1
"""A smaller batch must give so many times the rows a second. Two sizes are seldom seen in the same second:
what looks better by less is often the machine, which was faster when that one ran."""


def most_rows(expect: Expect, target_ns: float, slots: int, limit: int) -> int:
    """The largest batch, up to `limit` rows, that keeps the target when every slot is always busy.

    Who just missed a batch waits until a slot is free, `expect / slots` on average, and then for its own.
    """
    return rows_within(expect, ROOM * target_ns / (1 + 1 / slots), limit)


def best_rows(expect: Expect, limit: int, doubt: Expect = lambda rows: 0.0) -> int:
    """The batch that gives the most rows a second: `limit`, where no smaller one is clearly better.

    `doubt` says how far an expectation may be off. A smaller batch counts as slow as it may be, and the
    largest as fast: of many sizes some always look better than they are, and under load each row fewer is one
    answer less.
    """
    rates = {rows: rows / (expect(rows) + doubt(rows) or 1.0) for rows in _steps(limit)}
    best = max(rates, key=rates.__getitem__)
    return best if rates[best] * (expect(limit) - doubt(limit)) >= CLEARLY * limit else limit


def _steps(limit: int) -> list[int]:
    """From 1 to the limit, each at most a 16th more than the one before."""
    steps = [limit]
    while steps[-1] > 1:
        steps.append(min(steps[-1] - 1, steps[-1] * 16 // 17))
    return steps[::-1]


def rows_within(expect: Expect, ns: float, limit: int) -> int:
    """The most rows, up to `limit`, whose run takes no longer than `ns`; 0 if even one takes longer."""
    if expect(limit) <= ns:
        return limit
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        if expect(middle) <= ns:
            low = middle
        else:
            high = middle
    return low


def answered_in(
    expect: Expect,
    *,
    rows: int,
    ahead: int,
    wait_ns: float,
    arriving: float,
    most: int,
    slots: float,
    turn_ns: float,
) -> float:
    """In how many nanoseconds a request that joins now would be answered.

    rows, ahead   of the request, and of all that would leave before it or with it
    wait_ns       until the next batch can leave; 0 if it can now
    arriving      rows expected to join until then, which may leave with it
    most          rows of a full batch
    slots         runs under way at once
    turn_ns       that each further batch waits for its turn on a device that others use too
    """
    batches, rest = divmod(ahead, most)
    own = most if batches else min(most, rest + rows + int(arriving))
    return wait_ns + batches * (expect(most) / slots + turn_ns) + expect(max(own, rows))


class Margin:
    """What is added to every expectation at the door, in nanoseconds: three runs in a thousand are late then.

    Follows that quantile of the unforeseen without keeping anything: up by a large step where a run was late,
    down by a small one where not. Source: Robbins and Monro, A Stochastic Approximation Method, 1951.
    """

    __slots__ = ("_most", "_step", "ns")

    LATE = 0.003
    """One late run costs answers at once; being careful costs some only where the queue would run dry."""

    def __init__(self, target_ns: float) -> None:
        self.ns = target_ns / 10
        self._step = target_ns / 50
        self._most = target_ns / 3

    def go_on(self, before: "Margin") -> None:
        """Begin where another left off: the machine is the same, whatever is promised now."""
        self.ns = min(before.ns, self._most)

    def note(self, *, late: bool) -> None:
        """A run is over, or one was turned away whose time had run out."""
        if late:
            self.ns = min(self.ns + self._step * (1 - self.LATE), self._most)
        else:
            self.ns = max(self.ns - self._step * self.LATE, 0.0)

"""Says whether a new version does worse than the one that it took the place of. Pure.

It is asked once a second while the new one is on probation, so it must not be fooled by being asked often.
For failures that is had by a test that holds at every look: a likelihood ratio, mixed over several rates that
would be worse, is a supermartingale while the version is no worse, and so exceeds 1/a ever with a probability
of at most a (Ville's inequality: J. Ville, Etude critique de la notion de collectif, 1939; as a test:
H. Robbins, Statistical methods related to the law of the iterated logarithm, 1970). It is held against an
upper bound of the old rate (Chernoff's: W. Hoeffding, Probability inequalities for sums of bounded random
variables, 1963), which fails with a probability of at most a, too. That requests fail independently of each
other is assumed; a burst of one client's bad luck has `FEWEST_FAILURES` and `MARGIN` against it, and no more.

Times have no such law: a machine may be busy. A version counts as slow in a second by its runs of batch sizes
that the old one ran, too, and is taken back once it was slow for many seconds in a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp, log, log1p

from server.observe.tally import Tally

DOUBT = 1 / 4000
"""`a` above, of each of the two bounds: one healthy version in two thousand is taken back, at most."""

MARGIN = 0.01
"""By so much of all requests a version may fail more often than the old one surely did."""

FEWEST_FAILURES = 5

WELL_BEFORE = 10
"""As many requests more an old version counts as having answered: nobody knows one that served but a few."""

WORSE = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.98)
"""Rates that would be worse, as parts of the way from the old bound to 1."""

SLOWER = 3.0
"""Times as long as the old version's runs."""

SLOWER_BY_S = 0.001
"""And by at least so much: of what takes microseconds, three times as much is nothing."""

SLOW_LOOKS = 15
"""Seconds in a row, counting those in which it ran."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one batch size, and the nanoseconds that they were in the model."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What was counted of a version by some moment.

    requests   that it answered, or failed by its own fault: not by its clients', and not for want of room
    failures   the latter alone
    runs       by batch size, in rows
    """

    requests: int = 0
    failures: int = 0
    runs: Mapping[int, Runs] = field(default_factory=dict)

    @property
    def mean_run_ns(self) -> float:
        """0 for none."""
        count = sum(runs.count for runs in self.runs.values())
        return sum(runs.ns for runs in self.runs.values()) / count if count else 0.0


@dataclass(frozen=True, slots=True)
class Watch:
    """A version on probation, as far as it was looked at.

    before       what the old version had done
    seen         what the new one had done by the last look
    slow_looks   in a row
    """

    before: Record
    seen: Record = Record()
    slow_looks: int = 0

    def look(self, now: Record, target_ms: float | None = None) -> tuple["Watch", str]:
        """Judge the new version by what it has done by now; the sentence is empty unless it is worse."""
        why = fails_more(self.before, now)
        lately = _since(self.seen, now)
        slow = slowness(self.before, lately, target_ms)
        looks = self.slow_looks if not lately.runs else self.slow_looks + 1 if slow else 0
        if not why and looks >= SLOW_LOOKS:
            why = f"{slow or 'it is slow'}, for {looks} seconds in a row"
        return replace(self, seen=now, slow_looks=looks), why


def record_of(tally: Tally) -> Record:
    """A copy of what a tally has now."""
    failed = tally.failures["BACKEND"]
    return Record(
        requests=tally.success.count + failed,
        failures=failed,
        runs={
            rows: Runs(spans.compute_infer.count, spans.compute_infer.ns)
            for rows, spans in tally.batches.items()
        },
    )


def fails_more(before: Record, after: Record) -> str:
    """Whether the new version surely fails more often than the old one, in a sentence; empty if not."""
    if after.failures < FEWEST_FAILURES:
        return ""
    bound = min(1.0, upper_bound(before.failures, before.requests + WELL_BEFORE) + MARGIN)
    if bound >= 1.0 or evidence(after.failures, after.requests, bound) < log(1 / DOUBT):
        return ""
    return (
        f"{after.failures} of its {after.requests} requests failed, "
        f"and {before.failures} of the {before.requests} of the version before it"
    )


def evidence(failures: int, requests: int, bound: float) -> float:
    """The logarithm of the mixed likelihood ratio: how much speaks for a rate above `bound`, below 1."""
    good = requests - failures
    ratios = []
    for part in WORSE:
        rate = bound + (1 - bound) * part
        ratios.append(failures * log(rate / bound) + good * (log1p(-rate) - log1p(-bound)))
    largest = max(ratios)
    return largest + log(sum(exp(ratio - largest) for ratio in ratios) / len(ratios))


def upper_bound(failures: int, requests: int) -> float:
    """A rate that the true one exceeds with a probability of at most `DOUBT`."""
    share = failures / requests
    low, high = share, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if requests * _divergence(share, middle) <= log(1 / DOUBT):
            low = middle
        else:
            high = middle
    return high


def slowness(before: Record, lately: Record, target_ms: float | None) -> str:
    """Whether what ran lately was slow, in a sentence; empty if not, or where nothing can be compared."""
    both = lately.runs.keys() & {rows for rows, runs in before.runs.items() if runs.count}
    count = sum(lately.runs[rows].count for rows in both)
    if count:
        took = sum(lately.runs[rows].ns for rows in both) / count
        expected = (
            sum(lately.runs[rows].count * before.runs[rows].ns / before.runs[rows].count for rows in both)
            / count
        )
        if took > SLOWER * expected and took - expected > SLOWER_BY_S * 1e9:
            return f"its runs take {_ms(took)}, and {_ms(expected)} in the version before it"
    took, before_ns = lately.mean_run_ns, before.mean_run_ns
    if target_ms is not None and took > target_ms * 1e6 >= before_ns > 0:
        return (
            f"its runs take {_ms(took)}, over the latency target of {target_ms:g} ms, "
            f"and {_ms(before_ns)} in the version before it"
        )
    return ""


def _since(earlier: Record, now: Record) -> Record:
    none = Runs()
    runs = {}
    for rows, all_runs in now.runs.items():
        known = earlier.runs.get(rows, none)
        if all_runs.count > known.count:
            runs[rows] = Runs(all_runs.count - known.count, all_runs.ns - known.ns)
    return Record(now.requests - earlier.requests, now.failures - earlier.failures, runs)


def _divergence(share: float, rate: float) -> float:
    """Of Kullback and Leibler, between two coins."""
    found = 0.0
    if share > 0:
        found += share * log(share / rate)
    if share < 1:
        found += float("inf") if rate >= 1 else (1 - share) * log((1 - share) / (1 - rate))
    return found


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.3g} ms"

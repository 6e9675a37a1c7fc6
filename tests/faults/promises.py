"""What must hold whatever breaks, and how a row of the table is written. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.faults.fleet import Holdings
from tests.faults.traffic import Outcome

CLEAR = frozenset({"429", "503", "504", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"})
"""The statuses of a fault of ours that a caller can act on."""

LATEST_S = 0.5
"""After its deadline; a caller's own clock and a busy machine are in it."""

RECOVERED_S = 2.0
MORE_FDS, MORE_THREADS, MORE_BYTES = 6, 4, 48 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of the requests of one fault.

    back_at      when what was harmed was whole again (monotonic); None where it was never gone
    clear        further statuses that are clear here, such as a connection that a gateway's death cuts
    twice        the numbers that a stage was run for more than once
    grown        process -> what it had before and has after, of those that lived through it
    """

    fault: str
    outcomes: Sequence[Outcome]
    back_at: float | None
    clear: frozenset[str]
    twice: Mapping[str, Sequence[int]]
    grown: Mapping[str, tuple[Holdings, Holdings]]

    @property
    def told(self) -> Counter[str]:
        return Counter(outcome.told for outcome in self.outcomes)

    @property
    def recovered_s(self) -> float:
        """From when it was whole again until nothing failed any more."""
        if self.back_at is None:
            return 0.0
        after = [outcome.ended for outcome in self.outcomes if outcome.told != "right"]
        return max([ended - self.back_at for ended in after], default=0.0) if after else 0.0

    @property
    def late_s(self) -> float:
        return max([outcome.late_s for outcome in self.outcomes], default=0.0)

    def faults(self) -> list[str]:
        """Every promise that is not kept, in words."""
        found = []
        told = self.told
        if not told["right"]:
            found.append("nothing was answered at all")
        if told["wrong"]:
            wrong = next(outcome for outcome in self.outcomes if outcome.told == "wrong")
            found.append(f"{told['wrong']} wrong answers, such as {wrong.sentence} for {wrong.number}")
        for status in told.keys() - {"right", "wrong"} - CLEAR - self.clear:
            said = next(outcome.sentence for outcome in self.outcomes if outcome.told == status)
            found.append(f"{told[status]} failed with {status}, which says nothing: {said}")
        unsaid = [each for each in self.outcomes if each.told != "right" and not each.sentence]
        if unsaid:
            found.append(f"{len(unsaid)} failed without a word")
        late = [outcome for outcome in self.outcomes if outcome.late_s > LATEST_S]
        if late:
            found.append(f"{len(late)} ended after their deadline, by up to {self.late_s:.1f} s")
        if self.recovered_s > RECOVERED_S:
            found.append(f"it took {self.recovered_s:.1f} s to recover")
        for stage, numbers in self.twice.items():
            found.append(f"the {stage} stage was run twice for {len(numbers)} requests")
        for name, (before, after) in self.grown.items():
            if after.fds > before.fds + MORE_FDS:
                found.append(f"{name} has {after.fds} files open, {before.fds} before")
            if after.threads > before.threads + MORE_THREADS:
                found.append(f"{name} has {after.threads} threads, {before.threads} before")
            if after.rss_bytes > before.rss_bytes + MORE_BYTES:
                grown = (after.rss_bytes - before.rss_bytes) >> 20
                found.append(f"{name} has grown by {grown} MiB")
        return found

    def line(self) -> str:
        """As the table shows it."""
        failed = ", ".join(f"{count} {told}" for told, count in self.told.most_common() if told != "right")
        verdict = "kept" if not (faults := self.faults()) else "BROKEN: " + "; ".join(faults)
        return (
            f"{self.fault:<52} {self.told['right']:>6} {failed or 'none':<44} "
            f"{max(0.0, self.late_s):>5.2f} {max(0.0, self.recovered_s):>6.2f}  {verdict}"
        )


HEAD = f"{'fault':<52} {'right':>6} {'failed':<44} {'late':>5} {'back':>6}  promises"

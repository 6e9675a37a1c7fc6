"""What became of a trace's requests, model by model."""

from array import array
from collections.abc import Iterable, Mapping, MutableSequence
from dataclasses import dataclass, field

from benchmarks.sample import percentile


@dataclass(frozen=True, slots=True)
class Refusals:
    """Requests refused for one reason, and how long they waited to hear it."""

    count: int
    p99_ms: float
    slowest_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutcome:
    """
    in_time     answered within the target
    refused     by the error's name
    p50_ms, p99_ms, slowest_ms   of those answered, from arrival to answer; 0 where none was
    mean_batch  rows in a run; 0 without a run
    busy_s      service time of its runs, as each would have taken alone
    """

    offered: int
    answered: int
    in_time: int
    refused: Mapping[str, Refusals]
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    mean_batch: float
    busy_s: float

    @property
    def share_in_time(self) -> float:
        return self.in_time / self.offered if self.offered else 0.0

    @property
    def slowest_refusal_ms(self) -> float:
        return max((each.slowest_ms for each in self.refused.values()), default=0.0)

    @property
    def p99_refusal_ms(self) -> float:
        """Of the reason that took longest."""
        return max((each.p99_ms for each in self.refused.values()), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    seconds        from the first moment to the last answer
    device_busy_s  of one unit
    cpu_s          processor time of the whole drive; not compared, as no two are alike
    late_ms        by which the generator sent what it should have sent, at p99; 0 on a virtual clock
    """

    models: Mapping[str, ModelOutcome]
    seconds: float
    device_busy_s: float
    cpu_s: float = field(compare=False)
    late_ms: float = 0.0

    def goodput(self, model: str) -> float:
        """Requests answered in time, a second."""
        return self.models[model].in_time / self.seconds


class Book:
    """Counts while a trace is driven. Times are nanoseconds."""

    def __init__(self, target_ns: int) -> None:
        self._target_ns = target_ns
        self._latencies = array("q")
        self._in_time = 0
        self._refused: dict[str, MutableSequence[int]] = {}
        self.offered = 0

    def answered(self, ns: int) -> None:
        self._latencies.append(ns)
        if ns <= self._target_ns:
            self._in_time += 1

    def refused(self, reason: str, ns: int) -> None:
        self._refused.setdefault(reason, array("q")).append(ns)

    def outcome(self, *, mean_batch: float, busy_s: float) -> ModelOutcome:
        ascending = sorted(self._latencies)
        return ModelOutcome(
            offered=self.offered,
            answered=len(ascending),
            in_time=self._in_time,
            refused={reason: _refusals(times) for reason, times in sorted(self._refused.items())},
            p50_ms=percentile(ascending, 0.50) / 1e6,
            p99_ms=percentile(ascending, 0.99) / 1e6,
            slowest_ms=percentile(ascending, 1.0) / 1e6,
            mean_batch=mean_batch,
            busy_s=busy_s,
        )


def _refusals(times: Iterable[int]) -> Refusals:
    ascending = sorted(times)
    return Refusals(len(ascending), percentile(ascending, 0.99) / 1e6, ascending[-1] / 1e6)

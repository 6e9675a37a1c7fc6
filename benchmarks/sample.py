"""What a load generator saw in one timed run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


class LoadFailed(Exception):
    """The generator could not do its work, or nothing was answered: the sentence says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """
    requests          those that were answered with success, at least 1
    errors            those that failed in any way
    p50_ms, p99_ms    of the time from sending a request to the end of its reply
    """

    generator: str
    seconds: float
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float

    def __post_init__(self) -> None:
        if self.requests < 1:
            raise LoadFailed(
                f"{self.generator}: nothing was answered in {self.seconds:.1f} s, with {self.errors} errors"
            )

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed (the nearest rank); 0.0 of none."""
    if not len(ascending):
        return 0.0
    return ascending[max(math.ceil(len(ascending) * share), 1) - 1]

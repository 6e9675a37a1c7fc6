"""Whether a worker that has crashed is started again, and when. Pure: times are arguments."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Again:
    """After so many seconds."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Not by itself: it has crashed `crashes` times within `within_s`."""

    crashes: int
    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashRule:
    """Twice as long a wait after each crash, and none any more once there were too many.

    most       crashes within `within_s` are too many, at least 1
    first_s    the wait after a first crash
    longest_s  no wait is longer
    """

    most: int = 5
    within_s: float = 300.0
    first_s: float = 0.1
    longest_s: float = 10.0

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"{self.most} crashes cannot be too many, at least 1 can")

    def lately(self, crashes: Sequence[float], now: float) -> list[float]:
        """Those that still count."""
        return [each for each in crashes if now - each < self.within_s]

    def decide(self, crashes: Sequence[float], now: float) -> Again | Quarantine:
        """`crashes` are seconds of one clock, the one of this moment among them."""
        count = len(self.lately(crashes, now))
        if count >= self.most:
            return Quarantine(count, self.within_s)
        return Again(min(self.first_s * 2.0 ** min(max(count - 1, 0), 64), self.longest_s))

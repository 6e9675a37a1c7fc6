"""How often a caller may ask: a token bucket. Pure; time is an argument, in seconds of any one clock."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second in the long run, and so many at once, at least 1."""

    per_second: float
    burst: float


class Level(NamedTuple):
    """How many requests a bucket held at a moment."""

    requests: float
    at_s: float


def take(level: Level | None, rate: Rate, now_s: float) -> tuple[Level, float]:
    """Take one request out of a bucket; None is one that nobody has used yet, and that is full.

    What is left, and how long to wait until there is one: 0.0 where it was taken. Who is refused takes none.
    """
    there = burst = rate.burst
    if level is not None:
        before, at_s = level
        there = before + (now_s - at_s) * rate.per_second if now_s > at_s else before
        if there > burst:
            there = burst
    if there >= 1.0:
        return Level(there - 1.0, now_s), 0.0
    return Level(there, now_s), (1.0 - there) / rate.per_second

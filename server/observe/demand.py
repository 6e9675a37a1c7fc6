"""How much is asked of what does the work, over how much it can do: the number by which a tier is scaled.

Pure arithmetic, done when somebody reads it. Demand is counted in runs that would have to be under way at
once for all that is asked: requests a second, times what each takes where the most go together. It is asked,
not done: who waits, who is refused and who gives up counts as well. So twice the load is twice the number,
above what can be done too, and twice the processes is half of it, which is what an autoscaler reckons with.
"""

from collections.abc import Callable, Iterable, Sequence
from math import exp
from typing import NamedTuple

from server.observe.pressure import MEMORY_NS, Pressure


class Asked(NamedTuple):
    """What has been asked so far of a few places that do work side by side.

    number        of rows, or of calls, in all
    besides       requests that are not among them, as their rows were not counted
    besides_each  rows, on average, of one of these
    each_ns       that one of them takes of one place; 0 where that is not known
    places        that there are
    ground        what they stand on, such as a device, if others may stand there too; empty if not
    ground_places runs that it does at once where others do
    """

    number: float
    each_ns: float
    places: int
    ground: str = ""
    ground_places: int = 0
    besides: float = 0.0
    besides_each: float = 1.0


class Demand:
    """An average over the last seconds, the latest counting most. Whoever reads it moves it on, and no one is
    wronged by that: what comes between two readings counts the same however many there are. What was asked
    before `began` does not count; times are monotonic nanoseconds.
    """

    __slots__ = ("_at", "_besides", "_number", "_runs", "_tell")

    def __init__(self, tell: Callable[[], Asked], began: int) -> None:
        self._tell = tell
        self._at = began
        asked = tell()
        self._number, self._besides = asked.number, asked.besides
        self._runs = 0.0

    def read(self, now: int) -> tuple[float, Asked]:
        """The runs at once that are asked for, and of whom."""
        asked = self._tell()
        if now > self._at:
            besides = (asked.besides - self._besides) * asked.besides_each  # not all of them by a new average
            runs = (asked.number - self._number + besides) * asked.each_ns / (now - self._at)
            kept = exp((self._at - now) / MEMORY_NS)
            self._runs = runs + (self._runs - runs) * kept
            self._at, self._number, self._besides = now, asked.number, asked.besides
        return max(0.0, self._runs), asked


class Measure(NamedTuple):
    """What the saturation of one version is made of; its demands are those of its model and of its code."""

    demands: Sequence[Demand]
    pressure: Pressure


def saturations(versions: Sequence[Measure], now: int) -> list[float]:
    """How full that is which each version needs: 1 is full, 2 is twice what can be done.

    That is the largest of: its own demand over its places, the demand of all versions that stand on the same
    ground over what that does at once, and, up to 1, how long its requests wait over how long they may.
    """
    read = {demand: demand.read(now) for version in versions for demand in version.demands}
    grounds: dict[str, list[tuple[float, Asked]]] = {}
    for runs, asked in read.values():
        if asked.ground:
            grounds.setdefault(asked.ground, []).append((runs, asked))

    def full(demand: Demand) -> Iterable[float]:
        runs, asked = read[demand]
        if asked.places:
            yield runs / asked.places
        beside = grounds.get(asked.ground, ())
        if len(beside) > 1 and asked.ground_places:
            yield sum(each for each, _ in beside) / asked.ground_places

    return [
        max(
            [
                min(1.0, version.pressure.read(now)),
                *(ratio for demand in version.demands for ratio in full(demand)),
            ]
        )
        for version in versions
    ]

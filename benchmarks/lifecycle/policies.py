"""Orders of eviction to compare with the server's own: what others do, and what only a prophet can do.

Each is told what the server's policy is told, and asked for the first to go (`GreedyDual.order`).
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from benchmarks.lifecycle.zipf import Trace
from server.lifecycle.residency.accountant import Key

NEVER = 1 << 60


class Policy(Protocol):
    def note_load(self, key: Key, size: int, cost_s: float) -> None: ...

    def note_use(self, key: Key, now: float, count: float = 1) -> None: ...

    def note_eviction(self, key: Key) -> None: ...

    def order(self, keys: Iterable[Key]) -> list[Key]: ...


class Lru:
    """Whoever was used longest ago."""

    def __init__(self) -> None:
        self._used: dict[Key, float] = {}

    def note_load(self, key: Key, size: int, cost_s: float) -> None:
        pass

    def note_use(self, key: Key, now: float, count: float = 1) -> None:
        self._used[key] = now

    def note_eviction(self, key: Key) -> None:
        pass

    def order(self, keys: Iterable[Key]) -> list[Key]:
        return sorted(keys, key=lambda key: self._used.get(key, -1.0))


class Lfu:
    """Whoever was used least often since it was loaded, as caches that forget what left count it."""

    def __init__(self) -> None:
        self._uses: dict[Key, float] = {}
        self._used: dict[Key, float] = {}

    def note_load(self, key: Key, size: int, cost_s: float) -> None:
        self._uses[key] = 0

    def note_use(self, key: Key, now: float, count: float = 1) -> None:
        self._uses[key] = self._uses.get(key, 0) + count
        self._used[key] = now

    def note_eviction(self, key: Key) -> None:
        pass

    def order(self, keys: Iterable[Key]) -> list[Key]:
        return sorted(keys, key=lambda key: (self._uses.get(key, 0), self._used.get(key, -1.0)))


class ClassicGreedyDual:
    """GreedyDual-Size-Frequency as in its paper: the clock inflates, and counts leave with their model."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._per_use: dict[Key, float] = {}
        self._uses: dict[Key, float] = {}
        self._worth: dict[Key, float] = {}

    def note_load(self, key: Key, size: int, cost_s: float) -> None:
        self._per_use[key], self._uses[key] = cost_s / size, 0
        self._worth[key] = self._clock

    def note_use(self, key: Key, now: float, count: float = 1) -> None:
        self._uses[key] += count
        self._worth[key] = self._clock + self._uses[key] * self._per_use[key]

    def note_eviction(self, key: Key) -> None:
        self._clock = max(self._clock, self._worth[key])

    def order(self, keys: Iterable[Key]) -> list[Key]:
        return sorted(keys, key=lambda key: self._worth[key])


class Clairvoyant:
    """Belady's: whoever is wanted again last. That is the optimum where all models are alike.

    Else it goes by wait x size / seconds to load, which is none: nobody finds that one in reasonable time.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._next = _next_uses(trace.requests)
        self._due: dict[Key, int] = {}
        self._now = 0

    def note_load(self, key: Key, size: int, cost_s: float) -> None:
        pass

    def note_use(self, key: Key, now: float, count: float = 1) -> None:
        self._now = int(now)
        self._due[key] = self._next[self._now]

    def note_eviction(self, key: Key) -> None:
        pass

    def order(self, keys: Iterable[Key]) -> list[Key]:
        return sorted(keys, key=self._kept_in_vain, reverse=True)

    def _kept_in_vain(self, key: Key) -> float:
        number = number_of(key)
        return (self._due[key] - self._now) * self._trace.sizes[number] / self._trace.loads_s[number]


def key_of(number: int) -> Key:
    return f"model-{number:03}", 1


def number_of(key: Key) -> int:
    return int(key[0].rpartition("-")[2])


def _next_uses(requests: Sequence[int]) -> list[int]:
    """For each request, when the same model is asked for next."""
    due, following = [NEVER] * len(requests), dict[int, int]()
    for place in range(len(requests) - 1, -1, -1):
        due[place] = following.get(requests[place], NEVER)
        following[requests[place]] = place
    return due

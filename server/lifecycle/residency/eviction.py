"""Who is to leave first when memory is short: whose return costs least for the room that it takes.

GreedyDual-Size-Frequency (Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency
Caching Policy", HPL-98-69R1, 1998). Pure: the caller brings the counts and the time.

Nothing is done for a request. What is used is told in sums, read from the counters of the versions when a
decision is due: between two evictions the clock of the policy stands still, so a sum told before the next
eviction gives the very order that the single uses would have given.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from server.lifecycle.residency.accountant import Key


@dataclass(slots=True)
class _Record:
    size: int = 1
    cost_s: float = 0.0
    uses: float = 0.0
    value: float = 0.0


class GreedyDual:
    """The order in which to leave. Remembers what it is told of a version until `forget`."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._records: dict[Key, _Record] = {}

    def note_load(self, key: Key, size: int, cost_s: float) -> None:
        """It is resident, takes `size` bytes and took `cost_s` seconds to load; counts as no use."""
        record = self._records.setdefault(key, _Record())
        record.size, record.cost_s = max(1, size), cost_s
        self._value(record)

    def note_use(self, key: Key, now: float, count: int = 1) -> None:
        """It answered so many more requests since this was last told."""
        if count and (record := self._records.get(key)) is not None:
            record.uses += count
            self._value(record)

    def note_eviction(self, key: Key) -> None:
        record = self._records.get(key)
        if record is not None:
            self._clock = max(self._clock, record.value)

    def forget(self, key: Key) -> None:
        """It is offered no more."""
        self._records.pop(key, None)

    def order(self, keys: Iterable[Key]) -> list[Key]:
        """The first to go first."""
        return sorted(keys, key=lambda key: (self._records.get(key, _Record()).value, key))

    def _value(self, record: _Record) -> None:
        record.value = self._clock + max(1.0, record.uses) * record.cost_s / record.size

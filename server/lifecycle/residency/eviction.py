"""Who is to leave first when memory is short: whose return will cost least for the room that it takes.

Pure: the caller brings counts and time. Nothing is done for a request: uses are told in sums, read from the
counters of the versions when a decision is due. The clock of this policy moves only when something is loaded,
so a sum that is told before the next load gives the very order that the single uses would have given.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, log

from server.lifecycle.residency.accountant import Key

HALF_LIFE = 10.0
"""Turnovers until a use counts half. A turnover is as many loads as there are residents."""

SILENCE = 2.0
"""What was not asked for since so long is hardly asked for more often than this many times in so long."""


@dataclass(slots=True)
class _Record:
    """uses counts as of the turn `used`, in turnovers; `used_at` is by the caller's clock."""

    size: int = 1
    cost_s: float = 0.0
    uses: float = 0.0
    used: float = -inf
    used_at: float = -inf
    resident: bool = False


class GreedyDual:
    """GreedyDual-Size-Frequency, with a frequency that ages in place of a clock that inflates.

    A version is worth (uses per turnover) x (seconds to load it) / (bytes), and the least worth goes first.
    Uses are remembered of versions that have left, too: what may be served is known and bounded, as it is not
    in a cache of the web, for which the policy was made (Cherkasova, "Improving WWW Proxies Performance with
    Greedy-Dual-Size-Frequency Caching Policy", HPL-98-69R1, 1998). See docs/decisions/residency.md.
    """

    def __init__(self) -> None:
        self._turn = 0.0
        self._residents = 0
        self._records: dict[Key, _Record] = {}

    def note_load(self, key: Key, size: int, cost_s: float) -> None:
        """It is resident now, takes `size` bytes, and took `cost_s` seconds to load. That is no use of it.

        Call it again when either is known better; only the first call after an eviction counts as a load.
        """
        record = self._records.setdefault(key, _Record())
        record.size, record.cost_s = max(1, size), max(0.0, cost_s)
        if not record.resident:
            record.resident = True
            self._residents += 1
            self._turn += 1 / self._residents

    def note_use(self, key: Key, now: float, count: float = 1) -> None:
        """It was asked for so many times more since this was last told; before it is loaded, too."""
        if count <= 0:
            return
        record = self._records.setdefault(key, _Record())
        record.uses = self._aged(record) + count
        record.used, record.used_at = self._turn, now

    def note_eviction(self, key: Key) -> None:
        """It is resident no more, whatever the reason."""
        record = self._records.get(key)
        if record is not None and record.resident:
            record.resident = False
            self._residents -= 1

    def forget(self, key: Key) -> None:
        """It is offered no more."""
        self.note_eviction(key)
        self._records.pop(key, None)

    def order(self, keys: Iterable[Key]) -> list[Key]:
        """The first to go first. Of those worth the same, the one that was used longest ago."""
        return sorted(keys, key=lambda key: (self.worth(key), self.used_at(key), key))

    def worth(self, key: Key) -> float:
        """Seconds of loading for each byte and turnover that keeping it saves; 0 for one never used."""
        record = self._records.get(key)
        if record is None or not record.uses:
            return 0.0
        seen = self._aged(record) * log(2) / HALF_LIFE
        plausible = SILENCE / (self._turn - record.used + 1 / max(1, self._residents))
        return min(seen, plausible) * record.cost_s / record.size

    def used_at(self, key: Key) -> float:
        """When it was last told to be used; minus infinity if never."""
        record = self._records.get(key)
        return record.used_at if record is not None else -inf

    def _aged(self, record: _Record) -> float:
        return record.uses * 0.5 ** ((self._turn - record.used) / HALF_LIFE) if record.uses else 0.0

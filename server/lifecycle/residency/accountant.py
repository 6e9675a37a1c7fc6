"""Keeps the books of the memory of every device: what is promised, what is taken, what is being given back.

Pure: no clock, lock or event loop, and nothing is measured here. One owner calls it, from one thread.
Memory is counted from before a load until it is really back: a version that was taken out of service and
has not given its memory back yet is counted like one that serves.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from math import inf
from types import MappingProxyType

from runtimes.errors import RuntimeFault
from server.lifecycle.residency.amount import amount

Key = tuple[str, int]
"""A model and the number of its version."""

Bytes = Mapping[str, int]
"""By the name of a device: "cpu", "cuda:0"."""

NOTHING: Bytes = MappingProxyType({})


class Phase(StrEnum):
    RESERVED = "reserved"
    LOADED = "loaded"
    LEAVING = "leaving"


LEGAL: Mapping[Phase, frozenset[Phase]] = {
    Phase.RESERVED: frozenset({Phase.LOADED}),
    Phase.LOADED: frozenset({Phase.LOADED, Phase.LEAVING}),
    Phase.LEAVING: frozenset(),
}
"""From which phase to which; `gone` is legal from all of them, and to be measured again is a move, too."""


class OverBudget(RuntimeFault):
    """There is no room on a device; the sentence has the arithmetic."""


class IllegalEntry(Exception):
    """A move that the books do not know: a fault of ours, not of an operator."""


@dataclass(frozen=True, slots=True)
class Holding:
    """One claim on memory. A version has two while its successor by the same number is loaded beside it."""

    key: Key
    number: int


@dataclass(frozen=True, slots=True)
class _Entry:
    phase: Phase
    bytes: Bytes


@dataclass(frozen=True, slots=True)
class Books:
    """What an accountant knows at one instant, for `decide`.

    budgets   of the devices that have one
    counted   promised, taken and being given back, together
    coming    the part of that which is being given back
    """

    budgets: Bytes
    counted: Bytes
    coming: Bytes

    def free(self, device: str) -> float:
        """Negative where measuring found more than was reserved; infinite where there is no budget."""
        return self.budgets.get(device, inf) - self.counted.get(device, 0)


class Accountant:
    """Promised + taken + leaving stays within each budget, but for what measuring found beyond a promise."""

    def __init__(self, budgets: Bytes) -> None:
        """`budgets` in bytes by the name of a device; one that is absent has no limit."""
        self.budgets: Bytes = MappingProxyType(dict(budgets))
        self._entries: dict[Key, dict[Holding, _Entry]] = {}
        self._totals: Counter[tuple[str, Phase]] = Counter()
        self._numbers = count()

    def reserve(self, key: Key, needs: Bytes) -> Holding:
        """Before a load: claim memory for it. Raises `OverBudget`, and then nothing has changed."""
        _check(needs)
        for device, needed in needs.items():
            if needed and needed > self.free(device):
                raise OverBudget(self._arithmetic(device, needed))
        holding = Holding(key, next(self._numbers))
        self._write(holding, _Entry(Phase.RESERVED, dict(needs)))
        return holding

    def settle(self, which: Key | Holding, measured: Bytes) -> None:
        """It is loaded and takes this, whatever was reserved; for what is loaded, it was measured again.

        May exceed the budget: then `over` says by how much, and somebody has to leave.
        """
        _check(measured)
        holding, _ = self._strike(which, Phase.LOADED)
        self._write(holding, _Entry(Phase.LOADED, dict(measured)))

    def leaving(self, which: Key | Holding) -> None:
        """It serves no more and gives its memory back from now on; until `gone` it is counted."""
        holding, taken = self._strike(which, Phase.LEAVING)
        self._write(holding, _Entry(Phase.LEAVING, taken))

    def gone(self, which: Key | Holding) -> None:
        """Its memory is back. Also after a load that failed, for what was reserved."""
        self._strike(which, None)

    def free(self, device: str) -> float:
        """Bytes that may still be reserved; negative while over the budget, infinite without one."""
        return self.budgets.get(device, inf) - self._total(device, *Phase)

    def over(self, device: str) -> int:
        """Bytes beyond the budget, not counting those that are being given back."""
        staying = self._total(device, Phase.RESERVED, Phase.LOADED)
        return max(0, staying - self.budgets[device]) if device in self.budgets else 0

    def coming(self, device: str) -> int:
        """Bytes that are being given back."""
        return self._total(device, Phase.LEAVING)

    def held(self, which: Key | Holding) -> Bytes:
        """What is counted for a version, all its holdings together; empty for one that has none."""
        if isinstance(which, Holding):  # asked for each resident whenever somebody is to leave
            entry = self._entries.get(which.key, {}).get(which)
            return entry.bytes if entry is not None else NOTHING
        return self._sum(which, *Phase)

    def residents(self) -> Mapping[Key, Bytes]:
        """What is loaded, and not leaving; by name and version."""
        return {
            key: self._sum(key, Phase.LOADED)
            for key in sorted(self._entries)
            if any(entry.phase is Phase.LOADED for entry in self._entries[key].values())
        }

    def books(self) -> Books:
        devices = {device for device, _ in +self._totals}
        return Books(
            budgets=self.budgets,
            counted={device: self._total(device, *Phase) for device in devices},
            coming={device: self.coming(device) for device in devices},
        )

    def _total(self, device: str, *phases: Phase) -> int:
        return sum(self._totals[device, phase] for phase in phases)

    def _sum(self, which: Key | Holding, *phases: Phase) -> Bytes:
        found: dict[str, int] = {}
        for _, entry in self._of(which):
            if entry.phase in phases:
                for device, taken in entry.bytes.items():
                    found[device] = found.get(device, 0) + taken
        return found

    def _of(self, which: Key | Holding) -> list[tuple[Holding, _Entry]]:
        """One holding, or all of a version."""
        if isinstance(which, Holding):
            entry = self._entries.get(which.key, {}).get(which)
            return [(which, entry)] if entry is not None else []
        return list(self._entries.get(which, {}).items())

    def _write(self, holding: Holding, entry: _Entry) -> None:
        self._entries.setdefault(holding.key, {})[holding] = entry
        for device, taken in entry.bytes.items():
            self._totals[device, entry.phase] += taken

    def _strike(self, which: Key | Holding, to: Phase | None) -> tuple[Holding, Bytes]:
        """Take out the one holding that is meant and may go `to` this phase, None for out of the books.

        Raises `IllegalEntry` where there is not just one such holding; then nothing has changed.
        """
        able = [
            (holding, entry) for holding, entry in self._of(which) if to is None or to in LEGAL[entry.phase]
        ]
        if len(able) != 1:
            raise IllegalEntry(f"{which} has {len(able)} holdings that could be {to or 'gone'}")
        ((holding, entry),) = able
        for device, taken in entry.bytes.items():
            self._totals[device, entry.phase] -= taken
        del self._entries[holding.key][holding]
        if not self._entries[holding.key]:
            del self._entries[holding.key]
        return holding, entry.bytes

    def _arithmetic(self, device: str, needed: int) -> str:
        parts = [
            f"{amount(taken)} {word}"
            for taken, word in (
                (self._total(device, Phase.LOADED), "are taken"),
                (self._total(device, Phase.RESERVED), "are reserved for loads under way"),
                (self.coming(device), "are still being given back"),
            )
            if taken
        ]
        of_which = f", of which {' and '.join(parts)}" if parts else ""
        return f"needs {amount(needed)} on {device}; the budget is {amount(self.budgets[device])}{of_which}"


def _check(given: Bytes) -> None:
    for device, count_of in given.items():
        if count_of < 0:
            raise IllegalEntry(f"{count_of} bytes on {device}")

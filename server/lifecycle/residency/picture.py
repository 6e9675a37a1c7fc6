"""What metrics show of memory, from the books and the policy. Pure."""

from collections.abc import Mapping
from math import inf

from server.lifecycle.residency.accountant import Accountant, Key
from server.lifecycle.residency.eviction import GreedyDual
from server.observe.metrics import DeviceMemory, MemoryPicture, VersionMemory

Errors = Mapping[Key, Mapping[str, float]]
"""Of versions in memory, as `Estimate.error` gave it when they were loaded."""


def picture(accountant: Accountant, policy: GreedyDual, errors: Errors, now: float) -> MemoryPicture:
    """`now` by the clock that uses were told to the policy with."""
    books, residents = accountant.books(), accountant.residents()
    used = [at for key in residents if (at := policy.used_at(key)) > -inf]
    return MemoryPicture(
        devices=[
            DeviceMemory(
                device, books.budgets.get(device), books.counted.get(device, 0), accountant.coming(device)
            )
            for device in sorted(books.budgets.keys() | books.counted.keys())
        ],
        versions=[
            VersionMemory(model, version, device, count, errors.get((model, version), {}).get(device))
            for (model, version), taken in residents.items()
            for device, count in sorted(taken.items())
        ],
        lru_age_s=max(0.0, now - min(used)) if used else None,
    )

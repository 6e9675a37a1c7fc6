"""The named resources of the rate limiter: what each run needs, and how much there is.

Pure: whoever shares out turns asks `can`, and tells of every `take` and `give_back`. A resource is one pool
for all devices where the model says that it is global, else a pool for each device. Its total is what the
operator gave it; where the operator gave none of any, it is the most that any loaded instance needs, so that
every instance can run. Source: Triton's rate limiter.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from server.domain.configuration import Resource

Pool = tuple[str, str]
"""A resource and its device, such as ("R1", "cuda:0"); the device is empty for one that is global."""

Needs = Mapping[Pool, int]
"""What one run holds while it lasts; empty for most models."""

NO_NEEDS: Needs = MappingProxyType({})


class ResourceShort(Exception):
    """An instance that could never run. `str(error)` is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So much of a resource on each device, or on those of one number. A global one has the largest of them.

    The processors count as number 0, beside the first GPU, as in Triton.
    """

    name: str
    count: int
    device: int | None = None


def needs_of(resources: Iterable[Resource], device: str) -> Needs:
    """What a run of an instance on this device takes."""
    return {(each.name, "" if each.is_global else device): each.count for each in resources}


def check_limits(needs: Needs, limits: Sequence[Limit]) -> None:
    """Raises `ResourceShort` for an instance that needs more than there will ever be."""
    if not limits:
        return
    for pool, count in needs.items():
        total = _limited(pool, limits)
        if total < count:
            raise ResourceShort(
                f'Resource count for "{pool[0]}" is limited to {total} which will prevent scheduling of one '
                f"or more model instances, the minimum required count is {count}; give --rate-limit-resource "
                "more, or instance_group.rate_limiter less"
            )


class Resources:
    """How much of each resource there is, and is left. Without limits, as much as the largest need."""

    def __init__(self, limits: Sequence[Limit] = ()) -> None:
        self._limits = tuple(limits)
        self._members: Counter[tuple[Pool, int]] = Counter()
        self._totals: dict[Pool, int] = {}
        self._taken: Counter[Pool] = Counter()

    @property
    def totals(self) -> Mapping[Pool, int]:
        return self._totals

    def taken(self, pool: Pool) -> int:
        return self._taken[pool]

    def join(self, needs: Needs) -> None:
        """An instance with these needs is loaded. Raises `ResourceShort`, and then it has not joined."""
        check_limits(needs, self._limits)
        for name, device in needs:
            if any(known == name and bool(device) != bool(where) for known, where in self._totals):
                raise ResourceShort(
                    f'Resource "{name}" is present as both global and device-specific resource in the model '
                    "configuration; say the same of it in every instance_group.rate_limiter"
                )
        self._members.update(needs.items())
        self._count()

    def leave(self, needs: Needs) -> None:
        """An instance is gone, after its last run."""
        self._members.subtract(needs.items())
        self._members = +self._members
        self._count()

    def can(self, needs: Needs) -> bool:
        """Whether all of it is left."""
        taken, totals = self._taken, self._totals
        return all(taken[pool] + count <= totals.get(pool, 0) for pool, count in needs.items())

    def take(self, needs: Needs) -> None:
        """A run begins; only after `can` said so."""
        assert self.can(needs)
        self._taken.update(needs)

    def give_back(self, needs: Needs) -> None:
        """The run is over: exactly what it took."""
        self._taken.subtract(needs)

    def _count(self) -> None:
        totals: dict[Pool, int] = {}
        for pool, count in self._members:
            totals[pool] = max(totals.get(pool, 0), count)
        self._totals = {pool: _limited(pool, self._limits) for pool in totals} if self._limits else totals


def _limited(pool: Pool, limits: Sequence[Limit]) -> int:
    """What the operator gave; nothing of a resource that was not named."""
    name, device = pool
    number = int(device.partition(":")[2] or 0)
    fitting = (each for each in limits if each.name == name)
    counts = [each.count for each in fitting if not device or each.device in (None, number)]
    return max(counts, default=0)

"""Versions that others are to take the place of: a tier keeps them until every gateway can do without them.

Tiers take a new version up at different moments. The first of them must not let the old one go at once: a
gateway needs it until the new one is in all tiers, and says so every few seconds. Where nobody says so, an
old version goes soon, which is time enough for gateways to hear of it before.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from server.domain.offer import ModelOffer, Offers, VersionOffer

LEAST_S = 2.0
"""For whoever has not heard of it yet, and for what is on its way."""

HELD_S = 4.0
"""What a gateway says holds for so long: longer than it takes to say it again."""

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Known:
    """What was offered of a model last, with what lingers and what is being written again."""

    fingerprint: str
    versions: Mapping[int, VersionOffer]


class Lingering:
    """What lingers in this process, and until when. Lives on the event loop.

    serves   the versions of a model that serve here: nothing else can linger
    clock    monotonic seconds
    """

    def __init__(self, serves: Callable[[str], Collection[int]], clock: Callable[[], float]) -> None:
        self._serves = serves
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._until: dict[Key, float] = {}
        self._some = asyncio.Event()

    def lingers(self, model: str, version: int) -> bool:
        return (model, version) in self._until

    def of(self, offers: Offers) -> Offers:
        """These offers, with what lingers among their versions."""
        stretched: dict[str, ModelOffer] = {}
        known: dict[str, Known] = {}
        lingering: set[Key] = set()
        for model, offer in offers.items():
            earlier = self._known.get(model)
            kept = self._kept(offer, earlier) if earlier is not None else {}
            stretched[model] = replace(offer, versions={**kept, **offer.versions}) if kept else offer
            lingering |= {(model, version) for version in kept}
            restless = {} if earlier is None else _among(earlier.versions, offer.unsettled)
            known[model] = Known(offer.fingerprint, {**restless, **stretched[model].versions})
        self._until = {key: until for key, until in self._until.items() if key in lingering}
        self._known = known
        if lingering:
            self._some.set()
        else:
            self._some.clear()
        return stretched

    def hold(self, keys: Iterable[Key]) -> None:
        """A gateway cannot do without these yet."""
        until = self._clock() + HELD_S
        for key in keys:
            if key in self._until:
                self._until[key] = max(self._until[key], until)

    async def run(self, again: Callable[[], None]) -> None:
        """Whenever something need not linger any more, have the offers gone through `again`."""
        while True:
            await self._some.wait()
            left_s = min(self._until.values()) - self._clock()
            if left_s > 0:
                await asyncio.sleep(left_s)  # a gateway may have said meanwhile that it holds it
            else:
                again()

    def _kept(self, offer: ModelOffer, earlier: Known) -> Mapping[int, VersionOffer]:
        """Versions that were offered before, serve, and would go now that others are offered."""
        if not _supersedes(offer, earlier):
            return {}
        now = self._clock()
        kept = {}
        for version in earlier.versions.keys() - offer.versions.keys() - offer.unsettled:
            until = self._until.get((offer.name, version), now + LEAST_S)
            if until > now and version in self._serves(offer.name):
                self._until[offer.name, version] = until
                kept[version] = earlier.versions[version]
        return kept


def _supersedes(offer: ModelOffer, earlier: Known) -> bool:
    """Whether other versions take the place of those that are left out: in the same configuration, and not
    because somebody has named them."""
    return (
        bool(offer.versions or offer.unsettled)
        and not offer.one_by_one
        and not offer.problem
        and offer.fingerprint == earlier.fingerprint
    )


def _among(versions: Mapping[int, VersionOffer], some: Collection[int]) -> dict[int, VersionOffer]:
    return {version: offer for version, offer in versions.items() if version in some}

"""What can be said of a version before it is loaded: what it needs, how it is to come, or why never."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from server.domain.configuration import SwapPolicy
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.arrival import Arrival, Situation, arrive, swap_policy
from server.lifecycle.attempts import Attempts, Refusal, Verified
from server.lifecycle.idle import Known, Origin
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loader
from server.lifecycle.prospect import Looker, Prospect
from server.lifecycle.residency.accountant import Key
from server.lifecycle.room import Room, Wanted
from server.lifecycle.rules import Rules
from server.lifecycle.served import Served
from server.lifecycle.stays import Stays


class Outlook:
    """Decides over what is in memory by now; nothing is loaded or evicted here."""

    def __init__(
        self,
        loader: Loader,
        attempts: Attempts,
        rules: Rules,
        stays: Stays,
        room: Room,
        same_content: Callable[[VersionOffer], bool],
    ) -> None:
        """`same_content` tells whether a version's folder holds what was offered; it blocks."""
        self._looker = Looker(loader, same_content)
        self._attempts = attempts
        self._rules = rules
        self._stays = stays
        self._room = room
        self._doubtful: set[str] = set()

    def doubt(self, content: Content) -> None:
        """A version of this could not be loaded: look at its files before it is promised once more."""
        self._doubtful.add(content.whole)

    async def prospect(
        self,
        offer: ModelOffer,
        version: VersionOffer,
        content: Content,
        verified: Verified,
        before: Served | None,
    ) -> Prospect | Refusal:
        """What is known of a version without loading it; of new content, at worst what was `before`."""
        rules = self._rules
        swaps = swap_policy(offer.config, rules.swap) is SwapPolicy.FREE_FIRST
        is_doubtful = content.whole in self._doubtful
        try:
            if not (rules.budgets or rules.on_request or swaps):
                return await self._attempts.in_thread(
                    partial(self._looker.glance, offer, version, content, verified)
                )
            found = await asyncio.to_thread(
                self._looker.look, offer, version, content, verified, before, is_doubtful
            )
        except Exception as error:
            return self._attempts.refusal(offer, version, error)
        self._doubtful.discard(content.whole)
        return found

    def arrival(self, prospect: Prospect, outgoing: Collection[Served]) -> Arrival:
        """How it is to come; `outgoing` go once it serves."""
        config = prospect.origin.offer.config
        leaving = self._stays.keys(outgoing)
        situation = Situation(
            is_described=prospect.facts is not None and not prospect.is_guess,
            is_guessed=prospect.is_guess,
            on_request=self._rules.on_request,
            is_pinned=self._stays.is_pinned(config),
            was_known=prospect.was_known and self._rules.lazy_start,
            replaces=bool(leaving),
            fits_beside=not self._room.forbids(self.wanted(prospect.origin, prospect.known, leaving)),
            fits_now=self._room.fits_now(self.wanted(prospect.origin, prospect.known)),
        )
        return arrive(situation, swap_policy(config, self._rules.swap))

    def refusal(self, prospect: Prospect, outgoing: Collection[Served]) -> str:
        """Why there can never be memory for it, with the arithmetic; empty if there can."""
        leaving = self._stays.keys(outgoing)
        alone = self._room.forbids(self.wanted(prospect.origin, prospect.known, instead=leaving))
        if alone or not leaving:
            return alone
        config = prospect.origin.offer.config
        if swap_policy(config, self._rules.swap) is not SwapPolicy.KEEP_SERVING:
            return ""
        beside = self._room.forbids(self.wanted(prospect.origin, prospect.known, leaving))
        return beside and f"{beside}, which serves until then; --swap-policy=free-first frees that first"

    def wanted(
        self,
        origin: Origin,
        known: Known,
        beside: Collection[Key] = (),
        instead: Collection[Key] = (),
        is_wanted: Callable[[], bool] = lambda: True,
        load_by: Callable[[], float | None] = lambda: None,
    ) -> Wanted:
        """What to ask of the room for it."""
        return Wanted(
            origin.key,
            known.needs,
            evicts=self._rules.on_request,
            load_by=load_by,
            is_wanted=is_wanted,
            beside=beside,
            instead=instead,
        )

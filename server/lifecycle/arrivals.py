"""Has one version come: verified, looked at, and loaded or left idle; or says why not."""

from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from server.domain.errors import ServingError
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.arrival import Arrival
from server.lifecycle.attempts import Attempts, Refusal, Verified
from server.lifecycle.idle import IdleVersion
from server.lifecycle.instances import Content
from server.lifecycle.residence import Residence
from server.lifecycle.served import Served
from server.lifecycle.standbys import Standing
from server.lifecycle.table import Table
from server.lifecycle.telling import Telling
from server.lifecycle.wishes import Wishes, outgoing, staying


class Arrivals:
    """Owned by the manager.

    start      runs a coroutine as a task of the manager's, under a name
    give_way   takes a version that has to go first out of service
    put_back   has it stand in the table again, as its successor could not be loaded
    """

    def __init__(
        self,
        table: Table,
        wishes: Wishes,
        attempts: Attempts,
        residence: Residence,
        telling: Telling,
        *,
        start: Callable[[Coroutine[Any, Any, None], str], object],
        give_way: Callable[[Served], None],
        put_back: Callable[[IdleVersion, int], None],
    ) -> None:
        self._table = table
        self._wishes = wishes
        self._attempts = attempts
        self._residence = residence
        self._telling = telling
        self._start = start
        self._give_way = give_way
        self._put_back = put_back

    async def come(self, offer: ModelOffer, version: VersionOffer, content: Content) -> Served | Refusal:
        """What is to serve: loaded, or to be loaded when it is asked for."""
        model, number = offer.name, version.version
        verified = await self._verify(offer, version, content)
        if isinstance(verified, Refusal):
            return verified
        if offer.config is not None and offer.config.ensemble is not None:
            self._telling.loading(model, number, content.whole)
            return await self._attempts.open_ensemble(offer, version, content)
        if version.part is not None and not version.loads("predict"):
            self._telling.loading(model, number, content.whole)
            return await self._attempts.open_part(offer, version, content)
        serving = self._table.versions(model)
        before = serving.get(number) or (serving[max(serving)] if serving else None)
        prospect = await self._residence.outlook.prospect(offer, version, content, verified, before)
        if isinstance(prospect, Refusal):
            return prospect
        leaving = outgoing(offer, self._table.versions(model), number)
        never = self._residence.outlook.refusal(prospect, leaving)
        if never:
            return Refusal(never, may_pass=False)
        how = self._residence.outlook.arrival(prospect, leaving)
        if how is Arrival.LOAD:
            self._telling.loading(model, number, content.whole)
            return await self._residence.load(
                prospect,
                leaving,
                lambda: not self._wishes.is_over and content.whole in self._wishes.contents(model),
            )
        if how is Arrival.FREE_FIRST:
            self._start(self._in_place_of(leaving, model, number), f"bring in {model}")
        goes_on = before is not None and before.content.is_like(content)
        return self._residence.idle(prospect, before.facts.tally if before is not None and goes_on else None)

    async def again(
        self, offer: ModelOffer, version: VersionOffer, content: Content, instead: Served
    ) -> Standing | Refusal:
        """What served before, though its files may be offered no more; it goes where another serves by now.

        Loaded; or, where there is no memory for both, to be loaded once the other one has gone.
        """
        verified = await self._verify(offer, version, content)
        if isinstance(verified, Refusal):
            return verified
        outlook = self._residence.outlook
        prospect = await outlook.prospect(offer, version, content, verified, instead)
        if isinstance(prospect, Refusal):
            return prospect
        if outlook.arrival(prospect, [instead]) is not Arrival.LOAD:
            return self._residence.idle(prospect, None)
        return await self._residence.load(prospect, [instead], lambda: not self._wishes.is_over)

    async def _verify(self, offer: ModelOffer, version: VersionOffer, content: Content) -> Verified | Refusal:
        note_trial = partial(self._telling.trial, offer.name, version.version, content.whole)
        return await self._attempts.verify(offer, version, note_trial)

    async def _in_place_of(self, leaving: Collection[Served], model: str, version: int) -> None:
        """Bring in a version that stands idle by now, with the memory of those that it takes the place of.

        If it cannot be loaded, they stand there again, as far as their files are there: idle.
        """
        aside = [idle for served in leaving if (idle := self._residence.set_aside(served)) is not None]
        for served in leaving:
            self._give_way(served)
        with suppress(ServingError):  # the index says why, or the next request tries again
            await self._residence.brought(model, version)
        for idle in aside:
            is_there = await self._attempts.are_there(idle.origin)
            if is_there and self._is_missed(idle, version):
                self._put_back(idle, version)

    def _is_missed(self, idle: IdleVersion, successor: int) -> bool:
        """Whether a version that went for its successor is wanted again, as that did not come up."""
        model, number = idle.origin.key
        serving, offer = self._table.versions(model), self._wishes.offers.get(model)
        if self._wishes.is_over or not self._wishes.has(model) or offer is None or offer.problem:
            return False
        unwanted = offer.one_by_one and number not in staying(offer)
        return not unwanted and successor not in serving and number not in serving

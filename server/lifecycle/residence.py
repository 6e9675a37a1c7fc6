"""Who is in memory: brings versions in when they are asked for, and sends them away when memory is short.

A version that leaves is replaced in the table by an `IdleVersion` in one step, drains, closes, and only then
counts as gone. What it has done so far is counted on when it comes back. Requests pay nothing for any of
this: what is in use, and how often, is read from counters that they keep anyway, when a decision is due.
Lives on the event loop.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Any, Literal

import structlog

from server.domain.catalogue import VersionFacts
from server.domain.configuration import SwapPolicy
from server.domain.errors import ModelNotReady, NoRoom, ServerStopping, ServingError
from server.domain.event import What
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.arrival import Arrival, Situation, arrive, swap_policy
from server.lifecycle.attempts import Attempts, Refusal, Verified
from server.lifecycle.events import Chronicle, counts_of
from server.lifecycle.idle import Bounds, IdleVersion, Known, Origin, bounds_of
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loader
from server.lifecycle.prospect import Looker, Prospect
from server.lifecycle.residency.accountant import NOTHING, Accountant, Bytes, Key, OverBudget
from server.lifecycle.residency.amount import amount
from server.lifecycle.room import Room, Unwanted, Wanted
from server.lifecycle.served import Served
from server.lifecycle.stays import Stay, Stays
from server.lifecycle.table import Table
from server.lifecycle.version import ServedVersion
from server.lifecycle.warming import Warming
from server.observe.residency import ResidencyTally
from server.observe.tally import Tally

log = structlog.get_logger(__name__)

SOON_S = 1.0
"""Until the next look at a version that is due to go, and in use."""

Why = Literal["memory", "idle"]
"""Why a version is evicted: others need its memory, or nobody has asked for it for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How memory is shared.

    budgets          bytes by device; a device that is absent has no limit
    on_request       whether versions may be loaded when they are asked for, and evicted for others
    lazy_start       whether what was verified before is loaded only then
    swap             what becomes of what serves while its successor is loaded, unless a model says otherwise
    pinned           patterns of the names of models that never leave; a configuration may say so, too
    min_residency_s  how long a version that is asked for stays, unless a deadline is at stake
    patience_s       how long a load waits for others to come out of use
    host_cache_bytes   of files of what left that are kept in the host's memory
    idle_unload_s    evict what was not asked for so long, need or no need; 0 for never
    """

    budgets: Bytes = field(default_factory=lambda: NOTHING)
    on_request: bool = False
    lazy_start: bool = False
    swap: SwapPolicy = SwapPolicy.AUTO
    pinned: Sequence[str] = ()
    min_residency_s: float = 1.0
    patience_s: float = 30.0
    host_cache_bytes: int = 0
    idle_unload_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """What the manager does for its residence.

    start    runs a coroutine as a task of the manager's, under a name
    serve    has requests reach a version that was loaded for those that wait for it
    standby  what is in memory of a model only because its successor is on probation; evict_standby lets it go
    clear_away   lets a version that is in the table no more finish what it has, and close
    refused  hears that an idle version could not be loaded, and is not to stand in the table any more
    sharers  how many models share the processors
    is_over  whether the manager is closing
    """

    start: Callable[[Coroutine[Any, Any, None], str], object]
    serve: Callable[[ServedVersion], None]
    standby: Callable[[str], ServedVersion | None]
    evict_standby: Callable[[str], None]
    clear_away: Callable[[Served], None]
    refused: Callable[[IdleVersion, Refusal], None]
    sharers: Callable[[], int]
    is_over: Callable[[], bool]


class Residence:
    """Owned by the manager, which does what `Acts` has. `tally` counts what happens here, for metrics."""

    def __init__(
        self,
        loader: Loader,
        attempts: Attempts,
        table: Table,
        events: Chronicle,
        rules: Rules,
        acts: Acts,
        same_content: Callable[[VersionOffer], bool],
    ) -> None:
        """`same_content` tells whether a version's folder holds what was offered; it blocks."""
        self.rules = rules
        self.tally = ResidencyTally()
        self.accountant = Accountant(rules.budgets)
        self.stays = Stays(self.accountant, rules.pinned, acts.standby)
        self.warming = Warming(rules.host_cache_bytes, self.stays.policy, acts.start)
        self._looker = Looker(loader, same_content)
        self._attempts = attempts
        self._table = table
        self._events = events
        self._acts = acts
        self._doubtful: set[str] = set()
        self._room = Room(
            self.accountant,
            residents=self.stays.residents,
            evict=self.evict,
            min_residency_s=rules.min_residency_s,
            patience_s=rules.patience_s,
        )

    # How a version comes to serve.

    async def prospect(
        self,
        offer: ModelOffer,
        version: VersionOffer,
        content: Content,
        verified: Verified,
        before: VersionFacts | None,
    ) -> Prospect | Refusal:
        """What is known of a version without loading it; of new content, at worst what was `before`."""
        rules = self.rules
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
        leaving = self.stays.keys(outgoing)
        situation = Situation(
            is_described=prospect.facts is not None,
            on_request=self.rules.on_request,
            is_pinned=self.stays.is_pinned(config),
            was_known=prospect.was_known and self.rules.lazy_start,
            replaces=bool(leaving),
            fits_beside=not self._room.forbids(self._wanted(prospect, leaving)),
            fits_now=self._room.fits_now(self._wanted(prospect, ())),
        )
        return arrive(situation, swap_policy(config, self.rules.swap))

    def refusal(self, prospect: Prospect, outgoing: Collection[Served]) -> str:
        """Why there can never be memory for it, with the arithmetic; empty if there can."""
        leaving = self.stays.keys(outgoing)
        alone = self._room.forbids(self._wanted(prospect, (), instead=leaving))
        if alone or not leaving:
            return alone
        config = prospect.origin.offer.config
        if swap_policy(config, self.rules.swap) is not SwapPolicy.KEEP_SERVING:
            return ""
        beside = self._room.forbids(self._wanted(prospect, leaving))
        return beside and f"{beside}, which serves until then; --swap-policy=free-first frees that first"

    def idle(self, prospect: Prospect, tally: Tally | None) -> IdleVersion:
        """As it is to stand in the table until it is asked for; its `tally` goes on, if it has one."""
        assert prospect.facts is not None
        facts = prospect.facts if tally is None else replace(prospect.facts, tally=tally)
        return self._idle(facts, prospect.origin, prospect.known, prospect.bounds)

    async def load(
        self, prospect: Prospect, outgoing: Collection[Served], is_wanted: Callable[[], bool]
    ) -> ServedVersion | Refusal:
        """Load it now, beside what serves."""
        wanted = self._wanted(prospect, self.stays.keys(outgoing), is_wanted)
        try:
            return await self._load(prospect.origin, wanted, prospect.known, None)
        except (NoRoom, Unwanted) as error:
            return Refusal(str(error), may_pass=True)

    async def brought(self, model: str, version: int) -> None:
        """Wait until a version that is idle was brought in. Raises a `ServingError` if it could not be."""
        served = self._table.versions(model).get(version)
        if isinstance(served, IdleVersion):
            with ExitStack() as stay:
                await served.bring(stay, size=0)

    # How it goes.

    def evict(self, key: Key, why: Why = "memory") -> None:
        """Take a version out of service; its memory is back later.

        What only stands by has the number of its version below 0, as its successor may have the same one.
        """
        if key[1] < 0:
            self._acts.evict_standby(key[0])
            return
        served = self._table.versions(key[0])[key[1]]
        stay = self.stays.of(served)
        assert stay is not None
        assert isinstance(served, ServedVersion)
        self.stays.note_uses(stay)
        facts = replace(served.facts, devices=(), memory=NOTHING)
        self._table.serve(self._idle(facts, stay.origin, self.stays.known(stay), bounds_of(served.plan)))
        self._tell_evicted(stay, why)
        stay.is_evicted = True
        served.leave()
        self._acts.clear_away(served)

    def gone(self, served: Served) -> None:
        """It is closed."""
        stay = self.stays.gone(served)
        if stay is None:
            return
        self._room.gone(stay.holding)
        if stay.is_evicted and not self._acts.is_over():
            self.warming.keep(stay.key, stay.origin.version.directory)

    def forget(self, model: str, version: int) -> None:
        """It is offered no more."""
        self.stays.policy.forget((model, version))
        self.warming.drop((model, version))
        self.tally.forget(model, version)

    async def unload_idle(self) -> None:
        """Evict what was not asked for so long, as long as this runs."""
        while True:
            due = self.rules.idle_unload_s
            for served, left in self.stays.unasked(self.rules.idle_unload_s):
                if left <= 0 and not served.in_use:
                    self.evict((served.facts.model, served.facts.version), "idle")
                else:
                    due = min(due, max(left, SOON_S))
            await asyncio.sleep(due)

    # The work.

    def _idle(self, facts: VersionFacts, origin: Origin, known: Known, bounds: Bounds) -> IdleVersion:
        return IdleVersion(
            facts=facts, origin=origin, known=known, bounds=bounds, fetch=self._fetch, tally=self.tally
        )

    def _wanted(
        self,
        prospect: Prospect,
        beside: Collection[Key],
        is_wanted: Callable[[], bool] = lambda: True,
        instead: Collection[Key] = (),
    ) -> Wanted:
        return Wanted(
            prospect.origin.key,
            prospect.known.needs,
            evicts=self.rules.on_request,
            is_wanted=is_wanted,
            beside=beside,
            instead=instead,
        )

    def _fetch(self, idle: IdleVersion) -> None:
        self._acts.start(self._bring(idle), f"bring in {idle.facts.model}")

    async def _bring(self, idle: IdleVersion) -> None:
        """Load an idle version for those who wait for it; they are told how it came out."""
        facts = idle.facts
        error: ServingError = ServerStopping()
        log.info("version_wanted", model=facts.model, version=facts.version)
        try:
            wanted = Wanted(
                idle.origin.key,
                idle.known.needs,
                evicts=self.rules.on_request,
                load_by=lambda: idle.load_by,
                is_wanted=lambda: idle.is_wanted and not self._acts.is_over(),
            )
            came = await self._load(idle.origin, wanted, idle.known, facts.tally)
            if isinstance(came, Refusal):
                error = ModelNotReady(
                    f"model '{facts.model}' version {facts.version} cannot be loaded: {came.why}"
                )
                self._doubtful.add(idle.content.whole)
                if self._stands(idle):
                    self._acts.refused(idle, came)
                return
            if self._stands(idle):
                self._note_asked(came)
                self._acts.serve(came)
                idle.became(came)
            else:  # replaced or unloaded meanwhile: it is for those who wait, and then it goes
                idle.became(came)
                self._acts.clear_away(came)
        except NoRoom as refusal:
            error = refusal
        except Unwanted:
            pass
        finally:
            if idle.is_coming:
                idle.failed(error)

    def _stands(self, idle: IdleVersion) -> bool:
        return self._table.versions(idle.facts.model).get(idle.facts.version) is idle

    async def _load(
        self, origin: Origin, wanted: Wanted, known: Known, tally: Tally | None
    ) -> ServedVersion | Refusal:
        """Raises `NoRoom` or `Unwanted`."""
        try:
            holding = await self._room.reserve(wanted)
        except OverBudget as error:
            return Refusal(str(error), may_pass=not self._room.forbids(wanted))
        came: ServedVersion | Refusal | None = None
        try:
            came = await self._attempts.bring_up(
                origin,
                sharers=self._acts.sharers(),
                is_wanted=wanted.is_wanted,
                known=known,
                tally=tally,
            )
        finally:
            if not isinstance(came, ServedVersion):
                self._room.gone(holding)
        if not isinstance(came, ServedVersion):
            return came
        self.stays.begin(came, origin, holding, known)
        self.warming.drop(holding.key)
        never = self._room.forbids(replace(wanted, needs=came.facts.memory, instead=[holding.key]))
        if never:
            self._acts.clear_away(came)
            return Refusal(f"it was loaded, and {never}", may_pass=False)
        for device in self._room.relieve(holding.key):
            log.warning("over_budget", device=device, over=amount(self.accountant.over(device)))
        return came

    def _note_asked(self, came: ServedVersion) -> None:
        """Requests wait for it: it is no more to be had for nothing."""
        stay = self.stays.of(came)
        assert stay is not None
        stay.asked = True

    def _tell_evicted(self, stay: Stay, why: Why) -> None:
        served, stayed_s = stay.served, monotonic() - stay.since
        facts, freed = served.facts, self.accountant.held(stay.holding)
        told = ", ".join(f"{amount(count)} of {device}" for device, count in freed.items())
        log.info(
            "version_evicted",
            model=facts.model,
            version=facts.version,
            reason=why,
            stayed_s=round(stayed_s, 3),
            frees=dict(freed),
        )
        self.tally.evicted(facts.model, facts.version, why, stayed_s)
        reason = f"its memory is needed: {told}" if why == "memory" else "nobody has asked for it for long"
        counts = counts_of(facts.tally)
        self._events.tell(What.EVICTED, facts.model, facts.version, served.content.whole, reason, counts)

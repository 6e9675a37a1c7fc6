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
from time import monotonic, time
from typing import Any, Literal

import structlog

from server.domain.catalogue import VersionFacts
from server.domain.configuration import ModelConfig, SwapPolicy
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
from server.lifecycle.residency.accountant import NOTHING, Accountant, Bytes, Holding, Key, OverBudget
from server.lifecycle.residency.amount import amount
from server.lifecycle.residency.decision import Kind, Resident
from server.lifecycle.residency.estimate import Estimate
from server.lifecycle.residency.eviction import GreedyDual
from server.lifecycle.residency.picture import picture
from server.lifecycle.residency.pinning import is_pinned
from server.lifecycle.room import Room, Unwanted, Wanted
from server.lifecycle.served import Served
from server.lifecycle.table import Table
from server.lifecycle.version import ServedVersion
from server.lifecycle.warm_files import WarmFiles
from server.observe.metrics import MemoryPicture
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


@dataclass(eq=False, slots=True)
class _Stay:
    """One version in memory. `requests` of it are told to the policy by now; `asked` if any came."""

    served: ServedVersion
    origin: Origin
    holding: Holding
    estimate: Estimate | None
    since: float
    requests: int
    asked: bool = False
    is_leaving: bool = False
    is_evicted: bool = False

    @property
    def key(self) -> Key:
        return self.holding.key


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
        self._looker = Looker(loader, same_content)
        self._attempts = attempts
        self._table = table
        self._events = events
        self._acts = acts
        self._policy = GreedyDual()
        self._doubtful: set[str] = set()
        self.warm = WarmFiles(rules.host_cache_bytes)
        self._warming = asyncio.Lock()
        self._stays: dict[ServedVersion, _Stay] = {}
        self._room = Room(
            self.accountant,
            residents=self.residents,
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
        leaving = self._keys_in_memory(outgoing)
        situation = Situation(
            is_described=prospect.facts is not None,
            on_request=self.rules.on_request,
            is_pinned=self._is_pinned(config),
            was_known=prospect.was_known and self.rules.lazy_start,
            replaces=bool(leaving),
            fits_beside=not self._room.forbids(self._wanted(prospect, leaving)),
            fits_now=self._room.fits_now(self._wanted(prospect, ())),
        )
        return arrive(situation, swap_policy(config, self.rules.swap))

    def refusal(self, prospect: Prospect, outgoing: Collection[Served]) -> str:
        """Why there can never be memory for it, with the arithmetic; empty if there can."""
        alone = self._room.forbids(self._wanted(prospect, ()))
        leaving = self._keys_in_memory(outgoing)
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
        wanted = self._wanted(prospect, self._keys_in_memory(outgoing), is_wanted)
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
        stay = next(each for each in self._stays.values() if each.key == key and not each.is_leaving)
        served = stay.served
        idle = self._idle(
            replace(served.facts, devices=(), memory=NOTHING),
            stay.origin,
            Known(
                needs=self.accountant.held(stay.holding),
                estimate=None,
                load_s=served.facts.tally.load_seconds,
                learned=served.learned,
            ),
            bounds_of(served.plan),
        )
        self._note_uses(stay)
        self._table.serve(idle)
        self._tell_evicted(stay, why)
        stay.is_evicted = True
        served.leave()
        self._acts.clear_away(served)

    def leaving(self, served: Served) -> None:
        """Requests do not reach it any more; its memory is not back yet."""
        stay = self._stays.get(served) if isinstance(served, ServedVersion) else None
        if stay is not None:
            stay.is_leaving = True
            self.accountant.leaving(stay.holding)
            if all(other.is_leaving for other in self._stays.values() if other.key == stay.key):
                self._policy.note_eviction(stay.key)

    def gone(self, served: Served) -> None:
        """It is closed."""
        stay = self._stays.pop(served, None) if isinstance(served, ServedVersion) else None
        if stay is None:
            return
        self._room.gone(stay.holding)
        if stay.is_evicted and self.rules.host_cache_bytes and not self._acts.is_over():
            self._acts.start(self._keep_warm(stay), f"keep the files of {stay.key[0]}")

    def forget(self, model: str, version: int) -> None:
        """It is offered no more."""
        self._policy.forget((model, version))
        self._drop_warm((model, version))

    def _drop_warm(self, key: Key) -> None:
        if key in self.warm.sizes:
            self._acts.start(self._no_longer_warm(key), f"let the files of {key[0]} go")

    def resized(self, served: ServedVersion, offer: ModelOffer) -> None:
        """Its instances have changed, and nothing else: that is what it comes back as."""
        stay = self._stays.get(served)
        if stay is not None:
            stay.origin = replace(stay.origin, offer=offer, content=served.content)

    async def unload_idle(self) -> None:
        """Evict what was not asked for so long, as long as this runs."""
        while True:
            now, due = time(), self.rules.idle_unload_s
            for stay in list(self._stays.values()):
                if stay.is_leaving or self._is_pinned(stay.served.facts.config):
                    continue
                asked = max(stay.served.facts.tally.last_inference / 1000, now - (monotonic() - stay.since))
                left = asked + self.rules.idle_unload_s - now
                if left <= 0 and not stay.served.in_use:
                    self.evict(stay.key, "idle")
                else:
                    due = min(due, max(left, SOON_S))
            await asyncio.sleep(due)

    def picture(self) -> MemoryPicture:
        """For metrics."""
        self.residents()
        errors = {
            stay.key: stay.estimate.error(stay.served.reading)
            for stay in self._stays.values()
            if stay.estimate is not None
        }
        return picture(self.accountant, self._policy, errors, monotonic())

    def residents(self) -> Sequence[Resident]:
        """What is in memory and serves, the first to go first."""
        stays = {self._place(stay): stay for stay in self._stays.values() if not stay.is_leaving}
        for stay in stays.values():
            self._note_uses(stay)
        return [
            Resident(
                key=key,
                bytes=self.accountant.held(stays[key].holding),
                kind=Kind.STANDBY if key[1] < 0 else Kind.SERVING,
                pinned=self._is_pinned(stays[key].served.facts.config),
                in_use=stays[key].served.in_use,
                since=stays[key].since if stays[key].asked else float("-inf"),
                load_s=stays[key].served.facts.tally.load_seconds,
            )
            for key in self._policy.order(stays)
        ]

    # The work.

    def _idle(self, facts: VersionFacts, origin: Origin, known: Known, bounds: Bounds) -> IdleVersion:
        return IdleVersion(
            facts=facts, origin=origin, known=known, bounds=bounds, fetch=self._fetch, tally=self.tally
        )

    def _wanted(
        self, prospect: Prospect, beside: Collection[Key], is_wanted: Callable[[], bool] = lambda: True
    ) -> Wanted:
        return Wanted(
            prospect.origin.key,
            prospect.known.needs,
            evicts=self.rules.on_request,
            is_wanted=is_wanted,
            beside=beside,
        )

    def _keys_in_memory(self, versions: Collection[Served]) -> list[Key]:
        return [
            self._stays[served].key
            for served in versions
            if isinstance(served, ServedVersion) and served in self._stays
        ]

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
                self._stays[came].asked = True
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
        if isinstance(came, ServedVersion):
            self._settle(came, origin, holding, known)
        return came

    def _settle(self, came: ServedVersion, origin: Origin, holding: Holding, known: Known) -> None:
        """It is in memory."""
        measured, estimate = known.settled(came.reading), known.estimate
        self.accountant.settle(holding, measured)
        for device in self._room.relieve():
            log.warning("over_budget", device=device, over=amount(self.accountant.over(device)))
        tally = came.facts.tally
        came.facts = replace(came.facts, memory=measured)
        self._drop_warm(holding.key)
        self._stays[came] = _Stay(came, origin, holding, estimate, monotonic(), _requests(tally))
        self._policy.note_load(holding.key, sum(measured.values()), tally.load_seconds)

    def _place(self, stay: _Stay) -> Key:
        model, version = stay.key
        return (model, -version) if self._acts.standby(model) is stay.served else stay.key

    def _note_uses(self, stay: _Stay) -> None:
        """Tell the policy how often it was asked for since it was last told."""
        requests = _requests(stay.served.facts.tally)
        if requests != stay.requests:
            self._policy.note_use(stay.key, monotonic(), requests - stay.requests)
            stay.requests, stay.asked = requests, True

    def _is_pinned(self, config: ModelConfig | None) -> bool:
        return config is not None and is_pinned(config, self.rules.pinned)

    async def _keep_warm(self, stay: _Stay) -> None:
        """Have its files in the host's memory, if they are worth it, until it is loaded again."""
        async with self._warming:
            order = self._policy.order({*self.warm.sizes, stay.key})
            folder = stay.origin.version.directory
            await asyncio.to_thread(self.warm.left, stay.key, folder, lambda _: order)

    async def _no_longer_warm(self, key: Key) -> None:
        async with self._warming:
            await asyncio.to_thread(self.warm.drop, key)

    def close(self) -> None:
        """All that was in memory is gone."""
        self.warm.close()

    def _tell_evicted(self, stay: _Stay, why: Why) -> None:
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


def _requests(tally: Tally) -> int:
    return tally.success.count + tally.fail.count

"""Who is in memory: brings versions in when they are asked for, and sends them away when memory is short.

A version that leaves is replaced in the table by an `IdleVersion` in one step, drains, closes, and only then
counts as gone. What it has done so far is counted on when it comes back. Requests pay nothing for any of
this: what is in use, and how often, is read from counters that they keep anyway, when a decision is due.
Lives on the event loop.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Literal

import structlog

from server.domain.catalogue import VersionFacts
from server.domain.errors import ModelNotReady, NoRoom, ServerStopping, ServingError
from server.domain.event import What
from server.domain.offer import VersionOffer
from server.domain.state import State
from server.lifecycle.attempts import Attempts, Refusal
from server.lifecycle.idle import Bounds, IdleVersion, Known, Origin, bounds_of
from server.lifecycle.loader import Loader
from server.lifecycle.outlook import Outlook
from server.lifecycle.prepared import PreparedModels
from server.lifecycle.preparing import Preparing
from server.lifecycle.prospect import Prospect
from server.lifecycle.residency.accountant import NOTHING, Accountant, Key, OverBudget
from server.lifecycle.residency.amount import amount
from server.lifecycle.room import Room, Unwanted, Wanted
from server.lifecycle.rules import Rules
from server.lifecycle.served import Served
from server.lifecycle.standbys import Standbys
from server.lifecycle.stays import Stay, Stays
from server.lifecycle.table import Table
from server.lifecycle.telling import Telling
from server.lifecycle.version import ServedVersion
from server.lifecycle.warming import Warming
from server.lifecycle.wishes import Wishes
from server.observe.residency import ResidencyTally
from server.observe.tally import Tally

log = structlog.get_logger(__name__)

SOON_S = 1.0
"""Until the next look at a version that is due to go, and in use."""

Why = Literal["memory", "idle"]
"""Why a version is evicted: others need its memory, or nobody has asked for it for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """What the manager does for its residence.

    start    runs a coroutine as a task of the manager's, under a name
    serve    has requests reach a version that was loaded for those that wait for it
    clear_away   lets a version that is in the table no more finish what it has, and close
    refused  hears that an idle version could not be loaded, and is not to stand in the table any more
    """

    start: Callable[[Coroutine[Any, Any, None], str], object]
    serve: Callable[[ServedVersion], None]
    clear_away: Callable[[Served], None]
    refused: Callable[[IdleVersion, Refusal], None]


class Residence:
    """Owned by the manager, which does what `Acts` has. `tally` counts what happens here, for metrics."""

    def __init__(
        self,
        loader: Loader,
        attempts: Attempts,
        table: Table,
        wishes: Wishes,
        standbys: Standbys,
        telling: Telling,
        rules: Rules,
        acts: Acts,
        same_content: Callable[[VersionOffer], bool],
        prepared: PreparedModels | None,
    ) -> None:
        """`same_content` tells whether a version's folder holds what was offered; it blocks. Without
        `prepared`, nothing is prepared for a quick return.
        """
        self.rules = rules
        self.tally = ResidencyTally()
        self.accountant = Accountant(rules.budgets)
        self.stays = Stays(self.accountant, rules.pinned, standbys.stands_by)
        self.warming = Warming(rules.host_cache_bytes, self.stays.policy, acts.start)
        self._preparing = None
        if prepared is not None:
            self._preparing = Preparing(prepared, attempts.prepare, acts.start, lambda: wishes.is_over)
        self._attempts = attempts
        self._table = table
        self._wishes = wishes
        self._standbys = standbys
        self._telling = telling
        self._acts = acts
        self._room = Room(
            self.accountant,
            residents=self.stays.residents,
            in_use=self.stays.in_use,
            evict=self.evict,
            min_residency_s=rules.min_residency_s,
            patience_s=rules.patience_s,
        )
        self.outlook = Outlook(loader, attempts, rules, self.stays, self._room, same_content)

    # How a version comes to serve.

    def idle(self, prospect: Prospect, tally: Tally | None) -> IdleVersion:
        """As it is to stand in the table until it is asked for; its `tally` goes on, if it has one."""
        assert prospect.facts is not None
        facts = prospect.facts if tally is None else replace(prospect.facts, tally=tally)
        if self._preparing is not None and not prospect.is_guess and prospect.known.needs.keys() <= {"cpu"}:
            self._preparing.waits(prospect.origin)
        return self._idle(facts, prospect.origin, prospect.known, prospect.bounds, prospect.is_guess)

    def set_aside(self, served: Served) -> IdleVersion | None:
        """As it can stand in the table again after it has left; None for what is not loaded from files."""
        if isinstance(served, IdleVersion):
            return self._idle(served.facts, served.origin, served.known, served.bounds, served.is_guess)
        stay = self.stays.of(served)
        return self._evicted(stay) if stay is not None else None

    async def load(
        self, prospect: Prospect, outgoing: Collection[Served], is_wanted: Callable[[], bool]
    ) -> ServedVersion | Refusal:
        """Load it now, beside what serves."""
        beside = self.stays.keys(outgoing)
        wanted = self.outlook.wanted(prospect.origin, prospect.known, beside, is_wanted=is_wanted)
        try:
            return await self._load(prospect.origin, wanted, prospect.known, None)
        except (NoRoom, Unwanted) as error:
            return Refusal(str(error), may_pass=True)

    async def brought(self, model: str, version: int) -> None:
        """Wait until a version that is idle was brought in. Raises a `ServingError` if it could not be."""
        served = self._table.versions(model).get(version)
        if isinstance(served, IdleVersion):
            await served.brought()

    # How it goes.

    def evict(self, key: Key, why: Why = "memory") -> None:
        """Take a version out of service; its memory is back later.

        What only stands by has the number of its version below 0, as its successor may have the same one.
        """
        if key[1] < 0:
            standby = self._standbys.stands_by(key[0])
            stay = self.stays.of(standby) if standby is not None else None
            if stay is not None:
                self._count_eviction(stay, why)
            self._standbys.evict(key[0])
            return
        served = self._table.versions(key[0])[key[1]]
        stay = self.stays.of(served)
        assert stay is not None
        assert isinstance(served, ServedVersion)
        self.stays.note_uses(stay)
        self._table.serve(self._evicted(stay))
        self._count_eviction(stay, why)
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
        if stay.is_evicted and not self._wishes.is_over:
            self.warming.keep(stay.key, stay.origin.version.directory)
            if self._preparing is not None and all(device.kind == "cpu" for device in stay.served.devices):
                self._preparing.left(stay.origin)

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

    def _evicted(self, stay: Stay) -> IdleVersion:
        facts = replace(stay.served.facts, devices=(), memory=NOTHING, down="")
        return self._idle(facts, stay.origin, self.stays.known(stay), bounds_of(stay.served.plan))

    def _idle(
        self, facts: VersionFacts, origin: Origin, known: Known, bounds: Bounds, is_guess: bool = False
    ) -> IdleVersion:
        return IdleVersion(
            facts=facts,
            origin=origin,
            known=known,
            bounds=bounds,
            fetch=self._fetch,
            tally=self.tally,
            within_s=2 * self.rules.patience_s + self.rules.load_within_s,
            is_guess=is_guess,
        )

    def _fetch(self, idle: IdleVersion) -> None:
        self._acts.start(self._bring(idle), f"bring in {idle.facts.model}")

    async def _bring(self, idle: IdleVersion) -> None:
        """Load an idle version for those who wait for it; they are told how it came out."""
        facts = idle.facts
        error: ServingError = ServerStopping()
        log.info("version_wanted", model=facts.model, version=facts.version)
        try:
            wanted = self.outlook.wanted(
                idle.origin,
                idle.known,
                load_by=lambda: idle.load_by,
                is_wanted=lambda: idle.is_wanted and not self._wishes.is_over,
            )
            came = await self._load(idle.origin, wanted, idle.known, facts.tally)
            if isinstance(came, Refusal):
                error = ModelNotReady(
                    f"model '{facts.model}' version {facts.version} cannot be loaded: {came.why}"
                )
                self.outlook.doubt(idle.content)
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
                sharers=self._wishes.sharers,
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

    def _count_eviction(self, stay: Stay, why: Why) -> None:
        facts, stayed_s = stay.served.facts, monotonic() - stay.since
        log.info(
            "version_evicted",
            model=facts.model,
            version=facts.version,
            reason=why,
            stayed_s=round(stayed_s, 3),
            frees=dict(self.accountant.held(stay.holding)),
        )
        self.tally.evicted(facts.model, facts.version, why, stayed_s)

    def _tell_evicted(self, stay: Stay, why: Why) -> None:
        served, freed = stay.served, self.accountant.held(stay.holding)
        told = ", ".join(f"{amount(count)} of {device}" for device, count in freed.items())
        reason = f"its memory is needed: {told}" if why == "memory" else "nobody has asked for it for long"
        if served.facts.down:  # what its process was at is of no interest any more
            self._telling.note(served.facts.model, served.facts.version, State.READY)
        self._telling.gone(What.EVICTED, served, reason)

"""What the tiers have, as versions that this process serves: finds what is live, and swaps and retires it.

Each version that is live (`server.tiers.live`) stands in a table like that of any server: a `RemoteVersion`
whose queue leads to the first tier of its route. An ensemble's steps are done here, over these. A request is
pinned to what it found, so one that is on its way when a version is replaced ends on the one it began with.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import time
from types import TracebackType
from typing import Self

import structlog

from protos import stage_pb2 as pb
from server.domain.catalogue import VersionFacts
from server.domain.errors import LoadFailed, LoadUnknown, ModelNotReady
from server.domain.event import What
from server.domain.stage import STAGES
from server.domain.state import LEGAL, UNLOADED, State, Status
from server.lifecycle.dependencies import Dependencies
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.events import Chronicle
from server.lifecycle.instances import Content
from server.lifecycle.remote import RemoteVersion
from server.lifecycle.served import Served
from server.lifecycle.table import Table
from server.stages.hop.hedging import Hedges, hedge_ms_of
from server.stages.hop.keyed import by_key
from server.stages.hop.retries import RetryBudget
from server.stages.hop.sender import Sender
from server.stages.hop.way import Way
from server.tiers.directory import Directory
from server.tiers.endpoint import BACK_WITHIN_S, LOST, Endpoint, why_lost
from server.tiers.facts import Unusable, facts_of, row_bytes_of
from server.tiers.fitting import as_seen
from server.tiers.gate import Gate
from server.tiers.live import (
    ENSEMBLE_STAGES,
    Key,
    Live,
    Standing,
    able,
    is_leaving,
    judge,
    lacking,
    leaving,
    taken_back,
)

log = structlog.get_logger(__name__)

HOLD_EVERY_S = 1.0
"""A word on what the tiers are to keep holds for longer than that (`server.tiers.lingering`)."""

TAKEN_BACK_WITHIN_S = 5.0
"""How long a process may take to hear that a content is taken back."""

PARCEL_ROWS = 256
"""Of several requests in one parcel, at most."""


class Gateway:
    """Answers `server.domain.catalogue.Catalogue`. Entered once; leaving it retires everything.

    complete        set once every tier that was named has taken requests
    max_waiting     requests of one version that may wait for a tier to take them
    events          are told what is live here and what is no more
    max_in_flight   requests of one ensemble that may be under way
    """

    def __init__(
        self,
        directory: Directory,
        *,
        max_waiting: int,
        max_in_flight: int,
        retire_within_s: float,
        events: Chronicle | None = None,
    ) -> None:
        self.table = Table(unheard=lambda: self.not_ready(strict=False))
        self._events = events or Chronicle()
        self._directory = directory
        self._max_waiting = max_waiting
        self._max_in_flight = max_in_flight
        self._retire_within_s = retire_within_s
        self._budget = RetryBudget()
        self.hedges = Hedges()
        self._held: set[Key] = set()
        self._some_held = asyncio.Event()
        self._dependencies = Dependencies(self.table)
        self._live: dict[Key, Live] = {}
        self._gates: dict[Key, Gate] = {}
        self._told_back: set[tuple[str, Key, str]] = set()
        self._ensembles: dict[Key, tuple[VersionFacts, Content]] = {}
        self._due: set[tuple[str, int | None]] = set()
        self._looking = False
        self._company: object = None
        self._required: frozenset[str] | None = None
        self.complete = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for model in self.table.models:
            for version in list(self.table.versions(model)):
                self._withdraw((model, version))
        await self._tasks.__aexit__(kind, error, trace)

    def look(self, keys: Collection[tuple[str, int | None]]) -> None:
        """The tiers say something else of these versions, or there are others of them. Returns at once."""
        self._due.update(keys)
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    @property
    def retries(self) -> int:
        """Requests that were sent once more, so far."""
        return self._budget.spent

    # The catalogue.

    def facts(self, model: str, version: str = "") -> VersionFacts:
        """Also raises `ModelNotReady` for a version of which a tier is away."""
        facts = self.table.find(model, version).facts
        status = self.table.statuses(model).get(facts.version)
        if status is not None and status.state is not State.READY:
            raise ModelNotReady(
                f"model '{model}' version {facts.version} is not at ready state: {status.state} "
                f"({status.reason})"
            )
        return facts

    def ready_versions(self, model: str) -> Sequence[int]:
        statuses = self.table.statuses(model)
        return [
            version
            for version in sorted(self.table.versions(model))
            if version not in statuses or statuses[version].state is State.READY
        ]

    def all_facts(self) -> Sequence[VersionFacts]:
        return [
            served.facts
            for model in self.table.models
            for _, served in sorted(self.table.versions(model).items())
        ]

    def index(self) -> Sequence[Status]:
        return self.table.index()

    def not_ready(self, strict: bool) -> str:
        """Why this gateway is not ready; empty if it is.

        Until every tier that was named has taken requests once, it names the tier that has not. From then on
        it is ready, if `strict` while every model answers that there was then and that nobody has unloaded.
        """
        if self._required is None:
            return self._first_lacking() or "the gateway has not looked yet"
        if strict:
            for model in sorted(self._required):
                why = self._hindrance(model)
                if why:
                    return f"model '{model}' does not answer: {why}"
        return ""

    def _first_lacking(self) -> str:
        directory = self._directory
        standings = directory.standings()
        for stage in STAGES:
            if stage in directory.tiers and (why := lacking(stage, standings, directory.tiers)):
                named = [
                    f"{each.address}: {each.why}" for each in directory.everyone() if each.stage == stage
                ]
                said = "; ".join(named or [f"{place}: no address" for place in directory.places(stage)])
                return f"{why} ({said})"
        return ""

    def _hindrance(self, model: str) -> str:
        """Why a model does not answer; empty if it does, is gone, or was unloaded on purpose."""
        if model not in self.table.models or self.ready_versions(model):
            return ""
        statuses = self.table.statuses(model).values()
        reasons = [status.reason for status in statuses if status.reason != UNLOADED]
        return reasons[0] if reasons else ""

    async def news(self) -> None:
        """Wait until the tiers have said something more, and that has been acted on."""
        await self._news.wait()

    def check_live(self, model: str, version: int | None) -> None:
        """Raises `LoadFailed` or `LoadUnknown` unless what the tiers have of a model by now is live.

        version   the one that is meant; None for all that any tier has
        """
        standings, tiers = self._directory.standings(), self._directory.tiers
        statuses = self.table.statuses(model)
        meant = sorted(statuses if version is None else statuses.keys() & {version})
        for number in meant:
            key = (model, number)
            judged = judge(key, standings, tiers, None)  # whatever was live before the order
            for status in filter(None, (judged.status, statuses.get(number))):
                if status.reason not in ("", UNLOADED):
                    raise LoadFailed(model, number, status.reason)
        if not meant:
            raise LoadUnknown(model)

    async def hold(self) -> None:
        """Have the tiers keep what they are about to let go, while nothing else is live in its place.

        Until cancelled: the owner of the directory awaits this, too.
        """
        while True:
            await self._some_held.wait()
            standings = {each.address: each for each in self._directory.standings()}
            self._held = {
                key
                for key in self._held
                if (live := self._live.get(key)) is not None and leaving(key, live, list(standings.values()))
            }
            if not self._held:
                self._some_held.clear()
                continue
            holding = [
                self._hold_at(endpoint, standing)
                for endpoint in self._directory.endpoints()
                for standing in endpoint.standings
            ]
            await asyncio.gather(*holding)
            await asyncio.sleep(HOLD_EVERY_S)

    async def _hold_at(self, endpoint: Endpoint, standing: Standing) -> None:
        held = [
            key
            for key in self._held
            if (live := self._live.get(key)) is not None and leaving(key, live, [standing])
        ]
        if not held:
            return
        names = [pb.Held(model=model, version=version) for model, version in held]
        with suppress(*LOST):  # also of a release that cannot be held
            await endpoint.order(pb.ControlRequest(hold=pb.Hold(versions=names)), HOLD_EVERY_S)

    # The work.

    def look_now(self) -> None:
        """Act on all that the tiers have said up to now."""
        self._look()

    def _look(self) -> None:
        """Judge anew what something else is said of; all, where other processes are there than before."""
        self._looking = False
        if self._closing:
            return
        directory = self._directory
        standings = directory.standings()
        company = [(each.stage, each.address, each.ready) for each in standings]
        due, self._due = self._due, set()
        if company != self._company:
            self._company = company
            due |= {key for each in standings for key in each.versions} | self._live.keys()
        for model, version in sorted(due, key=_in_order):
            if version is not None:
                self._judge((model, version), standings)
        self._take_back([key for key in due if key[1] is not None], standings)
        for model in {model for model, _ in due}:
            self._let_go(model, standings)
        self._fit_ensembles()
        for model in {model for model, _ in due}:
            self._know(model, standings)
        if self._required is None and directory.tiers and not self._first_lacking():
            self._required = frozenset(self.table.models)
            self.complete.set()
        self._news.set()
        self._news = asyncio.Event()

    def _judge(self, key: Key, standings: Sequence[Standing]) -> None:
        """Bring one version to what the tiers say of it."""
        before = self._live.get(key)
        judged = judge(key, standings, self._directory.tiers, before)
        now, status = judged.live, judged.status
        if now is not None and before is None and self._is_superseded(key, now, standings):
            now, status = None, Status(*key, State.UNAVAILABLE, UNLOADED, time())
        if now is None:
            self._live.pop(key, None)
            self._withdraw(key)
        elif before is None or before.content != now.content:
            try:
                self._take_up(key, now, standings)
            except Unusable as why:
                now = None
                self._live.pop(key, None)
                self._withdraw(key)
                status = Status(*key, State.UNAVAILABLE, str(why), time())
        if now is not None:
            self._live[key] = now
            if key in self._gates:
                self._gates[key].lacks = now.lacks
        if key in self._ensembles:  # what is said of it depends on its members, too
            return
        if status is not None:
            self._note(status)
        else:
            self.table.drop(*key)

    def _let_go(self, model: str, standings: Sequence[Standing]) -> None:
        """Do without the versions that are leaving, now that others are live."""
        for version in list(self.table.versions(model)):
            key = (model, version)
            live = self._live.get(key)
            if live is not None and self._is_superseded(key, live, standings):
                del self._live[key]
                self._withdraw(key)
                self._note(Status(*key, State.UNAVAILABLE, UNLOADED, time()))
            elif live is not None and leaving(key, live, standings):
                self._held.add(key)
                self._some_held.set()

    def _is_superseded(self, key: Key, live: Live, standings: Sequence[Standing]) -> bool:
        """Whether it is to leave, and another version of its model is there to stay."""
        if not is_leaving(key, live, standings):
            return False
        model, version = key
        return any(
            (other := self._live.get((model, number))) is not None
            and other.lacks is None
            and not is_leaving((model, number), other, standings)
            for number in self.table.versions(model)
            if number != version
        )

    def _take_back(self, keys: Collection[tuple[str, int | None]], standings: Sequence[Standing]) -> None:
        """Have every process take back what one of them has. Each is told once."""
        endpoints = self._directory.endpoints()
        self._told_back = {
            each for each in self._told_back if any(each[0] == one.instance for one in endpoints)
        }
        for model, version in keys:
            assert version is not None
            for content, why in taken_back((model, version), standings).items():
                order = pb.TakeBack(model=model, version=version, content=content, reason=why)
                for endpoint in endpoints:
                    told = (endpoint.instance, (model, version), content)
                    has = any(able(each, (model, version), content) for each in endpoint.standings)
                    if has and endpoint.instance and told not in self._told_back:
                        self._told_back.add(told)
                        self._tasks.create_task(self._take_back_at(endpoint, order, told))

    async def _take_back_at(self, endpoint: Endpoint, order: pb.TakeBack, told: tuple[str, Key, str]) -> None:
        """One that cannot be told is told when it next says something of the version."""
        log.warning(
            "taken_back_elsewhere", address=endpoint.address, model=order.model, version=order.version
        )
        try:
            await endpoint.order(pb.ControlRequest(take_back=order), TAKEN_BACK_WITHIN_S)
        except LOST as failure:
            log.warning("order_failed", address=endpoint.address, reason=why_lost(failure))
            self._told_back.discard(told)

    def _take_up(self, key: Key, live: Live, standings: Sequence[Standing]) -> None:
        """Serve a content that is live now. Raises `Unusable`."""
        reports = {
            stage: report
            for stage in live.stages or ENSEMBLE_STAGES
            for each in standings
            if each.stage == stage and (report := able(each, key, live.content)) is not None
        }
        facts = facts_of(reports, self.table.find)
        content = Content(live.content)
        self._gates.pop(key, None)
        if facts.config.ensemble is not None:
            self._ensembles[key] = (facts, content)
            self._withdraw_served(key)
            return
        self._ensembles.pop(key, None)
        gate = self._gates[key] = Gate(facts, self._queue(facts, live))
        self._serve(RemoteVersion(facts=facts, content=content, queue=gate, route=live.stages))

    def _queue(self, facts: VersionFacts, live: Live) -> Sender:
        signature = facts.signature
        way = Way(
            route=live.stages,
            model=facts.model,
            version=facts.version,
            content=live.content,
            stacked=not signature.max_batch_size,
            row_bytes=row_bytes_of(signature),
            max_rows=PARCEL_ROWS,
            hedge_ms=hedge_ms_of(live.stages, facts.config),
        )
        sender = partial(
            Sender,
            way,
            tally=facts.tally,
            max_waiting=self._max_waiting,
            budget=self._budget,
            hedges=self.hedges,
            fit=partial(as_seen, facts) if "post" in live.stages else None,
            patience_s=BACK_WITHIN_S,
        )
        return by_key(way, self._directory, sender)

    def _serve(self, served: Served) -> None:
        facts = served.facts
        replaced = self.table.serve(served)
        log.info("version_live", model=facts.model, version=facts.version, content=served.content.whole[:16])
        self._tell(What.READY, served)
        if replaced is not None:
            self._tell(What.SWAPPED, replaced)
            self._retire(replaced)

    def _tell(self, what: What, served: Served) -> None:
        self._events.tell(what, served.facts.model, served.facts.version, served.content.whole)

    def _withdraw(self, key: Key) -> None:
        self._ensembles.pop(key, None)
        self._withdraw_served(key)

    def _withdraw_served(self, key: Key) -> None:
        self._gates.pop(key, None)
        served = self.table.withdraw(*key)
        if served is not None:
            log.info("version_withdrawn", model=key[0], version=key[1])
            self._tell(What.UNLOADED, served)
            self._retire(served)

    def _retire(self, served: Served) -> None:
        """Requests that have found it end on it."""
        self._tasks.create_task(served.retire(self._retire_within_s))

    def _fit_ensembles(self) -> None:
        """Serve those whose members serve, and no others. One may be a member of the next."""
        changed = True
        while changed:
            changed = False
            for key in self._ensembles:
                changed |= self._fit_ensemble(key)

    def _fit_ensemble(self, key: Key) -> bool:
        """Whether that has changed anything."""
        facts, content = self._ensembles[key]
        ensemble = facts.config.ensemble
        assert ensemble is not None
        why = self._dependencies.hindrance(facts.config)
        serves = key[1] in self.table.versions(key[0])
        if why and serves:
            self._withdraw_served(key)
        elif not why and not serves:
            self._serve(
                EnsembleVersion(
                    facts=facts, content=content, ensemble=ensemble, max_in_flight=self._max_in_flight
                )
            )
        self._note(Status(*key, State.UNAVAILABLE if why else State.READY, why, time()))
        return bool(why) == serves

    def _know(self, model: str, standings: Sequence[Standing]) -> None:
        """What the index says of a model as a whole; nothing once no tier speaks of it."""
        whole = [(each, report) for each in standings if (report := each.versions.get((model, None)))]
        problem = next(
            (
                Status(
                    model, None, report.state, f"the {each.stage} tier says: {report.reason}", report.since
                )
                for each, report in whole
                if report.reason
            ),
            None,
        )
        if whole or self.table.statuses(model):
            self.table.know(model, problem)
        else:
            self.table.forget(model)

    def _note(self, status: Status) -> None:
        """Have the index say so; what does not go there in one move is shown to leave first."""
        assert status.version is not None
        known = self.table.statuses(status.model).get(status.version)
        before = known.state if known is not None else State.UNKNOWN
        if known is not None and (known.state, known.reason) == (status.state, status.reason):
            return
        if status.state not in LEGAL[before]:
            passing = State.UNLOADING if State.UNLOADING in LEGAL[before] else State.LOADING
            self.table.note(replace(status, state=passing))
        self.table.note(status)


def _in_order(key: tuple[str, int | None]) -> tuple[str, int]:
    model, version = key
    return model, version or 0

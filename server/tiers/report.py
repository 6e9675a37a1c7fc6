"""What this process tells of itself: the versions that it has, out of its own table, as they change.

Only what has changed is looked at, and only what is new is told. A listener hears everything first, then
what changes, and a sign of life where nothing does.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic_ns, time
from typing import NamedTuple
from uuid import uuid4

from server.domain.errors import StreamsFull
from server.domain.offer import ModelOffer, Offers, content_of
from server.domain.phase import Phase, Station
from server.domain.stage import StageName
from server.domain.state import Status
from server.domain.tier import TierReport, VersionReport
from server.lifecycle.ensemble import read_labels
from server.lifecycle.idle import IdleVersion
from server.lifecycle.parts import is_ensemble
from server.lifecycle.served import Served
from server.lifecycle.table import Table
from server.observe.demand import saturations
from server.tiers import describing

SIGN_OF_LIFE_S = 2.0
LOOK_OVER_S = 10.0
"""Between two looks at everything: the instances of a version change without a word."""

AT_ONCE = 16
"""Models that are looked at in one go."""

MOST_LISTENERS = 256

Key = tuple[str, int | None]
Versions = Mapping[int | None, VersionReport]


class _Made(NamedTuple):
    """A report and what it was made of: made again only where one of these is another thing."""

    status: Status
    facts: object
    offered: str
    resident: bool
    report: VersionReport


class Reports:
    """Lives on the event loop. `run` is its owner's task; nothing is told that it has not looked at.

    stage       the one that is done here; None for all of them
    table       tells of whatever changes in it
    lingers     whether a version is to leave, and is kept for a while
    taken_back  the content of a version that was taken back here; empty for none
    """

    def __init__(
        self,
        stage: StageName | None,
        table: Table,
        station: Station,
        lingers: Callable[[str, int], bool] = lambda model, version: False,
        taken_back: Callable[[str, int], str] = lambda model, version: "",
    ) -> None:
        self._instance = uuid4().hex
        self._stage = stage
        self._table = table
        self._station = station
        self._lingers = lingers
        self._taken_back = taken_back
        self._offers: Offers = {}
        self._wanted: frozenset[str] = frozenset()
        self._stages: dict[str, tuple[StageName, ...]] = {}
        self._known: dict[str, Versions] = {}
        self._told: dict[Key, tuple[int, VersionReport]] = {}
        self._made: dict[Key, _Made] = {}
        self._gone: set[Key] = set()
        self._last = 0
        self._ended = False
        self._changed: set[str] = set()
        self._work = asyncio.Event()
        self._listeners: dict[asyncio.Event, int] = {}
        table.watch(self._note)

    def learn(self, offers: Offers, wanted: Iterable[str]) -> None:
        """What is offered from now on, with all its stages, and which of the names are to be served."""
        wanted = frozenset(wanted)
        before, self._offers = self._offers, offers
        self._changed.update(
            name for name in before.keys() | offers.keys() if before.get(name) is not offers.get(name)
        )
        self._changed.update(self._wanted ^ wanted)
        self._wanted = wanted
        serving = {served.content.whole for served in self._serving()}
        self._stages = {content: self._stages[content] for content in serving & self._stages.keys()} | {
            content_of(offer, version): version.stages
            for offer in offers.values()
            for version in offer.versions.values()
        }
        self._work.set()

    def look(self) -> None:
        """The station has moved: everybody is told at once."""
        for listener in self._listeners:
            listener.set()

    def end(self) -> None:
        """This process is to leave: who listens hears that, and nothing more."""
        self._ended = True
        self.look()

    async def run(self) -> None:
        """Look at what changes, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_OVER_S):
                    await self._work.wait()
            except TimeoutError:
                self._changed.update(self._table.models)
            await self._look_at_changes()

    async def _look_at_changes(self) -> None:
        self._work.clear()
        changed, self._changed = self._changed, set()
        before = self._last
        for at, model in enumerate(sorted(changed)):
            self._tell(model, await self._versions(model))
            if at % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)  # requests go before reports
        if self._last > before:
            self.look()
        self._forget_the_gone()

    async def listen(self) -> AsyncGenerator[TierReport, None]:
        """Everything, then what changes, and a last word once it is to leave. Raises `StreamsFull`."""
        if len(self._listeners) >= MOST_LISTENERS:
            raise StreamsFull(f"{MOST_LISTENERS} gateways and tiers watch this process already")
        news = asyncio.Event()
        self._listeners[news] = self._last
        try:
            if not self._ended:
                known = [each for versions in self._known.values() for each in versions.values()]
                yield self._report(whole=True, versions=known)
            while not self._ended:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SIGN_OF_LIFE_S):
                        await news.wait()
                news.clear()
                versions = self._since(self._listeners[news])
                self._listeners[news] = self._last
                if not self._ended:
                    yield self._report(whole=False, versions=versions)
            yield self._report(whole=False, versions=())
        finally:
            del self._listeners[news]
            self._forget_the_gone()

    def _report(self, *, whole: bool, versions: Sequence[VersionReport]) -> TierReport:
        measures = [served.facts.tally.measure for served in self._serving()]
        return TierReport(
            instance=self._instance,
            stage=self._stage,
            whole=whole,
            versions=tuple(versions),
            saturation=max(saturations(measures, monotonic_ns()), default=0.0),
            ready=self._station.phase is Phase.SERVING,
            leaving=self._ended,
        )

    def _serving(self) -> Iterable[Served]:
        for model in self._table.models:
            yield from self._table.versions(model).values()

    def _since(self, heard: int) -> list[VersionReport]:
        """What was told after this; the latest is at the end of all."""
        news = []
        for number, report in reversed(self._told.values()):
            if number <= heard:
                break
            news.append(report)
        return news[::-1]

    def _note(self, model: str) -> None:
        self._changed.add(model)
        self._work.set()

    def _tell(self, model: str, versions: Versions) -> None:
        """This is all that there is of a model by now."""
        before = self._known.get(model, {})
        for version in before.keys() - versions.keys():
            self._made.pop((model, version), None)
            self._put(VersionReport(model=model, version=version, gone=True))
        for version, report in versions.items():
            if before.get(version) != report:
                self._put(report)
        self._known[model] = versions
        if not versions:
            del self._known[model]

    def _put(self, report: VersionReport) -> None:
        self._last += 1
        key = (report.model, report.version)
        self._told.pop(key, None)
        self._told[key] = (self._last, report)
        if report.gone:
            self._gone.add(key)
        else:
            self._gone.discard(key)

    def _forget_the_gone(self) -> None:
        """What all who listen have heard of need not be kept."""
        heard = min(self._listeners.values(), default=self._last)
        for key in [key for key in self._gone if self._told[key][0] <= heard]:
            self._gone.discard(key)
            del self._told[key]

    async def _versions(self, model: str) -> Versions:
        """All that there is to say of a model."""
        offer = self._offers.get(model)
        if self._stage == "predict" and offer is not None and is_ensemble(offer):
            return await self._ensembles(offer)
        problem = self._table.problem(model)
        statuses = dict(self._table.statuses(model))
        told: dict[int | None, VersionReport] = {
            version: replace(
                self._version(offer, status),
                leaving=self._lingers(model, version),
                taken_back=self._taken_back(model, version),
            )
            for version, status in statuses.items()
        }
        if not told and problem is not None:
            told[None] = describing.waiting(problem, "", ())
        return told

    def _version(self, offer: ModelOffer | None, status: Status) -> VersionReport:
        model, version = status.model, status.version
        assert version is not None
        served = self._table.versions(model).get(version)
        if served is not None:
            content = served.content.whole
        else:
            offered = offer.versions.get(version) if offer is not None else None
            content = content_of(offer, offered) if offer is not None and offered is not None else ""
        facts = served.facts if served is not None else None
        made = self._made.get((model, version))
        resident = served is not None and not isinstance(served, IdleVersion)
        if (
            made is not None
            and made.status is status
            and made.facts is facts
            and made.offered == content
            and made.resident == resident
        ):
            return made.report
        stages = self._stages.get(content, ())
        if served is None:
            report = describing.waiting(status, content, stages)
        else:
            report = describing.serving(status, served, stages)
        self._made[model, version] = _Made(status, facts, content, resident, report)
        return report

    async def _ensembles(self, offer: ModelOffer) -> Versions:
        """An ensemble is told of as soon as it is wanted: nothing of it is to be loaded here."""
        config = offer.config
        if config is None or offer.problem or offer.name not in self._wanted:
            return {}
        labels, problem = await asyncio.to_thread(read_labels, config, offer.labels)
        before = self._known.get(offer.name, {})
        told: dict[int | None, VersionReport] = {}
        for number, version in offer.versions.items():
            content = content_of(offer, version)
            known = before.get(number)
            since = known.since if known is not None and known.content == content else time()
            told[number] = describing.ensemble(config, version, content, since, labels, problem)
        return told

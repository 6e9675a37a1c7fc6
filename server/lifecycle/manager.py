"""Makes the wanted versions so: loads what is missing, swaps what changed, retires what is left over.

The manager is told the whole wanted set, whoever decides it (a watch, an explicit call, a list in
a test), and works towards it model by model; models do not wait for each other. Loads are done in
threads, never more than `load_threads` at once. What cannot be loaded is noted and left alone until
its content changes, or tried again after a while where the machine was to blame and not the content; what
serves goes on serving until its successor is ready. An ensemble waits for its members to be tried, and serves
for as long as all of them do.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from runtimes.worker.news import News, Out
from server.domain.backoff import BackOff
from server.domain.catalogue import VersionFacts
from server.domain.errors import LoadFailed, LoadUnknown, ServingError
from server.domain.event import What
from server.domain.history import SERVER_ENDED
from server.domain.offer import ModelOffer, Offers, VersionOffer
from server.domain.state import UNLOADED, State, Status
from server.lifecycle.arrivals import Arrivals
from server.lifecycle.attempts import Attempts, Refusal
from server.lifecycle.departures import Departures
from server.lifecycle.dependencies import Dependencies
from server.lifecycle.events import Chronicle
from server.lifecycle.examination import Examination
from server.lifecycle.failures import Failures
from server.lifecycle.idle import IdleVersion
from server.lifecycle.instances import made_of
from server.lifecycle.labels import Labels
from server.lifecycle.loader import Loader
from server.lifecycle.prepared import PreparedModels
from server.lifecycle.residence import Acts, Residence
from server.lifecycle.retries import Retries
from server.lifecycle.rules import Rules
from server.lifecycle.schedules import Schedules
from server.lifecycle.served import Served
from server.lifecycle.standbys import Origin, Policy, Standbys
from server.lifecycle.table import Table
from server.lifecycle.taking_back import TakingBack
from server.lifecycle.telling import Telling
from server.lifecycle.trials import Trials
from server.lifecycle.version import ServedVersion
from server.lifecycle.wishes import Wishes, leftovers, staying

log = structlog.get_logger(__name__)


class Manager:
    """The lifecycle of every model. Entered once; leaving it retires everything.

    It is also the catalogue (`server.domain.catalogue`) that the doors ask.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        load_threads: int,
        retire_within_s: float,
        retries: int = 0,
        max_in_flight: int = 1024,
        back_off: BackOff | None = None,
        trials: Trials | None = None,
        quarantine_s: float = 300.0,
        events: Chronicle | None = None,
        labels_kept: Path | None = None,
        rollback: Policy | None = None,
        rules: Rules | None = None,
        same_content: Callable[[VersionOffer], bool] = lambda _: False,
        prepared: PreparedModels | None = None,
        is_serving: Callable[[], bool] = lambda: True,
        table: Table | None = None,
        examination: Examination | None = None,
    ) -> None:
        """`max_in_flight` requests of each ensemble may be under way. With `trials`, which leaving closes,
        a version is tried elsewhere before it is loaded here. What happens is told to `events`;
        `labels_kept` is a file for what calls say of labels. Without `rollback`, no version is taken back.
        One whose process crashed too often is left alone for `quarantine_s`. Who is in memory follows
        `rules`; `same_content` tells whether files that were touched hold what was
        offered. What leaves is `prepared` for a quick return, where there is a place for it. While it
        `is_serving`, loads leave a processor to the event loop. `table` is there if the way of requests
        is built first, by which the `examination` asks ensembles their examples.
        """
        self.table = Table() if table is None else table
        self.events = events or Chronicle()
        dependencies = self._dependencies = Dependencies(self.table)
        wishes = self._wishes = Wishes(self.table, dependencies)
        telling = self._telling = Telling(self.table, self.events)
        self.labels = Labels(self.table, self.events, wishes.labels, labels_kept)
        self.schedules = Schedules(self.table, wishes.scheduling)
        self._loader = loader
        self._retire_within_s = retire_within_s
        self._quarantine_s = quarantine_s
        attempts = self._attempts = Attempts(
            loader,
            self.table.find,
            threads=load_threads,
            retries=retries,
            max_in_flight=max_in_flight,
            trials=trials,
            same_content=same_content,
            prepared=prepared,
            is_serving=is_serving,
            examination=examination,
        )
        self._failures = Failures(Retries(_later, back_off or BackOff()), self._due, self.events)
        self.standbys = Standbys(
            rollback or Policy(),
            retire=lambda served, why: self._departures.retire(served, why=why),
            fail=lambda probation, why: self._taking_back.take_back(probation, why),
        )
        self.residence = Residence(
            loader,
            attempts,
            self.table,
            wishes,
            self.standbys,
            telling,
            rules or Rules(),
            Acts(
                start=self._start,
                serve=self._serve_again,
                clear_away=lambda served: self._departures.clear_away(served),
                refused=self._lost,
            ),
            same_content,
            prepared if trials is not None else None,
        )
        self._departures = Departures(
            self.table,
            wishes,
            self.residence,
            self.standbys,
            self._failures,
            telling,
            start=self._start,
            left=self._tell_ensembles,
            within_s=retire_within_s,
        )
        self._arrivals = Arrivals(
            self.table,
            wishes,
            attempts,
            self.residence,
            telling,
            start=self._start,
            give_way=self._departures.give_way,
            put_back=self._put_back,
        )
        self._taking_back = TakingBack(
            self.table,
            wishes,
            self.standbys,
            self._arrivals,
            self._departures,
            self._failures,
            self.residence,
            telling,
            self.events,
            admit=self._admit,
            lost=self._quarantine,
            start=self._start,
            changed=self._tell_ensembles,
        )
        self._tasks = asyncio.TaskGroup()
        self._locks: dict[str, asyncio.Lock] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        if self.residence.rules.idle_unload_s:
            self._sweeping = self._tasks.create_task(self.residence.unload_idle(), name="unload idle")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wishes.is_over = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._attempts.close()
        patience = asyncio.get_running_loop().call_later(self._retire_within_s, self._attempts.give_up)
        if error is None:  # else the process is going at once, and there is nothing to be orderly about
            self.standbys.close()
            for model in self.table.models:
                self._departures.unload(model, self.table.versions(model), SERVER_ENDED)
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            patience.cancel()
            self.residence.warming.close()

    def apply(self, offers: Offers, wanted: Iterable[str]) -> None:
        """What the repositories offer now, and which of the names are to be served. Returns at once."""
        known = self._wishes.offers
        changed = self._wishes.learn(offers, wanted)
        for model in offers.keys() - known.keys():
            self.table.know(model)
        for model in changed:  # a trial of what has been mended since, or is to be unloaded, is over
            self._attempts.abandon(model, self._wishes.contents(model))
            if model in offers:
                self._telling.seen(offers[model])
            self.labels.refresh(model)
        for model in changed | self._dependencies.all_over(changed):
            self._begin(model)

    async def settle(self, model: str) -> None:
        """Wait until a model is as wanted, if it can be. A caller who leaves does not stop the work."""
        await asyncio.shield(self._begin(model))

    async def settled(self, model: str, asked: int | None = None) -> None:
        """Wait until a model is as wanted. Raises `LoadUnknown` or `LoadFailed` if it could not be.

        What failed before is tried again, once for all who ask at the same time. Where one version is
        `asked` for, what becomes of the others is not told.
        """
        for version in self.table.statuses(model):
            if asked in (None, version):
                self._failures.overlook(model, version)
        await self.settle(model)
        problem = self.table.problem(model)
        if problem is not None:
            raise LoadUnknown(model, problem.reason)
        offer = self._wishes.offers.get(model)
        offered = offer.versions.keys() | offer.broken.keys() if offer else frozenset()
        for version in sorted(offered if asked is None else offered & {asked}):
            status = self.table.statuses(model).get(version)
            if status is not None and status.reason and status.reason != UNLOADED:
                raise LoadFailed(model, version, status.reason)
            try:
                await self.residence.brought(model, version)
            except ServingError as error:
                raise LoadFailed(model, version, str(error)) from None

    async def all_settled(self) -> None:
        """Wait until every model was tried."""
        async with asyncio.TaskGroup() as group:
            for model in list(self._wishes.offers):
                group.create_task(self.settle(model))

    def ready(self, strict: bool) -> bool:
        """Whether the models serve that were wanted at the start, and still are."""
        return self._wishes.ready(strict)

    # The catalogue.

    def facts(self, model: str, version: str = "") -> VersionFacts:
        return self.table.find(model, version).facts

    def ready_versions(self, model: str) -> Sequence[int]:
        return sorted(self.table.versions(model))

    def all_facts(self) -> Sequence[VersionFacts]:
        return [
            served.facts
            for model in self.table.models
            for _, served in sorted(self.table.versions(model).items())
        ]

    def index(self) -> Sequence[Status]:
        return [
            replace(status, loaded=False) if self._is_idle(status) else status
            for status in self.table.index()
        ]

    def _is_idle(self, status: Status) -> bool:
        return isinstance(self.table.versions(status.model).get(status.version or 0), IdleVersion)

    # The work.

    def _begin(self, model: str) -> asyncio.Task[None]:
        return self._tasks.create_task(self._settle(model), name=f"settle {model}")

    async def _settle(self, model: str) -> None:
        """Bring one model to what is wanted of it by now; one at a time for each model."""
        await self._members_tried(model)
        async with self._locks.setdefault(model, asyncio.Lock()):
            offer = self._wishes.offers.get(model)
            if self._wishes.is_over:
                return
            if offer is None:
                self._departures.unload(model, self.table.versions(model))
                for version in list(self.table.statuses(model)):
                    self._departures.drop(model, version)
                self.table.forget(model)
                self.events.forget(model)
                self.standbys.forget(model)
                self._taking_back.overcome(model)
            elif not self._wishes.has(model):
                self.table.know(model)
                self._departures.unload(model, self.table.versions(model))
                self._departures.put_away(model, UNLOADED)
            elif offer.problem:
                self._report(offer)
            else:
                self.table.know(model)
                for version, reason in offer.broken.items():
                    self._telling.failed(model, version, reason)
                async with asyncio.TaskGroup() as group:
                    for version_offer in offer.versions.values():
                        group.create_task(self._load(offer, version_offer))
                self._retire_leftovers(offer)

    async def _members_tried(self, model: str) -> None:
        """Wait until what an ensemble needs is as wanted, if it can be. Holds no lock while it waits."""
        if self._wishes.has(model) and not self._dependencies.circle(model):
            for member in self._dependencies.members(model) & self._wishes.offers.keys():
                await self.settle(member)

    def _tell_ensembles(self, model: str) -> None:
        """Other versions of a model serve now: ensembles that cannot serve over these go at once."""
        if self._wishes.is_over:
            return
        for ensemble in self._dependencies.over({model}):
            for version, served in list(self.table.versions(ensemble).items()):
                why = self._dependencies.hindrance(served.facts.config)
                if why:
                    self._departures.withdraw(ensemble, version, why)
            for version in self.table.statuses(ensemble):  # over these, an example may be answered right
                self._failures.overlook(ensemble, version)
            self._begin(ensemble)

    def _report(self, offer: ModelOffer) -> None:
        """A model that cannot be served as it stands. A bad edit does not stop what serves already."""
        if offer.one_by_one:  # somebody had a version unloaded, whatever else is wrong
            kept = offer.versions.keys() | offer.unsettled
            self._departures.unload(offer.name, self.table.versions(offer.name).keys() - kept)
        serving = self.table.versions(offer.name)
        self._telling.unservable(offer.name, offer.problem)
        if offer.config is None:
            for version in serving:
                self._telling.note(
                    offer.name, version, State.READY, f"serving what it was before: {offer.problem}"
                )
        else:
            self._departures.unload(offer.name, serving, offer.problem)
        self._departures.put_away(offer.name, offer.problem)

    async def _load(self, offer: ModelOffer, version: VersionOffer) -> None:
        """Load one version, unless the same content serves or has failed already."""
        model, number = offer.name, version.version
        content = made_of(offer, version)
        serving = self.table.versions(model).get(number)
        hindrance = self._dependencies.hindrance(offer.config)
        if serving is not None and serving.content.whole == content.whole:
            if hindrance:  # what it needs has left while it was loaded
                self._departures.withdraw(model, number, hindrance)
            else:
                self._telling.note(model, number, State.READY)
            return
        failed = self._failures.why(model, number, content.whole)
        if failed:
            self._telling.failed(model, number, failed, content.whole)
            return
        if self._wishes.is_over:
            return
        if hindrance:
            self._telling.failed(model, number, hindrance, content.whole)
            return
        if isinstance(serving, ServedVersion) and self._loader.resize(serving, offer, content):
            self._failures.forgive(model, number)
            self.residence.stays.resized(serving, offer)
            self._telling.note(model, number, State.READY)
            log.info("version_resized", model=model, version=number, instances=serving.instances)
            self.events.tell(What.RESIZED, model, number, content.whole, f"{serving.instances} instances")
            return
        before = self._taking_back.before(model, number)
        if serving is None:
            self._telling.note(model, number, State.LOADING)
        served = await self._arrivals.come(offer, version, content)
        if isinstance(served, Refusal):
            self._refused(model, number, content.whole, served)
            return
        self._failures.forgive(model, number)
        if self._wishes.is_over:
            self._departures.retire(served)
            return
        hindrance = self._dependencies.hindrance(offer.config)
        if hindrance:  # what it needs has left meanwhile
            self._departures.clear_away(served)
            self._telling.failed(model, number, hindrance, content.whole)
            return
        if number not in self.table.versions(model):  # what it was to replace may have been withdrawn
            self._telling.note(model, number, State.LOADING)
        replaced = self._serve(served)
        self._taking_back.put_on_probation(served, before, replaced, Origin(offer, version))
        self._tell_ensembles(model)

    def _serve(self, served: Served) -> Served | None:
        """From now on requests reach this one; what it replaces comes back, to be retired or kept."""
        self._admit(served)
        replaced = self.table.serve(served)
        self._telling.ready(served, replaced)
        return replaced

    def _serve_again(self, loaded: ServedVersion) -> None:
        """What was idle is in memory."""
        self._serve(loaded)
        self.standbys.loaded(loaded)

    def _admit(self, served: Served) -> None:
        """Make ready what is to stand in the table."""
        if isinstance(served, ServedVersion):
            self.schedules.hold(served)
            served.watch(self._hear_of_worker)

    def _lost(self, idle: IdleVersion, refusal: Refusal) -> None:
        """An idle version could not be loaded when it was asked for."""
        model, version = idle.facts.model, idle.facts.version
        self._departures.withdraw(model, version, refusal.why)
        self._refused(model, version, idle.content.whole, refusal)

    def _put_back(self, idle: IdleVersion, successor: int) -> None:
        """What went first for a successor that could not be loaded stands there again."""
        model, version = idle.origin.key
        failed = self.table.statuses(model).get(successor)
        why = failed.reason if failed is not None else ""
        self._telling.note(model, version, State.LOADING)
        self._serve(idle)
        before = "what it was before" if version == successor else f"again, as version {successor} does not"
        self._telling.note(model, version, State.READY, f"serving {before}: {why}")
        log.warning("version_put_back", model=model, version=version, successor=successor, reason=why)
        self._tell_ensembles(model)

    def _refused(self, model: str, version: int, content: str, refusal: Refusal) -> None:
        """This content did not come up."""
        why = self._failures.note(model, version, content, refusal, content in self._wishes.contents(model))
        if not refusal.abandoned:
            self._telling.failed(model, version, why, content)
            return
        self._telling.abandoned(model, version, content, why)

    def _hear_of_worker(self, served: ServedVersion, news: News) -> None:
        """The process that a version's model runs in has ended, is back, or has ended once too often.

        Then the version goes. What served before takes its place if it is on probation; else it comes back
        as a failed one does: with other content, by a load call, or after a while. What is ready at the start
        does not hang on it any more: it is this model's trouble alone.
        """
        model, version = served.facts.model, served.facts.version
        if self._wishes.is_over:
            return
        if isinstance(news, Out) and self.standbys.stands_by(model) is served:
            self.standbys.evict(model, news.why)
        if self.table.versions(model).get(version) is not served:
            return
        if not isinstance(news, Out):
            self._telling.worker(served)
        elif not self.standbys.condemn(served, news.why):
            self._quarantine(served, news.why)

    def take_back(self, model: str, version: int, content: str, why: str) -> None:
        """Another process has taken this content back. Done here as there, if what was before is at hand;
        nothing is done where it does not serve.
        """
        served = self.table.versions(model).get(version)
        if served is None or served.content.whole != content:
            return
        if not self.standbys.condemn(served, why):
            log.warning("version_not_taken_back", model=model, version=version, reason=why)

    def taken_back(self, model: str, version: int) -> str:
        """The content of a version that was taken back, and that nobody has brought in again; or empty."""
        served = self.table.versions(model).get(version)
        content = self.standbys.taken_back(model, version)
        return "" if served is not None and served.content.whole == content else content

    def _quarantine(self, served: Served, why: str) -> None:
        """Its process has ended too often, and nothing takes its place."""
        model, version = served.facts.model, served.facts.version
        if self._wishes.is_over or self.table.versions(model).get(version) is not served:
            return
        log.error("version_quarantined", model=model, version=version, reason=why)
        self._wishes.excuse(model)
        self._departures.withdraw(model, version, why, what=What.QUARANTINED)
        self._failures.quarantine(model, version, served.content.whole, why, self._quarantine_s)

    def _due(self, model: str) -> None:
        """A version that failed for a reason that may have passed is to be tried again, if it is wanted."""
        if not self._wishes.is_over:
            self._begin(model)

    def _retire_leftovers(self, offer: ModelOffer) -> None:
        """What is not wanted any more goes, and what failed of it is told of no more."""
        restored = self._taking_back.restored(offer.name)
        for version in leftovers(offer, self.table.versions(offer.name).keys(), restored):
            self._taking_back.overcome(offer.name)
            self._departures.withdraw(offer.name, version, may_stand_by=not offer.one_by_one)
        wanted = staying(offer)
        for version, status in list(self.table.statuses(offer.name).items()):
            if status.state is not State.UNAVAILABLE or version in wanted:
                continue
            if version not in offer.on_disk:
                self._departures.drop(offer.name, version)
            elif offer.one_by_one:  # it had failed, and is not to be served any more
                self._failures.forgive(offer.name, version)
                self._telling.note(offer.name, version, State.UNAVAILABLE, UNLOADED)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.create_task(work, name=name)


def _later(seconds: float, due: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, due)

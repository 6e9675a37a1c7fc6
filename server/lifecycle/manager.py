"""Makes the wanted versions so: loads what is missing, swaps what changed, retires what is left over.

The manager is told the whole wanted set, whoever decides it (a watch, an explicit call, a list in
a test), and works towards it model by model; models do not wait for each other. Loads are done in
threads, never more than `load_threads` at once. What cannot be loaded is noted and left alone until
its content changes, or tried again after a while where the machine was to blame and not the content; what
serves goes on serving until its successor is ready. An ensemble waits for its members to be tried, and serves
for as long as all of them do.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any, Self

import structlog

from runtimes.worker.news import News, Out
from server.domain.backoff import BackOff
from server.domain.catalogue import VersionFacts
from server.domain.errors import LoadFailed, LoadUnknown, ServingError
from server.domain.event import What
from server.domain.history import SERVER_ENDED
from server.domain.labels import NO_PINS
from server.domain.offer import ModelOffer, Offers, VersionOffer, content_of
from server.domain.scheduling import UNSAID, Scheduling
from server.domain.state import UNLOADED, VERIFYING, State, Status
from server.lifecycle.arrival import Arrival
from server.lifecycle.attempts import Attempts, Refusal, Verified
from server.lifecycle.dependencies import Dependencies
from server.lifecycle.events import Chronicle, counts_of
from server.lifecycle.failures import Failures
from server.lifecycle.idle import IdleVersion
from server.lifecycle.instances import Content
from server.lifecycle.labels import Labels
from server.lifecycle.loader import Loader
from server.lifecycle.prospect import Prospect
from server.lifecycle.residence import Acts, Residence, Rules
from server.lifecycle.retries import Retries
from server.lifecycle.schedules import Schedules
from server.lifecycle.served import Served
from server.lifecycle.standbys import Origin, Policy, Probation, Standbys
from server.lifecycle.table import Table
from server.lifecycle.trials import Trials
from server.lifecycle.version import ServedVersion

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
    ) -> None:
        """`max_in_flight` requests of each ensemble may be under way. With `trials`, which leaving closes,
        a version is tried elsewhere before it is loaded here. What happens is told to `events`;
        `labels_kept` is a file for what calls say of labels. Without `rollback`, no version is taken back.
        One whose process crashed too often is left alone for `quarantine_s`. Who is in memory follows
        `rules`; `same_content` tells whether files that were touched hold what was
        offered.
        """
        self.table = Table()
        self.events = events or Chronicle()
        self.labels = Labels(self.table, self.events, self._labelled, labels_kept)
        self.schedules = Schedules(self.table, self._configured)
        self._dependencies = Dependencies(self.table)
        self._loader = loader
        self._retire_within_s = retire_within_s
        self._back_off = back_off or BackOff()
        self._attempts = Attempts(
            loader,
            self.table.find,
            threads=load_threads,
            retries=retries,
            max_in_flight=max_in_flight,
            trials=trials,
            same_content=same_content,
        )
        self.residence = Residence(
            loader,
            self._attempts,
            self.table,
            self.events,
            rules or Rules(),
            Acts(
                start=self._start,
                serve=self._serve_again,
                clear_away=self._clear_away,
                standby=lambda model: self.standbys.stands_by(model),
                evict_standby=lambda model: self.standbys.evict(model),
                refused=self._lost,
                sharers=lambda: self._sharers,
                is_over=lambda: self._closing,
            ),
            same_content,
        )
        self.standbys = Standbys(rollback or Policy(), self._retire, self._take_back)
        self._restored: dict[str, int] = {}
        self._tasks = asyncio.TaskGroup()
        self._offers: Offers = {}
        self._wanted: frozenset[str] = frozenset()
        self._locks: dict[str, asyncio.Lock] = {}
        self._required: frozenset[str] | None = None
        self._closing = False
        self._quarantine_s = quarantine_s
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        retries = Retries(asyncio.get_running_loop().call_later, self._back_off)
        self._failures = Failures(retries, self._due, self.events)
        await self._tasks.__aenter__()
        if self.residence.rules.idle_unload_s:
            self._sweeping = self._tasks.create_task(self.residence.unload_idle(), name="unload idle")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._attempts.close()
        patience = asyncio.get_running_loop().call_later(self._retire_within_s, self._attempts.give_up)
        if error is None:  # else the process is going at once, and there is nothing to be orderly about
            self.standbys.close()
            for model in self.table.models:
                self._unload(model, self.table.versions(model), SERVER_ENDED)
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            patience.cancel()
            self.residence.warming.close()

    def apply(self, offers: Offers, wanted: Iterable[str]) -> None:
        """What the repositories offer now, and which of the names are to be served. Returns at once."""
        wanted = frozenset(wanted)
        changed = {
            name for name in self._offers.keys() | offers.keys() if self._offers.get(name) != offers.get(name)
        }
        changed |= self._wanted ^ wanted
        for model in offers.keys() - self._offers.keys():
            self.table.know(model)
        self._offers, self._wanted = offers, wanted
        self._dependencies.learn(offers)
        if self._required is None:
            self._required = wanted
        for model in changed:  # a trial of what has been mended since, or is to be unloaded, is over
            self._attempts.abandon(model, self._contents(model))
            self._see(model)
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
        offer = self._offers.get(model)
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
            for model in list(self._offers):
                group.create_task(self.settle(model))

    def ready(self, strict: bool) -> bool:
        """Whether the required models serve. Required are those wanted at the start, while they are wanted.

        What fails later, or is reloaded, or was unloaded on purpose, does not change the answer; nor do the
        ensembles over what was unloaded on purpose.
        """
        if self._required is None:
            return False
        missing = {model for model in self._required & self._wanted if not self.table.versions(model)}
        if not strict or not missing:
            return True
        return missing <= self._dependencies.all_over(self._offers.keys() - self._wanted)

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

    def _configured(self, model: str) -> Scheduling:
        offer = self._offers.get(model)
        return offer.config.scheduling if offer is not None and offer.config is not None else UNSAID

    def _labelled(self, model: str) -> Mapping[str, int]:
        offer = self._offers.get(model)
        return offer.version_labels if offer is not None else NO_PINS

    # The work.

    def _begin(self, model: str) -> asyncio.Task[None]:
        return self._tasks.create_task(self._settle(model), name=f"settle {model}")

    async def _settle(self, model: str) -> None:
        """Bring one model to what is wanted of it by now; one at a time for each model."""
        await self._members_tried(model)
        async with self._locks.setdefault(model, asyncio.Lock()):
            offer = self._offers.get(model)
            if self._closing:
                return
            if offer is None:
                self._unload(model, self.table.versions(model))
                for version in list(self.table.statuses(model)):
                    self._drop(model, version)
                self.table.forget(model)
                self.events.forget(model)
                self.standbys.forget(model)
                self._restored.pop(model, None)
            elif model not in self._wanted:
                self.table.know(model)
                self._unload(model, self.table.versions(model))
                self._put_away(model, UNLOADED)
            elif offer.problem:
                self._report(offer)
            else:
                self.table.know(model)
                for version, reason in offer.broken.items():
                    self._fail(model, version, reason)
                async with asyncio.TaskGroup() as group:
                    for version_offer in offer.versions.values():
                        group.create_task(self._load(offer, version_offer))
                self._retire_leftovers(offer)

    async def _members_tried(self, model: str) -> None:
        """Wait until what an ensemble needs is as wanted, if it can be. Holds no lock while it waits."""
        if model in self._wanted and not self._dependencies.circle(model):
            for member in self._dependencies.members(model) & self._offers.keys():
                await self.settle(member)

    def _tell_ensembles(self, model: str) -> None:
        """Other versions of a model serve now: ensembles that cannot serve over these go at once."""
        if self._closing:
            return
        for ensemble in self._dependencies.over({model}):
            for version, served in list(self.table.versions(ensemble).items()):
                why = self._dependencies.hindrance(served.facts.config)
                if why:
                    self._withdraw(ensemble, version, why)
            self._begin(ensemble)

    def _report(self, offer: ModelOffer) -> None:
        """A model that cannot be served as it stands. A bad edit does not stop what serves already."""
        if offer.one_by_one:  # somebody had a version unloaded, whatever else is wrong
            kept = offer.versions.keys() | offer.unsettled
            self._unload(offer.name, self.table.versions(offer.name).keys() - kept)
        serving = self.table.versions(offer.name)
        known = self.table.problem(offer.name)
        if known is None or known.reason != offer.problem:
            log.error("model_unavailable", model=offer.name, reason=offer.problem)
            self.table.know(offer.name, Status(offer.name, None, State.UNAVAILABLE, offer.problem, time()))
            self.events.tell(What.REJECTED, offer.name, None, reason=offer.problem)
        if offer.config is None:
            for version in serving:
                self._note(offer.name, version, State.READY, f"serving what it was before: {offer.problem}")
        else:
            self._unload(offer.name, serving, offer.problem)
        self._put_away(offer.name, offer.problem)

    async def _load(self, offer: ModelOffer, version: VersionOffer) -> None:
        """Load one version, unless the same content serves or has failed already."""
        model, number = offer.name, version.version
        content = _content(offer, version)
        serving = self.table.versions(model).get(number)
        hindrance = self._dependencies.hindrance(offer.config)
        if serving is not None and serving.content.whole == content.whole:
            if hindrance:  # what it needs has left while it was loaded
                self._withdraw(model, number, hindrance)
            else:
                self._note(model, number, State.READY)
            return
        failed = self._failures.why(model, number, content.whole)
        if failed:
            self._fail(model, number, failed, content.whole)
            return
        if self._closing:
            return
        if hindrance:
            self._fail(model, number, hindrance, content.whole)
            return
        if isinstance(serving, ServedVersion) and self._loader.resize(serving, offer, content):
            self._failures.forgive(model, number)
            self.residence.stays.resized(serving, offer)
            self._note(model, number, State.READY)
            log.info("version_resized", model=model, version=number, instances=serving.instances)
            self.events.tell(What.RESIZED, model, number, content.whole, f"{serving.instances} instances")
            return
        before = serving or self._default_below(model, number)
        if serving is None:
            self._note(model, number, State.LOADING)
        served = await self._arrive(offer, version, content)
        if isinstance(served, Refusal):
            self._refused(model, number, content.whole, served)
            return
        self._failures.forgive(model, number)
        if self._closing:
            self._retire(served)
            return
        if number not in self.table.versions(model):  # what it was to replace may have been withdrawn
            self._note(model, number, State.LOADING)
        replaced = self._serve(served)
        self._put_on_probation(served, before, replaced, Origin(offer, version))
        self._tell_ensembles(model)

    async def _arrive(self, offer: ModelOffer, version: VersionOffer, content: Content) -> Served | Refusal:
        """What is to serve: loaded, or to be loaded when it is asked for."""
        model, number = offer.name, version.version
        note_trial = partial(self._note_trial, model, number, content.whole)
        verified = await self._attempts.verify(offer, version, note_trial)
        if isinstance(verified, Refusal):
            return verified
        if offer.config is not None and offer.config.ensemble is not None:
            self._tell_loading(model, number, content.whole)
            return await self._attempts.open_ensemble(offer, version, content)
        if version.part is not None and not version.loads("predict"):
            self._tell_loading(model, number, content.whole)
            return await self._attempts.open_part(offer, version, content)
        before = self.table.versions(model).get(number) or self._newest(model)
        prospect = await self.residence.prospect(
            offer, version, content, verified, before.facts if before is not None else None
        )
        if isinstance(prospect, Refusal):
            return prospect
        outgoing = self._outgoing(offer, number)
        never = self.residence.refusal(prospect, outgoing)
        if never:
            return Refusal(never, may_pass=False)
        how = self.residence.arrival(prospect, outgoing)
        if how is Arrival.LOAD:
            self._tell_loading(model, number, content.whole)
            return await self.residence.load(
                prospect, outgoing, lambda: not self._closing and content.whole in self._contents(model)
            )
        if how is Arrival.FREE_FIRST:
            self._start(self._in_place_of(outgoing, model, number), f"bring in {model}")
        same = before is not None and before.content.but_instances == content.but_instances != ""
        return self.residence.idle(prospect, before.facts.tally if before is not None and same else None)

    def _serve(self, served: Served) -> Served | None:
        """From now on requests reach this one; what it replaces comes back, to be retired or kept."""
        facts, content = served.facts, served.content.whole
        model, version = facts.model, facts.version
        if isinstance(served, ServedVersion):
            self.schedules.hold(served)
            served.watch(self._hear_of_worker)
        replaced = self.table.serve(served)
        came_back = replaced is not None and replaced.content == served.content
        self._note(model, version, State.READY)
        if isinstance(served, IdleVersion):
            log.info("version_idle", model=model, version=version, platform=facts.platform)
            self.events.tell(What.READY, model, version, content, "it is loaded when it is asked for")
        else:
            log.info(
                "version_ready",
                model=model,
                version=version,
                platform=facts.platform,
                devices=facts.devices,
                load_s=round(facts.load_seconds, 3),
            )
            self.events.passages.loaded(model, facts.load_seconds, facts.warmup_seconds)
            self.events.tell(What.BROUGHT_BACK if came_back else What.READY, model, version, content)
        if replaced is not None and not came_back:
            self._tell_gone(What.SWAPPED, replaced, "new content of the same version serves")
        return replaced

    def _serve_again(self, loaded: ServedVersion) -> None:
        """What was idle is in memory."""
        self._serve(loaded)

    async def _in_place_of(self, outgoing: Iterable[Served], model: str, version: int) -> None:
        """Bring in a version that stands idle by now, with the memory of those that it takes the place of."""
        for served in outgoing:
            facts = served.facts
            if self.table.versions(model).get(facts.version) is served:
                self._withdraw(model, facts.version)
        with suppress(ServingError):  # the index says why, or the next request tries again
            await self.residence.brought(model, version)

    def _lost(self, idle: IdleVersion, refusal: Refusal) -> None:
        """An idle version could not be loaded when it was asked for."""
        model, version = idle.facts.model, idle.facts.version
        self._withdraw(model, version, refusal.why)
        self._refused(model, version, idle.content.whole, refusal)

    def _newest(self, model: str) -> Served | None:
        serving = self.table.versions(model)
        return serving[max(serving)] if serving else None

    def _outgoing(self, offer: ModelOffer, number: int) -> list[Served]:
        """What serves of a model and goes once this version of it serves."""
        stay = offer.versions.keys() | offer.unsettled | offer.broken.keys()
        serving = self.table.versions(offer.name)
        return [served for version, served in serving.items() if version == number or version not in stay]

    def _refused(self, model: str, version: int, content: str, refusal: Refusal) -> None:
        """This content did not come up."""
        why = self._failures.note(model, version, content, refusal, content in self._contents(model))
        if not refusal.abandoned:
            self._fail(model, version, why, content)
            return
        self.events.tell(What.REJECTED, model, version, content, why)
        if version not in self.table.versions(model):
            self._note(model, version, State.UNAVAILABLE, why)

    def _hear_of_worker(self, served: ServedVersion, news: News) -> None:
        """The process that a version's model runs in has ended, is back, or has ended once too often.

        Then the version goes, and comes back as a failed one does: with other content, by a load call, or
        after a while. What is ready at the start does not hang on it any more: it is this model's trouble
        alone.
        """
        model, version = served.facts.model, served.facts.version
        if self._closing or self.table.versions(model).get(version) is not served:
            return
        if not isinstance(news, Out):
            self._note(model, version, State.READY, served.facts.down)
            return
        log.error("version_quarantined", model=model, version=version, reason=news.why)
        if self._required is not None:
            self._required -= {model}
        self._withdraw(model, version, news.why)
        self._failures.quarantine(model, version, served.content.whole, news.why, self._quarantine_s)

    def _due(self, model: str) -> None:
        """A version that failed for a reason that may have passed is to be tried again, if it is wanted."""
        if not self._closing:
            self._begin(model)

    def _contents(self, model: str) -> frozenset[str]:
        """What is wanted of a model by now."""
        offer = self._offers.get(model) if model in self._wanted else None
        if offer is None:
            return frozenset()
        return frozenset(content_of(offer, version) for version in offer.versions.values())

    def _note_trial(self, model: str, version: int, content: str, begins: bool) -> None:
        """The index tells of a trial, unless the version serves with its old content."""
        if begins:
            self.events.tell(What.VERIFYING, model, version, content)
        if version not in self.table.versions(model):
            self._note(model, version, State.LOADING, VERIFYING if begins else "")

    @property
    def _sharers(self) -> int:
        """How many models share the processors; ensembles run nothing themselves."""
        return len(self._wanted - set(self._dependencies.ensembles))

    def _retire_leftovers(self, offer: ModelOffer) -> None:
        """Versions that are not wanted go once those that are wanted serve, or when their folder is gone.

        Where versions are named one by one, nobody waits for a successor.
        """
        serving = self.table.versions(offer.name)
        complete = offer.one_by_one or (
            all(version in serving for version in offer.versions)
            and not offer.unsettled | offer.broken.keys()
        )
        leftovers = [
            version
            for version in serving
            if version not in offer.versions.keys() | offer.unsettled
            and version not in offer.broken
            and (complete or not (version in offer.on_disk or version == self._restored.get(offer.name)))
        ]
        for version in leftovers:
            self._restored.pop(offer.name, None)
            self._withdraw(offer.name, version, may_stand_by=not offer.one_by_one)
        wanted = offer.versions.keys() | offer.unsettled | offer.broken.keys()
        for version, status in list(self.table.statuses(offer.name).items()):
            if status.state is not State.UNAVAILABLE or version in wanted:
                continue
            if version not in offer.on_disk:
                self._drop(offer.name, version)
            elif offer.one_by_one:  # it had failed, and is not to be served any more
                self._failures.forgive(offer.name, version)
                self._note(offer.name, version, State.UNAVAILABLE, UNLOADED)

    def _put_away(self, model: str, reason: str) -> None:
        """What failed of a model that is not to be served is out for the same reason as the rest of it."""
        for version, status in list(self.table.statuses(model).items()):
            if status.state is State.UNAVAILABLE:
                self._failures.forgive(model, version)
                self._note(model, version, State.UNAVAILABLE, reason)

    def _drop(self, model: str, version: int) -> None:
        self._failures.forgive(model, version)
        self.residence.forget(model, version)
        self.table.drop(model, version)

    def _unload(self, model: str, versions: Iterable[int], reason: str = UNLOADED) -> None:
        for version in list(versions):
            self._withdraw(model, version, reason)

    def _withdraw(
        self, model: str, version: int, reason: str = UNLOADED, *, may_stand_by: bool = False
    ) -> None:
        served = self.table.withdraw(model, version)
        self._failures.forgive(model, version)
        if served is not None:
            self._note(model, version, State.UNLOADING)
            if may_stand_by and self.standbys.keep(served):
                self._note(model, version, State.UNAVAILABLE, reason)
                self._tell_gone(
                    What.UNLOADING,
                    served,
                    "another version serves; this one stands by while that is on probation",
                )
            else:
                self.standbys.left(served)
                self._tell_gone(What.UNLOADING, served, reason)
                self._retire(served, reason)
            self._tell_ensembles(model)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.create_task(work, name=name)

    def _retire(self, served: Served, reason: str | None = None) -> None:
        self.residence.stays.leaving(served)
        self._start(self._let_go(served, reason), f"retire {served.facts.model}")

    def _clear_away(self, served: Served) -> None:
        """Close what nobody misses: its content stands in the table as an idle version, or never did."""
        self.residence.stays.leaving(served)
        self._start(self._close(served), f"close {served.facts.model}")

    async def _close(self, served: Served) -> None:
        try:
            await served.retire(self._retire_within_s)
            if isinstance(served, ServedVersion):
                await served.give_back()
        finally:
            self.residence.gone(served)

    async def _let_go(self, served: Served, reason: str | None) -> None:
        model, version = served.facts.model, served.facts.version
        await self._close(served)
        log.info("version_unloaded", model=model, version=version)
        self._tell_gone(What.UNLOADED, served, reason or "")
        status = self.table.statuses(model).get(version)
        if reason is None or status is None or status.state is not State.UNLOADING:
            return  # another one has taken its place
        self._note(model, version, State.UNAVAILABLE, reason)
        offer = self._offers.get(model)
        if offer is not None and not offer.problem and version not in offer.on_disk:
            self._drop(model, version)

    # Taking back.

    def _default_below(self, model: str, version: int) -> Served | None:
        """What a request without a version reaches by now, if a new version is to take its place."""
        versions = self.table.versions(model)
        highest = max(versions, default=version)
        return versions[highest] if highest < version else None

    def _put_on_probation(
        self, served: Served, before: Served | None, replaced: Served | None, origin: Origin
    ) -> None:
        """A version serves now, where `before` did when its load began; `replaced` has just left for it."""
        model = served.facts.model
        if before is not replaced and before not in self.table.versions(model).values():
            before = None  # it left in the meantime
        if self.standbys.begin(served, before, origin):
            self._tasks.create_task(self.standbys.watch(), name="probations")
        if replaced is not None and not self.standbys.keep(replaced):
            self.standbys.left(replaced)
            self._retire(replaced)

    def _take_back(self, probation: Probation, why: str) -> None:
        """A version has failed its probation: what served before it serves again."""
        before = probation.before
        if before is not None and not probation.stands_by and not self._serves(before):
            probation.before = before = None  # it was evicted, and then it left
        if before is not None:
            self._exchange(probation, before, why)
        else:
            self._tasks.create_task(self._bring_again(probation, why), name=f"bring {probation.model} again")

    def _serves(self, served: Served) -> bool:
        """Whether requests reach this, or what has taken its place with the same content."""
        now = self.table.versions(served.facts.model).get(served.facts.version)
        return now is not None and now.content == served.content

    async def _bring_again(self, probation: Probation, why: str) -> None:
        """Load what stood by, and had to go for want of memory. Until it serves, its successor does."""
        offer, version = probation.origin.offer, probation.origin.version
        content = _content(offer, version)
        note_trial = partial(self._note_trial, offer.name, version.version, content.whole)
        served: Served | Verified | Prospect | Refusal
        served = await self._attempts.verify(offer, version, note_trial)
        if isinstance(served, Verified):
            served = await self.residence.prospect(offer, version, content, served, None)
        if isinstance(served, Prospect):
            served = await self.residence.load(served, [], lambda: not self._closing)
        if isinstance(served, ServedVersion):
            self.schedules.hold(served)
            probation.stands_by = True
            self._exchange(probation, served, why)
        elif isinstance(served, Refusal):
            facts = {"model": probation.model, "version": probation.after.facts.version}
            log.error("version_not_rolled_back", **facts, reason=why, but=served.why)

    def _exchange(self, probation: Probation, before: ServedVersion, why: str) -> None:
        """In one step of the loop, so that no request finds neither of the two."""
        model, number, old = probation.model, probation.after.facts.version, before.facts.version
        after = self.table.standing_for(probation.after)  # it may have been evicted meanwhile
        if self._closing or self.table.versions(model).get(number) is not after:
            if probation.stands_by:
                self._retire(before)
            return
        reason = f"rolled back: {why}"
        log.error("version_rolled_back", model=model, version=number, back_to=old, reason=why)
        self._tell_gone(What.ROLLED_BACK, after, reason)
        if probation.is_swap:
            self.table.serve(before)
            self._note(model, number, State.READY, f"serving what it was before: {reason}")
            self._retire(after)
        else:
            if old in self.table.versions(model):  # it is wanted beside its successor, and was loaded anew
                if probation.stands_by:
                    self._retire(before)
            else:
                self._note(model, old, State.LOADING)
                self.table.serve(before)
                self._note(model, old, State.READY, f"serving again: version {number} was {reason}")
                self._restored[model] = old
            self.table.withdraw(model, number)
            self._note(model, number, State.UNLOADING)
            self._retire(after, reason)
        if probation.stands_by and self.table.versions(model).get(old) is before:
            told = (What.BROUGHT_BACK, model, old, before.content.whole)
            self.events.tell(*told, f"version {number} was {reason}")
        self._failures.blame(model, number, after.content.whole, reason)
        self._tell_ensembles(model)

    def _fail(self, model: str, version: int, reason: str, content: str = "") -> None:
        if version in self.table.versions(model):
            news = self._note(model, version, State.READY, f"serving what it was before: {reason}")
        else:
            news = self._note(model, version, State.UNAVAILABLE, reason)
        if news:
            log.error("version_unavailable", model=model, version=version, reason=reason)
            self.events.tell(What.REJECTED, model, version, content, reason)

    def _see(self, model: str) -> None:
        """What is on disk is told of once."""
        offer = self._offers.get(model)
        if offer is not None:
            for version in offer.versions.values():
                self.events.see(model, version.version, content_of(offer, version))

    def _tell_loading(self, model: str, version: int, content: str) -> None:
        log.info("version_loading", model=model, version=version)
        self.events.tell(What.LOADING, model, version, content)

    def _tell_gone(self, what: What, served: Served, reason: str) -> None:
        facts = served.facts
        counts = counts_of(facts.tally)
        self.events.tell(what, facts.model, facts.version, served.content.whole, reason, counts)

    def _note(self, model: str, version: int, state: State, reason: str = "") -> bool:
        """Put it into the index, unless it is there already; whether it is news."""
        known = self.table.statuses(model).get(version)
        if known is not None and (known.state, known.reason) == (state, reason):
            return False
        self.table.note(Status(model, version, state, reason, time()))
        return True


def _content(offer: ModelOffer, version: VersionOffer) -> Content:
    """Files that lie elsewhere are another content: code of their own may know where it lies."""
    rest = offer.fingerprint_but_instances
    return Content(
        whole=content_of(offer, version),
        but_instances=f"{rest}:{version.fingerprint}:{version.directory}" if rest else "",
    )

"""Makes the wanted versions so: loads what is missing, swaps what changed, retires what is left over.

The manager is told the whole wanted set, whoever decides it (a watch, an explicit call, a list in
a test), and works towards it model by model; models do not wait for each other. Loads are done in
threads, never more than `load_threads` at once. What cannot be loaded is noted and left alone until
its content changes; what serves goes on serving until its successor is ready.
"""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import time
from types import TracebackType
from typing import Self

import structlog

from runtimes.errors import RuntimeFault
from server.domain.catalogue import VersionFacts
from server.domain.errors import LoadFailed, LoadUnknown, ServingError
from server.domain.offer import ModelOffer, Offers, VersionOffer, content_of
from server.domain.state import UNLOADED, VERIFYING, State, Status
from server.lifecycle.completion import ConfigContradicts
from server.lifecycle.loader import Loaded, Loader
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
        trials: Trials | None = None,
    ) -> None:
        """With `trials`, which leaving closes, a version is tried elsewhere before it is loaded here."""
        self.table = Table()
        self._loader = loader
        self._retire_within_s = retire_within_s
        self._retries = retries
        self._trials = trials
        self._threads = ThreadPoolExecutor(load_threads, thread_name_prefix="load")
        self._loading: set[asyncio.Future[Loaded]] = set()
        self._tasks = asyncio.TaskGroup()
        self._offers: Offers = {}
        self._wanted: frozenset[str] = frozenset()
        self._locks: dict[str, asyncio.Lock] = {}
        self._failed: dict[tuple[str, int], tuple[str, str]] = {}
        self._required: frozenset[str] | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        if self._trials is not None:
            self._trials.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        patience = asyncio.get_running_loop().call_later(self._retire_within_s, self._abandon_loads)
        if error is None:  # else the process is going at once, and there is nothing to be orderly about
            for model in self.table.models:
                self._unload(model, self.table.versions(model))
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            patience.cancel()

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
        if self._required is None:
            self._required = wanted
        for model in changed:
            if self._trials is not None:  # of what has been mended since, or is to be unloaded
                self._trials.abandon(model, self._contents(model))
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
                self._failed.pop((model, version), None)
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

    async def all_settled(self) -> None:
        """Wait until every model was tried."""
        async with asyncio.TaskGroup() as group:
            for model in list(self._offers):
                group.create_task(self.settle(model))

    def ready(self, strict: bool) -> bool:
        """Whether the required models serve. Required are those wanted at the start, while they are wanted.

        What fails later, or is reloaded, or was unloaded on purpose, does not change the answer.
        """
        if self._required is None:
            return False
        return not strict or all(self.table.versions(model) for model in self._required & self._wanted)

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
        return self.table.index()

    # The work.

    def _begin(self, model: str) -> asyncio.Task[None]:
        return self._tasks.create_task(self._settle(model), name=f"settle {model}")

    async def _settle(self, model: str) -> None:
        """Bring one model to what is wanted of it by now; one at a time for each model."""
        async with self._locks.setdefault(model, asyncio.Lock()):
            offer = self._offers.get(model)
            if self._closing:
                return
            if offer is None:
                self._unload(model, self.table.versions(model))
                for version in list(self.table.statuses(model)):
                    self._drop(model, version)
                self.table.forget(model)
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
        if offer.config is None:
            for version in serving:
                self._note(offer.name, version, State.READY, f"serving what it was before: {offer.problem}")
        else:
            self._unload(offer.name, serving, offer.problem)
        self._put_away(offer.name, offer.problem)

    async def _load(self, offer: ModelOffer, version: VersionOffer) -> None:
        """Load one version, unless the same content serves or has failed already."""
        model, number = offer.name, version.version
        identity = content_of(offer, version)
        serving = self.table.versions(model).get(number)
        if serving is not None and serving.fingerprint == identity:
            self._note(model, number, State.READY)
            return
        failed, why = self._failed.get((model, number), ("", ""))
        if failed == identity:
            self._fail(model, number, why)
            return
        if self._closing:
            return
        if serving is None:
            self._note(model, number, State.LOADING)
        log.info("version_loading", model=model, version=number)
        served = await self._try(offer, version, identity)
        if isinstance(served, str):
            if identity in self._contents(model):  # else it was given up, and may be wanted again
                self._failed[model, number] = identity, served
            self._fail(model, number, served)
            return
        self._failed.pop((model, number), None)
        if self._closing:
            self._retire(served)
            return
        replaced = self.table.serve(served)
        self._note(model, number, State.READY)
        log.info(
            "version_ready",
            model=model,
            version=number,
            platform=served.facts.platform,
            devices=served.facts.devices,
            load_s=round(served.facts.load_seconds, 3),
        )
        if replaced is not None:
            self._retire(replaced)

    async def _try(self, offer: ModelOffer, version: VersionOffer, identity: str) -> ServedVersion | str:
        """Load a version, again where that fails and retries are left; else the sentence of what failed."""
        model, number = offer.name, version.version
        left = self._retries
        while True:
            try:
                if self._trials is not None:
                    await self._verify(self._trials, offer, version)
                return self._loader.assemble(await self._open(offer, version), identity)
            except Exception as error:
                if isinstance(error, (RuntimeFault, ConfigContradicts, ServingError)):
                    why = str(error)
                else:
                    why = f"internal error while loading ({type(error).__name__})"
                    log.exception("version_load_crashed", model=model, version=number)
            if not left or self._closing or identity not in self._contents(model):
                return why
            left -= 1
            log.warning("version_load_retried", model=model, version=number, left=left, reason=why)

    def _contents(self, model: str) -> frozenset[str]:
        """What is wanted of a model by now."""
        offer = self._offers.get(model) if model in self._wanted else None
        if offer is None:
            return frozenset()
        return frozenset(content_of(offer, version) for version in offer.versions.values())

    async def _verify(self, trials: Trials, offer: ModelOffer, version: VersionOffer) -> None:
        """Raises `CandidateRejected`. Cancelled if the manager leaves."""
        loading = version.version not in self.table.versions(offer.name)
        if loading:
            self._note(offer.name, version.version, State.LOADING, VERIFYING)
        await trials.check(offer, version)
        if loading:
            self._note(offer.name, version.version, State.LOADING)

    async def _open(self, offer: ModelOffer, version: VersionOffer) -> Loaded:
        """On a loader thread. Cancelled if the manager leaves before it begins, or loses its patience."""
        loading = asyncio.get_running_loop().run_in_executor(
            self._threads, self._loader.load, offer, version, len(self._wanted)
        )
        self._loading.add(loading)
        try:
            return await loading
        finally:
            self._loading.discard(loading)

    def _abandon_loads(self) -> None:
        """A thread cannot be stopped: its load goes on, and nobody waits for it."""
        for loading in list(self._loading):
            loading.cancel()

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
            and (complete or version not in offer.on_disk)
        ]
        self._unload(offer.name, leftovers)
        wanted = offer.versions.keys() | offer.unsettled | offer.broken.keys()
        for version, status in list(self.table.statuses(offer.name).items()):
            if status.state is not State.UNAVAILABLE or version in wanted:
                continue
            if version not in offer.on_disk:
                self._drop(offer.name, version)
            elif offer.one_by_one:  # it had failed, and is not to be served any more
                self._failed.pop((offer.name, version), None)
                self._note(offer.name, version, State.UNAVAILABLE, UNLOADED)

    def _put_away(self, model: str, reason: str) -> None:
        """What failed of a model that is not to be served is out for the same reason as the rest of it."""
        for version, status in list(self.table.statuses(model).items()):
            if status.state is State.UNAVAILABLE:
                self._failed.pop((model, version), None)
                self._note(model, version, State.UNAVAILABLE, reason)

    def _drop(self, model: str, version: int) -> None:
        self._failed.pop((model, version), None)
        self.table.drop(model, version)

    def _unload(self, model: str, versions: Iterable[int], reason: str = UNLOADED) -> None:
        for version in list(versions):
            self._withdraw(model, version, reason)

    def _withdraw(self, model: str, version: int, reason: str = UNLOADED) -> None:
        served = self.table.withdraw(model, version)
        self._failed.pop((model, version), None)
        if served is not None:
            self._note(model, version, State.UNLOADING)
            self._retire(served, reason)

    def _retire(self, served: ServedVersion, reason: str | None = None) -> None:
        self._tasks.create_task(self._let_go(served, reason), name=f"retire {served.facts.model}")

    async def _let_go(self, served: ServedVersion, reason: str | None) -> None:
        model, version = served.facts.model, served.facts.version
        await served.retire(self._retire_within_s)
        log.info("version_unloaded", model=model, version=version)
        status = self.table.statuses(model).get(version)
        if reason is None or status is None or status.state is not State.UNLOADING:
            return  # another one has taken its place
        self._note(model, version, State.UNAVAILABLE, reason)
        offer = self._offers.get(model)
        if offer is not None and not offer.problem and version not in offer.on_disk:
            self._drop(model, version)

    def _fail(self, model: str, version: int, reason: str) -> None:
        if version in self.table.versions(model):
            news = self._note(model, version, State.READY, f"serving what it was before: {reason}")
        else:
            news = self._note(model, version, State.UNAVAILABLE, reason)
        if news:
            log.error("version_unavailable", model=model, version=version, reason=reason)

    def _note(self, model: str, version: int, state: State, reason: str = "") -> bool:
        """Put it into the index, unless it is there already; whether it is news."""
        known = self.table.statuses(model).get(version)
        if known is not None and (known.state, known.reason) == (state, reason):
            return False
        self.table.note(Status(model, version, state, reason, time()))
        return True

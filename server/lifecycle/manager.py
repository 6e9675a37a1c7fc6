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
from server.domain.offer import ModelOffer, Offers, VersionOffer
from server.domain.state import UNLOADED, State, Status
from server.lifecycle.completion import ConfigContradicts
from server.lifecycle.loader import Loader
from server.lifecycle.table import Table
from server.lifecycle.version import ServedVersion

log = structlog.get_logger(__name__)


class Manager:
    """The lifecycle of every model. Entered once; leaving it retires everything.

    It is also the catalogue (`server.domain.catalogue`) that the doors ask.
    """

    def __init__(self, loader: Loader, *, load_threads: int, retire_within_s: float) -> None:
        self.table = Table()
        self._loader = loader
        self._retire_within_s = retire_within_s
        self._threads = ThreadPoolExecutor(load_threads, thread_name_prefix="load")
        self._tasks = asyncio.TaskGroup()
        self._offers: Offers = {}
        self._wanted: frozenset[str] = frozenset()
        self._locks: dict[str, asyncio.Lock] = {}
        self._tried: dict[tuple[str, int], str] = {}
        self._required: frozenset[str] | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        try:
            for model in self.table.models:
                for version in list(self.table.versions(model)):
                    self._withdraw(model, version)
        finally:
            await self._tasks.__aexit__(kind, error, trace)
            self._threads.shutdown(wait=False, cancel_futures=True)

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
            self._tasks.create_task(self.settle(model), name=f"settle {model}")

    async def settled(self, model: str) -> None:
        """Wait until a model is as wanted. Raises `LoadUnknown` or `LoadFailed` if it could not be."""
        await self.settle(model)
        problem = self.table.problem(model)
        if problem is not None:
            raise LoadUnknown(model, problem.reason)
        offer = self._offers.get(model)
        for version in sorted(offer.versions.keys() | offer.broken.keys()) if offer else ():
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

    async def settle(self, model: str) -> None:
        """Bring one model to what is wanted of it by now; one at a time for each model."""
        async with self._locks.setdefault(model, asyncio.Lock()):
            offer = self._offers.get(model)
            if offer is None:
                self._unload(model, self.table.versions(model))
                self.table.forget(model)
            elif model not in self._wanted:
                self._unload(model, self.table.versions(model))
                self._put_away(model)
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
        serving = self.table.versions(offer.name)
        known = self.table.problem(offer.name)
        if known is None or known.reason != offer.problem:
            log.error("model_unavailable", model=offer.name, reason=offer.problem)
            self.table.know(offer.name, Status(offer.name, None, State.UNAVAILABLE, offer.problem, time()))
        if offer.config is None:
            for version in serving:
                self.table.note(
                    Status(
                        offer.name,
                        version,
                        State.READY,
                        f"serving what it was before: {offer.problem}",
                        time(),
                    )
                )
        else:
            self._unload(offer.name, serving, offer.problem)

    async def _load(self, offer: ModelOffer, version: VersionOffer) -> None:
        """Load one version, unless the same content serves or has failed already."""
        model, number = offer.name, version.version
        identity = f"{offer.fingerprint}:{version.fingerprint}"
        serving = self.table.versions(model).get(number)
        if serving is not None and serving.fingerprint == identity:
            self._note(model, number, State.READY)
            return
        if self._tried.get((model, number)) == identity:
            return
        if serving is None:
            self._note(model, number, State.LOADING)
        log.info("version_loading", model=model, version=number)
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._loader.load, offer, version, len(self._wanted)
            )
            served = self._loader.assemble(loaded, identity)
        except (RuntimeFault, ConfigContradicts, ServingError) as fault:
            self._tried[model, number] = identity
            self._fail(model, number, str(fault))
            return
        except Exception as error:
            log.exception("version_load_crashed", model=model, version=number)
            self._tried[model, number] = identity
            self._fail(model, number, f"internal error while loading ({type(error).__name__})")
            return
        self._tried.pop((model, number), None)
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

    def _retire_leftovers(self, offer: ModelOffer) -> None:
        """Versions that are not wanted go once those that are wanted serve, or when their folder is gone."""
        serving = self.table.versions(offer.name)
        complete = (
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
        for version in set(self.table.statuses(offer.name)) - offer.on_disk - serving.keys() - set(leftovers):
            self.table.drop(offer.name, version)

    def _put_away(self, model: str) -> None:
        """What failed of a model that is wanted no more is unloaded, like the rest of it."""
        for version, status in list(self.table.statuses(model).items()):
            if status.state is State.UNAVAILABLE:
                self._tried.pop((model, version), None)
                self._note(model, version, State.UNAVAILABLE, UNLOADED)

    def _unload(self, model: str, versions: Iterable[int], reason: str = UNLOADED) -> None:
        for version in list(versions):
            self._withdraw(model, version, reason)

    def _withdraw(self, model: str, version: int, reason: str = UNLOADED) -> None:
        served = self.table.withdraw(model, version)
        self._tried.pop((model, version), None)
        if served is not None:
            self._note(model, version, State.UNLOADING)
            self._retire(served, reason)

    def _retire(self, served: ServedVersion, reason: str | None = None) -> None:
        self._tasks.create_task(self._let_go(served, reason), name=f"retire {served.facts.model}")

    async def _let_go(self, served: ServedVersion, reason: str | None) -> None:
        facts = served.facts
        loop = asyncio.get_running_loop()
        await served.retire(self._retire_within_s, lambda close: loop.run_in_executor(self._threads, close))
        log.info("version_unloaded", model=facts.model, version=facts.version)
        gone = facts.version not in self.table.versions(facts.model)
        if reason is not None and gone and facts.model in self._offers:
            self._note(facts.model, facts.version, State.UNAVAILABLE, reason)

    def _fail(self, model: str, version: int, reason: str) -> None:
        known = self.table.statuses(model).get(version)
        state = State.READY if version in self.table.versions(model) else State.UNAVAILABLE
        if known is None or known.state is not state or reason not in known.reason:
            log.error("version_unavailable", model=model, version=version, reason=reason)
        said = f"serving what it was before: {reason}" if state is State.READY else reason
        self.table.note(Status(model, version, state, said, time()))

    def _note(self, model: str, version: int, state: State, reason: str = "") -> None:
        known = self.table.statuses(model).get(version)
        if known is None or (known.state, known.reason) != (state, reason):
            self.table.note(Status(model, version, state, reason, time()))

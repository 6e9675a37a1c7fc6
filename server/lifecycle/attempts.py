"""Brings up one version: tried elsewhere, loaded in a thread, put together on the loop; or says why not.

Loads are done in threads, so many at once, and never on the event loop. Whoever asks says whether the version
is still wanted, so that nothing is tried again in vain.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog

from runtimes.errors import RuntimeFault
from server.domain.backoff import may_pass
from server.domain.errors import ServingError
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.completion import ConfigContradicts
from server.lifecycle.ensemble import EnsembleVersion, open_ensemble
from server.lifecycle.examination import Examination, ExampleFailed
from server.lifecycle.idle import Known, Origin
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loaded, Loader
from server.lifecycle.part_version import PartVersion, open_part
from server.lifecycle.prepared import PreparedModels
from server.lifecycle.served import Find
from server.lifecycle.stamps import Stamps, stamps_of
from server.lifecycle.trials import TrialAbandoned, Trials
from server.lifecycle.verdict import Verdict
from server.lifecycle.version import ServedVersion
from server.observe.tally import Tally
from server.precedence import give_way, keeping_off
from server.scheduling.resources import ResourceShort

T = TypeVar("T")
log = structlog.get_logger(__name__)

MOST_TOUCHED = 10_000
"""Versions whose files were touched and hold what they held; of the others, this is found out once more."""

IN_WORDS = (RuntimeFault, ConfigContradicts, ResourceShort, ServingError)
"""What fails with a sentence for the index; anything else is a fault of ours."""


class Refusal(NamedTuple):
    """Why a version did not come up, and whether that may pass although its content stays.

    abandoned   nobody wanted this content any more, so nothing is known of it
    """

    why: str
    may_pass: bool
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """A version that may serve; `before` if that was known without a trial."""

    verdict: Verdict
    before: bool


class FilesChanged(RuntimeFault):
    """What lies there is not what was verified."""


class Attempts:
    """Lives on the event loop, but for the loads. `close` ends it.

    threads        loads at once
    retries        how often a load that fails is tried again at once; what a trial finds is not
    max_in_flight  requests of each ensemble that may be under way
    trials         try a version in a process of its own first; None for no trials
    same_content   whether files that were touched hold what they held; blocks
    prepared       what was made of models before, to be opened in place of their files
    is_serving     whether requests may come, which loads are to leave a processor to
    examination    asks the examples of ensembles; None to have them asked nothing
    """

    def __init__(
        self,
        loader: Loader,
        find: Find,
        *,
        threads: int,
        retries: int,
        max_in_flight: int,
        trials: Trials | None,
        same_content: Callable[[VersionOffer], bool],
        prepared: PreparedModels | None = None,
        is_serving: Callable[[], bool] = lambda: True,
        examination: Examination | None = None,
    ) -> None:
        self._is_serving = is_serving
        self._examination = examination
        self._loader = loader
        self._find = find
        self._retries = retries
        self._max_in_flight = max_in_flight
        self._trials = trials
        self._same_content = same_content
        self._touched: dict[tuple[str, str], Stamps] = {}
        self._prepared = prepared
        self._threads = ThreadPoolExecutor(threads, "load", initializer=give_way)
        self._loading: set[asyncio.Future[Any]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._closed = False

    def close(self) -> None:
        """Begin nothing more. What is loading goes on until it is done, or given up."""
        self._closed = True
        for asking in list(self._asking):
            asking.cancel()
        if self._trials is not None:
            self._trials.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def give_up(self) -> None:
        """A thread cannot be stopped: its load goes on, and nobody waits for it."""
        for loading in list(self._loading):
            loading.cancel()

    def abandon(self, model: str, wanted: frozenset[str]) -> None:
        """End the trials of a model's versions, but for the contents that are wanted."""
        if self._trials is not None:
            self._trials.abandon(model, wanted)

    async def verify(
        self, offer: ModelOffer, version: VersionOffer, note_trial: Callable[[bool], None]
    ) -> Verified | Refusal:
        """From what is known of this content, else by a trial: `note_trial` hears when it begins and ends."""
        if self._trials is None or (offer.config is not None and offer.config.ensemble is not None):
            return Verified(Verdict(), before=False)
        try:
            known = await self._trials.known(offer, version)
            verdict = known
            if verdict is None:
                note_trial(True)
                verdict = await self._trials.verdict(offer, version)
        except TrialAbandoned as error:
            return Refusal(str(error), may_pass=False, abandoned=True)
        except Exception as error:
            return self.refusal(offer, version, error)
        if verdict.reason:  # to try it once more at once would take as long again
            return Refusal(verdict.reason, verdict.may_pass)
        if known is None:
            note_trial(False)
        return Verified(verdict, before=known is not None)

    async def open_ensemble(
        self, offer: ModelOffer, version: VersionOffer, content: Content
    ) -> EnsembleVersion | Refusal:
        opening = partial(
            open_ensemble,
            offer,
            version,
            content,
            lambda model, wanted: self._find(model, wanted).facts,
            self._max_in_flight,
        )
        try:
            served = await self.in_thread(opening)
            if self._examination is not None and served.facts.examples:
                await self._while_open(self._examination.pass_on(served))
        except ExampleFailed as failed:
            return Refusal(str(failed), failed.may_pass)
        except Exception as error:
            return self.refusal(offer, version, error)
        return served

    async def _while_open(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this on the loop, unless this is closed meanwhile: then it is cancelled."""
        asking = asyncio.create_task(work)
        self._asking.add(asking)
        try:
            await asking
        finally:
            self._asking.discard(asking)

    async def open_part(
        self, offer: ModelOffer, version: VersionOffer, content: Content
    ) -> PartVersion | Refusal:
        """The code of a version whose model another process has."""
        try:
            return await self.in_thread(partial(open_part, offer, version, content))
        except Exception as error:
            return self.refusal(offer, version, error)

    async def bring_up(
        self,
        origin: Origin,
        *,
        sharers: int,
        is_wanted: Callable[[], bool],
        known: Known,
        tally: Tally | None,
    ) -> ServedVersion | Refusal:
        """`sharers` models share the processors; a version with a `tally` goes on where it was."""
        offer, version = origin.offer, origin.version
        left = self._retries
        while True:
            try:
                loaded = await self.in_thread(self._aside(origin, sharers, known.is_to_be_measured))
                try:
                    return self._loader.assemble(loaded, origin.content, tally, known.learned)
                except BaseException:
                    await asyncio.to_thread(loaded.close)
                    raise
            except Exception as error:
                refusal = self.refusal(offer, version, error)
            if not left or not is_wanted():
                return refusal
            left -= 1
            log.warning(
                "version_load_retried",
                model=offer.name,
                version=version.version,
                left=left,
                reason=refusal.why,
            )

    def refusal(self, offer: ModelOffer, version: VersionOffer, error: Exception) -> Refusal:
        """What a failure says; one without a sentence is a fault of ours, and told to the log."""
        if isinstance(error, IN_WORDS):
            return Refusal(str(error), may_pass(error))
        log.exception("version_load_crashed", model=offer.name, version=version.version)
        return Refusal(f"internal error while loading ({type(error).__name__})", may_pass(error))

    def _aside(self, origin: Origin, sharers: int, measures: bool) -> Callable[[], Loaded]:
        """The load, away from the processor of the event loop, which calls this, once that has requests."""
        load = partial(self._load, origin, sharers, measures)
        if not self._is_serving():
            return load
        loop, beside = threading.get_native_id(), len(self._loading)

        def aside() -> Loaded:
            with keeping_off(loop, beside):
                return load()

        return aside

    def _load(self, origin: Origin, sharers: int, measures: bool) -> Loaded:
        """Blocks. What is loaded is what was verified: files that have changed since are another content."""
        self._check_files(origin)
        loaded = self._opened(origin, sharers, measures)
        try:
            self._check_files(origin)
        except BaseException:
            loaded.close()
            raise
        return loaded

    def _opened(self, origin: Origin, sharers: int, measures: bool) -> Loaded:
        """From what was prepared of it, where that is there and can be opened."""
        load = partial(self._loader.load, origin.offer, origin.version, sharers, measures=measures)
        if self._prepared is None:
            return load()
        name = self._prepared.name_of(origin.offer, origin.version)
        prepared = self._prepared.find(name)
        if prepared is None:
            return load()
        try:
            return load(prepared=prepared)
        except RuntimeFault as error:
            log.warning("prepared_model_not_opened", model=origin.offer.name, reason=str(error))
            self._prepared.drop(name)
            return load()

    async def prepare(self, origin: Origin, into: Path) -> str:
        """Have the model prepared in an empty folder; why that was not done, or empty."""
        assert self._trials is not None
        return await self._trials.prepare(origin.offer, origin.version, into)

    async def are_there(self, origin: Origin) -> bool:
        """Whether its files are those that were verified."""
        try:
            await asyncio.to_thread(self._check_files, origin)
        except FilesChanged:
            return False
        return bool(origin.stamps)

    def _check_files(self, origin: Origin) -> None:
        if not origin.stamps:
            return
        now = stamps_of(origin.version)
        if not now:
            raise FilesChanged("there is no such file any more as was verified")
        content = str(origin.version.directory), origin.version.fingerprint
        if now in (origin.stamps, self._touched.get(content)):
            return
        if not self._same_content(origin.version):
            raise FilesChanged("its files have changed since they were verified")
        self._touched[content] = now
        while len(self._touched) > MOST_TOUCHED:
            self._touched.pop(next(iter(self._touched)), None)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do this where loads are done. Cancelled if this is closed before it begins, or given up."""
        if self._closed:
            raise asyncio.CancelledError
        loading = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._loading.add(loading)
        try:
            return await loading
        finally:
            self._loading.discard(loading)

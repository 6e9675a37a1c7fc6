"""Brings up one version: tried elsewhere, loaded in a thread, put together on the loop; or says why not.

Loads are done in threads, so many at once, and never on the event loop. Whoever asks says whether the version
is still wanted, so that nothing is tried again in vain.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import structlog

from runtimes.errors import RuntimeFault
from server.domain.backoff import may_pass
from server.domain.errors import ServingError
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.completion import ConfigContradicts
from server.lifecycle.ensemble import Find, Served, open_ensemble
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loader
from server.lifecycle.trials import CandidateRejected, TrialAbandoned, Trials
from server.scheduling.resources import ResourceShort

T = TypeVar("T")
log = structlog.get_logger(__name__)

IN_WORDS = (RuntimeFault, ConfigContradicts, ResourceShort, ServingError)
"""What fails with a sentence for the index; anything else is a fault of ours."""


class Refusal(NamedTuple):
    """Why a version did not come up, and whether that may pass although its content stays.

    abandoned   nobody wanted this content any more, so nothing is known of it
    """

    why: str
    may_pass: bool
    abandoned: bool = False


class Attempts:
    """Lives on the event loop, but for the loads. `close` ends it.

    threads        loads at once
    retries        how often a load that fails is tried again at once; what a trial finds is not
    max_in_flight  requests of each ensemble that may be under way
    trials         try a version in a process of its own first; None for no trials
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
    ) -> None:
        self._loader = loader
        self._find = find
        self._retries = retries
        self._max_in_flight = max_in_flight
        self._trials = trials
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="load")
        self._loading: set[asyncio.Future[Any]] = set()
        self._closed = False

    def close(self) -> None:
        """Begin nothing more. What is loading goes on until it is done, or given up."""
        self._closed = True
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

    async def bring_up(
        self,
        offer: ModelOffer,
        version: VersionOffer,
        content: Content,
        *,
        sharers: int,
        is_wanted: Callable[[], bool],
        note_trial: Callable[[bool], None],
    ) -> Served | Refusal:
        """`sharers` models share the processors; `note_trial` hears when a trial begins, and when it is
        over and the load begins."""
        model, number = offer.name, version.version
        left = self._retries
        while True:
            try:
                if offer.config is not None and offer.config.ensemble is not None:
                    note_trial(False)
                    find, bound = self._find, self._max_in_flight
                    return await self._in_thread(partial(open_ensemble, offer, version, content, find, bound))
                if self._trials is not None:
                    note_trial(True)
                    await self._trials.check(offer, version)
                note_trial(False)
                return await self._load(offer, version, content, sharers)
            except TrialAbandoned as error:
                return Refusal(str(error), may_pass=False, abandoned=True)
            except CandidateRejected as error:  # to try it once more at once would take as long again
                return Refusal(str(error), error.may_pass)
            except Exception as error:
                passing = may_pass(error)
                if isinstance(error, IN_WORDS):
                    why = str(error)
                else:
                    why = f"internal error while loading ({type(error).__name__})"
                    log.exception("version_load_crashed", model=model, version=number)
            if not left or not is_wanted():
                return Refusal(why, passing)
            left -= 1
            log.warning("version_load_retried", model=model, version=number, left=left, reason=why)

    async def _load(self, offer: ModelOffer, version: VersionOffer, content: Content, sharers: int) -> Served:
        loaded = await self._in_thread(partial(self._loader.load, offer, version, sharers))
        try:
            return self._loader.assemble(loaded, content)
        except BaseException:
            await asyncio.to_thread(loaded.close)
            raise

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Cancelled if this is closed before it begins, or given up."""
        if self._closed:
            raise asyncio.CancelledError
        loading = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._loading.add(loading)
        try:
            return await loading
        finally:
            self._loading.discard(loading)

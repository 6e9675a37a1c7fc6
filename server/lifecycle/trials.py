"""Has candidates tried before they serve: knows what was tried before, and asks a nursery for the rest.

The event loop only waits. So many trials at once as the manager loads; each has a deadline, in the
nursery and, should that hang, here. Closing ends all of them.
"""

import asyncio
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from runtimes.errors import RuntimeFault
from server.domain.configuration import Platform
from server.domain.offer import NO_STAMPS, ModelOffer, VersionOffer, content_of
from server.lifecycle.ending import Limits
from server.lifecycle.hearing import Hearing, NurseryLost
from server.lifecycle.nursery import NO_RUNTIME
from server.lifecycle.nursery_handle import NurseryHandle
from server.lifecycle.preparation import PreparationJob
from server.lifecycle.stamps import Stamps, are_as_offered, stamps_of
from server.lifecycle.trial import Job
from server.lifecycle.verdict import Verdict, key, surroundings
from server.lifecycle.verdicts import Verdicts

log = structlog.get_logger(__name__)

GRACE_S = 30.0
"""Beyond the time of a trial, until a silent nursery counts as lost: it may have to import torch first."""

ATTEMPTS = 2
"""A nursery may just be going, idle, when a candidate comes; the next one is new."""


NOT_AS_OFFERED = Verdict(
    reason="its files have changed since they were offered; they are looked at again",
    lasting=False,
    may_pass=True,
)


@dataclass(frozen=True, slots=True)
class _Patience:
    """Somebody waits for a trial of this content, for as long as the timeout says."""

    model: str
    content: str
    patience: asyncio.Timeout


class TrialAbandoned(RuntimeFault):
    """Nobody wants to know any more: the sentence says so, and nothing of the content."""


class Trials:
    """Verdicts on candidates, from memory or by trial.

    limits    of one trial
    at_once   trials under way, at most
    wants_example   see `Job`
    same_content    whether files that were touched since they were offered hold what they held; blocks
    """

    def __init__(
        self,
        verdicts: Verdicts,
        *,
        limits: Limits,
        at_once: int,
        auto_complete: bool = True,
        wants_example: bool = False,
        same_content: Callable[[VersionOffer], bool] = lambda _: False,
    ) -> None:
        self._verdicts = verdicts
        self._limits = limits
        self._auto_complete = auto_complete
        self._wants_example = wants_example
        self._same_content = same_content
        self._around = surroundings(auto_complete)
        self._turns = asyncio.Semaphore(at_once)
        self._nurseries: dict[str, NurseryHandle] = {}
        self._waiting: dict[asyncio.Task[Any], _Patience] = {}
        self._closed = False

    async def known(self, offer: ModelOffer, version: VersionOffer) -> Verdict | None:
        """What is known of this content without a trial."""
        return await asyncio.to_thread(self._verdicts.of, key(offer, version, self._around))

    async def verdict(self, offer: ModelOffer, version: VersionOffer) -> Verdict:
        """What is known of this content, else what a trial finds. An ensemble has no file to try.

        Raises `TrialAbandoned`.
        """
        platform = _platform(offer, version)
        if platform == Platform.ENSEMBLE:
            return Verdict(lasting=False)
        name = key(offer, version, self._around)
        task = asyncio.current_task()
        if task is None or self._closed:
            raise asyncio.CancelledError
        try:
            async with asyncio.timeout(None) as patience:
                self._waiting[task] = _Patience(offer.name, content_of(offer, version), patience)
                before, known = await asyncio.to_thread(self._look_up, name, version)
                if known is not None:
                    return known
                found = await self._tried(offer, version, platform)
                return await asyncio.to_thread(self._keep, name, version, before, found)
        except TimeoutError:
            raise TrialAbandoned("it changed, or was not wanted any more, while it was verified") from None
        finally:
            self._waiting.pop(task, None)

    async def prepare(self, offer: ModelOffer, version: VersionOffer, into: Path) -> str:
        """Have its model prepared in a process of its own; why that was not done, or empty.

        It has a turn as a trial has, and the same limits.
        """
        job = Job(offer, replace(version, stamps=NO_STAMPS), self._auto_complete)
        async with self._turns:
            handle = self._nurseries.setdefault(Platform.ONNX, NurseryHandle(self._limits, Platform.ONNX))
            try:
                async with asyncio.timeout(self._limits.timeout_s + GRACE_S):
                    answers, _ = await handle.begin(PreparationJob(job, into))
                    return await Hearing(offer, version, self._limits).of_preparation(answers)
            except (NurseryLost, TimeoutError, OSError) as error:
                return f"the process that was to do it went away: {error!r}"

    def abandon(self, model: str, wanted: Container[str]) -> None:
        """End the trials of a model's contents that are not `wanted` any more."""
        for waiting in self._waiting.values():
            if waiting.model != model or waiting.content in wanted:
                continue
            if not waiting.patience.expired():
                waiting.patience.reschedule(asyncio.get_running_loop().time())

    def close(self) -> None:
        """End every trial; the tasks that wait for one are cancelled. Their processes then go."""
        self._closed = True
        for task in list(self._waiting):
            task.cancel()
        for nursery in self._nurseries.values():
            nursery.close()

    def _look_up(self, name: str, version: VersionOffer) -> tuple[Stamps, Verdict | None]:
        """How the files are before their trial, and what is known of the content that was offered."""
        known, before = self._verdicts.of(name), stamps_of(version)
        if known is not None or not before or are_as_offered(version, before):
            return before, known
        return before, None if self._same_content(version) else NOT_AS_OFFERED

    def _keep(self, name: str, version: VersionOffer, before: Stamps, found: Verdict) -> Verdict:
        """What is found of files that went or changed meanwhile is of other content than the one offered."""
        if not before or stamps_of(version) != before:
            return replace(found, lasting=False, may_pass=bool(found.reason))
        self._verdicts.put(name, found)
        return found

    async def _tried(self, offer: ModelOffer, version: VersionOffer, platform: str) -> Verdict:
        async with self._turns:
            job = Job(offer, replace(version, stamps=NO_STAMPS), self._auto_complete, self._wants_example)
            for _ in range(ATTEMPTS):
                handle = self._nurseries.setdefault(platform, NurseryHandle(self._limits, platform))
                nursery = None
                try:
                    async with asyncio.timeout(self._limits.timeout_s + GRACE_S):
                        answers, nursery = await handle.begin(job)
                        found = await Hearing(offer, version, self._limits).of(answers)
                except (NurseryLost, TimeoutError, OSError) as error:
                    log.warning("nursery_lost", model=offer.name, version=version.version, reason=repr(error))
                    if nursery is not None:
                        await handle.end(nursery)
                    continue
                return found
        return Verdict(
            reason="it could not be tried: the process that tries candidates went away; the log says more",
            lasting=False,
            may_pass=True,
        )


def _platform(offer: ModelOffer, version: VersionOffer) -> str:
    assert offer.config is not None
    if version.part is not None and not version.loads("predict"):
        return NO_RUNTIME
    return str(offer.config.platform or Platform.ONNX)

"""One version that serves: its sessions, its batcher, its code, and who is using it.

Alive from the moment it is ready until it is retired: taken out of the table first, then left to
finish what it has, then closed. It is closed once.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, replace
from typing import Any

import structlog

from runtimes.device import Device
from runtimes.session import Session
from runtimes.worker.news import News, Up
from runtimes.worker.workers import WorkerSession
from server.domain.catalogue import VersionFacts
from server.domain.configuration import InstanceGroup, ModelConfig
from server.domain.scheduling import InForce, VersionScheduling
from server.domain.signature import Signature
from server.lifecycle.giving_back import Given, GivingBack
from server.lifecycle.instances import Content, Instances
from server.lifecycle.leases import Leases
from server.lifecycle.part import Part
from server.lifecycle.placement import Placement
from server.lifecycle.residency.estimate import Reading
from server.lifecycle.warmup import Learned
from server.scheduling.batcher import Batcher
from server.scheduling.padding import PadRule
from server.scheduling.plan import Plan

log = structlog.get_logger(__name__)


class ServedVersion:
    """What a request reaches.

    facts       what clients are told; its signature is what they see
    content     what it is made of, to tell whether an offer is another
    version     its number, as on the wire
    predicts    the signature of the model itself, behind pre- and post-processing code
    pre, post   this version's own code, or None
    padding     how its requests are padded, or None
    plan        how its requests wait
    reading     what memory its load was seen to take
    staged      whether more happens to a request than one plain run
    """

    def __init__(
        self,
        *,
        facts: VersionFacts,
        content: Content,
        predicts: Signature,
        batcher: Batcher,
        instances: Instances,
        sessions: Sequence[Session],
        pre: Part | None,
        post: Part | None,
        padding: PadRule | None,
        plan: Plan,
        learned: Learned,
        giving_back: GivingBack,
        reading: Reading,
    ) -> None:
        self.facts = facts
        self.version = str(facts.version)
        self.content = content
        self.predicts = predicts
        self.batcher = batcher
        self.pre = pre
        self.post = post
        self.padding = padding
        self.staged = (
            pre is not None
            or post is not None
            or padding is not None
            or predicts.most_rows > predicts.max_batch_size
        )
        self.plan = plan
        self.reading = reading
        for rows, ns in learned.items():
            batcher.profile.note(rows, int(ns), next(iter(instances)).device)
        self._instances = instances
        self._sessions = sessions
        self._leases = Leases()
        self._giving_back = giving_back

    @property
    def devices(self) -> Collection[Device]:
        """Where its sessions are open."""
        return self._instances.devices

    @property
    def instances(self) -> int:
        """Runs at the same time."""
        return len(list(self._instances))

    @property
    def in_use(self) -> bool:
        """Whether a request waits for a run, is in one, or is between its stages."""
        return bool(self.facts.tally.pending or self.batcher.under_way or self._leases.count)

    @property
    def learned(self) -> Learned:
        """How long its runs take by now."""
        return self.batcher.profile.learned(next(iter(self._instances)).device)

    def resize(self, placements: Sequence[Placement], config: ModelConfig, content: Content) -> None:
        """Have these instances from now on: a run that is under way ends where it is.

        The devices are those that there are; `config` differs in its instance groups alone.
        Raises `ResourceShort` if one of them could never run, and then nothing has changed.
        """
        wanted = self._instances.wanted(placements)
        self.batcher.resize([instance for _, instances in wanted for instance in instances])
        for instance in self._instances.have(wanted):
            instance.close()
        own = self.facts.config
        groups = config.instance_groups or (InstanceGroup(),)
        self.facts = replace(
            self.facts, config=replace(own, instance_groups=groups, declared=config.declared)
        )
        self.content = content

    def watch(self, tell: Callable[["ServedVersion", News], None]) -> None:
        """Have what becomes of its worker processes told, on this event loop. Not called if it has none."""
        loop = asyncio.get_running_loop()

        def heard(news: News) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                loop.call_soon_threadsafe(self._note, news, tell)

        for session in self._sessions:
            if isinstance(session, WorkerSession):
                session.watch(heard)

    def _note(self, news: News, tell: Callable[["ServedVersion", News], None]) -> None:
        self.facts = replace(self.facts, down="" if isinstance(news, Up) else news.why)
        if isinstance(news, Up):
            self.facts.tally.restarts += 1
        tell(self, news)

    def schedule(self, holds: InForce) -> None:
        """What is wanted of its answers from now on."""
        target_ms = holds.latency_target_ms
        self.batcher.latency_target_s = None if target_ms is None else target_ms / 1e3
        self.batcher.weight = holds.weight

    @property
    def latency_target_ms(self) -> float | None:
        """Within which each request is to be answered; None for no such target."""
        target_s = self.batcher.latency_target_s
        return None if target_s is None else target_s * 1e3

    def scheduling(self) -> VersionScheduling:
        return VersionScheduling(
            version=self.facts.version,
            queue_size=self.plan.levels[self.plan.default_level - 1].max_size,
            queue_bytes=self.plan.max_queue_bytes,
            waiting=self.facts.tally.pending,
            running=self.batcher.under_way,
            instances=self.instances,
            predicted_ms={
                rows: ns / 1e6
                for rows, ns in self.batcher.profile.learned(next(iter(self._instances)).device).items()
            },
        )

    def lease(self) -> AbstractContextManager[None]:
        """Keep the version alive while a request is between its stages."""
        return self._leases.one()

    def claim(self) -> AbstractContextManager[None]:
        """Keep the version alive for a step to come, unless its memory is needed for others till then."""
        return self._leases.claim()

    def leave(self) -> None:
        """Its memory is needed for others: who has but a claim finds its successor of the same content."""
        self._leases.void_claims()

    def hold(self, task: "asyncio.Future[Any]") -> None:
        """Keep the version alive until this task is over, from now on and not only once it has begun."""
        self._leases.until(task)

    async def retire(self, within_s: float) -> None:
        """Let the last request have its answer, then close everything."""
        await self._leases.ended(within_s)  # who is between stages even then finds the batcher closed
        await self.batcher.close(within_s)
        for instance in self._instances:
            instance.close()
        await self._giving_back.close(self._close)

    async def give_back(self) -> Given:
        """Once it is retired: wait until the memory that it held is the system's again."""
        given = await self._giving_back.back()
        log.info("memory_given_back", model=self.facts.model, version=self.facts.version, **asdict(given))
        return given

    def _close(self) -> None:
        for part in (self.pre, self.post):
            if part is not None:
                part.close()
        for session in self._sessions:
            session.close()

"""One ensemble that serves: a version without a runtime, whose requests other versions answer.

`server.stages.ensemble` runs its steps. It finds their versions anew for every request, so a member is
replaced without the ensemble being touched. Closing one closes nothing: what it leaves has to end first.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from runtimes.errors import RuntimeFault
from server.domain.catalogue import VersionFacts
from server.domain.configuration import ModelConfig, Platform
from server.domain.ensemble import Ensemble
from server.domain.errors import QueueFull
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.described import signature_of
from server.lifecycle.instances import Content
from server.lifecycle.leases import Leases
from server.lifecycle.loader import labels_of
from server.lifecycle.member_labels import MemberLabels
from server.observe.tally import Tally
from server.wire import golden


class EnsembleVersion:
    """What a request reaches.

    facts     what clients are told
    version   its number, as on the wire
    staged    always: more happens than one run
    """

    staged: Literal[True] = True

    def __init__(
        self, *, facts: VersionFacts, content: Content, ensemble: Ensemble, max_in_flight: int
    ) -> None:
        self.facts = facts
        self.version = str(facts.version)
        self.content = content
        self.ensemble = ensemble
        at_once = ensemble.max_inflight_requests
        self._turns = [asyncio.Semaphore(at_once) for _ in ensemble.steps] if at_once else []
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._leases = Leases()

    def uncounted(self) -> "EnsembleVersion":
        """The same with counts of its own, which nobody reads."""
        return EnsembleVersion(
            facts=replace(self.facts, tally=Tally()),
            content=self.content,
            ensemble=self.ensemble,
            max_in_flight=self._max_in_flight,
        )

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be one of the requests in flight. Raises `QueueFull` at once if there are as many as may be."""
        if self._in_flight >= self._max_in_flight:
            raise QueueFull(self.facts.model, self._in_flight, self._expected_s)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def turn(self, at: int) -> AbstractAsyncContextManager[None]:
        """Be one of the requests at a step, once `max_inflight_requests` allows it; first come, first served.

        Whoever has a turn waits for nothing but what the step's own model does, so turns come round.
        """
        return self._turns[at] if self._turns else nullcontext()

    def lease(self) -> AbstractContextManager[None]:
        """Keep the version alive while a request is between its steps."""
        return self._leases.one()

    def hold(self, task: "asyncio.Future[Any]") -> None:
        """Keep the version alive until this task is over, from now on and not only once it has begun."""
        self._leases.until(task)

    async def retire(self, within_s: float) -> None:
        """Let the last request have its answer."""
        await self._leases.ended(within_s)

    @property
    def _expected_s(self) -> float:
        done = self.facts.tally.success
        return done.ns / done.count / 1e9 if done.count else 1.0


def read_labels(config: ModelConfig, files: Mapping[str, Path]) -> tuple[Mapping[str, Sequence[str]], str]:
    """The labels of an ensemble that another process runs, and why they cannot be read or nothing. Blocks."""
    try:
        return labels_of(config, files), ""
    except RuntimeFault as error:
        return {}, str(error)


def open_ensemble(
    offer: ModelOffer,
    version: VersionOffer,
    content: Content,
    facts_of: Callable[[str, str], VersionFacts],
    max_in_flight: int,
) -> EnsembleVersion:
    """One version of an ensemble, as its folder has it, for `max_in_flight` requests at a time.

    `facts_of` tells of its members. Blocks: it reads labels and examples. Raises a `RuntimeFault` or a
    `ServingError`.
    """
    began = monotonic()
    config = offer.config
    assert config is not None
    ensemble = config.ensemble
    assert ensemble is not None
    examples = tuple(golden.read(path.read_bytes(), path.stem) for path in version.examples)
    labels = MemberLabels(labels_of(config, offer.labels), ensemble, facts_of)
    seconds = monotonic() - began
    facts = VersionFacts(
        model=config.name,
        version=version.version,
        platform=Platform.ENSEMBLE,
        config=config,
        signature=signature_of(config),
        tally=Tally(load_seconds=seconds),
        devices=(),
        load_seconds=seconds,
        labels=labels,
        examples=examples,
    )
    return EnsembleVersion(
        facts=facts,
        content=content,
        ensemble=ensemble,
        max_in_flight=max_in_flight,
    )

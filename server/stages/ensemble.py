"""The way of a request through an ensemble: each step as soon as its inputs are there.

A step is a request to its model like any other: it goes through that model's own stages, queue and batcher,
so that steps of different requests run together. Arrays go from step to step as they are, without a copy.

A request finds the versions of all its steps when it enters, and each stays for it until its step is done: a
model that is replaced meanwhile serves it still. One whose memory is needed meanwhile, for another step even,
goes, and is loaded again for its step. Where a queue, a pool or an ensemble is full, it is refused.
It waits for answers, for its turn at a step, and for a model to be loaded, and nothing that it has by then is
what others wait for: a turn ends with its step. So ensembles of ensembles cannot wait for each other in a
circle.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic

from server.domain.errors import DeadlineExceeded, ModelNotFound, ModelNotReady, ServingError
from server.domain.request import FOREVER, InferRequest, InferResponse
from server.lifecycle.dependencies import lacking
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.served import Find, Served
from server.lifecycle.version import ServedVersion
from server.stages.counting import counted
from server.stages.flow import needed
from server.stages.journey import Journey

Infer = Callable[[Served, InferRequest], Awaitable[InferResponse]]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version that a request will reach, and for an ensemble those of its steps, by their places.

    held   what keeps it alive; closed once it has answered
    """

    served: Served
    members: "Mapping[int, Pinned]"
    held: ExitStack


class Ensembles:
    """Answers the requests of ensembles. Holds none itself: each is its caller's to await or cancel.

    find           the version that serves a model and a version as callers write them
    standing_for   what has taken the place of a version with the same content, or itself
    infer          answers a request of a version that is no ensemble
    """

    def __init__(self, find: Find, standing_for: Callable[[Served], Served], infer: Infer) -> None:
        self._find = find
        self._standing_for = standing_for
        self._infer = infer

    async def answer(self, served: EnsembleVersion, request: InferRequest) -> InferResponse:
        """Answer within the request's deadline, or raise a `ServingError`; if cancelled, so are all steps."""
        left = None if request.deadline == FOREVER else request.deadline - monotonic()
        with ExitStack() as leases:
            pinned = self._pin(served, request.outputs, leases)
            try:
                async with asyncio.timeout(left):
                    return await self._enter(served, pinned, request)
            except TimeoutError:
                raise DeadlineExceeded(request.model) from None

    def _pin(self, served: Served, outputs: tuple[str, ...], leases: ExitStack) -> Pinned:
        """Hold a version, and all that it needs for these of its outputs; empty for all."""
        held = leases.enter_context(ExitStack())
        held.enter_context(served.claim() if isinstance(served, ServedVersion) else served.lease())
        if not isinstance(served, EnsembleVersion):
            return Pinned(served, {}, held)
        seen = served.facts.signature
        seen.check_outputs(outputs)
        steps = served.ensemble.steps
        members = {}
        for at in needed(steps, outputs or seen.output_order):
            step = steps[at]
            try:
                member = self._find(step.model, step.wanted)
            except (ModelNotFound, ModelNotReady):
                raise ModelNotReady(lacking(served.facts.model, step)) from None
            members[at] = self._pin(member, tuple(step.outputs), held)
        return Pinned(served, members, held)

    async def _enter(self, served: EnsembleVersion, pinned: Pinned, request: InferRequest) -> InferResponse:
        """Take a place in the ensemble, and run what can run until nothing is left."""
        request.rows = served.facts.signature.rows(request.inputs)
        with served.place():
            journey = Journey(served, request)
            ready = journey.begin()
            running: dict[asyncio.Task[InferResponse], int] = {}
            try:
                while ready or running:
                    if len(ready) == 1 and not running:  # as in every chain: it needs no task of its own
                        at = ready[0]
                        ready = journey.note(at, await self._step(journey, at, pinned.members[at]))
                        continue
                    for at in ready:
                        step = self._step(journey, at, pinned.members[at])
                        running[asyncio.create_task(step)] = at
                    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    ready = []
                    for task in done:
                        ready += journey.note(running.pop(task), task.result())
            finally:
                if running:
                    for task in running:
                        task.cancel()
                    await asyncio.gather(*running, return_exceptions=True)
            return journey.end()

    async def _step(self, journey: Journey, at: int, member: Pinned) -> InferResponse:
        """Run one step. What its model refuses is refused in the name of the ensemble."""
        served = member.served
        began = monotonic()
        trace = None
        try:
            async with journey.turn(at):
                request = journey.request_of(at, served)
                trace = request.trace
                served = self._standing_for(served)
                if isinstance(served, EnsembleVersion):
                    with counted(served.facts.tally, request.arrived):
                        return await self._enter(served, member, request)
                return await self._infer(served, request)
        except ServingError as error:
            raise journey.told(at, error) from None
        finally:
            if trace is not None:
                trace.end({"tercet.model": served.facts.model})
            member.held.close()  # memory that another step needs may have to come from this one
            journey.note_time(at, monotonic() - began)

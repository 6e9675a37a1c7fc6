"""One stage asked by itself: a pre or a post tier that answers a client as any server does.

A pre tier that knows where the predict tier is goes on there, and its answer is that of the whole way; one
that does not answers with what its code made. A post tier takes what the model gives.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, monotonic_ns
from typing import Protocol

import structlog

from server.domain.errors import DeadlineExceeded, InvalidRequest, QueueFull, StageFailed
from server.domain.request import FOREVER, InferRequest, InferResponse
from server.domain.stage import Span, StageName
from server.domain.tensors import Tensors
from server.lifecycle.part import named
from server.lifecycle.part_version import PartVersion
from server.observe.pressure import patience_ns
from server.observe.tally import Tally
from server.stages.pool import Job, Pool

log = structlog.get_logger(__name__)


class Onward(Protocol):
    async def go(self, served: PartVersion, request: InferRequest, tensors: Tensors) -> Tensors:
        """What the stages behind this one make of `tensors`. Raises a `ServingError`; cancelling it cancels
        what is on its way."""
        ...


class Alone:
    """`onward` is the way to the next tier; None where nobody has said where it is."""

    def __init__(self, pool: Pool, onward: Onward | None = None) -> None:
        self._pool = pool
        self._onward = onward

    async def answer(self, served: PartVersion, request: InferRequest) -> InferResponse:
        """Call it with a lease on what was found. Raises a `ServingError`."""
        signature = served.facts.signature
        if served.stage == "post" and signature.outputs:
            signature.check_outputs(request.outputs)
        request.rows = signature.rows(request.inputs) if served.checks else 1
        if request.deadline == FOREVER:
            outputs, span = await self._through(served, request)
        else:
            try:
                async with asyncio.timeout(request.deadline - monotonic()):
                    outputs, span = await self._through(served, request)
            except TimeoutError:
                raise DeadlineExceeded(request.model) from None
        return InferResponse(
            request.model,
            served.version,
            _asked_for(served, request, outputs),
            request.id,
            queue_ns=span.queue_ns,
            compute_ns=span.compute_ns,
        )

    async def _through(self, served: PartVersion, request: InferRequest) -> tuple[Tensors, Span]:
        outputs, span = await self.run(served, request, request.inputs)
        if self._onward is not None and served.stage == "pre":
            outputs = await self._onward.go(served, request, outputs)
        return outputs, span

    async def run(self, served: PartVersion, request: InferRequest, tensors: Tensors) -> tuple[Tensors, Span]:
        """Its code, for one request of whoever asks, and what that took. Raises a `ServingError`."""
        try:
            job = await self._pool.run(request.model, self._work(served, request, tensors))
        except QueueFull:
            self._refused(served)
            raise
        return job.result(), self.over(served, request, job)

    def begin(
        self,
        served: PartVersion,
        request: InferRequest,
        tensors: Tensors,
        told: Callable[[Job[Tensors]], object],
    ) -> Job[Tensors]:
        """The same without a task: `told` is called once, on the loop, and then asks what it took of `over`.

        Raises a `ServingError` if the request is refused.
        """
        try:
            return self._pool.begin(request.model, self._work(served, request, tensors), told)
        except QueueFull:
            self._refused(served)
            raise

    def over(self, served: PartVersion, request: InferRequest, job: Job[Tensors]) -> Span:
        """Count what has ended well; what it took."""
        tally = served.facts.tally
        waited, took = job.began - job.queued, job.ended - job.began
        if request.trace is not None:
            request.trace.stage(served.stage, job.queued, job.began, job.ended)
        tally.note(_count, (served.stage, waited, took, monotonic_ns()))
        return Span(served.stage, waited, took)

    def _work(self, served: PartVersion, request: InferRequest, tensors: Tensors) -> Callable[[], Tensors]:
        served.facts.tally.of_code = self._pool.demand
        return partial(served.part.run, tensors, request.id, request.parameters, request.priority)

    def _refused(self, served: PartVersion) -> None:
        tally = served.facts.tally
        tally.refused["requests"] += 1
        tally.pressure.note(1.0, 1, monotonic_ns())


def _count(tally: Tally, calls: Sequence[tuple[StageName, int, int, int]]) -> None:
    """Calls of a stage's code: each with its times in ns, and when it was told of, monotonic."""
    sums = tally.sums
    waits = [waited for _, waited, _, _ in calls]
    sums.pressure.note_each([(waited / patience_ns(took), told) for _, waited, took, told in calls])
    sums.queue.add(len(waits), sum(waits))
    sums.queue_s.add_each([waited / 1e9 for waited in waits])
    for stage in {stage for stage, *_ in calls}:
        tally.stage(stage).add_each([took / 1e9 for each, _, took, _ in calls if each == stage])


def _asked_for(served: PartVersion, request: InferRequest, outputs: Tensors) -> Tensors:
    """The outputs that were asked for, in that order; all of them if none was named."""
    facts = served.facts
    wanted = request.outputs or (facts.signature.output_order if served.stage == "post" else ())
    missing = [name for name in wanted if name not in outputs]
    if not missing:
        return {name: outputs[name] for name in wanted or outputs}
    if served.stage == "pre":
        gives = ", ".join(map(repr, outputs))
        raise InvalidRequest(
            f"unexpected inference output '{missing[0]}' for model '{request.model}'; it gives {gives}"
        )
    request_id = named(request.id)
    log.error("stage_output_missing", model=request.model, missing=missing, request_id=request_id)
    raise StageFailed(facts.model, facts.version, "post", request_id)

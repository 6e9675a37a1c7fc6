"""One stage asked by itself: a pre or a post tier that answers a client as any server does.

A pre tier that knows where the predict tier is goes on there, and its answer is that of the whole way; one
that does not answers with what its code made. A post tier takes what the model gives.
"""

import asyncio
from time import monotonic, monotonic_ns
from typing import Protocol
from uuid import uuid4

import structlog

from server.domain.errors import DeadlineExceeded, InvalidRequest, QueueFull, StageFailed
from server.domain.request import FOREVER, InferRequest, InferResponse
from server.domain.stage import Span
from server.domain.tensors import Tensors
from server.lifecycle.part_version import PartVersion
from server.observe.pressure import patience_ns
from server.stages.pool import Pool

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
        request_id = request.id or uuid4().hex
        left = None if request.deadline == FOREVER else request.deadline - monotonic()
        try:
            async with asyncio.timeout(left):
                outputs, span = await self.run(served, request, request.inputs, request_id)
                if self._onward is not None and served.stage == "pre":
                    outputs = await self._onward.go(served, request, outputs)
        except TimeoutError:
            raise DeadlineExceeded(request.model) from None
        return InferResponse(
            request.model,
            served.version,
            _asked_for(served, request, outputs, request_id),
            request.id,
            queue_ns=span.queue_ns,
            compute_ns=span.compute_ns,
        )

    async def run(
        self, served: PartVersion, request: InferRequest, tensors: Tensors, request_id: str
    ) -> tuple[Tensors, Span]:
        """Its code, for one request of whoever asks, and what that took. Raises a `ServingError`."""
        tally = served.facts.tally
        tally.of_code = self._pool.demand
        queued = began = monotonic_ns()

        def work() -> Tensors:
            nonlocal began
            began = monotonic_ns()
            return served.part.run(tensors, request_id, request.parameters, request.priority)

        try:
            outputs = await self._pool.run(request.model, work)
        except QueueFull:
            tally.refused["requests"] += 1
            tally.pressure.note(1.0, 1, monotonic_ns())
            raise
        ended = monotonic_ns()
        waited, took = began - queued, ended - began
        if request.trace is not None:
            request.trace.stage(served.stage, queued, began, ended)
        tally.pressure.note(waited / patience_ns(took), 1, ended)
        tally.queue.add(1, waited)
        tally.queue_s.add(waited / 1e9)
        tally.stage(served.stage).add(took / 1e9)
        return outputs, Span(served.stage, waited, took)


def _asked_for(served: PartVersion, request: InferRequest, outputs: Tensors, request_id: str) -> Tensors:
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
    log.error("stage_output_missing", model=request.model, missing=missing, request_id=request_id)
    raise StageFailed(facts.model, facts.version, "post", request_id)

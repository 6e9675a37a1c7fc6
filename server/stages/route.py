"""The way of one request: resolved once, at the door, then pre-process, predict, post-process.

A version without code of its own has one stage, and its request goes straight to the batcher. An
ensemble has steps instead (`server.stages.ensemble`). A request is pinned to the version that it
found, for its whole way.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from time import monotonic, monotonic_ns

import structlog

from server.domain.errors import (
    DeadlineExceeded,
    InvalidRequest,
    RequestCancelled,
    StageFailed,
    TierUnavailable,
)
from server.domain.request import FOREVER, NO_PARAMETERS, InferRequest, InferResponse, Parameters
from server.domain.stage import STAGES, Span, StageName
from server.domain.tensors import Array, Tensors
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.idle import IdleVersion
from server.lifecycle.part import CodeStage, Part, named
from server.lifecycle.part_version import PartVersion
from server.lifecycle.remote import RemoteVersion
from server.lifecycle.served import Plain, Served
from server.lifecycle.table import Table
from server.lifecycle.version import ServedVersion
from server.observe.tracing.traced import Traced
from server.scheduling.padding import PadRule
from server.scheduling.queue import input_bytes
from server.scheduling.ticket import Lane, Ticket
from server.stages.alone import Alone, Onward
from server.stages.counting import counted, failures_counted
from server.stages.ensemble import Ensembles
from server.stages.explaining import timings, wants_timing
from server.stages.hop.counting import HopRun
from server.stages.pool import Job, Pool
from server.stages.splitting import cut, through_pieces
from server.stages.tracing import hopped, ran

log = structlog.get_logger(__name__)


class Route:
    """Takes requests from every door. Holds no request itself: each is its caller's to await or cancel.

    find   of a model and a version as callers write it: the version that a request is pinned to from here on.
           Raises `ModelNotFound`, `ModelNotReady`, or `VersionMalformed` for what is no version.
    """

    def __init__(self, table: Table, pool: Pool, onward: Onward | None = None) -> None:
        self._table = table
        self.find = table.find
        self._pool = pool
        self._alone = Alone(pool, onward)
        self._ensembles = Ensembles(table.find, table.standing_for, self.infer)

    async def infer(self, served: Served, request: InferRequest) -> InferResponse:
        """Answer one request. Raises a `ServingError`; cancelling it takes queued work along.

        Call it in the same turn of the loop as `find`, or with a lease on what was found.
        """
        if served.staged:
            if isinstance(served, IdleVersion):
                return await self._once_loaded(served, request)
            with served.lease(), counted(served.facts.tally, request.arrived):
                if isinstance(served, EnsembleVersion):
                    return await self._ensembles.answer(served, request)
                if isinstance(served, PartVersion):
                    return await self._alone.answer(served, request)
                assert isinstance(served, ServedVersion)
                return await self._through_stages(served, request)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket = self.begin(served, request, lambda _: None if answered.done() else answered.set_result(None))
        try:
            await answered
        except asyncio.CancelledError:
            self.leave(served, ticket)
            raise
        finally:
            if request.trace is not None:
                _note(request.trace, served, ticket)
        outputs = ticket.outputs
        if outputs is None:
            assert ticket.error is not None
            raise ticket.error
        return respond(served, request, ticket, outputs)

    async def _once_loaded(self, found: IdleVersion, request: InferRequest) -> InferResponse:
        """Wait until the version is in memory, and go on as who finds it there.

        A request that the version would refuse anyway is refused at once: nothing is loaded for it. What is
        loaded is asked again, as it may take something else than was known of it.
        """
        if not found.is_guess:
            found.facts.signature.check_outputs(request.outputs)
            found.facts.signature.rows(request.inputs)
        request.rows = 0
        with ExitStack() as stay:
            return await self.infer(await self.in_memory(found, request, stay), request)

    async def in_memory(self, found: IdleVersion, request: InferRequest, stay: ExitStack) -> Served:
        """Wait until a version is in memory, where it stays until `stay` is closed; what to ask from then on.

        Raises a `ServingError`: what kept it from being loaded, or that the request's time is over.
        """
        served = self._table.standing_for(found)
        if not isinstance(served, IdleVersion):
            return served
        with served.lease(), failures_counted(served.facts.tally, request.arrived):
            left = None if request.deadline == FOREVER else request.deadline - monotonic()
            if left is not None and left <= 0:
                raise DeadlineExceeded(request.model)
            began = monotonic_ns()
            try:
                async with asyncio.timeout(left):
                    return await served.bring(stay, input_bytes(request.inputs), request.deadline)
            except TimeoutError:
                raise DeadlineExceeded(request.model) from None
            finally:
                if request.trace is not None:
                    request.trace.part("load", began, monotonic_ns())

    def begin(self, served: Plain, request: InferRequest, told: Callable[[Ticket], None]) -> Ticket:
        """The way without a task, for a version that is not `staged`: `told` is called once, on the loop.

        Call it in the same turn of the loop as `find`. Raises a `ServingError` if the request is refused.
        """
        predicts = served.predicts
        if request.outputs:
            predicts.check_outputs(request.outputs)
        inputs = request.inputs
        rows = request.rows = request.rows or predicts.rows(inputs)
        lane = lane_of(inputs) if predicts.shapes_vary else None
        ticket = Ticket(
            inputs, rows, told, lane, request.deadline, request.arrived, request.priority, request.client
        )
        ticket.request = request
        served.batcher.submit(ticket)
        return ticket

    def again(
        self,
        served: Plain,
        inputs: Tensors,
        rows: int,
        told: Callable[[Ticket], None],
        deadline: float,
        arrived: float,
        client: str,
    ) -> Ticket:
        """`begin` for inputs that fit and have `rows`, as their like did: they have nothing else to say."""
        lane = lane_of(inputs) if served.predicts.shapes_vary else None
        ticket = Ticket(inputs, rows, told, lane, deadline, arrived, 0, client)
        served.batcher.submit(ticket)
        return ticket

    def leave(self, served: Plain, ticket: Ticket) -> None:
        """The caller gave up: its queued work goes with it, and it is told so."""
        served.batcher.leave(ticket, RequestCancelled(served.facts.model))

    def does(self, served: Served, stage: StageName) -> bool:
        """Whether this process has that stage of a version."""
        match stage:
            case "predict":
                return isinstance(served, ServedVersion)
            case "pre" | "post":
                return isinstance(served, ServedVersion | PartVersion) and getattr(served, stage) is not None

    async def do(
        self, served: Served, stage: StageName, request: InferRequest, tensors: Tensors
    ) -> tuple[Tensors, Span]:
        """One stage of a request, for a way that goes on elsewhere. Raises a `ServingError`.

        Call it with a lease on what was found.
        """
        if not self.does(served, stage):
            raise TierUnavailable(stage, request.model, "it was asked of another tier", untouched=True)
        if isinstance(served, PartVersion):
            return await self._alone.run(served, request, tensors)
        assert isinstance(served, ServedVersion)
        part = served.pre if stage == "pre" else served.post
        if stage != "predict" and part is not None:
            return await self._stage(served, stage, part, tensors, request, request.id)
        rows = served.predicts.rows(tensors)
        if served.padding is None:
            ticket = await self._predict(served, request, tensors, rows)
            assert ticket.outputs is not None
            outputs = ticket.outputs
        else:
            ticket, outputs = await self._predict_padded(served, served.padding, request, tensors, rows)
        run = ticket.run
        assert run is not None
        return outputs, Span("predict", run.began - ticket.queued, run.ended - run.inferred, run.rows)

    def begin_code(
        self,
        served: PartVersion,
        request: InferRequest,
        tensors: Tensors,
        told: Callable[[Job[Tensors]], object],
    ) -> Job[Tensors]:
        """As `do` for code that is all that this process has of a version, without a task: `told` is called
        once, on the loop, and then asks `code_over`. Raises a `ServingError` if the request is refused.
        """
        return self._alone.begin(served, request, tensors, told)

    def code_over(self, served: PartVersion, request: InferRequest, job: Job[Tensors]) -> Span:
        """Count code that has ended well; what it took."""
        return self._alone.over(served, request, job)

    def leave_code(self, job: Job[Tensors]) -> None:
        """Nobody waits for it any more: if it has not begun, it never does."""
        self._pool.leave(job)

    async def _predict(
        self, served: ServedVersion, request: InferRequest, inputs: Tensors, rows: int
    ) -> Ticket:
        """The stage between the others; the request is counted when its whole way is done."""
        lane = lane_of(inputs) if served.predicts.shapes_vary else None

        def ticket_of(inputs: Tensors, rows: int, told: Callable[[Ticket], None]) -> Ticket:
            return Ticket(
                inputs,
                rows,
                told,
                lane,
                request.deadline,
                priority=request.priority,
                client=request.client,
                asked=request.arrived,
            )

        most = served.predicts.max_batch_size
        if most and rows > most:
            pieces = cut(inputs, rows, most)
            whole = await through_pieces(
                served.batcher, served.facts.model, served.facts.tally, ticket_of, pieces
            )
            if request.trace is not None:
                ran(request.trace, whole)
            return whole
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket = ticket_of(inputs, rows, lambda _: None if answered.done() else answered.set_result(None))
        served.batcher.submit(ticket)
        try:
            await answered
        except asyncio.CancelledError:
            self.leave(served, ticket)
            raise
        if request.trace is not None:
            ran(request.trace, ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket

    async def _predict_padded(
        self, served: ServedVersion, rule: PadRule, request: InferRequest, inputs: Tensors, rows: int
    ) -> tuple[Ticket, Tensors]:
        """The same with inputs that are padded on the way in, and outputs that are cut back."""
        padded = rule.pad(inputs)
        served.facts.tally.fill("length").add(padded.real, padded.added)
        ticket = await self._predict(served, request, padded.inputs, rows)
        assert ticket.outputs is not None
        return ticket, padded.cut(ticket.outputs)

    async def _through_stages(self, served: ServedVersion, request: InferRequest) -> InferResponse:
        """Pre-process, predict, post-process, within the request's deadline."""
        seen = served.facts.signature
        seen.check_outputs(request.outputs)
        rows = request.rows = seen.rows(request.inputs)
        request_id = _known_as(served, request)
        took: list[Span] = []
        if request.deadline == FOREVER:
            ticket, outputs = await self._each_stage(served, request, rows, request_id, took)
        else:
            try:
                async with asyncio.timeout(request.deadline - monotonic()):
                    ticket, outputs = await self._each_stage(served, request, rows, request_id, took)
            except TimeoutError:
                raise DeadlineExceeded(request.model) from None
        missing = [name for name in request.outputs or seen.output_names if name not in outputs]
        if missing:
            request_id = named(request_id)
            log.error("stage_output_missing", model=request.model, missing=missing, request_id=request_id)
            raise StageFailed(request.model, served.facts.version, "post", request_id)
        if not request.outputs:
            outputs = {name: outputs[name] for name in seen.output_order}
        return respond(served, request, ticket, outputs, took)

    async def _each_stage(
        self, served: ServedVersion, request: InferRequest, rows: int, request_id: str, took: list[Span]
    ) -> tuple[Ticket, Tensors]:
        """The run, and what came of it at the end; `took` gets what the other stages took."""
        inputs: Tensors = request.inputs
        if served.pre is not None:
            inputs, span = await self._stage(served, "pre", served.pre, inputs, request, request_id)
            took.append(span)
            rows = _rows_for_model(served, inputs, request_id)
        if served.padding is None:
            ticket = await self._predict(served, request, inputs, rows)
            assert ticket.outputs is not None
            outputs = ticket.outputs
        else:
            ticket, outputs = await self._predict_padded(served, served.padding, request, inputs, rows)
        if served.post is not None:
            outputs, span = await self._stage(served, "post", served.post, outputs, request, request_id)
            took.append(span)
        return ticket, outputs

    async def _stage(
        self,
        served: ServedVersion,
        name: CodeStage,
        part: Part,
        tensors: Tensors,
        request: InferRequest,
        request_id: str,
    ) -> tuple[dict[str, Array], Span]:
        work = partial(part.run, tensors, request_id, request.parameters, request.priority)
        job = await self._pool.run(served.facts.model, work)
        outputs = job.result()
        if request.trace is not None:
            request.trace.stage(name, job.queued, job.began, job.ended)
        tally = served.facts.tally
        tally.of_code = self._pool.demand
        tally.stage(name).add((job.ended - job.queued) / 1e9)
        return outputs, Span(name, job.began - job.queued, job.ended - job.began)


def _known_as(served: ServedVersion, request: InferRequest) -> str:
    """By what name the stages know a request; empty if none of them is told."""
    told = any(part is not None and part.takes_request for part in (served.pre, served.post))
    return named(request.id) if told else request.id


def _rows_for_model(served: ServedVersion, inputs: Tensors, request_id: str) -> int:
    """Hold what pre-processing made against the model; a misfit is the code's fault, not the caller's."""
    try:
        return served.predicts.rows(inputs)
    except InvalidRequest as misfit:
        request_id = named(request_id)
        facts = served.facts
        log.error(
            "pre_output_misfit",
            model=facts.model,
            version=facts.version,
            reason=str(misfit),
            request_id=request_id,
        )
        raise StageFailed(facts.model, facts.version, "pre", request_id) from None


def lane_of(inputs: Tensors) -> Lane:
    """What requests must share to run together, where their shapes vary."""
    return tuple(sorted((name, array.shape[1:]) for name, array in inputs.items()))


def _note(trace: Traced, served: Plain, ticket: Ticket) -> None:
    """Have the trace of a request tell of its run, here or in another tier."""
    if isinstance(served, RemoteVersion):
        hopped(trace, ticket, served.route[0])
    else:
        ran(trace, ticket)


def respond(
    served: Served,
    request: InferRequest,
    ticket: Ticket,
    outputs: Tensors,
    took: Sequence[Span] = (),
) -> InferResponse:
    """The answer: the outputs asked for, in the order asked for; `outputs` as they are if none was named.

    `took` has what stages beside the run took in this process.
    """
    if request.outputs:
        outputs = {name: outputs[name] for name in request.outputs}
    run = ticket.run
    assert run is not None
    parameters = NO_PARAMETERS
    if request.parameters and wants_timing(request):
        parameters = _timings(request, ticket, took)
    return InferResponse(
        request.model,
        served.version,
        outputs,
        request.id,
        parameters,
        run.rows,
        run.began - ticket.queued,
        run.ended - run.inferred,
    )


def _timings(request: InferRequest, ticket: Ticket, took: Sequence[Span]) -> Parameters:
    run = ticket.run
    assert run is not None
    if isinstance(run, HopRun):
        return timings(request, run.spans, run.transfer_ns)
    spans = {span.stage: span for span in took}
    spans["predict"] = Span("predict", run.began - ticket.queued, run.ended - run.inferred, run.rows)
    return timings(request, [spans[stage] for stage in STAGES if stage in spans])

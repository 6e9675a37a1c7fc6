"""What one process does for others: its own part of each request, and the rest by whoever comes next.

Requests without a deadline, priority or client of their own run as one ticket for several of them, so that
what a request costs here is little more than its rows.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from time import monotonic
from typing import Any

import orjson
import structlog

from protos import stage_pb2 as pb
from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelNotReady,
    RequestCancelled,
    ServerBusy,
    ServerStopping,
    ServingError,
)
from server.domain.phase import Station
from server.domain.request import FOREVER, NO_PARAMETERS, InferRequest
from server.domain.signature import Signature
from server.domain.stage import Span, Spans, StageName
from server.domain.tensors import Array, Tensors
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.idle import IdleVersion
from server.lifecycle.part_version import PartVersion
from server.lifecycle.served import Served
from server.lifecycle.table import Table
from server.lifecycle.version import ServedVersion
from server.observe.tracing.tracer import Tracer
from server.scheduling.ticket import Ticket
from server.stages.hop.blame import blamed
from server.stages.hop.counting import HopRun, count_joint
from server.stages.hop.forwarding import Forwarding
from server.stages.hop.hedging import hedge_ms_of
from server.stages.hop.replies import Replies
from server.stages.hop.way import Way
from server.stages.pool import Job
from server.stages.route import Route, lane_of
from server.stages.tracing import hopped, ran
from server.wire.bundle import Batch, Bundle, read
from server.wire.heading import MOST_KNOWN, Broken, Heading
from server.wire.lone import LoneRequest

log = structlog.get_logger(__name__)


class Tier:
    """Takes bundles on the event loop, whichever stream they come by.

    max_in_flight   requests of one stream
    tracer          follows the traces of requests that are sampled; None where nobody collects them
    """

    def __init__(
        self,
        stage: StageName,
        table: Table,
        route: Route,
        forwarding: Forwarding,
        station: Station,
        *,
        max_in_flight: int,
        tracer: Tracer | None = None,
    ) -> None:
        self.stage = stage
        self._table = table
        self._route = route
        self._forwarding = forwarding
        self._station = station
        self._max_in_flight = max_in_flight
        self._tracer = tracer
        self._fitting: dict[Heading, Signature] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, bundle: Bundle, replies: Replies) -> None:
        """Begin what a bundle asks; its answers go to `replies`. Raises `Broken` for one without sense."""
        heading, head, columns = bundle
        if head.cancelled:
            for number in head.cancelled:
                give_up = replies.works.pop(number, None)
                if give_up is not None:
                    give_up()
        ids = head.ids[:]
        if not ids:
            return
        batch = read(heading, head, columns)
        served = self._admitted(heading, ids, replies)
        if served is not None:
            self._begin_all(served, heading, head, batch, replies)

    def take_lone(self, asked: LoneRequest, replies: Replies) -> None:
        """Begin what a request alone asks, which is its tensors and nothing else."""
        heading, number, rows, tensors = asked
        ids = [number]
        served = self._admitted(heading, ids, replies)
        if served is None:
            return
        if isinstance(served, ServedVersion) and self._fitting.get(heading) is served.predicts:
            self._run(served, ids, [rows], tensors, None, heading.route[1:], heading, replies)
        else:
            head = pb.Head(ids=ids, rows=[rows])
            self._begin_all(served, heading, head, Batch(tensors, False, [rows]), replies)

    def _admitted(self, heading: Heading, ids: Sequence[int], replies: Replies) -> Served | None:
        """What answers requests that have come; None if they may not begin, and have been told so."""
        replies.open(len(ids))
        try:
            self._station.admit()
            if replies.unanswered > self._max_in_flight:
                raise ServerBusy(replies.unanswered)
            return self._find(heading)
        except ServingError as error:
            for number in ids:
                replies.fail(number, error, untouched=True)
            return None

    def _begin_all(
        self, served: Served, heading: Heading, head: pb.Head, batch: Batch, replies: Replies
    ) -> None:
        if isinstance(served, ServedVersion) and not served.staged and heading.route[:1] == ("predict",):
            self._predict(served, heading, head, batch, replies)
            return
        asked = self._requests(heading, head, batch, replies)
        for number, each in zip(head.ids, asked, strict=True):
            self._begin(served, number, each, heading.route, heading, replies)

    def _find(self, heading: Heading) -> Served:
        served = self._table.find(heading.model, str(heading.version))
        if served.content.whole != heading.content or isinstance(served, EnsembleVersion):
            raise ModelNotReady(
                f"model '{heading.model}' version {heading.version} has other files in this {self.stage} tier"
            )
        return served

    # Requests that are their tensors and nothing else.

    def _predict(
        self, served: ServedVersion, heading: Heading, head: pb.Head, batch: Batch, replies: Replies
    ) -> None:
        ids, rest = head.ids[:], heading.route[1:]
        most = served.predicts.max_batch_size
        together = most > 1 and not (head.timeouts_us or head.priorities or head.particulars)
        joint = _rowwise(batch) if together else None
        if joint is None:
            for number, asked in zip(ids, self._requests(heading, head, batch, replies), strict=True):
                self._run(served, [number], [0], asked.inputs, asked, rest, heading, replies)
            return
        tensors, rows = joint
        start = at = 0
        while at < len(ids):
            first, count = at, rows[at]
            at += 1
            while at < len(ids) and count + rows[at] <= max(1, most // 2):
                count += rows[at]
                at += 1
            inputs = {name: array[start : start + count] for name, array in tensors.items()}
            self._run(served, ids[first:at], rows[first:at], inputs, None, rest, heading, replies)
            start += count

    def _run(
        self,
        served: ServedVersion,
        ids: Sequence[int],
        rows: Sequence[int],
        inputs: dict[str, Array],
        asked: InferRequest | None,
        rest: tuple[StageName, ...],
        heading: Heading,
        replies: Replies,
        *,
        is_first: bool = True,
    ) -> None:
        """One ticket for requests that go together; `asked` for one that says more of itself.

        `is_first` unless they were in a run already, which failed.
        """
        now = monotonic()
        alone = asked is not None or len(ids) == 1

        def told(ticket: Ticket) -> None:
            if asked is not None and asked.trace is not None:
                ran(asked.trace, ticket)
            error = ticket.error
            if error is not None:
                if len(ids) > 1 and isinstance(error, InferenceFailed):
                    self._one_by_one(served, ids, rows, inputs, rest, heading, replies)
                    return
                for number in ids:
                    replies.fail(number, error)
                return
            run, outputs = ticket.run, ticket.own or ticket.outputs
            assert run is not None
            assert outputs is not None
            span = Span("predict", run.began - ticket.queued, run.ended - run.inferred, run.rows)
            if not alone:
                count_joint(served.facts.tally, len(ids), ticket, now)
            if rest:
                self._pass_on(served, ids, rows, outputs, asked, span, rest, heading, replies)
            elif asked is None:
                replies.answer(ids, rows, outputs, (span,))
            else:
                replies.answer_one(ids[0], outputs, (span,))

        predicts = served.predicts
        try:
            count = self._rows(predicts, heading, rows, inputs) if asked is None else predicts.rows(inputs)
            lane = lane_of(inputs) if predicts.shapes_vary else None
            if asked is None:
                ticket = Ticket(inputs, count, told, lane, arrived=now if alone else 0.0, asked=now)
            else:
                deadline, priority, client = asked.deadline, asked.priority, asked.client
                ticket = Ticket(inputs, count, told, lane, deadline, now, priority, client)
                replies.works[ids[0]] = lambda: served.batcher.leave(ticket, RequestCancelled(heading.model))
            served.batcher.submit(ticket)
        except ServingError as error:
            for number in ids:
                replies.fail(number, error, untouched=is_first and isinstance(error, ServerStopping))

    def _rows(self, predicts: Signature, heading: Heading, rows: Sequence[int], inputs: Tensors) -> int:
        """As `Signature.rows`; of what has the heading of something that fitted only rows are looked at."""
        if self._fitting.get(heading) is predicts:
            count = sum(rows)
            if 1 <= count <= predicts.most_rows:
                return count
        count = predicts.rows(inputs)
        if len(self._fitting) >= MOST_KNOWN:
            self._fitting.clear()
        self._fitting[heading] = predicts
        return count

    def _one_by_one(
        self,
        served: ServedVersion,
        ids: Sequence[int],
        rows: Sequence[int],
        inputs: Tensors,
        rest: tuple[StageName, ...],
        heading: Heading,
        replies: Replies,
    ) -> None:
        """Their run failed: each goes again alone, so that one poisonous request fails only itself."""
        start = 0
        for number, count in zip(ids, rows, strict=True):
            own = {name: array[start : start + count] for name, array in inputs.items()}
            self._run(served, [number], [count], own, None, rest, heading, replies, is_first=False)
            start += count

    def _pass_on(
        self,
        served: ServedVersion,
        ids: Sequence[int],
        rows: Sequence[int],
        outputs: Tensors,
        asked: InferRequest | None,
        span: Span,
        rest: tuple[StageName, ...],
        heading: Heading,
        replies: Replies,
    ) -> None:
        if asked is not None:
            self._ahead(served, ids[0], asked, outputs, (span,), rest, heading, replies)
            return
        start = 0
        for number, count in zip(ids, rows, strict=True):
            own = {name: array[start : start + count] for name, array in outputs.items()}
            request = InferRequest(heading.model, str(heading.version), {}, rows=count)
            self._ahead(served, number, request, own, (span,), rest, heading, replies)
            start += count

    # Requests that go their way one by one.

    def _begin(
        self,
        served: Served,
        number: int,
        asked: InferRequest,
        stages: tuple[StageName, ...],
        heading: Heading,
        replies: Replies,
    ) -> None:
        if (
            isinstance(served, PartVersion)
            and stages[:1] == (served.stage,)
            and asked.deadline == FOREVER
            and asked.trace is None
        ):
            self._code(served, number, asked, stages[1:], heading, replies)
            return
        task = asyncio.get_running_loop().create_task(
            self._through(served, number, asked, stages, heading, replies)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        served.hold(task)
        replies.works[number] = task.cancel

    def _code(
        self,
        served: PartVersion,
        number: int,
        asked: InferRequest,
        rest: tuple[StageName, ...],
        heading: Heading,
        replies: Replies,
    ) -> None:
        """The code that is all of the version here, then the rest; without a task, or a clock to watch."""

        def told(job: Job[Tensors]) -> None:
            served.let_go()
            try:
                tensors = job.result()
                spans = (self._route.code_over(served, asked, job),)
                if rest:
                    self._ahead(served, number, asked, tensors, spans, rest, heading, replies)
                else:
                    replies.answer_one(number, tensors, spans)
            except asyncio.CancelledError:
                replies.fail(number, RequestCancelled(heading.model))
            except Exception as error:
                self._failed(number, error, heading, replies)

        def give_up() -> None:
            self._route.leave_code(job)
            served.let_go()
            replies.fail(number, RequestCancelled(heading.model))

        try:
            job = self._route.begin_code(served, asked, asked.inputs, told)
        except ServingError as error:
            replies.fail(number, error)
            return
        served.take()
        replies.works[number] = give_up

    def _failed(self, number: int, error: Exception, heading: Heading, replies: Replies) -> None:
        if not isinstance(error, ServingError):
            log.error("stage_crashed", model=heading.model, stage=self.stage, exc_info=error)
        replies.fail(number, error)

    async def _through(
        self,
        served: Served,
        number: int,
        asked: InferRequest,
        stages: tuple[StageName, ...],
        heading: Heading,
        replies: Replies,
    ) -> None:
        """The stages that this process does, one after the other; then the rest, by the next tier."""
        tensors: Tensors = asked.inputs
        spans: list[Span] = []
        try:
            left = None if asked.deadline == FOREVER else asked.deadline - monotonic()
            with ExitStack() as stay:
                async with asyncio.timeout(left):
                    if isinstance(served, IdleVersion):
                        served = await self._route.in_memory(served, asked, stay)
                    for at, stage in enumerate(stages):
                        if at and not self._route.does(served, stage):
                            self._ahead(served, number, asked, tensors, spans, stages[at:], heading, replies)
                            return
                        tensors, span = await self._route.do(served, stage, asked, tensors)
                        spans.append(span)
        except asyncio.CancelledError:
            replies.fail(number, RequestCancelled(heading.model))
            raise
        except TimeoutError:
            replies.fail(number, DeadlineExceeded(heading.model))
        except Exception as error:
            self._failed(number, error, heading, replies)
        else:
            replies.answer_one(number, tensors, spans)

    def _ahead(
        self,
        served: Served,
        number: int,
        asked: InferRequest,
        tensors: Tensors,
        spans: Spans,
        rest: tuple[StageName, ...],
        heading: Heading,
        replies: Replies,
    ) -> None:
        """Send what is done here on to the next tier; its answer is ours."""
        way = _way(
            rest, heading.model, heading.version, heading.content, hedge_ms_of(rest, served.facts.config)
        )

        def told(ticket: Ticket) -> None:
            if asked.trace is not None:
                hopped(asked.trace, ticket, rest[0])
            if ticket.own is None:
                assert ticket.error is not None
                error = ticket.error
                if spans[-1].stage == "pre":
                    error = blamed(error, served.facts, asked.id)
                replies.fail(number, error)
                return
            run = ticket.run
            assert isinstance(run, HopRun)
            here = spans[-1]._replace(transfer_ns=run.transfer_ns)
            replies.answer_one(number, ticket.own, (*spans[:-1], here, *run.spans))

        sender = self._forwarding.sender(way)
        ticket = Ticket(
            tensors, max(1, asked.rows), told, (), asked.deadline, 0.0, asked.priority, asked.client
        )
        ticket.request = asked
        replies.works[number] = lambda: sender.leave(ticket, RequestCancelled(heading.model))
        try:
            sender.submit(ticket)
        except ServingError as error:
            replies.fail(number, error)

    def _requests(
        self, heading: Heading, head: pb.Head, batch: Batch, replies: Replies
    ) -> list[InferRequest]:
        """Each request of a bundle, with what it says of itself."""
        now = monotonic()
        more = {each.at: each for each in head.particulars[:]}
        requests = []
        for at, tensors in enumerate(batch.cut()):
            own = more.get(at)
            timeout_us = head.timeouts_us[at] if at < len(head.timeouts_us) else 0
            requests.append(
                InferRequest(
                    heading.model,
                    str(heading.version),
                    dict(tensors),
                    own.request_id if own is not None else "",
                    parameters=_parameters(own.parameters) if own is not None else NO_PARAMETERS,
                    deadline=now + timeout_us / 1e6 if timeout_us else FOREVER,
                    priority=head.priorities[at] if at < len(head.priorities) else 0,
                    arrived=now,
                    rows=batch.rows[at],
                    client=own.client if own is not None else "",
                )
            )
            if own is not None and own.traceparent and self._tracer is not None:
                trace = self._tracer.follow(f"tier {self.stage}", int(now * 1e9), own.traceparent)
                if trace is not None:
                    requests[-1].trace = replies.traces[head.ids[at]] = trace
        return requests


@lru_cache(maxsize=512)
def _way(rest: tuple[StageName, ...], model: str, version: int, content: str, hedge_ms: float | None) -> Way:
    return Way(
        route=rest,
        model=model,
        version=version,
        content=content,
        stacked=True,
        row_bytes=0,
        max_rows=64,
        hedge_ms=hedge_ms,
    )


def _parameters(text: bytes) -> Any:
    if not text:
        return NO_PARAMETERS
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Broken(f"a bundle has parameters that are no JSON: {error}") from None


def _rowwise(batch: Batch) -> tuple[dict[str, Array], Sequence[int]] | None:
    """Tensors whose first dimension is the rows of all requests; None if they cannot be seen so."""
    if not batch.stacked:
        return batch.tensors, batch.rows
    heights = {array.shape[1] if array.ndim > 1 else 0 for array in batch.tensors.values()}
    if len(heights) != 1 or 0 in heights:
        return None
    (height,) = heights
    return (
        {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.tensors.items()},
        [height] * len(batch.rows),
    )

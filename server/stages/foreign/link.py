"""Requests to another server of the Open Inference Protocol, as if it were a tier of ours.

It stands where a `server.stages.hop.link.Link` stands, and is sent the same. What came in one parcel goes as
one request where the server batches, rows one behind the other, and each by itself where it does not. Such a
server forwards nothing: what a route has behind it is begun from here.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, monotonic_ns
from typing import Any

import grpc
import structlog

from protos import stage_pb2 as stage_pb
from server.domain.errors import (
    DeadlineExceeded,
    InvalidRequest,
    RequestCancelled,
    ServerStopping,
    ServingError,
    TierFailed,
    TierUnavailable,
)
from server.domain.request import FOREVER, NO_PARAMETERS
from server.domain.stage import Span, StageName
from server.domain.tensors import Tensors
from server.lifecycle.remote import Queue
from server.observe.copies import Copies
from server.scheduling.stack import RowsLost, split
from server.scheduling.ticket import Ticket
from server.stages.foreign.grouping import Asking, grouped
from server.stages.hop.channels import PLAIN, Channels
from server.stages.hop.counting import HopRun
from server.stages.hop.ejection import Outlier
from server.stages.hop.parcel import Parcel, Sent
from server.stages.hop.way import Way
from server.wire.foreign import AnswerUnread, answer_of, request_of
from server.wire.foreign_status import error_of
from server.wire.heading import Heading

log = structlog.get_logger(__name__)

METHOD = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),  # so long may a connection take
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
)
"""More pings than these, and servers of gRPC's own making hang up."""

MOST_TOGETHER = 64
"""Requests in a parcel to what comes behind."""

ONLY_VERSION = 1
"""The number of a model's version where its server knows no versions."""

Batching = Mapping[tuple[str, str], int]
"""Model and version as the server names them -> `max_batch_size`; an empty version where it knows none."""


@dataclass(frozen=True, slots=True)
class _Call:
    """Some requests of a parcel on their way as one, to a version as the server names it."""

    parcel: Parcel
    places: Sequence[int]
    heading: Heading
    version: str

    @property
    def model(self) -> str:
        return self.heading.model


class ForeignLink:
    """Lives on the event loop. `run` is its one task, which its owner awaits or cancels.

    address    host and port
    up         whether requests may go there: as whoever watches the server says
    batching   what it has, likewise
    rows       that are there, unanswered; `requests` likewise, and `bytes` of their inputs
    parcels    that were sent so far, and the requests that they `carried`
    outlier    whether it is to be left alone for a while
    """

    stage: StageName = "predict"

    def __init__(
        self,
        address: str,
        ahead: Callable[[Way], Queue],
        *,
        max_requests: int,
        max_bytes: int,
        max_calls: int,
        channels: Channels = PLAIN,
        copies: Copies | None = None,
    ) -> None:
        """It holds at most so many requests and bytes, in at most so many calls at once.

        `ahead` gives the way of what it has answered to the rest of a route. `copies` is told of what had to
        be laid anew.
        """
        self.address = address
        self.up = False
        self.batching: Batching = {}
        self.rows = self.requests = self.bytes = 0
        self.outlier = Outlier()
        self._channels = channels
        self._ahead = ahead
        self._copies = copies or Copies()
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._turns = asyncio.Semaphore(max_calls)
        self._parcels: dict[Parcel, dict[asyncio.Task[None], _Call]] = {}
        self._beyond: dict[Ticket, tuple[Queue, Ticket]] = {}
        self._hung_up = asyncio.Event()
        self.parcels = self.carried = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._infer: Any = None

    @property
    def room(self) -> tuple[int, int]:
        """How many requests may go now, and bytes of all but the first."""
        return self._max_requests - self.requests, self._max_bytes - self.bytes

    def takes(self, size: int) -> bool:
        """Whether a request of so many bytes may go now. One alone may, however large.

        While all calls are under way none may: what waits then leaves together.
        """
        return (
            self.up
            and self._tasks is not None
            and not self._turns.locked()
            and self.requests < self._max_requests
            and (self.bytes + size <= self._max_bytes or not self.bytes)
        )

    def send(
        self,
        owner: Sent,
        heading: Heading,
        head: stage_pb.Head | None,
        tickets: Sequence[Ticket],
    ) -> Parcel:
        """Send requests; of the heading its model and version count. Their answers go to the owner."""
        self.parcels += 1
        self.carried += len(tickets)
        rows = sum([ticket.rows for ticket in tickets])
        size = sum([ticket.size for ticket in tickets])
        parcel = Parcel(self, self.parcels, owner, list(tickets), rows, monotonic_ns(), b"", size)
        self.rows += rows
        self.requests += len(tickets)
        self.bytes += parcel.size
        self._copies.add("wire", size)
        self._parcels[parcel] = {}
        version, most_rows = self._named(heading.model, heading.version)
        for places in grouped([_asking(ticket) for ticket in tickets], most_rows):
            self._begin(_Call(parcel, places, heading, version))
        return parcel

    def drop(self, parcel: Parcel, ticket: Ticket) -> None:
        """Nobody waits for this one any more; a call that nobody else waits for is given up."""
        calls = self._parcels[parcel]
        place = parcel.tickets.index(ticket)
        self._take(parcel, place)
        if ticket in self._beyond:
            queue, own = self._beyond.pop(ticket)
            queue.leave(own, RequestCancelled(parcel.owner.model))
        for task, call in list(calls.items()):
            if place in call.places and not any(parcel.tickets[each] for each in call.places):
                task.cancel()

    def hang_up(self, why: str) -> None:
        """Leave the connection, and all that was asked on it: the server is not there any more."""
        for calls in self._parcels.values():
            for task in calls:
                task.cancel()
        self._lose(why)
        self._hung_up.set()

    async def run(self) -> None:
        """Keep a connection, until cancelled."""
        try:
            while True:
                async with self._channels.open(self.address, "", OPTIONS) as channel:
                    self._infer = channel.unary_unary(METHOD)
                    async with asyncio.TaskGroup() as self._tasks:
                        await self._hung_up.wait()
                        self._hung_up.clear()
        finally:
            self._tasks = None
            for queue, ticket in list(self._beyond.values()):
                queue.leave(ticket, ServerStopping())
            self._lose("it is being left")

    def answers(self, model: str, version: int) -> bool:
        """Whether the server has this version, or does not tell versions apart."""
        return (model, str(version)) in self.batching or (model, "") in self.batching

    def _named(self, model: str, version: int) -> tuple[str, int]:
        """The version as the server names it, and the rows that it takes in one run."""
        most_rows = self.batching.get((model, str(version)))
        if most_rows is not None:
            return str(version), most_rows
        return "", self.batching.get((model, ""), 0)

    def _begin(self, call: _Call) -> None:
        assert self._tasks is not None
        calls = self._parcels[call.parcel]
        task = self._tasks.create_task(self._ask(call))
        calls[task] = call
        task.add_done_callback(calls.pop)

    async def _ask(self, call: _Call) -> None:
        """One call, once it is its turn. Its tickets hear of whatever comes of it, but a cancellation."""
        async with self._turns:
            waiting = [(place, ticket) for place in call.places if (ticket := call.parcel.tickets[place])]
            left_s = max(ticket.deadline for _, ticket in waiting) - monotonic() if waiting else 0.0
            if left_s <= 0:
                self._refuse(call, lambda: DeadlineExceeded(call.model))
                return
            rows = [_rows(ticket.inputs) for _, ticket in waiting]
            message = _message(call, [ticket for _, ticket in waiting])
            began = monotonic_ns()
            try:
                wire = await self._infer(message, timeout=None if left_s == FOREVER else left_s)
                outputs = answer_of(wire, call.model)
                answers: Sequence[Tensors] = split(outputs, rows) if len(rows) > 1 else [outputs]
            except grpc.aio.AioRpcError as status:
                self._failed(call, status, together=len(rows))
                return
            except (AnswerUnread, RowsLost) as fault:
                reason = f"of the server at {self.address}: {fault}"
                log.error("foreign_answer_unread", address=self.address, model=call.model, reason=str(fault))
                self._refuse(call, lambda: TierFailed(self.stage, reason))
                return
            self._answer(call, waiting, answers, Span(self.stage, 0, monotonic_ns() - began, sum(rows)))

    def _answer(
        self,
        call: _Call,
        waiting: Sequence[tuple[int, Ticket]],
        answers: Sequence[Tensors],
        span: Span,
    ) -> None:
        self.outlier.did_well(monotonic())
        parcel = call.parcel
        if len(call.heading.route) > 1:
            for (place, ticket), outputs in zip(waiting, answers, strict=True):
                if parcel.tickets[place] is ticket:
                    self._pass_on(call, place, ticket, outputs, span)
            return
        told = [
            (ticket, outputs)
            for (place, ticket), outputs in zip(waiting, answers, strict=True)
            if self._take(parcel, place) is not None
        ]
        if told:
            parcel.owner.answered(parcel, told, [span])

    def _pass_on(self, call: _Call, place: int, asked: Ticket, outputs: Tensors, span: Span) -> None:
        """Have the rest of the route done; its answer is that of the request."""
        heading, parcel = call.heading, call.parcel
        way = Way(
            route=heading.route[1:],
            model=heading.model,
            version=heading.version,
            content=heading.content,
            stacked=True,
            row_bytes=0,
            max_rows=MOST_TOGETHER,
        )

        def told(ticket: Ticket) -> None:
            self._beyond.pop(asked, None)
            if self._take(parcel, place) is None:
                return
            if ticket.outputs is None:
                assert ticket.error is not None
                parcel.owner.refused(parcel, asked, ticket.error)
                return
            run = ticket.run
            assert isinstance(run, HopRun)
            spans = (span._replace(transfer_ns=run.transfer_ns), *run.spans)
            parcel.owner.answered(parcel, [(asked, ticket.outputs)], spans)

        queue = self._ahead(way)
        ticket = Ticket(outputs, asked.rows, told, (), asked.deadline, 0.0, asked.priority, asked.client)
        ticket.request = asked.request
        self._beyond[asked] = queue, ticket
        try:
            queue.submit(ticket)
        except ServingError as error:
            ticket.fail(error)

    def _failed(self, call: _Call, status: grpc.aio.AioRpcError, *, together: int) -> None:
        """The call ended with a status. Of several that one spoilt, each is asked by itself: none has run."""
        sentence = status.details() or status.code().name
        version = int(call.version or ONLY_VERSION)

        def error() -> ServingError:
            return error_of(status.code().value[0], sentence, model=call.model, version=version)

        if together > 1 and isinstance(error(), InvalidRequest):
            for place in call.places:
                if call.parcel.tickets[place] is not None:
                    self._begin(_Call(call.parcel, [place], call.heading, call.version))
            return
        if isinstance(error(), TierUnavailable):
            self.outlier.failed(monotonic())
        self._refuse(call, error)

    def _refuse(self, call: _Call, error: Callable[[], ServingError]) -> None:
        """Tell all that are left of a call; each is given an error of its own."""
        for place in call.places:
            ticket = self._take(call.parcel, place)
            if ticket is not None:
                call.parcel.owner.refused(call.parcel, ticket, error())

    def _lose(self, why: str) -> None:
        """Nobody answers what is there any more; what has left it for the rest of its route goes on."""
        for parcel in list(self._parcels):
            left = [ticket for ticket in parcel.tickets if ticket is not None and ticket not in self._beyond]
            for ticket in left:
                self._take(parcel, parcel.tickets.index(ticket))
            error = TierUnavailable(
                self.stage, parcel.owner.model, f"the server at {self.address} was lost ({why})"
            )
            parcel.owner.lost(parcel, left, error)

    def _take(self, parcel: Parcel, place: int) -> Ticket | None:
        """A ticket off its parcel, once; None if it is not on it any more."""
        ticket = parcel.take(place)
        if ticket is not None:
            self._beyond.pop(ticket, None)
            self.rows -= ticket.rows
            self.requests -= 1
            if not parcel.left:
                del self._parcels[parcel]
                self.bytes -= parcel.size
        return ticket


def _message(call: _Call, tickets: Sequence[Ticket]) -> bytes:
    asked = tickets[0].request
    parameters = dict(asked.parameters if asked is not None else NO_PARAMETERS)
    if tickets[0].priority:
        parameters["priority"] = tickets[0].priority
    return request_of(
        call.model,
        call.version,
        [ticket.inputs for ticket in tickets],
        id=asked.id if asked is not None and len(tickets) == 1 else "",
        parameters=parameters,
    )


def _asking(ticket: Ticket) -> Asking:
    """What requests that go as one must have in common, beside their shapes."""
    rows = _rows(ticket.inputs)
    parameters = ticket.request.parameters if ticket.request is not None else NO_PARAMETERS
    if not rows or "sequence_id" in parameters:
        return Asking(1, None)
    return Asking(rows, (ticket.priority, tuple(sorted(parameters.items()))))


def _rows(inputs: Tensors) -> int:
    """The size of the first dimension that all of them share; 0 where they share none."""
    heights = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
    return heights.pop() if len(heights) == 1 else 0

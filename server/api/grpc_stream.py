"""The stream `ModelStreamInfer`: many requests on one call, each answered as soon as it can be.

A refused request is an error message inside the stream, which goes on; a client that sends the metadata
`triton_grpc_error: true` has the stream end with the first error, as a call ends. Triton answers the requests
of a stream in the order of asking. Here each answer goes out when it is ready, and is told apart by the
request's id; requests without an id can be told apart by their order alone, so they keep it among themselves.
"""

import asyncio
from time import monotonic
from typing import Any

import grpc
import structlog

from protos import inference_pb2 as pb
from server.api.client_key import ClientHeader
from server.api.forwarding import HeaderForwarding
from server.api.grpc_door import NOTHING, access_line, end_with, parsed
from server.api.grpc_peer import peer_of
from server.api.reply import Table
from server.domain.errors import AnswersUnread, ServerStopping, ServingError, StreamsFull
from server.domain.limits import Limits
from server.domain.phase import Station
from server.domain.request import InferRequest, InferResponse
from server.lifecycle.served import Served
from server.observe.access import AccessLog
from server.observe.tracing.tracer import Tracer
from server.security.calls import INFER
from server.security.gate import Gate
from server.stages.route import Route
from server.stages.tracing import over
from server.wire import infer_proto, stream_proto
from server.wire.bounds import check_message
from server.wire.codes import codes_of, sentence_of

log = structlog.get_logger(__name__)

ENDS_AT_ERROR = ("triton_grpc_error", "true")
"""Metadata of a stream, in Triton's words."""
CANCELLED = 1


class InferStreams:
    """The open streams of a server. `answer` is what grpcio is given for the method.

    max_streams    open at once, over all connections; one more is refused
    max_requests   of one stream that are read and have no answer written yet; the next is not read until
                   there is a place, so a client that sends fast or reads slowly has to wait
    unread_s       how long a client may leave an answer unread before its stream is given up
    closing        set once the server stops: streams read nothing more, and end when all is answered
    """

    def __init__(
        self,
        route: Route,
        station: Station,
        access: AccessLog | None,
        closing: asyncio.Event,
        *,
        codes: Table,
        max_streams: int,
        max_requests: int,
        unread_s: float,
        limits: Limits,
        forwarding: HeaderForwarding | None = None,
        client_header: ClientHeader | None = None,
        gate: Gate | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`gate` is None where everybody may ask; else it is asked for every request of a stream."""
        self.route = route
        self.gate = gate
        self.station = station
        self.access = access
        self.closing = closing
        self.codes = codes
        self.max_requests = max_requests
        self.unread_s = unread_s
        self.limits = limits
        self.forwarding = forwarding
        self.client_header = client_header
        self.tracer = tracer
        self._max_streams = max_streams
        self._open = 0

    async def answer(self, _: Any, context: Any) -> None:
        """Serve one stream to its end. A client that leaves takes its queued work along."""
        try:
            self.station.admit()
            if self._open >= self._max_streams:
                raise StreamsFull(
                    f"the server already has {self._open} streams open, as many as --grpc-max-infer-streams "
                    "allows: send more requests on one of them, or come back later"
                )
            self._open += 1
            try:
                await InferStream(self, context).serve()
            finally:
                self._open -= 1
        except Exception as error:
            end_with(context, error, self.codes)


class InferStream:
    """One stream, and the owner of a task for each of its requests in flight."""

    def __init__(self, streams: InferStreams, context: Any) -> None:
        self._streams = streams
        self._context = context
        self._peer = peer_of(context)
        self._ends_at_error = ENDS_AT_ERROR in [tuple(pair) for pair in context.invocation_metadata() or ()]
        self._places = asyncio.Semaphore(streams.max_requests)
        self._writing = asyncio.Lock()
        self._ended_by: Exception | None = None
        self._nameless = asyncio.Event()
        self._nameless.set()

    async def serve(self) -> None:
        """Until the client has sent and got everything, or is gone. Raises what the stream is to end with."""
        stopped = False
        try:
            async with asyncio.TaskGroup() as requests:
                reading = requests.create_task(self._read(requests))
                stopping = requests.create_task(self._streams.closing.wait())
                await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
                stopped = reading.cancel()
                stopping.cancel()
        except* _Over:
            pass
        if self._ended_by is not None:
            raise self._ended_by
        if stopped:
            raise ServerStopping()

    async def _read(self, requests: asyncio.TaskGroup) -> None:
        while True:
            await self._places.acquire()
            wire = await self._context.read()
            if wire is grpc.aio.EOF:
                return
            if self._ended_by is None:
                requests.create_task(self._one(wire))
            else:
                self._places.release()
            del wire

    async def _one(self, wire: bytes) -> None:
        """One request from its bytes to its answer's. Its place is free again once that is written."""
        asked = Asked(self._streams, self._context, self._peer)
        asked.read(wire)
        before = after = None
        if not asked.message.id:
            before, self._nameless = self._nameless, asyncio.Event()
            after = self._nameless
        content = await asked.answer()
        error = asked.error
        del asked, wire  # a client that reads slowly keeps no more than its answers
        if before is not None:
            await before.wait()
        async with self._writing:
            if self._ended_by is None:
                await self._write(content, error)
        if after is not None:
            after.set()
        self._places.release()

    async def _write(self, content: bytes, error: Exception | None) -> None:
        """Write an answer, or end the stream.

        A client that does not read is not cut off but told so when it reads again, and what it still sends is
        read and dropped: only by that does grpcio tell that a client is gone.
        """
        if error is not None and self._ends_at_error:
            self._ended_by = error
            raise _Over
        unread_s = self._streams.unread_s
        try:
            async with asyncio.timeout(unread_s):
                await self._context.write(content)
        except TimeoutError:
            self._ended_by = AnswersUnread(
                f"an answer was not read within {unread_s:g} seconds, as --grpc-stream-unread-secs asks for"
            )
        except grpc.aio.InternalError:  # the client is gone, and we are about to be told so
            raise _Over from None


class _Over(Exception):
    """Raised by one request to end all others of its stream."""


class Asked:
    """One request of a stream, and what is known of it for its access line."""

    def __init__(self, streams: InferStreams, context: Any, peer: str) -> None:
        self.message = NOTHING
        self.error: Exception | None = None
        self._streams = streams
        self._context = context
        self._peer = peer
        self._arrived = monotonic()
        self._served: Served | None = None
        self._request: InferRequest | None = None
        self._response: InferResponse | None = None

    def read(self, wire: bytes) -> None:
        """Never raises: what cannot be read is refused by `answer`."""
        try:
            if self._streams.gate is not None:
                self._streams.gate.admit_now(INFER, self._context.invocation_metadata() or ())
            self._streams.station.admit()
            self.message = parsed(pb.ModelInferRequest, wire)
            if len(wire) > self._streams.limits.harmless_bytes:
                check_message(self.message, self._streams.limits)
        except ServingError as error:
            self.error = error

    async def answer(self) -> bytes:
        """The message for the stream, with the answer or, if `error` is set by then, the refusal."""
        status = 0
        try:
            if self.error is not None:
                raise self.error
            return await self._infer()
        except asyncio.CancelledError:
            status = CANCELLED
            raise
        except Exception as error:
            if not isinstance(error, ServingError):
                log.error("request_crashed", exc_info=error)
            status = codes_of(error, self._streams.codes).grpc
            self.error = error.with_traceback(None)  # which would keep the request until the collector comes
            return stream_proto.refusal(sentence_of(error), self.message)
        finally:
            if self._request is not None and self._request.trace is not None:
                over(self._request, "grpc", self._peer, status)
            if self._streams.access is not None:
                known = (self.message, self._served, self._request, self._response)
                self._streams.access.record(access_line(self._arrived, self._peer, *known, status))

    async def _infer(self) -> bytes:
        route, message = self._streams.route, self.message
        self._served = served = route.find(message.model_name, message.model_version)
        request, form = infer_proto.decode(message, served.facts.signature, now=self._arrived)
        self._request = request
        if self._streams.forwarding is not None:
            self._streams.forwarding.add(request, self._context.invocation_metadata())
        if self._streams.client_header is not None:
            request.client = self._streams.client_header.find(self._context.invocation_metadata())
        left = self._context.time_remaining()
        if left is not None:
            request.deadline = min(request.deadline, self._arrived + left)
        if self._streams.tracer is not None:
            asked = self._context.invocation_metadata()
            request.trace = self._streams.tracer.begin_by(request.model, self._arrived, asked)
        response = await route.infer(served, request)
        response.parameters = stream_proto.last(response.parameters)
        content = infer_proto.encode(response, form, served.facts.labels)
        self._response = response
        return stream_proto.answer(content)

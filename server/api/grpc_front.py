"""The unary `ModelInfer` by the fast way: on the event loop, straight from the frames of its connection.

The port is ours, and so is HTTP/2 (`server.http2`). Every other call is passed on to grpcio, which listens
behind us on a Unix socket. Where one of the options is asked for that we do not have, grpcio serves alone
(`server.app.grpc_choice`).
"""

import asyncio
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog

from protos import inference_pb2 as pb
from server.api.backlog import BACKLOG
from server.api.client_key import ClientHeader
from server.api.forwarding import HeaderForwarding
from server.api.grpc_door import NOTHING, SERVICE, access_line, details_of, parsed
from server.api.grpc_head import Metadata, Said, ending, head_of
from server.api.grpc_packing import EFFORT, PackedLine
from server.api.grpc_peer import PEER
from server.api.grpc_transport import Transport
from server.api.loop_tls import LoopTls
from server.api.reply import Table
from server.domain.errors import InvalidRequest, RequestTooLarge, ServerBusy, ServerStopping, ServingError
from server.domain.limits import Limits
from server.domain.phase import Station
from server.domain.request import FOREVER, InferRequest, InferResponse
from server.domain.tensors import Tensors
from server.http2.behind import UnixBehind
from server.http2.calls import CallHead, Line, Manners, Told
from server.http2.connection import Connection
from server.http2.head_blocks import KnownBlocks
from server.lifecycle.served import Plain, Served
from server.observe.access import AccessLog, Record
from server.observe.tracing.tracer import Tracer
from server.scheduling.ticket import Ticket
from server.security.caller import shown_by
from server.security.calls import INFER
from server.security.gate import Gate
from server.stages.route import Route, respond
from server.stages.tracing import over
from server.wire import infer_proto
from server.wire.bounds import check_message
from server.wire.codes import codes_of
from server.wire.layout import BinaryLayout
from server.wire.message_layout import Frame, MessageLayouts, find_message, frame_of

log = structlog.get_logger(__name__)

METHOD = f"/{SERVICE}/ModelInfer".encode()
MOST_METADATA_BYTES = 16_384
CANCELLED = 1


class Call:
    """One `ModelInfer` between its arrival and its end."""

    __slots__ = (
        "_arrived",
        "_form",
        "_front",
        "_layout",
        "_line",
        "_message",
        "_request",
        "_served",
        "_stream",
        "_task",
        "_ticket",
    )

    def __init__(self, front: "InferFront", line: Told, stream: int, arrived: float) -> None:
        self._front = front
        self._line = line
        self._stream = stream
        self._arrived = arrived
        self._message = NOTHING
        self._served: Served | None = None
        self._request: InferRequest | None = None
        self._ticket: Ticket | None = None
        self._task: asyncio.Task[None] | None = None

    def start_at(self, gate: Gate, payload: bytes, metadata: Metadata, time_remaining: float | None) -> None:
        """Start if the gate lets it pass. Never raises, either."""
        try:
            shown = shown_by(metadata)
            if not gate.admit_at_once(INFER, shown):
                if not gate.is_prepared(shown):
                    self._own(self._start_prepared(gate, payload, metadata, time_remaining))
                    return
                gate.admit_now(INFER, metadata)
        except Exception as error:
            self.fail(error)
        else:
            self.start(payload, metadata, time_remaining)

    async def _start_prepared(
        self, gate: Gate, payload: bytes, metadata: Metadata, time_remaining: float | None
    ) -> None:
        """Start once the gate has fetched what it lacks, which it does once in a long while."""
        try:
            await gate.admit(INFER, metadata)
        except Exception as error:
            self.fail(error)
        else:
            self._task = None
            self.start(payload, metadata, time_remaining)

    def start(self, payload: bytes, metadata: Metadata, time_remaining: float | None) -> None:
        """Never raises: a refusal is an answer."""
        front = self._front
        try:
            if front.station.is_stopping:
                raise ServerStopping()
            known = front.layouts.find(payload)  # not too large, then: one so long has been read before
            if known is not None and front.is_bare and self._start_again(payload, known, time_remaining):
                return
            if len(payload) > front.max_message_bytes:
                raise _too_large(len(payload), front.max_message_bytes)
            if known is None or not self._read_known(payload, *known):
                self._read(payload)
            served, request = self._served, self._request
            assert served is not None
            assert request is not None
            if front.forwarding is not None:
                front.forwarding.add(request, metadata)
            if front.client_header is not None:
                request.client = front.client_header.find(metadata)
            if time_remaining is not None:
                request.deadline = min(request.deadline, self._arrived + time_remaining)
            if front.tracer is not None:
                request.trace = front.tracer.begin_by(request.model, self._arrived, metadata)
            if served.staged or request.trace is not None:
                served.hold(self._own(self._through_stages(served, request)))
            else:
                self._ticket = front.route.begin(served, request, self._told)
        except Exception as error:
            self.fail(error)

    def _start_again(
        self, payload: bytes, known: tuple[bytes, str, str], time_remaining: float | None
    ) -> bool:
        """Start a message that is like one before but for its numbers, without a request of its own.

        False if it is to be read. Raises a `ServingError` if it is refused.
        """
        beginning, model, version = known
        route = self._front.route
        try:
            served = route.find(model, version)
        except ServingError:
            return False
        layout = served.facts.signature.remembered.get(beginning)
        if served.staged or type(layout) is not BinaryLayout or layout.known.outputs:
            return False
        inputs = layout.read(payload, len(beginning))
        if inputs is None:
            return False
        self._served, self._layout, arrived = served, layout, self._arrived
        deadline = FOREVER if time_remaining is None else arrived + time_remaining
        try:
            self._ticket = route.again(
                served, inputs, layout.known.rows, self._told_again, deadline, arrived, ""
            )
        except ServingError:
            self._read_by(layout, {})
            raise
        return True

    def _read_by(self, layout: BinaryLayout, inputs: Tensors) -> None:
        """Have what was left out for a message that was known, as it goes on as any other."""
        served = self._served
        assert served is not None
        model, version = served.facts.signature.model, served.version
        self._request, self._form = layout.known.request(dict(inputs), model, version, self._arrived)

    def _read_known(self, payload: bytes, beginning: bytes, model: str, version: str) -> bool:
        """Read a message that began like one before.

        False if no version serves it now, or one that has not seen it: then it is to be parsed.
        """
        try:
            self._served = served = self._front.route.find(model, version)
        except ServingError:
            return False
        read = find_message(payload, beginning, version, served.facts.signature, self._arrived)
        if read is None:
            return False
        self._request, self._form = read
        return True

    def _read(self, payload: bytes) -> None:
        front = self._front
        self._message = message = parsed(pb.ModelInferRequest, payload)
        if len(payload) > front.limits.harmless_bytes:
            check_message(message, front.limits)
        self._served = served = front.route.find(message.model_name, message.model_version)
        signature = served.facts.signature
        self._request, self._form = infer_proto.decode(message, signature, now=self._arrived)
        front.layouts.keep(payload, message, self._request, self._form, signature)

    def _own(self, work: Any) -> "asyncio.Task[None]":
        self._task = task = self._front.own_task(work)
        task.add_done_callback(self._end_if_cancelled)
        return task

    def _end_if_cancelled(self, task: "asyncio.Task[None]") -> None:
        """Told from outside, as a task that is cancelled before its first step runs no line of its own."""
        if task.cancelled():
            self._front.end(self, None, CANCELLED)

    def cancel(self) -> None:
        """The client gave up, or its deadline passed: its queued work goes along."""
        if self._task is not None:
            self._task.cancel()
        elif self._ticket is not None and isinstance(self._served, Plain):
            self._front.route.leave(self._served, self._ticket)

    async def _through_stages(self, served: Served, request: InferRequest) -> None:
        try:
            response = await self._front.route.infer(served, request)
        except Exception as error:
            self.fail(error)
        else:
            self._answer(served, response)

    def _told(self, ticket: Ticket) -> None:
        """The run is over, or will not be. Never raises, so it cannot harm those who shared the run."""
        outputs = ticket.outputs
        if outputs is None:
            assert ticket.error is not None
            self.fail(ticket.error)
        else:
            assert self._request is not None
            assert self._served is not None
            self._answer(self._served, respond(self._served, self._request, ticket, outputs))

    def _told_again(self, ticket: Ticket) -> None:
        """The same for a message that was known; what is not a good answer to it goes on as any other."""
        front, frame, shared = self._front, self._layout.frame, ticket.shared
        try:
            if shared is not None:
                answer = frame.around_rows(shared, ticket.at) if frame is not None else None
            else:
                outputs = ticket.own
                answer = frame.around(outputs) if frame is not None and outputs is not None else None
            if answer is None and (outputs := ticket.outputs) is not None:
                frame = self._framed(outputs)
                answer = frame.around(outputs) if frame is not None else None
        except Exception:  # whatever it was, the other way meets it, too, and says it
            answer = None
        if answer is None:
            self._read_by(self._layout, ticket.inputs)
            self._told(ticket)
            return
        front.answered(self._line, self._stream, answer)
        if front.access is not None:
            run = ticket.run
            assert run is not None
            waited, computed = run.began - ticket.queued, run.ended - run.inferred
            front.access.record(
                (self._arrived, monotonic(), self._line.peer, frame.what, run.rows, waited, computed)
            )

    def _framed(self, outputs: Tensors) -> Frame | None:
        """What such answers to this message have in common, for the next ones too; None if it takes more.

        Raises a `ServingError` if they cannot be written.
        """
        served, layout = self._served, self._layout
        assert served is not None
        model, version = served.facts.signature.model, served.version
        frame = frame_of(layout, model, version, outputs)
        if frame is not None:
            frame.what = ("", "grpc", model, version, layout.known.rows, 0)
        return frame

    def _answer(self, served: Served, response: InferResponse) -> None:
        try:
            content = infer_proto.encode(response, self._form, served.facts.labels)
        except Exception as error:
            self.fail(error)
        else:
            self._front.answered(self._line, self._stream, content)
            self._front.end(self, response, 0)

    def fail(self, error: Exception) -> None:
        if not isinstance(error, ServingError):
            log.error("request_crashed", exc_info=error)
        code = codes_of(error, self._front.codes).grpc
        self._line.fail(self._stream, ending(code, details_of(error)))
        self._front.end(self, None, code)

    def note(self, code: int) -> None:
        """The end of its trace, if it has one."""
        if self._request is not None and self._request.trace is not None:
            over(self._request, "grpc", self._line.peer, code)

    def line(self, response: InferResponse | None, code: int) -> Record:
        return access_line(
            self._arrived, self._line.peer, self._message, self._served, self._request, response, code
        )


class InferFront:
    """The calls in flight, and the thread that receives them. Entered by `serve`, once.

    is_bare   whether of a call nothing counts but its message and its deadline
    """

    def __init__(
        self,
        route: Route,
        station: Station,
        access: AccessLog | None,
        *,
        codes: Table,
        transport: Transport,
        max_message_bytes: int,
        max_in_flight: int,
        limits: Limits,
        forwarding: HeaderForwarding | None = None,
        client_header: ClientHeader | None = None,
        gate: Gate | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`gate` is None where everybody may ask."""
        self.route = route
        self._gate = gate
        self.forwarding = forwarding
        self.client_header = client_header
        self.tracer = tracer
        self.station = station
        self.codes = codes
        self.layouts = MessageLayouts()
        self.max_message_bytes = max_message_bytes
        self.limits = limits
        self.access = access
        self.is_bare = forwarding is None and client_header is None and tracer is None
        self._manners = Manners(
            most_streams=transport.max_concurrent_streams,
            ask_after_s=transport.keepalive_time_ms / 1e3,
            answered_within_s=transport.keepalive_timeout_ms / 1e3,
            asks_idle=transport.keepalive_without_calls,
            most_pings=transport.max_pings_without_data,
            ping_interval_s=transport.min_ping_interval_ms / 1e3,
            most_strikes=transport.max_ping_strikes,
            max_age_s=transport.max_age_ms / 1e3,
            max_age_grace_s=transport.max_age_grace_ms / 1e3,
        )
        self._effort = EFFORT.get(transport.compression, 0)
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._quiet = asyncio.Event()
        self._waits_for_quiet = self._is_stopping = False
        self._lines: set[Line] = set()
        self._path = ""
        self.blocks: KnownBlocks[CallHead] = KnownBlocks(
            lambda fields: head_of(fields, METHOD), MOST_METADATA_BYTES
        )
        self.largest_message = max_message_bytes

    async def serve(
        self,
        listener: socket.socket,
        behind: Callable[[str], Any],
        stopping: asyncio.Event,
        *,
        finish_within_s: float,
        tls: LoopTls | None = None,
    ) -> None:
        """Serve who comes to `listener` until `stopping` is set, then finish what is in flight.

        `behind` makes, of a Unix address, the grpcio server for all other calls: an asynchronous
        context that starts it and stops it. It is stopped before we close, as its answers go out through us.
        """
        with tempfile.TemporaryDirectory(prefix="tercet-") as folder:
            self._path = f"{folder}/grpc.sock"
            async with behind(f"unix:{self._path}"):
                server = await self._loop.create_server(
                    self._joining,
                    sock=listener,
                    backlog=BACKLOG,
                    **({} if tls is None else tls.for_server()),
                )
                try:
                    await stopping.wait()
                finally:
                    server.close()
                    self._is_stopping = True
                for line in list(self._lines):
                    line.leave()
                until = monotonic() + finish_within_s
                await self._until_quiet(lambda: not self._in_flight, finish_within_s)
            if not await self._until_quiet(lambda: not self._lines, until - monotonic()):
                log.warning("grpc_cut_off", connections=len(self._lines), calls=self._in_flight)
            for line in list(self._lines):
                line.abort()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send_away(self, within_s: float) -> None:
        """Tell every client to go elsewhere; back when all have gone, or time is over."""
        for line in list(self._lines):
            line.leave()
        await self._until_quiet(lambda: not self._lines, within_s)

    async def _until_quiet(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Whether it holds within that time."""
        self._waits_for_quiet = True
        with suppress(TimeoutError):
            async with asyncio.timeout(max(within_s, 0.0)):
                while not holds():
                    self._quiet.clear()
                    await self._quiet.wait()
        return holds()

    def _joining(self) -> Connection:
        return Connection(self, self._manners)

    def own_task(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _pack_aside(self, work: Any) -> None:
        """An answer that is packed on a thread stays in flight until it has gone out: so there is a bound."""
        self._in_flight += 1
        self.own_task(work).add_done_callback(self._packed)

    def _packed(self, _: "asyncio.Task[None]") -> None:
        self._in_flight -= 1
        self._quiet.set()

    # What connections ask

    def begin(self, line: Line, stream: int, said: Said, message: bytes, is_packed: bool) -> Call:
        """A `ModelInfer` has come."""
        told: Told = line
        if self._effort and said.unpacks:
            told = PackedLine(line, said.unpacks, self._effort, self._pack_aside)
        call = Call(self, told, stream, monotonic())
        self._in_flight += 1
        if self._in_flight > self._max_in_flight:
            call.fail(ServerBusy(self._max_in_flight))
            return call
        if is_packed:
            try:
                message = said.unpacked(message, self.max_message_bytes)
            except ServingError as error:
                call.fail(error)
                return call
        if self._gate is None:
            call.start(message, said.metadata, said.timeout_s)
        else:
            call.start_at(self._gate, message, said.metadata, said.timeout_s)
        return call

    def too_large(self, line: Line, stream: int, length: int) -> None:
        self._in_flight += 1
        Call(self, line, stream, monotonic()).fail(_too_large(length, self.max_message_bytes))

    def spoiled(self, line: Line, stream: int, sentence: str) -> None:
        self._in_flight += 1
        Call(self, line, stream, monotonic()).fail(InvalidRequest(sentence))

    def behind(self, line: Line) -> UnixBehind:
        told = ((PEER.encode(), line.peer.encode()),)
        return UnixBehind(line, self._path, self.own_task, told)

    def joined(self, line: Line) -> None:
        self._lines.add(line)
        if self._is_stopping:  # it took its time to shake hands
            line.leave()

    def left(self, line: Line) -> None:
        self._lines.discard(line)
        self._quiet.set()

    # What calls ask

    def answered(self, line: Told, stream: int, content: bytes) -> None:
        """A call has a good answer, and is in flight no more."""
        line.answer(stream, content)
        self._in_flight -= 1
        if self._waits_for_quiet and not self._in_flight:
            self._quiet.set()

    def end(self, call: Call, response: InferResponse | None, code: int) -> None:
        """A call is answered with an error, or by the long way."""
        if code:
            self._in_flight -= 1
            self._quiet.set()
        if self.tracer is not None:
            call.note(code)
        if self.access is not None:
            self.access.record(call.line(response, code))


def _too_large(length: int, most: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"the message has {length} bytes, more than the {most} that --grpc-max-message-bytes allows"
    )

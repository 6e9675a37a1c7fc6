"""The unary `ModelInfer` by the fast way: calls reach Python in batches, out of HTTP/2 that is done in Rust.

pygrpc-native's low-level front owns the port. It hands us `ModelInfer` as bytes with an id, and passes
every other call on to grpcio, which listens behind it on a Unix socket. A bound on what is in flight,
message limits and the drain are ours; it has no TLS, no connection age and no deflate. Where one of the
options is asked for that it does not have, grpcio serves alone (`server.app.grpc_choice`).
"""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any

import structlog
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from protos import inference_pb2 as pb
from server.api.backlog import lengthen_backlog
from server.api.client_key import ClientHeader
from server.api.forwarding import HeaderForwarding
from server.api.grpc_door import NOTHING, SERVICE, PortRefused, access_line, details_of, parsed
from server.api.grpc_transport import Transport
from server.api.reply import Table
from server.domain.errors import RequestTooLarge, ServerBusy, ServerStopping, ServingError
from server.domain.limits import Limits
from server.domain.phase import Station
from server.domain.request import FOREVER, InferRequest, InferResponse
from server.domain.tensors import Tensors
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

METHOD = f"/{SERVICE}/ModelInfer"
BATCH = 256
LOOK_AGAIN_S = 0.005
CANCELLED = 1
Metadata = tuple[tuple[str, str | bytes], ...]
Event = tuple[int, int, int, bytes | None, Any, tuple[Metadata, str, float | None] | None]


def io_threads(processors: int) -> int:
    """How many threads do HTTP/2, beside the event loop's.

    Where one processor is left for them, two would wake each other for every few calls; one is enough for
    more calls than Python answers there.
    """
    return 1 if processors <= 2 else 2


class Call:
    """One `ModelInfer` between its arrival and its end."""

    __slots__ = (
        "_arrived",
        "_form",
        "_front",
        "_id",
        "_layout",
        "_message",
        "_peer",
        "_request",
        "_served",
        "_task",
        "_ticket",
    )

    def __init__(self, front: "InferFront", call_id: int, peer: str, arrived: float) -> None:
        self._front = front
        self._id = call_id
        self._peer = peer
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
                    waiting = self._start_prepared(gate, payload, metadata, time_remaining)
                    self._task = self._front.own_task(waiting)
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
        except asyncio.CancelledError:
            self._front.end(self, self._id, None, CANCELLED)
            raise
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
                raise RequestTooLarge(
                    f"the message has {len(payload)} bytes, more than the {front.max_message_bytes} that "
                    "--grpc-max-message-bytes allows"
                )
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
                self._task = front.own_task(self._through_stages(served, request))
                served.hold(self._task)
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

    def cancel(self) -> None:
        """The client gave up, or its deadline passed: its queued work goes along."""
        if self._task is not None:
            self._task.cancel()
        elif self._ticket is not None and isinstance(self._served, Plain):
            self._front.route.leave(self._served, self._ticket)

    async def _through_stages(self, served: Served, request: InferRequest) -> None:
        try:
            response = await self._front.route.infer(served, request)
        except asyncio.CancelledError:
            self._front.end(self, self._id, None, CANCELLED)
            raise
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
        front.answered(self._id, answer)
        if front.access is not None:
            run = ticket.run
            assert run is not None
            waited, computed = run.began - ticket.queued, run.ended - run.inferred
            front.access.record(
                (self._arrived, monotonic(), self._peer, frame.what, run.rows, waited, computed)
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
            self._front.answered(self._id, content)
            self._front.end(self, self._id, response, 0)

    def fail(self, error: Exception) -> None:
        if not isinstance(error, ServingError):
            log.error("request_crashed", exc_info=error)
        code = codes_of(error, self._front.codes).grpc
        self._front.native.fail(self._id, code, details_of(error))
        self._front.end(self, self._id, None, code)

    def note(self, code: int) -> None:
        """The end of its trace, if it has one."""
        if self._request is not None and self._request.trace is not None:
            over(self._request, "grpc", self._peer, code)

    def line(self, response: InferResponse | None, code: int) -> Record:
        return access_line(
            self._arrived, self._peer, self._message, self._served, self._request, response, code
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
        shares_port: bool = False,
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
        self._transport = transport
        self._shares_port = shares_port
        self._max_in_flight = max_in_flight
        self._calls: dict[int, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._taken: SimpleQueue[None] = SimpleQueue()  # one word a batch, and one at the end
        self._quiet = asyncio.Event()
        self._over = asyncio.Event()
        self._answers = 0
        self.native: NativeGrpcFront

    async def serve(
        self, address: str, behind: Callable[[str], Any], stopping: asyncio.Event, *, finish_within_s: float
    ) -> None:
        """Own `address` until `stopping` is set, then finish what is in flight.

        `behind` makes, of a Unix address, the grpcio server for all other calls: an asynchronous
        context that starts it and stops it. It is stopped before we close, as its answers go out through
        us. Raises `PortRefused`, or `RuntimeError` if the front ends before it was told to.
        """
        with tempfile.TemporaryDirectory(prefix="tercet-") as folder:
            path = f"{folder}/grpc.sock"
            try:
                asked: dict[str, Any] = {**self._transport.for_native(), "reuse_port": self._shares_port}
                self.native = NativeGrpcFront(
                    address,
                    [(METHOD, False)],
                    io_threads=io_threads(len(os.sched_getaffinity(0))),
                    call_details=True,
                    metrics=True,
                    **asked,
                )
            except OSError as error:
                raise PortRefused(f"cannot listen on {address} for gRPC: {error}") from None
            lengthen_backlog(self.native.bound_port)
            receiver = threading.Thread(target=self._receive, name="gRPC front", daemon=True)
            try:
                self.native.set_fallback(path)
                async with behind(f"unix:{path}"), asyncio.TaskGroup() as waiting:
                    self.native.start()
                    receiver.start()
                    ending = waiting.create_task(self._ends_by_itself())
                    await stopping.wait()
                    ending.cancel()
                    await self._drain(finish_within_s)
            finally:
                self.native.close()
                self._taken.put(None)
                if receiver.is_alive():
                    await asyncio.to_thread(receiver.join, finish_within_s)

    async def _ends_by_itself(self) -> None:
        await self._over.wait()
        raise RuntimeError("the gRPC front ended by itself")

    def own_task(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def answered(self, call_id: int, content: bytes) -> None:
        """A call has a good answer, and is in flight no more."""
        if self.native.respond(call_id, content):
            self._answers += 1
        self._calls.pop(call_id, None)  # as `forget` does, in place
        if not self._calls:
            self._quiet.set()

    def end(self, call: Call, call_id: int, response: InferResponse | None, code: int) -> None:
        """A call is answered."""
        self.forget(call_id)
        if self.tracer is not None:
            call.note(code)
        if self.access is not None:
            self.access.record(call.line(response, code))

    def forget(self, call_id: int) -> None:
        """A call is in flight no more."""
        self._calls.pop(call_id, None)
        if not self._calls:
            self._quiet.set()

    async def _drain(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while self._calls:
                    self._quiet.clear()
                    await self._quiet.wait()
                while not self._all_sent():  # noqa: ASYNC110  (nobody tells)
                    await asyncio.sleep(LOOK_AGAIN_S)
        except TimeoutError:
            for call in list(self._calls.values()):
                call.cancel()

    def _all_sent(self) -> bool:
        """Whether every good answer is out, as closing cuts off those that are still being written.

        Told by the front's own counts. One whose client left at the last moment is not counted as good, so
        it is enough, too, that every call has ended.
        """
        counts: Any = self.native.metrics()
        calls = counts["methods"][METHOD]
        ended: dict[int, int] = {code: status["count"] for code, status in calls["status"].items()}
        started: int = calls["started"]
        return ended.get(0, 0) >= self._answers or sum(ended.values()) >= started

    def _receive(self) -> None:
        """On a thread of its own: take what has come, and hand it over, one batch at a time."""
        try:
            while (events := self.native.recv_batch_details(BATCH)) is not None:
                if not self._on_loop(self._take, events):
                    return
                self._taken.get()
        finally:
            self._on_loop(self._over.set)

    def _on_loop(self, call: Callable[..., object], *arguments: object) -> bool:
        """False once the loop is closed, as the process is on its way out."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            return False
        return True

    def _take(self, events: list[Event]) -> None:
        """Begin what has come; then, after those runs, look whether more has come meanwhile.

        While it has, the receiving thread sleeps on: under load nothing is handed from thread to thread.
        """
        calls, arrived = self._calls, monotonic()
        for kind, call_id, _, payload, _, details in events:
            if kind != EVENT_CALL or payload is None:
                gone = calls.get(call_id)
                if gone is not None:
                    gone.cancel()
                continue
            metadata, peer, time_remaining = details or ((), "", None)
            call = Call(self, call_id, peer, arrived)
            if len(calls) >= self._max_in_flight:
                call.fail(ServerBusy(len(calls)))
                continue
            calls[call_id] = call
            if self._gate is None:
                call.start(payload, metadata, time_remaining)
            else:
                call.start_at(self._gate, payload, metadata, time_remaining)
        self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        events: list[Event] | None = self.native.recv_batch_details(BATCH, timeout_ms=0)
        if events:
            self._take(events)
        else:
            self._taken.put(None)

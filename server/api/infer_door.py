"""The inference path over HTTP, as a lean ASGI app: decode, ask the route, encode.

Beside the infer calls of the Open Inference Protocol, it answers those of `server.api.plain_verbs`.
Everything else over HTTP is the business of `server.api.rest`.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from server.api.body import pack, read_body
from server.api.client_key import ClientHeader
from server.api.forwarding import HeaderForwarding
from server.api.plain_verbs import PLAIN_VERBS
from server.api.reply import JSON, Headers, Table, refuse
from server.domain.errors import (
    InvalidRequest,
    MethodNotAllowed,
    RequestCancelled,
    ServerStopping,
)
from server.domain.limits import Limits, check_name
from server.domain.phase import Station
from server.domain.request import InferRequest, InferResponse
from server.lifecycle.served import Served
from server.observe.access import AccessLog
from server.observe.tracing.tracer import HEADER_BYTES, Tracer
from server.security.caller import API_KEY, AUTHORIZATION, Shown
from server.security.calls import INFER
from server.security.gate import Gate
from server.stages.explaining import EXPLAIN, TIMING
from server.stages.route import Route
from server.stages.tracing import over
from server.wire import infer_http
from server.wire.bounds import check_request
from server.wire.form import ReplyForm

PREFIX = "/v2/models/"
V1_PREFIX = "/v1/models/"
V1_VERB = ":predict"
VERBS = frozenset({"infer", "predict", "generate", "generate_stream"})
BINARY = (b"content-type", b"application/octet-stream")
LENGTH = b"inference-header-content-length"
WORTH_PACKING = 512
"""Bytes of an answer from which on compression gains something."""

CLIENT_GONE = 499
"""What the access line says of a request whose client left: nobody reads this status."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an inference URL names; `verb` is infer, or a key of `PLAIN_VERBS`."""

    model: str
    version: str
    verb: str


def target_of(path: str) -> Target | None:
    """Read `/v2/models/NAME[/versions/VERSION]/VERB` or KServe's `/v1/models/NAME:predict`.

    None for any other path.
    """
    if path.startswith(PREFIX):
        name, _, verb = path[len(PREFIX) :].rpartition("/")
        if verb not in VERBS:
            return None
    elif path.startswith(V1_PREFIX) and path.endswith(V1_VERB):
        verb, name = V1_VERB, path[len(V1_PREFIX) : -len(V1_VERB)]
    else:
        return None
    model, _, version = name.partition("/versions/")
    if not model or "/" in model or "/" in version or ("/versions/" in name and not version):
        return None
    return Target(model, version, verb)


class Answer(NamedTuple):
    """A good answer, before it has a head.

    size          of all pieces, in bytes
    json_length   of the JSON before binary tensors; None if all is JSON
    encoding      such as gzip; empty for none
    content_type  where all is text; with tensors it is that of bytes
    """

    pieces: list[infer_http.Chunk]
    size: int
    json_length: int | None
    encoding: bytes
    content_type: tuple[bytes, bytes] = JSON

    def headers(self) -> Headers:
        """In the order in which they are sent."""
        own: Headers = [self.content_type]
        if self.json_length is not None:
            own = [BINARY, (LENGTH, b"%d" % self.json_length)]
        if self.encoding:
            own.append((b"content-encoding", self.encoding))
        own.append((b"content-length", b"%d" % self.size))
        return own


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the headers of an infer request say of it.

    json_length       of the JSON before the tensors, in bytes; None if all of the body is JSON
    timeout_s         None for no limit
    accept_encoding   as it was written; None if it was not
    client            who asks; empty where nobody is told apart
    shown             what says so to a gate, once that has let it pass; None where there is no gate
    parent            its `traceparent`, where that is read and does not ask for a trace
    """

    json_length: int | None
    timeout_s: float | None
    accept_encoding: bytes | None
    client: str = ""
    shown: Shown | None = None
    parent: bytes = b""


def wishes_of(
    headers: Mapping[bytes, bytes], client: ClientHeader | None, *, is_gated: bool = False
) -> Wishes:
    """Raises `InvalidRequest`, naming the header."""
    timeout = headers.get(b"tercet-timeout-ms")
    length = headers.get(LENGTH)
    return Wishes(
        None if length is None else infer_http.header_length_of(length),
        None if timeout is None else _seconds(timeout),
        headers.get(b"accept-encoding"),
        "" if client is None else client.key(headers.get(client.name)),
        shown_in(headers) if is_gated else None,
    )


def shown_in(headers: Mapping[bytes, bytes]) -> Shown:
    return Shown(headers.get(API_KEY), headers.get(AUTHORIZATION))


def _seconds(milliseconds: bytes) -> float:
    if not milliseconds.isdigit() or len(milliseconds) > 10 or not int(milliseconds):
        raise InvalidRequest("the header tercet-timeout-ms must be a whole number of milliseconds above 0")
    return int(milliseconds) / 1000


Asked = tuple[Served, InferRequest, ReplyForm]
"""One infer request as it was read: by whom it will be answered, and how the answer is to look."""

Written = tuple[list[infer_http.Chunk], int, int | None, bytes]
"""The first four fields of an `Answer`."""


class InferDoor:
    """Reads and writes inferences over HTTP; holds nothing between requests.

    `answer` is the long way, an ASGI app. `server.api.short_way` takes the same steps without one.
    """

    def __init__(
        self,
        route: Route,
        station: Station,
        access: AccessLog | None,
        *,
        codes: Table,
        max_body_bytes: int,
        limits: Limits,
        forwarding: HeaderForwarding | None = None,
        client_header: ClientHeader | None = None,
        gate: Gate | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`gate` is None where everybody may ask."""
        self.route = route
        self.gate = gate
        self.tracer = tracer
        self.forwarding = forwarding
        self.client_header = client_header
        self.max_body_bytes = max_body_bytes
        self.station = station
        self.access = access
        self._codes = codes
        self._limits = limits

    async def answer(self, target: Target, scope: Any, receive: Any, send: Any) -> None:
        """Answer one inference. A client that leaves takes its queued work along."""
        arrived = monotonic()
        served: Served | None = None
        request: InferRequest | None = None
        response: InferResponse | None = None
        status = 200
        try:
            headers = dict(scope["headers"])
            if self.gate is not None:
                await self.gate.admit(INFER, scope["headers"])
            if scope["method"] != "POST":
                raise MethodNotAllowed(scope["method"], scope["path"], "POST")
            check_name(target.model, "the model", self._limits)
            self.station.admit()
            verb = PLAIN_VERBS.get(target.verb)
            if verb is not None:
                verb.check_encoding(headers)
            body = await read_body(receive, headers, self.max_body_bytes)
            wishes = wishes_of(headers, self.client_header)
            if verb is None:
                self.station.admit()  # it may have begun to stop while the body came
                served, request, form = self.read(target, wishes, body, arrived)
                if scope["query_string"]:
                    _add_query(request, scope["query_string"])
            else:
                served = self._find(target)
                request, write = verb.read(body, headers, served.facts.signature, target.version, arrived)
                check_request(request, self._limits)
                request.client = wishes.client
                if wishes.timeout_s is not None:
                    request.deadline = min(request.deadline, arrived + wishes.timeout_s)
            if self.forwarding is not None:
                self.forwarding.add(request, scope["headers"])
            if self.tracer is not None:
                request.trace = self.tracer.begin(target.model, arrived, headers.get(HEADER_BYTES))
            response = await _unless_gone(receive, served, self.route.infer(served, request))
            if verb is None:
                answer = Answer(*self.write(served, form, response, wishes.accept_encoding))
            else:
                text = write(response)
                answer = Answer([text], len(text), None, b"", verb.content_type)
                if verb.packed:
                    answer = Answer(*_packed([text], len(text), None, wishes.accept_encoding))
            await _send(send, 200, answer.headers(), answer.pieces)
        except RequestCancelled:
            status = CLIENT_GONE
        except Exception as error:
            status, own, text = self.refuse(error, request)
            await _send(send, status, own, [text])
        finally:
            client = scope.get("client")
            peer = client[0] if client else ""
            self.note(target, peer, served, request, response, arrived, status)

    def admit(self, wishes: Wishes) -> None:
        """Raises a `ServingError` for a caller who may not ask, or may not any more, and while we stop."""
        if wishes.shown is not None:
            assert self.gate is not None
            self.gate.admit_quickly(INFER, wishes.shown)
        if self.station.is_stopping:
            raise ServerStopping()

    def read(self, target: Target, wishes: Wishes, body: bytes, arrived: float) -> Asked:
        """Decode the body of an infer request that was let in. Raises a `ServingError`."""
        served = self._find(target)
        request, form = infer_http.decode(
            body,
            wishes.json_length,
            served.facts.signature,
            version=target.version,
            now=arrived,
            limits=self._limits,
        )
        request.client = wishes.client
        if wishes.timeout_s is not None:
            request.deadline = min(request.deadline, arrived + wishes.timeout_s)
        return served, request, form

    def write(
        self, served: Served, form: ReplyForm, response: InferResponse, accepted: bytes | None
    ) -> Written:
        """A good answer to infer, compressed if the caller accepts it and it is worth it."""
        length, pieces = infer_http.encode(response, form, served.facts.labels)
        size = sum(map(len, pieces))
        if accepted is None:
            return pieces, size, length, b""
        return _packed(pieces, size, length, accepted)

    def _find(self, target: Target) -> Served:
        return self.route.find(target.model, target.version)

    def refuse(self, error: Exception, request: InferRequest | None) -> tuple[int, Headers, bytes]:
        """Status, headers and body of a refusal."""
        return refuse(error, self._codes, request_id=request.id if request else "")

    def note(
        self,
        target: Target,
        peer: str,
        served: Served | None,
        request: InferRequest | None,
        response: InferResponse | None,
        arrived: float,
        status: int,
    ) -> None:
        """The access line of one finished request, and the end of its trace."""
        if request is not None and request.trace is not None:
            over(request, "http", peer, status)
        if self.access is None:
            return
        ended = monotonic()
        if served is None or request is None:
            what = ("", "http", target.model, target.version, 0, status)
        else:
            what = (request.id, "http", target.model, served.version, request.rows, status)
        if response is None:
            self.access.record((arrived, ended, peer, what, 0, 0, 0))
        else:
            run = (response.batch_rows, response.queue_ns, response.compute_ns)
            self.access.record((arrived, ended, peer, what, *run))


def _packed(pieces: list[infer_http.Chunk], size: int, length: int | None, accepted: bytes | None) -> Written:
    """The answer as `Accept-Encoding` asks; a small one only if nothing else is accepted."""
    if accepted is None or (size < WORTH_PACKING and b"=0" not in accepted):
        return pieces, size, length, b""
    packed, encoding = pack(b"".join(pieces), accepted, worth=size >= WORTH_PACKING)
    return [packed], len(packed), length, encoding


def _add_query(request: InferRequest, query: bytes) -> None:
    """What a URL says behind its question mark, as if the request had it for a parameter: `explain` alone."""
    asked = dict(parse_qsl(query.decode("latin-1"))).get(EXPLAIN)
    if asked is None:
        return
    if asked != TIMING:
        raise InvalidRequest(f"?{EXPLAIN}={asked} is not known here; there is ?{EXPLAIN}={TIMING}")
    request.parameters = {**request.parameters, EXPLAIN: asked}


async def _send(send: Any, status: int, headers: Headers, pieces: list[infer_http.Chunk]) -> None:
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _unless_gone(
    receive: Any, served: Served, work: Coroutine[Any, Any, InferResponse]
) -> InferResponse:
    """Await the work, but drop it when the client closes its connection."""
    running = asyncio.ensure_future(work)
    served.hold(running)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait((running,))
        if running.cancelled():
            raise RequestCancelled(served.facts.model)
        return running.result()
    finally:
        gone.cancel()
        if not running.done():
            running.cancel()
        del running  # what it raised holds this frame, and by that all that the request brought along

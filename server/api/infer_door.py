"""The inference path over HTTP, as a lean ASGI app: decode, ask the route, encode.

Beside the infer calls of the Open Inference Protocol, it answers `POST …/predict`, where people send
a plain JSON object or a file. Everything else over HTTP is the business of `server.api.rest`.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from time import monotonic
from typing import Any, Literal, NamedTuple

from server.api.body import pack, read_body
from server.api.reply import JSON, Headers, Table, refuse
from server.domain.errors import (
    InvalidRequest,
    MethodNotAllowed,
    RequestCancelled,
    RouteNotFound,
)
from server.domain.limits import Limits, check_name
from server.domain.phase import Station
from server.domain.request import InferRequest, InferResponse
from server.domain.signature import Signature
from server.lifecycle.version import ServedVersion
from server.observe.access import AccessLog
from server.stages.route import Route
from server.wire import infer_http, plain
from server.wire.form import ReplyForm

PREFIX = "/v2/models/"
BINARY = (b"content-type", b"application/octet-stream")
LENGTH = b"inference-header-content-length"
WORTH_PACKING = 512
"""Bytes of an answer from which on compression gains something."""

CLIENT_GONE = 499
"""What the access line says of a request whose client left: nobody reads this status."""


class Target(NamedTuple):
    """What an inference URL names."""

    model: str
    version: str
    verb: Literal["infer", "predict"]


def target_of(path: str) -> Target | None:
    """Read `/v2/models/NAME[/versions/VERSION]/infer` or `…/predict`; None for any other path."""
    verb: Literal["infer", "predict"]
    if path.endswith("/infer"):
        verb, name = "infer", path[len(PREFIX) : -len("/infer")]
    elif path.endswith("/predict"):
        verb, name = "predict", path[len(PREFIX) : -len("/predict")]
    else:
        return None
    if not path.startswith(PREFIX):
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
    """

    pieces: list[infer_http.Chunk]
    size: int
    json_length: int | None
    encoding: bytes

    def headers(self) -> Headers:
        """In the order in which they are sent."""
        own: Headers = [JSON]
        if self.json_length is not None:
            own = [BINARY, (LENGTH, b"%d" % self.json_length)]
        if self.encoding:
            own.append((b"content-encoding", self.encoding))
        own.append((b"content-length", b"%d" % self.size))
        return own


class Asked(NamedTuple):
    """One inference as it was read: by whom it will be answered, and how the answer is to look."""

    served: ServedVersion
    request: InferRequest
    form: ReplyForm | None
    many: bool


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
    ) -> None:
        self.route = route
        self.max_body_bytes = max_body_bytes
        self._station = station
        self._access = access
        self._codes = codes
        self._limits = limits

    async def answer(self, target: Target, scope: Any, receive: Any, send: Any) -> None:
        """Answer one inference. A client that leaves takes its queued work along."""
        arrived = monotonic()
        asked: Asked | None = None
        response: InferResponse | None = None
        status = 200
        try:
            headers = dict(scope["headers"])
            if scope["method"] != "POST":
                raise MethodNotAllowed(scope["method"], scope["path"], "POST")
            check_name(target.model, "the model", self._limits)
            self._station.admit()
            body = await read_body(receive, headers, self.max_body_bytes)
            asked = self.read(target, headers, body, arrived)
            response = await _unless_gone(
                receive, self.route.infer(asked.served, asked.request), target.model
            )
            answer = self.write(asked, response, headers)
            await _send(send, 200, answer.headers(), answer.pieces)
        except RequestCancelled:
            status = CLIENT_GONE
        except Exception as error:
            status, own, text = self.refuse(error, asked)
            await _send(send, status, own, [text])
        finally:
            client = scope.get("client")
            self.note(target, client[0] if client else "", asked, response, arrived, status)

    def read(self, target: Target, headers: Mapping[bytes, bytes], body: bytes, arrived: float) -> Asked:
        """Decode a body. Raises a `ServingError`."""
        self._station.admit()
        version = target.version
        served = self.route.find(target.model, digits(target.model, version) if version else "")
        signature = served.facts.signature
        form: ReplyForm | None = None
        many = False
        if target.verb == "infer":
            header = headers.get(b"inference-header-content-length")
            length = None if header is None else infer_http.header_length_of(header)
            request, form = infer_http.decode(
                body, length, signature, version=version, now=arrived, limits=self._limits
            )
        else:
            request, many = _plain_request(body, headers, signature, target, arrived)
        if b"tercet-timeout-ms" in headers:
            _apply_deadline(request, headers, arrived)
        return Asked(served, request, form, many)

    def write(self, asked: Asked, response: InferResponse, headers: Mapping[bytes, bytes]) -> Answer:
        """A good answer, compressed if the caller accepts it and it is worth it."""
        facts = asked.served.facts
        if asked.form is None:
            pieces: list[infer_http.Chunk] = [
                plain.encode(response, asked.many, facts.signature.max_batch_size > 0)
            ]
            length = None
        else:
            length, pieces = infer_http.encode(response, asked.form, facts.labels)
        size = sum(map(len, pieces))
        accepted = headers.get(b"accept-encoding")
        if accepted is None or size < WORTH_PACKING:
            return Answer(pieces, size, length, b"")
        packed, encoding = pack(b"".join(pieces), accepted)
        return Answer([packed], len(packed), length, encoding)

    def refuse(self, error: Exception, asked: Asked | None) -> tuple[int, Headers, bytes]:
        """Status, headers and body of a refusal."""
        return refuse(error, self._codes, request_id=asked.request.id if asked else "")

    def note(
        self,
        target: Target,
        peer: str,
        asked: Asked | None,
        response: InferResponse | None,
        arrived: float,
        status: int,
    ) -> None:
        """The access line of one finished request."""
        if self._access is None:
            return
        if asked is None:
            request_id, rows, version = "", 0, target.version
        else:
            request_id, rows, version = asked.request.id, asked.request.rows, asked.served.version
        batch_rows = queue_ns = compute_ns = 0
        if response is not None:
            batch_rows, queue_ns, compute_ns = response.batch_rows, response.queue_ns, response.compute_ns
        head = (arrived, monotonic(), request_id, "http", peer, target.model, version)
        self._access.record((*head, rows, batch_rows, queue_ns, compute_ns, status))


def digits(model: str, version: str) -> str:
    """The version of a URL. One that is no number names nothing here: 404, as an unknown path."""
    if version and not (version.isascii() and version.isdigit()):
        raise RouteNotFound(f"there is no version '{version}' of model '{model}': a version is a number")
    return version


def _apply_deadline(request: InferRequest, headers: Mapping[bytes, bytes], arrived: float) -> None:
    """The header `tercet-timeout-ms`, where it is sooner than what the body says."""
    text = headers[b"tercet-timeout-ms"]
    if not text.isdigit() or len(text) > 10 or not int(text):
        raise InvalidRequest("the header tercet-timeout-ms must be a whole number of milliseconds above 0")
    request.deadline = min(request.deadline, arrived + int(text) / 1000)


def _plain_request(
    body: bytes, headers: Mapping[bytes, bytes], signature: Signature, target: Target, now: float
) -> tuple[InferRequest, bool]:
    """A plain object or a file, by its content type; with it, whether a list of rows was sent."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind in (b"", b"application/json", b"application/x-www-form-urlencoded"):
        return plain.decode(body, signature, version=target.version, now=now)
    return plain.decode_file(body, signature, version=target.version, now=now), False


async def _send(send: Any, status: int, headers: Headers, pieces: list[infer_http.Chunk]) -> None:
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _unless_gone(receive: Any, work: Coroutine[Any, Any, InferResponse], model: str) -> InferResponse:
    """Await the work, but drop it when the client closes its connection."""
    running = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait((running,))
        if running.cancelled():
            raise RequestCancelled(model)
        return running.result()
    finally:
        gone.cancel()
        if not running.done():
            running.cancel()
        del running  # what it raised holds this frame, and by that all that the request brought along

"""The inference path over HTTP, as a lean ASGI app: decode, ask the route, encode.

Beside the infer calls of the Open Inference Protocol, it answers `POST …/predict`, where people send
a plain JSON object or a file. Everything else over HTTP is the business of `server.api.rest`.
"""

import asyncio
from collections.abc import Coroutine
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
from server.domain.phase import Station
from server.domain.request import InferRequest, InferResponse
from server.domain.signature import Signature
from server.domain.tensors import Array
from server.observe.access import AccessLog
from server.stages.route import Route
from server.wire import infer_http, plain
from server.wire.classification import Labels
from server.wire.form import ReplyForm

PREFIX = "/v2/models/"
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


class InferDoor:
    """Answers one request at a time for each connection; holds nothing between requests."""

    def __init__(
        self,
        route: Route,
        station: Station,
        access: AccessLog | None,
        *,
        codes: Table,
        max_body_bytes: int,
    ) -> None:
        self._route = route
        self._station = station
        self._access = access
        self._codes = codes
        self._max_body_bytes = max_body_bytes

    async def answer(self, target: Target, scope: Any, receive: Any, send: Any) -> None:
        """Answer one inference. A client that leaves takes its queued work along."""
        arrived = monotonic()
        request: InferRequest | None = None
        response: InferResponse | None = None
        status = 200
        try:
            headers = dict(scope["headers"])
            if scope["method"] != "POST":
                raise MethodNotAllowed(scope["method"], scope["path"], "POST")
            self._station.admit()
            body = await read_body(receive, headers, self._max_body_bytes)
            served = self._route.find(target.model, _digits(target))
            signature = served.facts.signature
            if target.verb == "infer":
                length = infer_http.header_length_of(headers.get(b"inference-header-content-length"))
                request, form = infer_http.decode(
                    body, length, signature, version=target.version, now=arrived
                )
            else:
                request, many = _plain_request(body, headers, signature, target, arrived)
            _apply_deadline(request, headers, arrived)
            response = await _unless_gone(receive, self._route.infer(served, request), target.model)
            if target.verb == "infer":
                own, pieces = _infer_reply(response, form, served.facts.labels)
            else:
                own, pieces = [JSON], [plain.encode(response, many, signature.max_batch_size > 0)]
            await _send(send, own, pieces, headers.get(b"accept-encoding"))
        except RequestCancelled:
            status = CLIENT_GONE
        except Exception as error:
            status, own, text = refuse(error, self._codes, request_id=request.id if request else "")
            await send({"type": "http.response.start", "status": status, "headers": own})
            await send({"type": "http.response.body", "body": text})
        finally:
            if self._access is not None:
                self._note(target, scope, request, response, arrived, status)

    def _note(
        self,
        target: Target,
        scope: Any,
        request: InferRequest | None,
        response: InferResponse | None,
        arrived: float,
        status: int,
    ) -> None:
        assert self._access is not None
        client = scope.get("client")
        self._access.record(
            request.id if request else "",
            "http",
            client[0] if client else "",
            target.model,
            response.version if response else target.version,
            _rows(request.inputs) if request else 0,
            response.batch_rows if response else 0,
            response.queue_ns if response else 0,
            response.compute_ns if response else 0,
            monotonic() - arrived,
            status,
        )


def _digits(target: Target) -> str:
    """The version of a URL. One that is no number names nothing here: 404, as an unknown path."""
    version = target.version
    if version and not (version.isascii() and version.isdigit()):
        raise RouteNotFound(
            f"there is no version '{version}' of model '{target.model}': a version is a number"
        )
    return version


def _apply_deadline(request: InferRequest, headers: dict[bytes, bytes], arrived: float) -> None:
    """The header `tercet-timeout-ms`, where it is sooner than what the body says."""
    text = headers.get(b"tercet-timeout-ms")
    if text is None:
        return
    if not text.isdigit() or not 0 < int(text) < 10**10:
        raise InvalidRequest("the header tercet-timeout-ms must be a whole number of milliseconds above 0")
    request.deadline = min(request.deadline, arrived + int(text) / 1000)


def _plain_request(
    body: bytes, headers: dict[bytes, bytes], signature: Signature, target: Target, now: float
) -> tuple[InferRequest, bool]:
    """A plain object or a file, by its content type; with it, whether a list of rows was sent."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind in (b"", b"application/json", b"application/x-www-form-urlencoded"):
        return plain.decode(body, signature, version=target.version, now=now)
    return plain.decode_file(body, signature, version=target.version, now=now), False


def _infer_reply(
    response: InferResponse, form: ReplyForm, labels: Labels
) -> tuple[Headers, list[infer_http.Chunk]]:
    length, pieces = infer_http.encode(response, form, labels)
    if length is None:
        return [JSON], pieces
    return [
        (b"content-type", b"application/octet-stream"),
        (b"inference-header-content-length", str(length).encode()),
    ], pieces


async def _send(send: Any, headers: Headers, pieces: list[infer_http.Chunk], accepted: bytes | None) -> None:
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if accepted is not None and len(body) >= WORTH_PACKING:
        body, encoding = pack(body, accepted)
        if encoding:
            headers.append((b"content-encoding", encoding))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
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


def _rows(inputs: dict[str, Array]) -> int:
    for array in inputs.values():
        return int(array.shape[0]) if array.shape else 1
    return 0

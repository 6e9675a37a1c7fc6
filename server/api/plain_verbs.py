"""The ways of asking a model over HTTP in plain JSON: predict, KServe's V1, generate and its stream.

Each says how a body becomes a request and how its answer is written; `server.api.infer_door` does all
that lies between, for them as for infer.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from server.api.reply import JSON
from server.domain.errors import InvalidRequest
from server.domain.request import InferRequest, InferResponse
from server.domain.signature import Signature
from server.wire import generate, kserve_v1, plain

EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_JSON_KINDS = frozenset({b"", b"application/json", b"application/x-www-form-urlencoded"})
"""What is read as JSON by predict: curl says the last of them by itself."""

Write = Callable[[InferResponse], bytes]
Read = Callable[[bytes, Mapping[bytes, bytes], Signature, str, float], tuple[InferRequest, Write]]
"""Of a body, its headers, the model's signature, the version in the path and the time: the request, and
how its answer is written. Raises `InvalidRequest`."""


class PlainVerb(NamedTuple):
    """One way of asking.

    read           makes a request of a body
    content_type   of a good answer
    packed         whether bodies may be compressed, both ways
    """

    read: Read
    content_type: tuple[bytes, bytes] = JSON
    packed: bool = True

    def check_encoding(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises `InvalidRequest` for a body that is compressed where that is not understood."""
        encoding = headers.get(b"content-encoding", b"identity")
        if not self.packed and encoding.strip().lower() != b"identity":
            raise InvalidRequest("Unsupported content-encoding, only 'identity' is supported.")


def _read_plain(
    body: bytes, headers: Mapping[bytes, bytes], signature: Signature, version: str, now: float
) -> tuple[InferRequest, Write]:
    """A plain object or a file, by its content type."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    many = False
    if kind in _JSON_KINDS:
        request, many = plain.decode(body, signature, version=version, now=now)
    else:
        request = plain.decode_file(body, signature, version=version, now=now)
    return request, partial(plain.encode, many=many, batched=signature.max_batch_size > 0)


def _read_v1(
    body: bytes, headers: Mapping[bytes, bytes], signature: Signature, version: str, now: float
) -> tuple[InferRequest, Write]:
    request = kserve_v1.decode(body, signature, version=version, now=now)
    return request, partial(kserve_v1.encode, batched=signature.max_batch_size > 0)


def _read_generate(
    body: bytes, headers: Mapping[bytes, bytes], signature: Signature, version: str, now: float
) -> tuple[InferRequest, Write]:
    return generate.decode(body, signature, version=version, now=now), generate.encode


def _read_generate_stream(
    body: bytes, headers: Mapping[bytes, bytes], signature: Signature, version: str, now: float
) -> tuple[InferRequest, Write]:
    """Every model gives one answer, so the stream is one event."""
    request = generate.decode(body, signature, version=version, now=now)
    return request, lambda response: generate.event(generate.encode(response))


PLAIN_VERBS: Mapping[str, PlainVerb] = {
    "predict": PlainVerb(_read_plain),
    ":predict": PlainVerb(_read_v1),
    "generate": PlainVerb(_read_generate, packed=False),
    "generate_stream": PlainVerb(_read_generate_stream, EVENTS, packed=False),
}
"""By the last word of their paths; KServe's V1 has a colon before it."""

"""A request's body over HTTP: read to its end, within its limit, and unpacked."""

import zlib
from typing import Any

from server.domain.errors import InvalidRequest, RequestCancelled, RequestTooLarge

_ZLIB_BITS = {b"gzip": 31, b"deflate": 15}
_UNSAID = 0.0001
"""The weight of an answer as it is, for who says nothing of it: allowed, and less than anything else."""


async def read_body(receive: Any, headers: dict[bytes, bytes], limit: int) -> bytes:
    """The body as the client meant it: joined once, and decompressed.

    Raises `RequestTooLarge` as soon as `limit` bytes are passed, before or after decompression,
    `InvalidRequest` for an encoding that is not gzip, deflate or identity, and `RequestCancelled`
    if the client left.
    """
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestCancelled("?")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    encoding = headers.get(b"content-encoding")
    return body if encoding is None else unpack(body, encoding.strip().lower(), limit)


def unpack(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Undo gzip or deflate (zlib), never holding more than `limit` bytes of the result."""
    if encoding == b"identity":
        return body
    bits = _ZLIB_BITS.get(encoding)
    if bits is None:
        raise InvalidRequest(
            f"Content-Encoding '{encoding.decode('latin-1')}' is not supported; use gzip, deflate or identity"
        )
    machine = zlib.decompressobj(bits)
    try:
        unpacked = machine.decompress(body, limit + 1)
    except zlib.error:
        raise InvalidRequest(f"the body is not {encoding.decode()}, as its Content-Encoding says") from None
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not machine.eof:
        raise InvalidRequest(f"the body ends in the middle of its {encoding.decode()} data")
    if machine.unused_data:
        raise InvalidRequest(f"{len(machine.unused_data)} bytes follow the body's {encoding.decode()} data")
    return unpacked


def pack(
    body: bytes | memoryview, accepted: bytes, *, worth: bool = True
) -> tuple[bytes | memoryview, bytes]:
    """Compress an answer as `Accept-Encoding` asks; with it the encoding's name, empty for none.

    `worth` says whether anything is gained by it: if not, only a caller that refuses the answer as it
    is has it compressed.
    """
    encoding = _chosen(accepted, worth)
    if not encoding:
        return body, b""
    machine = zlib.compressobj(1, zlib.DEFLATED, _ZLIB_BITS[encoding])
    return machine.compress(body) + machine.flush(), encoding


def _chosen(accepted: bytes, worth: bool) -> bytes:
    """The encoding of an answer; empty for none, which is also sent to whoever accepts nothing we have.

    The one with the highest weight, at the same weight the first, and none only if its own is higher.
    Source: RFC 9110, 12.5.3.
    """
    weights: dict[bytes, float] = {}
    for choice in accepted.lower().split(b","):
        name, _, weight = choice.partition(b";")
        weights[name.strip()] = _weight(weight)
    others = weights.pop(b"*", None)
    if others is not None:
        weights = {**weights, **{name: others for name in (*_ZLIB_BITS, b"identity") if name not in weights}}
    best = max((name for name in weights if name in _ZLIB_BITS), key=weights.__getitem__, default=b"")
    none = weights.get(b"identity", _UNSAID)
    if not best or not weights[best] or none > weights[best]:
        return b""
    return best if worth or not none else b""


def _weight(parameter: bytes) -> float:
    """Of `q=0.5` or nothing, from 0 to 1; what is no weight counts as nothing said."""
    name, _, value = parameter.partition(b";")[0].partition(b"=")
    try:
        return min(1.0, max(0.0, float(value))) if name.strip() == b"q" else 1.0
    except ValueError:
        return 1.0


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"the request body is larger than {limit} bytes, the limit that --http-max-input-size sets"
    )

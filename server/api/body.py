"""A request's body over HTTP: read to its end, within its limit, and unpacked."""

import zlib
from typing import Any

from server.domain.errors import InvalidRequest, RequestCancelled, RequestTooLarge

_ZLIB_BITS = {b"gzip": 31, b"deflate": 15}


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


def pack(body: bytes | memoryview, accepted: bytes) -> tuple[bytes | memoryview, bytes]:
    """Compress an answer as `Accept-Encoding` asks; with it the encoding's name, empty for none."""
    for choice in accepted.lower().split(b","):
        name, _, quality = choice.strip().partition(b";")
        if name.strip() in _ZLIB_BITS and quality.replace(b" ", b"") not in (b"q=0", b"q=0.0"):
            machine = zlib.compressobj(1, zlib.DEFLATED, _ZLIB_BITS[name.strip()])
            return machine.compress(body) + machine.flush(), name.strip()
    return body, b""


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"the request body is larger than {limit} bytes, the limit that --http-max-input-size sets"
    )

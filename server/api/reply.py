"""What a door says when it cannot do what was asked, over HTTP: one JSON shape, one table of codes."""

import math
from collections.abc import Mapping

import structlog

from server.domain.errors import (
    MethodNotAllowed,
    NoRoom,
    NotKnown,
    QueueFull,
    RuntimeFull,
    ServerStopping,
    ServingError,
    TierUnavailable,
    TooLate,
    TooOften,
)
from server.wire.codes import Codes, codes_of, error_body, sentence_of

log = structlog.get_logger(__name__)

Headers = list[tuple[bytes, bytes]]
Table = Mapping[type[ServingError], Codes]

JSON = (b"content-type", b"application/json")


def refuse(error: Exception, table: Table, *, request_id: str = "") -> tuple[int, Headers, bytes]:
    """Status, headers and body for any exception. One that is not ours goes to the log, whole."""
    if not isinstance(error, ServingError):
        log.error("request_crashed", request_id=request_id, exc_info=error)
    body = error_body(sentence_of(error))
    headers: Headers = [JSON, (b"content-length", str(len(body)).encode())]
    if isinstance(error, (QueueFull, TooLate, TierUnavailable, NoRoom, RuntimeFull, TooOften)):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    elif isinstance(error, NotKnown):
        headers.append((b"www-authenticate", b"Bearer"))
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    elif isinstance(error, ServerStopping):
        headers.append((b"connection", b"close"))
    return codes_of(error, table).http, headers, body

"""What each error is called on the wire: the one table of HTTP statuses and gRPC codes.

Plain numbers, so that no protocol library is needed to read it. Every door translates here and
nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from server.domain.errors import (
    AnswersUnread,
    ApiRestricted,
    ControlRefused,
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    LoadFailed,
    LoadUnknown,
    MethodNotAllowed,
    ModelNotFound,
    ModelNotReady,
    NoRoom,
    NotAllowed,
    NotKnown,
    NotSupported,
    QueueFull,
    RegionUnknown,
    RequestCancelled,
    RequestTooLarge,
    RouteNotFound,
    RuntimeDown,
    RuntimeFull,
    ServerBusy,
    ServerStopping,
    ServingError,
    StageFailed,
    StatisticsUnknown,
    StreamsFull,
    TierFailed,
    TierUnavailable,
    TooLate,
    TooOften,
    VersionMalformed,
)


@dataclass(frozen=True, slots=True)
class Codes:
    """The HTTP status and the number of the gRPC status code."""

    http: int
    grpc: int


_INVALID_ARGUMENT = Codes(http=400, grpc=3)
_UNAVAILABLE = Codes(http=503, grpc=14)
_INTERNAL = Codes(http=500, grpc=13)

CODES: Mapping[type[ServingError], Codes] = MappingProxyType(
    {
        InvalidRequest: _INVALID_ARGUMENT,
        RequestTooLarge: Codes(
            http=413, grpc=8
        ),  # RESOURCE_EXHAUSTED, as gRPC itself says of a large message
        NotKnown: Codes(http=401, grpc=16),  # UNAUTHENTICATED
        NotAllowed: Codes(http=403, grpc=7),  # PERMISSION_DENIED
        ApiRestricted: Codes(http=403, grpc=14),  # as Triton has it
        TooOften: Codes(http=429, grpc=8),
        ModelNotFound: Codes(http=404, grpc=5),  # NOT_FOUND
        StatisticsUnknown: _INVALID_ARGUMENT,
        ModelNotReady: _UNAVAILABLE,
        VersionMalformed: Codes(http=404, grpc=3),  # in a path it names nothing that is there
        RouteNotFound: Codes(http=404, grpc=12),  # UNIMPLEMENTED
        MethodNotAllowed: Codes(http=405, grpc=12),
        NotSupported: Codes(http=501, grpc=12),
        RegionUnknown: Codes(http=404, grpc=5),
        QueueFull: Codes(http=429, grpc=8),
        TooLate: Codes(http=429, grpc=8),
        NoRoom: Codes(http=429, grpc=8),
        ServerBusy: Codes(http=429, grpc=8),
        StreamsFull: Codes(http=429, grpc=8),
        AnswersUnread: Codes(http=504, grpc=4),  # DEADLINE_EXCEEDED
        DeadlineExceeded: Codes(http=504, grpc=4),
        RequestCancelled: Codes(http=400, grpc=1),  # CANCELLED
        ServerStopping: _UNAVAILABLE,
        TierUnavailable: _UNAVAILABLE,
        TierFailed: _INTERNAL,
        ControlRefused: _UNAVAILABLE,
        LoadUnknown: _INTERNAL,
        LoadFailed: _INVALID_ARGUMENT,
        InferenceFailed: _INTERNAL,
        RuntimeDown: _UNAVAILABLE,
        RuntimeFull: Codes(http=429, grpc=8),
        StageFailed: _INTERNAL,
    }
)
"""Triton's codes, but for overload and lateness: a caller that is told UNAVAILABLE retries at once."""

TRITON_CODES: Mapping[type[ServingError], Codes] = MappingProxyType(
    {
        **CODES,
        QueueFull: _UNAVAILABLE,
        TooLate: _UNAVAILABLE,
        NoRoom: _UNAVAILABLE,
        RuntimeFull: _UNAVAILABLE,
        ServerBusy: _UNAVAILABLE,
        StreamsFull: _UNAVAILABLE,
        DeadlineExceeded: _UNAVAILABLE,
    }
)
"""Triton's codes throughout, for `--overload-status=triton`."""

INTERNAL_SENTENCE = "internal error; the server's log has the details"


def codes_of(error: Exception, table: Mapping[type[ServingError], Codes] = CODES) -> Codes:
    """The codes of any exception; one that is not of the family is our own fault."""
    return table[type(error)] if isinstance(error, ServingError) else _INTERNAL


def sentence_of(error: Exception) -> str:
    """What the caller may read; of an exception that is not of the family, nothing internal."""
    return str(error) if isinstance(error, ServingError) else INTERNAL_SENTENCE


def error_body(sentence: str) -> bytes:
    """The one JSON shape of every error over HTTP."""
    return orjson.dumps({"error": sentence.encode("utf-8", "replace").decode()})

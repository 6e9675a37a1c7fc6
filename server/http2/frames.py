"""Frames of HTTP/2: their heads, their kinds, and what ours look like. RFC 9113, sections 4, 6 and 7."""

from collections.abc import Iterator, Mapping
from struct import Struct, iter_unpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

HEAD_BYTES = 9
HEAD = Struct(">BHBBI")
"""Length, in two parts, kind, flags and stream; of the stream the uppermost bit is none of ours."""

MOST_STREAM = 2**31 - 1
SMALLEST_FRAME = 16_384
"""What a frame may hold, in bytes, as long as nothing else was agreed upon."""

LARGEST_FRAME = 2**24 - 1
INITIAL_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
"""Kinds."""

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
MAX_HEADER_LIST_SIZE = 6
"""Settings."""

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB
"""Codes of RST_STREAM and GOAWAY."""

FIXED_BYTES: Mapping[int, int] = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
"""Kinds whose frames all have one length."""


class ConnectionFault(Exception):
    """The other side does not speak HTTP/2, or in a way that nobody can follow: the connection is over."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    return HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return head(len(payload), kind, flags, stream) + payload


def window_update(stream: int, bytes_: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, bytes_.to_bytes(4, "big"))


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: int, sentence: str = "") -> bytes:
    """`last` is the last stream that is still taken."""
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + sentence.encode())


def settings(values: Mapping[int, int]) -> bytes:
    each = b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values.items())
    return frame(SETTINGS, 0, 0, each)


SETTINGS_TAKEN = frame(SETTINGS, ACK, 0)


def settings_of(payload: bytes) -> Iterator[tuple[int, int]]:
    """Names and values, in order. Raises `ConnectionFault` for one that may not be."""
    if len(payload) % 6:
        raise ConnectionFault(FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    for name, value in iter_unpack(">HI", payload):
        if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, f"an initial window of {value} bytes")
        if name == MAX_FRAME_SIZE and not SMALLEST_FRAME <= value <= LARGEST_FRAME:
            raise ConnectionFault(PROTOCOL_ERROR, f"frames of up to {value} bytes")
        if name == ENABLE_PUSH and value > 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        yield name, value


def content_of(kind: int, flags: int, payload: bytes) -> bytes:
    """What DATA or HEADERS hold, without padding and priority. Raises `ConnectionFault`."""
    start, stop = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(FRAME_SIZE_ERROR, "a padded frame without its length of padding")
        start, stop = 1, stop - payload[0]
    if kind == HEADERS and flags & HAS_PRIORITY:
        start += 5
    if start > stop:
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than the frame has room for")
    return payload[start:stop] if start or stop < len(payload) else payload


def check(kind: int, length: int, stream: int) -> None:
    """Whether such a frame may be: its length, and that it is of a stream, or of none.

    Raises `ConnectionFault`.
    """
    wanted = FIXED_BYTES.get(kind)
    if wanted is not None and length != wanted:
        raise ConnectionFault(FRAME_SIZE_ERROR, f"a frame of kind {kind} with {length} bytes")
    if kind in (SETTINGS, PING, GOAWAY):
        if stream:
            raise ConnectionFault(PROTOCOL_ERROR, f"a frame of kind {kind} on stream {stream}")
    elif not stream and kind in (DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION):
        raise ConnectionFault(PROTOCOL_ERROR, f"a frame of kind {kind} on no stream")

"""A connection whose other end is the test: what a client would send is fed in, what it gets is read back."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder

from server.http2 import frames
from server.http2.calls import CallHead, Manners
from server.http2.calls import Line as Caller
from server.http2.connection import Connection
from server.http2.head_blocks import Fields, KnownBlocks
from tests.e2e.http2 import Frame

OURS = b"/test.Service/Ours"
MANNERS = Manners(most_streams=100, ask_after_s=3600.0, answered_within_s=20.0, asks_idle=True)
LARGEST = 3_000_000


def fields_of(path: bytes = OURS, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"test"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]


def message(content: bytes, *, packed: bool = False) -> bytes:
    return bytes((packed,)) + len(content).to_bytes(4, "big") + content


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5000)})
        self.written = bytearray()
        self.is_reading = True
        self.is_closed = self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class Begun:
    """A call that has been handed over, and whether it was given up."""

    def __init__(self, stream: int, said: Any, content: bytes, is_packed: bool) -> None:
        self.stream = stream
        self.said = said
        self.content = content
        self.is_packed = is_packed
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Way:
    """Where calls are passed on to: says what came."""

    is_over: bool = False
    is_closed: bool = False
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def begin(self, stream: int, fields: Fields, ended: bool) -> None:
        self.told.append(("begin", stream, dict(fields)[b":path"], ended))

    def data(self, stream: int, chunk: bytes, ended: bool) -> None:
        self.told.append(("data", stream, chunk, ended))

    def reset(self, stream: int, code: int) -> None:
        self.told.append(("reset", stream, code))

    def close(self) -> None:
        self.is_closed = True


class Taker:
    """Keeps the calls that it is handed, and answers none, or each at once as `at_once` says."""

    def __init__(self, at_once: Callable[[Caller, Begun], object] | None = None) -> None:
        self.blocks: KnownBlocks[CallHead] = KnownBlocks(head_of, 16_384)
        self.largest_message = LARGEST
        self.begun: list[Begun] = []
        self.troubles: list[tuple[int, Any]] = []
        self.ways: list[Way] = []
        self.here = 0
        self._at_once = at_once

    def begin(self, line: Caller, stream: int, said: Any, message: bytes, is_packed: bool) -> Begun:
        call = Begun(stream, said, bytes(message), is_packed)
        self.begun.append(call)
        if self._at_once is not None:
            self._at_once(line, call)
        return call

    def too_large(self, line: Caller, stream: int, length: int) -> None:
        self.troubles.append((stream, length))
        line.fail(stream, b"")

    def spoiled(self, line: Caller, stream: int, sentence: str) -> None:
        self.troubles.append((stream, sentence))
        line.fail(stream, b"")

    def behind(self, line: Caller) -> Way:
        self.ways.append(Way())
        return self.ways[-1]

    def joined(self, line: Caller) -> None:
        self.here += 1

    def left(self, line: Caller) -> None:
        self.here -= 1


def head_of(fields: Fields) -> CallHead:
    path = dict(fields).get(b":path")
    refusal = b"\x8c" if path is None else b""  # 0x8c is `:status: 400`
    return CallHead(fields, is_ours=path == OURS, refusal=refusal, said=fields)


class Line:
    """Both ends. `table` is whether the client's HPACK uses a table once it has been told to do without."""

    def __init__(self, taker: Taker | None = None, manners: Manners = MANNERS, *, begin: bool = True) -> None:
        self.taker = taker or Taker()
        self.transport = Transport()
        self.connection = Connection(self.taker, manners)
        self.connection.connection_made(self.transport)
        self.encoder = Encoder()
        self._decoder = Decoder()
        if begin:
            self.feed(frames.PREFACE, frames.settings({}), frames.SETTINGS_TAKEN)
            self.encoder.header_table_size = 0
            self.written()

    def feed(self, *pieces: bytes) -> None:
        self.connection.data_received(b"".join(pieces))

    def written(self) -> list[Frame]:
        """The frames since the last time."""
        content, found, at = bytes(self.transport.written), [], 0
        self.transport.written.clear()
        while at < len(content):
            high, low, kind, flags, stream = frames.HEAD.unpack_from(content, at)
            stop = at + frames.HEAD_BYTES + (high << 16 | low)
            found.append(Frame(kind, flags, stream, content[at + frames.HEAD_BYTES : stop]))
            at = stop
        assert at == len(content)
        return found

    def headers(self, stream: int, fields: Sequence[tuple[bytes, bytes]], flags: int = 0) -> bytes:
        block = self.encoder.encode(fields)
        return frames.frame(frames.HEADERS, flags | frames.END_HEADERS, stream, block)

    def data(self, stream: int, content: bytes, flags: int = 0) -> bytes:
        return frames.frame(frames.DATA, flags, stream, content)

    def call(self, stream: int, content: bytes, path: bytes = OURS) -> bytes:
        """A whole call, as its frames."""
        return self.headers(stream, fields_of(path)) + self.data(stream, message(content), frames.END_STREAM)

    def fields(self, sent: Frame) -> list[tuple[bytes, bytes]]:
        return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(sent.payload, raw=True)]

"""The calls of one connection that another server answers, behind a Unix socket: passed on, frame by frame.

A stream has the same number on both sides. The fields of a call are written anew, as they were read; those of
an answer go on as they are, for the server behind us is told, before the first call, that we keep no table.
Each side has its own windows: what the one has no room for waits here, and the other is given no more room
meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from server.http2 import frames
from server.http2.calls import Front
from server.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    MOST_STREAM,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    SMALLEST_FRAME,
    WINDOW_UPDATE,
    ConnectionFault,
)
from server.http2.head_blocks import Fields, literal
from server.http2.outflow import Outflow, with_the_data

CONNECT_WITHIN_S = 5.0
WINDOW = 2**20
"""Bytes of an answer that may wait here for a client, of each stream; four times that of all together."""


class UnixBehind(asyncio.Protocol):
    """Connects by itself. What is to go out before that waits."""

    def __init__(
        self, front: Front, path: str, own_task: Callable[[Any], "asyncio.Task[None]"], told: Fields = ()
    ) -> None:
        """`told` are fields that each call has from us, and none of that name from its client."""
        self._front = front
        self._told = dict(told)
        self._streams: set[int] = set()
        self._unsent: list[bytes | memoryview] = []
        self._out = Outflow(self._write, self._request_sent)
        self._rest = b""
        self._block: tuple[int, int, bytes] | None = None
        self._taken = 0
        self._held: dict[int, int] = {}
        self._transport: asyncio.Transport | None = None
        self.is_over = False
        wanted = {frames.HEADER_TABLE_SIZE: 0, frames.ENABLE_PUSH: 0, frames.INITIAL_WINDOW_SIZE: WINDOW}
        room = frames.window_update(0, 4 * WINDOW - frames.INITIAL_WINDOW)
        self._write(PREFACE + frames.settings(wanted) + room)
        own_task(self._connect(path))

    async def _connect(self, path: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await loop.create_unix_connection(lambda: self, path)
        except (OSError, TimeoutError):
            self._end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by descent
        self._transport = transport
        if self.is_over:
            transport.close()
            return
        transport.writelines(self._unsent)
        self._unsent = []

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        """Whoever still waits hears that nobody will answer."""
        self.is_over = True
        streams, self._streams = self._streams, set()
        for stream in streams:
            self._front.relay_reset(stream, frames.INTERNAL_ERROR)

    def pause_writing(self) -> None:
        self._out.is_held = True

    def resume_writing(self) -> None:
        self._out.is_held = False
        self._out.go_on()

    def _write(self, content: bytes | memoryview) -> None:
        if self._transport is not None:
            self._transport.write(content)
        else:
            self._unsent.append(content)

    # What a client sends

    def begin(self, stream: int, fields: Fields, ended: bool) -> None:
        if self.is_over:
            self._front.relay_reset(stream, frames.REFUSED_STREAM)
            return
        self._streams.add(stream)
        theirs = ((name, value) for name, value in fields if name not in self._told)
        block = b"".join(literal(name, value) for name, value in (*theirs, *self._told.items()))
        pieces = [block[at : at + SMALLEST_FRAME] for at in range(0, len(block), SMALLEST_FRAME)]
        for at, piece in enumerate(pieces):
            kind = CONTINUATION if at else HEADERS
            flags = END_STREAM if ended and not at else 0
            if at == len(pieces) - 1:
                flags |= END_HEADERS
            self._write(frames.frame(kind, flags, stream, piece))

    def data(self, stream: int, chunk: bytes, ended: bool) -> None:
        if stream in self._streams:
            self._out.send(
                stream,
                chunk,
                with_the_data if ended else None,
                lambda sent: self._front.passed_on(stream, sent),
            )
        elif chunk:
            self._front.passed_on(stream, len(chunk))

    def reset(self, stream: int, code: int) -> None:
        """The client has given it up: what waited, in either direction, takes room no more."""
        self._taken += self._held.pop(stream, 0)
        if stream in self._streams:
            self._drop(stream)
            self._write(frames.reset(stream, code))

    def _drop(self, stream: int) -> None:
        """Nothing more of it is to be sent."""
        self._streams.discard(stream)
        dropped = self._out.drop(stream)
        if dropped:
            self._front.passed_on(stream, dropped)

    def close(self) -> None:
        """The client has left."""
        self._streams.clear()
        self.is_over = True
        if self._transport is not None:
            self._transport.close()

    def _request_sent(self, stream: int) -> None:
        """All that the client sends of it is out; the answer goes on."""

    # What is answered

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        try:
            while end - at >= HEAD_BYTES:
                high, low, kind, flags, stream = HEAD.unpack_from(data, at)
                start = at + HEAD_BYTES
                stop = start + (high << 16 | low)
                if stop > end:
                    break
                self._read_frame(kind, flags, stream & MOST_STREAM, data[start:stop])
                at = stop
        except ConnectionFault as fault:
            self._write(frames.goaway(0, fault.code, str(fault)))
            self.connection_lost(None)
            self.close()
        self._rest = data[at:]

    def _read_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        frames.check(kind, len(payload), stream)
        ended = bool(flags & END_STREAM)
        if kind == DATA:
            content = frames.content_of(kind, flags, payload)
            if stream in self._streams:
                self._room_again(stream, len(payload) - len(content))
                self._held[stream] = self._held.get(stream, 0) + len(content)
                self._front.relay_data(stream, content, ended, lambda sent: self._relayed(stream, sent))
            else:
                self._room_again(stream, len(payload))
            if ended:
                self._drop(stream)
        elif kind in (HEADERS, CONTINUATION):
            self._add_to_block(kind, flags, stream, payload)
        elif kind == RST_STREAM:
            if stream in self._streams:
                self._drop(stream)
                self._front.relay_reset(stream, int.from_bytes(payload))
        elif kind == WINDOW_UPDATE:
            self._make_room(stream, int.from_bytes(payload) & MOST_STREAM)
        elif kind == SETTINGS:
            self._agree(flags, payload)
        elif kind == PING and not flags & ACK:
            self._write(frames.frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.is_over = True  # calls after this one go elsewhere; those that are taken are answered

    def _add_to_block(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            self._block = stream, flags, frames.content_of(kind, flags, payload)
        elif self._block is not None:
            self._block = stream, self._block[1], self._block[2] + payload
        if flags & END_HEADERS and self._block is not None:
            _, first_flags, block = self._block
            self._block = None
            ended = bool(first_flags & END_STREAM)
            if stream in self._streams:
                if ended:
                    self._drop(stream)
                self._front.relay_fields(stream, block, ended)

    def _relayed(self, stream: int, bytes_: int) -> None:
        held = self._held.pop(stream, 0) - bytes_
        if held > 0:
            self._held[stream] = held
        self._room_again(stream, bytes_)

    def _room_again(self, stream: int, bytes_: int) -> None:
        """So much of an answer takes room no more."""
        if not bytes_:
            return
        self._taken += bytes_
        if self._taken > WINDOW:
            self._write(frames.window_update(0, self._taken))
            self._taken = 0
        if stream in self._streams:
            self._write(frames.window_update(stream, bytes_))

    def _make_room(self, stream: int, bytes_: int) -> None:
        if not stream:
            self._out.grant_all(bytes_)
        elif stream in self._streams and not self._out.grant(stream, bytes_):
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a window of more than 2^31-1 bytes")

    def _agree(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            return
        for name, value in frames.settings_of(payload):
            self._out.agree(name, value)
        self._write(frames.SETTINGS_TAKEN)

"""One connection of a gRPC client: calls of one message each are handed over whole, all others are passed on.

The streams of a connection are in one table, by their numbers, each with what it has come to: the head of a
call whose message is awaited, the message as far as it has come, the call that is being answered, or a mark.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any, cast

from server.http2 import frames
from server.http2.calls import Behind, CallHead, Calls, Manners
from server.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    MOST_STREAM,
    PADDED,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFault,
)
from server.http2.head_blocks import Table, literal
from server.http2.message import PREFIX_BYTES, IncomingMessage
from server.http2.outflow import Outflow, with_the_data
from server.http2.presence import Presence

STREAM_WINDOW = 2**20
CONNECTION_WINDOW = 2**25
"""Bytes of what is passed on that may wait here. What is not is taken at once, and room made for more."""

LARGEST_FRAME_TAKEN = 2**20
LARGEST_BLOCK = 2**16
"""Bytes of a block of header fields, all its frames together, before it is decoded."""

GOODBYE_WITHIN_S = 1.0
"""For a client to say that it has heard that it is to go."""

LAST_BYTES_WITHIN_S = 10.0

GOODBYE = b"good bye"
"""What the PING holds whose answer says that the client has heard."""

HEAD_BLOCK = b"\x88" + literal(b"content-type", b"application/grpc")
"""Of an answer; 0x88 is the field `:status: 200` (RFC 7541, appendix A)."""

HEAD_BLOCK_BYTES = len(HEAD_BLOCK)

NO_TABLE = b"\x20"
"""Begins a block: the table that we do not use has no room, either (RFC 7541, section 6.3)."""

GOOD = literal(b"grpc-status", b"0")
GOOD_BYTES = len(GOOD)
PREFIX = Struct(">BI")
GRANT = Struct(">I")
GRANT_BYTES = GRANT.size
BEFORE = Struct(f">BHBBI{HEAD_BLOCK_BYTES}sBHBBIBI")
"""HEADERS, the head of DATA, and the message's prefix."""

BEHIND = Struct(f">BHBBI{GOOD_BYTES}s")

head_at, prefix_at, grant_at = HEAD.unpack_from, PREFIX.unpack_from, GRANT.unpack_from
before, behind = BEFORE.pack, BEHIND.pack


class _Mark:
    """Stands in the table for a stream of which nothing is kept."""


HANDED, ANSWERING = _Mark(), _Mark()
"""Its message has come whole; its answer is on its way."""


class _PassedOn:
    """
    behind    where it is answered
    is_whole  whether its request has ended
    """

    __slots__ = ("behind", "is_whole")

    def __init__(self, behind: Behind, is_whole: bool) -> None:
        self.behind = behind
        self.is_whole = is_whole


class Connection(asyncio.Protocol):
    """Lives on the event loop.

    peer                who is at the other end, as gRPC writes it
    is_heard, has_sent  for its `Presence`: written with every message, where a call would cost
    """

    __slots__ = (
        "_age_timer",
        "_behind",
        "_block",
        "_calls",
        "_frame",
        "_is_begun",
        "_is_leaving",
        "_is_over",
        "_is_told_to_go",
        "_last",
        "_left_of_frame",
        "_loop",
        "_manners",
        "_most_streams",
        "_out",
        "_owed",
        "_presence",
        "_rest",
        "_streams",
        "_table",
        "_taken",
        "_timer",
        "_transport",
        "_write",
        "has_sent",
        "is_heard",
        "peer",
    )

    def __init__(self, calls: Calls, manners: Manners) -> None:
        self._calls = calls
        self._manners = manners
        self._most_streams = manners.most_streams
        self._loop = asyncio.get_running_loop()
        self._table: Table[Any] = calls.blocks.fresh
        self._streams: dict[int, Any] = {}
        self._last = 0
        self._rest = b""
        self._left_of_frame = 0
        self._frame = (0, 0)
        self._block: tuple[int, int, bytes] | None = None
        self._owed = b""
        self._taken = 0
        self._is_begun = self._is_told_to_go = self._is_leaving = self._is_over = False
        self._behind: Behind | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._age_timer: asyncio.TimerHandle | None = None
        self.is_heard = self.has_sent = False
        self._presence: Presence
        self._transport: asyncio.Transport
        self._write: Callable[[bytes | memoryview], None]
        self._out: Outflow
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by descent
        self._transport = transport
        self._write = transport.write
        self._out = Outflow(transport.write, self._sent_all)
        self.peer = named(transport.get_extra_info("peername"))
        self._presence = Presence(self, self._manners, transport.write, transport.abort)
        if self._manners.max_age_s:
            age_s = self._manners.max_age_s * random.uniform(0.9, 1.1)
            self._age_timer = self._loop.call_later(age_s, self._grow_old)
        told = {
            frames.HEADER_TABLE_SIZE: 0,
            frames.MAX_CONCURRENT_STREAMS: self._manners.most_streams,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            frames.MAX_FRAME_SIZE: LARGEST_FRAME_TAKEN,
            frames.MAX_HEADER_LIST_SIZE: self._calls.blocks.most_bytes,
        }
        room = frames.window_update(0, CONNECTION_WINDOW - frames.INITIAL_WINDOW)
        transport.write(frames.settings(told) + room)
        self._calls.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._presence.end()
        for timer in (self._timer, self._age_timer):
            if timer is not None:
                timer.cancel()
        streams, self._streams = self._streams, {}
        for state in streams.values():
            if type(state) is _PassedOn:
                state.behind.close()
            else:
                _cancel(state)
        if self._behind is not None:
            self._behind.close()
        self._calls.left(self)

    def pause_writing(self) -> None:
        """What was written has not gone out: write no more, and read nothing that would bring more about."""
        self._out.is_held = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._out.is_held = False
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._out.go_on()

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self.is_heard = True
        if self._rest:
            data = self._rest + data
            self._rest = b""
        try:
            self._read(data)
        except ConnectionFault as fault:
            self._write(frames.goaway(self._last, fault.code, str(fault)))
            self._close()

    def _read(self, data: bytes) -> None:
        """Read the frames in this, and keep the rest. Raises `ConnectionFault`.

        Those of a call that is like others are read here, at one look each; `_read_next` reads all others.
        """
        at, end, streams = 0, len(data), self._streams
        if self._left_of_frame:
            at = self._read_on(memoryview(data))
        elif not self._is_begun:
            at = self._read_preface(data)
            if not at:
                self._rest = data
                return
        known, is_amid_fields = self._table.stays, self._block is not None
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, stream = head_at(data, at)
            length = high << 16 | low
            start = at + HEAD_BYTES
            stop = start + length
            if stop <= end and not is_amid_fields:
                if kind == DATA:
                    head = streams.get(stream)
                    if type(head) is CallHead and flags == END_STREAM and length >= PREFIX_BYTES:
                        is_packed, size = prefix_at(data, start)
                        if size == length - PREFIX_BYTES and not is_packed:
                            self._taken += length
                            if self._taken > CONNECTION_WINDOW // 2:
                                self._take(0)
                            message = data[start + PREFIX_BYTES : stop]
                            streams[stream] = HANDED  # from here as `_begin` does, in place
                            call = self._calls.begin(self, stream, head.said, message, False)
                            if stream in streams:
                                streams[stream] = call
                            at = stop
                            continue
                elif kind == HEADERS and flags == END_HEADERS:
                    head = known.get(data[start:stop])
                    if (
                        head is not None
                        and head.is_ours
                        and self._last < stream <= MOST_STREAM
                        and stream & 1
                        and len(streams) < self._most_streams
                    ):
                        self._last = stream
                        streams[stream] = head
                        at = stop
                        continue
                elif kind == WINDOW_UPDATE and length == GRANT_BYTES:
                    (bytes_,) = grant_at(data, start)
                    self._make_room(stream & MOST_STREAM, bytes_ & MOST_STREAM)
                    at = stop
                    continue
            begun, at = at, self._read_next(data, at)
            if at == begun:
                break
            known, is_amid_fields = self._table.stays, self._block is not None
        if at < end:
            self._rest = data[at:]

    def _read_next(self, data: bytes, at: int) -> int:
        """Read any frame that is here whole, and as much as is here of DATA; where the next one begins."""
        high, low, kind, flags, stream = head_at(data, at)
        stream &= MOST_STREAM
        length: int = high << 16 | low
        start = at + HEAD_BYTES
        stop = start + length
        self._check(kind, length, stream)
        if kind == DATA and not flags & PADDED:
            self._frame = flags, stream
            self._left_of_frame = length
            return start + self._read_on(memoryview(data)[start:])
        if stop > len(data):
            return at
        self._read_frame(kind, flags, stream, data[start:stop])
        return stop

    def _read_preface(self, data: bytes) -> int:
        if data[: len(PREFACE)] != PREFACE[: len(data)]:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "this is HTTP/2 without TLS, for gRPC")
        if len(data) < len(PREFACE):
            return 0
        self._is_begun = True
        self._presence.begun()
        return len(PREFACE)

    def _read_on(self, data: memoryview) -> int:
        """More of a DATA frame whose head has come before, or as far as it has come with it."""
        flags, stream = self._frame
        size = min(self._left_of_frame, len(data))
        self._left_of_frame -= size
        ended = bool(flags & END_STREAM) and not self._left_of_frame
        self._data(stream, data[:size], size, ended)
        return size

    def _check(self, kind: int, length: int, stream: int) -> None:
        frames.check(kind, length, stream)
        if length > (LARGEST_FRAME_TAKEN if kind == DATA else LARGEST_BLOCK):
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, f"a frame of kind {kind} with {length} bytes")
        if self._block is not None and kind != CONTINUATION:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "header fields that are not continued")

    def _read_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame that came whole, and is not of the kind that comes with every call."""
        if kind == DATA:
            content = frames.content_of(kind, flags, payload)
            self._data(stream, memoryview(content), len(payload), bool(flags & END_STREAM))
        elif kind in (HEADERS, CONTINUATION):
            self._add_to_block(kind, flags, stream, payload)
        elif kind == RST_STREAM:
            self._reset(stream, int.from_bytes(payload))
        elif kind == SETTINGS:
            self._agree(flags, payload)
        elif kind == PING:
            self._pinged(flags, payload)
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a client pushes")

    def _break(self, stream: int, code: int) -> None:
        self._write(frames.reset(stream, code))
        self._forget(stream, code)

    def _add_to_block(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            self._block = stream, flags, frames.content_of(kind, flags, payload)
        elif self._block is None or self._block[0] != stream:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "header fields that nobody has begun go on")
        else:
            block = self._block[2] + payload
            if len(block) > LARGEST_BLOCK or not payload:
                raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "header fields in too many pieces")
            self._block = stream, self._block[1], block
        if flags & END_HEADERS:
            _, first_flags, block = self._block
            self._block = None
            head, self._table = self._calls.blocks.read(self._table, block)
            self._fields(stream, head, bool(first_flags & END_STREAM))

    def _fields(self, stream: int, head: CallHead, ended: bool) -> None:
        """The fields of a call, or those that end one."""
        if stream <= self._last:
            if stream in self._streams:
                if ended:
                    self._data(stream, memoryview(b""), 0, ended)
                else:
                    self._break(stream, frames.PROTOCOL_ERROR)
            return
        if not stream & 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"a client opens stream {stream}")
        self._last = stream
        if len(self._streams) >= self._most_streams:
            self._write(frames.reset(stream, frames.REFUSED_STREAM))
        elif head.refusal:
            self._write(self._headers(stream, head.refusal, END_STREAM))
            if not ended:
                self._write(frames.reset(stream, frames.NO_ERROR))
        elif not head.is_ours:
            if self._behind is None or self._behind.is_over:
                self._behind = self._calls.behind(self)
            self._streams[stream] = _PassedOn(self._behind, ended)
            self._behind.begin(stream, head.fields, ended)
        else:
            self._streams[stream] = head
            if ended:
                self._calls.spoiled(self, stream, "the call has no message")

    def _data(self, stream: int, chunk: memoryview, counted: int, ended: bool) -> None:
        """What a DATA frame holds, or a piece of it; `counted` with the padding."""
        state = self._streams.get(stream)
        if type(state) is _PassedOn and not state.is_whole:
            state.is_whole = ended
            state.behind.data(stream, bytes(chunk), ended)
            if counted > len(chunk):
                self.passed_on(stream, counted - len(chunk))
            return
        self._take(counted)
        if type(state) is CallHead:
            state = self._streams[stream] = IncomingMessage(state)
        if isinstance(state, IncomingMessage):
            self._add_to_message(stream, state, chunk, counted, ended)
        elif stream > self._last or not stream & 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"data of stream {stream}, which nobody has opened")
        elif state is not None:
            self._break(stream, frames.STREAM_CLOSED)

    def _add_to_message(
        self, stream: int, message: IncomingMessage, chunk: memoryview, counted: int, ended: bool
    ) -> None:
        message.add(chunk)
        if message.length > self._calls.largest_message:
            self._calls.too_large(self, stream, message.length)
        elif message.has > max(message.length, 0):
            self._calls.spoiled(self, stream, "the call has more than one message")
        elif ended:
            if message.has != message.length:
                self._calls.spoiled(self, stream, "the call ends before its message does")
            else:
                self._begin(stream, message.head, message.whole(), message.is_packed)
        else:
            message.credit += counted
            if message.credit > STREAM_WINDOW // 2:
                self._write(frames.window_update(stream, message.credit))
                message.credit = 0

    def _begin(self, stream: int, head: CallHead, message: bytes, is_packed: bool) -> None:
        streams = self._streams
        streams[stream] = HANDED
        call = self._calls.begin(self, stream, head.said, message, is_packed)
        if stream in streams:  # it is not answered yet
            streams[stream] = call

    def _take(self, bytes_: int) -> None:
        """So much has come and is out of the way."""
        self._taken += bytes_
        if self._taken > CONNECTION_WINDOW // 2:
            self._write(frames.window_update(0, self._taken))
            self._taken = 0

    def _make_room(self, stream: int, bytes_: int) -> None:
        if not stream:
            if not bytes_:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a window grows by nothing")
            self._out.grant_all(bytes_)
        elif stream in self._streams:
            if not bytes_:
                self._break(stream, frames.PROTOCOL_ERROR)
            elif not self._out.grant(stream, bytes_):
                self._break(stream, frames.FLOW_CONTROL_ERROR)
        elif stream > self._last:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"a window of stream {stream}, which is not open")

    def _reset(self, stream: int, code: int) -> None:
        if stream > self._last or not stream & 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"stream {stream}, which is not open, is reset")
        self._forget(stream, code)

    def _forget(self, stream: int, code: int) -> None:
        """The stream is over, whatever it had come to."""
        state = self._streams.pop(stream, None)
        self._out.drop(stream)
        if type(state) is _PassedOn:
            state.behind.reset(stream, code)
        else:
            _cancel(state)
        self._leave_if_done()

    def _agree(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            return
        for name, value in frames.settings_of(payload):
            self._out.agree(name, value)
            if name == frames.HEADER_TABLE_SIZE:
                self._owed = NO_TABLE
        self._write(frames.SETTINGS_TAKEN)

    def _pinged(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if payload == GOODBYE and self._is_told_to_go:
                self._said_goodbye()
            return
        if not self._presence.pinged():
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too_many_pings")  # as gRPC writes it
        self._write(frames.frame(PING, ACK, 0, payload))

    # Answers

    def answer(self, stream: int, message: bytes) -> bool:
        streams, out = self._streams, self._out
        if streams.pop(stream, None) is None:
            return False
        size = len(message)
        whole = size + PREFIX_BYTES
        if whole <= out.frame and whole <= out.window and whole <= out.initial and not self._owed:
            out.window -= whole
            self.has_sent = True
            if out.granted:
                out.granted.pop(stream, None)
            top = before(
                0, HEAD_BLOCK_BYTES, HEADERS, END_HEADERS, stream, HEAD_BLOCK,
                whole >> 16, whole & 0xFFFF, DATA, 0, stream, 0, size,
            )  # fmt: skip
            end = behind(0, GOOD_BYTES, HEADERS, END_HEADERS | END_STREAM, stream, GOOD)
            self._write(b"".join((top, message, end)))
            if self._is_leaving:
                self._leave_if_done()
        else:
            self._send(stream, HEAD_BLOCK, b"\0", message)
        return True

    def answer_packed(self, stream: int, packed: bytes, encoding: bytes) -> bool:
        if self._streams.pop(stream, None) is None:
            return False
        self._send(stream, HEAD_BLOCK + literal(b"grpc-encoding", encoding), b"\1", packed)
        return True

    def _send(self, stream: int, block: bytes, is_packed: bytes, message: bytes) -> None:
        """An answer of any size, as there is room for it."""
        self._streams[stream] = ANSWERING
        self._write(self._headers(stream, block, 0))
        self._out.send(stream, is_packed + len(message).to_bytes(4), None)
        self._out.send(stream, message, partial(self._headers, stream, GOOD, END_STREAM))

    def fail(self, stream: int, fields: bytes) -> None:
        state = self._streams.pop(stream, None)
        if state is None:
            return
        self._out.drop(stream)
        self._write(self._headers(stream, HEAD_BLOCK + fields, END_STREAM))
        if isinstance(state, (CallHead, IncomingMessage)):  # its request may go on
            self._write(frames.reset(stream, frames.NO_ERROR))
        self._leave_if_done()

    def _headers(self, stream: int, block: bytes, flags: int) -> bytes:
        block, self._owed = self._owed + block, b""
        self.has_sent = True
        return frames.frame(HEADERS, flags | END_HEADERS, stream, block)

    def _sent_all(self, stream: int) -> None:
        """The end of an answer that waited is out."""
        state = self._streams.pop(stream, None)
        if type(state) is _PassedOn and not state.is_whole:
            self._write(frames.reset(stream, frames.NO_ERROR))
        self._leave_if_done()

    # What is passed on

    def passed_on(self, stream: int, bytes_: int) -> None:
        if self._is_over:
            return
        self._take(bytes_)
        state = self._streams.get(stream)
        if type(state) is _PassedOn and not state.is_whole:
            self._write(frames.window_update(stream, bytes_))

    def relay_fields(self, stream: int, block: bytes, ended: bool) -> None:
        if stream in self._streams:
            if ended:
                self._out.send(stream, b"", partial(self._headers, stream, block, END_STREAM))
            else:
                self._write(self._headers(stream, block, 0))

    def relay_data(self, stream: int, chunk: bytes, ended: bool, sent: Callable[[int], None]) -> None:
        if stream in self._streams:
            self.has_sent = True
            self._out.send(stream, chunk, with_the_data if ended else None, sent)

    def relay_reset(self, stream: int, code: int) -> None:
        if self._streams.pop(stream, None) is not None:
            self._out.drop(stream)
            self._write(frames.reset(stream, code))
            self._leave_if_done()

    # Goodbye

    @property
    def has_calls(self) -> bool:
        return bool(self._streams)

    def leave(self) -> None:
        """Tell the client to go; the connection ends with its last call, and takes those on their way here.

        Two frames, as section 6.8 has it: the first refuses nothing, the second names the last call taken.
        """
        if not self._is_begun:
            self._close()
        if self._is_told_to_go or not self._is_begun:
            return
        self._is_told_to_go = True
        self._write(frames.goaway(MOST_STREAM, frames.NO_ERROR) + frames.frame(PING, 0, 0, GOODBYE))
        self._presence.end()
        self._timer = self._loop.call_later(GOODBYE_WITHIN_S, self._said_goodbye)

    def _grow_old(self) -> None:
        """It has been here for long: its client is to connect anew, which may bring it to another server."""
        self.leave()
        grace_s = self._manners.max_age_grace_s
        if grace_s:
            self._age_timer = self._loop.call_later(grace_s, self._transport.abort)

    def _said_goodbye(self) -> None:
        if not self._is_leaving:
            self._is_leaving = True
            self._most_streams = 0
            self._write(frames.goaway(self._last, frames.NO_ERROR))
            self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._is_leaving and not self._streams:
            self._close()

    def _close(self) -> None:
        """What is written goes out first, if the client reads it."""
        self._is_over = True
        self._transport.close()
        self._presence.end()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LAST_BYTES_WITHIN_S, self._transport.abort)

    def abort(self) -> None:
        self._transport.abort()


def _cancel(state: Any) -> None:
    if state is not None and not isinstance(state, (CallHead, IncomingMessage, _Mark)):
        state.cancel()


def named(address: Any) -> str:
    """An address as gRPC writes it: `ipv4:127.0.0.1:5000`, `ipv6:[::1]:5000`, `unix:`."""
    if not isinstance(address, tuple):
        return "unix:"
    host, port = address[:2]
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"

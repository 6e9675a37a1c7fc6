"""The inference path without ASGI: uvicorn's own protocol answers plain infer requests by itself.

Plain is a POST of HTTP/1.1 to exactly an infer URL, with a Content-Length within the limit, no
Content-Encoding, Expect, Upgrade or Transfer-Encoding, no header that is to be forwarded or that asks for a
trace, and nothing still unanswered before it on the connection; where there is a gate, one that has let the
caller pass before. Everything else goes the long way, through the ASGI app, and a request gets the same bytes
by either. A scope, a task and a timer for each request are what this saves.

Inherits from `HttpToolsProtocol`; the names used of it are held by a test, and uvicorn is pinned to a range.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from server.api.answer_head import head_of
from server.api.exchange import Exchange
from server.api.familiar import Familiar, Familiars
from server.api.heads import Heads, Targets
from server.api.infer_door import InferDoor, shown_in, wishes_of
from server.api.reply import JSON
from server.domain.errors import InvalidRequest
from server.observe.tracing.tracer import HEADER_BYTES
from server.security.caller import API_KEY, AUTHORIZATION
from server.security.calls import INFER
from server.wire.codes import error_body
from server.wire.infer_http import Chunk

LONG_WAY = frozenset({b"content-encoding", b"expect", b"upgrade", b"transfer-encoding"})
READ_HERE = frozenset(
    {b"content-length", b"inference-header-content-length", b"tercet-timeout-ms", b"accept-encoding"}
)
OFFERS = frozenset({b"upgrade", b"http2-settings"})
"""Headers, and words of the header Connection, by which a client offers another protocol."""

AT_ONCE_BYTES = 65_536
"""Up to this size an answer is joined and written in one piece; a larger one is written as it lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What clients may do with connections.

    head_bytes    in a request's line and headers, and between the chunks of its body
    headers       of a request
    chunks        of a body that comes in chunks
    connections   open at once
    request_s     from a request's first byte to its last, in seconds; and how long an answer may lie
                  unread
    """

    head_bytes: int
    headers: int
    chunks: int
    connections: int
    request_s: float


SHORTEST_HEADER = 4
"""Bytes: a name, a colon, and the end of the line."""


def _read_here(door: InferDoor) -> frozenset[bytes]:
    """The headers whose values are kept.

    Those that say who asks are among them, unless they send a request the long way for another reason.
    """
    who = {API_KEY, AUTHORIZATION} if door.gate is not None else set()
    if door.client_header is not None:
        who.add(door.client_header.name)
    if door.forwarding is not None:
        who = {name for name in who if not door.forwarding.takes(name)}
    return READ_HERE | (who - LONG_WAY)


class LastWords:
    """A refusal that waits, like a pipelined request, until all before it are answered."""

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say

    async def run_asgi(self, _: Any) -> None:
        self._say()


class ShortWay(HttpToolsProtocol):
    """One connection."""

    __slots__ = (  # what each request looks at, side by side: of many connections, none lies in a cache
        "_between",
        "_exchange",
        "_familiar",
        "_familiars",
        "_heads",
        "_heard_at",
        "_refused",
        "_staying",
        "cycle",
        "flow",
        "parser",
        "pipeline",
        "server_state",
        "timeout_keep_alive_task",
        "transport",
    )

    def __init__(
        self,
        door: InferDoor,
        targets: Targets,
        heads: Heads,
        familiars: Familiars,
        limits: ConnectionLimits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._forwarding = door.forwarding
        self._gate = door.gate
        self._tracer = door.tracer
        self._read_here = _read_here(door)
        self._targets = targets
        self._heads = heads
        self._familiars = familiars
        self._familiar: Familiar | None = None
        self._limits = limits
        self._max_header_bytes = limits.head_bytes
        self._harmless_head = limits.headers * SHORTEST_HEADER
        self._exchange = Exchange(self, door)
        self._own: dict[bytes, bytes] = {}
        self._plain = True
        self._short = False
        self._between = True
        self._fresh = b""
        self._in_head = False
        self._in_long_body = False
        self._chunk_count = 0
        self._between_chunks = 0
        self._begun_at = 0.0
        self._unread_since = 0.0
        self._head_at_least = 0
        self._head_at_most = 0
        self._received = 0
        self._before = 0
        self._refused = False
        self._chunks: list[bytes] = []
        self._long_ways: list[RequestResponseCycle] = []
        self._heard_at = 0.0
        self._idling: asyncio.TimerHandle | None = None
        self._staying = True
        self.peer = ""

    # The connection.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self._heard_at = monotonic()
        self._idling = self.loop.call_later(
            min(self.timeout_keep_alive, self._limits.request_s), self._close_if_idle
        )
        if len(self.connections) > self._limits.connections:
            self._refuse_connection(
                503,
                f"the server already has {self._limits.connections} connections open, "
                "the limit that --http-max-connections sets",
            )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._idling is not None:
            self._idling.cancel()
        for cycle in self._long_ways:  # uvicorn itself tells only the newest
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._long_ways.clear()
        self._chunks = []  # a circle holds this object until the collector comes, which must not hold a body
        if not self._exchange.response_complete:
            self._exchange.abandon()

    def data_received(self, data: bytes) -> None:
        self._heard_at = now = monotonic()
        if self._refused:
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self._between and (self.cycle is None or self.cycle.response_complete):
            exchange = self._exchange
            familiar = self._familiar
            if familiar is None or len(data) != familiar.size or not data.startswith(familiar.begin):
                familiar = self._familiars.find(data)
            if familiar is not None and self._again(familiar, data, now):
                return
            known = self._heads.find(data)
            if known is not None:
                head, body = known
                self.cycle = exchange  # type: ignore[assignment]
                exchange.open(head.target, True, now)
                exchange.start(head.wishes, body, now)
                familiar = exchange.familiar(head, data)
                if familiar is not None:
                    self._familiars.keep(familiar)
                return
            self._fresh = data
        else:
            self._fresh = b""
        self._received = len(data)
        self._before = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            if not self._refused:
                self.send_400_response(str(error))
            return
        if self._in_head:
            self._head_at_least += len(data)
            self._head_at_most += len(data)
            if self._head_at_least > self._max_header_bytes:
                self._refuse_head()
        elif self._in_long_body:
            self._between_chunks += len(data)
            if self._between_chunks > self._max_header_bytes or len(self.headers) > self._limits.headers:
                self._refuse_between_chunks()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = monotonic()

    def resume_writing(self) -> None:
        self._unread_since = 0.0
        super().resume_writing()
        self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        self._refuse_connection(400, "this is not HTTP, or not as it should be: " + msg)

    def _again(self, familiar: Familiar, data: bytes, now: float) -> bool:
        """Start a familiar request. False if it is to be read, as it may mean something else by now."""
        before, self.cycle = self.cycle, self._exchange  # type: ignore[assignment]
        if self._exchange.again(familiar, data, now):
            self._familiar = familiar
            return True
        self.cycle, self._familiar = before, None
        return False

    def leave(self) -> None:
        """Say with the next answer that the connection ends with it."""
        self._staying = False
        self._heads = Heads()  # of its own and empty, as a head that is known stays without a look
        self._familiars, self._familiar = Familiars(), None
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def own_task(self, work: Any) -> "asyncio.Task[None]":
        """A task that the server waits for when it stops."""
        task: asyncio.Task[None] = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def reply(self, head: bytes, pieces: list[Chunk], size: int) -> None:
        """Write a whole answer; `size` is that of its pieces."""
        if size <= AT_ONCE_BYTES:
            self.transport.write(b"".join([head, *pieces]))
        else:
            self.transport.writelines([head, *pieces])
            if self.flow.write_paused:
                self.flow.pause_reading()  # the next request waits until the client has taken this answer

    def answered(self, keep_alive: bool, now: float) -> None:
        """An answer by the short way is written; on with what waits behind it."""
        if not keep_alive:
            self.transport.close()
        if self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._heard_at = now

    # The parser's calls. What raises here stops the parser, as a fault of the client's.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._own = {}
        self._plain = True
        self._in_head = True
        self._between = False
        self._begun_at = self._heard_at
        self._head_at_least = -self._before
        self._head_at_most = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        if name in self._read_here:
            self._own[name] = value
        elif name in LONG_WAY or (self._forwarding is not None and self._forwarding.takes(name)):
            self._plain = False
        elif self._tracer is not None and name == HEADER_BYTES:
            self._own[name] = value
            if self._tracer.asks(value):
                self._plain = False

    def on_headers_complete(self) -> None:
        self._in_head = False
        most = self._head_at_most + self._received
        if most > self._max_header_bytes and self._head_is_too_large():
            self._refuse_head()
            raise httptools.HttpParserError
        if most > self._harmless_head and len(self.headers) > self._limits.headers:
            self._refuse_headers()
            raise httptools.HttpParserError
        target = self._targets.find(self.url) if self._plain else None
        self._short = target is not None and self._may_be_short()
        if self._short:
            assert target is not None
            self._chunks = []
            self._exchange.open(target, self._staying and self.parser.should_keep_alive(), self._heard_at)
            self.cycle = self._exchange  # type: ignore[assignment]
        else:
            self._go_the_long_way()

    def on_body(self, body: bytes) -> None:
        if self._short:
            self._chunks.append(body)
        else:
            self._between_chunks = -self._received
            super().on_body(body)

    def on_chunk_header(self) -> None:
        self._between_chunks = -self._received
        self._chunk_count += 1
        if self._chunk_count > self._limits.chunks:
            self._refuse_connection(
                413,
                f"the request body comes in more than {self._limits.chunks} chunks, "
                "the limit that --http-max-chunks sets",
            )
            raise httptools.HttpParserError

    def on_message_complete(self) -> None:
        self._between = True
        self._before = self._received  # a head that begins in this read may have all of it before it
        self._begun_at = 0.0
        if not self._short:
            self._in_long_body = False
            super().on_message_complete()
            return
        if self.transport.is_closing():
            return
        self._short = False
        chunks, self._chunks = self._chunks, []
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        exchange = self._exchange
        try:
            wishes = wishes_of(self._own, self._door.client_header, is_gated=self._gate is not None)
            if self._tracer is not None:
                wishes = replace(wishes, parent=self._own.get(HEADER_BYTES, b""))
        except InvalidRequest as fault:
            exchange.refuse(fault)
            return
        if self._fresh and exchange.keep_alive:
            self._heads.keep(self._fresh, exchange.target, wishes, len(body))
        exchange.start(wishes, body, self._heard_at)

    def _may_be_short(self) -> bool:
        size = self._own.get(b"content-length", b"")
        return (
            (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and size.isdigit()
            and int(size) <= self._door.max_body_bytes
            and not self.transport.is_closing()
            and (self._gate is None or self._gate.admits_quickly(INFER, shown_in(self._own)))
        )

    def _head_is_too_large(self) -> bool:
        """For a head that is there: four bytes lie between and after a name and its value."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > self._max_header_bytes

    def _refuse_head(self) -> None:
        self._refuse_connection(
            431,
            f"the head of the request is larger than {self._max_header_bytes} bytes, "
            "the limit that --http-max-header-bytes sets",
        )

    def _refuse_headers(self) -> None:
        self._refuse_connection(
            431,
            f"the request has {len(self.headers)} headers, more than the {self._limits.headers} "
            "that --http-max-headers allows",
        )

    def _refuse_between_chunks(self) -> None:
        if len(self.headers) > self._limits.headers:
            self._refuse_headers()
        else:
            self._refuse_connection(
                431,
                f"more than {self._max_header_bytes} bytes lie between or behind the chunks of the body, "
                "the limit that --http-max-header-bytes sets",
            )

    def _go_the_long_way(self) -> None:
        """Hand uvicorn the request as it would have read it itself, but without what a trailer adds."""
        self._in_long_body = True
        self._chunk_count = 0
        self._between_chunks = -self._received
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.scope["headers"] = [*headers]
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        newest = self.cycle
        super().on_headers_complete()
        if newest is None or newest.response_complete:  # and so are all before it
            self._long_ways.clear()
        if self.cycle is not newest:
            self._long_ways.append(self.cycle)
            if not self._staying:
                self.cycle.keep_alive = False

    def _should_upgrade(self) -> bool:
        """Has uvicorn leave a request that offers an upgrade alone; `_pass_over` reads it again."""
        return True

    def _pass_over(self, rest: bytes) -> None:
        """Read a head again without its offer of another protocol, as a server may (RFC 9110, 7.8).

        Java's HTTP client makes one, of HTTP/2, with the first request of a connection. The parser has
        stopped after the head, for good if the connection is to close; `rest` is what came behind it.
        """
        method, version = self.scope["method"], self.scope["http_version"]
        if method == "CONNECT":
            self.send_400_response("CONNECT is for proxies")
            return
        lines = [f"{method} ".encode() + self.url + f" HTTP/{version}\r\n".encode()]
        for name, value in self.headers:
            if name == b"connection":
                words = [word for word in value.split(b",") if word.strip().lower() not in OFFERS]
                value = b",".join(words)
            if name not in OFFERS:
                lines.append(b"%b: %b\r\n" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"".join([*lines, b"\r\n", rest]))

    def _refuse_connection(self, status: int, sentence: str) -> None:
        """Say why nothing more is read here, after what is still owed to the requests before; then close."""
        self._refused = True

        def say() -> None:
            body = error_body(sentence)
            headers = [JSON, (b"content-length", b"%d" % len(body))]
            self.reply(head_of(status, headers, keep_alive=False), [body], len(body))
            self.transport.close()

        newest = self.cycle
        owed = newest is not None and not newest.response_complete
        if owed and not isinstance(newest, Exchange) and newest.more_body:  # its own body is at fault
            owed = bool(self.pipeline)
            if owed:
                self.pipeline.popleft()
        if owed:
            self.pipeline.appendleft((LastWords(say), self.app))  # type: ignore[arg-type]
        else:
            say()

    def _close_if_idle(self) -> None:
        """One timer a connection, that looks back: no timer is armed and cancelled for each request."""
        now = monotonic()
        left_s = self.timeout_keep_alive - (now - self._heard_at)
        most_s = self._limits.request_s
        if self._begun_at and not self.flow.read_paused:  # else it is we who let it wait
            most_s -= now - self._begun_at
        waiting = self.cycle is None or self.cycle.response_complete or self._short
        if self._unread_since and now - self._unread_since >= self._limits.request_s:
            self.transport.abort()
        elif left_s <= 0 and waiting:
            self.transport.close()  # once all is written, which waits for the client to read
            self._idling = self.loop.call_later(self._limits.request_s, self.transport.abort)
        elif most_s <= 0:
            self._refuse_late()
        else:
            again_s = min(left_s if left_s > 0 else self.timeout_keep_alive, most_s)
            self._idling = self.loop.call_later(again_s, self._close_if_idle)

    def _refuse_late(self) -> None:
        if self._short:  # nothing was begun that owes an answer
            self._exchange.response_complete = True
        self._refuse_connection(
            408,
            f"the request has not arrived within {self._limits.request_s:g} seconds, "
            "the limit that --http-request-timeout-secs sets",
        )

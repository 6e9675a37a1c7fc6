"""The same traces in real time: every arrival is sent over HTTP at its moment, whatever became of the others.

An open loop on loopback, bounded by its connections. What finds none free is not sent, and is counted as
refused. Callers have machines of their own elsewhere; here the generator shares the processors with what it
measures. So it comes first on them, and what it is late all the same is not the server's: a time runs from
when the request was sent to when the answer reached the socket, and by how much the generator was behind the
trace is told beside. Deadlines of a trace are not sent along.
"""

import asyncio
import re
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

import numpy as np

from benchmarks.call import HOST, Door
from benchmarks.codec import encode
from benchmarks.models import Tensors
from benchmarks.sample import percentile
from benchmarks.scheduling.outcome import Book, Outcome
from benchmarks.scheduling.stamped import StampedSocket, connected
from benchmarks.scheduling.traces import Arrival
from benchmarks.server_under_test import Batches
from server.precedence import come_first

CONNECTIONS = 200
"""For each model, so that one which answers nothing does not keep the others from being asked."""

LAST_ANSWER_S = 30.0
"""What is under way after the last arrival has this long."""

LEAD_S = 0.1
"""Between the last connection and the trace's first moment."""

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
NOT_SENT, LOST, TIMED_OUT = "no free connection", "connection lost", "no answer"


class Server(Protocol):
    """One that runs on this machine; `batches` and `cpu_s` are as `ServerUnderTest` has them."""

    http_port: int

    def batches(self, model: str) -> Batches | None: ...

    def cpu_s(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """
    name    as the trace has it
    asked   as the server has it, where that is another
    row     the inputs of one row, each of shape (1, ...)
    """

    name: str
    target_s: float
    row: Tensors
    asked: str = ""


def replay(
    trace: Iterable[Arrival],
    models: Iterable[ServedModel],
    server: Server,
    *,
    connections: int = CONNECTIONS,
) -> Outcome:
    """Send the trace to a running server. The outcome's processor time is the server's."""
    models = list(models)
    books = {model.name: Book(round(model.target_s * 1e9)) for model in models}
    before = {model.name: server.batches(model.asked or model.name) for model in models}
    cpu_s = server.cpu_s()
    requests = _Requests(models, server.http_port)
    began = monotonic()
    sending = partial(_send, trace, requests, books, server.http_port, connections)
    with ThreadPoolExecutor(1, initializer=come_first) as own:
        late = own.submit(_run, sending).result()
    seconds = monotonic() - began
    outcomes = {}
    for model in models:
        earlier, now = before[model.name], server.batches(model.asked or model.name)
        runs = now.runs - earlier.runs if now and earlier else 0
        rows = now.rows - earlier.rows if now and earlier else 0
        outcomes[model.name] = books[model.name].outcome(mean_batch=rows / runs if runs else 0.0, busy_s=0.0)
    return Outcome(
        models=outcomes,
        seconds=seconds,
        device_busy_s=0.0,
        cpu_s=server.cpu_s() - cpu_s,
        late_ms=percentile(sorted(late), 0.99) * 1e3,
    )


class _Requests:
    """Each request as bytes, made once for each number of rows."""

    def __init__(self, models: Iterable[ServedModel], port: int) -> None:
        self._models = {model.name: model for model in models}
        self._port = port
        self._made: dict[tuple[str, int], bytes] = {}

    def bytes_of(self, name: str, rows: int) -> bytes:
        made = self._made.get((name, rows))
        if made is None:
            model = self._models[name]
            batch = {tensor: np.repeat(array, rows, axis=0) for tensor, array in model.row.items()}
            asked = model.asked or model.name
            call = encode(Door.BINARY, asked, batch, http_port=self._port, grpc_port=0)
            headers = {"Host": HOST, "Content-Length": str(len(call.body)), **call.headers}
            lines = "".join(f"{header}: {value}\r\n" for header, value in headers.items())
            made = f"POST {call.path} HTTP/1.1\r\n{lines}\r\n".encode() + call.body
            self._made[name, rows] = made
        return made


def _run(sending: Callable[[], Coroutine[Any, Any, list[float]]]) -> list[float]:
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())  # epoll sleeps in whole milliseconds
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(sending())


async def _send(
    trace: Iterable[Arrival], requests: _Requests, books: Mapping[str, Book], port: int, connections: int
) -> list[float]:
    """How late each was sent, in seconds."""
    loop = asyncio.get_running_loop()
    free: dict[str, deque[_Connection]] = {name: deque() for name in books}
    under_way: set[_Connection] = set()
    all_answered = asyncio.Event()

    def done(connection: _Connection) -> None:
        under_way.discard(connection)
        if not under_way:
            all_answered.set()
        if not connection.is_lost:
            free[connection.model].append(connection)

    opened: list[_Connection] = []
    late: list[float] = []
    for name in books:
        for _ in range(connections):
            stamped = connected(HOST, port)
            connect = partial(_Connection, name, books[name], stamped, done)
            opened.append((await loop.create_connection(connect, sock=stamped))[1])
            free[name].append(opened[-1])
    start = loop.time() + LEAD_S
    try:
        for arrival in trace:
            at = start + arrival.at_ns / 1e9
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            book = books[arrival.model]
            book.offered += 1
            if not free[arrival.model]:
                book.refused(NOT_SENT, 0)
                continue
            connection = free[arrival.model].popleft()
            under_way.add(connection)
            all_answered.clear()
            late.append(loop.time() - at)
            connection.ask(requests.bytes_of(arrival.model, arrival.rows))
        try:
            async with asyncio.timeout(LAST_ANSWER_S):
                if under_way:
                    await all_answered.wait()
        except TimeoutError:
            for connection in list(under_way):
                connection.give_up()
    finally:
        for connection in opened:
            connection.close()
    return late


class _Connection(asyncio.Protocol):
    """One request at a time; what comes of it goes into the book, and `done` is called then."""

    def __init__(
        self, model: str, book: Book, stamped: StampedSocket, done: Callable[["_Connection"], None]
    ) -> None:
        self.model = model
        self.is_lost = False
        self._book = book
        self._socket = stamped
        self._done = done
        self._is_asked = False
        self._at = 0.0
        self._head = b""
        self._missing = 0
        self._status = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._loop = asyncio.get_running_loop()

    def ask(self, request: bytes) -> None:
        self._at, self._is_asked = self._loop.time(), True
        self._socket.waited_s = 0.0
        self._transport.write(request)

    def close(self) -> None:
        self._is_asked = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._head += data
            head_end = self._head.find(b"\r\n\r\n") + 4
            if head_end < 4:
                return
            length = CONTENT_LENGTH.search(self._head, 0, head_end)
            if length is None:
                self._transport.abort()  # an answer of unknown length
                return
            self._status = self._head[9:12].decode()
            self._missing = head_end + int(length[1])
            data, self._head = self._head, b""
        self._missing -= len(data)
        if not self._missing:
            self._tell("" if self._status == "200" else f"status {self._status}")

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._tell(LOST)

    def give_up(self) -> None:
        self.is_lost = True
        self._tell(TIMED_OUT)

    def _tell(self, refusal: str) -> None:
        if not self._is_asked:
            return
        self._is_asked = False
        took = round((self._loop.time() - self._socket.waited_s - self._at) * 1e9)
        if refusal:
            self._book.refused(refusal, took)
        else:
            self._book.answered(took)
        self._done(self)

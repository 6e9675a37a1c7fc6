"""One request on the short way and its answer, from its body to the bytes that are written."""

import asyncio
from collections.abc import Coroutine
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol

from server.api.infer_door import CLIENT_GONE, Answer, InferDoor, Target, Wishes
from server.api.reply import Headers
from server.domain.request import InferRequest, InferResponse
from server.lifecycle.served import Plain, Served
from server.scheduling.ticket import Ticket
from server.stages.route import respond
from server.wire.infer_http import Chunk

CLOSE = (b"connection", b"close")
STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}


class _Unheard:
    """What uvicorn wakes when a client leaves; here nobody sleeps."""

    def set(self) -> None:
        pass


class Connection(Protocol):
    """What an exchange needs of the connection that it is on."""

    peer: str

    def reply(self, head: bytes, pieces: list[Chunk], size: int) -> None:
        """Write a whole answer; `size` is that of its pieces."""
        ...

    def answered(self, keep_alive: bool) -> None:
        """An answer is written; on with what waits behind it."""
        ...

    def own_task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """A task that the server waits for when it stops."""
        ...


class Exchange:
    """The request that a connection has on the short way, and its answer: one object for all, in turn.

    Uvicorn sees it as the connection's cycle: `response_complete`, `disconnected`, `keep_alive` and
    `message_event` are its words.
    """

    __slots__ = (
        "_arrived",
        "_connection",
        "_door",
        "_form",
        "_request",
        "_route",
        "_served",
        "_task",
        "_ticket",
        "_wishes",
        "disconnected",
        "keep_alive",
        "message_event",
        "response_complete",
        "target",
    )

    def __init__(self, connection: Connection, door: InferDoor) -> None:
        self._connection = connection
        self._door = door
        self._route = door.route
        self._served: Served | None = None
        self._request: InferRequest | None = None
        self._ticket: Ticket | None = None
        self._task: asyncio.Task[None] | None = None
        self.message_event = _Unheard()
        self.response_complete = True
        self.disconnected = False
        self.keep_alive = True

    def open(self, target: Target, keep_alive: bool, now: float) -> None:
        """The head of a request is there."""
        self.target = target
        self._arrived = now
        self.keep_alive = keep_alive
        self.response_complete = False

    def start(self, wishes: Wishes, body: bytes, now: float) -> None:
        """The whole request is there. Never raises: a refusal is an answer."""
        self._arrived = now
        self._wishes = wishes
        try:
            served, request, self._form = self._door.read(self.target, wishes, body, now)
            self._served, self._request = served, request
            if self._door.tracer is not None:
                request.trace = self._door.tracer.begin(self.target.model, now, wishes.parent)
            if served.staged or request.trace is not None:
                self._task = self._connection.own_task(self._through_stages(served, request))
                served.hold(self._task)
            else:
                self._ticket = self._route.begin(served, request, self._told)
        except Exception as error:
            self.refuse(error)

    def abandon(self) -> None:
        """The client left: its queued work goes along."""
        self.disconnected = True
        if self._task is not None:
            self._task.cancel()
        elif self._ticket is not None and isinstance(self._served, Plain):
            self._route.leave(self._served, self._ticket)

    async def _through_stages(self, served: Served, request: InferRequest) -> None:
        try:
            response = await self._route.infer(served, request)
        except asyncio.CancelledError:
            self._finish(None, CLIENT_GONE)
            raise
        except Exception as error:
            self.refuse(error)
        else:
            self._answer(served, response)

    def _told(self, ticket: Ticket) -> None:
        """The run is over, or will not be. Never raises, so it cannot harm those who shared the run."""
        served, request = self._served, self._request
        assert served is not None
        assert request is not None
        if ticket.outputs is None:
            assert ticket.error is not None
            self.refuse(ticket.error)
        else:
            self._answer(served, respond(served, request, ticket, ticket.outputs))

    def _answer(self, served: Served, response: InferResponse) -> None:
        if self.disconnected:
            self._finish(None, CLIENT_GONE)
            return
        try:
            pieces, size, length, encoding = self._door.write(
                served, self._form, response, self._wishes.accept_encoding
            )
        except Exception as error:
            self.refuse(error)
            return
        self._connection.reply(good_head(size, length, encoding, self.keep_alive), pieces, size)
        self._finish(response, 200)

    def refuse(self, error: Exception) -> None:
        """Answer with what went wrong."""
        if self.disconnected:
            self._finish(None, CLIENT_GONE)
            return
        status, headers, text = self._door.refuse(error, self._request)
        if CLOSE in headers:
            self.keep_alive = False
            headers.remove(CLOSE)
        self._connection.reply(head_of(status, headers, self.keep_alive), [text], len(text))
        self._finish(None, status)

    def _finish(self, response: InferResponse | None, status: int) -> None:
        self.response_complete = True
        served, request = self._served, self._request
        self._served = self._request = self._ticket = self._task = None
        self._door.note(self.target, self._connection.peer, served, request, response, self._arrived, status)
        if not self.disconnected:
            self._connection.answered(self.keep_alive)


def head_of(status: int, headers: Headers, keep_alive: bool) -> bytes:
    lines = [STATUS_LINES[status], *(b"%b: %b\r\n" % header for header in headers)]
    return b"".join(lines) + (b"\r\n" if keep_alive else b"connection: close\r\n\r\n")


@lru_cache(maxsize=1024)
def good_head(size: int, json_length: int | None, encoding: bytes, keep_alive: bool) -> bytes:
    """The head of a good answer: written once for answers of one size."""
    return head_of(200, Answer([], size, json_length, encoding).headers(), keep_alive)

"""One request on the short way and its answer, from its body to the bytes that are written."""

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Protocol

from server.api.answer_head import good_head, head_of
from server.api.familiar import Familiar
from server.api.heads import Head
from server.api.infer_door import CLIENT_GONE, InferDoor, Target, Wishes
from server.domain.errors import ServingError
from server.domain.request import InferRequest, InferResponse
from server.domain.tensors import Tensors
from server.lifecycle.remote import RemoteVersion
from server.lifecycle.served import Plain, Served
from server.scheduling.ticket import Ticket
from server.stages.route import respond
from server.wire.infer_http import Chunk
from server.wire.layout import kept_for

CLOSE = (b"connection", b"close")


class _Unheard:
    """What uvicorn wakes when a client leaves; here nobody sleeps."""

    def set(self) -> None:
        pass


class Connection(Protocol):
    """What an exchange needs of the connection that it is on."""

    peer: str
    transport: Any

    def reply(self, head: bytes, pieces: list[Chunk], size: int) -> None:
        """Write a whole answer; `size` is that of its pieces."""
        ...

    def answered(self, keep_alive: bool, now: float) -> None:
        """An answer is written, at `now`; on with what waits behind it."""
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
        "_familiar",
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
        self._familiar: Familiar | None = None
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

    def start(self, wishes: Wishes, body: bytes, now: float, *, admitted: bool = False) -> None:
        """The whole request is there. Never raises: a refusal is an answer.

        `admitted`: its caller has been let in, which counts, and once.
        """
        self._arrived = now
        self._wishes = wishes
        try:
            if not admitted:
                self._door.admit(wishes)
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

    def again(self, familiar: Familiar, data: bytes, now: float) -> bool:
        """The whole request is there, and nothing in it is new but its numbers. Never raises, either.

        False, with nothing done yet, if it is to be read: by now it may mean something else.
        """
        head = familiar.head
        target = head.target
        try:
            served = self._route.find(target.model, target.version)
        except ServingError:
            return False
        if served.facts.signature is not familiar.signature or served.staged:
            return False
        self.target = target
        self._wishes = head.wishes
        self._arrived = now
        self.keep_alive = True
        self.response_complete = False
        try:
            self._door.admit(head.wishes)
            inputs = familiar.inputs(data)
            if inputs is None:
                self.start(head.wishes, data[familiar.body_at :], now, admitted=True)
                return True
            assert isinstance(served, Plain)
            self._served = served
            self._familiar = familiar
            deadline = now + familiar.timeout_s
            self._ticket = self._route.again(
                served, inputs, familiar.rows, self._told_again, deadline, now, head.wishes.client
            )
        except Exception as error:
            if self._familiar is not None:
                self._read_by(familiar, {})
            self.refuse(error)
        return True

    def familiar(self, head: Head, data: bytes) -> Familiar | None:
        """What to know the request by that was just started; None if its like may mean something else."""
        request, served, wishes = self._request, self._served, self._wishes
        if request is None or request.id or served is None or served.staged:
            return None
        if self._door.tracer is not None:
            return None
        if wishes.accept_encoding is not None and b"=0" in wishes.accept_encoding:
            return None
        begin = len(data) - head.size
        signature = served.facts.signature
        kept = kept_for(data[begin:], wishes.json_length, signature)
        if kept is None or not signature.output_names.issuperset(kept[1].known.outputs):
            return None
        if kept[1].known.outputs and isinstance(served, RemoteVersion):
            return None  # what the other tiers need not give hangs on these
        return Familiar(head, data[: begin + kept[0]], len(data), kept[1], signature)

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
        outputs = ticket.outputs
        if outputs is None:
            assert ticket.error is not None
            self.refuse(ticket.error)
        else:
            self._answer(served, respond(served, request, ticket, outputs))

    def _told_again(self, ticket: Ticket) -> None:
        """The same for a familiar request; whatever is not a good answer to it goes on as any other."""
        served, familiar = self._served, self._familiar
        assert served is not None
        assert familiar is not None
        answer = None
        if ticket.error is None and self.keep_alive and not self.disconnected:
            try:
                shared, outputs = ticket.shared, ticket.own
                if shared is not None:
                    answer = familiar.answer_rows(served.version, shared, ticket.at)
                elif outputs is not None:
                    answer = familiar.answer(served.version, outputs)
            except Exception:  # whatever it was, the other way meets it, too, and says it
                answer = None
        if answer is None:
            self._read_by(familiar, ticket.inputs)
            self._told(ticket)
            return
        connection = self._connection
        connection.transport.write(answer)
        self.response_complete = True
        self._served = self._ticket = self._familiar = None
        ended = monotonic()
        access = self._door.access
        if access is not None:
            run, what = ticket.run, familiar.what
            assert run is not None
            if what is None:
                what = familiar.what = ("", "http", self.target.model, served.version, familiar.rows, 200)
            waited, computed = run.began - ticket.queued, run.ended - run.inferred
            access.record((self._arrived, ended, connection.peer, what, run.rows, waited, computed))
        connection.answered(True, ended)

    def _read_by(self, familiar: Familiar, inputs: Tensors) -> None:
        """Have what was left out for a familiar request, as it goes on as any other."""
        self._request, self._form = familiar.request(inputs, self._arrived)
        self._familiar = None

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
            self._connection.answered(self.keep_alive, monotonic())

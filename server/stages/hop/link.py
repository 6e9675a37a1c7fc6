"""The stream to one process of another tier: requests of all versions go out, their answers come back.

It is opened, and opened again, for as long as `run` runs. A stream that breaks, or is silent, takes with it
what was on it: whoever sent that is told, and what never left this process may go elsewhere.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from random import uniform
from time import monotonic, monotonic_ns
from typing import Any

import grpc
import structlog

from protos import stage_pb2 as pb
from server.domain.errors import TierUnavailable
from server.domain.shared import Place
from server.domain.stage import Span, StageName
from server.domain.tensors import Tensors
from server.scheduling.ticket import Ticket
from server.stages.hop.arena import Arena, Theirs, columns_of
from server.stages.hop.ejection import Outlier
from server.stages.hop.parcel import PLACES, Parcel, Sent
from server.wire.bundle import Broken, pack, read, unpack
from server.wire.fault import STAGE_NAMES, error_of

log = structlog.get_logger(__name__)

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # tiers come and go: our own log says so

METHOD = "/tercet.stage.v1.Stage/Exchange"
OPENED_WITHIN_S = 5.0
PING_S = 1.0
SILENT_S = 3.0
"""Without a word, though asked: the other side is gone."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


class Link:
    """Lives on the event loop. `run` is its one task, which its owner awaits or cancels.

    address    host and port
    stage      of the tier at its end
    up         whether the stream is open, and the other side has answered on it
    rows       that are on it, unanswered: the work that lies there
    requests   likewise, and `bytes` of their messages
    parcels    that were sent so far, and the requests that they `carried`
    outlier    whether it is to be left alone for a while
    """

    def __init__(
        self,
        address: str,
        stage: StageName,
        *,
        max_requests: int,
        max_bytes: int,
        shared_bytes: int = 2**26,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """It holds at most so many requests and bytes, whoever sends them. `changed` hears when `up` is.

        At `shared_bytes` 0 all tensors go on the wire.
        """
        self.address = address
        self.stage = stage
        self.up = False
        self.rows = self.requests = self.bytes = 0
        self.outlier = Outlier()
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._changed = changed
        self._parcels: dict[int, Parcel] = {}
        self.parcels = self.carried = 0
        self._outbox: deque[Parcel | bytes] = deque()
        self._freed: deque[int] = deque()
        self._shared_bytes = shared_bytes
        self._arena: Arena | None = None
        self._theirs: Theirs | None = None
        self._more = asyncio.Event()
        self._leaving = False
        self._heard = 0.0

    def takes(self, size: int) -> bool:
        """Whether a parcel of so many bytes may go now. One alone may, however large."""
        return (
            self.up
            and self.requests < self._max_requests
            and (self.bytes + size <= self._max_bytes or not self.bytes)
        )

    def send(self, owner: Sent, head: pb.Head, pieces: Sequence[Any], tickets: Sequence[Ticket]) -> Parcel:
        """Send requests of which `head` has all but the numbers. Their answers go to the owner."""
        self.parcels += 1
        self.carried += len(tickets)
        number = self.parcels
        first = number * PLACES
        head.ids.extend(range(first, first + len(tickets)))
        rows = [ticket.rows for ticket in tickets]
        head.rows.extend(rows)
        places: Sequence[Place] = ()
        if self._arena is not None:
            pieces, places = self._arena.lay(head, pieces)
        message = pack(head, pieces)
        parcel = Parcel(self, number, owner, list(tickets), sum(rows), monotonic_ns(), message, places)
        self._parcels[number] = parcel
        self.rows += parcel.rows
        self.requests += len(tickets)
        self.bytes += parcel.size
        self._post(parcel)
        return parcel

    def drop(self, parcel: Parcel, ticket: Ticket) -> None:
        """Nobody waits for this one any more; the other side is told."""
        place = parcel.tickets.index(ticket)
        self._take(parcel, place)
        if parcel.message is None:
            self._post(pack(pb.Head(cancelled=[parcel.number * PLACES + place])))
        elif not parcel.left:  # it is never written
            del self._parcels[parcel.number]
            parcel.release()
            self.bytes -= parcel.size

    async def run(self) -> None:
        """Keep the stream open, until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            why, was_up = await self._once()
            pause_s = FIRST_PAUSE_S if was_up else min(LONGEST_PAUSE_S, pause_s * 2)
            log.debug("link_down", address=self.address, stage=self.stage, why=why)
            await asyncio.sleep(uniform(pause_s / 2, pause_s))

    async def _once(self) -> tuple[str, bool]:
        """Open the stream and serve it until it breaks: why it did, and whether it was open at all."""
        why, was_up = "it is being closed", False
        try:
            async with grpc.aio.insecure_channel(self.address, options=OPTIONS) as channel:
                call = channel.stream_stream(METHOD)()
                try:
                    async with asyncio.timeout(OPENED_WITHIN_S):
                        await self._greet(call)
                    was_up = True
                    self._open()
                    await self._serve(call)
                    why = "it was closed"
                finally:
                    call.cancel()
        except (Exception, ExceptionGroup) as failure:
            why = _told(failure)
        finally:
            self._close(why)
        return why, was_up

    async def _greet(self, call: Any) -> None:
        """Hear that somebody is there, and agree on memory to share if it is on this host."""
        if self._shared_bytes:
            self._arena = Arena(self._shared_bytes)
        await call.write(pack(pb.Head(arena=self._arena.offer() if self._arena is not None else None)))
        answer = await call.read()
        if answer is grpc.aio.EOF:
            raise Broken("it was closed at once")
        head, _ = unpack(answer)
        if head.leaving:
            raise Broken("it takes nothing new")
        if self._arena is not None and head.arena_open:
            self._arena.is_read = True
            self._theirs = Theirs.open(head.arena) if head.HasField("arena") else None
            if self._theirs is not None:
                await call.write(pack(pb.Head(arena_open=True)))

    async def _serve(self, call: Any) -> None:
        """Read, write and watch until one of them ends."""
        parts = [asyncio.create_task(part(call)) for part in (self._read, self._write, self._watch)]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def _open(self) -> None:
        self.up = True
        self._leaving = False
        self._heard = monotonic()
        self._more.clear()
        self._changed()

    def _close(self, why: str) -> None:
        """Tell the owners of all that is on it."""
        if self.up:
            self.up = False
            self._changed()
        parcels, self._parcels = self._parcels, {}
        self._outbox.clear()
        self.rows = self.requests = self.bytes = 0
        for parcel in parcels.values():
            untouched = parcel.message is not None
            if not untouched:
                self.outlier.failed(monotonic())
            error = TierUnavailable(
                self.stage, parcel.owner.model, f"the connection to it was lost ({why})", untouched=untouched
            )
            parcel.release()
            if parcel.left:
                left = [ticket for ticket in parcel.tickets if ticket is not None]
                parcel.owner.lost(parcel, left, error)
        if self._arena is not None:
            self._arena.close()
        self._arena = self._theirs = None
        self._freed.clear()

    def _post(self, message: Parcel | bytes) -> None:
        self._outbox.append(message)
        self._more.set()

    async def _write(self, call: Any) -> None:
        while True:
            while self._outbox:
                message = self._outbox.popleft()
                if self._freed:
                    await call.write(pack(pb.Head(freed=self._take_freed())))
                if isinstance(message, Parcel):
                    parcel, content = message, message.message
                    if content is None or not parcel.left:
                        continue
                    parcel.message = None
                    await call.write(content)
                    del content
                else:
                    await call.write(message)
            if self._freed:
                await call.write(pack(pb.Head(freed=self._take_freed())))
            if self._leaving:
                await call.done_writing()
                await asyncio.Future()
            self._more.clear()
            await self._more.wait()

    def _take_freed(self) -> list[int]:
        return [self._freed.popleft() for _ in range(len(self._freed))]

    async def _watch(self, call: Any) -> None:
        """Ask for a sign of life, and hang up when none comes."""
        while True:
            await asyncio.sleep(PING_S)
            silent_s = monotonic() - self._heard
            if silent_s > SILENT_S:
                raise Broken(f"nothing was heard of it for {silent_s:.0f} s")
            if silent_s > PING_S / 2 and not self._leaving:
                self._post(pack(pb.Head()))
            elif self._freed:
                self._more.set()

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            self._heard = monotonic()
            head, columns = unpack(message)
            if head.ids:
                self._answered(head, columns)
            for fault in head.faults:
                self._refused(fault)
            if head.leaving and self.up:
                self._leave()

    def _leave(self) -> None:
        """The other side goes, once it has answered what it has: it is sent nothing more."""
        self.up = False
        self._leaving = True
        self._more.set()
        self._changed()

    def _answered(self, head: pb.Head, columns: Sequence[memoryview]) -> None:
        ids = list(head.ids)
        outputs = list(read(head, columns_of(head, columns, self._theirs, self._freed.append)).cut())
        spans = [
            Span(
                STAGE_NAMES.get(span.stage, self.stage),
                span.queue_ns,
                span.compute_ns,
                span.rows,
                span.transfer_ns,
            )
            for span in head.spans
        ]
        self.outlier.did_well(self._heard)
        at = 0
        while at < len(ids):
            number = ids[at] // PLACES
            parcel = self._parcels.get(number)
            answers: list[tuple[Ticket, Tensors]] = []
            while at < len(ids) and ids[at] // PLACES == number:
                ticket = None if parcel is None else self._answer_of(parcel, ids[at] % PLACES)
                if ticket is not None:
                    answers.append((ticket, outputs[at]))
                at += 1
            if parcel is not None and answers:
                parcel.owner.answered(parcel, answers, spans)

    def _refused(self, fault: pb.Fault) -> None:
        parcel = self._parcels.get(fault.id // PLACES)
        ticket = None if parcel is None else self._answer_of(parcel, fault.id % PLACES)
        if parcel is not None and ticket is not None:
            parcel.owner.refused(parcel, ticket, error_of(fault))

    def _answer_of(self, parcel: Parcel, place: int) -> Ticket | None:
        """The other side has done with one: its ticket, unless it was given up."""
        ticket = self._take(parcel, place)
        parcel.open -= 1
        if parcel.open <= 0 and self._parcels.pop(parcel.number, None) is not None:
            parcel.release()
            self.bytes -= parcel.size
        return ticket

    def _take(self, parcel: Parcel, place: int) -> Ticket | None:
        """A ticket off its parcel, once; None if it is not on it any more."""
        ticket = parcel.take(place)
        if ticket is not None:
            self.rows -= ticket.rows
            self.requests -= 1
        return ticket


def _told(failure: BaseException) -> str:
    """Why a stream ended, in a few words."""
    match failure:
        case TimeoutError():
            return "it did not answer when it was called"
        case grpc.aio.AioRpcError():
            return f"{failure.code().name}: {failure.details()}"
        case _:
            return str(failure) or type(failure).__name__

"""One stream to a process of another tier, from its greeting to its end; on one host, with a line beside it.

A stream that breaks, or is silent, takes with it what was on it: whoever sent that is told, and what never
left this process may go elsewhere. One whose other side leaves is sent nothing new, and ends when all that is
on it is answered.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, monotonic_ns
from typing import Any

import grpc

from protos import stage_pb2 as pb
from server.domain.errors import TierUnavailable
from server.domain.shared import Place
from server.domain.stage import Span, Spans, StageName
from server.domain.tensors import Tensors
from server.observe.copies import Copies
from server.scheduling.ticket import Ticket
from server.stages.hop.arena import Arena, Theirs, columns_of, lay_out
from server.stages.hop.ejection import Outlier
from server.stages.hop.line import Line, is_direct, joined
from server.stages.hop.parcel import PLACES, Carrier, Parcel, Sent
from server.wire.bundle import Bundle, Reader, pack, read
from server.wire.fault import error_of
from server.wire.heading import Broken, Heading
from server.wire.lone import pack_request
from server.wire.stage_numbers import STAGE_NAMES

PING_S = 1.0
SILENT_S = 3.0
"""Without a word, though asked: the other side is gone."""

SLOW_BYTES_PER_S = 2 << 20
"""What is on its way may take as long as on a line no slower than this; signs of life wait behind it."""


class Stream:
    """Lives on the event loop, in the task that calls `greet` and `serve`; `close` ends it.

    carrier    the link that it is of
    leaving    whether the other side takes nothing new
    rows       that are on it, unanswered, and the `requests`, and `bytes` of their messages
    """

    def __init__(self, carrier: Carrier, shared_bytes: int, copies: Copies) -> None:
        self.leaving = False
        self.rows = self.requests = self.bytes = 0
        self._carrier = carrier
        self._copies = copies
        self._reader = Reader()
        self._stage: StageName = carrier.stage
        self._outlier: Outlier = carrier.outlier
        self._parcels: dict[int, Parcel] = {}
        self._outbox: deque[Parcel | bytes] = deque()
        self._freed: deque[int] = deque()
        self._places: dict[int, Place] = {}
        self._arena = Arena(shared_bytes) if shared_bytes else None
        self._theirs: Theirs | None = None
        self._line: Line | None = None
        self._leaves: Callable[[], None] = lambda: None
        self._more = asyncio.Event()
        self._heard = monotonic()
        self._going = self._coming = 0

    async def greet(self, call: Any) -> None:
        """Hear that somebody is there; agree on memory to share and a line if it is on this host.

        Raises `Broken`.
        """
        greeting = pb.Head()
        if self._arena is not None:
            greeting.arena.CopyFrom(self._arena.offer())
            greeting.line.SetInParent()
        await call.write(pack(greeting))
        answer = await call.read()
        if answer is grpc.aio.EOF:
            raise Broken("it was closed at once")
        head = self._reader.unpack(answer).head
        if head.leaving:
            raise Broken("it takes nothing new")
        if self._arena is not None and head.arena_open:
            self._arena.is_read = True
            self._theirs = Theirs.open(head.arena) if head.HasField("arena") else None
            if self._theirs is not None:
                await call.write(pack(pb.Head(arena_open=True)))
            if head.line.name:
                await self._join(head)
        self._heard = monotonic()

    async def _join(self, head: pb.Head) -> None:
        if is_direct(head.line.seen, self._carrier.address):
            self._line = await joined(head.line.name, head.arena.pid, self._hear, self._write_on)

    async def serve(self, call: Any, leaves: Callable[[], None]) -> None:
        """Read, write and watch until one of them ends. `leaves` hears when the other side says so."""
        self._leaves = leaves
        if self.leaving:  # it has said so by the line already
            leaves()
        parts = [asyncio.create_task(self._read(call)), asyncio.create_task(self._watch(call))]
        if self._line is None:
            parts.append(asyncio.create_task(self._write(call)))
        else:
            parts.append(asyncio.create_task(self._finish(self._line)))
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def send(
        self,
        number: int,
        owner: Sent,
        heading: Heading,
        head: pb.Head | None,
        tickets: Sequence[Ticket],
    ) -> Parcel:
        """Send requests; `head` says what they say beside their tensors. Their answers go to the owner."""
        first, count, rows = number * PLACES, len(tickets), tickets[0].rows
        message = None
        regions: Sequence[Place] = ()
        if count == 1 and head is None:
            message = pack_request(heading, first, rows, tickets[0].inputs)
            if message is not None:
                self._copies.add("wire", heading.row_bytes * rows)
        if message is None:
            head = head or pb.Head()
            head.ids.extend(range(first, first + count))
            head.rows.extend([ticket.rows for ticket in tickets])
            rows = sum(head.rows)
            message, regions = self._laid(heading, head, tickets)
        size = len(message) + sum([region.size for region in regions])
        parcel = Parcel(
            self._carrier,
            number,
            owner,
            list(tickets),
            rows,
            monotonic_ns(),
            message,
            size,
            [region.start for region in regions],
        )
        self._parcels[number] = parcel
        self.rows += rows
        self.requests += count
        self.bytes += size
        self._post(parcel)
        return parcel

    def _laid(
        self, heading: Heading, head: pb.Head, tickets: Sequence[Ticket]
    ) -> tuple[bytes, Sequence[Place]]:
        """The message with these requests, and where what is not in it lies."""
        columns, places = lay_out(head, [ticket.inputs for ticket in tickets], self._arena, self._copies)
        self._places.update((place.start, place) for place in places)
        return pack(head, heading, columns), places

    def drop(self, parcel: Parcel, ticket: Ticket) -> bool:
        """Nobody waits for this one any more; the other side is told. False if it is not on this stream."""
        if self._parcels.get(parcel.number) is not parcel:
            return False
        place = parcel.tickets.index(ticket)
        self._take(parcel, place)
        if parcel.message is None:
            self._post(pack(pb.Head(cancelled=[parcel.number * PLACES + place])))
        elif not parcel.left:  # it is never written
            del self._parcels[parcel.number]
            self.bytes -= parcel.size
            self._free(parcel.regions)
        return True

    def close(self, why: str) -> None:
        """Tell the owners of all that is on it."""
        parcels, self._parcels = self._parcels, {}
        self._outbox.clear()
        if self._line is not None:
            self._line.cut()
        self.rows = self.requests = self.bytes = 0
        for parcel in parcels.values():
            untouched = parcel.message is not None
            if not untouched:
                self._outlier.failed(monotonic())
            error = TierUnavailable(
                self._stage, parcel.owner.model, f"the connection to it was lost ({why})", untouched=untouched
            )
            if parcel.left:
                left = [ticket for ticket in parcel.tickets if ticket is not None]
                parcel.owner.lost(parcel, left, error)
        self._places.clear()
        if self._arena is not None:
            self._arena.close()
        self._arena = self._theirs = None

    def _post(self, message: Parcel | bytes) -> None:
        line = self._line
        if line is None:
            self._outbox.append(message)
            self._more.set()
        elif line.is_full or line.is_over:  # what was not written may go elsewhere
            self._outbox.append(message)
        else:
            self._put(line, message)

    def _put(self, line: Line, message: Parcel | bytes) -> None:
        if self._freed:
            line.write(pack(pb.Head(freed=self._take_freed())))
        if isinstance(message, Parcel):
            content = message.message
            if content is not None and message.left:
                message.message = None
                line.write(content)
        else:
            line.write(message)

    def _write_on(self) -> None:
        """The line has room again."""
        line = self._line
        while line is not None and self._outbox and not (line.is_full or line.is_over):
            self._put(line, self._outbox.popleft())

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
                    self._going = len(content)
                    await call.write(content)
                    self._going = 0
                    del content
                else:
                    await call.write(message)
            if self._freed:
                await call.write(pack(pb.Head(freed=self._take_freed())))
            self._more.clear()
            await self._more.wait()

    def _free(self, regions: Iterable[int]) -> None:
        """Nobody reads what was laid there any more, or ever will."""
        for region in regions:
            place = self._places.pop(region, None)
            if place is not None:
                place.release()

    def _take_freed(self) -> list[int]:
        return [self._freed.popleft() for _ in range(len(self._freed))]

    async def _watch(self, call: Any) -> None:
        """Ask for a sign of life, and hang up when none comes.

        What counts is how often it was asked in vain: if this process itself stood still, that says nothing.
        """
        asked = 0
        while True:
            before = self._heard
            if self._line is None:
                self._post(pack(pb.Head()))
            else:
                await call.write(pack(pb.Head()))
                if self._freed:
                    self._line.write(pack(pb.Head(freed=self._take_freed())))
            await asyncio.sleep(PING_S)
            asked = 0 if self._heard != before else asked + 1
            if asked * PING_S > SILENT_S + (self._going + self._coming) / SLOW_BYTES_PER_S:
                raise Broken(f"it was asked {asked} times for a sign of life, and gave none")

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            self._heard = monotonic()
            self._hear(message)
        if self._line is not None and self.leaving:
            async with asyncio.timeout(SILENT_S):  # what was answered last may be on the line yet
                await self._line.ended()
        self._check_end()

    async def _finish(self, line: Line) -> None:
        await line.ended()
        if self.leaving and self._parcels:
            await asyncio.sleep(SILENT_S)  # what was answered before there was a line is on the stream yet
        self._check_end()

    def _check_end(self) -> None:
        if not self.leaving:
            raise Broken("it was closed")

    def _hear(self, message: bytes) -> None:
        """What the other side says, by whichever way."""
        lone = self._reader.lone_answer(message)
        if lone is not None:
            self._coming = 0
            self._outlier.did_well(monotonic())
            self._answered_one(lone.number, lone.tensors, (lone.span,))
            return
        bundle = self._reader.unpack(message)
        head = bundle.head
        self._coming = head.coming
        if head.freed:
            self._free(head.freed)
        if head.ids:
            self._answered(bundle)
        if head.faults:
            for fault in head.faults:
                self._refused(fault)
        if head.leaving and not self.leaving:
            self.leaving = True
            self._leaves()  # nothing is sent any more, so this is the last of ours but signs of life
            self._post(pack(pb.Head(leaving=True)))

    def _answered(self, bundle: Bundle) -> None:
        heading, head, columns = bundle
        ids = head.ids[:]
        batch = read(heading, head, columns_of(head, columns, self._theirs, self._freed.append))
        spans = [
            Span(
                STAGE_NAMES.get(span.stage, self._stage),
                span.queue_ns,
                span.compute_ns,
                span.rows,
                span.transfer_ns,
            )
            for span in head.spans[:]
        ]
        self._outlier.did_well(monotonic())
        outputs = list(batch.cut())
        at = 0
        while at < len(ids):
            number = ids[at] // PLACES
            parcel = self._parcels.get(number)
            answers: list[tuple[Ticket, Tensors]] = []
            whole = [] if parcel is None else self._whole_of(parcel, ids, at)
            if whole:
                answers = list(zip(whole, outputs[at : at + len(whole)], strict=True))
                at += len(whole)
            while at < len(ids) and ids[at] // PLACES == number:
                ticket = None if parcel is None else self._answer_of(parcel, ids[at] % PLACES)
                if ticket is not None:
                    answers.append((ticket, outputs[at]))
                at += 1
            if parcel is not None and answers:
                parcel.owner.answered(parcel, answers, spans)

    def _answered_one(self, number: int, outputs: Tensors, spans: Spans) -> None:
        parcel = self._parcels.get(number // PLACES)
        ticket = None if parcel is None else self._answer_of(parcel, number % PLACES)
        if parcel is not None and ticket is not None:
            parcel.owner.answered(parcel, ((ticket, outputs),), spans)

    def _refused(self, fault: pb.Fault) -> None:
        parcel = self._parcels.get(fault.id // PLACES)
        ticket = None if parcel is None else self._answer_of(parcel, fault.id % PLACES)
        if parcel is not None and ticket is not None:
            parcel.owner.refused(parcel, ticket, error_of(fault))

    def _whole_of(self, parcel: Parcel, ids: Sequence[int], at: int) -> list[Ticket]:
        """The tickets of a parcel that is answered in one piece, as most are; none of one that is not."""
        first, count = parcel.number * PLACES, len(parcel.tickets)
        if ids[at : at + count] != list(range(first, first + count)) or parcel.open != count:
            return []
        tickets = parcel.take_whole()
        if tickets:
            self._parcels.pop(parcel.number)
            self.bytes -= parcel.size
            self.rows -= sum([ticket.rows for ticket in tickets])
            self.requests -= count
        return tickets

    def _answer_of(self, parcel: Parcel, place: int) -> Ticket | None:
        """The other side has done with one: its ticket, unless it was given up."""
        ticket = self._take(parcel, place)
        parcel.open -= 1
        if parcel.open <= 0 and self._parcels.pop(parcel.number, None) is not None:
            self.bytes -= parcel.size
        return ticket

    def _take(self, parcel: Parcel, place: int) -> Ticket | None:
        """A ticket off its parcel, once; None if it is not on it any more."""
        ticket = parcel.take(place)
        if ticket is not None:
            self.rows -= ticket.rows
            self.requests -= 1
        return ticket

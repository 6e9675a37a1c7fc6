"""Answers on their way back over one stream: those that are ready together go in one bundle."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from protos import stage_pb2 as pb
from server.domain.shared import Place
from server.domain.stage import Spans, StageName
from server.domain.tensors import Tensors
from server.observe.copies import Copies
from server.observe.tracing.traced import Traced
from server.stages.hop.arena import Arena, Theirs, lay_out
from server.stages.hop.line import Line, Offer
from server.wire.bundle import pack
from server.wire.fault import fault_of
from server.wire.heading import Heading, Headings
from server.wire.lone import pack_answer
from server.wire.stage_numbers import STAGE_NUMBERS

LINGER_S = 0.0005
"""While others are still worked on, an answer waits so long for their company: a message costs far more."""

LARGE = 1 << 20
"""A message beyond this is announced."""


@dataclass(slots=True)
class _Group:
    """Answers with columns alike, which share a bundle."""

    ids: list[int]
    rows: list[int]
    parts: list[Tensors]
    spans: Spans


class Replies:
    """Of one stream, on the event loop.

    works    the requests that can be given up, each by a call
    traces   of the requests that are sampled, to be ended with their answers
    line     by which answers go, where there is one; else by what `run` is given
    """

    def __init__(self, stage: StageName, copies: Copies, *, shared_bytes: int = 2**26) -> None:
        self.theirs: Theirs | None = None
        self._shared_bytes = shared_bytes
        self._copies = copies
        self._arena: Arena | None = None
        self._places: dict[int, Place] = {}
        self._read: deque[int] = deque()
        self._greeting: pb.Head | None = None
        self.works: dict[int, Callable[[], object]] = {}
        self.traces: dict[int, Traced] = {}
        self._stage = stage
        self._headings = Headings(pb.Head())
        self._groups: dict[Heading, _Group] = {}
        self._faults: list[pb.Fault] = []
        self._pings = 0
        self._leaving = False
        self._open = 0
        self._writing = False
        self.line: Line | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._more = asyncio.Event()
        self._quiet = asyncio.Event()

    def open(self, requests: int) -> None:
        """So many more are to be answered."""
        self._open += requests

    @property
    def unanswered(self) -> int:
        return self._open

    def answer(self, ids: Sequence[int], rows: Sequence[int], tensors: Tensors, spans: Spans) -> None:
        """Several requests that ran together, the rows of their outputs one after the other."""
        self._join(ids, rows, tensors, spans, stacked=False)

    def answer_one(self, number: int, tensors: Tensors, spans: Spans) -> None:
        """One request, whatever the shapes of its outputs."""
        self.works.pop(number, None)
        if self.traces:
            self._end_trace(number)
        self._join((number,), (1,), tensors, spans, stacked=True)

    def fail(self, number: int, error: Exception, *, untouched: bool = False) -> None:
        self.works.pop(number, None)
        if self.traces:
            self._end_trace(number, str(error) or type(error).__name__)
        self._faults.append(fault_of(error, self._stage, number, untouched=untouched))
        self._open -= 1
        self._ready()

    def greet(self, head: pb.Head, seen: str) -> Offer | None:
        """Open the memory that the sender offers; on one host offer ours, and a line if it takes one.

        `seen` is the address from which the sender comes.
        """
        self._greeting = pb.Head()
        offer = None
        if self._shared_bytes and self.theirs is None:
            self.theirs = Theirs.open(head.arena)
            if self.theirs is not None:
                self._arena = Arena(self._shared_bytes)
                self._greeting = pb.Head(arena_open=True, arena=self._arena.offer())
                if head.HasField("line"):
                    with suppress(OSError):
                        offer = Offer()
                        self._greeting.line.name, self._greeting.line.seen = offer.name, seen
        self._more.set()
        return offer

    def share(self) -> None:
        """The sender has opened ours."""
        if self._arena is not None:
            self._arena.is_read = True

    def has_read(self, region: int) -> None:
        """Nobody here looks at that region of the sender's any more. From any thread.

        The sender hears of it with whatever is written next: a sign of life at the latest.
        """
        self._read.append(region)

    def free(self, regions: Iterable[int]) -> None:
        """The sender has read what lay there."""
        for region in regions:
            place = self._places.pop(region, None)
            if place is not None:
                place.release()

    def pong(self) -> None:
        """Say that somebody is here."""
        self._pings += 1
        self._more.set()

    def leave(self) -> None:
        """Say that nothing new is taken."""
        self._leaving = True
        self._ready()

    def give_up(self) -> None:
        """Nobody hears the answers any more."""
        for give_up in list(self.works.values()):
            give_up()
        self.works.clear()
        for number in list(self.traces):
            self._end_trace(number, "nobody waits for the answer any more")
        self.free(list(self._places))
        if self._arena is not None:
            self._arena.close()
            self._arena = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def drained(self) -> None:
        """Wait until all that was taken is answered, and written."""
        while self._open or self._writing or self._more.is_set() or self._has_some():
            self._quiet.clear()
            await self._quiet.wait()

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write what is ready, until cancelled: signs of life alone, where there is a line."""
        while True:
            await self._more.wait()
            if self._open and self.line is None:
                await asyncio.sleep(LINGER_S)
            self._more.clear()
            pings, self._pings = self._pings, 0
            if self.line is not None:
                if pings:
                    await write(pack(pb.Head()))
                if self._read or self._has_some():
                    self.flush()
                self._quiet.set()
                continue
            self._writing = True
            for message in self._messages(pings):
                if len(message) > LARGE:
                    await write(pack(pb.Head(coming=len(message))))
                await write(message)
                del message
            self._writing = False
            if not self._more.is_set():
                self._quiet.set()

    def flush(self) -> None:
        """Write what is ready on the line, if that has room."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        line = self.line
        if line is None or line.is_full:
            return
        try:
            for message in self._messages():
                line.write(message)
        except Exception as fault:  # an answer that cannot be written: the stream's end, not the run's
            line.fail(fault)
        self._quiet.set()

    def _ready(self) -> None:
        """Something is to be written: at once, where it has nobody to wait for."""
        if self.line is None:
            self._more.set()
        elif not self._open:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(LINGER_S, self.flush)

    def _has_some(self) -> bool:
        return bool(self._groups or self._faults or self._leaving)

    def _messages(self, pings: int = 0) -> Iterator[bytes]:
        """All that is ready."""
        groups, self._groups = self._groups, {}
        faults, self._faults = self._faults, []
        if self._greeting is not None:
            greeting, self._greeting = self._greeting, None
            yield pack(greeting)
        leaving, self._leaving = self._leaving, False
        freed = [self._read.popleft() for _ in range(len(self._read))] if self._read else ()
        if faults or leaving or freed or (pings and not groups):
            yield pack(pb.Head(faults=faults, leaving=leaving, freed=freed))
        for heading, group in groups.items():
            yield self._written(heading, group.ids, group.rows, group.parts, group.spans)

    def _end_trace(self, number: int, error: str = "") -> None:
        trace = self.traces.pop(number, None)
        if trace is not None:
            trace.end(error=error)

    def _join(
        self, ids: Sequence[int], rows: Sequence[int], tensors: Tensors, spans: Spans, *, stacked: bool
    ) -> None:
        heading = self._headings.of(tensors, stacked=stacked)
        self._open -= len(ids)
        line = self.line
        if not (line is None or line.is_full or self._open or self._read or self._has_some()):
            try:  # there is nobody to wait for, and nothing that waits already
                line.write(self._written_alone(heading, ids, rows, tensors, spans))
            except Exception as fault:  # as in `flush`
                line.fail(fault)
            self._quiet.set()
            return
        group = self._groups.get(heading)
        if group is None:
            self._groups[heading] = _Group(list(ids), list(rows), [tensors], spans)
        else:
            group.ids.extend(ids)
            group.rows.extend(rows)
            group.parts.append(tensors)
        self._ready()

    def _written_alone(
        self, heading: Heading, ids: Sequence[int], rows: Sequence[int], tensors: Tensors, spans: Spans
    ) -> bytes:
        if len(ids) == len(spans) == 1:
            message = pack_answer(heading, ids[0], rows[0], tensors, spans[0])
            if message is not None:
                self._copies.add("wire", heading.row_bytes * rows[0])
                return message
        return self._written(heading, ids, rows, (tensors,), spans)

    def _written(
        self,
        heading: Heading,
        ids: Sequence[int],
        rows: Sequence[int],
        parts: Sequence[Tensors],
        spans: Spans,
    ) -> bytes:
        head = pb.Head(ids=ids, rows=rows)
        for span in spans:
            head.spans.add(
                stage=STAGE_NUMBERS[span.stage],
                queue_ns=span.queue_ns,
                compute_ns=span.compute_ns,
                rows=span.rows,
                transfer_ns=span.transfer_ns,
            )
        columns, places = lay_out(head, parts, self._arena, self._copies)
        self._places.update((place.start, place) for place in places)
        return pack(head, heading, columns)

"""The way of one version's requests to another tier: where a plain version has a batcher, this stands.

Requests that arrive while a parcel is under way leave together in the next one, so the hop costs for each
parcel and not for each request. A parcel goes to the endpoint with the least work on it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from time import monotonic_ns
from typing import Protocol

import orjson
import structlog

from protos import stage_pb2 as pb
from server.domain.errors import (
    DeadlineExceeded,
    QueueFull,
    ServerStopping,
    ServingError,
    TierFailed,
    TierUnavailable,
)
from server.domain.request import FOREVER
from server.domain.stage import Spans
from server.domain.tensors import Tensors
from server.observe.tally import Tally
from server.scheduling.alarm import NEVER, Alarm
from server.scheduling.counting import reason_of
from server.scheduling.ticket import Ticket
from server.stages.hop.affinity import Key
from server.stages.hop.counting import HopRun, note_answers
from server.stages.hop.endpoints import Endpoints
from server.stages.hop.hedging import Hedges, Hedging
from server.stages.hop.parcel import PLACES, Carrier, Parcel
from server.stages.hop.retries import RetryBudget
from server.stages.hop.way import Way
from server.wire.bundle import nbytes
from server.wire.heading import Headings, column_key
from server.wire.stage_numbers import STAGE_NUMBERS

log = structlog.get_logger(__name__)

UNDER_WAY = 2
"""Parcels of a version on one link, beyond which a request waits for company: one that is worked on, and
one that lies ready behind it."""

LINGER_NS = 1_000_000
"""Nobody waits longer than this for company."""

LATE_NS = 1_000_000
"""Between two looks for those whose time is over: so late may one hear of it."""

SHUNNED_NS = 500_000_000
"""An endpoint that has refused what it cannot have begun is asked last for so long."""

LOOK_AGAIN_NS = 5_000_000
"""Between two looks for an endpoint, where there is none and requests may wait for one."""

LONGEST_US = 2**63
LOWEST_PRIORITY = 2**32 - 1
"""What the wire can say; a level beyond those that there are is the default, whichever it is."""

STUCK_NS = 1_000_000_000
"""Whose time is over sooner than this says nothing of the endpoint that it was sent to."""

TRIES = 3
"""Of one request, at most."""

PARCEL_BYTES = 4 << 20
"""No parcel is larger, but one with a request alone."""


Fit = Callable[[Ticket, Tensors], Tensors]


class ByKey(Protocol):
    """Where requests go that are to meet others of their key."""

    def submit(self, ticket: Ticket, key: Key) -> bool:
        """Take a request; False if nobody is there to choose from. Raises as `Sender.submit`."""
        ...

    def leave(self, ticket: Ticket, error: ServingError) -> None:
        """As `Sender.leave`, for a request that may be of this."""
        ...

    async def close(self, within_s: float) -> None:
        """As `Sender.close`."""
        ...


class Sender:
    """A `server.lifecycle.remote.Queue`. Lives on the event loop; `close` ends it.

    max_waiting   requests that wait here, because no link takes them
    budget        how much may be sent once more
    hedges        how much may be sent to two endpoints, where the way asks for that
    patience_s    how long a request may wait for an endpoint where there is none that is ready
    fit           makes of what the last stage gave what the caller is to get, or raises a `ServingError`;
                  None where that is one and the same
    keyed         takes requests that have a key; None where keys do not count
    """

    def __init__(
        self,
        way: Way,
        endpoints: Endpoints,
        *,
        tally: Tally,
        max_waiting: int,
        budget: RetryBudget,
        hedges: Hedges | None = None,
        patience_s: float = 0.0,
        fit: Fit | None = None,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self.model = way.model
        self._way = way
        self._endpoints = endpoints
        self._tally = tally
        self._max_waiting = max_waiting
        self._budget = budget
        self._patience_ns = int(patience_s * 1e9)
        self._fit = fit
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._headings = Headings(
            pb.Head(
                model=way.model,
                version=way.version,
                content=way.content,
                route=[STAGE_NUMBERS[stage] for stage in way.route],
            )
        )
        self._waiting: deque[Ticket] = deque()
        tally.opens(self._waiting)
        self._parcels: set[Parcel] = set()
        self._tries: dict[Ticket, int] = {}
        self._shunned: dict[Carrier, int] = {}
        self._looking = False
        self._turn = 0
        self._hedging: Hedging | None = None
        if way.hedge_ms is not None:
            self._hedging = Hedging(int(way.hedge_ms * 1e6), hedges or Hedges(), self._copy, clock)
        self._hold = Alarm(self._look, clock)
        self._sweep = Alarm(self._expire, clock)
        self._over_at = NEVER
        self.keyed: ByKey | None = None
        self._closed = False
        self._quiet = asyncio.Event()

    def submit(self, ticket: Ticket) -> None:
        """Take a request; it will be settled. Raises `QueueFull` or `ServerStopping`."""
        if self._closed:
            raise ServerStopping()
        asked = ticket.request
        if asked is not None and asked.parameters and self.keyed is not None:
            key = Key.of(asked.parameters)
            if key is not None and self.keyed.submit(ticket, key):
                return
        if len(self._waiting) >= self._max_waiting:
            self._tally.refused["requests"] += 1
            raise QueueFull(self.model, len(self._waiting), 1.0)
        ticket.queued = self._clock()
        ticket.size = self._way.row_bytes * ticket.rows or nbytes(ticket.inputs)
        self._waiting.append(ticket)
        if ticket.deadline != FOREVER and ticket.deadline * 1e9 < self._over_at:
            self._over_at = ticket.deadline * 1e9
            self._sweep.set_by(self._over_at)
        self._look_soon()  # in the next turn, so that all that come in this one go together

    def leave(self, ticket: Ticket, error: ServingError) -> None:
        """The caller gave up: what waits goes, and the other side hears of what is there."""
        if self.keyed is not None:
            self.keyed.leave(ticket, error)
        self._give_up(ticket)
        self._fail(ticket, error)
        self._note_quiet()

    async def close(self, within_s: float) -> None:
        """Take nothing new, give what is under way `within_s` to be answered, and fail the rest."""
        self._closed = True
        if self.keyed is not None:
            await asyncio.gather(self._end(within_s), self.keyed.close(within_s))
        else:
            await self._end(within_s)

    async def _end(self, within_s: float) -> None:
        self._note_quiet()
        try:
            async with asyncio.timeout(within_s):
                await self._quiet.wait()
        except TimeoutError:
            for ticket in list(self._pending()):
                self.leave(ticket, ServerStopping())
        finally:
            self._hold.clear()
            self._sweep.clear()
            self._tally.closes(self._waiting)
            if self._hedging is not None:
                self._hedging.close()

    @property
    def waiting(self) -> int:
        """Requests that no link has taken yet."""
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether anything waits, or is under way."""
        return bool(self._waiting or self._parcels)

    # Who leaves.

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _up(self) -> Sequence[Carrier]:
        """The endpoints that can be sent anything at all."""
        way = self._way
        links = self._endpoints.ready(way.route[0], way.model, way.version, way.content)
        return [link for link in links if link.up]

    def _look(self) -> None:
        """Send what can go now."""
        self._looking = False
        self._hold.clear()
        while self._waiting:
            links = self._up()
            if not links:
                self._strand()
                return
            now = self._clock()
            oldest = self._waiting[0].queued
            free = self._free(links, self._waiting[0].size, now)
            if self._parcels and now - oldest < LINGER_NS:
                under_way = Counter([parcel.link for parcel in self._parcels])
                if free and under_way[free[0]] >= UNDER_WAY:
                    free = []
                free = [link for link in free if under_way[link] < UNDER_WAY]
            if not free:
                self._hold.set_by(max(oldest, now) + LINGER_NS)
                return
            self._send(free[0], self._take(free[0], len(free)))

    def _free(self, links: Sequence[Carrier], size: int, now: int) -> list[Carrier]:
        """Those that take so many bytes now, the one with the least work first; equals come first in turn."""
        if len(links) == 1:
            return list(links) if links[0].takes(size) else []
        free = [link for link in links if link.takes(size)]
        well = [link for link in free if not link.outlier.is_out(now / 1e9)] or free
        if self._shunned:
            self._shunned = {link: until for link, until in self._shunned.items() if until > now}
            well = [link for link in well if self._shunned.get(link, 0) < now] or well
        if len(well) > 1:
            self._turn = (self._turn + 1) % len(well)
            well = well[self._turn :] + well[: self._turn]
            well.sort(key=lambda link: link.rows)
        return well

    def _take(self, link: Carrier, links: int) -> list[Ticket]:
        """The requests of the next parcel, where so many links could take one: each its share.

        The first may go by this link, and so many others as it has room for.
        """
        waiting = self._waiting
        if len(waiting) == 1:
            return [waiting.popleft()]
        most = min(self._way.max_rows, PLACES, -(-sum([ticket.rows for ticket in waiting]) // links))
        requests, room = link.room
        room = min(room, PARCEL_BYTES)
        first = waiting.popleft()
        taken, rows, size = [first], first.rows, first.size
        alike = None if first.lane is None else column_key(first.inputs, self._way.stacked)
        others: list[Ticket] = []
        while waiting and rows < most and len(taken) < requests:
            ticket = waiting[0]
            if rows + ticket.rows > most or size + ticket.size > room:
                break
            waiting.popleft()
            if alike is None or column_key(ticket.inputs, self._way.stacked) == alike:
                taken.append(ticket)
                rows += ticket.rows
                size += ticket.size
            else:
                others.append(ticket)
        waiting.extendleft(reversed(others))
        return taken

    def _send(self, link: Carrier, tickets: list[Ticket]) -> None:
        try:
            parcel = self._lay(link, tickets)
        except Exception as error:  # nobody has them now but us
            if not isinstance(error, ServingError):
                log.exception("parcel_not_made", model=self.model, stage=self._way.route[0])
                error = TierFailed(self._way.route[0], "a request could not be written")
            self._loop.call_soon(self._fail_all, tickets, error)
            return
        self._budget.earn(len(tickets))
        if self._hedging is not None:
            self._hedging.sent(parcel)

    def _lay(self, link: Carrier, tickets: Sequence[Ticket]) -> Parcel:
        heading = self._headings.of(tickets[0].inputs, stacked=self._way.stacked)
        parcel = link.send(self, heading, self._more(tickets), tickets)
        self._parcels.add(parcel)
        return parcel

    def _copy(self, parcel: Parcel, tickets: Collection[Ticket]) -> Parcel | None:
        """Send requests of a parcel to another endpoint too, if there is one that takes them."""
        others = [link for link in self._up() if link is not parcel.link and link.room[0] >= len(tickets)]
        free = self._free(others, sum([ticket.size for ticket in tickets]), self._clock())
        try:
            return self._lay(free[0], list(tickets)) if free else None
        except TierUnavailable:  # it is gone since
            return None

    def _more(self, tickets: Sequence[Ticket]) -> pb.Head | None:
        """What requests say beside their tensors, where any of them does."""
        has_code = self._way.has_code
        timed = ranked = told = False
        for ticket in tickets:
            timed = timed or ticket.deadline != FOREVER
            ranked = ranked or ticket.priority != 0
            asked = ticket.request
            if ticket.client or (
                asked is not None
                and (asked.trace is not None or (has_code and (asked.id or asked.parameters)))
            ):
                told = True
        if not (timed or ranked or told):
            return None
        head = pb.Head()
        if timed:
            now = self._clock() / 1e9
            head.timeouts_us.extend(
                [
                    0
                    if ticket.deadline == FOREVER
                    else min(LONGEST_US, max(1, int((ticket.deadline - now) * 1e6)))
                    for ticket in tickets
                ]
            )
        if ranked:
            head.priorities.extend([min(ticket.priority, LOWEST_PRIORITY) for ticket in tickets])
        for at, ticket in enumerate(tickets if told else ()):
            asked = ticket.request
            trace = None if asked is None else asked.trace
            if (
                ticket.client
                or trace is not None
                or (has_code and asked is not None and (asked.id or asked.parameters))
            ):
                more = head.particulars.add(at=at, client=ticket.client)
                if trace is not None:
                    more.traceparent = trace.ahead
                if has_code and asked is not None:
                    more.request_id = asked.id
                    more.parameters = orjson.dumps(dict(asked.parameters)) if asked.parameters else b""
        return head

    # What comes back.

    def answered(self, parcel: Parcel, answers: Sequence[tuple[Ticket, Tensors]], spans: Spans) -> None:
        now = self._clock()
        run = HopRun.of(spans, parcel.sent, now)
        if self._hedging is not None:
            self._parcels.difference_update(
                [each for each in self._hedging.answered(parcel, [t for t, _ in answers]) if not each.left]
            )
        if self._fit is not None:
            answers = self._fitted(answers, self._fit)
        told = [ticket for ticket, _ in answers if ticket.told is not None]
        for ticket, outputs in answers:
            if self._tries:
                self._tries.pop(ticket, None)
            ticket.answer(outputs, run)
        note_answers(self._tally, told, run)
        self._after(parcel)

    def _fitted(
        self, answers: Sequence[tuple[Ticket, Tensors]], fit: Fit
    ) -> Sequence[tuple[Ticket, Tensors]]:
        """Those that are as their callers are to get them; the others have failed."""
        fitted = []
        for ticket, outputs in answers:
            try:
                fitted.append((ticket, fit(ticket, outputs)))
            except ServingError as error:
                self._fail(ticket, error)
        return fitted

    def refused(self, parcel: Parcel, ticket: Ticket, error: ServingError) -> None:
        untouched = getattr(error, "untouched", False)
        if isinstance(error, ServerStopping):  # the tier's end is not this server's
            error = TierUnavailable(parcel.link.stage, self.model, "it is stopping", untouched=untouched)
        if untouched:
            self._shunned[parcel.link] = self._clock() + SHUNNED_NS
        if not self._is_elsewhere(ticket) and not (untouched and self._once_more(ticket)):
            self._fail(ticket, error)
        self._after(parcel)

    def lost(self, parcel: Parcel, tickets: Sequence[Ticket], error: TierUnavailable) -> None:
        self._parcels.discard(parcel)
        for ticket in reversed(tickets):
            if not self._is_elsewhere(ticket) and not (error.untouched and self._once_more(ticket)):
                self._fail(ticket, error)
        self._look_soon()
        self._note_quiet()

    def _is_elsewhere(self, ticket: Ticket) -> bool:
        """Whether another endpoint may answer it yet."""
        return self._hedging is not None and self._hedging.is_elsewhere(ticket)

    def _after(self, parcel: Parcel) -> None:
        if not parcel.left:
            self._parcels.discard(parcel)
            self._note_quiet()
        if self._waiting:
            self._look_soon()

    def _once_more(self, ticket: Ticket) -> bool:
        """Put a request that cannot have begun back to the front, if that may be."""
        tries = self._tries.get(ticket, 1)
        if ticket.settled or self._closed or tries >= TRIES or not self._budget.spend():
            self._tries.pop(ticket, None)
            return False
        self._tries[ticket] = tries + 1
        self._waiting.appendleft(ticket)
        return True

    def _strand(self) -> None:
        """There is nobody who could answer: those who have waited long enough are told so."""
        stage = self._way.route[0]
        now = self._clock()
        for ticket in [each for each in self._waiting if now - each.queued >= self._patience(each)]:
            self._waiting.remove(ticket)
            self._fail(ticket, TierUnavailable(stage, self.model, "it has no endpoint that is ready"))
        if self._waiting:
            self._hold.set_by(now + LOOK_AGAIN_NS)
        self._note_quiet()

    def _patience(self, ticket: Ticket) -> float:
        """How long a request waits for an endpoint, in ns: to be told so before its time is over."""
        return min(self._patience_ns, (ticket.deadline * 1e9 - ticket.queued) / 2)

    # Who is told.

    def _fail(self, ticket: Ticket, error: ServingError) -> None:
        self._tries.pop(ticket, None)
        if ticket.arrived and not ticket.settled and (reason := reason_of(error)):
            self._tally.failed(reason, self._clock() - int(ticket.arrived * 1e9))
        ticket.fail(error)

    def _fail_all(self, tickets: Sequence[Ticket], error: ServingError) -> None:
        for ticket in tickets:
            self._fail(ticket, error)
        self._note_quiet()

    def _expire(self) -> None:
        """Tell everyone whose time is over, waiting or sent, and note who is next."""
        self._sweep.clear()
        now = self._clock()
        for ticket in [each for each in self._pending() if each.deadline * 1e9 <= now]:
            for parcel in self._parcels:
                if ticket in parcel.tickets and _is_stuck(parcel, now):
                    parcel.link.outlier.failed(now / 1e9)
            self.leave(ticket, DeadlineExceeded(self.model))
        self._over_at = min([each.deadline * 1e9 for each in self._pending()], default=NEVER)
        if self._over_at != NEVER:
            self._sweep.set_by(max(self._over_at, now + LATE_NS))

    def _give_up(self, ticket: Ticket) -> None:
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            return
        if self._hedging is not None:
            self._hedging.forget(ticket)
        for parcel in [each for each in self._parcels if ticket in each.tickets]:
            parcel.link.drop(parcel, ticket)
            if not parcel.left:
                self._parcels.discard(parcel)

    def _pending(self) -> Iterator[Ticket]:
        """All that wait or are sent; those that were sent to two endpoints twice."""
        yield from self._waiting
        for parcel in self._parcels:
            yield from [ticket for ticket in parcel.tickets if ticket is not None]

    def _note_quiet(self) -> None:
        if self._closed and not self._parcels and not self._waiting:
            self._quiet.set()


def _is_stuck(parcel: Parcel, now: int) -> bool:
    """Whether its endpoint has answered nothing since it was sent, and has had time to."""
    return now - parcel.sent >= STUCK_NS and parcel.link.outlier.well_at < parcel.sent / 1e9

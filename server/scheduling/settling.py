"""Who has asked one model version and is told what came of it, or that their time is over.

Each ticket is settled once, by what comes first: its run, its deadline, the limit of the queue, or that its
caller leaves. Lives on the event loop.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial

from server.domain.errors import DeadlineExceeded, RequestCancelled, ServingError
from server.domain.run_outputs import RunOutputs
from server.observe.tally import Tally
from server.scheduling.alarm import NEVER, Alarm
from server.scheduling.counting import reason_of
from server.scheduling.ordering import Ordering
from server.scheduling.queue import Queue
from server.scheduling.run import Run
from server.scheduling.ticket import Ticket

SWEEP_NS = 1_000_000
"""Between two looks for those whose time is over: so late may one hear of it."""


class Settling:
    """Of one queue and the runs under way.

    ordering   where answers keep the order of the requests; None where they need not
    over_at    monotonic ns: no earlier than then is anybody's time over
    changed    is called when somebody has left the queue, or a kept answer its place
    """

    def __init__(
        self,
        model: str,
        queue: Queue,
        running: Collection[Run],
        ordering: Ordering | None,
        tally: Tally,
        clock: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._model = model
        self._queue = queue
        self._running = running
        self.ordering = ordering
        self._tally = tally
        self._clock = clock
        self._changed = changed
        self._sweep = Alarm(self.expire, clock)
        self.over_at = NEVER

    def close(self) -> None:
        """Look for nobody any more."""
        self._sweep.clear()

    def watch(self, ticket: Ticket, now: int) -> None:
        """Keep its turn to be answered, and note when its time is over: its own, or that of its level."""
        if self.ordering is not None:
            self.ordering.join(ticket)
        level = self._queue.level_of(ticket)
        if level.timeout_ns:
            ticket.expires = now + level.timeout_ns
        over = _over(ticket)
        if over < self.over_at:
            self.over_at = over
            self._sweep.set_by(over)

    def answer(self, run: Run) -> None:
        """Give each of its tickets what came for it, also where the run failed or answers keep an order."""
        outputs, tickets, at = run.outputs, run.tickets, 0
        shared = None if outputs is None or len(tickets) == 1 else RunOutputs(outputs)
        answers = run.answers if outputs is None else [outputs] * len(tickets)
        for ticket, answer in zip(tickets, answers, strict=True):
            if isinstance(answer, ServingError):
                self._tally.unserved += 1
                self.fail(ticket, answer)
                continue
            if shared is None:
                give = partial(ticket.answer, answer, run)
            else:
                give = partial(ticket.answer_from, shared, at, run)
                at += ticket.rows
            if self.ordering is None:
                give()
            else:
                self.ordering.answer(ticket, give)

    def leave(self, ticket: Ticket, why: ServingError) -> None:
        """Have it wait no more; if it is in a run, that goes on without it."""
        if self._queue.leave(ticket) and type(why) is RequestCancelled:
            self._tally.unserved += 1
        self.fail(ticket, why)
        self._changed()

    def fail(self, ticket: Ticket, error: ServingError) -> None:
        """Settle a ticket with an error, and count the failure if it is not settled yet."""
        if ticket.arrived and not ticket.settled and (reason := reason_of(error)):
            self._tally.failed(reason, self._clock() - int(ticket.arrived * 1e9))
        ticket.fail(error)
        if self.ordering is not None:
            self.ordering.leave(ticket)
            self._changed()

    def expire(self) -> None:
        """Tell everyone whose time is over, waiting or running, and note who is next."""
        self._sweep.clear()
        now = self._clock()
        for ticket in list(self._queue):
            level = self._queue.level_of(ticket)
            if ticket.deadline * 1e9 > now and ticket.expires and ticket.expires <= now and level.delays:
                self._queue.fall_behind(ticket)
            elif _over(ticket) <= now:
                self._tally.refused["expired"] += 1
                self.leave(ticket, DeadlineExceeded(self._model))
        for ticket in list(self.pending()):
            if ticket.deadline * 1e9 <= now:
                self.fail(ticket, DeadlineExceeded(self._model))
        self.over_at = min([_over(ticket) for ticket in self.pending()], default=NEVER)
        self._sweep.set_by(max(self.over_at, now + SWEEP_NS))  # it looks at all: not for each one anew

    def pending(self) -> Iterator[Ticket]:
        """Those that wait or run, or whose answer waits, and who have not heard yet."""
        yield from self._queue
        if self.ordering is not None:
            yield from self.ordering.kept
        for run in self._running:
            yield from [ticket for ticket in run.tickets if not ticket.settled]


def _over(ticket: Ticket) -> float:
    """Monotonic ns at which this ticket's time is over, in one way or another."""
    return min(ticket.deadline * 1e9, ticket.expires or NEVER)

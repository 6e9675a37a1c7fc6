"""Many callers, one run: the waiting requests of a model version leave together.

The batcher lives on the event loop: every method is called there, and tickets are settled there.
It works when something happens (a request joins, a run ends, a delay or a deadline is over) and
sleeps otherwise. Requests that arrive in one turn of the loop are looked at together at its end.

A run that has been measured to take microseconds is done in place, on the loop: handing it to a
thread and back would cost more than the run. All others go to their slot's own thread.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic_ns, thread_time_ns, time

from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    QueueFull,
    RequestCancelled,
    ServerStopping,
    ServingError,
    StageFailed,
)
from server.domain.request import FOREVER
from server.domain.tensors import Array
from server.observe.tally import Tally
from server.scheduling.pace import Pace
from server.scheduling.queue import Queue
from server.scheduling.rule import BatchRule, Hold, Leave
from server.scheduling.slot import Slot
from server.scheduling.stack import split, stack
from server.scheduling.ticket import Ticket


def reason_of(error: BaseException) -> str:
    """Triton's word for why a request failed; empty for what the caller got wrong, which does not count."""
    match error:
        case InvalidRequest():
            return ""
        case QueueFull() | DeadlineExceeded():
            return "REJECTED"
        case RequestCancelled() | asyncio.CancelledError():
            return "CANCELED"
        case InferenceFailed() | StageFailed():
            return "BACKEND"
        case _:
            return "OTHER"


class Run:
    """One batch on its way through a slot. `work` may run on any thread; the rest is the loop's."""

    __slots__ = (
        "_batches",
        "_model",
        "_version",
        "answers",
        "began",
        "computed",
        "ended",
        "failed",
        "inferred",
        "rows",
        "size",
        "slot",
        "tickets",
    )

    def __init__(
        self, model: str, version: int, batches: bool, slot: Slot, tickets: list[Ticket], rows: int
    ) -> None:
        self._model = model
        self._version = version
        self._batches = batches
        self.slot = slot
        self.tickets = tickets
        self.rows = rows
        self.size = self.rows if tickets[0].lane is None else _elements(tickets)
        self.answers: list[dict[str, Array] | ServingError] = []
        self.failed = False
        self.began = self.inferred = self.ended = self.computed = 0

    def work(self) -> None:
        """Gather the inputs, run the model, deal out the rows. Never raises: a failure is an answer.

        If several went together and the run failed, each goes again alone, so that one poisonous
        request fails only itself.
        """
        self.began = monotonic_ns()
        busy = thread_time_ns()
        try:
            self.answers = list(self._run(self.tickets))
        except Exception as error:
            self.failed = True
            if len(self.tickets) == 1:
                self.answers = [self._failure(error)]
            else:
                self.answers = [self._run_alone(ticket) for ticket in self.tickets]
        self.ended = monotonic_ns()
        self.computed = thread_time_ns() - busy
        if not self.inferred:
            self.inferred = self.began

    def _run(self, tickets: Sequence[Ticket]) -> list[dict[str, Array]]:
        inputs = stack([ticket.inputs for ticket in tickets])
        self.inferred = monotonic_ns()
        outputs = self.slot.run(inputs)
        if self._batches:
            return split(outputs, [ticket.rows for ticket in tickets])
        return [outputs]

    def _run_alone(self, ticket: Ticket) -> dict[str, Array] | ServingError:
        if ticket.settled:
            return ServerStopping()  # already settled: nobody hears this
        try:
            return self._run([ticket])[0]
        except Exception as error:
            return self._failure(error)

    def _failure(self, error: Exception) -> ServingError:
        if isinstance(error, ServingError):
            return error
        return InferenceFailed(self._model, self._version, str(error) or type(error).__name__)


def _elements(tickets: Sequence[Ticket]) -> int:
    """What a run of varying shapes is measured by, where rows alone tell little."""
    return sum(array.size for ticket in tickets for array in ticket.inputs.values())


class Batcher:
    """The queue, the rule and the slots of one model version.

    Owned by the version; `close` ends it. `rule` None is a model without a batch dimension or
    without dynamic batching: each request runs alone. `in_place` allows a run that is known to take
    microseconds on the event loop: for models whose time hangs on the size of their inputs alone.
    """

    def __init__(
        self,
        *,
        model: str,
        version: int,
        batches: bool,
        rule: BatchRule | None,
        slots: Sequence[Slot],
        max_queue_size: int,
        in_place: bool,
        tally: Tally,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._model = model
        self._version = version
        self._batches = batches
        self._rule = rule or BatchRule(max_batch_size=1)
        self._alone = rule is None
        self._eager = self._rule.eager
        self._idle = deque(slots)
        self._members = frozenset(slots)
        self._slots = len(slots)
        self._queue = Queue(max_queue_size)
        self._tally = tally
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._running: set[Run] = set()
        self._pace = Pace()
        self._in_place = in_place
        self._longest = 0
        self._looking = False
        self._hold: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = FOREVER
        self._closed = False
        self._quiet = asyncio.Event()

    def submit(self, ticket: Ticket) -> None:
        """Put a ticket in the queue. Raises `QueueFull` or `ServerStopping`; else it will be settled."""
        if self._closed:
            raise ServerStopping()
        ticket.queued = now = self._clock()
        if not self._queue.join(ticket):
            if ticket.arrived:
                self._tally.failed("REJECTED", now - int(ticket.arrived * 1e9))
            raise QueueFull(self._model, len(self._queue), self._expected_wait_s)
        self._tally.pending += 1
        if ticket.deadline < self._sweep_at:
            self._sweep_by(ticket.deadline)
        if not self._looking and self._idle:
            self._look_soon()

    def resize(self, slots: Sequence[Slot]) -> None:
        """Run on these slots from now on; a run under way ends on the one that it has."""
        busy = {run.slot for run in self._running}
        self._members = frozenset(slots)
        self._idle = deque(slot for slot in slots if slot not in busy)
        self._slots = len(slots)
        if self._idle and len(self._queue) and not self._looking:
            self._look_soon()

    def leave(self, ticket: Ticket, why: ServingError) -> None:
        """The caller gave up: its queued work goes with it, a run under way goes on without it."""
        if self._queue.leave(ticket):
            self._tally.pending -= 1
        self._fail(ticket, why)
        self._note_quiet()

    def _fail(self, ticket: Ticket, error: ServingError) -> None:
        """Settle a ticket with an error, and count the failure if it is not settled yet."""
        if ticket.arrived and not ticket.settled and (reason := reason_of(error)):
            self._tally.failed(reason, self._clock() - int(ticket.arrived * 1e9))
        ticket.fail(error)

    async def close(self, within_s: float) -> None:
        """Take nothing new, give what is queued or running `within_s` to finish, and fail the rest."""
        self._closed = True
        self._note_quiet()
        try:
            async with asyncio.timeout(within_s):
                await self._quiet.wait()
        except TimeoutError:
            for ticket in list(self._queue):
                self.leave(ticket, ServerStopping())
            for run in self._running:
                for ticket in run.tickets:
                    self._fail(ticket, ServerStopping())
        finally:
            for timer in (self._hold, self._sweep):
                if timer is not None:
                    timer.cancel()

    @property
    def _expected_wait_s(self) -> float:
        runs = max(1.0, self._queue.rows / self._rule.max_batch_size)
        return runs * self._pace.expect(self._longest) / 1e9 / max(1, self._slots)

    def _look_soon(self) -> None:
        self._looking = True
        self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Start every run that can start now."""
        self._looking = False
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        while self._idle and len(self._queue):
            now = self._clock()
            soonest: int | None = None
            lanes = self._queue.lanes
            for lane in lanes:
                answer = self._decide(lane, now, alone=len(lanes) == 1)
                if isinstance(answer, Leave):
                    tickets = self._queue.take(lane, answer.requests, answer.rows)
                    break
                soonest = answer.us if soonest is None else min(soonest, answer.us)
            else:
                if soonest is not None:
                    self._hold = self._loop.call_later(soonest / 1e6, self._look)
                return
            if self._start(tickets, answer.rows, now):
                return

    def _decide(self, lane: deque[Ticket], now: int, *, alone: bool) -> Leave | Hold:
        """`alone`: no other lane waits, so the rows of the queue are the lane's."""
        if self._alone:
            return Leave(1, lane[0].rows)
        if self._eager and alone and self._queue.rows <= self._rule.max_batch_size:
            return Leave(len(lane), self._queue.rows)
        return self._rule.decide((ticket.rows for ticket in lane), (now - lane[0].queued) // 1000)

    def _start(self, tickets: list[Ticket], rows: int, now: int) -> bool:
        """Run a batch; True if it was run in place and the loop deserves a turn."""
        self._tally.pending -= len(tickets)
        if self._sweep is not None:
            tickets = self._in_time(tickets, now)
            if not tickets:
                self._note_quiet()
                return False
            rows = sum([ticket.rows for ticket in tickets])
        slot = self._idle.popleft()
        run = Run(self._model, self._version, self._batches, slot, tickets, rows)
        self._running.add(run)
        if self._in_place and self._pace.is_short(run.size):
            run.work()
            self._finish(run)
            return True
        slot.start(run.work, lambda: self._finish(run))
        return False

    def _in_time(self, tickets: list[Ticket], now: int) -> list[Ticket]:
        """Those whose deadline has not passed; the others hear that it has."""
        live = []
        for ticket in tickets:
            if ticket.deadline * 1e9 <= now:
                self._fail(ticket, DeadlineExceeded(self._model))
            else:
                live.append(ticket)
        return live

    def _finish(self, run: Run) -> None:
        """Settle a run's tickets, count them, and look who is next."""
        self._running.discard(run)
        if run.slot in self._members:
            self._idle.append(run.slot)
        tickets = run.tickets
        self._longest = max(run.size, self._longest)
        self._pace.note(run.size, run.ended - run.began, run.computed)
        self._count(run)
        for ticket, answer in zip(tickets, run.answers, strict=True):
            if type(answer) is dict:
                ticket.answer(answer, run)
            else:
                assert isinstance(answer, ServingError)
                self._fail(ticket, answer)
        run.tickets, run.answers = [], []  # its tickets know it: both ways, only the collector frees them
        if len(self._queue):
            if not self._looking:
                self._look_soon()
        else:
            self._note_quiet()

    def _count(self, run: Run) -> None:
        good, rows = run.tickets, run.rows
        if run.failed:
            pairs = zip(run.tickets, run.answers, strict=True)
            good = [ticket for ticket, answer in pairs if not isinstance(answer, ServingError)]
            if not good:
                return
            rows = sum([ticket.rows for ticket in good])
        tally = self._tally
        requests = len(good)
        input_ns = run.inferred - run.began
        infer_ns = run.ended - run.inferred
        output_ns = self._clock() - run.ended
        done_s = (run.ended + output_ns) / 1e9
        began = run.began
        waits = [began - ticket.queued for ticket in good]
        waited = sum(waits)
        tally.queue.add(requests, waited)
        tally.queue_s.add_all([wait / 1e9 for wait in waits], waited / 1e9)
        wholes = [done_s - ticket.arrived for ticket in good if ticket.arrived and not ticket.settled]
        if wholes:
            whole = sum(wholes)
            tally.success.add(len(wholes), int(whole * 1e9))
            tally.request_s.add_all(wholes, whole)
        tally.compute_input.add(requests, input_ns * requests)
        tally.compute_infer.add(requests, infer_ns * requests)
        tally.compute_output.add(requests, output_ns * requests)
        tally.compute_s.add_many(infer_ns / 1e9, requests)
        tally.rows.add(rows)
        tally.inference_count += rows
        tally.execution_count += 1
        tally.last_inference = int(time() * 1000)
        spans = tally.batch(rows)
        spans.compute_input.add(1, input_ns)
        spans.compute_infer.add(1, infer_ns)
        spans.compute_output.add(1, output_ns)

    def _sweep_by(self, deadline: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = deadline
        self._sweep = self._loop.call_later(max(0.0, deadline - self._clock() / 1e9), self._expire)

    def _expire(self) -> None:
        """Tell everyone whose time is over, waiting or running, and note who is next."""
        self._sweep, self._sweep_at = None, FOREVER
        now = self._clock() / 1e9
        soonest = FOREVER
        for ticket in [*self._queue, *(ticket for run in self._running for ticket in run.tickets)]:
            if ticket.settled:
                continue
            if ticket.deadline <= now:
                self.leave(ticket, DeadlineExceeded(self._model))
            else:
                soonest = min(soonest, ticket.deadline)
        if soonest != FOREVER:
            self._sweep_by(soonest)

    def _note_quiet(self) -> None:
        if self._closed and not self._running and not len(self._queue):
            self._quiet.set()

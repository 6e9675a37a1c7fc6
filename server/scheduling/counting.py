"""What a run, a refusal and a failure add to the tally of their model version."""

import asyncio
from collections.abc import Sequence
from operator import attrgetter
from time import time

from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    NoRoom,
    QueueFull,
    RequestCancelled,
    RuntimeDown,
    RuntimeFull,
    ServingError,
    StageFailed,
    TooLate,
)
from server.observe.run_counts import LoneRun, RunCounts
from server.observe.tally import Tally
from server.scheduling.run import Run
from server.scheduling.ticket import Ticket

_queued, _arrived = attrgetter("queued"), attrgetter("arrived")
_rows, _error = attrgetter("rows"), attrgetter("error")


def reason_of(error: BaseException) -> str:
    """Triton's word for why a request failed; empty for what the caller got wrong, which does not count."""
    match error:
        case InvalidRequest():
            return ""
        case QueueFull() | TooLate() | NoRoom() | RuntimeFull() | DeadlineExceeded():
            return "REJECTED"
        case RequestCancelled() | asyncio.CancelledError():
            return "CANCELED"
        case InferenceFailed() | StageFailed() | RuntimeDown():
            return "BACKEND"
        case _:
            return "OTHER"


def count_run(tally: Tally, run: Run, now: int, patience_ns: float) -> None:
    """Add a run that is over, and its requests that were answered; `now` is when they are told.

    patience_ns   how long they may have waited; 0 where that is not to be counted
    """
    tickets = run.tickets
    if len(tickets) == 1 and not run.failed:
        ticket = tickets[0]
        tally.note(
            count_lone,
            (
                run.rows,
                ticket.queued,
                ticket.arrived if ticket.error is None else 0.0,
                run.began,
                run.inferred,
                run.ended,
                now,
                run.expected,
                patience_ns,
                run.why,
                time(),
            ),
        )
        return
    sums, began, requests = tally.sums, run.began, len(tickets)
    queued = list(map(_queued, tickets))
    waited = began * requests - sum(queued)
    if patience_ns:
        sums.pressure.note(waited / requests / patience_ns, requests, now)
    good, rows = tickets, run.rows
    if run.failed:
        pairs = zip(tickets, run.answers, strict=True)
        good = [ticket for ticket, answer in pairs if not isinstance(answer, ServingError)]
        if not good:
            return
        rows, requests = sum(map(_rows, good)), len(good)
        queued = list(map(_queued, good))
        waited = began * requests - sum(queued)
    infer_ns = run.ended - run.inferred
    sums.queue.add(requests, waited)
    sums.queue_s.add_since(queued, began, second=1e9)
    _count_wholes(sums, good, now / 1e9)
    sums.ran(requests, rows, run.inferred - began, infer_ns, now - run.ended)
    sums.compute_s.add_many(infer_ns / 1e9, requests)
    sums.rows.add(rows)
    sums.left[run.why] += 1
    sums.last_inference = int(time() * 1000)
    if run.expected:
        sums.prediction.add((run.ended - began) / run.expected)


def count_lone(tally: Tally, runs: Sequence[LoneRun]) -> None:
    """Add runs of one request each that were noted."""
    tally.sums.add_lone(runs)


def _count_wholes(sums: RunCounts, tickets: Sequence[Ticket], done_s: float) -> None:
    """How long each request took in all whose caller was still there, if it is a whole."""
    arrived = list(map(_arrived, tickets))
    if not all(arrived) or any(map(_error, tickets)):
        arrived = [ticket.arrived for ticket in tickets if ticket.arrived and ticket.error is None]
    if arrived:
        sums.success.add(len(arrived), int((done_s * len(arrived) - sum(arrived)) * 1e9))
        sums.request_s.add_since(arrived, done_s)

"""What a run, a refusal and a failure add to the tally of their model version."""

import asyncio
from collections.abc import Sequence
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
    sums, began = tally.sums, run.began
    waits = [began - ticket.queued for ticket in tickets]
    waited = sum(waits)
    if patience_ns:
        sums.pressure.note(waited / len(tickets) / patience_ns, len(tickets), now)
    good, rows = tickets, run.rows
    if run.failed:
        pairs = zip(tickets, run.answers, strict=True)
        good = [ticket for ticket, answer in pairs if not isinstance(answer, ServingError)]
        if not good:
            return
        rows = sum([ticket.rows for ticket in good])
        waits = [began - ticket.queued for ticket in good]
        waited = sum(waits)
    infer_ns = run.ended - run.inferred
    sums.queue.add(len(waits), waited)
    sums.queue_s.add_all([wait / 1e9 for wait in waits], waited / 1e9)
    _count_wholes(sums, good, now / 1e9)
    sums.ran(len(good), rows, run.inferred - began, infer_ns, now - run.ended)
    sums.compute_s.add_many(infer_ns / 1e9, len(good))
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
    wholes = [done_s - ticket.arrived for ticket in tickets if ticket.arrived and ticket.error is None]
    if wholes:
        whole = sum(wholes)
        sums.success.add(len(wholes), int(whole * 1e9))
        sums.request_s.add_all(wholes, whole)

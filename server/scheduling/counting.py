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
from server.observe.run_counts import LoneRun
from server.observe.tally import Tally
from server.scheduling.run import Run

NS = 10**9
"""In a second."""


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
    sums, began, ended = tally.sums, run.began, run.ended
    queued = [ticket.queued for ticket in tickets]
    if patience_ns:
        sums.pressure.note((began - sum(queued) / len(queued)) / patience_ns, len(queued), now)
    rows = run.rows
    if run.failed:
        pairs = zip(tickets, run.answers, strict=True)
        tickets = [ticket for ticket, answer in pairs if not isinstance(answer, ServingError)]
        if not tickets:
            return
        rows = sum([ticket.rows for ticket in tickets])
        queued = [ticket.queued for ticket in tickets]
    requests, infer_ns = len(tickets), ended - run.inferred
    sums.queue.add(requests, int(sums.queue_s.add_since(queued, began, NS)))
    arrived = [ticket.arrived for ticket in tickets if ticket.arrived and ticket.error is None]
    if arrived:  # wholes, whose callers are still there
        sums.success.add(len(arrived), int(sums.request_s.add_since(arrived, now / NS) * NS))
    sums.ran(requests, rows, run.inferred - began, infer_ns, now - ended)
    sums.compute_s.add_many(infer_ns / NS, requests)
    sums.rows.add(rows)
    sums.left[run.why] += 1
    sums.last_inference = int(time() * 1000)
    if run.expected:
        sums.prediction.add((ended - began) / run.expected)


def count_lone(tally: Tally, runs: Sequence[LoneRun]) -> None:
    """Add runs of one request each that were noted."""
    tally.sums.add_lone(runs)

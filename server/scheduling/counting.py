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


def count_run(tally: Tally, run: Run, now: int) -> None:
    """Add a run that is over, and its requests that were answered; `now` is when they are told."""
    good, rows = run.tickets, run.rows
    if run.failed:
        pairs = zip(run.tickets, run.answers, strict=True)
        good = [ticket for ticket, answer in pairs if not isinstance(answer, ServingError)]
        if not good:
            return
        rows = sum([ticket.rows for ticket in good])
    requests = len(good)
    began, inferred, ended = run.began, run.inferred, run.ended
    infer_ns = ended - inferred
    if requests == 1:
        ticket = good[0]
        whole = now / 1e9 - ticket.arrived if ticket.arrived and ticket.told is not None else None
        tally.ran_alone(rows, began - ticket.queued, whole, inferred - began, infer_ns, now - ended)
    else:
        _count_each(tally, good, began, now)
        tally.ran(requests, rows, inferred - began, infer_ns, now - ended)
        tally.compute_s.add_many(infer_ns / 1e9, requests)
        tally.rows.add(rows)
    tally.left[run.why] += 1
    tally.last_inference = int(time() * 1000)
    if run.expected:
        tally.prediction.add((ended - began) / run.expected)


def _count_each(tally: Tally, tickets: Sequence[Ticket], began: int, now: int) -> None:
    """How long each waited, and how long it took in all if its caller is still there and it is a whole."""
    done_s = now / 1e9
    waits = [began - ticket.queued for ticket in tickets]
    waited = sum(waits)
    tally.queue.add(len(waits), waited)
    tally.queue_s.add_all([wait / 1e9 for wait in waits], waited / 1e9)
    wholes = [done_s - ticket.arrived for ticket in tickets if ticket.arrived and ticket.told is not None]
    if wholes:
        whole = sum(wholes)
        tally.success.add(len(wholes), int(whole * 1e9))
        tally.request_s.add_all(wholes, whole)

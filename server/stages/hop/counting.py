"""What answers from another tier add to the tally of their version in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import Self

from server.domain.stage import Spans
from server.observe.tally import Tally
from server.scheduling.ticket import Ticket


@dataclass(slots=True)
class HopRun:
    """The run that answered, as this process sees it: it ended when the answer came.

    Times are monotonic nanoseconds; `rows` are of the run in the predict tier.

    spans         what each stage took
    transfer_ns   there and back, without what they took
    """

    rows: int
    began: int
    inferred: int
    ended: int
    spans: Spans
    transfer_ns: int

    @classmethod
    def of(cls, spans: Spans, sent: int, now: int) -> Self:
        """Of a parcel that was sent then, with an answer that came now."""
        rows = compute = there = 0
        for span in spans:
            rows = rows or span.rows
            compute += span.compute_ns
            there += span.queue_ns + span.compute_ns + span.transfer_ns
        return cls(rows, now - compute, now - compute, now, spans, max(0, now - sent - there))


def note_answers(tally: Tally, tickets: Sequence[Ticket], run: HopRun) -> None:
    """Note requests that are answered, and where their time went."""
    if tickets:
        asked = [(ticket.rows, ticket.queued, ticket.arrived) for ticket in tickets]
        tally.note(partial(_count_answers, tally, asked, run, time()))


def _count_answers(tally: Tally, asked: Sequence[tuple[int, int, float]], run: HopRun, at: float) -> None:
    """Of each request its rows, when it joined the queue (ns) and when it arrived (s, or 0 for unknown)."""
    requests, rows = len(asked), sum([rows for rows, _, _ in asked])
    waits = [max(0, run.began - queued) for _, queued, _ in asked]
    waited = sum(waits)
    sums = tally.sums
    sums.queue.add(requests, waited)
    sums.queue_s.add_all([wait / 1e9 for wait in waits], waited / 1e9)
    done_s = run.ended / 1e9
    wholes = [done_s - arrived for _, _, arrived in asked if arrived]
    if wholes:
        whole = sum(wholes)
        sums.success.add(len(wholes), int(whole * 1e9))
        sums.request_s.add_all(wholes, whole)
    sums.ran(requests, rows, 0, run.ended - run.inferred, 0)
    sums.compute_s.add_many((run.ended - run.inferred) / 1e9, requests)
    sums.rows.add(rows)
    sums.last_inference = max(sums.last_inference, int(at * 1000))
    _count_stages(tally, requests, run)


def _count_stages(tally: Tally, requests: int, run: HopRun) -> None:
    """Add where the time of so many requests went, which were answered together."""
    transfer_ns = run.transfer_ns
    for span in run.spans:
        times = tally.times(span.stage)
        times.queue.add_many(span.queue_ns / 1e9, requests)
        times.compute.add_many(span.compute_ns / 1e9, requests)
        times.transfer.add_many(transfer_ns / 1e9, requests)
        transfer_ns = span.transfer_ns  # the way from this stage to the next


def count_joint(tally: Tally, requests: int, ticket: Ticket, arrived: float) -> None:
    """Add what the batcher took for one request and was so many, which it did not count as answered.

    `arrived` is when they came, in monotonic seconds.
    """
    run = ticket.run
    assert run is not None
    more = requests - 1
    waited = run.began - ticket.queued
    sums = tally.sums
    sums.queue.add(more, more * waited)
    sums.queue_s.add_many(waited / 1e9, more)
    input_ns, infer_ns = run.inferred - run.began, run.ended - run.inferred
    sums.compute_input.add(more, more * input_ns)
    sums.compute_infer.add(more, more * infer_ns)
    sums.compute_output.add(more, 0)
    sums.compute_s.add_many(infer_ns / 1e9, more)
    whole = monotonic() - arrived
    sums.success.add(requests, int(whole * 1e9) * requests)
    sums.request_s.add_many(whole, requests)

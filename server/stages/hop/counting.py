"""What answers from another tier add to the tally of their version in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Self

from server.domain.stage import Spans, StageName
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


Asked = tuple[int, int, float]
"""Of a request its rows, when it joined the queue (ns) and when it arrived (s, or 0 for unknown)."""

Answered = tuple[Sequence[Asked], HopRun, float]
"""Requests that were answered together, the run that did, and the seconds since the epoch when it ended."""


def note_answers(tally: Tally, tickets: Sequence[Ticket], run: HopRun) -> None:
    """Note requests that are answered, and where their time went."""
    if tickets:
        asked = [(ticket.rows, ticket.queued, ticket.arrived) for ticket in tickets]
        tally.note(_count_answers, (asked, run, time()))


def _count_answers(tally: Tally, answered: Sequence[Answered]) -> None:
    waits: list[int] = []
    wholes: list[float] = []
    took_s: list[float] = []
    alike: dict[tuple[int, int], list[int]] = {}
    stages: dict[StageName, list[tuple[int, int, int, int]]] = {}
    for asked, run, _ in answered:
        requests, began, done_s = len(asked), run.began, run.ended / 1e9
        took_ns = run.ended - run.inferred
        size = 0
        for rows, queued, arrived in asked:
            size += rows
            waits.append(began - queued if began > queued else 0)
            took_s.append(took_ns / 1e9)
            if arrived:
                wholes.append(done_s - arrived)
        alike.setdefault((requests, size), []).append(took_ns)
        transfer_ns = run.transfer_ns
        for stage, queue_ns, compute_ns, _, beyond_ns in run.spans:
            stages.setdefault(stage, []).append((queue_ns, compute_ns, transfer_ns, requests))
            transfer_ns = beyond_ns  # the way from this stage to the next
    sums = tally.sums
    sums.queue.add(len(waits), sum(waits))
    sums.queue_s.add_each([wait / 1e9 for wait in waits])
    sums.success.add(len(wholes), int(sum(wholes) * 1e9))
    sums.request_s.add_each(wholes)
    sums.compute_s.add_each(took_s)
    sums.rows.add_each([size for (_, size), runs in alike.items() for _ in runs])
    for (requests, size), runs in alike.items():
        sums.ran_alike(len(runs), requests, size, sum(runs))
    sums.last_inference = max(sums.last_inference, int(answered[-1][2] * 1000))
    for stage, each in stages.items():
        times = tally.times(stage)
        for histogram, place in ((times.queue, 0), (times.compute, 1), (times.transfer, 2)):
            histogram.add_each([part[place] / 1e9 for part in each for _ in range(part[3])])


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

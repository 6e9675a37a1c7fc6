"""What answers of other tiers add to the tally: the same, however many are counted at once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.stage import Span
from server.observe.tally import Tally
from server.scheduling.ticket import Ticket
from server.stages.hop.counting import HopRun, note_answers

SECOND = 10**9
times = st.integers(0, SECOND)


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[Ticket], HopRun]:
    """Requests that a parcel's answer had, of one stage or two."""
    tickets = []
    for rows in draw(st.lists(st.sampled_from([1, 1, 3]), min_size=1, max_size=4)):
        ticket = Ticket({}, rows, lambda _: None, arrived=draw(st.sampled_from([0.0, 1.5])))
        ticket.queued = SECOND + draw(times)
        tickets.append(ticket)
    spans = [Span("predict", draw(times), draw(times), sum(ticket.rows for ticket in tickets))]
    if draw(st.booleans()):
        spans.append(Span("post", draw(times), draw(times), 0, draw(times)))
    return tickets, HopRun.of(spans, 2 * SECOND, 8 * SECOND + draw(times))


def figures(tally: Tally) -> dict[str, Any]:
    runs = tally.runs
    seen: dict[str, Any] = {
        "rows": runs.inference_count,
        "runs": runs.execution_count,
        "batches": {
            size: [(span.count, span.ns) for span in (each.compute_input, each.compute_infer)]
            for size, each in runs.batches.items()
        },
    }
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        span = getattr(runs, name)
        seen[name] = span.count, pytest.approx(span.ns, abs=1000)
    histograms = {name: getattr(runs, name) for name in ("request_s", "queue_s", "compute_s", "rows")}
    for stage, parts in tally.stage_times.items():
        histograms |= {f"{stage} {part}": histogram for part, histogram in parts.parts()}
    return seen | {
        name: (histogram.counts, pytest.approx(histogram.total)) for name, histogram in histograms.items()
    }


@given(st.lists(answers(), min_size=1, max_size=80))
def test_answers_that_are_counted_at_once_are_read_as_if_each_had_been_counted_when_it_came(noted):
    at_once, one_by_one = Tally(), Tally()
    for tickets, run in noted:
        note_answers(at_once, tickets, run)
        note_answers(one_by_one, tickets, run)
        assert one_by_one.execution_count
    assert figures(at_once) == figures(one_by_one)
    asked = [ticket for tickets, _ in noted for ticket in tickets]
    assert at_once.execution_count == len(noted)
    assert at_once.inference_count == sum(ticket.rows for ticket in asked)
    assert at_once.queue.count == sum(at_once.stage_times["predict"].queue.counts) == len(asked)
    assert at_once.success.count == sum(1 for ticket in asked if ticket.arrived)


def test_the_way_to_each_stage_is_what_is_left_of_the_way_there_and_back():
    tally = Tally()
    ticket = Ticket({}, 2, lambda _: None, arrived=1.0)
    ticket.queued = 2 * SECOND
    spans = [Span("predict", 10, 20, 2), Span("post", 30, 40, 0, 50)]
    run = HopRun.of(spans, 3 * SECOND, 3 * SECOND + 1000)
    note_answers(tally, [ticket], run)
    assert tally.success.ns == 2 * SECOND + 1000
    assert tally.compute_infer.ns == 60
    assert tally.stage_times["predict"].transfer.total == pytest.approx((1000 - 150) / 1e9)
    assert tally.stage_times["post"].queue.total == pytest.approx(30 / 1e9)

"""What runs add: those of one request, which are noted and counted many at once, and all others."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.observe.histogram import Histogram
from server.observe.pressure import MEMORY_NS, Pressure
from server.observe.run_counts import LEFT, BatchSpans, LoneRun, RunCounts, Span
from server.observe.tally import NOTED_AT_ONCE, Tally
from server.scheduling.counting import count_lone

times = st.integers(0, 10**10)


@st.composite
def lone_runs(draw: st.DrawFn) -> list[LoneRun]:
    """One after another, as a batcher notes them: some parts of larger requests, some of unknown length."""
    now, runs = 10**9, []
    for rows in draw(st.lists(st.sampled_from([1, 1, 1, 3, 600]), max_size=2 * NOTED_AT_ONCE + 5)):
        queued, began, inferred, ended, told = (now := now + draw(times) for _ in range(5))
        arrived = draw(st.sampled_from([0.0, queued / 1e9, queued / 1e9 - 0.001]))
        expected, patience = draw(st.sampled_from([0.0, 1e6, 3e9])), draw(st.sampled_from([0.0, 5e7, 1e10]))
        why, at = draw(st.sampled_from(LEFT)), 1e9 + now / 1e9
        runs.append((rows, queued, arrived, began, inferred, ended, told, expected, patience, why, at))
    return runs


class Plain:
    """Counts each run by itself, as it comes: what everything is to be."""

    def __init__(self) -> None:
        self.sums = RunCounts()
        self.weight = self.ratio = 0.0
        self.at = 0

    def add(self, run: LoneRun) -> None:
        rows, queued, arrived, began, inferred, ended, told, expected, patience, why, at = run
        sums = self.sums
        sums.inference_count += rows
        sums.execution_count += 1
        sums.queue.add(1, began - queued)
        spans = sums.batches.setdefault(rows, BatchSpans())
        for span, own, ns in (
            (sums.compute_input, spans.compute_input, inferred - began),
            (sums.compute_infer, spans.compute_infer, ended - inferred),
            (sums.compute_output, spans.compute_output, told - ended),
        ):
            span.add(1, ns)
            own.add(1, ns)
        if arrived:
            whole = told / 1e9 - arrived
            sums.success.add(1, int(whole * 1e9))
            sums.request_s.add(whole)
        sums.queue_s.add((began - queued) / 1e9)
        sums.compute_s.add((ended - inferred) / 1e9)
        sums.rows.add(rows)
        if expected:
            sums.prediction.add((ended - began) / expected)
        sums.left[why] += 1
        sums.last_inference = int(at * 1000)
        if patience:
            self.press((began - queued) / patience, 1, told)

    def press(self, ratio: float, requests: int, now: int) -> None:
        self.weight = self.weight * exp((self.at - now) / MEMORY_NS) + requests
        self.ratio += (ratio - self.ratio) * requests / self.weight
        self.at = now


def figures(sums: RunCounts) -> dict[str, object]:
    """All but the pressure; of each histogram its counts and its total, to the last bit."""
    fields = {name: getattr(sums, name) for name in RunCounts.__slots__ if name != "pressure"}
    return {
        name: (value.counts, value.total) if isinstance(value, Histogram) else value
        for name, value in fields.items()
    }


def read(tally: Tally) -> dict[str, object]:
    """The same, each by the name under which a tally shows it."""
    return {
        name: (value.counts, value.total) if isinstance(value := getattr(tally, name), Histogram) else value
        for name in RunCounts.__slots__
        if name != "pressure"
    }


@given(lone_runs(), st.sets(st.integers(0, 2 * NOTED_AT_ONCE), max_size=3))
def test_lone_runs_that_are_noted_are_read_as_if_each_had_been_counted_when_it_ended(runs, reads):
    tally, plain = Tally(), Plain()
    for at, run in enumerate(runs):
        tally.note(count_lone, run)
        plain.add(run)
        if at in reads:
            assert read(tally) == figures(plain.sums)
    assert tally.pressure.read(plain.at) == pytest.approx(plain.ratio)
    assert read(tally) == figures(plain.sums)


@pytest.mark.parametrize("name", [name for name in RunCounts.__slots__ if name != "pressure"])
def test_whichever_figure_is_read_first_has_the_runs_that_are_noted(name):
    tally = Tally()
    before = repr(read(tally)[name])
    tally.note(count_lone, (2, 1, 0.5, 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9, 2e9, 5e7, "idle", 7.5))
    value = getattr(tally, name)
    assert repr((value.counts, value.total) if isinstance(value, Histogram) else value) != before


def test_no_more_lone_runs_wait_to_be_counted_than_are_counted_at_once():
    tally = Tally()
    for at in range(NOTED_AT_ONCE):
        assert tally.sums.execution_count == 0
        tally.note(count_lone, (1, at, 0.0, at, at, at, at, 0.0, 0.0, "idle", 0.0))
    assert tally.sums.execution_count == NOTED_AT_ONCE


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5), times), max_size=40))
def test_pressure_that_is_noted_late_weighs_what_it_would_have_weighed_in_time(noted):
    """Lone runs are counted after batches that ended later."""
    pressure, plain, late, now = Pressure(), Plain(), [], 1
    for is_late, ratio, after in noted:
        now += after
        plain.press(ratio, 1 if is_late else 7, now)
        if is_late:
            late.append((ratio, now))
        else:
            pressure.note(ratio, 7, now)
    pressure.note_each(late)
    assert pressure.read(now) == pytest.approx(plain.ratio)


def test_a_span_adds_up_counts_and_times():
    span = Span()
    span.add(1, 100)
    span.add(3, 50)
    assert span == Span(4, 150)

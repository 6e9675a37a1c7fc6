"""What one version has done so far, as plain numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.observe.tally import FAILURES, ROWS, SECONDS, Histogram, Span, Tally

nanoseconds = st.integers(0, 10**11)


@pytest.mark.parametrize("bounds", [SECONDS, ROWS])
def test_bounds_rise_and_are_written_as_numbers_of_seconds_or_rows(bounds):
    assert list(bounds) == sorted(set(bounds))
    assert bounds[0] > 0


def test_a_value_is_counted_under_the_first_bound_that_is_not_below_it():
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 1.5, 4.0, 4.1):
        histogram.add(value)
    assert histogram.counts == [2, 1, 1, 1]
    assert histogram.total == pytest.approx(11.1)


@given(st.floats(0, 100), st.integers(0, 50))
def test_the_same_value_many_times_is_counted_as_if_it_came_one_by_one(value, times):
    at_once, one_by_one = Histogram(SECONDS), Histogram(SECONDS)
    at_once.add_many(value, times)
    for _ in range(times):
        one_by_one.add(value)
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)


@given(
    st.lists(st.sampled_from([*SECONDS, 1e-5, 0.003, 0.3, 99.0]) | st.floats(0, 100), min_size=1, max_size=40)
)
def test_the_values_of_one_run_are_counted_as_if_they_came_one_by_one(values):
    at_once, one_by_one = Histogram(SECONDS), Histogram(SECONDS)
    at_once.add_all(values, sum(values))
    for value in values:
        one_by_one.add(value)
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)


def test_a_span_adds_up_counts_and_times():
    span = Span()
    span.add(1, 100)
    span.add(3, 50)
    assert span == Span(4, 150)


def test_a_failure_is_counted_once_by_its_reason():
    tally = Tally()
    for reason in ("REJECTED", "BACKEND", "REJECTED"):
        tally.failed(reason, 10)
    assert tally.failures == dict.fromkeys(FAILURES, 0) | {"REJECTED": 2, "BACKEND": 1}
    assert tally.fail == Span(3, 30)


def test_each_batch_size_and_each_stage_has_its_own_figures():
    tally = Tally()
    tally.batch(4).compute_infer.add(1, 7)
    assert tally.batch(4).compute_infer == Span(1, 7)
    assert tally.batch(2).compute_infer == Span(0, 0)
    tally.stage("pre").add(0.01)
    assert sum(tally.stage("pre").counts) == 1
    assert sum(tally.stage("post").counts) == 0


def test_two_tallies_share_nothing():
    one, other = Tally(), Tally()
    one.failed("OTHER", 1)
    one.batch(1)
    one.request_s.add(1.0)
    one.stage("pre")
    assert (other.failures["OTHER"], other.batches, other.stage_s) == (0, {}, {})
    assert sum(other.request_s.counts) == 0


@given(
    rows=st.integers(1, 600),
    waited=nanoseconds,
    whole=nanoseconds,
    parts=st.tuples(nanoseconds, nanoseconds, nanoseconds),
)
def test_a_run_of_one_request_counts_as_a_run_of_several_does(rows, waited, whole, parts):
    alone, several = Tally(), Tally()
    alone.ran_alone(rows, waited, whole / 1e9, *parts)
    several.queue.add(1, waited)
    several.queue_s.add(waited / 1e9)
    several.success.add(1, int(whole / 1e9 * 1e9))
    several.request_s.add(whole / 1e9)
    several.ran(1, rows, *parts)
    several.compute_s.add_many(parts[1] / 1e9, 1)
    several.rows.add(rows)
    assert _numbers(alone) == _numbers(several)


def _numbers(tally: Tally) -> dict[str, object]:
    """Its fields, and of each histogram its counts."""
    fields = {name: getattr(tally, name) for name in Tally.__slots__}
    return {
        name: (value.counts, value.total) if isinstance(value, Histogram) else value
        for name, value in fields.items()
        if name != "pressure"
    }

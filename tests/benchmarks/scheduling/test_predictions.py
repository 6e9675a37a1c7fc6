"""The share of runs that were predicted well, read off a histogram as Prometheus writes it."""

import pytest

from benchmarks.scheduling.predictions import (
    FAMILY,
    Bare,
    Foretold,
    bare,
    buckets,
    findings,
    foretold,
    since,
    told_of,
)

METRICS = f"""\
# TYPE {FAMILY} histogram
{FAMILY}_bucket{{model="a",version="1",le="0.9"}} 10.0
{FAMILY}_bucket{{model="a",version="1",le="1.1"}} 90.0
{FAMILY}_bucket{{model="a",version="1",le="+Inf"}} 100.0
{FAMILY}_bucket{{model="b",version="1",le="0.9"}} 0.0
{FAMILY}_bucket{{model="b",version="1",le="+Inf"}} 5.0
{FAMILY}_count{{model="a",version="1"}} 100.0
"""


def test_what_was_foretold_are_the_runs_within_a_tenth():
    told = told_of(buckets(METRICS, "a"))
    assert told == Foretold(right=80.0, runs=100.0)
    assert told.share == pytest.approx(0.8)


def test_the_runs_of_a_while_are_told_from_two_answers():
    before, now = {0.9: 5.0, 1.1: 10.0, float("inf"): 10.0}, {0.9: 6.0, 1.1: 19.0, float("inf"): 20.0}
    assert told_of(since(before, now)) == Foretold(8.0, 10.0)
    assert told_of(since({}, now)) == Foretold(13.0, 20.0)
    assert told_of(since(now, now)) == Foretold()


def test_whiles_are_added_up_and_a_few_runs_have_no_share():
    assert Foretold(90.0, 99.0).share is None
    assert (Foretold(90.0, 99.0) + Foretold(9.0, 21.0)).share == pytest.approx(0.825)


def test_without_the_bounds_nothing_is_told():
    assert told_of(buckets(METRICS, "c")) == Foretold()
    assert told_of(buckets(METRICS, "b")) == Foretold()


def test_what_is_foretold_by_the_median_of_the_last_misses_a_change_until_it_is_the_median():
    assert foretold([1.0] * 30, last=5) == 1.0
    assert foretold([1.0] * 5 + [1.05, 2.0, 1.0, 0.95, 0.5], last=5) == pytest.approx(3 / 5)
    assert foretold([1.0] * 5 + [2.0] * 5, last=5) == pytest.approx(2 / 5)


def test_a_bare_session_is_foretold_in_part(tmp_path):
    told = bare(tmp_path / "bare", 0.1)
    assert 0 <= told.foretold <= 1 <= told.slow
    assert 0 <= told.rested <= 1


def test_the_worst_of_the_busy_loads_counts_when_quiet_and_the_light_one_beside_a_bare_session():
    alone = Bare(foretold=0.97, slow=1.2, rested=0.9)
    told = findings([0.99, 0.98, 0.96, 0.97], [0.945, 0.5, 0.5, 0.5], alone)
    assert told == {"predicted": 0.96, "predicted after rests": pytest.approx(1.05)}
    nothing = findings([0.99, 0.98, None, 0.97], [None, 0.98, 0.98, 0.97], alone)
    assert nothing == {"predicted": None, "predicted after rests": None}

"""The rule by which a new version is taken back: what it lets pass, and what it does not."""

import random
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.lifecycle.rollback import (
    DOUBT,
    FEWEST_FAILURES,
    SLOW_LOOKS,
    Record,
    Runs,
    Watch,
    evidence,
    fails_more,
    record_of,
    slowness,
    upper_bound,
)
from server.observe.tally import Tally

MS = 1_000_000


def taken_back_after(before: Record, rate: float, most: int, chance: random.Random, every: int = 1) -> int:
    """After how many requests a version that fails at this rate is taken back; 0 for not within so many."""
    failures = 0
    for requests in range(1, most + 1):
        failures += chance.random() < rate
        if requests % every == 0 and fails_more(before, Record(requests, failures)):
            return requests
    return 0


def history(rate: float, requests: int, chance: random.Random) -> Record:
    return Record(requests, sum(chance.random() < rate for _ in range(requests)))


@pytest.mark.parametrize("rate", [0.0, 0.002, 0.05, 0.3])
def test_a_version_as_good_as_the_old_one_is_kept_however_often_it_is_looked_at(rate):
    chance = random.Random(20261121)
    lost = 0
    for _ in range(300):
        before = history(rate, chance.choice((0, 30, 500)), chance)
        lost += taken_back_after(before, rate, 300, chance, every=3) > 0
    assert lost == 0  # of 1,200 in all; the bound says less than one in 2,000


@given(st.floats(0.001, 0.9), st.floats(0.0, 1.0))
def test_the_evidence_does_not_grow_on_average_while_the_rate_is_within_the_bound(bound: float, part: float):
    """One request more multiplies it by at most 1: what makes it a supermartingale."""
    rate = bound * part
    for failures, requests in ((0, 0), (1, 3), (5, 10)):
        now = evidence(failures, requests, bound)
        failed = evidence(failures + 1, requests + 1, bound) - now
        answered = evidence(failures, requests + 1, bound) - now
        assert rate * exp(failed) + (1 - rate) * exp(answered) <= 1 + 1e-9


@given(st.integers(0, 200), st.integers(1, 2000))
def test_the_bound_on_the_old_rate_lies_above_what_was_seen(failures: int, requests: int):
    share = min(failures, requests) / requests
    assert share <= upper_bound(min(failures, requests), requests) <= 1


def test_the_bound_is_the_one_that_can_be_reckoned_by_hand():
    assert upper_bound(0, 100) == pytest.approx(1 - DOUBT ** (1 / 100), rel=1e-6)


def test_one_in_five_failing_is_taken_back_within_two_hundred_requests():
    chance = random.Random(7)
    after = [taken_back_after(Record(1000, 0), 0.2, 200, chance) for _ in range(200)]
    assert all(after)
    assert sorted(after)[100] < 60


def test_a_version_that_fails_always_is_taken_back_at_its_fifth_failure():
    assert not fails_more(Record(1000, 0), Record(4, 4))
    assert fails_more(Record(1000, 0), Record(5, 5)) == (
        "5 of its 5 requests failed, and 0 of the 1000 of the version before it"
    )


def test_an_old_version_that_nobody_asked_is_thought_to_be_fairly_good():
    assert taken_back_after(Record(), 1.0, 100, random.Random(1)) in range(FEWEST_FAILURES, 30)


def test_no_version_is_worse_than_one_that_always_failed():
    assert not fails_more(Record(10_000, 10_000), Record(10_000, 10_000))
    assert not fails_more(Record(1000, 1000), Record(100, 90))


def test_what_is_worse_by_less_than_the_margin_is_kept():
    assert not fails_more(Record(1_000_000, 0), Record(1_000_000, 8_000))


def of(rows: int, count: int, ms: float) -> Record:
    return Record(runs={rows: Runs(count, int(count * ms * MS))})


def test_runs_are_compared_at_batch_sizes_that_both_ran():
    assert slowness(of(1, 100, 5), of(1, 10, 16), None) == (
        "its runs take 16 ms, and 5 ms in the version before it"
    )
    assert not slowness(of(1, 100, 5), of(1, 10, 14), None)
    assert not slowness(of(1, 100, 5), of(8, 10, 40), None)
    assert not slowness(of(1, 100, 0.02), of(1, 10, 0.9), None)  # three times nothing is nothing


def test_a_version_over_a_target_that_the_old_one_kept_is_slow_at_any_batch_size():
    assert "over the latency target of 20 ms" in slowness(of(1, 100, 15), of(8, 10, 25), 20)
    assert not slowness(of(1, 100, 25), of(8, 10, 26), 20)
    assert not slowness(Record(), of(8, 10, 26), 20)


def seconds(watch: Watch, *times_ms: float) -> tuple[Watch, str]:
    """So many seconds with ten runs each, that take so long."""
    count, ns, why = 0, 0, ""
    for ms in times_ms:
        if ms:
            count, ns = count + 10, ns + int(10 * ms * MS)
        watch, why = watch.look(Record(runs={1: Runs(count, ns)}))
    return watch, why


def test_a_version_is_taken_back_once_it_was_slow_for_many_seconds_in_a_row():
    watch = Watch(of(1, 100, 5))
    assert seconds(watch, *[50] * (SLOW_LOOKS - 1))[1] == ""
    assert seconds(watch, *[50] * SLOW_LOOKS)[1].endswith(f"for {SLOW_LOOKS} seconds in a row")


def test_one_good_second_begins_the_count_anew_and_one_without_runs_does_not():
    watch = Watch(of(1, 100, 5))
    assert seconds(watch, *[50] * (SLOW_LOOKS - 1), 5, *[50] * (SLOW_LOOKS - 1))[1] == ""
    assert seconds(watch, *[50] * (SLOW_LOOKS - 1), 0, 50)[1] != ""


def test_a_single_long_pause_is_no_reason():
    assert seconds(Watch(of(1, 100, 5)), 5, 5000, *[5] * 20)[1] == ""


def test_only_what_is_the_models_own_fault_is_counted():
    tally = Tally()
    tally.success.add(7, 1)
    for reason in ("REJECTED", "CANCELED", "OTHER", "BACKEND"):
        tally.failed(reason, 1)
    tally.sums.ran(7, 7, 1, 5, 1)
    assert record_of(tally) == Record(8, 1, {7: Runs(1, 5)})
    assert log(1 / DOUBT) > 8

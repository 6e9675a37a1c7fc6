"""What is reserved for a version before it is loaded, and counted once it is."""

import pytest

from server.lifecycle.residency.estimate import Estimate, Reading, estimate
from server.lifecycle.verdict import Verdict

MIB = 2**20
TRIED = Verdict(loaded_bytes=40 * MIB, run_bytes=3 * MIB, run_seconds={1: 0.1, 4: 0.2})


def test_a_trial_tells_what_is_loaded_and_each_instance_may_run_the_largest_batch_at_once():
    found = estimate(TRIED, 41 * MIB, {"cpu": 2}, most_rows=4)
    assert found == Estimate({"cpu": 40 * MIB}, {"cpu": 6 * MIB}, tried=True)
    assert found.needs == {"cpu": 46 * MIB}


def test_a_batch_that_the_trial_had_no_time_for_takes_as_much_more_as_it_has_rows():
    assert estimate(TRIED, 0, {"cpu": 1}, most_rows=32).runs == {"cpu": 24 * MIB}
    assert estimate(TRIED, 0, {"cpu": 1}, most_rows=0).runs == {"cpu": 3 * MIB}


def test_a_process_of_its_own_counts_on_the_host_whatever_device_it_uses():
    here = estimate(TRIED, 0, {"cpu": 1}, most_rows=4, process_bytes=50 * MIB)
    assert here.needs == {"cpu": 93 * MIB}
    assert here.settled(Reading({}, alone=True, elsewhere=80 * MIB)) == {"cpu": 83 * MIB}
    there = estimate(TRIED, 0, {"cuda:0": 1}, most_rows=4, process_bytes=50 * MIB)
    assert there.needs == {"cuda:0": 43 * MIB, "cpu": 50 * MIB}
    guessed = estimate(None, 10 * MIB, {"cpu": 1}, most_rows=4, process_bytes=50 * MIB)
    assert guessed.needs == {"cpu": 70 * MIB}


@pytest.mark.parametrize("verdict", [None, Verdict()])
def test_without_a_trial_the_files_are_all_that_is_known(verdict):
    found = estimate(verdict, 10 * MIB, {"cpu": 1, "cuda:0": 2}, most_rows=8)
    assert found.needs == {"cpu": 20 * MIB, "cuda:0": 20 * MIB}
    assert not found.tried


def test_on_the_processor_a_trial_knows_better_than_the_process_that_serves():
    tried = estimate(TRIED, 0, {"cpu": 1}, most_rows=4)
    seen = Reading({"cpu": 500 * MIB}, alone=True)
    assert tried.settled(seen) == tried.needs
    assert tried.error(seen) == {}


def test_without_a_trial_what_a_load_took_counts_if_it_was_the_only_one():
    guessed = estimate(None, 10 * MIB, {"cpu": 1}, most_rows=4)
    assert guessed.settled(Reading({"cpu": 16 * MIB}, alone=True)) == {"cpu": 16 * MIB}
    assert guessed.error(Reading({"cpu": 16 * MIB}, alone=True)) == {"cpu": 1.25}
    for spoilt in (Reading({"cpu": 16 * MIB}, alone=False), Reading({"cpu": 0}, alone=True)):
        assert guessed.settled(spoilt) == guessed.needs
        assert guessed.error(spoilt) == {}


def test_on_a_cuda_device_what_was_seen_goes_before_a_trial_on_the_processor():
    tried = estimate(TRIED, 0, {"cuda:0": 2}, most_rows=4)
    seen = Reading({"cuda:0": 160 * MIB}, alone=True)
    assert tried.settled(seen) == {"cuda:0": 166 * MIB}
    assert tried.error(seen) == {"cuda:0": 0.25}

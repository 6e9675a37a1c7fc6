"""In which queue a request waits, by which policy, and what holds for a model."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from server.domain.configuration import DynamicBatching, QueuePolicy, level_of, policy_of
from server.domain.scheduling import UNSAID, InForce, Scheduling, Source, in_force

USUAL, FIRST = QueuePolicy(max_queue_size=5), QueuePolicy(max_queue_size=1)
LEVELS = DynamicBatching(
    priority_levels=3,
    default_priority_level=2,
    default_queue_policy=USUAL,
    priority_queue_policy={1: FIRST},
)
FLAT = DynamicBatching(default_queue_policy=USUAL, priority_queue_policy={1: FIRST})


def test_a_level_has_the_policy_that_is_configured_for_it_or_the_default_one():
    assert [policy_of(LEVELS, level) for level in (1, 2, 3)] == [FIRST, USUAL, USUAL]


def test_the_policy_of_the_default_level_is_that_of_requests_that_name_none():
    first_by_default = replace(LEVELS, default_priority_level=1)
    assert policy_of(first_by_default, 0) == policy_of(first_by_default, 9) == FIRST


def test_a_request_without_a_level_or_with_one_that_the_model_does_not_have_gets_the_default_level():
    assert [level_of(LEVELS, priority) for priority in (0, 1, 2, 3, 4, 2**64 - 1)] == [2, 1, 2, 3, 2, 2]


def test_without_levels_all_requests_are_alike_whatever_they_ask_for():
    assert level_of(FLAT, 1) == level_of(None, 1) == 0
    assert policy_of(FLAT, 1) == USUAL
    assert policy_of(None, 1) == QueuePolicy()


LEVEL = st.integers(0, 9)


@given(st.integers(1, 8), st.data(), LEVEL)
def test_every_request_of_a_model_with_levels_waits_in_one_that_it_has(levels, data, priority):
    default = data.draw(st.integers(1, levels))
    batching = DynamicBatching(priority_levels=levels, default_priority_level=default)
    assert 1 <= level_of(batching, priority) <= levels
    assert policy_of(batching, priority) == policy_of(batching, level_of(batching, priority))


def test_a_call_goes_before_the_configuration_and_that_before_the_defaults():
    config, call = Scheduling(latency_target_ms=50, weight=2), Scheduling(latency_target_ms=20)
    assert in_force(config, call) == InForce(20, Source.CALL, 2, Source.CONFIG)
    assert in_force(config, UNSAID) == InForce(50, Source.CONFIG, 2, Source.CONFIG)
    assert in_force(UNSAID, UNSAID) == InForce(None, Source.DEFAULT, 1, Source.DEFAULT)
    assert in_force(UNSAID, Scheduling(weight=3)) == InForce(None, Source.DEFAULT, 3, Source.CALL)

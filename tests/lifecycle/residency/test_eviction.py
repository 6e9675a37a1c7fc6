"""Who leaves first: whose return costs least for the room it takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.lifecycle.residency.eviction import HALF_LIFE, GreedyDual

A, B, C = ("a", 1), ("b", 1), ("c", 1)


@pytest.fixture
def policy():
    return GreedyDual()


def load(policy, *keys, size=100, cost_s=1.0):
    for key in keys:
        policy.note_load(key, size, cost_s)


def test_what_was_asked_for_less_often_goes_first(policy):
    load(policy, A, B, C)
    policy.note_use(A, now=1, count=5)
    policy.note_use(B, now=2, count=1)
    policy.note_use(C, now=3, count=3)
    assert policy.order([A, B, C]) == [B, C, A]


def test_of_those_used_alike_what_is_quick_to_load_or_large_goes_first(policy):
    policy.note_load(A, 100, cost_s=4.0)
    policy.note_load(B, 100, cost_s=1.0)
    policy.note_load(C, 1000, cost_s=4.0)
    for key in (A, B, C):
        policy.note_use(key, now=1)
    assert policy.order([A, B, C]) == [C, B, A]


def test_what_is_worth_the_same_goes_by_its_last_use(policy):
    load(policy, A, B, C)
    for now, key in enumerate((C, A, B)):
        policy.note_use(key, now)
    assert policy.order([A, B, C]) == [C, A, B]


def test_what_was_never_used_goes_before_all_that_was(policy):
    load(policy, A, B)
    policy.note_use(A, now=1)
    assert policy.order([A, B, ("unheard of", 3)])[-1] == A


def test_uses_are_remembered_over_an_eviction(policy):
    load(policy, A, B)
    policy.note_use(A, now=1, count=10)
    policy.note_eviction(A)
    load(policy, A)
    policy.note_use(A, now=2)
    policy.note_use(B, now=3, count=2)
    assert policy.order([A, B]) == [B, A]
    policy.forget(A)
    assert policy.worth(A) == 0


def test_old_uses_count_less_and_less_so_that_a_favourite_of_the_past_leaves(policy):
    load(policy, A, B)
    policy.note_use(A, now=0, count=1_000_000)
    turns = 0
    while policy.order([A, B])[0] != A:
        newcomer = ("n", turns)
        load(policy, newcomer)
        policy.note_eviction(newcomer)
        policy.note_use(B, now=turns, count=1)
        turns += 1
        assert turns < 2 * HALF_LIFE


def test_telling_again_of_a_resident_is_no_load(policy):
    load(policy, A, B)
    policy.note_use(A, now=1, count=3)
    before = policy.worth(A)
    load(policy, *[B] * 50)
    assert policy.worth(A) == before


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 20)), max_size=30))
def test_uses_told_in_sums_before_the_next_load_give_the_same_order_as_single_ones(uses):
    singly, in_sums = GreedyDual(), GreedyDual()
    for policy in (singly, in_sums):
        load(policy, A, B, C)
    sums = {}
    for now, (key, count) in enumerate(uses):
        for _ in range(count):
            singly.note_use(key, now)
        known, _ = sums.get(key, (0, 0))
        sums[key] = known + count, now
    for key, (count, now) in sums.items():
        in_sums.note_use(key, now, count)
    assert singly.order([A, B, C]) == in_sums.order([A, B, C])
    load(singly, ("d", 1))
    load(in_sums, ("d", 1))
    assert singly.order([A, B, C]) == in_sums.order([A, B, C])

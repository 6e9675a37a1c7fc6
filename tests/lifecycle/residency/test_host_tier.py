"""Which versions that left a device stay at hand in the host's memory."""

from hypothesis import given
from hypothesis import strategies as st

from server.lifecycle.residency.host_tier import who_stays

A, B, C = ("a", 1), ("b", 1), ("c", 1)


def test_whoever_is_worth_most_stays_as_far_as_the_budget_goes():
    sizes = {A: 40, B: 40, C: 40}
    assert who_stays(sizes, [A, B, C], 100) == {B, C}
    assert who_stays(sizes, [A, B, C], 120) == {A, B, C}
    assert who_stays(sizes, [A, B, C], 0) == frozenset()


def test_one_that_does_not_fit_leaves_its_place_to_others():
    assert who_stays({A: 10, B: 200, C: 40}, [A, C, B], 100) == {A, C}


@given(
    st.dictionaries(st.tuples(st.sampled_from("abcdef"), st.just(1)), st.integers(0, 50)), st.integers(0, 150)
)
def test_they_never_take_more_than_the_budget_and_none_is_left_out_without_need(sizes, budget):
    staying = who_stays(sizes, sorted(sizes), budget)
    taken = sum(sizes[key] for key in staying)
    assert taken <= budget
    assert all(sizes[key] > budget - taken for key in sizes.keys() - staying)

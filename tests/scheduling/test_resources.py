"""The rate limiter's resources: how much there is, who may begin, and what is refused for good."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.configuration import Resource
from server.scheduling.resources import Limit, Needs, Pool, Resources, ResourceShort, check_limits, needs_of


def needs(device: str = "cpu", shared: Mapping[str, int] | None = None, **own: int) -> Needs:
    listed = [Resource(name=name, count=count) for name, count in own.items()]
    listed += [Resource(name=name, count=count, is_global=True) for name, count in (shared or {}).items()]
    return needs_of(listed, device)


def test_without_limits_there_is_as_much_as_the_largest_need_of_any_instance():
    """The example of Triton's manual."""
    resources = Resources()
    for each in (needs(R1=4, R2=4), needs(R2=5, R3=10, R4=5), needs(R1=1, R3=7, R4=2)):
        resources.join(each)
    assert resources.totals == {("R1", "cpu"): 4, ("R2", "cpu"): 5, ("R3", "cpu"): 10, ("R4", "cpu"): 5}


def test_limits_are_of_every_device_of_one_or_of_a_global_resource():
    """The example of Triton's manual, too."""
    limits = [Limit("R1", 10), Limit("R2", 5, 0), Limit("R2", 8, 1), Limit("R3", 2)]
    resources = Resources(limits)
    for device in ("cuda:0", "cuda:1"):
        resources.join(needs(device, R1=1, R2=1, shared={"R3": 1}))
    assert resources.totals == {
        ("R3", ""): 2,
        ("R1", "cuda:0"): 10,
        ("R2", "cuda:0"): 5,
        ("R1", "cuda:1"): 10,
        ("R2", "cuda:1"): 8,
    }


def test_a_run_waits_while_another_holds_what_it_needs_and_devices_do_not_wait_for_each_other():
    resources = Resources()
    here, there = needs("cuda:0", R=3), needs("cuda:1", R=3)
    both = needs("cuda:0", shared={"G": 1})
    for each in (here, there, both):
        resources.join(each)
    resources.take(here)
    assert not resources.can(here)
    assert resources.can(there)
    resources.take(both)
    assert not resources.can(needs("cuda:1", shared={"G": 1}))
    resources.give_back(here)
    assert resources.can(here)


def test_what_needs_nothing_may_always_begin():
    assert Resources().can({})
    assert Resources([Limit("R", 1)]).can({})


@pytest.mark.parametrize(
    ("limits", "count"),
    [([Limit("R", 4)], 4), ([Limit("other", 9)], 0), ([Limit("R", 9, 1)], 0), ([Limit("R", 4, 0)], 4)],
)
def test_an_instance_that_could_never_run_is_refused_in_a_sentence(limits, count):
    sentence = f'Resource count for "R" is limited to {count} which .* minimum required count is 5'
    with pytest.raises(ResourceShort, match=sentence):
        check_limits(needs(R=5), limits)
    resources = Resources(limits)
    with pytest.raises(ResourceShort, match=sentence):
        resources.join(needs(R=5))
    assert resources.totals == {}


def test_a_resource_cannot_be_global_for_one_instance_and_of_its_device_for_another():
    resources = Resources()
    resources.join(needs(R=1))
    with pytest.raises(ResourceShort, match='"R" is present as both global and device-specific'):
        resources.join(needs(shared={"R": 1}))
    resources.leave(needs(R=1))
    resources.join(needs(shared={"R": 1}))
    assert resources.totals == {("R", ""): 1}


def test_the_total_is_that_of_the_instances_that_are_left():
    resources = Resources()
    resources.join(needs(R=5))
    for _ in range(2):
        resources.join(needs(R=2))
    resources.leave(needs(R=5))
    assert resources.totals == {("R", "cpu"): 2}
    resources.leave(needs(R=2))
    assert resources.totals == {("R", "cpu"): 2}
    resources.leave(needs(R=2))
    assert resources.totals == {}


POOLS = st.sampled_from([("R", "cpu"), ("R", "cuda:0"), ("S", "cpu"), ("S", "cuda:0"), ("G", "")])
NEEDS = st.dictionaries(POOLS, st.integers(1, 5), max_size=4)
LIMITS = st.just([]) | st.just([Limit("R", 6), Limit("R", 7, 0), Limit("S", 5), Limit("G", 8)])


@given(LIMITS, st.lists(NEEDS, min_size=1, max_size=6), st.data())
def test_runs_never_hold_more_than_there_is_and_everything_comes_back(limits, members, data):
    resources, running = Resources(limits), []
    for each in members:
        resources.join(each)
    for wanted in data.draw(st.lists(st.sampled_from(members), max_size=30)):
        if resources.can(wanted):
            resources.take(wanted)
            running.append(wanted)
        elif running:
            resources.give_back(running.pop(data.draw(st.integers(0, len(running) - 1))))
        held = _held(running)
        assert all(held.get(pool, 0) <= total for pool, total in resources.totals.items())
        assert all(resources.taken(pool) == held.get(pool, 0) for pool in resources.totals)
    for each in running:
        resources.give_back(each)
    assert all(resources.taken(pool) == 0 for pool in resources.totals)
    assert all(resources.can(each) for each in members), "whoever was let in can run once the others are done"
    for each in members:
        resources.leave(each)
    assert resources.totals == {}


def _held(running: list[Needs]) -> dict[Pool, int]:
    held: dict[Pool, int] = {}
    for each in running:
        for pool, count in each.items():
            held[pool] = held.get(pool, 0) + count
    return held

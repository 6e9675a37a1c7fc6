"""How fast an autoscaler follows its metric."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.autoscaling.behaviour import DOWN, SYNC_S, UP, Past, Policy, Rules, Scaler, settle

WANTED = st.lists(st.integers(0, 40), min_size=1, max_size=60)
POLICIES = st.lists(
    st.builds(
        Policy,
        kind=st.sampled_from(["Pods", "Percent"]),
        value=st.integers(1, 200),
        period_s=st.sampled_from([15.0, 60.0, 180.0]),
    ),
    min_size=1,
    max_size=3,
)
RULES = st.builds(
    Rules,
    window_s=st.sampled_from([0.0, 60.0, 300.0]),
    policies=POLICIES,
    select=st.sampled_from(["Max", "Min", "Disabled"]),
)
SCALERS = st.builds(Scaler, least=st.integers(1, 3), most=st.integers(3, 20), up=RULES, down=RULES)


def followed(scaler: Scaler, wanted: list[int], current: int = 1) -> list[int]:
    """The replicas after each look, from `current` on."""
    past, replicas = Past(), []
    for number, each in enumerate(wanted):
        current, past = settle(scaler, past, current, each, number * SYNC_S)
        replicas.append(current)
    return replicas


def test_up_goes_by_doubling_or_by_four_whatever_is_more():
    assert followed(Scaler(most=100), [50] * 5) == [5, 10, 20, 40, 50]


def test_down_waits_until_the_highest_recommendation_is_five_minutes_old():
    replicas = followed(Scaler(most=20), [8, 8, *[1] * 25], current=8)
    assert replicas[: 2 + 19] == [8] * 21
    assert replicas[21] == 1


def test_a_dip_within_the_window_is_not_followed():
    wanted = [6] * 10 + [2] * 10 + [6] * 10
    assert set(followed(Scaler(), wanted, current=6)) == {6}


def test_a_window_of_going_up_waits_out_a_peak():
    scaler = Scaler(up=Rules(window_s=60, policies=UP.policies))
    assert followed(scaler, [1, 9, 1, 9, 9, 9, 9, 9]) == [1, 1, 1, 1, 1, 1, 5, 9]


def test_a_policy_in_pods_allows_so_many_in_each_period():
    down = Rules(window_s=0, policies=(Policy(kind="Pods", value=1, period_s=60),))
    assert followed(Scaler(down=down), [1] * 9, current=4) == [3, 3, 3, 3, 2, 2, 2, 2, 1]


def test_of_several_policies_the_one_that_is_selected_decides():
    policies = (Policy(kind="Percent", value=50), Policy(kind="Pods", value=1))
    assert followed(Scaler(up=Rules(window_s=0, policies=policies, select="Max")), [9], current=4) == [6]
    assert followed(Scaler(up=Rules(window_s=0, policies=policies, select="Min")), [9], current=4) == [5]
    assert followed(Scaler(up=Rules(window_s=0, policies=policies, select="Disabled")), [9], current=4) == [4]


@given(SCALERS, WANTED, st.integers(1, 20))
def test_there_are_never_fewer_than_the_least_nor_more_than_the_most(scaler, wanted, current):
    assert all(scaler.least <= count <= scaler.most for count in followed(scaler, wanted, current))


@given(SCALERS, WANTED, st.integers(1, 20))
def test_it_never_moves_away_from_what_was_asked_for_lately(scaler, wanted, current):
    current = min(max(current, scaler.least), scaler.most)
    before = current
    for number, replicas in enumerate(followed(scaler, wanted, current)):
        asked = wanted[: number + 1]
        assert min(before, *asked, scaler.most) <= replicas <= max(before, *asked, scaler.least)
        before = replicas


@given(st.integers(1, 10), st.integers(1, 10))
def test_a_steady_demand_is_reached_and_kept(wanted, current):
    replicas = followed(Scaler(), [wanted] * 40, current)
    assert set(replicas[24:]) == {wanted}


@given(WANTED)
def test_by_the_defaults_it_turns_at_most_once_in_each_window(wanted):
    """Down after up, or up after down: a way down takes a whole window of lower recommendations."""
    replicas = followed(Scaler(), wanted)
    downs = [number for number in range(1, len(replicas)) if replicas[number] < replicas[number - 1]]
    ups = [number for number in range(1, len(replicas)) if replicas[number] > replicas[number - 1]]
    for down in downs:
        assert all(not down - DOWN.window_s / SYNC_S < up < down for up in ups)

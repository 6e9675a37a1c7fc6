"""How many pods a metric asks for."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.autoscaling.replicas import Pod, recommended

METRICS = st.integers(0, 20_000).map(lambda thousandths: thousandths / 1000)
PODS = st.lists(st.builds(Pod, metric=st.none() | METRICS, is_pending=st.booleans()), min_size=1, max_size=12)
SHOWN = st.lists(METRICS, min_size=1, max_size=12)
TARGETS = st.floats(min_value=0.05, max_value=5)


def all_running(*metrics: float | None) -> list[Pod]:
    return [Pod(metric=metric) for metric in metrics]


def test_the_examples_of_the_documentation_come_out():
    """200m against 100m doubles, 50m halves."""
    assert recommended(all_running(0.2), 1, 0.1) == 2
    assert recommended(all_running(0.05, 0.05), 2, 0.1) == 1


def test_a_part_of_a_pod_is_a_pod():
    assert recommended(all_running(1.0, 1.0), 2, 0.7) == 3


def test_within_the_tolerance_nothing_is_done():
    assert recommended(all_running(0.77, 0.77), 2, 0.7) == 2
    assert recommended(all_running(0.63, 0.63), 2, 0.7) == 2
    assert recommended(all_running(0.78, 0.78), 2, 0.7) == 3


def test_without_any_metric_nothing_is_known():
    assert recommended(all_running(None, None), 2, 0.7) is None
    assert recommended([Pod(metric=5.0, is_pending=True)], 1, 0.7) is None


def test_a_pod_that_shows_nothing_counts_as_idle_on_the_way_up_and_as_on_target_on_the_way_down():
    assert recommended(all_running(2.1, None), 2, 0.7) == 3
    assert recommended(all_running(2.1, 2.1), 2, 0.7) == 6
    assert recommended(all_running(0.1, 0.1, 0.1, None), 4, 0.7) == 2
    assert recommended(all_running(0.1, 0.1, 0.1, 0.1), 4, 0.7) == 1


def test_a_pod_that_has_not_begun_counts_as_idle_on_the_way_up_and_not_at_all_on_the_way_down():
    waiting = Pod(metric=None, is_pending=True)
    assert recommended([*all_running(2.1), waiting], 2, 0.7) == 3
    assert recommended([*all_running(1.5), waiting], 2, 0.7) == 2, "with it, the mean is near enough"
    assert recommended([*all_running(1.0), waiting], 2, 0.7) == 2, "with it, there are too many already"
    assert recommended([*all_running(0.1, 0.1), waiting], 3, 0.7) == 1


@given(SHOWN, TARGETS)
def test_so_many_pods_would_be_at_the_target_or_below_it(metrics, target):
    wanted = recommended(all_running(*metrics), len(metrics), target)
    assert wanted is not None
    if wanted != len(metrics):
        assert wanted * target >= sum(metrics) * (1 - 1e-6)
        assert max(0, wanted - 1) * target <= sum(metrics) * (1 + 1e-6)


@given(SHOWN, TARGETS, st.integers(1, 12))
def test_it_hangs_on_the_sum_alone_where_nothing_is_missing(metrics, target, others):
    """A signal that is shared out among the pods does not push its own answer up or down."""
    wanted = recommended(all_running(*metrics), len(metrics), target)
    spread = all_running(*[sum(metrics) / others] * others)
    again = recommended(spread, others, target)
    assert wanted is not None
    assert again is not None
    if len(metrics) != wanted and others != again:
        assert abs(wanted - again) <= (1 if abs(wanted * target - sum(metrics)) < 1e-6 else 0)


@given(PODS, TARGETS, st.integers(1, 12))
def test_what_is_not_known_never_turns_the_direction(pods, target, current):
    """Of those that are known, too many never lead to fewer pods, nor too few to more."""
    wanted = recommended(pods, current, target)
    shown = [pod.metric for pod in pods if pod.metric is not None and not pod.is_pending]
    if wanted is None:
        assert not shown
    elif len(shown) < len(pods):
        ratio = sum(shown) / len(shown) / target
        missing = any(pod.metric is None and not pod.is_pending for pod in pods)
        if ratio > 1:
            assert wanted >= current
        elif missing:
            assert wanted <= current

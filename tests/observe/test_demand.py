"""What is asked, over what can be done."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.observe.demand import Asked, Demand, Measure, saturations
from server.observe.pressure import MEMORY_NS, Pressure

LONG_NS = int(20 * MEMORY_NS)
BEGAN = 1_000_000_000


class Steady:
    """So many a second, each of so many nanoseconds, of so many places."""

    def __init__(
        self, per_s: float, each_ns: float, places: int = 1, ground: tuple[str, int] = ("", 0)
    ) -> None:
        self.now = BEGAN
        self._per_s = per_s
        self._each_ns = each_ns
        self._places = places
        self._ground = ground
        self.demand = Demand(self._tell, BEGAN)

    def _tell(self) -> Asked:
        return Asked(self._per_s * self.now / 1e9, self._each_ns, self._places, *self._ground)

    def after(self, ns: int) -> float:
        self.now += ns
        return self.demand.read(self.now)[0]


def alone(*demands: Demand) -> Measure:
    return Measure(demands, Pressure())


def ratios(*steadies: Steady) -> list[float]:
    for each in steadies:
        each.now = BEGAN + LONG_NS
    return saturations([alone(each.demand) for each in steadies], BEGAN + LONG_NS)


def test_of_what_was_never_asked_nothing_is_full():
    assert saturations([Measure((), Pressure())], BEGAN) == [0.0]
    assert saturations([], BEGAN) == []


def test_it_is_requests_a_second_times_what_each_takes_over_the_places():
    assert ratios(Steady(per_s=30, each_ns=20e6)) == [pytest.approx(0.6)]
    assert ratios(Steady(per_s=30, each_ns=20e6, places=2)) == [pytest.approx(0.3)]


@given(st.floats(0.1, 1000), st.floats(0.1, 20))
def test_so_many_times_the_load_is_so_many_times_the_number_however_full(per_s, times):
    (once,), (more,) = ratios(Steady(per_s, 20e6)), ratios(Steady(per_s * times, 20e6))
    assert more == pytest.approx(once * times)


@given(st.lists(st.integers(1, int(MEMORY_NS)), min_size=1, max_size=20))
def test_of_a_steady_load_it_says_the_same_however_often_it_is_read(steps):
    often, once = Steady(40, 20e6), Steady(40, 20e6)
    for step in steps:
        last = often.after(step)
    assert last == pytest.approx(once.after(sum(steps)))


@given(st.floats(0, 1000), st.integers(1, 10), st.integers(1, int(5 * MEMORY_NS)))
def test_the_sum_over_processes_hangs_on_the_load_alone_also_while_it_rises(per_s, processes, ns):
    """So an autoscaler that is late does not go too far: those that joined take what the others lose."""
    whole = Steady(per_s, 20e6)
    parts = [Steady(per_s / processes, 20e6) for _ in range(processes)]
    assert sum(part.after(ns) for part in parts) == pytest.approx(whole.after(ns), abs=1e-9)


def test_it_fades_when_nobody_comes():
    count = [0.0]
    demand = Demand(lambda: Asked(count[0], 20e6, 1), BEGAN)
    count[0] = 500.0
    after = demand.read(BEGAN + int(MEMORY_NS))[0]
    assert after == pytest.approx(0.632, abs=0.01)
    assert demand.read(BEGAN + int(2 * MEMORY_NS))[0] == pytest.approx(after * 0.368, abs=0.01)


def test_a_count_that_falls_back_is_no_demand():
    count = [100.0]
    demand = Demand(lambda: Asked(count[0], 20e6, 1), BEGAN)
    count[0] = 90.0
    assert demand.read(BEGAN + int(MEMORY_NS))[0] == 0


def test_versions_that_share_a_device_fill_it_together():
    shared = ("cuda:0", 1)
    both = ratios(Steady(30, 20e6, ground=shared), Steady(10, 20e6, ground=shared))
    assert both == [pytest.approx(0.8)] * 2
    elsewhere = Steady(30, 20e6, ground=("cuda:1", 1))
    assert ratios(Steady(30, 20e6, ground=shared), elsewhere) == [pytest.approx(0.6)] * 2


def test_a_version_is_full_on_its_own_places_even_where_its_device_is_not():
    few, other = Steady(45, 20e6, places=1, ground=("cpu", 4)), Steady(1, 20e6, places=1, ground=("cpu", 4))
    assert ratios(few, other) == [pytest.approx(0.9), pytest.approx(0.23)]


def test_the_fuller_of_model_and_code_counts():
    model, code = Steady(10, 20e6), Steady(10, 70e6)
    model.now = code.now = BEGAN + LONG_NS
    assert saturations([alone(model.demand, code.demand)], model.now) == [pytest.approx(0.7)]


def test_waiting_counts_up_to_full():
    pressed = Pressure()
    pressed.note(0.8, 10, BEGAN)
    assert saturations([Measure((), pressed)], BEGAN) == [pytest.approx(0.8)]
    pressed.note(30.0, 1000, BEGAN)
    assert saturations([Measure((), pressed)], BEGAN) == [1.0]


def test_without_places_there_is_nothing_to_be_full():
    assert ratios(Steady(30, 20e6, places=0)) == [0.0]


def test_who_was_refused_long_ago_asks_nothing_anew_when_requests_become_larger():
    said = [Asked(1000, 1e6, 1, besides=10_000, besides_each=1.0)]
    demand = Demand(lambda: said[0], BEGAN)
    said[0] = Asked(1800, 1e6, 1, besides=10_000, besides_each=1.7)
    assert demand.read(BEGAN + 1_000_000_000)[0] == pytest.approx(0.8 * (1 - exp(-0.1)))

import pytest

from runtimes.service_time import ServiceTime


def test_a_run_takes_a_fixed_time_and_one_for_each_row():
    assert ServiceTime(fixed_ms=2, per_row_ms=0.5).ns(8) == 6_000_000


def test_a_table_tells_for_sizes_up_to_its_own_and_the_formula_above():
    service = ServiceTime(fixed_ms=1, per_row_ms=1, table_ms={4: 3, 8: 5})
    assert [service.ns(rows) for rows in (1, 4, 5, 8, 9)] == [
        3_000_000,
        3_000_000,
        5_000_000,
        5_000_000,
        10_000_000,
    ]


def test_jitter_stays_within_its_share_around_the_mean_and_is_the_same_for_a_seed():
    service = ServiceTime(fixed_ms=10, jitter=0.2, seed=3)
    drawn = list(map(service.draws(), [1] * 2000))
    assert min(drawn) >= 8_000_000
    assert max(drawn) <= 12_000_000
    assert sum(drawn) / len(drawn) == pytest.approx(10_000_000, rel=0.01)
    assert drawn == list(map(service.draws(), [1] * 2000))
    assert drawn != list(map(ServiceTime(fixed_ms=10, jitter=0.2, seed=4).draws(), [1] * 2000))


@pytest.mark.parametrize("wrong", [{"fixed_ms": -1}, {"table_ms": {1: -1}}, {"jitter": 1}, {"jitter": -0.1}])
def test_a_time_below_nothing_is_refused(wrong):
    with pytest.raises(ValueError):
        ServiceTime(**wrong)

"""How hard a queue is pressed."""

import pytest

from server.observe.pressure import MEMORY_NS, Pressure, patience_ns


def test_nothing_has_happened_yet():
    assert Pressure().read(10**9) == 0


def test_it_is_the_average_over_requests():
    pressure = Pressure()
    pressure.note(1.0, 1, 1000)
    pressure.note(0.0, 3, 1000)
    assert pressure.read(1000) == pytest.approx(0.25)


def test_the_latest_counts_most():
    pressure = Pressure()
    pressure.note(0.0, 10, 1)
    pressure.note(1.0, 10, int(5 * MEMORY_NS))
    assert pressure.read(int(5 * MEMORY_NS)) > 0.98


def test_it_fades_when_nobody_comes():
    pressure = Pressure()
    pressure.note(1.0, 10, 1)
    assert pressure.read(int(MEMORY_NS)) == pytest.approx(0.368, abs=0.01)
    assert pressure.read(int(10 * MEMORY_NS)) < 0.001


def test_without_a_target_requests_may_wait_for_ten_runs_and_for_what_a_busy_machine_takes():
    assert patience_ns(20e6) == 200e6
    assert patience_ns(1e3) == 50e6

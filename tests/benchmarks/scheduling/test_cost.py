"""What the scheduler costs is measured against the same drive without one."""

import pytest

from benchmarks.scheduling.contenders import targeted
from benchmarks.scheduling.cost import Cost, NoScheduler, drive, measure
from benchmarks.scheduling.sleeping import SleepingModel
from runtimes.service_time import ServiceTime

MODEL = SleepingModel(name="m", service=ServiceTime(fixed_ms=0.2), max_batch_size=20, target_s=0.1)


@pytest.mark.parametrize("rows", [1, 10])
def test_the_control_runs_and_answers_as_many_as_a_scheduler_would(rows):
    def control(_, slots, clock):
        return NoScheduler(slots[0], rows)

    ours, theirs = (drive(each, MODEL, rows, 500) for each in (targeted, control))
    assert (ours.runs, ours.told) == (theirs.runs, theirs.told) == (500 // rows, 500)


def test_batches_are_as_large_as_they_are_said_to_be():
    assert measure(16, requests=1600, repeats=1).mean_batch == 16
    assert measure(1, requests=100, repeats=1).mean_batch == 1


def test_what_it_costs_is_held_against_what_was_measured_beside_it():
    slower_by_half = Cost(us=2.0, in_turn=(2.0, 3.0, 2.0), mean_batch=16)
    assert slower_by_half.over([20.0, 30.0, 19.0]) == 0.1
    beside = []
    found = measure(16, requests=160, repeats=3, between=lambda: beside.append(1.0))
    assert len(beside) == len(found.in_turn) == 3


def test_a_scheduler_that_works_more_costs_more():
    class Busy:
        def __init__(self, scheduler):
            self._scheduler = scheduler

        def submit(self, ticket):
            sum(range(20_000))
            self._scheduler.submit(ticket)

        async def close(self, within_s):
            await self._scheduler.close(within_s)

    def busy(model, slots, clock):
        return Busy(targeted(model, slots, clock))

    plain = measure(16, requests=1600, repeats=1)
    assert measure(16, requests=1600, repeats=1, scheduler=busy).us > plain.us + 50

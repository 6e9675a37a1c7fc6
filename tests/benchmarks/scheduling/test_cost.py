"""What the scheduler costs is measured against the same drive without one."""

from itertools import islice

import pytest

from benchmarks.scheduling.contenders import Fixed
from benchmarks.scheduling.cost import NoScheduler, measure
from benchmarks.scheduling.simulate import simulate
from benchmarks.scheduling.sleeping import SleepingModel
from benchmarks.scheduling.traces import regular
from runtimes.service_time import ServiceTime


def test_the_control_runs_and_answers_as_many_as_a_scheduler_would():
    model = SleepingModel(name="m", service=ServiceTime(fixed_ms=9), max_batch_size=20, target_s=1)
    outcome = simulate(
        islice(regular("m", 1000), 500), [model], lambda stage: {"m": NoScheduler(stage.slots["m"][0], 10)}
    )
    assert outcome.models["m"].answered == outcome.models["m"].in_time == 500
    assert outcome.models["m"].busy_s == pytest.approx(50 * 0.009)


def test_batches_are_as_large_as_they_are_said_to_be():
    assert 12 < measure(16, requests=1600, repeats=1, contender=Fixed()).mean_batch <= 32
    assert measure(1, requests=100, repeats=1, contender=Fixed()).mean_batch == 1


def test_a_scheduler_that_works_more_costs_more():
    class Busy:
        def __init__(self, scheduler):
            self._scheduler = scheduler

        def submit(self, ticket):
            sum(range(20_000))
            self._scheduler.submit(ticket)

        async def close(self, within_s):
            await self._scheduler.close(within_s)

    def busy(stage):
        return {name: Busy(scheduler) for name, scheduler in Fixed()(stage).items()}

    plain = measure(16, requests=1600, repeats=1, contender=Fixed())
    assert measure(16, requests=1600, repeats=1, contender=busy).us > plain.us + 50

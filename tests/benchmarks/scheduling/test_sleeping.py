"""Slots that sleep, on the protocol alone: what a run's work sees, and when it is called."""

import asyncio

import numpy as np

from benchmarks.scheduling.sleeping import INPUT, OUTPUT, SleepingModel, set_up
from benchmarks.scheduling.virtual_loop import START_NS, VirtualLoop
from runtimes.service_time import ServiceTime

MS = 1_000_000


def model(name: str = "m", **facts) -> SleepingModel:
    service = ServiceTime(**{"fixed_ms": 2, "per_row_ms": 1} | facts)
    return SleepingModel(name=name, service=service, max_batch_size=8, target_s=1)


def drive(models, begin) -> None:
    """`begin` gets the stage, on the running loop; until everything is over."""
    loop = VirtualLoop()

    async def main() -> None:
        begin(set_up(loop, models, units=1))
        await asyncio.sleep(1)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_work_sees_its_beginning_until_the_model_runs_and_its_end_from_then_on():
    seen: list[int] = []

    def begin(stage) -> None:
        slot = stage.slots["m"][0]

        def work() -> None:
            seen.clear()
            seen.append(stage.clock() - START_NS)
            slot.run({INPUT: np.zeros((3, 1))})
            seen.append(stage.clock() - START_NS)

        stage.loop.call_later(0.010, slot.start, work, lambda: seen.append(stage.clock() - START_NS))

    drive([model()], begin)
    assert seen == [10 * MS, 15 * MS, 15 * MS]


def test_between_runs_the_clock_shows_the_loops_time():
    seen: list[int] = []

    def begin(stage) -> None:
        slot = stage.slots["m"][0]
        slot.start(lambda: slot.run({INPUT: np.zeros((1, 1))}), lambda: None)
        stage.loop.call_later(0.001, lambda: seen.append(stage.clock() - START_NS))
        stage.loop.call_later(0.5, lambda: seen.append(stage.clock() - START_NS))

    drive([model()], begin)
    assert seen == [1 * MS, 500 * MS]


def test_a_run_that_joins_a_device_delays_the_one_that_is_there():
    over: dict[str, int] = {}

    def begin(stage) -> None:
        def start(name: str) -> None:
            slot = stage.slots[name][0]
            slot.start(
                lambda: slot.run({INPUT: np.zeros((1, 1))}),
                lambda: over.setdefault(name, stage.clock() - START_NS),
            )

        start("long")
        stage.loop.call_later(0.010, start, "short")

    drive([model("long", fixed_ms=49), model("short", fixed_ms=4)], begin)
    assert over == {"short": 20 * MS, "long": 55 * MS}  # 5 beside 5 from 10 to 20, and 35 left


def test_an_answer_is_what_was_asked_and_runs_and_rows_are_counted_once():
    answers: list[dict] = []
    counted: list[tuple[int, int, int]] = []

    def begin(stage) -> None:
        slot = stage.slots["m"][0]
        rows = np.arange(4).reshape(4, 1)
        slot.start(lambda: answers.append(slot.run({INPUT: rows})), lambda: None)
        stage.loop.call_later(0.5, lambda: counted.append((slot.runs, slot.rows, slot.service_ns)))

    drive([model()], begin)
    assert [answer[OUTPUT].ravel().tolist() for answer in answers] == [[0, 1, 2, 3]]
    assert counted == [(1, 4, 6 * MS)]

"""What the scheduler itself costs: processor time of a drive, less that of the same drive without one.

On the loop that the server has (uvloop), in time of its thread, calls into the kernel among it.

Counted, from `submit` until every caller is told: admission, the queue, the rule, the turn of the loop that
the scheduler asks for, making a batch and gathering its inputs, dealing out the rows, learning and counting.

Not counted, as the control does it too: making tickets, who is told, the model. Nor is what hangs on the
server's sockets and threads: waking a loop that sleeps, and handing a run to a thread and back, which a run
of microseconds does without. The clock only counts: looking at it costs what it costs the server, a call
into C, and all runs seem to take the same.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median

import numpy as np
import uvloop

from benchmarks.scheduling.contenders import Scheduler, targeted
from benchmarks.scheduling.sleeping import INPUT, OUTPUT, SleepingModel
from runtimes.service_time import ServiceTime
from server.domain.tensors import Array, Tensors
from server.scheduling.resources import NO_NEEDS, Needs
from server.scheduling.slot import Slot
from server.scheduling.ticket import Ticket

TICK_NS = 100_000
"""From one look at the clock to the next."""

Clock = Callable[[], int]
Measured = Callable[[SleepingModel, Sequence[Slot], Clock], Scheduler]
"""Called on the running loop."""


@dataclass(frozen=True, slots=True)
class Cost:
    """
    us           microseconds of processor time a request: of the cheapest drives, as whatever else a machine
                 does can only add
    in_turn      the same of each pair of drives, as they took turns
    mean_batch   rows
    """

    us: float
    in_turn: tuple[float, ...]
    mean_batch: float

    def over(self, yardstick: Sequence[float]) -> float:
        """What it is of something that was measured right after each pair, in the median."""
        return median(us / beside for us, beside in zip(self.in_turn, yardstick, strict=True))


def measure(
    rows: int,
    *,
    requests: int,
    repeats: int,
    scheduler: Measured = targeted,
    between: Callable[[], None] = lambda: None,
) -> Cost:
    """In batches of so many requests of one row, which come while the batch before them runs.

    `rows` 1 is a request alone: it comes when nothing is under way. Scheduler and control take turns, and
    `between` is called after each pair.
    """
    model = SleepingModel(
        name="model", service=ServiceTime(fixed_ms=0.2), max_batch_size=max(2 * rows, 2), target_s=0.1
    )

    def control(_: SleepingModel, slots: Sequence[Slot], clock: Clock) -> Scheduler:
        return NoScheduler(slots[0], rows)

    pairs: list[tuple[Driven, Driven]] = []
    for _ in range(repeats):
        pairs.append((drive(scheduler, model, rows, requests), drive(control, model, rows, requests)))
        between()
    ours, controls = zip(*pairs, strict=True)
    told = ours[0].told
    least_ns = min(each.cpu_ns for each in ours) - min(each.cpu_ns for each in controls)
    in_turn = tuple((one.cpu_ns - other.cpu_ns) / told / 1e3 for one, other in pairs)
    return Cost(least_ns / told / 1e3, in_turn, told / ours[0].runs)


@dataclass(frozen=True, slots=True)
class Driven:
    cpu_ns: int
    runs: int
    told: int


def drive(make: Measured, model: SleepingModel, rows: int, requests: int) -> Driven:
    """Ask for `requests` of one row, `rows` at a time."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(make, model, rows, requests // rows))


async def _drive(make: Measured, model: SleepingModel, rows: int, rounds: int) -> Driven:
    clock: Clock = count(10**9, TICK_NS).__next__
    slot = InstantSlot()
    scheduler = make(model, [slot], clock)
    callers = _Callers(scheduler, clock, rows, rounds)
    slot.meanwhile = callers.ask if rows > 1 else _nobody_comes
    began = time.thread_time_ns()
    callers.ask()
    await callers.over
    cpu_ns = time.thread_time_ns() - began
    await scheduler.close(1.0)
    return Driven(cpu_ns, slot.runs, callers.told)


def _nobody_comes() -> None:
    """While a request runs that goes alone."""


class _Callers:
    """Ask `rows` requests at once, `rounds` times; `over` is done when the last is told.

    If they go alone, the next asks when the one before is told.
    """

    def __init__(self, scheduler: Scheduler, clock: Clock, rows: int, rounds: int) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._rows = rows
        self._rounds = rounds
        self._all = rows * rounds
        self._inputs: dict[str, Array] = {INPUT: np.zeros((1, 1), np.float32)}
        self._loop = asyncio.get_running_loop()
        self.over = self._loop.create_future()
        self.told = 0

    def ask(self) -> None:
        if not self._rounds:
            return
        self._rounds -= 1
        for _ in range(self._rows):
            self._scheduler.submit(Ticket(self._inputs, 1, self._hear, arrived=self._clock() / 1e9))

    def _hear(self, ticket: Ticket) -> None:
        assert ticket.error is None
        self.told += 1
        if self.told == self._all:
            self.over.set_result(None)
        elif self._rows == 1:
            self._loop.call_soon(self.ask)


class InstantSlot:
    """Ends a run in the next turn of the loop; `meanwhile` is called while it is under way."""

    device = "cpu"
    needs: Needs = NO_NEEDS
    priority = 0

    def __init__(self) -> None:
        self._call_soon = asyncio.get_running_loop().call_soon
        self.meanwhile = _nobody_comes
        self.runs = 0

    def start(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        self.runs += 1
        self._call_soon(self._end, work, done)

    def run(self, inputs: Tensors) -> dict[str, Array]:
        return {OUTPUT: inputs[INPUT]}

    def _end(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        self.meanwhile()
        work()
        done()


class NoScheduler:
    """Starts a run for every so many tickets, and answers each with what the first one asked.

    Nobody reads the times of its runs.
    """

    began = inferred = ended = 0

    def __init__(self, slot: Slot, rows: int) -> None:
        self._slot = slot
        self._waiting: list[Ticket] = []
        self._under_way: list[Ticket] = []
        self._outputs: Tensors = {}
        self.rows = rows

    def submit(self, ticket: Ticket) -> None:
        self._waiting.append(ticket)
        self._start()

    async def close(self, within_s: float) -> None:
        """Every request is settled: the drive has waited for it."""

    def _start(self) -> None:
        if len(self._waiting) == self.rows and not self._under_way:
            self._under_way, self._waiting = self._waiting, []
            self._slot.start(self._work, self._finish)

    def _work(self) -> None:
        self._outputs = self._slot.run(self._under_way[0].inputs)

    def _finish(self) -> None:
        tickets, self._under_way = self._under_way, []
        for ticket in tickets:
            ticket.answer(self._outputs, self)
        self._start()

"""What the scheduler itself costs: processor time of a drive, less that of the same drive without one.

The control has the same arrivals, tickets, books, virtual loop and slots; in the scheduler's place stands
what counts to a batch and starts it. What remains is the queue, the rule, making a batch and dealing it out,
and the counting. Runs take the same time whatever their rows, so the slots need not look into them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median

from benchmarks.scheduling.contenders import Contender, Scheduler, Target
from benchmarks.scheduling.simulate import simulate
from benchmarks.scheduling.sleeping import SleepingModel, SleepingSlot, Stage
from benchmarks.scheduling.traces import regular
from runtimes.service_time import ServiceTime
from server.domain.tensors import Tensors
from server.scheduling.ticket import Ticket

RUN_MS = 10.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of processor time a request, and the rows in a mean batch."""

    us: float
    mean_batch: float


def measure(rows: int, *, requests: int, repeats: int, contender: Contender | None = None) -> Cost:
    """With batches of about so many requests of one row. Control and scheduler take turns.

    The requests of a batch come evenly over the run before it: `rows` 1 is a request for each run.
    """
    rate = rows / (RUN_MS / 1e3) * 0.999  # hardly less than a batch for each run
    model = SleepingModel(
        name="model",
        service=ServiceTime(fixed_ms=RUN_MS),
        max_batch_size=max(2 * rows, 2),
        target_s=10 * RUN_MS / 1e3,
    )

    def drive(each: Contender) -> Cost:
        outcome = simulate(islice(regular("model", rate), requests // rows * rows), [model], each)
        told = outcome.models["model"]
        assert told.answered == told.offered
        return Cost(outcome.cpu_s / told.answered * 1e6, told.mean_batch)

    pairs = [(drive(contender or Target()), drive(_control(rows))) for _ in range(repeats)]
    return Cost(
        us=median(measured.us - control.us for measured, control in pairs),
        mean_batch=median(measured.mean_batch for measured, _ in pairs),
    )


def _control(rows: int) -> Contender:
    def schedulers(stage: Stage) -> Mapping[str, Scheduler]:
        return {name: NoScheduler(slots[0], rows) for name, slots in stage.slots.items()}

    return schedulers


class NoScheduler:
    """Starts a run for every so many tickets that come: they come no faster than it runs."""

    def __init__(self, slot: SleepingSlot, rows: int) -> None:
        self._slot = slot
        self._rows = rows
        self._waiting: list[Ticket] = []

    def submit(self, ticket: Ticket) -> None:
        self._waiting.append(ticket)
        if len(self._waiting) == self._rows:
            tickets, self._waiting = self._waiting, []
            run = NoRun(self._slot, tickets)
            self._slot.start(run.work, run.finish)

    async def close(self, within_s: float) -> None:
        """Every request is settled: the drive has waited for it."""


class NoRun:
    """Answers each with what the first one asked. Nobody reads its times."""

    rows = began = inferred = ended = 0

    def __init__(self, slot: SleepingSlot, tickets: list[Ticket]) -> None:
        self._slot = slot
        self._tickets = tickets
        self._outputs: Tensors = {}

    def work(self) -> None:
        self._outputs = self._slot.run(self._tickets[0].inputs)

    def finish(self) -> None:
        for ticket in self._tickets:
            ticket.answer(self._outputs, self)

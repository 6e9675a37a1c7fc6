"""Drives real batchers through a trace on a virtual loop, and says what became of the requests."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from benchmarks.scheduling.contenders import Contender, Scheduler
from benchmarks.scheduling.outcome import Book, Outcome
from benchmarks.scheduling.sleeping import INPUT, SleepingModel, set_up
from benchmarks.scheduling.traces import Arrival
from benchmarks.scheduling.virtual_loop import START_NS, VirtualLoop
from server.domain.errors import ServingError
from server.domain.request import FOREVER
from server.domain.tensors import Array
from server.scheduling.ticket import Ticket

PATIENCE_S = 3600.0
"""Virtual: what is still waiting after the last arrival has this long."""


def simulate(
    trace: Iterable[Arrival],
    models: Sequence[SleepingModel],
    contender: Contender,
    *,
    units: float = 1.0,
) -> Outcome:
    """Every arrival of the trace is submitted at its moment; all models share one device of so many `units`.

    The same trace, models and contender give the same outcome. Raises `Stuck` if a request were lost.
    """
    loop = VirtualLoop()
    stage = set_up(loop, models, units)
    books = {model.name: Book(round(model.target_s * 1e9)) for model in models}

    async def drive() -> None:
        schedulers = contender(stage)
        await _Drive(loop, trace, schedulers, books).over
        for scheduler in schedulers.values():
            await scheduler.close(PATIENCE_S)

    began = time.process_time_ns()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(drive())
    cpu_ns = time.process_time_ns() - began
    outcomes = {}
    for model in models:
        slots = stage.slots[model.name]
        runs, rows = sum(slot.runs for slot in slots), sum(slot.rows for slot in slots)
        outcomes[model.name] = books[model.name].outcome(
            mean_batch=rows / runs if runs else 0.0,
            busy_s=sum(slot.service_ns for slot in slots) / 1e9,
        )
    return Outcome(
        models=outcomes,
        seconds=(loop.now_ns() - START_NS) / 1e9,
        device_busy_s=stage.device.busy_s,
        cpu_s=cpu_ns / 1e9,
    )


class _Drive:
    """Submits each arrival when its time has come; `over` is done when the last request is settled."""

    def __init__(
        self,
        loop: VirtualLoop,
        trace: Iterable[Arrival],
        schedulers: Mapping[str, Scheduler],
        books: Mapping[str, Book],
    ) -> None:
        self._loop = loop
        self._trace = iter(trace)
        self._next = next(self._trace, None)
        self._callers = {name: _Callers(loop, schedulers[name], books[name], self._settled) for name in books}
        self._open = 0
        self.over = loop.create_future()
        self._pump()

    def _pump(self) -> None:
        now = self._loop.now_ns()
        arrival = self._next
        while arrival is not None:
            at = START_NS + arrival.at_ns
            if at > now:
                self._next = arrival
                self._loop.call_at_ns(at, self._pump)
                return
            self._open += 1
            self._callers[arrival.model].ask(arrival, now)
            arrival = next(self._trace, None)
        self._next = None
        self._end_if_quiet()

    def _settled(self) -> None:
        self._open -= 1
        self._end_if_quiet()

    def _end_if_quiet(self) -> None:
        if not self._open and self._next is None and not self.over.done():
            self.over.set_result(None)


class _Callers:
    """All who ask one model. They ask with zeros, the same array for as many rows."""

    def __init__(
        self, loop: VirtualLoop, scheduler: Scheduler, book: Book, settled: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._scheduler = scheduler
        self._book = book
        self._settled = settled
        self._inputs: dict[int, dict[str, Array]] = {}

    def ask(self, arrival: Arrival, now: int) -> None:
        rows = arrival.rows
        inputs = self._inputs.get(rows)
        if inputs is None:
            inputs = self._inputs[rows] = {INPUT: np.zeros((rows, 1), np.float32)}
        deadline = (now + arrival.within_ns) / 1e9 if arrival.within_ns else FOREVER
        ticket = Ticket(inputs, rows, self._hear, deadline=deadline, arrived=now / 1e9)
        self._book.offered += 1
        try:
            self._scheduler.submit(ticket)
        except ServingError as error:
            self._book.refused(type(error).__name__, 0)
            self._settled()

    def _hear(self, ticket: Ticket) -> None:
        took = self._loop.now_ns() - round(ticket.arrived * 1e9)
        if ticket.error is None:
            self._book.answered(took)
        else:
            self._book.refused(type(ticket.error).__name__, took)
        self._settled()

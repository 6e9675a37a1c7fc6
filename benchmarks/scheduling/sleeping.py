"""Models that only sleep, as slots of the real batcher on a virtual loop.

A run occupies its device for its service time and is over then; a device is shared by the runs on it
(`runtimes.sharing`). The answer is what was asked, so rows can be recognised.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.scheduling.virtual_loop import VirtualLoop
from runtimes.service_time import ServiceTime
from runtimes.sharing import Sharing
from server.domain.tensors import Array, Tensors
from server.scheduling.resources import NO_NEEDS, Needs

INPUT, OUTPUT = "INPUT", "OUTPUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepingModel:
    """
    target_s    within which an answer is wanted
    instances   runs at a time
    upset       says that a run with these rows fails
    """

    name: str
    service: ServiceTime
    max_batch_size: int
    target_s: float
    instances: int = 1
    upset: Callable[[Array], bool] | None = None

    @property
    def capacity(self) -> float:
        """Rows a second in full batches, one run at a time."""
        return self.max_batch_size / (self.service.ns(self.max_batch_size) / 1e9)


class RunClock:
    """The loop's clock for a batcher and its runs, in nanoseconds.

    A run's work is called when its service time is over, in no time. Meanwhile this clock shows what the work
    would have seen: its beginning until the model runs, and its end from then on.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._shown: int | None = None

    def __call__(self) -> int:
        return self._loop.now_ns() if self._shown is None else self._shown

    def show(self, ns: int) -> None:
        self._shown = ns

    def follow(self) -> None:
        """Show the loop's time again."""
        self._shown = None


class Device:
    """So many units, and the runs that share them."""

    def __init__(self, loop: VirtualLoop, units: float) -> None:
        self._loop = loop
        self.units = units
        self._sharing = Sharing(units)
        self._over: dict[int, Callable[[], None]] = {}
        self._due: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def busy_s(self) -> float:
        """Of one unit, until the last run began or ended."""
        return self._sharing.busy_ns / 1e9

    def occupy(self, ns: int, over: Callable[[], None]) -> None:
        """Begin what takes `ns` alone, and call `over` when it is done."""
        self._over[self._sharing.join(self._loop.now_ns(), ns)] = over
        self._arm()

    def _end(self) -> None:
        self._timer = self._due = None
        for number in self._sharing.ended(self._loop.now_ns()):
            self._over.pop(number)()
        self._arm()

    def _arm(self) -> None:
        due = self._sharing.next_end()
        if due == self._due and due is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = None if due is None else self._loop.call_at_ns(due, self._end)


class _Peeked(BaseException):
    """Out of a run's work with the rows it would run; no fault of a model, so nothing catches it."""

    def __init__(self, rows: int) -> None:
        self.rows = rows


class SleepingSlot:
    """One run at a time, as the batcher's protocol has it.

    How long a run takes hangs on its rows, which only its work can tell: so the work is called twice, first
    up to the model's run, which says how many rows came, and whole when the time is over. The callers of a
    failed batch are run again alone, in no time.
    """

    device = "cpu"
    needs: Needs = NO_NEEDS
    priority = 0

    def __init__(self, model: SleepingModel, device: Device, clock: RunClock, loop: VirtualLoop) -> None:
        self._model = model
        self._device = device
        self._clock = clock
        self._loop = loop
        self._draw = model.service.draws()
        self._peeking = False
        self._busy = self._ran = False
        self.runs = 0
        self.rows = 0
        self.service_ns = 0

    def start(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        if self._busy:
            raise RuntimeError(f"a slot of {self._model.name} was given a run while it had one")
        self._busy = True
        began = self._loop.now_ns()
        ns = self._draw(1 if self._model.service.is_constant else self._rows_of(work))
        self.runs += 1
        self.service_ns += ns
        self._device.occupy(ns, lambda: self._end(began, work, done))

    def run(self, inputs: Tensors) -> dict[str, Array]:
        rows = inputs[INPUT]
        if self._peeking:
            raise _Peeked(len(rows))
        if not self._busy:
            raise RuntimeError(f"{self._model.name} sleeps: it cannot run on the event loop")
        if not self._ran:
            self._ran = True
            self.rows += len(rows)
        self._clock.show(self._loop.now_ns())
        if self._model.upset is not None and self._model.upset(rows):
            raise RuntimeError("these rows upset this model")
        return {OUTPUT: rows}

    def _rows_of(self, work: Callable[[], None]) -> int:
        self._peeking = True
        try:
            work()
        except _Peeked as peeked:
            return peeked.rows
        finally:
            self._peeking = False
        return 0  # it had nothing to run

    def _end(self, began: int, work: Callable[[], None], done: Callable[[], None]) -> None:
        self._ran = False
        self._clock.show(began)
        work()
        self._clock.follow()
        self._busy = False
        self._loop.call_soon(done)


@dataclass(frozen=True, slots=True)
class Stage:
    """A device with models on it, and what a batcher for them needs."""

    loop: VirtualLoop
    clock: RunClock
    device: Device
    models: Sequence[SleepingModel]
    slots: dict[str, list[SleepingSlot]]


def set_up(loop: VirtualLoop, models: Sequence[SleepingModel], units: float) -> Stage:
    clock, device = RunClock(loop), Device(loop, units)
    slots = {
        model.name: [SleepingSlot(model, device, clock, loop) for _ in range(model.instances)]
        for model in models
    }
    return Stage(loop, clock, device, models, slots)

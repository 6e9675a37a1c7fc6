"""Batchers of every setting under hours of load in virtual time: what must hold for each single request.

Each request's rows carry its own number through the model, so a row that went astray shows. Callers cancel
and set deadlines, some rows upset their model, bursts fill the queues. The models of a stage share a device.
"""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import islice, pairwise
from random import Random

import numpy as np
import pytest

from benchmarks.scheduling.sleeping import INPUT, OUTPUT, SleepingModel, SleepingSlot, set_up
from benchmarks.scheduling.traces import Arrival, bursts, diurnal, merged, poisson
from benchmarks.scheduling.virtual_loop import START_NS, VirtualLoop
from runtimes.service_time import ServiceTime
from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    QueueFull,
    RequestCancelled,
    TooLate,
)
from server.domain.request import FOREVER
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.plan import Plan
from server.scheduling.queue import Level
from server.scheduling.rule import BatchRule
from server.scheduling.ticket import Ticket
from server.scheduling.turns import Turns

LAST = 10**9  # later than any turn
Turn = tuple[float, ...]
POISON = 97
"""A request whose number this divides upsets its model."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A way to schedule one model. `rule` None: each request runs alone. `max_queue_size` is of a level.

    alike   its requests have one width, so that most are let in by a glance
    """

    rule: BatchRule | None
    max_queue_size: int
    instances: int = 1
    fixed_ms: float = 4.0
    levels: int = 1
    in_order: bool = False
    max_queue_bytes: int = 2**20
    target_s: float | None = None
    alike: bool = False

    def plan(self) -> Plan:
        return Plan(
            batches=True,
            rule=self.rule,
            levels=(Level(max_size=self.max_queue_size),) * self.levels,
            default_level=self.levels,
            max_queue_bytes=self.max_queue_bytes,
            preserve_ordering=self.in_order,
            latency_target_s=self.target_s,
            row_bytes=np.dtype(np.int64).itemsize if self.alike else 0,
        )

    @property
    def max_rows(self) -> int:
        return self.rule.max_batch_size if self.rule else max(ROWS)


ROWS = (1, 1, 1, 2, 3, 5)
SETTINGS = {
    "eager": Setting(rule=BatchRule(max_batch_size=16), max_queue_size=60),
    "delayed": Setting(rule=BatchRule(max_batch_size=8, max_queue_delay_us=3000), max_queue_size=40),
    "preferring": Setting(
        rule=BatchRule(max_batch_size=16, max_queue_delay_us=8000, preferred_batch_sizes=(4, 8)),
        max_queue_size=200,
        instances=2,
    ),
    "alone": Setting(rule=None, max_queue_size=20, instances=3, fixed_ms=2.0),
    "prioritised": Setting(rule=BatchRule(max_batch_size=8), max_queue_size=30, levels=3),
    "ordered": Setting(
        rule=BatchRule(max_batch_size=6), max_queue_size=50, instances=3, levels=2, in_order=True
    ),
    "small": Setting(rule=BatchRule(max_batch_size=8), max_queue_size=500, max_queue_bytes=400),
    "targeted": Setting(rule=BatchRule(max_batch_size=16), max_queue_size=500, target_s=0.08),
    "alike": Setting(rule=BatchRule(max_batch_size=16), max_queue_size=60, alike=True),
    "alike, alone": Setting(rule=None, max_queue_size=20, instances=3, fixed_ms=2.0, alike=True),
    "alike, small": Setting(
        rule=BatchRule(max_batch_size=8), max_queue_size=500, max_queue_bytes=200, alike=True
    ),
    "alike, targeted": Setting(
        rule=BatchRule(max_batch_size=16), max_queue_size=500, target_s=0.08, alike=True
    ),
}


class Watched:
    """A slot that shows each batch to the soak as its run begins."""

    def __init__(self, slot: SleepingSlot, name: str, soak: "Soak") -> None:
        self.device = slot.device
        self._slot, self._name, self._soak = slot, name, soak
        self._begins = False

    def start(self, work, done) -> None:
        self._soak.running[self._name] += 1
        self._begins = True
        self._slot.start(work, lambda: self._done(done))
        self._begins = False

    def run(self, inputs):
        if self._begins:
            try:
                self._soak.began(self._name, inputs[INPUT])
            except AssertionError as fault:  # in here it would be taken for a fault of the model
                self._soak.faults.append(fault)
        return self._slot.run(inputs)

    def _done(self, done) -> None:
        if self._soak.faults:
            raise self._soak.faults[0]
        self._soak.running[self._name] -= 1
        done()


class Soak:
    """Drives a trace and judges every event.

    told      by number: how often the request heard
    open      by number: what is not settled yet, with its model
    waiting   by model and lane, then by number: the turn of each that no run has taken; the lowest is next
    """

    def __init__(self, requests: int, seed: int) -> None:
        self.random = Random(seed)
        self.trace = islice(trace(seed), requests)
        self.told = bytearray(requests)
        self.outcomes: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.batches: Counter[str] = Counter()
        self.faults: list[AssertionError] = []
        self.cancelled: set[int] = set()
        self.open: dict[int, tuple[Ticket, str]] = {}
        self.waiting: dict[tuple[str, int], dict[int, Turn]] = defaultdict(dict)
        self.places: Counter[tuple[str, int]] = Counter()
        self.bytes: Counter[str] = Counter()
        self.last_answered: dict[str, int] = {}
        self.loop = VirtualLoop()

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._drive())

    async def _drive(self) -> None:
        models = [
            SleepingModel(
                name=name,
                service=ServiceTime(fixed_ms=setting.fixed_ms, per_row_ms=0.5, jitter=0.3, seed=7),
                max_batch_size=setting.max_rows,
                target_s=1.0,
                instances=setting.instances,
                upset=lambda rows: bool((rows % POISON == 0).any()),
            )
            for name, setting in SETTINGS.items()
        ]
        stage = set_up(self.loop, models, units=6)
        turns = Turns(processors=6, clock=stage.clock)
        self.tallies = {name: Tally() for name in SETTINGS}
        self.batchers = {
            name: Batcher(
                model=name,
                version=1,
                plan=setting.plan(),
                slots=[Watched(slot, name, self) for slot in stage.slots[name]],
                in_place=False,
                tally=self.tallies[name],
                turns=turns,
                clock=stage.clock,
            )
            for name, setting in SETTINGS.items()
        }
        for number, arrival in enumerate(self.trace):
            await asyncio.sleep((START_NS + arrival.at_ns - self.loop.now_ns()) / 1e9)
            self._ask(number, arrival)
        for batcher in self.batchers.values():
            await batcher.close(60)

    def _ask(self, number: int, arrival: Arrival) -> None:
        name, now = arrival.model, self.loop.now_ns()
        setting = SETTINGS[name]
        width = 1 if setting.alike else self.random.choice((1, 1, 2))
        inputs = {INPUT: np.full((arrival.rows, width), number, np.int64)}
        deadline = now / 1e9 + self.random.uniform(0.001, 0.1) if self.random.random() < 0.2 else FOREVER
        ticket = Ticket(
            inputs,
            arrival.rows,
            lambda ticket: self._hear(number, ticket),
            lane=None if setting.alike else (width,),
            deadline=deadline,
            arrived=now / 1e9,
            priority=self.random.randint(0, setting.levels),
        )
        level = ticket.priority or setting.levels
        self.open[number] = ticket, name
        try:
            self.batchers[name].submit(ticket)
        except (QueueFull, TooLate) as refusal:
            if isinstance(refusal, QueueFull):
                assert (
                    setting.in_order
                    or self.places[name, level] == setting.max_queue_size
                    or (self.bytes[name] + inputs[INPUT].nbytes > setting.max_queue_bytes)
                )
            else:
                assert setting.target_s
            self.told[number] += 1
            self.outcomes[type(refusal).__name__] += 1
            del self.open[number]
            return
        self._stands_in_line(number, ticket, name)
        assert self.places[name, level] <= setting.max_queue_size
        assert self.bytes[name] <= max(setting.max_queue_bytes, inputs[INPUT].nbytes)
        if self.random.random() < 0.1:
            self.loop.call_later(self.random.uniform(0, 0.05), self._cancel, number, ticket, name)

    def _stands_in_line(self, number: int, ticket: Ticket, name: str) -> None:
        level = ticket.priority or SETTINGS[name].levels
        self.waiting[name, ticket.inputs[INPUT].shape[1]][number] = level, ticket.due, number
        self.places[name, level] += 1
        self.bytes[name] += ticket.inputs[INPUT].nbytes

    def _leaves_line(self, number: int, ticket: Ticket, name: str) -> None:
        if self.waiting[name, ticket.inputs[INPUT].shape[1]].pop(number, None):
            self.places[name, ticket.priority or SETTINGS[name].levels] -= 1
            self.bytes[name] -= ticket.inputs[INPUT].nbytes

    def _cancel(self, number: int, ticket: Ticket, name: str) -> None:
        """Perhaps too late."""
        if number in self.open:
            self.cancelled.add(number)
        self.batchers[name].leave(ticket, RequestCancelled(name))

    def began(self, name: str, rows) -> None:
        """A run begins: within its bounds, with those only who still want it, in the order they came."""
        setting, now = SETTINGS[name], self.loop.now_ns() / 1e9
        numbers = list(dict.fromkeys(rows[:, 0].tolist()))
        assert len(rows) <= setting.max_rows
        assert self.running[name] <= setting.instances
        assert setting.rule or len(numbers) == 1
        waiting = self.waiting[name, rows.shape[1]]
        turns = [waiting[number] for number in numbers]
        for number in numbers:
            self._leaves_line(number, *self.open[number])
        assert all(first < second for first, second in pairwise(turns))
        assert turns[-1] < min(waiting.values(), default=(LAST,))
        for number in numbers:
            assert number in self.open, "a request runs that was settled before"
            assert self.open[number][0].deadline > now
        self.batches[name] += 1

    def _hear(self, number: int, ticket: Ticket) -> None:
        self.told[number] += 1
        name = self.open.pop(number)[1]
        self._leaves_line(number, ticket, name)
        error = ticket.error
        self.outcomes[type(error).__name__ if error else "answered"] += 1
        if error is None:
            rows = ticket.outputs[OUTPUT]
            assert rows.shape == ticket.inputs[INPUT].shape
            assert (rows == number).all()
            assert number % POISON
            if SETTINGS[name].in_order:
                assert number > self.last_answered.get(name, -1)
                self.last_answered[name] = number
        elif isinstance(error, InferenceFailed):
            assert not number % POISON
        elif isinstance(error, TooLate):
            assert SETTINGS[name].target_s
        elif isinstance(error, DeadlineExceeded):
            assert ticket.deadline <= self.loop.time() + 1e-9
        else:
            assert isinstance(error, RequestCancelled)
            assert number in self.cancelled


def trace(seed: int):
    """Each model is asked for more than it can do, some of the time."""
    return merged(
        diurnal("eager", 900, swing=0.9, day_s=20, rows=ROWS, seed=seed),
        bursts("delayed", quiet=100, burst=1500, quiet_s=2, burst_s=0.5, rows=ROWS, seed=seed + 1),
        poisson("preferring", 400, rows=ROWS, seed=seed + 2),
        poisson("alone", 300, rows=ROWS, seed=seed + 3),
        bursts("prioritised", quiet=50, burst=1000, quiet_s=2, burst_s=0.5, rows=ROWS, seed=seed + 4),
        bursts("ordered", quiet=100, burst=600, quiet_s=2, burst_s=0.5, rows=ROWS, seed=seed + 5),
        bursts("small", quiet=50, burst=1000, quiet_s=2, burst_s=0.3, rows=ROWS, seed=seed + 6),
        diurnal("targeted", 500, swing=0.9, day_s=10, rows=ROWS, seed=seed + 7),
        diurnal("alike", 900, swing=0.9, day_s=20, rows=ROWS, seed=seed + 8),
        poisson("alike, alone", 300, rows=ROWS, seed=seed + 9),
        bursts("alike, small", quiet=50, burst=1000, quiet_s=2, burst_s=0.3, rows=ROWS, seed=seed + 10),
        diurnal("alike, targeted", 500, swing=0.9, day_s=10, rows=ROWS, seed=seed + 11),
    )


@pytest.mark.parametrize(
    "requests", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_every_request_is_told_once_with_its_own_rows_and_no_bound_is_passed(requests):
    soak = Soak(requests, seed=1)
    soak.run()
    assert not soak.open
    assert set(soak.told) == {1}
    assert soak.outcomes.total() == requests
    assert soak.batches.keys() == SETTINGS.keys()
    happened = {"answered", "QueueFull", "TooLate", "DeadlineExceeded", "RequestCancelled", "InferenceFailed"}
    assert soak.outcomes.keys() == happened
    assert all(soak.outcomes[each] > requests / 1000 for each in happened), soak.outcomes

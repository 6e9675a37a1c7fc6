"""What is compared: ways to schedule the models of a stage, each as the batchers that it makes.

The one place of the benchmark that knows how a `Batcher` is built.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.scheduling.sleeping import SleepingModel, Stage
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.plan import Plan
from server.scheduling.queue import Level
from server.scheduling.rule import BatchRule
from server.scheduling.slot import Slot
from server.scheduling.ticket import Ticket
from server.scheduling.turns import Turns


class Scheduler(Protocol):
    """What a drive asks of a batcher."""

    def submit(self, ticket: Ticket) -> None: ...

    async def close(self, within_s: float) -> None: ...


ROW_BYTES = 4
"""Of what a sleeping model reads: a server knows them of every model whose rows are alike."""

Contender = Callable[[Stage], Mapping[str, Scheduler]]
"""Called on the running loop; gives the batcher of each model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Triton's settings, the same for every model. `max_batch_size` 0 is the model's own."""

    max_queue_delay_us: int = 0
    max_batch_size: int = 0
    max_queue_size: int = 1000

    def __call__(self, stage: Stage) -> Mapping[str, Scheduler]:
        return {model.name: self._batcher(stage, model) for model in stage.models}

    def _batcher(self, stage: Stage, model: SleepingModel) -> Batcher:
        rule = BatchRule(
            max_batch_size=self.max_batch_size or model.max_batch_size,
            max_queue_delay_us=self.max_queue_delay_us,
        )
        plan = Plan(
            batches=True, rule=rule, levels=(Level(max_size=self.max_queue_size),), row_bytes=ROW_BYTES
        )
        return _batcher(model, plan, stage.slots[model.name], Turns(clock=stage.clock), stage.clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Each model with its latency target, and their turns on the device."""

    max_queue_size: int = 1000

    def __call__(self, stage: Stage) -> Mapping[str, Scheduler]:
        turns = Turns(processors=max(1, int(stage.device.units)), clock=stage.clock)
        return {
            model.name: targeted(
                model,
                stage.slots[model.name],
                stage.clock,
                turns=turns,
                max_queue_size=self.max_queue_size,
            )
            for model in stage.models
        }


def targeted(
    model: SleepingModel,
    slots: Sequence[Slot],
    clock: Callable[[], int],
    *,
    turns: Turns | None = None,
    max_queue_size: int = 1000,
) -> Batcher:
    """One model with its latency target; without `turns` it has its device for itself."""
    plan = Plan(
        batches=True,
        rule=BatchRule(max_batch_size=model.max_batch_size),
        levels=(Level(max_size=max_queue_size),),
        row_bytes=ROW_BYTES,
        latency_target_s=model.target_s,
    )
    return _batcher(model, plan, slots, turns or Turns(clock=clock), clock)


def _batcher(
    model: SleepingModel, plan: Plan, slots: Sequence[Slot], turns: Turns, clock: Callable[[], int]
) -> Batcher:
    return Batcher(
        model=model.name,
        version=1,
        plan=plan,
        slots=slots,
        in_place=False,
        tally=Tally(),
        turns=turns,
        clock=clock,
    )

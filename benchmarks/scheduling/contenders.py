"""What is compared: ways to schedule the models of a stage, each as the batchers that it makes.

The one place of the benchmark that knows how a `Batcher` is built.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from benchmarks.scheduling.sleeping import SleepingModel, Stage
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.rule import BatchRule
from server.scheduling.ticket import Ticket


class Scheduler(Protocol):
    """What a drive asks of a batcher."""

    def submit(self, ticket: Ticket) -> None: ...

    async def close(self, within_s: float) -> None: ...


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
        return Batcher(
            model=model.name,
            version=1,
            batches=True,
            rule=BatchRule(
                max_batch_size=self.max_batch_size or model.max_batch_size,
                max_queue_delay_us=self.max_queue_delay_us,
            ),
            slots=stage.slots[model.name],
            max_queue_size=self.max_queue_size,
            in_place=False,
            tally=Tally(),
            clock=stage.clock,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Each model with its latency target.

    To be joined: `latency_target_s`, `Profile` and `Turns` of the core; until then the batcher's defaults.
    """

    max_queue_size: int = 1000

    def __call__(self, stage: Stage) -> Mapping[str, Scheduler]:
        return Fixed(max_queue_size=self.max_queue_size)(stage)

"""Where a run can happen: an instance, as the batcher sees it."""

from collections.abc import Callable
from typing import Protocol

from server.domain.tensors import Array, Tensors
from server.scheduling.resources import Needs


class Slot(Protocol):
    """One run at a time. Several slots may stand on one set of weights."""

    @property
    def device(self) -> str:
        """Where it stands, such as cpu or cuda:0; runs of all models there take turns."""
        ...

    @property
    def needs(self) -> Needs:
        """What each run takes of the rate limiter's resources."""
        ...

    @property
    def priority(self) -> int:
        """In the rate limiter: one of priority 2 has half the turns of one of priority 1; 0 is 1."""
        ...

    def run(self, inputs: Tensors) -> dict[str, Array]:
        """Run the model on the calling thread. Raises whatever the model raises."""
        ...

    def start(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        """Call `work` on the slot's own thread, then `done` on the event loop. `work` never raises."""
        ...

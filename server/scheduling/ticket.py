"""One caller's place in the queue of a model version.

A ticket is settled once: with outputs, or with an error. Settling it again does nothing, so a caller
who left, a deadline that passed and a run that finished may come in any order. All of it happens on
the event loop's thread.
"""

from collections.abc import Callable
from typing import Any

from server.domain.errors import ServingError
from server.domain.request import FOREVER
from server.domain.tensors import Tensors

Lane = tuple[Any, ...] | None
"""What requests must share to run together: names, datatypes and non-batch shapes. None: all do."""


class Ticket:
    """What waits, who is told, and when it happened.

    inputs      named arrays; with a batch dimension each has `rows` as its first size
    deadline    monotonic seconds; a ticket that is still waiting then is never run
    queued, started, inferred, computed   monotonic ns: entered the queue, its run began to gather
                inputs, the model began, the model ended; 0 until then
    batch_rows  of the run that it went with
    outputs     named arrays, once answered; rows of a larger array, not copies
    error       once failed
    """

    __slots__ = (
        "_told",
        "batch_rows",
        "computed",
        "deadline",
        "error",
        "inferred",
        "inputs",
        "lane",
        "outputs",
        "queued",
        "rows",
        "started",
    )

    def __init__(
        self,
        inputs: Tensors,
        rows: int,
        told: Callable[["Ticket"], None],
        *,
        lane: Lane = None,
        deadline: float = FOREVER,
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.lane = lane
        self.deadline = deadline
        self.queued = self.started = self.inferred = self.computed = 0
        self.batch_rows = 0
        self.outputs: Tensors | None = None
        self.error: ServingError | None = None
        self._told: Callable[[Ticket], None] | None = told

    @property
    def settled(self) -> bool:
        return self._told is None

    def answer(self, outputs: Tensors) -> None:
        """Give the caller its rows, unless it has its answer already."""
        told = self._told
        if told is not None:
            self._told = None
            self.outputs = outputs
            told(self)

    def fail(self, error: ServingError) -> None:
        """Tell the caller why not, unless it has its answer already."""
        told = self._told
        if told is not None:
            self._told = None
            self.error = error
            told(self)

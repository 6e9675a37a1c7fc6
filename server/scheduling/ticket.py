"""One caller's place in the queue of a model version.

A ticket is settled once: with outputs, or with an error. Settling it again does nothing, so a caller
who left, a deadline that passed and a run that finished may come in any order. All of it happens on
the event loop's thread.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from server.domain.errors import ServingError
from server.domain.request import FOREVER, InferRequest
from server.domain.run_outputs import RunOutputs
from server.domain.tensors import Tensors

Lane = tuple[Any, ...] | None
"""What requests must share to run together: names, datatypes and non-batch shapes. None: all do."""


class RunFacts(Protocol):
    """What is known of a run that is over; times are monotonic nanoseconds.

    rows       of all its requests
    began      gathering the inputs began
    inferred   the model began
    ended      the model ended, and its rows were counted
    """

    rows: int
    began: int
    inferred: int
    ended: int


class Ticket:
    """What waits, who is told, and when it happened.

    inputs      named arrays; with a batch dimension each has `rows` as its first size
    deadline    monotonic seconds; a ticket that is still waiting then is never run
    arrived     monotonic seconds: when the door had the whole request. The batcher counts it as a
                request that ends with its run; 0 for one stage of several, whose end others count
    priority    its level, 1 being the highest; 0 for the model's default
    client      whose share of the queue it takes; empty where nobody keeps shares
    asked       monotonic seconds: from when on a latency target counts; 0 for when it was queued
    queued      monotonic ns: entered the queue
    request     what was asked, for a queue that leads to another process; None where nobody said
    run         the one that it went with, with its times and rows; None until it is over
    own         named arrays, once answered, where nobody shares them; else None
    shared      the outputs of its run, once answered, where others have rows of them, too; else None
    at          its first row of those
    error       once failed
    told        called once, when it is settled; None from then on

    What the queue and the batcher note on it:

    size        bytes of its inputs, where its rows do not tell them
    order       its place in its lane: the lower, the sooner
    due         monotonic ns: when a latency target wants it answered; 0 for no target
    expires     monotonic ns: when its time in the queue is over; 0 for never
    """

    __slots__ = (
        "arrived",
        "asked",
        "at",
        "client",
        "deadline",
        "due",
        "error",
        "expires",
        "inputs",
        "lane",
        "order",
        "own",
        "priority",
        "queued",
        "request",
        "rows",
        "run",
        "shared",
        "size",
        "told",
    )

    def __init__(
        self,
        inputs: Tensors,
        rows: int,
        told: Callable[["Ticket"], None],
        lane: Lane = None,
        deadline: float = FOREVER,
        arrived: float = 0.0,
        priority: int = 0,
        client: str = "",
        asked: float = 0.0,
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.lane = lane
        self.deadline = deadline
        self.arrived = arrived
        self.priority = priority
        self.client = client
        self.asked = asked or arrived
        self.queued = self.size = self.expires = 0
        self.order = self.due = 0.0
        self.request: InferRequest | None = None
        self.run: RunFacts | None = None
        self.shared: RunOutputs | None = None
        self.own: Tensors | None = None
        self.error: ServingError | None = None
        self.told: Callable[[Ticket], None] | None = told

    @property
    def settled(self) -> bool:
        return self.told is None

    @property
    def outputs(self) -> Tensors | None:
        """Named arrays, once answered; rows of larger arrays, where it shares them, and not copies."""
        if self.own is None and self.shared is not None:
            self.own = self.shared.rows(self.at, self.rows)
        return self.own

    def answer(self, outputs: Tensors, run: RunFacts) -> None:
        """Give the caller all that came for it, unless it has its answer already."""
        told = self.told
        if told is not None:
            self.told = None
            self.run = run
            self.own = outputs
            told(self)

    def answer_from(self, shared: RunOutputs, at: int, run: RunFacts) -> None:
        """Give the caller its rows of a run, from `at` on, unless it has its answer already."""
        told = self.told
        if told is not None:
            self.told = None
            self.run = run
            self.shared = shared
            self.at = at
            told(self)

    def fail(self, error: ServingError) -> None:
        """Tell the caller why not, unless it has its answer already."""
        told = self.told
        if told is not None:
            self.told = None
            self.error = error
            told(self)


def answer_all(tickets: Sequence[Ticket], shared: RunOutputs, run: RunFacts) -> None:
    """Give each its rows of a run that they went with in this order, as `answer_from` does."""
    at = 0
    for ticket in tickets:
        told = ticket.told
        if told is not None:  # without a call for each: this comes with every request
            ticket.told = None
            ticket.run = run
            ticket.shared = shared
            ticket.at = at
            told(ticket)
        at += ticket.rows

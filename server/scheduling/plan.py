"""How the requests of one model version wait, leave and run: all that its configuration says of it."""

from dataclasses import dataclass

from server.scheduling.queue import Level
from server.scheduling.rule import BatchRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Frozen; what can be changed while it serves is a property of the batcher.

    batches            whether the model has a batch dimension
    rule               when a batch leaves; None for a model whose requests run alone
    levels             of priority, the highest first; at least one
    default_level      of a request that names none, from 1
    max_queue_bytes    of inputs that may wait, unless it is one request alone
    row_bytes          of the inputs of one row; 0 where that varies
    preserve_ordering  whether answers are given in the order in which the requests came
    request_rows       the most rows of one request
    latency_target_s   within which requests are to be answered; None for no target
    fair_clients       whether the clients that the doors tell apart share the queue, whoever asks most
    weight             its share of a device, beside the weights of the other models there
    """

    batches: bool
    rule: BatchRule | None
    levels: tuple[Level, ...] = (Level(max_size=1024),)
    default_level: int = 1
    max_queue_bytes: int = 2**28
    row_bytes: int = 0
    preserve_ordering: bool = False
    request_rows: int = 1
    latency_target_s: float | None = None
    fair_clients: bool = False
    weight: float = 1.0

    @property
    def max_rows(self) -> int:
        """Of one run that more than one request can share."""
        return self.rule.max_batch_size if self.rule is not None else 1

"""Decides which waiting requests leave together, and when.

Pure: no clock, lock or event loop. The batcher brings the time and acts on the answer, so every
rule here is tested as plain arithmetic. The meaning of the fields is Triton's `dynamic_batching`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Why(StrEnum):
    """Why a batch left when it did.

    FULL        nobody else fits
    PREFERRED   it has a preferred size
    DELAY       its oldest has waited as long as it may for company
    IDLE        an instance was idle, and nobody is to wait for company
    DEADLINE    more rows would have made its oldest late
    """

    FULL = "full"
    PREFERRED = "preferred"
    DELAY = "delay"
    IDLE = "idle"
    DEADLINE = "deadline"


class Leave(NamedTuple):
    """The `requests` oldest leave now, with `rows` rows in all.

    expected_ns   what their run is expected to take, where that was reckoned
    """

    requests: int
    rows: int
    why: Why
    expected_ns: float = 0.0


class Hold(NamedTuple):
    """Nobody leaves yet; ask again when somebody joins, or after `us` microseconds."""

    us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRule:
    """When the waiting requests of one model version leave.

    max_batch_size         rows in one run, at least 1
    max_queue_delay_us     longest that a request waits for company; 0 leaves at once
    preferred_batch_sizes  row counts that leave as soon as they can be formed exactly
    """

    max_batch_size: int
    max_queue_delay_us: int = 0
    preferred_batch_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, not {self.max_batch_size}")
        if self.max_queue_delay_us < 0:
            raise ValueError(f"max_queue_delay_us must not be negative, not {self.max_queue_delay_us}")
        for size in self.preferred_batch_sizes:
            if not 1 <= size <= self.max_batch_size:
                raise ValueError(f"preferred batch size {size} is not between 1 and {self.max_batch_size}")

    @property
    def eager(self) -> bool:
        """Whether nobody ever waits for company, and no size is preferred: all leave that fit."""
        return not self.max_queue_delay_us and not self.preferred_batch_sizes

    def decide(self, rows: Iterable[int], waited_us: int) -> Leave | Hold:
        """Say who leaves. `rows` has one count per waiting request, oldest first; one above
        `max_batch_size` goes alone. `waited_us` is how long the oldest has waited.

        The largest preferred size that the oldest requests form exactly leaves at once; else all
        that fit, when they fill the batch or the oldest has waited long enough.
        """
        going = total = 0
        preferred: Leave | None = None
        full = False
        for count in rows:
            if going and total + count > self.max_batch_size:
                full = True
                break
            going, total = going + 1, total + count
            if total in self.preferred_batch_sizes:
                preferred = Leave(going, total, Why.PREFERRED)
        if preferred is not None:
            return preferred
        full = full or total >= self.max_batch_size
        if not going or (not full and waited_us < self.max_queue_delay_us):
            return Hold(max(self.max_queue_delay_us - waited_us, 0))
        if full:
            return Leave(going, total, Why.FULL)
        return Leave(going, total, Why.DELAY if self.max_queue_delay_us else Why.IDLE)

"""How long a run of a model that only sleeps takes, by its rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType

NO_TABLE: Mapping[int, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTime:
    """A run of n rows takes `fixed_ms` + n * `per_row_ms`, unless the table says otherwise.

    table_ms   what runs of up to so many rows take, as of a model that is padded to these sizes; above the
               largest the formula holds
    jitter     the largest share by which one run is shorter or longer than that, below 1; each share up to
               it is as likely
    seed       of the jitter
    """

    fixed_ms: float = 0.0
    per_row_ms: float = 0.0
    table_ms: Mapping[int, float] = field(default_factory=lambda: NO_TABLE)
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.fixed_ms, self.per_row_ms, *self.table_ms.values(), 0.0) < 0:
            raise ValueError("no run takes less than 0 ms")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter is {self.jitter}, must be at least 0 and below 1")

    @property
    def is_constant(self) -> bool:
        """Whether the rows do not matter."""
        return not self.per_row_ms and not self.table_ms

    def ns(self, rows: int) -> int:
        """Without jitter."""
        padded = min((size for size in self.table_ms if size >= rows), default=None)
        ms = self.fixed_ms + rows * self.per_row_ms if padded is None else self.table_ms[padded]
        return round(ms * 1e6)

    def draws(self) -> Callable[[int], int]:
        """Rows to nanoseconds, run after run; the same series each time that this is asked."""
        if not self.jitter:
            return self.ns
        random = Random(self.seed)
        return lambda rows: round(self.ns(rows) * (1 + self.jitter * random.uniform(-1, 1)))

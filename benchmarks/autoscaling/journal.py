"""What happened in one rehearsal, as it is judged and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Told:
    """One request: when it was due and how long its answer took, in real seconds, and gRPC's status."""

    at_s: float
    took_s: float
    status: str


@dataclass(frozen=True, slots=True)
class Look:
    """What the autoscaler of one tier saw and did, `at_s` seconds of the cluster after the beginning.

    gauges   of each process that is to be there; None where it showed none
    wanted   what the metric asks for; None where it was unknown
    """

    at_s: float
    gauges: Sequence[float | None]
    wanted: int | None
    replicas: int

    @property
    def gauge(self) -> float | None:
        """The mean of those that showed it."""
        shown = [each for each in self.gauges if each is not None]
        return sum(shown) / len(shown) if shown else None


@dataclass(slots=True)
class Journal:
    """Of each tier its looks, and every request."""

    looks: dict[str, list[Look]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

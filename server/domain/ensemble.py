"""A model made of models: which of them run, and how tensors go from one to the next.

Frozen values, as Triton's `ensemble_scheduling` says them. A tensor of the ensemble has a name of its own:
steps take it and give it under the names that their models know.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LATEST = 0
"""In place of a version: the highest that serves when a request comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One model that runs once for a request.

    version   or `LATEST`
    inputs    the model's input -> the ensemble's tensor; a tensor may go to several
    outputs   the model's output -> the ensemble's tensor; outputs that are left out are thrown away
    """

    model: str
    version: int = LATEST
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def wanted(self) -> str:
        """The version as a request writes it."""
        return str(self.version) if self.version != LATEST else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """The steps, in any order.

    max_inflight_requests   of all requests of the ensemble, so many at each step at a time; 0 for no limit
    """

    steps: tuple[Step, ...]
    max_inflight_requests: int = 0

    @property
    def members(self) -> frozenset[str]:
        return frozenset(step.model for step in self.steps)

"""The class names of an ensemble's outputs: its own, and else those of the model that gives the output."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from server.domain.catalogue import VersionFacts
from server.domain.ensemble import Ensemble, Step
from server.domain.errors import ServingError


class MemberLabels(Mapping[str, Sequence[str]]):
    """Output name -> its class names, as the members have them at the moment.

    own     of the outputs whose labels lie in the ensemble's own folder
    facts   of the version that serves a model and a version as callers write it, or a `ServingError`
    """

    def __init__(
        self, own: Mapping[str, Sequence[str]], ensemble: Ensemble, facts: Callable[[str, str], VersionFacts]
    ) -> None:
        self._own = own
        self._facts = facts
        self._sources: dict[str, tuple[Step, str]] = {
            tensor: (step, output) for step in ensemble.steps for output, tensor in step.outputs.items()
        }

    def __getitem__(self, output: str) -> Sequence[str]:
        if output in self._own:
            return self._own[output]
        step, name = self._sources[output]
        try:
            return self._facts(step.model, step.wanted).labels[name]
        except ServingError:
            raise KeyError(output) from None

    def __iter__(self) -> Iterator[str]:
        return (output for output in {**self._own, **self._sources} if output in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

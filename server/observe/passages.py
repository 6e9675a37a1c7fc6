"""How models came and went, as plain numbers: how often what happened, and how long it took.

Written on the event loop a few times in a model's life, read when metrics are scraped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.observe.histogram import Histogram

PASSAGE_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""A load is nothing like a request: from a small tree to tens of gigabytes."""


@dataclass(slots=True)
class Passage:
    """Of one model.

    transitions   what happened -> how often
    load_s        from opening a version's files to its being ready, warmup included
    warmup_s      the part of that in which it was run before anybody asked
    """

    transitions: dict[str, int] = field(default_factory=dict)
    load_s: Histogram = field(default_factory=lambda: Histogram(PASSAGE_SECONDS))
    warmup_s: Histogram = field(default_factory=lambda: Histogram(PASSAGE_SECONDS))


class Passages:
    """Of all models that something has happened to."""

    def __init__(self) -> None:
        self._models: dict[str, Passage] = {}

    def count(self, model: str, what: str) -> None:
        transitions = self._of(model).transitions
        transitions[what] = transitions.get(what, 0) + 1

    def loaded(self, model: str, load_s: float, warmup_s: float) -> None:
        passage = self._of(model)
        passage.load_s.add(load_s)
        passage.warmup_s.add(warmup_s)

    def forget(self, model: str) -> None:
        self._models.pop(model, None)

    def all(self) -> Mapping[str, Passage]:
        """A copy, for a scrape."""
        return dict(self._models)

    def _of(self, model: str) -> Passage:
        return self._models.setdefault(model, Passage())

"""What is wanted of models' answers: what their configurations say, and what calls have said since.

What a call says of a model holds for all its versions and over reloads, until it is taken back or the process
ends. Lives on the event loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from server.domain.errors import ModelNotFound
from server.domain.scheduling import UNSAID, ModelScheduling, Scheduling, in_force
from server.lifecycle.table import Table
from server.lifecycle.version import ServedVersion

log = structlog.get_logger(__name__)


class Schedules:
    """Answers `server.domain.scheduling.Schedules`. `configured` tells what a model's configuration says."""

    def __init__(self, table: Table, configured: Callable[[str], Scheduling]) -> None:
        self._table = table
        self._configured = configured
        self._said: dict[str, Scheduling] = {}

    def of(self, model: str) -> ModelScheduling:
        if model not in self._table.models:
            raise ModelNotFound(model)
        versions = self._schedulable(model)
        config = versions[-1].facts.config.scheduling if versions else self._configured(model)
        return ModelScheduling(
            model=model,
            in_force=in_force(config, self._said.get(model, UNSAID)),
            versions=tuple(served.scheduling() for served in versions),
        )

    def change(self, model: str, change: Mapping[str, float | None]) -> ModelScheduling:
        if model not in self._table.models:
            raise ModelNotFound(model)
        said = self._said.get(model, UNSAID)
        if (now := replace(said, **change)) != said:
            self._said[model] = now
            for served in self._schedulable(model):
                self.hold(served)
            log.info("scheduling_changed", model=model, **change)
        return self.of(model)

    def targets_s(self) -> Mapping[str, float]:
        """Of the models that serve and have one, within how many seconds each request is to be answered."""
        return {
            model: served.latency_target_ms / 1e3
            for model in self._table.models
            for served in self._schedulable(model)
            if served.latency_target_ms is not None
        }

    def _schedulable(self, model: str) -> list[ServedVersion]:
        """Those with a queue of their own: an ensemble's requests wait for its members."""
        versions = sorted(self._table.versions(model).items())
        return [served for _, served in versions if isinstance(served, ServedVersion)]

    def hold(self, served: ServedVersion) -> None:
        """Tell a version what holds for it: before it serves, and whenever a call says something else."""
        facts = served.facts
        served.schedule(in_force(facts.config.scheduling, self._said.get(facts.model, UNSAID)))

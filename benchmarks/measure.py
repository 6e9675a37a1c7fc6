"""The measurement itself: check every answer, warm up, then time all points in turn, again and again.

In turn, not one after the other: what disturbs the machine for a minute then spoils one run of many points,
which the median drops, and not all the runs of one. Needs nothing of a server but `ServerUnderTest`, so
others can be measured beside ours.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bare
from benchmarks.ask import Refused, ask, check
from benchmarks.bare import Bare
from benchmarks.call import Call, Door
from benchmarks.codec import encode
from benchmarks.load import load
from benchmarks.models import Model, version_folder
from benchmarks.report import Figures, Line, Point, Report
from benchmarks.sample import LoadFailed
from benchmarks.server_under_test import ServerUnderTest

WARM_UP_S = 1

Say = Callable[[str], None]
"""Prints one line of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    clients    at once, for every model; empty for each model's own
    seconds    of one timed run, before a model's patience
    repeats    timed runs of each point
    """

    models: Sequence[Model]
    doors: Sequence[Door]
    clients: Sequence[int]
    seconds: int
    repeats: int

    def points(self, server: str) -> list[tuple[Model, Point]]:
        return [
            (model, Point(server, model.name, door, clients))
            for model in self.models
            for door in self.doors
            for clients in self.clients or model.clients
        ]

    @property
    def expected_s(self) -> float:
        """How long one server will take, without starting and checking."""
        each = sum(self.seconds * model.patience for model, _ in self.points(""))
        limits = sum(self.seconds * model.patience * 1.6 for model in self.models)  # the scan of sizes, a start
        return self.repeats * (each + limits) + WARM_UP_S * len(self.models) * len(self.doors)


@dataclass(frozen=True, slots=True)
class _Target:
    """A line, and what its runs need."""

    server: ServerUnderTest
    model: Model
    line: Line
    call: Call
    reply_bytes: int


def measure(servers: Sequence[ServerUnderTest], repository: Path, plan: Plan, say: Say) -> Report:
    """Raises `ServerFailed` if a server goes away in mid-run. Any other fault costs its own line only."""
    targets = [target for server in servers for target in _targets(server, repository, plan, say)]
    report = Report([target.line for target in targets], {model.name: [] for model in plan.models})
    for repeat in range(1, plan.repeats + 1):
        for model in plan.models:
            _time_limit(servers[0], model, repository, plan, report, say)
            for target in targets:
                if target.model is model and not target.line.refusal:
                    _time(target, plan.seconds * model.patience, f"run {repeat} of {plan.repeats}", say)
    return report


def _targets(server: ServerUnderTest, repository: Path, plan: Plan, say: Say) -> list[_Target]:
    targets = []
    checked: dict[tuple[str, Door], tuple[Call, int, str]] = {}
    for model, point in plan.points(server.name):
        key = (model.name, point.door)
        if key not in checked:
            checked[key] = _checked(server, model, point.door, repository, say)
        call, reply_bytes, refusal = checked[key]
        targets.append(_Target(server, model, Line(point, refusal=refusal), call, reply_bytes))
    return targets

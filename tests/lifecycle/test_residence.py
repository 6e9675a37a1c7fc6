"""Versions that come into memory when they are asked for, and leave when others need it: real sessions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from server.domain.backoff import BackOff
from server.domain.configuration import ModelConfig, SwapPolicy
from server.domain.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    NoRoom,
    QueueFull,
)
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.request import InferRequest
from server.domain.state import State
from server.lifecycle.idle import IdleVersion
from server.lifecycle.loader import Loaded, Loader
from server.lifecycle.manager import Manager
from server.lifecycle.residence import Rules
from server.lifecycle.version import ServedVersion
from server.stages.pool import Pool
from server.stages.route import Route
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until

MIB = 2**20
WAIT_FOR_GATE = """
import pathlib, time

def setup(context):
    gate = pathlib.Path(context.parameters["gate"])
    while not gate.exists():
        time.sleep(0.005)

def preprocess(inputs):
    return inputs
"""


class CountingLoader(Loader):
    """The loader, which also notes what it loads."""

    def __init__(self) -> None:
        super().__init__(cpu_budget=1, max_queue_size=100)
        self.loads: list[str] = []

    def load(self, offer: ModelOffer, version: VersionOffer, models: int, *, measures: bool = False) -> Loaded:
        self.loads.append(f"{offer.name}/{version.version}")
        return super().load(offer, version, models, measures=False)


class Serving:
    """A manager with a budget and the way of requests to it; each model of the folder is y = x + amount."""

    def __init__(self, folder: Path, manager: Manager, loader: CountingLoader) -> None:
        self.folder = folder
        self.manager = manager
        self.loader = loader
        self.pool = Pool(2, 100)
        self.route = Route(manager.table, self.pool)
        self.offers: dict[str, ModelOffer] = {}

    async def offer(self, name: str, *versions: VersionOffer, **config: object) -> None:
        """Offer these versions, or one that adds 1, beside what is offered by now; wait until that is so."""
        shelf = Shelf(self.folder / name)
        settings = ModelConfig(name=name, **config)
        self.offers[name] = shelf.offer(*(versions or (shelf.put(),)), config=settings)
        self.manager.apply(self.offers, self.offers)
        await self.manager.settle(name)

    async def ask(self, name: str, version: str = "", seconds: float | None = None, width: int = 2) -> float:
        """What it answers to zeros."""
        served = self.route.find(name, version)
        request = InferRequest(name, version, {"x": np.zeros((1, width), np.float32)}, arrived=monotonic())
        if seconds is not None:
            request.deadline = monotonic() + seconds
        return float((await self.route.infer(served, request)).outputs["y"][0, 0])

    def at(self, name: str, version: int = 1) -> object:
        return self.manager.table.versions(name)[version]

    def loaded(self) -> set[str]:
        """The models that are in memory."""
        return {name for name in self.offers if isinstance(self.newest(name), ServedVersion)}

    def newest(self, name: str) -> object:
        versions = self.manager.table.versions(name)
        return versions[max(versions)] if versions else None

    def state(self, name: str, version: int = 1) -> tuple[State, str]:
        status = self.manager.table.statuses(name)[version]
        return status.state, status.reason


def needs(folder: Path) -> int:
    """What is reserved for a version of one of these models, which nobody has tried."""
    shelf = Shelf(folder / "sized")
    shelf.put()
    return 2 * sum(path.stat().st_size for path in (folder / "sized/1").iterdir())


@asynccontextmanager
async def serving(folder: Path, models: float, **rules: object) -> AsyncIterator[Serving]:
    """With a budget for so many models."""
    loader = CountingLoader()
    rules = {"on_request": True, "lazy_start": True, "min_residency_s": 0.0, "patience_s": 0.3, **rules}
    budget = {"cpu": int(models * needs(folder))}
    async with Manager(
        loader,
        load_threads=2,
        retire_within_s=5.0,
        back_off=BackOff(first_s=60),
        rules=Rules(budgets=budget, **rules),
    ) as manager:
        serving = Serving(folder, manager, loader)
        try:
            yield serving
        finally:
            serving.pool.close()


async def test_what_had_to_leave_comes_back_when_it_is_asked_for_and_goes_on_counting(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        assert await now.ask("a") == 1.0
        await now.offer("b")
        assert now.loaded() == {"b"}
        assert now.state("a") == (State.READY, "")
        assert await now.ask("a") == 1.0
        assert now.loaded() == {"a"}
        assert now.loader.loads == ["a/1", "b/1", "a/1"]
        assert now.manager.facts("a").tally.success.count == 2
        assert now.manager.facts("a").tally.inference_count == 2
        assert now.manager.residence.tally.cold == {("a", "1"): 1}


async def test_a_version_that_is_not_loaded_is_described_as_one_that_is(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        loaded = now.manager.facts("a")
        await now.offer("b")
        idle = now.manager.facts("a")
        assert replace(idle, devices=loaded.devices, memory=loaded.memory) == loaded
        assert (idle.devices, dict(idle.memory)) == ((), {})
        index = {line.model: (line.state, line.loaded) for line in now.manager.index()}
        assert index == {"a": (State.READY, False), "b": (State.READY, True)}
        assert now.manager.ready(strict=True)


async def test_twenty_requests_at_once_load_a_cold_model_once(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        assert await asyncio.gather(*(now.ask("a") for _ in range(20))) == [1.0] * 20
        assert now.loader.loads.count("a/1") == 2

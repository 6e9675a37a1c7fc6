"""A manager with a budget, the models that it is offered, and the way of requests to them."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from runtimes.worker.workers import Workers
from server.domain.backoff import BackOff
from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.request import InferRequest
from server.domain.state import State
from server.lifecycle.loader import Loaded, Loader
from server.lifecycle.manager import Manager
from server.lifecycle.prepared import PreparedModels
from server.lifecycle.rules import Rules
from server.lifecycle.standbys import Policy
from server.lifecycle.version import ServedVersion
from server.stages.pool import Pool
from server.stages.route import Route
from tests.lifecycle.shelf import Shelf


class CountingLoader(Loader):
    """The loader, which also notes what it loads."""

    def __init__(self, workers: Workers | None = None) -> None:
        super().__init__(cpu_budget=1, max_queue_size=100, workers=workers)
        self.loads: list[str] = []

    def load(self, offer: ModelOffer, version: VersionOffer, models: int, **how: Any) -> Loaded:
        self.loads.append(f"{offer.name}/{version.version}")
        return super().load(offer, version, models, prepared=how.get("prepared"))


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
        self.manager.apply(dict(self.offers), self.offers.keys())
        await self.manager.settle(name)

    async def ask(
        self, name: str, seconds: float | None = None, width: int = 2, tensors: Sequence[str] = "xy"
    ) -> float:
        """What it answers to zeros."""
        served = self.route.find(name, "")
        inputs = {tensors[0]: np.zeros((1, width), np.float32)}
        request = InferRequest(name, "", inputs, arrived=monotonic())
        if seconds is not None:
            request.deadline = monotonic() + seconds
        return float((await self.route.infer(served, request)).outputs[tensors[1]][0, 0])

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


def fingerprint(folder: Path) -> str:
    """As the shelf makes it."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


@asynccontextmanager
async def serving(
    folder: Path,
    models: float,
    *,
    rollback: Policy | None = None,
    workers: Workers | None = None,
    prepared: PreparedModels | None = None,
    **rules: object,
) -> AsyncIterator[Serving]:
    """With a budget for so many models."""
    loader = CountingLoader(workers)
    rules = {"on_request": True, "lazy_start": True, "min_residency_s": 0.0, **rules}
    budget = {"cpu": int(models * needs(folder))}
    async with Manager(
        loader,
        load_threads=2,
        retire_within_s=5.0,
        back_off=BackOff(first_s=60),
        rollback=rollback,
        rules=Rules(budgets=budget, **rules),
        same_content=lambda version: fingerprint(version.directory) == version.fingerprint,
        prepared=prepared,
    ) as manager:
        serving = Serving(folder, manager, loader)
        try:
            yield serving
        finally:
            serving.pool.close()


def in_use(now: Serving, name: str) -> ExitStack:
    """Be between two stages of this model until it is closed."""
    stack = ExitStack()
    stack.enter_context(now.at(name).lease())
    return stack


def counted(now: Serving) -> int:
    """Bytes that the books have on the processor."""
    return now.manager.residence.accountant.books().counted.get("cpu", 0)

"""Everything at once: loads, swaps, unloads, requests, evictions and rollbacks, at random, over small models.

Each seed is one life of a server. At every step the books hold; every request is answered by content that was
offered, or refused in words; and at the end nothing is left.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from server.domain.configuration import ModelConfig
from server.domain.errors import ServingError
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.residency.accountant import Accountant
from server.lifecycle.standbys import Policy
from server.lifecycle.version import ServedVersion
from server.repository.configuration import read_text
from tests.lifecycle.life import over
from tests.lifecycle.serving import Serving, counted, serving
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until

MODELS = "abcd"
SWAPS = ("auto", "free-first", "keep-serving")


class Storm:
    """Does one random thing after the other. What it asks is noted, and held against what was offered."""

    def __init__(self, now: Serving, folder: Path, seed: int) -> None:
        self.now = now
        self.chance = random.Random(seed)
        self.folder = folder
        self.amounts: dict[str, set[float]] = {model: set() for model in MODELS}
        self.wanted = set(MODELS)
        self.asked: list[asyncio.Task[None]] = []
        self.outcomes: Counter[str] = Counter()
        self.refusals: list[str] = []
        self._next = 0

    def offer(self, model: str) -> None:
        """New content under one number or two, in a folder of its own: what leaves may be read yet."""
        self._next += 1
        shelf = Shelf(self.folder / f"{self._next}" / model)
        amount = float(self._next)
        numbers = self.chance.choice(([1], [2], [1, 2]))
        offered = shelf.offer(
            *(shelf.put(number, plus(amount)) for number in numbers),
            config=self._config(model),
        )
        self.amounts[model].add(amount)
        self.now.offers[model] = offered

    def _config(self, model: str) -> ModelConfig:
        swap = self.chance.choice(SWAPS)
        text = f'parameters {{ key: "swap_policy" value {{ string_value: "{swap}" }} }}'
        return read_text(text.encode(), model, f"{model}/config.pbtxt").config

    def apply(self) -> None:
        self.now.manager.apply(dict(self.now.offers), set(self.wanted) | {"chain"})

    async def step(self) -> None:
        model = self.chance.choice(MODELS)
        manager = self.now.manager
        match self.chance.randrange(12):
            case 0 | 1:
                self.offer(model)
                self.apply()
            case 2:
                self.wanted ^= {model}
                self.apply()
            case 3:
                self.evict(model)
            case 4:
                manager.standbys.evict(model)
            case 5:
                self.fail(model)
            case 6:
                await manager.settle(model)
            case 7:
                self.asked.append(asyncio.create_task(self.ask("chain")))
            case _:
                self.asked.append(asyncio.create_task(self.ask(model)))
        await asyncio.sleep(self.chance.choice((0, 0, 0, 0.001, 0.02)))
        self.check()

    def evict(self, model: str) -> None:
        for number, served in self.now.manager.table.versions(model).items():
            if isinstance(served, ServedVersion) and not served.in_use:
                self.now.manager.residence.evict((model, number))
                return

    def fail(self, model: str) -> None:
        versions = self.now.manager.table.versions(model)
        if versions:
            for _ in range(50):
                versions[max(versions)].facts.tally.failed("BACKEND", 1)
            self.now.manager.standbys.look()

    async def ask(self, model: str) -> None:
        seconds = self.chance.choice((None, 0.01, 1.0))
        try:
            answer = await self.now.ask(model, seconds, tensors="XY" if model == "chain" else "xy")
        except ServingError as error:
            self.refusals.append(str(error))
            self.outcomes[type(error).__name__] += 1
            return
        if model != "chain":
            assert answer in self.amounts[model], (model, answer)
        self.outcomes["answered"] += 1

    def check(self) -> None:
        """The law of the books, and who is in the table is in them."""
        accountant: Accountant = self.now.manager.residence.accountant
        assert accountant.over("cpu") == 0
        for model in MODELS:
            for number, served in self.now.manager.table.versions(model).items():
                assert (served.facts.model, served.facts.version) == (model, number)
                if isinstance(served, ServedVersion):
                    assert self.now.manager.residence.stays.of(served) is not None
                    assert accountant.held((model, number)), (model, number)
        for ensemble in self.now.manager.table.versions("chain").values():
            assert isinstance(ensemble, EnsembleVersion)
            assert all(self.now.manager.table.versions(member) for member in ensemble.ensemble.members)


async def storm(folder: Path, seed: int, steps: int, models: float) -> Counter[str]:
    others = asyncio.all_tasks()
    async with serving(
        folder, models, rollback=Policy(window_s=0.5), patience_s=0.2, on_request=seed % 3 != 0
    ) as now:
        raging = Storm(now, folder, seed)
        for model in MODELS:
            raging.offer(model)
        config = read_text(over("a", "b").encode(), "chain", "chain/config.pbtxt").config
        empty = Shelf(folder / "chain").put()
        now.offers["chain"] = Shelf(folder / "chain").offer(empty, config=config)
        raging.apply()
        for _ in range(steps):
            await raging.step()
        if seed % 2:  # else it is closed in the midst of it
            async with asyncio.timeout(20):
                await asyncio.gather(*raging.asked)
            raging.wanted = set()
            raging.apply()
            for model in MODELS:
                await now.manager.settle(model)
            await until(lambda: counted(now) == 0)
    async with asyncio.timeout(20):
        await asyncio.gather(*raging.asked)
    assert len(raging.asked) == raging.outcomes.total()
    assert all(raging.refusals)
    assert counted(now) == 0
    assert not now.manager.residence.accountant.books().coming.get("cpu")
    assert [model for model in MODELS if now.manager.table.versions(model)] == []
    assert asyncio.all_tasks() == others
    return raging.outcomes


@pytest.mark.parametrize("seed", range(4))
async def test_the_books_hold_and_every_request_ends_whatever_happens(tmp_path, seed):
    outcomes = await storm(tmp_path, seed, steps=80, models=2.5 + seed % 2)
    assert outcomes["answered"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
async def test_the_same_for_hundreds_of_steps_of_many_lives(tmp_path, seed):
    await storm(tmp_path, seed, steps=600, models=1.5 + seed % 4)

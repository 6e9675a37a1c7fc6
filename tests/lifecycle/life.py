"""A manager with models and ensembles over them, as a repository would offer them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.state import State
from server.lifecycle.examination import Examination
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.lifecycle.table import Table
from server.repository.configuration import read_text
from tests.e2e.ensembles import PAIR_IN, PAIR_OUT, ensemble, step
from tests.lifecycle.shelf import Shelf


def over(*members: str) -> str:
    """A chain of these models as a configuration."""
    ways = ["X", *(f"t{at}" for at in range(1, len(members))), "Y"]
    steps = [step(model, {"x": ways[at]}, {"y": ways[at + 1]}) for at, model in enumerate(members)]
    return ensemble(*steps, rows=4, inputs=PAIR_IN, outputs=PAIR_OUT)


def over_ensemble(*members: str) -> str:
    """The same over ensembles, whose tensors have other names."""
    return over(*members).replace('key: "x"', 'key: "X"').replace('key: "y"', 'key: "Y"')


class Life:
    """A manager, and the models that its repository offers."""

    def __init__(self, manager: Manager, folder: Path) -> None:
        self.manager = manager
        self._folder = folder
        self.offers: dict[str, ModelOffer] = {}

    def model(
        self, name: str, *versions: int, content: bytes = b"", config: ModelConfig | None = None, **code: str
    ) -> None:
        """y = x + version in each version, unless told otherwise; `code` is pre_py or post_py."""
        shelf = Shelf(self._folder / name)
        put = [shelf.put(version, content, **code) for version in versions or (1,)]
        self.offers[name] = shelf.offer(*put, config=config)

    def ensemble(self, name: str, config: str, *versions: int, **examples: dict[str, Any]) -> None:
        """`examples`: name -> what its file says. They are the content of every version."""
        reading = read_text(config.encode(), name, f"{name}/config.pbtxt")
        folders = {number: self._folder / name / str(number) for number in versions or (1,)}
        beside = self._folder / name / "examples"
        beside.mkdir(parents=True, exist_ok=True)
        for example, document in examples.items():
            (beside / f"{example}.json").write_text(json.dumps(document))
        self.offers[name] = ModelOffer(
            name=name,
            directory=self._folder / name,
            config=reading.config,
            fingerprint=reading.fingerprint,
            versions={
                number: VersionOffer(
                    version=number,
                    directory=folder,
                    fingerprint=json.dumps(examples, sort_keys=True),
                    examples=tuple(beside / f"{each}.json" for each in sorted(examples)),
                )
                for number, folder in folders.items()
            },
            on_disk=frozenset(folders),
        )

    async def apply(self, *unwanted: str) -> None:
        self.manager.apply(dict(self.offers), self.offers.keys() - set(unwanted))
        for model in self.offers:
            await self.manager.settle(model)

    def state(self, model: str, version: int = 1) -> tuple[State, str]:
        for line in self.manager.index():
            if (line.model, line.version) == (model, version):
                return line.state, line.reason
        return State.UNKNOWN, ""


@asynccontextmanager
async def living(
    folder: Path,
    *,
    max_queue_size: int = 100,
    retire_within_s: float = 10.0,
    table: Table | None = None,
    examination: Examination | None = None,
) -> AsyncIterator[Life]:
    loader = Loader(cpu_budget=1, max_queue_size=max_queue_size)
    async with Manager(
        loader,
        load_threads=2,
        retire_within_s=retire_within_s,
        max_in_flight=max_queue_size,
        table=table,
        examination=examination,
    ) as manager:
        yield Life(manager, folder)

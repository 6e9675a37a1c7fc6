"""Seeded traffic over many models: which is asked for when, and what each costs to keep and to load.

The popularity of models follows Zipf's law: the model of rank r is asked for in proportion to 1 / r ** skew.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """
    sizes      bytes of each model, by its number
    loads_s    seconds that it takes to load
    requests   numbers of models, in the order in which they are asked for
    budget     bytes that may be in memory
    """

    name: str
    sizes: Sequence[int]
    loads_s: Sequence[float]
    requests: Sequence[int]
    budget: int


def equal(*, models: int, room_for: int, requests: int, seed: int, skew: float = 1.0) -> Trace:
    """All models are alike but for how often they are asked for."""
    return Trace(
        name="equal sizes",
        sizes=[100 * MIB] * models,
        loads_s=[1.0] * models,
        requests=_asked(random.Random(seed), models, requests, skew),
        budget=room_for * 100 * MIB,
    )


def unequal(*, models: int, room_for: int, requests: int, seed: int, skew: float = 1.0) -> Trace:
    """Sizes spread over 10 MiB to 1 GiB, most of them small, and loads at 50 to 800 MiB a second.

    Neither has to do with how often a model is asked for. There is room for so many models of the mean size.
    """
    chance = random.Random(seed)
    sizes = [int(10 * MIB * 100 ** chance.random()) for _ in range(models)]
    loads_s = [0.1 + size / MIB / (50 * 16 ** chance.random()) for size in sizes]
    return Trace(
        name="unequal sizes",
        sizes=sizes,
        loads_s=loads_s,
        requests=_asked(chance, models, requests, skew),
        budget=max(room_for * sum(sizes) // models, max(sizes)),
    )


def drifting(
    *, models: int, room_for: int, requests: int, seed: int, skew: float = 1.0, every: int = 500
) -> Trace:
    """Equal sizes; every so many requests all models change ranks."""
    chance = random.Random(seed)
    asked: list[int] = []
    numbers = list(range(models))
    while len(asked) < requests:
        asked += [numbers[rank] for rank in _asked(chance, models, every, skew)]
        chance.shuffle(numbers)
    return Trace(
        name="drifting ranks",
        sizes=[100 * MIB] * models,
        loads_s=[1.0] * models,
        requests=asked[:requests],
        budget=room_for * 100 * MIB,
    )


def scanned(
    *, models: int, room_for: int, requests: int, seed: int, skew: float = 1.0, every: int = 500
) -> Trace:
    """Equal sizes; every so many requests somebody asks every model once, as a check of all of them does."""
    usual = iter(_asked(random.Random(seed), models, requests, skew))
    asked: list[int] = []
    while len(asked) < requests:
        asked += [*islice(usual, every), *range(models)]
    return Trace(
        name="scans between",
        sizes=[100 * MIB] * models,
        loads_s=[1.0] * models,
        requests=asked[:requests],
        budget=room_for * 100 * MIB,
    )


def _asked(chance: random.Random, models: int, requests: int, skew: float) -> list[int]:
    weights = [rank**-skew for rank in range(1, models + 1)]
    return chance.choices(range(models), weights, k=requests)

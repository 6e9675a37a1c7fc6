"""Pipelines of three stages: the predict tier on one core, all others on another, beside each stage alone.

The load comes from the others' core too, as from a client on their machine.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ask import ask
from benchmarks.call import Door
from benchmarks.findings import Findings
from benchmarks.models import Tensors
from benchmarks.runs import Pace, Question, Say, Setup, in_turn
from benchmarks.tiers.models import digit, lay_burning, lay_digits, lay_photos, one_file, photo
from benchmarks.tiers.processes import tiers

DOOR = Door.BINARY
CLIENTS = 16
BURNING_CLIENTS = 8
STAGES = ("pre", "predict", "post")


def measure(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    told: dict[str, Any] = {}
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        say("pipelines need two cores: not measured")
        return told
    for name, lay, row, patience in (
        ("digits", lay_digits, one_file("IMAGE", digit()), 1),
        ("photos", lay_photos, one_file("FILE", photo()), 4),
    ):
        repository = scratch / name
        lay(repository)
        told[name] = _shares(repository, scratch, name, row, patience, cores[:2], pace, say, findings)
    told["pre processes"] = _doubled(scratch, pace, say, findings)
    return told


def _shares(
    repository: Path,
    scratch: Path,
    name: str,
    row: Tensors,
    patience: int,
    cores: list[int],
    pace: Pace,
    say: Say,
    findings: Findings,
) -> Any:
    """The whole way's rate over that of the slowest stage alone, on the core that it has on the way."""
    others, predict = [cores[0]], [cores[1]]
    held = dict.fromkeys(("gateway", "pre", "post"), others) | {"predict": predict}
    told = []
    rates = {}
    rows = {"pre": row}
    with _from(others):
        for stage, after in (("pre", "predict"), ("predict", "post"), ("post", "")):
            load_from = predict if stage != "predict" else others
            with _from(load_from), tiers(repository, scratch, {stage: 1}, held) as alone:
                front = alone.of[stage][0]
                setup = Setup(f"{stage} alone", front, front.cpu_s)
                question = Question(name, rows[stage], DOOR, CLIENTS, patience)
                in_turn([setup], question, pace, say)
                rates[stage] = setup.of("requests_per_s")
                told.append(setup.told())
                if after:
                    rows[after] = ask(question.to(front)).outputs
        with tiers(repository, scratch, {"gateway": 1, "pre": 1, "predict": 1, "post": 1}, held) as whole:
            setup = Setup("the whole way", whole.front, whole.cpu_s)
            in_turn([setup], Question(name, row, DOOR, CLIENTS, patience), pace, say)
            told.append(setup.told())
    slowest = min(STAGES, key=lambda stage: rates[stage])
    findings[f"{name} share"] = setup.of("requests_per_s") / rates[slowest]
    return {"slowest": slowest, "alone": rates, "setups": told}


def _doubled(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    """Two pre processes beside one, on all cores, with a pre stage of 20 ms of processor time."""
    repository = scratch / "burning"
    lay_burning(repository)
    row = {"INPUT": np.zeros((1, 64), np.float32)}
    with (
        tiers(repository, scratch, {"gateway": 1, "pre": 1, "predict": 1}) as one,
        tiers(repository, scratch, {"gateway": 1, "pre": 2, "predict": 1}) as two,
    ):
        setups = [Setup("one pre", one.front, one.cpu_s), Setup("two pre", two.front, two.cpu_s)]
        in_turn(setups, Question("burning", row, DOOR, BURNING_CLIENTS), pace, say)
    findings["pre processes"] = setups[1].of("requests_per_s") / setups[0].of("requests_per_s")
    return [setup.told() for setup in setups]


@contextmanager
def _from(cores: list[int]) -> Iterator[None]:
    """Have what is started in the block, and not held elsewhere, run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

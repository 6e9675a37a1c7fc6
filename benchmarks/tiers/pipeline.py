"""Pipelines of three stages: the predict tier on one core, all others on another, beside each stage alone.

What is promised is held against files as clients send them: a digit that was scanned, a photo. The sample's
own file has 8 by 8 pixels, so that its stages are shorter than what any message costs, and all of them but
one share a core: what it tells is what the hop costs, which `benchmarks.tiers.hop` measures. Its line is
reported, and has no aim.

The load comes from the core that the slowest stage is not on, for that stage alone and for the whole way: a
client takes no part of the core whose work is compared.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ask import ask
from benchmarks.call import Door
from benchmarks.findings import Findings
from benchmarks.models import Tensors
from benchmarks.runs import Pace, Question, Say, Setup, in_turn, prepare, time_one
from benchmarks.tiers.models import digit, lay_burning, lay_digits, lay_photos, one_file, photo, scan
from benchmarks.tiers.processes import tiers

DOOR = Door.BINARY
CLIENTS = 16
"""What fills a stage alone."""

MORE_CLIENTS = (CLIENTS, 32)
"""Where stages are short, the whole way takes more to be full: the best rate over these counts, of both."""

BURNING_CLIENTS = 8
STAGES = ("pre", "predict", "post")


def measure(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    told: dict[str, Any] = {}
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        say("pipelines need two cores: not measured")
        return told
    for kind, name, lay, row, crowds, patience in (
        ("digits", "digits", lay_digits, one_file("IMAGE", scan()), MORE_CLIENTS, 2),
        ("digits of 8x8", "digits", lay_digits, one_file("IMAGE", digit()), MORE_CLIENTS, 1),
        ("photos", "photos", lay_photos, one_file("FILE", photo()), (CLIENTS,), 4),
    ):
        repository = scratch / kind.replace(" ", "-")
        lay(repository)
        told[kind] = _shares(repository, scratch, name, row, crowds, patience, cores[:2], pace, say)
        findings[f"{kind} share"] = told[kind]["share"]
        say(f"  {kind}: {told[kind]['share']:.1%} of {told[kind]['slowest']}, the slowest stage")
    told["pre processes"] = _doubled(scratch, pace, say, findings)
    return told


def _shares(
    repository: Path,
    scratch: Path,
    name: str,
    row: Tensors,
    crowds: Sequence[int],
    patience: int,
    cores: list[int],
    pace: Pace,
    say: Say,
) -> Any:
    """The whole way's rate over that of the slowest stage alone, on the core that it has on the way.

    Each stage is timed once, to find the slowest. That one and the whole way then take turns, and the share
    is the median of those of each turn, as a machine that others use is faster at one time than at another.
    In a turn, each is asked by each of these `crowds` of clients, and its best rate counts.
    """
    others, predict = [cores[0]], [cores[1]]
    held = dict.fromkeys(("gateway", "pre", "post"), others) | {"predict": predict}
    rows = {"pre": row}
    alone = {}
    for stage, after in (("pre", "predict"), ("predict", "post"), ("post", "")):
        with (
            _from(others if stage == "predict" else predict),
            tiers(repository, scratch, {stage: 1}, held) as one,
        ):
            front = one.of[stage][0]
            alone[stage] = Setup(f"{stage} alone", front, front.cpu_s)
            question = Question(name, rows[stage], DOOR, CLIENTS, patience)
            in_turn([alone[stage]], question, replace(pace, repeats=1), say)
            if after:
                rows[after] = ask(question.to(front)).outputs
    rates = {stage: setup.of("requests_per_s") for stage, setup in alone.items()}
    slowest = min(STAGES, key=lambda stage: rates[stage])
    every = {"gateway": 1, "pre": 1, "predict": 1, "post": 1}
    with (
        _from(others if slowest == "predict" else predict),
        tiers(repository, scratch, {slowest: 1}, held) as one,
        tiers(repository, scratch, every, held) as whole,
    ):
        asked = [
            (
                Setup(f"{title}, {clients} clients", front, cpu_s),
                Question(name, each, DOOR, clients, patience),
            )
            for clients in crowds
            for title, front, cpu_s, each in (
                (f"{slowest} again", one.of[slowest][0], one.cpu_s, rows[slowest]),
                ("the whole way", whole.front, whole.cpu_s, row),
            )
        ]
        for setup, question in asked:
            prepare(setup, question)
        for _ in range(pace.repeats):
            for setup, question in asked:
                time_one(setup, question, pace, say)
    shares = []
    for turn in zip(*(setup.runs for setup, _ in asked), strict=True):
        rates_of_turn = [run["requests_per_s"] for run in turn]
        shares.append(max(rates_of_turn[1::2]) / max(rates_of_turn[::2]))
    return {
        "slowest": slowest,
        "alone": rates,
        "shares": shares,
        "share": median(shares),
        "setups": [setup.told() for setup in (*alone.values(), *(setup for setup, _ in asked))],
    }


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

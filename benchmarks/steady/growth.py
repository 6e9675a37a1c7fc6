"""Whether the processor time of a request grows: with its clients, the models beside it, or time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.call import Door
from benchmarks.findings import Findings
from benchmarks.models import MODELS
from benchmarks.runs import Pace, Question, Say, Setup, in_turn
from benchmarks.server_under_test import ServerUnderTest, tercet
from benchmarks.steady.crowd import lay_crowd

DOORS = (Door.BINARY, Door.GRPC)
FEW, MANY = 64, 512
CROWD = 200
OLD = 9
"""Minutes."""


def clients(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    """64 against 512, in turns."""
    repository = scratch / "models"
    lay_crowd(repository, 1)
    told = []
    with tercet(repository, scratch / "server.log") as server:
        for door in DOORS:
            few, many = _asked(server, f"{FEW} clients"), _asked(server, f"{MANY} clients")
            for _ in range(pace.repeats):
                in_turn([few], _question(door, FEW), Pace(seconds=pace.seconds, repeats=1), say)
                in_turn([many], _question(door, MANY), Pace(seconds=pace.seconds, repeats=1), say)
            findings[f"clients {door}"] = many.of("cpu_us") / few.of("cpu_us")
            told.append(_told(door, (few, many)))
    return told


def models(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    """One model served, and 200 of which one is asked: two servers, in turns."""
    crowd = 5 if pace.quick else CROWD
    lay_crowd(scratch / "one", 1)
    lay_crowd(scratch / "all", crowd)
    told = []
    with (
        tercet(scratch / "one", scratch / "one.log") as one,
        tercet(scratch / "all", scratch / "all.log") as all_,
    ):
        for door in DOORS:
            alone, among = _asked(one, "1 model"), _asked(all_, f"{crowd} models")
            in_turn([alone, among], _question(door, FEW), pace, say)
            findings[f"models {door}"] = None if pace.quick else among.of("cpu_us") / alone.of("cpu_us")
            told.append(_told(door, (alone, among)))
    return told


def minutes(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    """A server that has been asked for nine minutes, and one that has just been started, in turns."""
    seconds = 1 if pace.quick else 60
    lay_crowd(scratch / "models", 1)
    told = []
    with tercet(scratch / "models", scratch / "old.log") as old:
        for number in range(OLD):
            worn = _asked(old, f"minute {number + 1}")
            in_turn([worn], _question(DOORS[number % 2], FEW), Pace(seconds=seconds, repeats=1), say)
        with tercet(scratch / "models", scratch / "new.log") as new:
            for door in DOORS:
                first, tenth = _asked(new, "minute 1"), _asked(old, f"minute {OLD + 1}")
                in_turn([first, tenth], _question(door, FEW), pace, say)
                ratio = tenth.of("cpu_us") / first.of("cpu_us")
                findings[f"minutes {door}"] = None if pace.quick else ratio
                told.append(_told(door, (first, tenth)))
    return told


def _asked(server: ServerUnderTest, name: str) -> Setup:
    return Setup(name, server, server.cpu_s)


def _question(door: Door, count: int) -> Question:
    return Question("tiny", MODELS["tiny"].row(), door, count)


def _told(door: Door, setups: Sequence[Setup]) -> Any:
    return {"door": door, "setups": [setup.told() for setup in setups]}

"""Tiers under load, and something breaks: every request is answered rightly, or fails clearly and in time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.fleet import Fleet, Holdings, fleet
from tests.faults.pipeline import done_twice, lay_version
from tests.faults.promises import Row
from tests.faults.traffic import Traffic, traffic

BEFORE_S, AFTER_S = 1.0, 3.0
"""Of load, without a fault."""

GIVEN_BACK_WITHIN_S = 5.0


@dataclass
class Ground:
    """Where the tests of this file take place."""

    fleet: Fleet
    notes: Path
    repositories: dict[str, Path]


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Iterator[Ground]:
    scratch = tmp_path_factory.mktemp("faults")
    notes = scratch / "notes"
    notes.mkdir()
    repositories = {role: scratch / role for role in ("pre", "predict", "post")}
    for repository in repositories.values():
        lay_version(repository, 1, notes)
    with fleet(scratch, repositories.__getitem__, {"pre": 2, "predict": 2, "post": 1, "gateway": 2}) as made:
        with traffic(made.of("gateway")):
            time.sleep(2)  # so that what a first request costs is no leak
        yield Ground(made, notes, repositories)


class Harm:
    """What a test tells of what it did."""

    def __init__(self) -> None:
        self.back_at: float | None = None
        self.ended: set[str] = set()

    def over(self) -> None:
        """What was harmed is whole again."""
        self.back_at = monotonic()


@pytest.fixture
def harmed(ground, table) -> Callable:
    """A load with a fault in the block; leaving waits for the end of it and holds all to the promises."""

    @contextmanager
    def under_load(fault: str, clear: frozenset[str] = frozenset()) -> Iterator[tuple[Harm, Traffic]]:
        made, harm = ground.fleet, Harm()
        pids = {process.name: process.pid for process in made.processes.values()}
        before = {name: process.holdings() for name, process in made.processes.items()}
        with traffic(made.of("gateway")) as load:
            time.sleep(BEFORE_S)
            yield harm, load
            time.sleep(AFTER_S)
        lived = [name for name, process in made.processes.items() if process.pid == pids[name]]
        row = Row(
            fault=fault,
            outcomes=load.outcomes,
            back_at=harm.back_at,
            clear=clear,
            twice=done_twice(ground.notes),
            grown={name: (before[name], _settled(made, name, before[name])) for name in lived},
        )
        table.append(row)
        assert not row.faults(), row.line()

    return under_load


def _settled(made: Fleet, name: str, before: Holdings) -> Holdings:
    """What a process has once the load is over, and it has had time to give back."""
    deadline = monotonic() + GIVEN_BACK_WITHIN_S
    while True:
        after = made[name].holdings()
        if (after.fds <= before.fds and after.threads <= before.threads) or monotonic() > deadline:
            return after
        time.sleep(0.1)


def back(ground: Ground, name: str, harm: Harm) -> None:
    """Start it again; it is back when it says so."""
    ground.fleet[name].start()
    ground.fleet[name].await_ready()
    harm.over()


CUT = frozenset({"ReadError", "RemoteProtocolError", "ConnectError"})
"""What becomes of a client's connection to a gateway that dies."""


@pytest.mark.parametrize("name", ["predict-1", "pre-1"])
def test_kill_9_of_one_of_two(ground, harmed, name):
    with harmed(f"kill -9 of {name}, one of two") as (harm, _):
        ground.fleet[name].kill()
        time.sleep(1)
        back(ground, name, harm)


def test_kill_9_of_the_only_one(ground, harmed):
    with harmed("kill -9 of post-1, the only one") as (harm, _):
        ground.fleet["post-1"].kill()
        time.sleep(1)
        back(ground, "post-1", harm)


def test_kill_9_of_a_gateway(ground, harmed):
    with harmed("kill -9 of gateway-1, one of two", CUT) as (harm, _):
        ground.fleet["gateway-1"].kill()
        time.sleep(1)
        back(ground, "gateway-1", harm)

"""Tiers under load, and something breaks: every request is answered rightly, or fails clearly and in time."""

import signal
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
from tests.relay import Relay

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

STARTING = frozenset({"404", "NOT_FOUND"})
"""What a gateway that has not yet heard of the tiers says of every model: it is not ready, and says so."""


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
    with harmed("kill -9 of gateway-1, one of two", CUT | STARTING) as (harm, _):
        ground.fleet["gateway-1"].kill()
        time.sleep(1)
        back(ground, "gateway-1", harm)


@pytest.mark.parametrize("name", ["pre-1", "predict-1", "post-1", "gateway-1"])
def test_sigterm(ground, harmed, name):
    """One of two leaves without a trace; of the only one, and of a gateway, callers hear that it has gone."""
    with harmed(f"SIGTERM of {name}", CUT | STARTING if name == "gateway-1" else frozenset()) as (harm, load):
        assert ground.fleet[name].terminate() == 0
        left_at = monotonic()
        time.sleep(0.5)
        if name in ("pre-1", "predict-1"):
            failed = [each for each in load.outcomes if each.told != "right" and each.began < left_at + 0.5]
            assert not failed, failed[:3]
        back(ground, name, harm)


def wires_between(made: Fleet, *ends: str) -> list[Relay]:
    """Those from both gateways, and from any tier, to these processes."""
    return [wire for name in ends for wire in made.wires_of(name)]


@pytest.mark.parametrize("ends", [("predict-1",), ("pre-1", "pre-2")], ids=["one of two", "all"])
def test_a_partition(ground, harmed, ends):
    with harmed(f"nothing passes to {' and '.join(ends)} for 4 s") as (harm, _):
        wires = wires_between(ground.fleet, *ends)
        for wire in wires:
            wire.is_dead = True
        time.sleep(4)
        for wire in wires:
            wire.is_dead = False
        harm.over()


def test_connections_that_are_reset_again_and_again(ground, harmed):
    with harmed("every connection to predict-1 is reset, 10 times") as (harm, _):
        for _ in range(10):
            for wire in ground.fleet.wires_of("predict-1"):
                wire.cut()
            time.sleep(0.2)
        harm.over()


def test_a_tier_that_is_slow_and_in_time(ground, harmed):
    with harmed("the predict tier answers 100 ms later, for 3 s") as (harm, load):
        wires = wires_between(ground.fleet, "predict-1", "predict-2")
        for wire in wires:
            wire.delay_s = 0.05
        time.sleep(3)
        assert {each.told for each in load.outcomes} == {"right"}
        for wire in wires:
            wire.delay_s = 0.0
        harm.over()


def test_a_tier_that_is_too_slow(ground, harmed):
    with harmed("the predict tier stands still for 3 s (SIGSTOP)") as (harm, _):
        for name in ("predict-1", "predict-2"):
            ground.fleet[name].signal(signal.SIGSTOP)
        time.sleep(3)
        for name in ("predict-1", "predict-2"):
            ground.fleet[name].signal(signal.SIGCONT)
        harm.over()


def test_a_tier_that_starts_again_and_again(ground, harmed):
    with harmed("predict-1 of two is killed and started 4 times") as (harm, _):
        process = ground.fleet["predict-1"]
        for _ in range(4):
            process.kill()
            process.start()
            time.sleep(1)
        process.await_ready()
        harm.over()


def test_a_new_version_in_one_tier_only(ground, harmed):
    """It goes live once all tiers have it, and no answer is of both."""
    with harmed("version 2 is in the pre tier 3 s before it is in others") as (harm, load):
        lay_version(ground.repositories["pre"], 2, ground.notes)
        time.sleep(3)
        assert {each.sentence for each in load.outcomes} == {"1"}
        for role in ("predict", "post"):
            lay_version(ground.repositories[role], 2, ground.notes)
        ground.fleet["gateway-1"].until(lambda: load.outcomes[-1].sentence == "2", 15)
        harm.over()

"""Tiers under load, and something breaks: every request is answered rightly, or fails clearly and in time."""

import signal
import time
from collections.abc import Iterator
from time import monotonic

import pytest

from tests.faults.fleet import Fleet
from tests.faults.ground import ROWS, Ground
from tests.faults.ground import ground as ground_of
from tests.faults.pipeline import lay_version
from tests.relay import Relay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ground(request, tmp_path_factory) -> Iterator[Ground]:
    scratch = tmp_path_factory.mktemp("faults")
    with ground_of(scratch, request.config.stash[ROWS], pre=2, predict=2, post=1, gateway=2) as made:
        yield made


@pytest.fixture(scope="module")
def neighbours(request, tmp_path_factory) -> Iterator[Ground]:
    """The same without wires: their bundles go by Unix sockets."""
    scratch = tmp_path_factory.mktemp("neighbours")
    counts = {"pre": 2, "predict": 2, "post": 1, "gateway": 2}
    with ground_of(scratch, request.config.stash[ROWS], wired=False, **counts) as made:
        yield made


CUT = frozenset({"ReadError", "RemoteProtocolError", "ConnectError"})
"""What becomes of a client's connection to a gateway that dies."""


@pytest.mark.parametrize("name", ["predict-1", "pre-1"])
def test_kill_9_of_one_of_two(ground, name):
    with ground.under_load(f"kill -9 of {name}, one of two") as (harm, _):
        ground.fleet[name].kill()
        time.sleep(1)
        ground.back(name, harm)


def test_kill_9_of_the_only_one(ground):
    with ground.under_load("kill -9 of post-1, the only one") as (harm, _):
        ground.fleet["post-1"].kill()
        time.sleep(1)
        ground.back("post-1", harm)


def test_kill_9_of_a_gateway(ground):
    with ground.under_load("kill -9 of gateway-1, one of two", CUT) as (harm, _):
        ground.fleet["gateway-1"].kill()
        time.sleep(1)
        ground.back("gateway-1", harm)


@pytest.mark.parametrize("name", ["pre-1", "predict-1", "post-1", "gateway-1"])
def test_sigterm(ground, name):
    """One of two leaves without a trace; of the only one, and of a gateway, callers hear that it has gone."""
    clear = CUT if name == "gateway-1" else frozenset()
    with ground.under_load(f"SIGTERM of {name}", clear) as (harm, load):
        assert ground.fleet[name].terminate() == 0
        left_at = monotonic()
        time.sleep(0.5)
        if name in ("pre-1", "predict-1"):
            failed = [each for each in load.outcomes if each.told != "right" and each.began < left_at + 0.5]
            assert not failed, failed[:3]
        ground.back(name, harm)


def wires_between(made: Fleet, *ends: str) -> list[Relay]:
    """Those from both gateways, and from any tier, to these processes."""
    return [wire for name in ends for wire in made.wires_of(name)]


@pytest.mark.parametrize("ends", [("predict-1",), ("pre-1", "pre-2")], ids=["one of two", "all"])
def test_a_partition(ground, ends):
    with ground.under_load(f"nothing passes to {' and '.join(ends)} for 4 s") as (harm, _):
        wires = wires_between(ground.fleet, *ends)
        for wire in wires:
            wire.is_dead = True
        time.sleep(4)
        for wire in wires:
            wire.is_dead = False
        harm.over()


def test_connections_that_are_reset_again_and_again(ground):
    with ground.under_load("every connection to predict-1 is reset, 10 times") as (harm, _):
        for _ in range(10):
            for wire in ground.fleet.wires_of("predict-1"):
                wire.cut()
            time.sleep(0.2)
        harm.over()


def test_a_tier_that_is_slow_and_in_time(ground):
    with ground.under_load("the predict tier answers 100 ms later, for 3 s") as (harm, load):
        wires = wires_between(ground.fleet, "predict-1", "predict-2")
        for wire in wires:
            wire.delay_s = 0.05
        time.sleep(3)
        assert {each.told for each in load.outcomes} == {"right"}
        for wire in wires:
            wire.delay_s = 0.0
        harm.over()


def test_a_tier_that_is_too_slow(ground):
    with ground.under_load("the predict tier stands still for 3 s (SIGSTOP)") as (harm, _):
        for name in ("predict-1", "predict-2"):
            ground.fleet[name].signal(signal.SIGSTOP)
        time.sleep(3)
        for name in ("predict-1", "predict-2"):
            ground.fleet[name].signal(signal.SIGCONT)
        harm.over()


def test_a_tier_that_starts_again_and_again(ground):
    with ground.under_load("predict-1 of two is killed and started 4 times") as (harm, _):
        process = ground.fleet["predict-1"]
        for _ in range(4):
            process.kill()
            process.start()
            time.sleep(1)
        process.await_ready()
        harm.over()


def test_a_new_version_in_one_tier_only(ground):
    """It goes live once all tiers have it, and no answer is of both."""
    with ground.under_load("version 2 is in the pre tier 3 s before it is in others") as (harm, load):
        lay_version(ground.repositories["pre"], 2, ground.notes)
        time.sleep(3)
        assert {each.sentence for each in load.outcomes} == {"1"}
        for role in ("predict", "post"):
            lay_version(ground.repositories[role], 2, ground.notes)
        ground.fleet["gateway-1"].until(lambda: load.outcomes[-1].sentence == "2", 15)
        harm.over()


@pytest.mark.parametrize("name", ["predict-1", "pre-1", "post-1"])
def test_kill_9_of_a_neighbour(neighbours, name):
    with neighbours.under_load(f"kill -9 of {name}, by Unix sockets") as (harm, _):
        neighbours.fleet[name].kill()
        time.sleep(1)
        neighbours.back(name, harm)


@pytest.mark.parametrize("name", ["pre-1", "predict-1", "post-1", "gateway-1"])
def test_sigterm_of_a_neighbour(neighbours, name):
    clear = CUT if name == "gateway-1" else frozenset()
    with neighbours.under_load(f"SIGTERM of {name}, by Unix sockets", clear) as (harm, load):
        assert neighbours.fleet[name].terminate() == 0
        left_at = monotonic()
        time.sleep(0.5)
        if name in ("pre-1", "predict-1"):
            failed = [each for each in load.outcomes if each.told != "right" and each.began < left_at + 0.5]
            assert not failed, failed[:3]
        neighbours.back(name, harm)


def test_a_neighbour_that_is_too_slow(neighbours):
    with neighbours.under_load("the predict tier stands still for 3 s (SIGSTOP), by Unix sockets") as (
        harm,
        _,
    ):
        for name in ("predict-1", "predict-2"):
            neighbours.fleet[name].signal(signal.SIGSTOP)
        time.sleep(3)
        for name in ("predict-1", "predict-2"):
            neighbours.fleet[name].signal(signal.SIGCONT)
        harm.over()

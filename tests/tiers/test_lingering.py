import asyncio
from pathlib import Path

import pytest

from server.domain.offer import ModelOffer, VersionOffer
from server.tiers.lingering import HELD_S, LEAST_S, Lingering


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def offer(*versions: int, fingerprint: str = "as it was", **facts) -> dict[str, ModelOffer]:
    offered = {each: VersionOffer(version=each, directory=Path("m"), fingerprint="f") for each in versions}
    made = ModelOffer(
        name="m", directory=Path("m"), config=None, fingerprint=fingerprint, versions=offered, **facts
    )
    return {"m": made}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lingering(clock):
    made = Lingering(lambda model: [1, 2], clock)
    made.of(offer(1))
    return made


def versions(offers) -> list[int]:
    return sorted(offers["m"].versions)


def test_a_version_that_another_supersedes_is_kept_for_a_while(lingering, clock):
    assert versions(lingering.of(offer(2))) == [1, 2]
    assert lingering.lingers("m", 1)
    assert not lingering.lingers("m", 2)
    clock.now += LEAST_S - 0.1
    assert versions(lingering.of(offer(2))) == [1, 2]
    clock.now += 0.2
    assert versions(lingering.of(offer(2))) == [2]
    assert not lingering.lingers("m", 1)


def test_what_a_gateway_holds_is_kept_for_as_long_as_it_says_so(lingering, clock):
    lingering.of(offer(2))
    for _ in range(5):
        clock.now += LEAST_S - 0.1
        lingering.hold([("m", 1), ("m", 2), ("nobody", 1)])
        assert versions(lingering.of(offer(2))) == [1, 2]
    clock.now += HELD_S + 0.1
    assert versions(lingering.of(offer(2))) == [2]


def test_a_version_that_is_wanted_again_is_not_leaving(lingering, clock):
    lingering.of(offer(2))
    assert versions(lingering.of(offer(1, 2))) == [1, 2]
    assert not lingering.lingers("m", 1)
    clock.now += 1
    assert versions(lingering.of(offer(2))) == [1, 2], "and it lingers anew"
    clock.now += LEAST_S - 0.5
    assert versions(lingering.of(offer(2))) == [1, 2]


def test_a_version_whose_folder_is_touched_before_it_is_gone_is_kept_too(lingering):
    lingering.of(offer(1, 2))
    lingering.of(offer(1, unsettled=frozenset({2})))
    assert versions(lingering.of(offer(1))) == [1, 2]


@pytest.mark.parametrize(
    "follows",
    [
        offer(),
        offer(2, fingerprint="another configuration"),
        offer(2, one_by_one=True),
        offer(2, problem="it is in two repositories"),
        {},
    ],
    ids=["nothing", "another configuration", "named versions", "a problem", "no model"],
)
def test_what_has_no_successor_goes_at_once(lingering, follows):
    assert lingering.of(follows) == follows
    assert not lingering.lingers("m", 1)


def test_what_does_not_serve_cannot_linger(clock):
    lingering = Lingering(lambda model: [], clock)
    lingering.of(offer(1))
    assert versions(lingering.of(offer(2))) == [2]


async def test_the_offers_are_gone_through_again_when_something_is_over(clock):
    lingering = Lingering(lambda model: [1], asyncio.get_running_loop().time)
    lingering.of(offer(1))
    lingering.of(offer(2))
    gone = asyncio.Event()

    def again():
        if versions(lingering.of(offer(2))) == [2]:
            gone.set()

    running = asyncio.create_task(lingering.run(again))
    async with asyncio.timeout(LEAST_S + 5):
        await gone.wait()
    running.cancel()

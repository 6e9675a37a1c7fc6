import asyncio
from contextlib import asynccontextmanager
from functools import partial

import grpc
import pytest

from server.api.stage_door import SERVICE
from server.stages.hop.link import Link
from server.tiers import endpoint as endpoints
from server.tiers.directory import Directory
from server.tiers.place import Place, look_up, place_of
from tests.lifecycle.waiting import until
from tests.tiers.standings import report
from tests.tiers.told import Told, process

LINK = partial(Link, max_requests=100, max_bytes=2**20)


@asynccontextmanager
async def knowing(*written: str, stage: str = "predict", changed=lambda keys: None, **more):
    """A directory of these endpoints, at work."""
    places = {stage: [place_of(each) for each in written]}
    made = Directory(places, name="test", link=LINK, **more)
    running = asyncio.create_task(made.run(changed))
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def ready(directory, content: str = "A") -> list[str]:
    return sorted(link.address for link in directory.ready("predict", "m", 1, content))


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("tier:8001", Place("tier", 8001, False)),
        ("[::1]:8001", Place("::1", 8001, False)),
        ("dns:///tier.default.svc:8001", Place("tier.default.svc", 8001, True)),
    ],
)
def test_a_place_is_an_address_or_a_name_for_several(written, place):
    assert place_of(written) == place
    assert str(place) == written


async def test_a_process_that_says_it_is_ready_for_a_content_is_found_by_that_content():
    async with process("predict") as one, knowing(one.address) as directory:
        one.told.say(report("A"))
        await until(lambda: ready(directory) == [one.address])
        assert ready(directory, "B") == []
        one.told.say(report("B"))
        await until(lambda: ready(directory, "B") == [one.address])
        assert ready(directory) == []


async def test_those_that_have_a_version_in_memory_go_before_those_that_would_load_it():
    async with (
        process("predict") as one,
        process("predict") as two,
        knowing(one.address, two.address) as directory,
    ):
        for each in (one, two):
            each.told.say(report("A"))
        await until(lambda: ready(directory) == sorted([one.address, two.address]))
        two.told.say(report("A", resident=True))
        await until(lambda: ready(directory) == [two.address])
        two.told.say()
        await until(lambda: ready(directory) == [one.address])


async def test_a_process_that_leaves_gets_nothing_new():
    async with process("predict") as one, knowing(one.address) as directory:
        one.told.say(report("A"))
        await until(lambda: ready(directory) == [one.address])
        one.told.say(report("A"), ready=False)
        await until(lambda: ready(directory) == [])
        assert directory.standings(), "it is in sight still"


async def test_a_process_that_dies_is_out_of_sight_and_found_again():
    async with process("predict") as one, knowing(one.address) as directory:
        one.told.say(report("A"))
        await until(lambda: ready(directory) == [one.address])
        await one.die()
        await until(lambda: ready(directory) == [] and not directory.standings())
        (endpoint,) = directory.endpoints()
        assert "UNAVAILABLE" in endpoint.why or "ended" in endpoint.why
        await one.start()
        await until(lambda: ready(directory) == [one.address])


async def test_a_process_that_leaves_counts_as_there_until_its_successor_is():
    async with process("predict") as one, knowing(one.address) as directory:
        one.told.say(report("A"))
        await until(lambda: ready(directory) == [one.address])
        (endpoint,) = directory.endpoints()
        first = endpoint.instance
        one.told.leave()
        await until(lambda: not endpoint.instance)
        await one.die()
        await until(lambda: not endpoint.link.up)
        assert ready(directory) == [one.address]
        assert [each.ready for each in directory.standings()] == [True]
        one.told = Told("predict")
        one.told.say(report("A"))
        await one.start()
        await until(lambda: endpoint.instance not in ("", first) and endpoint.link.up)
        assert ready(directory) == [one.address]


async def test_a_process_that_leaves_without_a_successor_is_lost_after_a_while(monkeypatch):
    monkeypatch.setattr(endpoints, "BACK_WITHIN_S", 0.2)
    async with process("predict") as one, knowing(one.address) as directory:
        one.told.say(report("A"))
        await until(lambda: ready(directory) == [one.address])
        one.told.leave()
        await until(lambda: directory.standings() and not directory.endpoints()[0].instance)
        assert ready(directory) == [one.address]
        await until(lambda: not directory.standings())
        assert ready(directory) == []


async def test_who_leaves_goes_after_those_that_stay():
    async with (
        process("predict") as one,
        process("predict") as two,
        knowing(one.address, two.address) as directory,
    ):
        one.told.say(report("A", resident=True))
        two.told.say(report("A"))
        await until(lambda: ready(directory) == [one.address])
        one.told.leave()
        await one.die()
        await until(lambda: ready(directory) == [two.address])


async def test_a_process_of_another_tier_is_not_used_and_says_so():
    async with process("post") as one, knowing(one.address) as directory:
        one.told.say(report("A"))
        (endpoint,) = await _endpoints(directory)
        await until(lambda: "of the post tier" in endpoint.why)
        assert ready(directory) == []


async def test_every_address_of_a_name_is_a_process_and_they_come_and_go():
    async with process("predict") as one, process("predict", "127.0.0.2", one.port) as two:
        addresses = {one.address}

        async def asked(place: Place) -> frozenset[str]:
            if not addresses:
                raise OSError("no such name")
            return frozenset(addresses)

        for each in (one, two):
            each.told.say(report("A"))
        async with knowing(f"dns:///tier:{one.port}", look_up=asked, look_up_every_s=0.05) as directory:
            await until(lambda: ready(directory) == [one.address])
            addresses.add(two.address)
            await until(lambda: ready(directory) == [one.address, two.address])
            addresses.remove(one.address)
            await until(lambda: ready(directory) == [two.address])
            addresses.clear()  # nobody knows the name: what was known stays
            await asyncio.sleep(0.1)
            assert ready(directory) == [two.address]


async def test_a_name_is_looked_up_again_as_soon_as_one_of_its_processes_is_lost():
    async with process("predict") as one, process("predict", "127.0.0.2", one.port) as two:
        addresses = [one.address]

        async def asked(place: Place) -> frozenset[str]:
            return frozenset(addresses)

        for each in (one, two):
            each.told.say(report("A"))
        async with knowing(f"dns:///tier:{one.port}", look_up=asked) as directory:
            await until(lambda: ready(directory) == [one.address])
            addresses[:] = [two.address]
            await one.die()
            async with asyncio.timeout(2):  # and not the five seconds between two look-ups
                await until(lambda: ready(directory) == [two.address])


async def test_a_name_is_asked_of_the_resolver():
    assert f"127.0.0.1:{80}" in await look_up(place_of("dns:///localhost:80"))


async def test_what_changes_is_told():
    told = []
    async with process("predict") as one, knowing(one.address, changed=told.extend) as directory:
        one.told.say(report("A"))
        await until(lambda: ready(directory) == [one.address])
        assert ("m", 1) in told
        told.clear()
        await one.die()
        await until(lambda: ("m", 1) in told)


async def _endpoints(directory):
    await until(lambda: directory.endpoints())
    return directory.endpoints()


async def test_what_is_no_tier_is_never_used_and_harms_nobody():
    async def rubbish(wire, context):
        await context.write(b"\xff\xff no report at all")

    handler = grpc.unary_stream_rpc_method_handler(rubbish)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Watch": handler}),))
    stranger = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with process("predict") as one, knowing(stranger, one.address) as directory:
        one.told.say(report("A"))
        strange = next(each for each in await _endpoints(directory) if each.address == stranger)
        await until(lambda: strange.why == "it does not speak as a tier does")
        await until(lambda: ready(directory) == [one.address])
    await server.stop(None)

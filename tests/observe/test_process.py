"""What a process says of itself, by names that every Prometheus user knows."""

import asyncio
import time

from prometheus_client.parser import text_string_to_metric_families

from server.observe.event_loop import EventLoopDelay
from server.observe.index import IndexCollector, Indexed
from server.observe.metrics import exposition, registry
from server.observe.process import IdentityCollector, resources
from server.observe.targets import TargetCollector


def samples(*collectors) -> dict[tuple[str, ...], float]:
    text = exposition(registry(collectors)).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_process_says_which_program_it_is_and_what_it_was_started_for():
    assert samples(IdentityCollector("1.2", "gateway")) == {("tercet_build_info", "gateway", "1.2"): 1}


def test_what_a_process_takes_has_the_names_that_all_programs_use():
    found = samples(resources())
    assert found["process_resident_memory_bytes",] > 1_000_000
    assert 0 < found["process_open_fds",] < found["process_max_fds",]
    assert found["process_cpu_seconds_total",] > 0
    assert abs(found["process_start_time_seconds",] - time.time()) < 86_400


async def test_what_holds_up_the_event_loop_is_seen():
    closing = asyncio.Event()
    delay = EventLoopDelay(every_s=0.01)
    watching = asyncio.create_task(delay.watch(closing))
    await asyncio.sleep(0.05)
    quiet = samples(delay)["tercet_event_loop_delay_seconds_count",]
    asyncio.get_running_loop().call_soon(time.sleep, 0.3)
    await asyncio.sleep(0.05)
    closing.set()
    await asyncio.wait_for(watching, 5)
    found = samples(delay)
    assert quiet > 0
    assert found["tercet_event_loop_delay_seconds_bucket", "+Inf"] > quiet
    assert (
        found["tercet_event_loop_delay_seconds_bucket", "+Inf"]
        - found["tercet_event_loop_delay_seconds_bucket", "0.25"]
        >= 1
    )


async def test_watching_ends_as_soon_as_it_is_to():
    closing = asyncio.Event()
    watching = asyncio.create_task(EventLoopDelay(every_s=3600).watch(closing))
    await asyncio.sleep(0)
    closing.set()
    await asyncio.wait_for(watching, 5)


def test_versions_are_counted_by_state_and_only_those_in_trouble_are_named():
    index = [
        Indexed("m", "1", "READY", in_trouble=False),
        Indexed("m", "2", "READY", in_trouble=False),
        Indexed("broken", "1", "UNAVAILABLE", in_trouble=True),
        Indexed("misspelt", "", "UNAVAILABLE", in_trouble=True),
        Indexed("gone", "1", "UNAVAILABLE", in_trouble=False),
    ]
    assert samples(IndexCollector(lambda: index)) == {
        ("tercet_model_versions", "READY"): 2,
        ("tercet_model_versions", "UNAVAILABLE"): 3,
        ("tercet_model_version_unavailable", "broken", "1"): 1,
        ("tercet_model_version_unavailable", "misspelt", ""): 1,
    }


def test_only_models_with_a_target_have_one():
    assert samples(TargetCollector(lambda: {"m": 0.05})) == {("tercet_latency_target_seconds", "m"): 0.05}

"""Versions that come into memory when they are asked for, and leave when others need it: real sessions."""

import asyncio
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from server.domain.configuration import ModelConfig, SwapPolicy
from server.domain.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    NoRoom,
    QueueFull,
)
from server.domain.offer import VersionOffer
from server.domain.state import State
from server.repository.configuration import read_text
from tests.lifecycle.life import over
from tests.lifecycle.serving import Serving, counted, fingerprint, in_use, needs, serving
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until

MIB = 2**20
GATED = """
import pathlib, time

def setup(context):
    gate = pathlib.Path({gate!r})
    while gate.exists():
        time.sleep(0.005)

def preprocess(inputs):
    return inputs
"""
"""Its setup waits for as long as there is a file."""

FAILING = """
import pathlib

def setup(context):
    if pathlib.Path({harm!r}).exists():
        raise OSError("the share is away")

def preprocess(inputs):
    return inputs
"""
"""Its setup fails for as long as there is a file."""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Shut while it exists."""
    return tmp_path / "gate"


# Coming and going.


async def test_what_had_to_leave_comes_back_when_it_is_asked_for_and_goes_on_counting(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        assert await now.ask("a") == 1.0
        await now.offer("b")
        assert now.loaded() == {"b"}
        assert now.state("a") == (State.READY, "")
        assert await now.ask("a") == 1.0
        assert now.loaded() == {"a"}
        assert now.loader.loads == ["a/1", "b/1", "a/1"]
        assert now.manager.facts("a").tally.success.count == 2
        assert now.manager.facts("a").tally.inference_count == 2
        assert now.manager.residence.tally.cold == {("a", "1"): 1}


async def test_a_version_that_is_not_loaded_is_described_as_one_that_is(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        loaded = now.manager.facts("a")
        await now.offer("b")
        idle = now.manager.facts("a")
        assert replace(idle, devices=loaded.devices, memory=loaded.memory) == loaded
        assert (idle.devices, dict(idle.memory)) == ((), {})
        index = {line.model: (line.state, line.loaded) for line in now.manager.index()}
        assert index == {"a": (State.READY, False), "b": (State.READY, True)}
        assert now.manager.ready(strict=True)


async def test_twenty_requests_at_once_load_a_cold_model_once(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        assert await asyncio.gather(*(now.ask("a") for _ in range(20))) == [1.0] * 20
        assert now.loader.loads.count("a/1") == 2


async def test_who_leaves_does_not_stop_the_load_for_the_others(tmp_path, gate):
    async with serving(tmp_path, models=4.5) as now:
        await now.offer("a", Shelf(tmp_path / "a").put(pre_py=GATED.format(gate=str(gate))))
        now.manager.residence.evict(("a", 1))
        gate.touch()
        late = asyncio.create_task(now.ask("a", seconds=0.05))
        leaver, stayer = asyncio.create_task(now.ask("a")), asyncio.create_task(now.ask("a"))
        with pytest.raises(DeadlineExceeded):
            await late
        leaver.cancel()
        gate.unlink()
        assert await stayer == 1.0
        assert now.loader.loads.count("a/1") == 2
        tally = now.manager.facts("a").tally
        assert (tally.success.count, tally.failures["REJECTED"], tally.failures["CANCELED"]) == (1, 1, 1)


async def test_a_request_that_the_model_would_refuse_loads_nothing(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        with pytest.raises(InvalidRequest, match="unexpected shape"):
            await now.ask("a", width=3)
        with pytest.raises(DeadlineExceeded):
            await now.ask("a", seconds=0)
        assert now.loaded() == {"b"}
        assert now.loader.loads == ["a/1", "b/1"]


async def test_so_many_may_wait_for_a_cold_model_as_for_one_in_memory(tmp_path, gate):
    async with serving(tmp_path, models=4.5) as now:
        await now.offer("a", Shelf(tmp_path / "a").put(pre_py=GATED.format(gate=str(gate))))
        now.manager.residence.evict(("a", 1))
        gate.touch()
        asked = [asyncio.create_task(now.ask("a")) for _ in range(100)]
        await until(lambda: now.manager.residence.tally.cold["a", "1"] == 100)
        with pytest.raises(QueueFull, match="100 requests waiting for it to be loaded") as refused:
            await now.ask("a")
        assert refused.value.retry_after_s == now.manager.facts("a").tally.load_seconds > 0
        gate.unlink()
        assert await asyncio.gather(*asked) == [1.0] * 100


async def test_a_load_call_needs_no_place_among_the_requests_that_wait(tmp_path, gate):
    async with serving(tmp_path, models=4.5) as now:
        await now.offer("a", Shelf(tmp_path / "a").put(pre_py=GATED.format(gate=str(gate))))
        now.manager.residence.evict(("a", 1))
        gate.touch()
        called = [asyncio.create_task(now.manager.settled("a"))]
        await until(lambda: now.at("a").is_coming)
        asked = [asyncio.create_task(now.ask("a")) for _ in range(100)]
        await until(lambda: now.manager.residence.tally.cold["a", "1"] == 100)
        called.append(asyncio.create_task(now.manager.settled("a")))
        await asyncio.sleep(0.05)
        gate.unlink()
        await asyncio.gather(*called)
        assert await asyncio.gather(*asked) == [1.0] * 100
        assert now.manager.residence.tally.cold == {("a", "1"): 100}


async def test_who_has_no_deadline_does_not_wait_for_ever_for_a_load_that_hangs(tmp_path, gate):
    async with serving(tmp_path, models=4.5, patience_s=0.1, load_within_s=0.1) as now:
        await now.offer("a", Shelf(tmp_path / "a").put(pre_py=GATED.format(gate=str(gate))))
        now.manager.residence.evict(("a", 1))
        gate.touch()
        with pytest.raises(ModelNotReady, match=r"still not loaded after 0.3 s; its load goes on"):
            await asyncio.wait_for(now.ask("a"), 5.0)
        gate.unlink()
        assert await now.ask("a") == 1.0
        assert now.loader.loads.count("a/1") == 2


async def test_an_ensembles_models_may_be_loaded_one_after_the_other(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        config = read_text(over("a", "b").encode(), "chain", "chain/config.pbtxt").config
        empty = VersionOffer(version=1, directory=tmp_path / "chain/1", fingerprint="an empty folder")
        now.offers["chain"] = replace(Shelf(tmp_path / "chain").offer(empty, config=config))
        now.manager.apply(now.offers, now.offers)
        await now.manager.settle("chain")
        assert now.loaded() == {"b"}
        assert [await now.ask("chain", tensors="XY") for _ in range(3)] == [2.0] * 3
        assert now.loaded() == {"b"}
        assert now.manager.facts("a").tally.success.count == 3


# What may not leave.


async def test_what_is_in_use_is_not_evicted_and_who_has_no_time_to_wait_is_told_so(tmp_path):
    async with serving(tmp_path, models=1.5, patience_s=2.0) as now:
        await now.offer("a")
        await now.offer("b")
        with in_use(now, "b"):
            with pytest.raises(
                NoRoom, match=r"needs \d+ bytes on cpu, and all that could leave is in use"
            ) as why:
                await now.ask("a")
            assert why.value.retry_after_s > 0
            with pytest.raises(DeadlineExceeded):
                await now.ask("a", seconds=0.1)
            waiting = asyncio.create_task(now.ask("a"))
            await asyncio.sleep(0.1)
            assert now.loaded() == {"b"}
        assert await waiting == 1.0
        assert now.loaded() == {"a"}
        assert now.loader.loads == ["a/1", "b/1", "a/1"]


async def test_a_load_that_nobody_waits_for_any_more_evicts_nothing(tmp_path):
    async with serving(tmp_path, models=1.5, patience_s=60) as now:
        await now.offer("a")
        await now.offer("b")
        with in_use(now, "b"), pytest.raises(DeadlineExceeded):
            await now.ask("a", seconds=0.1)
        await until(lambda: not now.at("a").is_coming)
        assert now.loaded() == {"b"}


async def test_a_queued_request_keeps_its_model_in_memory(tmp_path, gate):
    slow = "import pathlib, time\ndef preprocess(inputs):\n"
    slow += f"    while pathlib.Path({str(gate)!r}).exists(): time.sleep(0.005)\n    return inputs\n"
    async with serving(tmp_path, models=4.5, patience_s=0.1) as now:
        await now.offer("a", Shelf(tmp_path / "a").put(pre_py=slow))
        await now.offer("b", Shelf(tmp_path / "b").put(pre_py=slow))
        assert now.loaded() == {"b"}
        gate.touch()
        running, queued = asyncio.create_task(now.ask("b")), asyncio.create_task(now.ask("b"))
        await asyncio.sleep(0.05)
        with pytest.raises(NoRoom):
            await now.ask("a")
        gate.unlink()
        assert await asyncio.gather(running, queued) == [1.0, 1.0]
        assert await now.ask("a") == 1.0


async def test_a_pinned_model_never_leaves(tmp_path):
    async with serving(tmp_path, models=1.5, pinned=["a*"]) as now:
        await now.offer("a")
        await now.offer("b")
        assert now.loaded() == {"a"}
        state, reason = now.state("b")
        assert state is State.UNAVAILABLE
        assert "pinned by a" in reason


async def test_a_version_that_can_never_fit_is_refused_with_the_arithmetic(tmp_path):
    async with serving(tmp_path, models=0.5) as now:
        await now.offer("a")
        state, reason = now.state("a")
        assert state is State.UNAVAILABLE
        budget = int(0.5 * needs(tmp_path))
        assert reason == f"needs {needs(tmp_path)} bytes on cpu; the budget is {budget} bytes"
        assert now.loader.loads == []


async def test_what_was_loaded_only_just_now_stays_unless_a_deadline_is_at_stake(tmp_path):
    async with serving(tmp_path, models=1.5, min_residency_s=30.0, patience_s=2.0) as now:
        await now.offer("a")
        await now.offer("b")
        assert await now.ask("b") == 1.0
        with pytest.raises(NoRoom, match="loaded only just now"):
            await now.ask("a")
        assert now.loaded() == {"b"}
        assert await now.ask("a", seconds=5.0) == 1.0
        assert now.loaded() == {"a"}


async def test_without_loads_on_request_nothing_leaves_and_what_does_not_fit_is_refused(tmp_path):
    async with serving(tmp_path, models=1.5, on_request=False, lazy_start=False) as now:
        await now.offer("a")
        await now.offer("b")
        assert now.loaded() == {"a"}
        state, reason = now.state("b")
        assert state is State.UNAVAILABLE
        assert "are taken" in reason
        assert await now.ask("a") == 1.0


# Swaps.


async def swapped(now: Serving, shelf: Shelf, policy: SwapPolicy, number: int) -> list[float]:
    """Offer new content, which adds 2, under this number, and ask all the while; the answers."""
    answers = []
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            answers.append(await now.ask("a"))

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    await until(lambda: len(answers) > 3)
    await now.offer("a", shelf.put(number, plus(2)), parameters={"swap_policy": policy.value})
    await until(lambda: number not in now.manager.table.versions("a") or now.newest("a").content != now.first)
    await asyncio.sleep(0.1)
    over.set()
    await asyncio.gather(*asking)
    return answers


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("policy", [SwapPolicy.FREE_FIRST, SwapPolicy.AUTO])
async def test_where_there_is_no_memory_for_both_the_old_one_goes_first_and_requests_wait(
    tmp_path, policy, number
):
    async with serving(tmp_path, models=1.5, on_request=False, lazy_start=False) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1, plus(1)))
        now.first = now.at("a").content
        answers = await swapped(now, shelf, policy, number)
        assert answers == sorted(answers)
        assert set(answers) == {1.0, 2.0}
        await until(lambda: counted(now) == needs(tmp_path))
        assert now.loaded() == {"a"}
        assert list(now.manager.table.versions("a")) == [number]


@pytest.mark.parametrize("number", [1, 2])
async def test_who_is_to_serve_on_keeps_a_successor_out_that_does_not_fit_beside_it(tmp_path, number):
    async with serving(tmp_path, models=1.5) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1, plus(1)))
        keep = {"swap_policy": "keep-serving"}
        await now.offer("a", shelf.put(number, plus(2)), parameters=keep)
        _, reason = now.state("a", number)
        assert "the budget is" in reason
        assert "which serves until then; --swap-policy=free-first frees that first" in reason
        assert await now.ask("a") == 1.0


async def test_with_memory_for_both_the_old_one_serves_until_the_new_one_does(tmp_path):
    async with serving(tmp_path, models=2.5) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1, plus(1)))
        now.first = now.at("a").content
        assert set(await swapped(now, shelf, SwapPolicy.AUTO, 1)) == {1.0, 2.0}
        assert now.manager.residence.tally.cold == {}
        await until(lambda: counted(now) == needs(tmp_path))


def other_input() -> bytes:
    """As `plus`, of an input by another name."""
    model = onnx.load_from_string(plus(3))
    model.graph.input[0].name = "other"
    model.graph.node[0].input[0] = "other"
    return model.SerializeToString()


async def test_a_new_version_that_nobody_tried_is_never_taken_for_the_one_before_it(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("b")
        await now.offer("a", shelf.put(1, plus(1)))
        assert await now.ask("b") == 1.0
        await now.offer("a", shelf.put(1, plus(1)), shelf.put(2, other_input()))
        assert [spec.name for spec in now.manager.facts("a", "2").signature.inputs] == ["other"]
        assert await now.ask("a", tensors=("other", "y")) == 3.0
        with pytest.raises(InvalidRequest, match="'x'"):
            await now.ask("a")


async def test_who_waits_for_a_successor_is_held_against_what_that_takes(tmp_path, gate):
    async with serving(tmp_path, models=1.5, on_request=False, lazy_start=False) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1, plus(1)))
        with in_use(now, "a"):
            first = {"swap_policy": "free-first"}
            await now.offer("a", shelf.put(2, other_input()), parameters=first)
            assert now.loaded() == set()
            right = asyncio.create_task(now.ask("a", tensors=("other", "y")))
            wrong = asyncio.create_task(now.ask("a"))
            await asyncio.sleep(0.05)
        assert await right == 3.0
        with pytest.raises(InvalidRequest, match="'x'"):
            await wrong


@pytest.mark.parametrize("number", [1, 2])
async def test_what_went_first_serves_again_if_its_successor_cannot_be_loaded(tmp_path, number):
    async with serving(tmp_path, models=1.5, on_request=False, lazy_start=False) as now:
        await now.offer("a", Shelf(tmp_path / "a").put(1, plus(1)))
        assert await now.ask("a") == 1.0
        bad = Shelf(tmp_path / ("a" if number == 2 else "elsewhere")).put(number, plus(2))
        (bad.directory / "model.onnx").write_bytes(b"no model at all")
        bad = replace(bad, fingerprint=fingerprint(bad.directory))
        offer = replace(Shelf(tmp_path / "a").offer(bad), on_disk=frozenset({1, number}))
        parameters = {"swap_policy": "free-first"}
        now.offers["a"] = replace(offer, config=ModelConfig(name="a", parameters=parameters))
        now.manager.apply(now.offers, now.offers)
        await now.manager.settle("a")
        await until(lambda: now.state("a")[0] is State.READY and "Protobuf" in now.state("a")[1])
        _, reason = now.state("a")
        assert reason.startswith(
            "serving what it was before: " if number == 1 else "serving again, as version 2 does not: "
        )
        assert await now.ask("a") == 1.0
        await now.manager.settle("a")
        assert await now.ask("a") == 1.0
        if number == 2:
            assert now.state("a", 2)[0] is State.UNAVAILABLE
            await now.offer("a", Shelf(tmp_path / "a").put(2, plus(5)), parameters=parameters)
            await until(lambda: list(now.manager.table.versions("a")) == [2])
            assert await now.ask("a") == 5.0


# While it is idle.


async def test_an_idle_version_is_unloaded_like_any_other(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        now.manager.apply(now.offers, {"b"})
        await now.manager.settle("a")
        await until(lambda: now.state("a") == (State.UNAVAILABLE, "unloaded"))
        with pytest.raises(ModelNotFound):
            await now.ask("a")
        assert now.loader.loads == ["a/1", "b/1"]


async def test_who_waits_for_a_model_has_its_answer_although_it_is_unloaded(tmp_path, gate):
    async with serving(tmp_path, models=4.5) as now:
        await now.offer("a", Shelf(tmp_path / "a").put(pre_py=GATED.format(gate=str(gate))))
        now.manager.residence.evict(("a", 1))
        await until(lambda: counted(now) == 0)
        gate.touch()
        waiting = asyncio.create_task(now.ask("a"))
        await until(lambda: now.loader.loads.count("a/1") == 2)
        now.manager.apply(now.offers, set())
        await now.manager.settle("a")
        gate.unlink()
        assert await waiting == 1.0
        await until(lambda: now.state("a") == (State.UNAVAILABLE, "unloaded"))
        await until(lambda: counted(now) == 0)


async def test_who_waits_for_old_content_is_answered_by_it_although_new_content_serves(tmp_path, gate):
    async with serving(tmp_path, models=4.5) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(pre_py=GATED.format(gate=str(gate))))
        now.manager.residence.evict(("a", 1))
        gate.touch()
        waiting = asyncio.create_task(now.ask("a"))
        await until(lambda: now.loader.loads.count("a/1") == 2)
        await now.offer("a", Shelf(tmp_path / "elsewhere").put(1, plus(5)))
        gate.unlink()
        assert await waiting == 1.0
        assert await now.ask("a") == 5.0


async def test_a_file_that_is_gone_is_told_of_and_the_version_comes_back_with_it(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        file = tmp_path / "a/1/model.onnx"
        kept = file.read_bytes()
        file.unlink()
        with pytest.raises(ModelNotReady, match="version 1 cannot be loaded: there is no such file any more"):
            await now.ask("a")
        await until(lambda: now.state("a")[0] is State.UNAVAILABLE)
        assert "tried again by itself" in now.state("a")[1]
        file.write_bytes(kept)
        await now.manager.settled("a")
        assert await now.ask("a") == 1.0


async def test_other_content_is_never_loaded_for_what_was_verified(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        Shelf(tmp_path / "a").put(model=plus(7))
        with pytest.raises(ModelNotReady, match="its files have changed since they were verified"):
            await now.ask("a")
        with pytest.raises(ModelNotFound, match="has no available versions"):
            await now.ask("a")
        await now.offer("a", Shelf(tmp_path / "a").put(model=plus(7)))
        assert await now.ask("a") == 7.0


async def test_files_that_were_only_touched_are_loaded(tmp_path):
    async with serving(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        (tmp_path / "a/1/model.onnx").touch()
        assert await now.ask("a") == 1.0


async def test_a_load_that_fails_gives_its_memory_back_and_the_next_one_may_succeed(tmp_path):
    harm = tmp_path / "harm"
    async with serving(tmp_path, models=4.5) as now:
        await now.offer("a", Shelf(tmp_path / "a").put(pre_py=FAILING.format(harm=str(harm))))
        now.manager.residence.evict(("a", 1))
        await until(lambda: counted(now) == 0)
        harm.touch()
        with pytest.raises(ModelNotReady, match=r"cannot be loaded: .*the share is away"):
            await now.ask("a")
        assert counted(now) == 0
        harm.unlink()
        await now.manager.settled("a")
        assert await now.ask("a") == 1.0


async def test_a_version_that_nobody_asks_for_gives_its_memory_back(tmp_path):
    async with serving(tmp_path, models=4.5, idle_unload_s=0.2) as now:
        await now.offer("a")
        assert await now.ask("a") == 1.0
        await until(lambda: now.loaded() == set())
        assert now.manager.residence.tally.evictions == {("a", "1", "idle"): 1}
        assert await now.ask("a") == 1.0


async def test_the_files_of_what_left_are_kept_warm_until_it_is_back(tmp_path):
    async with serving(tmp_path, models=1.5, host_cache_bytes=2**20) as now:
        await now.offer("a")
        await now.offer("b")
        kept = now.manager.residence.warming.files
        await until(lambda: set(kept.sizes) == {("a", 1)})
        assert await now.ask("a") == 1.0
        await until(lambda: set(kept.sizes) == {("b", 1)})

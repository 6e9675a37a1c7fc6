"""The lifecycle of models, over real files and real sessions; the offers are made by hand."""

import asyncio
import re
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from onnx import helper

from protos import model_config_pb2 as pb
from runtimes.device import CPU
from runtimes.errors import RunFailed
from server.domain.backoff import BackOff
from server.domain.configuration import InstanceGroup, InstanceKind, ModelConfig, Resource
from server.domain.errors import LoadFailed, LoadUnknown, ModelNotFound, ModelNotReady, ServerStopping
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.scheduling import Scheduling
from server.domain.state import UNLOADED, State
from server.domain.warmup import Warmup, WarmupData, WarmupInput
from server.lifecycle.loader import Loaded, Loader
from server.lifecycle.manager import Manager
from server.scheduling.resources import Resources
from server.scheduling.ticket import Ticket
from server.scheduling.turns import Turns
from tests.e2e.workshop import FLOAT, slow, value, written
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until

BROKEN = b"this is no model"
PATIENT = """
import pathlib, time

def setup(context):
    began, gate = (pathlib.Path(context.parameters[name]) for name in ("began", "gate"))
    with began.open("a") as diary:
        diary.write("x")
    while not gate.exists():
        time.sleep(0.005)

def preprocess(inputs):
    return inputs
"""
"""Its setup notes that it began and waits for the gate."""


FALTERING = """
import pathlib

diary = pathlib.Path({diary!r})

def setup(context):
    with diary.open("a") as file:
        file.write("x")
    if len(diary.read_text()) < 3:
        raise OSError("the share is not mounted yet")

def preprocess(inputs):
    return inputs
"""
"""Its setup fails twice."""


class RememberingLoader(Loader):
    """The loader, which also keeps what it has loaded."""

    def __init__(self, turns: Turns | None = None) -> None:
        super().__init__(cpu_budget=1, max_queue_size=100, turns=turns)
        self.loaded: list[Loaded] = []

    def load(self, offer: ModelOffer, version: VersionOffer, models: int, **how: Any) -> Loaded:
        loaded = super().load(offer, version, models, **how)
        self.loaded.append(loaded)
        return loaded


class Managed:
    """A manager at work, and what its tests ask it."""

    def __init__(self, manager: Manager, loader: RememberingLoader) -> None:
        self.manager = manager
        self.loader = loader

    @property
    def loads(self) -> list[tuple[str, int]]:
        return [(loaded.model, loaded.version) for loaded in self.loader.loaded]

    @property
    def index(self) -> dict[int | None, tuple[State, str]]:
        """Of the model m: version -> state and reason."""
        lines = self.manager.index()
        return {line.version: (line.state, line.reason) for line in lines if line.model == "m"}

    async def apply(self, *offers: ModelOffer, wanted: Sequence[str] | None = None) -> None:
        """Say what is offered, all of it wanted unless told otherwise, and wait until that is so."""
        named = {offer.name: offer for offer in offers}
        self.manager.apply(named, named if wanted is None else wanted)
        for name in {"m", *named}:
            await self.manager.settle(name)

    async def answer(self, version: str = "", model: str = "m") -> float:
        """What y = x + amount answers to 0."""
        served = self.manager.table.find(model, version)
        told = asyncio.get_running_loop().create_future()
        served.batcher.submit(Ticket({"x": np.zeros((1, 2), np.float32)}, 1, told.set_result))
        ticket = await asyncio.wait_for(told, 10)
        if ticket.error is not None:
            raise ticket.error
        return float(ticket.outputs["y"][0, 0])


@asynccontextmanager
async def managing(
    *,
    load_threads: int = 2,
    retire_within_s: float = 10.0,
    retries: int = 0,
    back_off: BackOff | None = None,
    turns: Turns | None = None,
) -> AsyncIterator[Managed]:
    loader = RememberingLoader(turns)
    async with Manager(
        loader,
        load_threads=load_threads,
        retire_within_s=retire_within_s,
        retries=retries,
        back_off=back_off,
    ) as manager:
        yield Managed(manager, loader)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


class Gate:
    """Holds the loads of models whose code is `PATIENT`."""

    def __init__(self, folder: Path) -> None:
        self._began, self._gate = folder / "began", folder / "gate"
        self.config = ModelConfig(name="m", parameters={"began": str(self._began), "gate": str(self._gate)})

    @property
    def begun(self) -> int:
        return len(self._began.read_text()) if self._began.exists() else 0

    def open(self) -> None:
        self._gate.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


# What is loaded, and what is left alone.


async def test_every_wanted_version_is_loaded_and_the_highest_answers(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1), shelf.put(2)))
        assert (await at.answer(), await at.answer("1"), await at.answer("2")) == (2, 1, 2)
        assert at.index == {1: (State.READY, ""), 2: (State.READY, "")}
        assert at.manager.ready_versions("m") == [1, 2]
        assert [facts.version for facts in at.manager.all_facts()] == [1, 2]


async def test_a_name_that_is_offered_and_not_wanted_is_known_and_not_loaded(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put()), wanted=[])
        assert at.loads == []
        assert at.index == {None: (State.UNKNOWN, "")}
        with pytest.raises(ModelNotFound, match="has no available versions"):
            at.manager.facts("m")


async def test_unchanged_content_is_never_reloaded(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put()))
        before = at.manager.facts("m")
        await at.apply(shelf.offer(shelf.put()))
        await at.manager.settled("m")
        assert at.manager.facts("m") is before
        assert at.loads == [("m", 1)]


async def test_new_content_of_the_same_version_takes_the_place_of_the_old(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1, plus(10))))
        assert await at.answer("1") == 10
        await at.apply(shelf.offer(shelf.put(1, plus(20))))
        assert await at.answer("1") == 20
        assert at.index == {1: (State.READY, "")}


async def test_a_changed_configuration_loads_its_versions_anew(shelf):
    async with managing() as at:
        version = shelf.put()
        await at.apply(shelf.offer(version))
        config = ModelConfig(name="m", max_batch_size=16)
        await at.apply(shelf.offer(version, config=config, fingerprint="as changed"))
        assert at.manager.facts("m").signature.max_batch_size == 16
        assert at.loads == [("m", 1), ("m", 1)]


def with_instances(shelf: Shelf, version: VersionOffer, count: int, rows: int | None = None) -> ModelOffer:
    """The model with so many instances on the processors; nothing else differs."""
    groups = (InstanceGroup(kind=InstanceKind.CPU, count=count),)
    declared = pb.ModelConfig(
        instance_group=[pb.ModelInstanceGroup(kind="KIND_CPU", count=count)]
    ).SerializeToString()
    return shelf.offer(
        version,
        config=ModelConfig(name="m", max_batch_size=rows, instance_groups=groups, declared=declared),
        fingerprint=f"{groups}",
        fingerprint_but_instances="the rest",
    )


async def test_another_number_of_instances_is_had_without_a_load_and_counts_go_on(shelf):
    async with managing() as at:
        version = shelf.put()
        await at.apply(with_instances(shelf, version, 1))
        served = at.manager.table.find("m", "")
        since = at.manager.index()
        assert await at.answer() == 1
        for count in (3, 1):
            with structlog.testing.capture_logs() as logs:
                await at.apply(with_instances(shelf, version, count))
            assert [(line["event"], line["instances"]) for line in logs] == [("version_resized", count)]
            assert at.manager.table.find("m", "") is served
            assert at.manager.index() == since, "it was ready all the time"
            declared = pb.ModelConfig.FromString(at.manager.facts("m").config.declared)
            assert declared.instance_group[0].count == count
            assert served.instances == count
            assert await at.answer() == 1
        assert at.manager.facts("m").tally.execution_count == 3
        assert at.loads == [("m", 1)]


def needing(folder: Path, count: int, *, is_global: bool, instances: int = 1) -> ModelOffer:
    """A model whose runs take so much of the resource R; nothing else differs."""
    shelf = Shelf(folder)
    resource = Resource(name="R", count=count, is_global=is_global)
    group = InstanceGroup(kind=InstanceKind.CPU, count=instances, resources=(resource,))
    return shelf.offer(
        shelf.put(),
        config=ModelConfig(name=folder.name, instance_groups=(group,)),
        fingerprint=f"{group}",
        fingerprint_but_instances="the rest",
    )


async def test_a_model_may_say_something_else_of_its_resource_while_it_serves(tmp_path):
    resources = Resources()
    async with managing(turns=Turns(resources=resources)) as at:
        await at.apply(needing(tmp_path / "m", 1, is_global=False))
        await at.apply(needing(tmp_path / "m", 2, is_global=True))
        assert resources.totals == {("R", ""): 2}
        assert await at.answer() == 1
        assert at.loads == [("m", 1)]


async def test_instances_that_clash_with_another_models_leave_those_that_there_are(tmp_path):
    resources = Resources()
    async with managing(turns=Turns(resources=resources)) as at:
        other = needing(tmp_path / "n", 3, is_global=False)
        await at.apply(needing(tmp_path / "m", 1, is_global=False), other)
        served = at.manager.table.find("m", "")
        await at.apply(needing(tmp_path / "m", 2, is_global=True, instances=2), other)
        state, why = at.index[1]
        assert state is State.READY
        assert why.startswith('serving what it was before: Resource "R" is present as both')
        assert at.manager.table.find("m", "") is served
        assert served.instances == 1
        assert resources.totals == {("R", "cpu"): 3}
        assert await at.answer() == 1
        await at.apply(other)
        assert await at.answer(model="n") == 1
        await at.apply()
    assert resources.totals == {}, "a load that came to nothing has left nothing behind"


async def test_an_instance_that_is_added_takes_what_waits_for_another(shelf):
    def ask(rounds: int) -> asyncio.Future[Ticket]:
        told = asyncio.get_running_loop().create_future()
        inputs = {"rounds": np.full((1, 1), rounds, np.int64)}
        at.manager.table.find("m", "").batcher.submit(Ticket(inputs, 1, told.set_result))
        return told

    async with managing() as at:
        version = shelf.put(1, slow())
        await at.apply(with_instances(shelf, version, 1, rows=1))
        long, quick = ask(5000), ask(1)
        await at.apply(with_instances(shelf, version, 2, rows=1))
        assert (await asyncio.wait_for(quick, 10)).error is None
        assert not long.done()
        assert (await asyncio.wait_for(long, 30)).error is None


async def test_what_is_wanted_of_answers_is_told_to_every_version_before_it_serves(shelf):
    config = ModelConfig(name="m", scheduling=Scheduling(latency_target_ms=50))
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1), config=config))
        assert at.manager.table.find("m", "1").batcher.latency_target_s == 0.05
        at.manager.schedules.change("m", {"latency_target_ms": 20.0, "weight": 3.0})
        await at.apply(shelf.offer(shelf.put(1), shelf.put(2), config=config))
        for version in ("1", "2"):
            served = at.manager.table.find("m", version)
            assert (served.batcher.latency_target_s, served.batcher.weight) == (0.02, 3)
        at.manager.schedules.change("m", {"latency_target_ms": None, "weight": None})
        assert (served.batcher.latency_target_s, served.batcher.weight) == (0.05, 1)
        with pytest.raises(ModelNotFound):
            at.manager.schedules.change("nobody", {})


async def test_instances_and_something_else_are_loaded_anew(shelf):
    async with managing() as at:
        await at.apply(with_instances(shelf, shelf.put(), 1))
        await at.apply(with_instances(shelf, shelf.put(1, plus(20)), 2))
        assert await at.answer() == 20
        await at.apply(
            replace(with_instances(shelf, shelf.put(1, plus(20)), 3), fingerprint_but_instances="?")
        )
        assert at.loads == [("m", 1)] * 3
        assert at.manager.table.find("m", "").instances == 3


async def test_the_same_files_elsewhere_are_loaded_as_code_may_know_where_they_lie(shelf, tmp_path):
    async with managing() as at:
        version = shelf.put()
        await at.apply(with_instances(shelf, version, 1))
        moved = tmp_path / "elsewhere" / "1"
        shutil.copytree(version.directory, moved)
        elsewhere = replace(version, directory=moved, model_file=moved / "model.onnx")
        await at.apply(with_instances(shelf, elsewhere, 2))
        assert at.loads == [("m", 1), ("m", 1)]


WIDE = WarmupInput(name="x", datatype="FP32", dims=(9,), data=WarmupData.ZERO)
NO_SUCH_OPERATOR = written(
    [helper.make_node("Fly", ["x"], ["y"])], [value("x", FLOAT, "n", 2)], [value("y", FLOAT, "n", 2)]
)


@pytest.mark.parametrize(
    ("content", "warmups", "why"),
    [
        (BROKEN, (), r"model\.onnx cannot be loaded"),
        (NO_SUCH_OPERATOR, (), r"Fly"),
        (
            b"",
            (Warmup(name="too wide", batch_size=1, count=1, inputs=(WIDE,)),),
            r"failed to run warmup sample 'too wide': unexpected shape for input 'x' for model 'm'\. "
            r"Expected \[-1,2\], got \[1,9\]",
        ),
    ],
    ids=["no model", "no such operator", "a warmup that does not fit"],
)
async def test_what_fails_a_load_is_told_in_the_index_and_to_everyone_who_asks(shelf, content, warmups, why):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1, content), config=ModelConfig(name="m", warmups=warmups)))
        for _ in range(2):
            state, reason = at.index[1]
            assert state is State.UNAVAILABLE
            assert re.search(why, reason)
            with pytest.raises(LoadFailed, match=re.escape(reason)):
                await at.manager.settled("m")


async def test_instances_that_cannot_be_had_leave_those_that_there_are(shelf):
    async with managing() as at:
        version = shelf.put()
        await at.apply(with_instances(shelf, version, 1))
        offer = with_instances(shelf, version, 1)
        groups = (InstanceGroup(kind=InstanceKind.GPU, gpus=(77,)),)
        asked = replace(offer.config, instance_groups=groups)
        for _ in range(2):
            await at.apply(replace(offer, config=asked, fingerprint="on a GPU"))
            state, reason = at.index[1]
            assert state is State.READY
            assert reason.startswith("serving what it was before: instance_group of kind KIND_GPU asks for")
        assert await at.answer() == 1
        await at.apply(with_instances(shelf, version, 2))
        assert at.index[1] == (State.READY, "")
        assert at.manager.table.find("m", "").instances == 2


async def test_twenty_who_ask_at_once_share_one_load(shelf, gate):
    async with managing() as at:
        at.manager.apply({"m": shelf.offer(shelf.put(pre_py=PATIENT), config=gate.config)}, ["m"])
        async with asyncio.TaskGroup() as askers:
            for _ in range(20):
                askers.create_task(at.manager.settled("m"))
            await until(lambda: gate.begun > 0)
            gate.open()
        assert gate.begun == 1
        assert await at.answer() == 1


async def test_a_caller_who_leaves_does_not_stop_the_load_or_begin_a_second(shelf, gate):
    async with managing() as at:
        offer = shelf.offer(shelf.put(pre_py=PATIENT), config=gate.config)

        async def order() -> None:
            at.manager.apply({"m": offer}, ["m"])
            await at.manager.settled("m")

        leaver = asyncio.create_task(order())
        await until(lambda: gate.begun > 0)
        leaver.cancel()
        gate.open()
        await at.manager.settled("m")
        assert (gate.begun, at.loads) == (1, [("m", 1)])


async def test_models_do_not_wait_for_each_other(shelf, gate, tmp_path):
    other = Shelf(tmp_path / "other")
    async with managing() as at:
        slow = shelf.offer(shelf.put(pre_py=PATIENT), config=gate.config)
        at.manager.apply({"m": slow, "other": other.offer(other.put())}, ["m", "other"])
        await at.manager.settled("other")
        assert await at.answer(model="other") == 1
        assert at.index == {1: (State.LOADING, "")}
        with pytest.raises(ModelNotReady, match="is still loading version 1"):
            at.manager.facts("m")
        gate.open()


async def test_no_more_loads_are_in_progress_than_there_are_threads(gate, tmp_path):
    async with managing(load_threads=2) as at:
        offers = {}
        for name in "abcd":
            shelf = Shelf(tmp_path / name)
            config = ModelConfig(name=name, parameters=gate.config.parameters)
            offers[name] = shelf.offer(shelf.put(pre_py=PATIENT), config=config)
        at.manager.apply(offers, offers)
        await until(lambda: gate.begun == 2)
        assert at.loads == []
        gate.open()
        await at.manager.all_settled()
        assert sorted(name for name, _ in at.loads) == list("abcd")


# What cannot be loaded.


async def test_a_broken_version_is_noted_with_the_reason_and_the_others_serve(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1), shelf.put(2, BROKEN)))
        state, reason = at.index[2]
        assert state is State.UNAVAILABLE
        assert reason.startswith("model.onnx cannot be loaded")
        assert await at.answer() == 1
        with pytest.raises(ModelNotReady, match=r"model\.onnx cannot be loaded"):
            at.manager.facts("m", "2")


async def test_a_broken_version_is_left_alone_until_its_content_changes(shelf, gate):
    async with managing() as at:
        gate.open()
        crash = PATIENT + "\n1/0"
        await at.apply(shelf.offer(shelf.put(pre_py=crash), config=gate.config))
        first = at.index
        assert "ZeroDivisionError" in first[1][1]
        with structlog.testing.capture_logs() as lines:
            await at.apply(shelf.offer(shelf.put(pre_py=crash), shelf.put(2), config=gate.config))
        assert [line["version"] for line in lines if line["event"] == "version_loading"] == [2]
        assert at.index[1] == first[1]
        await at.apply(shelf.offer(shelf.put(pre_py=PATIENT), shelf.put(2), config=gate.config))
        assert at.index[1] == (State.READY, "")


async def test_who_asks_for_a_model_by_name_has_its_failed_versions_tried_again_once_for_all(shelf, tmp_path):
    """What it lacked may not be in its folder, so that its content did not change."""
    needed, diary = tmp_path / "needed", tmp_path / "diary"
    pre = (
        f"open({str(diary)!r}, 'a').write('x')\nopen({str(needed)!r})\ndef preprocess(inputs): return inputs"
    )
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(pre_py=pre)))
        assert "FileNotFoundError" in at.index[1][1]
        outcomes = await asyncio.gather(*(at.manager.settled("m") for _ in range(5)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LoadFailed] * 5
        assert diary.read_text() == "xx"
        needed.touch()
        await at.manager.settled("m")
        assert await at.answer() == 1


@pytest.mark.parametrize(("retries", "began", "state"), [(1, 2, State.UNAVAILABLE), (2, 3, State.READY)])
async def test_a_load_that_fails_is_tried_again_as_often_as_the_operator_said(
    shelf, tmp_path, retries, began, state
):
    diary = tmp_path / "diary"
    async with managing(retries=retries) as at:
        await at.apply(shelf.offer(shelf.put(pre_py=FALTERING.format(diary=str(diary)))))
        assert diary.read_text() == "x" * began
        assert at.index[1][0] is state


async def test_what_failed_for_a_reason_that_may_pass_is_tried_again_by_itself_until_it_serves(
    shelf, tmp_path
):
    diary = tmp_path / "diary"
    async with managing(back_off=BackOff(first_s=0.2)) as at:
        await at.apply(shelf.offer(shelf.put(pre_py=FALTERING.format(diary=str(diary)))))
        state, why = at.index[1]
        assert state is State.UNAVAILABLE
        assert why.endswith("the share is not mounted yet; it is tried again by itself")
        await until(lambda: at.index[1][0] is State.READY)
        assert diary.read_text() == "xxx"


async def test_what_is_wanted_no_more_is_not_tried_again(shelf, tmp_path):
    diary = tmp_path / "diary"
    async with managing(back_off=BackOff(first_s=0.05, most_s=0.05)) as at:
        offer = shelf.offer(shelf.put(pre_py=FALTERING.format(diary=str(diary))))
        await at.apply(offer)
        await at.apply(offer, wanted=[])
        await asyncio.sleep(0.2)
        assert diary.read_text() == "x"


async def test_the_timer_of_an_older_content_does_not_try_the_newer_one_again(shelf, tmp_path):
    diary = tmp_path / "diary"
    async with managing(back_off=BackOff(first_s=0.2, jitter=0)) as at:
        await at.apply(shelf.offer(shelf.put(pre_py=FALTERING.format(diary=str(diary)))))
        with structlog.testing.capture_logs() as lines:
            await at.apply(shelf.offer(shelf.put(1, BROKEN)))
            await asyncio.sleep(0.4)
        assert [line["event"] for line in lines] == ["version_loading", "version_unavailable"]


async def test_waiting_for_a_broken_version_raises_its_reason(shelf):
    async with managing() as at:
        at.manager.apply({"m": shelf.offer(shelf.put(1), shelf.put(2, BROKEN))}, ["m"])
        with pytest.raises(LoadFailed, match=r"'m': version 2 is at UNAVAILABLE state: model\.onnx cannot"):
            await at.manager.settled("m")


async def test_a_version_that_the_repository_cannot_offer_is_unavailable_with_its_reason(shelf):
    async with managing() as at:
        offer = shelf.offer(shelf.put(1), broken={2: "the version folder holds no model.onnx"})
        await at.apply(offer)
        assert at.index[2] == (State.UNAVAILABLE, "the version folder holds no model.onnx")
        assert await at.answer() == 1
        with pytest.raises(LoadFailed, match=r"holds no model\.onnx"):
            await at.manager.settled("m")


async def test_a_failure_that_nobody_foresaw_is_the_versions_and_stays_in_the_log(shelf, monkeypatch):
    async with managing() as at:
        monkeypatch.setattr(at.loader, "assemble", lambda *_: 1 / 0)
        with structlog.testing.capture_logs() as lines:
            await at.apply(shelf.offer(shelf.put()))
        assert at.index[1] == (State.UNAVAILABLE, "internal error while loading (ZeroDivisionError)")
        assert [line["event"] for line in lines if line["log_level"] == "error"] == [
            "version_load_crashed",
            "version_unavailable",
        ]


async def test_the_same_fault_is_logged_once(shelf):
    async with managing() as at:
        with structlog.testing.capture_logs() as lines:
            for other in (2, 3, 4):
                await at.apply(shelf.offer(shelf.put(1, BROKEN), shelf.put(other)))
        events = [(line["event"], line["version"]) for line in lines if line["log_level"] == "error"]
        assert events == [("version_unavailable", 1)]


# What serves, and until when.


async def test_the_old_version_serves_until_its_successor_is_ready(shelf, gate):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1), config=gate.config))
        offer = shelf.offer(shelf.put(2, pre_py=PATIENT), config=gate.config)
        at.manager.apply({"m": offer}, ["m"])
        await until(lambda: gate.begun == 1)
        assert await at.answer() == 1
        assert at.index == {1: (State.READY, ""), 2: (State.LOADING, "")}
        gate.open()
        await at.manager.settled("m")
        assert await at.answer() == 2
        await until(lambda: at.index == {1: (State.UNAVAILABLE, UNLOADED), 2: (State.READY, "")})


async def test_the_old_version_serves_on_while_its_successor_is_broken(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1)))
        await at.apply(shelf.offer(shelf.put(2, BROKEN)))
        assert await at.answer() == 1
        assert at.index[1] == (State.READY, "")
        assert at.index[2][0] is State.UNAVAILABLE
        await at.apply(shelf.offer(shelf.put(2)))
        assert await at.answer() == 2
        await until(lambda: at.index[1] == (State.UNAVAILABLE, UNLOADED))


async def test_the_old_content_serves_on_while_the_new_content_of_its_version_is_broken(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1, plus(10))))
        await at.apply(shelf.offer(shelf.put(1, BROKEN)))
        state, reason = at.index[1]
        assert state is State.READY
        assert reason.startswith("serving what it was before: model.onnx cannot be loaded")
        assert await at.answer() == 10
        await at.apply(shelf.offer(shelf.put(1, plus(20))))
        assert (at.index[1], await at.answer()) == ((State.READY, ""), 20)


async def test_the_old_version_serves_on_while_its_successor_is_still_being_written(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1)))
        shelf.put(2)
        await at.apply(shelf.offer(unsettled=frozenset({2})))
        assert await at.answer() == 1
        assert set(at.index) == {1}


async def test_a_serving_version_that_is_being_written_again_stays_as_it_is(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1), shelf.put(2)))
        await at.apply(shelf.offer(shelf.put(1), unsettled=frozenset({2})))
        assert await at.answer("2") == 2
        assert len(at.loads) == 2


async def test_a_version_that_is_no_longer_chosen_is_unloaded_and_one_whose_folder_is_gone_leaves_the_index(
    shelf,
):
    async with managing() as at:
        versions = {number: shelf.put(number) for number in (1, 2, 3)}
        await at.apply(shelf.offer(*versions.values()))
        shutil.rmtree(versions[2].directory)
        await at.apply(shelf.offer(versions[3]))
        assert await at.answer() == 3
        await until(lambda: at.index == {1: (State.UNAVAILABLE, UNLOADED), 3: (State.READY, "")})
        with pytest.raises(ModelNotFound, match="version 2"):
            at.manager.facts("m", "2")


async def test_a_version_whose_folder_is_gone_is_retired_even_if_its_successor_is_broken(shelf):
    async with managing() as at:
        gone = shelf.put(1)
        await at.apply(shelf.offer(gone))
        shutil.rmtree(gone.directory)
        await at.apply(shelf.offer(shelf.put(2, BROKEN)))
        with pytest.raises(ModelNotFound):
            at.manager.facts("m")
        await until(lambda: set(at.index) == {2})


async def test_a_broken_version_whose_folder_is_gone_leaves_the_index_and_is_tried_anew_when_it_is_back(
    shelf,
):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1), shelf.put(2, BROKEN)))
        shutil.rmtree(shelf.directory / "2")
        await at.apply(shelf.offer(shelf.put(1)))
        assert set(at.index) == {1}
        await at.apply(shelf.offer(shelf.put(1), shelf.put(2, BROKEN)))
        assert at.index[2][0] is State.UNAVAILABLE


async def test_a_model_that_left_the_repository_leaves_the_index_and_may_come_back(shelf):
    async with managing() as at:
        offer = shelf.offer(shelf.put(1), shelf.put(2, BROKEN))
        await at.apply(offer)
        await at.apply()
        assert at.index == {}
        with pytest.raises(ModelNotFound, match="'m' is not found"):
            at.manager.facts("m")
        await at.apply(offer)
        assert (at.index[1][0], at.index[2][0]) == (State.READY, State.UNAVAILABLE)


async def test_a_version_that_was_swapped_answers_those_who_found_it_before(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1, plus(10))))
        found = at.manager.table.find("m", "")
        with found.lease():
            await at.apply(shelf.offer(shelf.put(1, plus(20))))
            told = asyncio.get_running_loop().create_future()
            found.batcher.submit(Ticket({"x": np.zeros((1, 2), np.float32)}, 1, told.set_result))
            ticket = await asyncio.wait_for(told, 10)
            assert ticket.outputs["y"].tolist() == [[10, 10]]
        assert await at.answer() == 20


async def test_a_version_waits_for_a_task_that_holds_it_though_it_has_not_begun_yet(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1, plus(10))))
        found = at.manager.table.find("m", "")
        goes = asyncio.Event()

        async def later() -> list[list[float]]:
            await goes.wait()
            told = asyncio.get_running_loop().create_future()
            found.batcher.submit(Ticket({"x": np.zeros((1, 2), np.float32)}, 1, told.set_result))
            return (await asyncio.wait_for(told, 10)).outputs["y"].tolist()

        task = asyncio.create_task(later())
        found.hold(task)
        await at.apply(shelf.offer(shelf.put(1, plus(20))))
        goes.set()
        assert await task == [[10, 10]]


# A configuration that is broken, a name that two repositories have.


async def test_a_configuration_that_breaks_while_its_model_serves_changes_nothing_but_the_index(shelf):
    async with managing() as at:
        version = shelf.put()
        await at.apply(shelf.offer(version))
        before = at.manager.facts("m")
        await at.apply(shelf.unreadable("m/config.pbtxt line 1: nonsense"))
        assert at.manager.facts("m") is before
        reason = "serving what it was before: m/config.pbtxt line 1: nonsense"
        assert at.index == {1: (State.READY, reason)}
        with pytest.raises(LoadUnknown, match=r"failed to load 'm'.*line 1: nonsense"):
            await at.manager.settled("m")
        await at.apply(shelf.offer(version))
        assert at.manager.facts("m") is before
        assert at.index == {1: (State.READY, "")}


async def test_a_configuration_that_was_never_good_makes_its_model_unavailable(shelf):
    async with managing() as at:
        await at.apply(shelf.unreadable("m/config.pbtxt line 1: nonsense"))
        assert at.index == {None: (State.UNAVAILABLE, "m/config.pbtxt line 1: nonsense")}
        with pytest.raises(LoadUnknown, match="nonsense"):
            await at.manager.settled("m")
        await at.apply(shelf.offer(shelf.put()))
        assert at.index == {1: (State.READY, "")}


async def test_a_name_that_a_second_repository_has_too_is_served_no_more_until_that_is_mended(shelf):
    problem = "is in more than one repository"
    async with managing() as at:
        version = shelf.put()
        await at.apply(shelf.offer(version))
        await at.apply(shelf.offer(version, problem=problem))
        with pytest.raises(ModelNotFound, match="has no available versions"):
            at.manager.facts("m")
        await until(lambda: at.index == {1: (State.UNAVAILABLE, problem)})
        await at.apply(shelf.offer(version))
        assert at.index == {1: (State.READY, "")}


async def test_a_problem_of_the_whole_model_is_told_of_versions_that_had_failed_before_it(shelf):
    problem = "is in more than one repository"
    async with managing() as at:
        version = shelf.put(1, BROKEN)
        await at.apply(shelf.offer(version))
        failed = at.index
        await at.apply(shelf.offer(version, problem=problem))
        assert at.index == {1: (State.UNAVAILABLE, problem)}
        await at.apply(shelf.offer(version))
        assert at.index == failed


async def test_a_fault_in_new_content_is_told_again_once_the_configuration_is_mended(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1)))
        await at.apply(shelf.offer(shelf.put(1, BROKEN)))
        failed = at.index
        await at.apply(shelf.unreadable("nonsense"))
        assert at.index == {1: (State.READY, "serving what it was before: nonsense")}
        await at.apply(shelf.offer(shelf.put(1, BROKEN)))
        assert at.index == failed


# Unload.


async def test_a_model_that_is_wanted_no_more_is_unloaded_and_can_be_loaded_again(shelf):
    async with managing() as at:
        offer = shelf.offer(shelf.put(1), shelf.put(2, BROKEN))
        await at.apply(offer)
        await at.apply(offer, wanted=[])
        with pytest.raises(ModelNotFound, match="has no available versions"):
            at.manager.facts("m")
        await until(lambda: at.index == dict.fromkeys((1, 2), (State.UNAVAILABLE, UNLOADED)))
        await at.apply(offer)
        assert await at.answer() == 1
        assert at.index[2][1].startswith("model.onnx cannot be loaded")


async def test_a_model_may_be_loaded_again_while_its_last_requests_are_still_being_answered(shelf):
    async with managing() as at:
        offer = shelf.offer(shelf.put())
        await at.apply(offer)
        old = at.manager.table.find("m", "")
        with old.lease():
            await at.apply(offer, wanted=[])
            assert at.index == {1: (State.UNLOADING, "")}
            await at.apply(offer)
            assert at.index == {1: (State.READY, "")}
            assert at.manager.table.find("m", "") is not old
        with structlog.testing.capture_logs() as lines:
            await until(lambda: "version_unloaded" in [line["event"] for line in lines])
        assert at.index == {1: (State.READY, "")}, "the end of the old one says nothing of the new one"


async def test_unloading_a_name_that_nobody_knows_does_nothing():
    async with managing() as at:
        await at.manager.settle("nowhere")
        assert at.manager.index() == []


# Versions that somebody names one by one.


async def test_a_version_that_is_named_no_more_goes_at_once_although_another_is_broken(shelf):
    async with managing() as at:
        first, second = shelf.put(1), shelf.put(2, BROKEN)
        await at.apply(shelf.offer(first))
        await at.apply(shelf.offer(first, second, one_by_one=True))
        assert at.manager.ready_versions("m") == [1]
        await at.apply(shelf.offer(second, one_by_one=True))
        assert at.manager.ready_versions("m") == []
        await until(lambda: at.index[1] == (State.UNAVAILABLE, UNLOADED))
        with pytest.raises(ModelNotFound, match="has no available versions"):
            await at.answer()


async def test_a_broken_version_that_is_named_no_more_is_unloaded_in_the_index(shelf):
    async with managing() as at:
        first, second = shelf.put(1), shelf.put(2, BROKEN)
        await at.apply(shelf.offer(first, second, one_by_one=True))
        assert at.index[2][0] is State.UNAVAILABLE
        await at.apply(shelf.offer(first, one_by_one=True))
        assert at.index == {1: (State.READY, ""), 2: (State.UNAVAILABLE, UNLOADED)}


async def test_who_asks_for_one_version_hears_nothing_of_another_that_is_broken(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1), shelf.put(2, BROKEN), one_by_one=True))
        await at.manager.settled("m", 1)
        with pytest.raises(LoadFailed, match="version 2"):
            await at.manager.settled("m", 2)


async def test_a_version_can_be_unloaded_while_the_configuration_cannot_be_read(shelf):
    async with managing() as at:
        first, second = shelf.put(1), shelf.put(2)
        await at.apply(shelf.offer(first, second))
        broken = replace(shelf.unreadable("a typing error"), one_by_one=True, unsettled=frozenset({2}))
        await at.apply(broken)
        assert at.manager.ready_versions("m") == [2]


# Readiness.


async def test_before_anything_is_offered_the_server_is_not_ready():
    async with managing() as at:
        assert (at.manager.ready(strict=True), at.manager.ready(strict=False)) == (False, False)


async def test_the_server_is_ready_once_every_model_that_was_wanted_at_the_start_serves(shelf, gate):
    async with managing() as at:
        offer = shelf.offer(shelf.put(pre_py=PATIENT), config=gate.config)
        at.manager.apply({"m": offer}, ["m"])
        await until(lambda: gate.begun == 1)
        assert (at.manager.ready(strict=True), at.manager.ready(strict=False)) == (False, True)
        gate.open()
        await at.manager.settled("m")
        assert at.manager.ready(strict=True)


async def test_a_model_that_is_broken_at_the_start_keeps_a_strict_server_from_being_ready(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1, BROKEN)))
        assert (at.manager.ready(strict=True), at.manager.ready(strict=False)) == (False, True)
        await at.apply(shelf.offer(shelf.put(1)))
        assert at.manager.ready(strict=True)


async def test_a_server_without_models_is_ready():
    async with managing() as at:
        await at.apply()
        assert at.manager.ready(strict=True)


async def test_a_broken_version_beside_one_that_serves_leaves_the_server_ready(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put(1), shelf.put(2, BROKEN)))
        assert at.manager.ready(strict=True)


async def test_what_comes_later_is_reloaded_or_is_unloaded_on_purpose_does_not_change_readiness(
    shelf, gate, tmp_path
):
    late = Shelf(tmp_path / "late")
    async with managing() as at:
        offer = shelf.offer(shelf.put(1), config=gate.config)
        await at.apply(offer)
        await at.apply(offer, late.offer(late.put(1, BROKEN)))
        assert at.manager.ready(strict=True), "a later model is broken"
        anew = shelf.offer(shelf.put(1, pre_py=PATIENT), config=gate.config)
        at.manager.apply({"m": anew}, ["m"])
        await until(lambda: gate.begun == 1)
        assert at.manager.ready(strict=True), "a model is reloaded"
        gate.open()
        await at.apply(anew, wanted=[])
        assert at.manager.ready(strict=True), "a model is unloaded on purpose"
        await at.apply()
        assert at.manager.ready(strict=True), "a model is deleted"


# The end.


async def test_leaving_the_manager_retires_everything_it_has_opened(shelf):
    before = set(sys.modules)
    async with managing(load_threads=1) as at:
        code = "def preprocess(inputs): return inputs"
        await at.apply(shelf.offer(shelf.put(1, pre_py=code), shelf.put(2)))
        assert [await at.answer("1"), await at.answer("2")] == [1, 2]
        served = at.manager.table.find("m", "2")
        (session,) = at.loader.loaded[-1].sessions.values()
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("m/")])
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("load")])
    assert {name for name in set(sys.modules) - before if name.startswith("m.")} == set()
    with pytest.raises(RunFailed):
        session.run({"x": np.zeros((1, 2), np.float32)}, ["y"])
    with pytest.raises(ServerStopping):
        served.batcher.submit(Ticket({}, 1, lambda _: None))


async def test_leaving_waits_for_those_who_are_still_between_their_stages(shelf):
    async with managing() as at:
        await at.apply(shelf.offer(shelf.put()))
        served = at.manager.table.find("m", "")
        answers = []

        async def ask_late() -> None:
            with served.lease():
                await until(lambda: not at.manager.table.versions("m"))
                told = asyncio.get_running_loop().create_future()
                served.batcher.submit(Ticket({"x": np.zeros((1, 2), np.float32)}, 1, told.set_result))
                answers.append((await told).outputs["y"].tolist())

        late = asyncio.create_task(ask_late())
        await asyncio.sleep(0)
    await late
    assert answers == [[[1, 1]]]


async def test_leaving_waits_no_longer_than_its_patience_for_a_request_that_does_not_end(shelf):
    async with managing(retire_within_s=0.05) as at:
        await at.apply(shelf.offer(shelf.put()))
        lease = at.manager.table.find("m", "").lease()
        lease.__enter__()
        (session,) = at.loader.loaded[0].sessions.values()
    with pytest.raises(RunFailed):
        session.run({"x": np.zeros((1, 2), np.float32)}, ["y"])


async def test_a_load_that_ends_while_the_manager_leaves_is_closed_again(shelf, gate):
    async with managing() as at:
        at.manager.apply({"m": shelf.offer(shelf.put(pre_py=PATIENT), config=gate.config)}, ["m"])
        await until(lambda: gate.begun == 1)
        asyncio.get_running_loop().call_later(0.05, gate.open)
    (loaded,) = at.loader.loaded
    with pytest.raises(RunFailed):
        loaded.sessions[CPU].run({"x": np.zeros((1, 2), np.float32)}, ["y"])


async def test_loads_that_have_not_begun_when_the_manager_leaves_never_begin(gate, tmp_path):
    async with managing(load_threads=1) as at:
        offers = {}
        for name in "abc":
            shelf = Shelf(tmp_path / name)
            config = ModelConfig(name=name, parameters=gate.config.parameters)
            offers[name] = shelf.offer(shelf.put(1, pre_py=PATIENT), shelf.put(2), config=config)
        at.manager.apply(offers, offers)
        await until(lambda: gate.begun == 1)
        asyncio.get_running_loop().call_later(0.05, gate.open)
    assert len(at.loads) == 1


async def test_a_load_that_does_not_end_is_left_behind(shelf, gate):
    async with managing(retire_within_s=0.05) as at:
        at.manager.apply({"m": shelf.offer(shelf.put(pre_py=PATIENT), config=gate.config)}, ["m"])
        await until(lambda: gate.begun == 1)
    gate.open()

"""What a process tells of itself, over a real lifecycle: everything first, then what is new."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from protos import model_config_pb2
from server.domain.configuration import ModelConfig, TensorConfig
from server.domain.errors import StreamsFull
from server.domain.phase import Phase, Station
from server.domain.stage import StageName
from server.domain.state import UNLOADED, State
from server.domain.tensors import TensorSpec
from server.domain.tier import TierReport, VersionReport
from server.lifecycle.parts import Parts
from server.tiers import report as reporting
from server.tiers.report import Reports
from tests.lifecycle.life import Life, living, over

PRE = """
INPUTS = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]
def preprocess(inputs): return inputs
"""
POST = "def postprocess(outputs): return outputs"
BROKEN = "def preprocess(inputs) return"


class Telling:
    """A process of one tier: its models, and what it tells of them."""

    def __init__(self, life: Life, stage: StageName | None) -> None:
        self.life = life
        self.station = Station()
        self.reports = Reports(stage, life.manager.table, self.station)
        self._parts = Parts(stage)

    async def offer(self, *unwanted: str) -> None:
        """As orders do."""
        offers = dict(self.life.offers)
        wanted = frozenset(offers) - set(unwanted)
        self.reports.learn(offers, wanted)
        here = self._parts.of(offers)
        self.life.manager.apply(here, wanted & here.keys())
        for model in offers:
            await self.life.manager.settle(model)


@asynccontextmanager
async def telling(folder: Path, stage: StageName | None = None) -> AsyncIterator[Telling]:
    async with living(folder) as life:
        process = Telling(life, stage)
        running = asyncio.create_task(process.reports.run())
        try:
            yield process
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class Hearing:
    """One that listens, and knows what it has been told up to now."""

    def __init__(self, reports: AsyncGenerator[TierReport, None]) -> None:
        self._reports = reports
        self.versions: dict[tuple[str, int | None], VersionReport] = {}
        self.last = TierReport(instance="", stage=None, whole=False)

    async def next(self) -> TierReport:
        self.last = await anext(self._reports)
        if self.last.whole:
            self.versions.clear()
        for each in self.last.versions:
            if each.gone:
                self.versions.pop((each.model, each.version), None)
            else:
                self.versions[each.model, each.version] = each
        return self.last

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await self.next()

    def state(self, model: str = "m", version: int | None = 1) -> State | None:
        known = self.versions.get((model, version))
        return known.state if known is not None else None


@asynccontextmanager
async def hearing(process: Telling) -> AsyncIterator[Hearing]:
    async with aclosing(process.reports.listen()) as reports:
        heard = Hearing(reports)
        await heard.next()
        assert heard.last.whole
        yield heard


async def test_a_version_is_told_of_with_all_that_is_known_of_it(tmp_path):
    async with telling(tmp_path) as process, hearing(process) as heard:
        process.life.model("m", pre_py=PRE, post_py=POST)
        await process.offer()
        await heard.until(lambda: heard.state() is State.READY)
        told = heard.versions["m", 1]
        served = process.life.manager.table.find("m", "")
        assert (told.content, told.stages) == (served.content.whole, ("pre", "predict", "post"))
        assert (told.platform, told.resident, told.reason) == ("onnxruntime_onnx", True, "")
        assert told.seen is not None
        assert told.seen.inputs == (TensorSpec("text", "BYTES", (-1, 1)),)
        assert told.seen.declared
        assert told.seen.most_rows == told.seen.max_batch_size == 4
        config = model_config_pb2.ModelConfig.FromString(told.config)
        assert [tensor.name for tensor in config.input] == ["x"]  # the model's own
        assert told.load_seconds > 0 < told.since


@pytest.mark.parametrize(
    ("stage", "inputs", "outputs", "declared"),
    [
        ("pre", ("text",), (), True),
        ("predict", ("x",), ("y",), False),
        ("post", (), (), False),
    ],
)
async def test_each_tier_tells_what_it_alone_can_know(tmp_path, stage, inputs, outputs, declared):
    async with telling(tmp_path, stage) as process, hearing(process) as heard:
        x, y = (TensorConfig(name=name, datatype="FP32", dims=(2,)) for name in "xy")
        config = ModelConfig(name="m", max_batch_size=4, inputs=(x,), outputs=(y,))
        process.life.model("m", pre_py=PRE, post_py=POST, config=config)
        await process.offer()
        await heard.until(lambda: heard.state() is State.READY)
        told = heard.versions["m", 1]
        assert heard.last.stage == stage
        assert told.stages == ("pre", "predict", "post")
        assert told.seen is not None
        assert tuple(spec.name for spec in told.seen.inputs) == inputs
        assert tuple(spec.name for spec in told.seen.outputs) == outputs
        assert told.seen.declared is declared


async def test_every_tier_tells_the_same_content(tmp_path):
    contents = set()
    for stage in ("pre", "predict", "post"):
        async with telling(tmp_path, stage) as process, hearing(process) as heard:
            process.life.model("m", pre_py=PRE, post_py=POST)
            await process.offer()
            await heard.until(lambda: heard.state() is State.READY)
            contents.add(heard.versions["m", 1].content)
    assert len(contents) == 1


async def test_only_what_has_changed_is_told_again(tmp_path):
    async with telling(tmp_path) as process, hearing(process) as heard:
        process.life.model("m")
        process.life.model("n")
        await process.offer()
        await heard.until(lambda: heard.state("m") is heard.state("n") is State.READY)
        process.life.model("n", content=b"", pre_py=PRE)
        before = heard.versions["n", 1].content
        await process.offer()
        while heard.versions["n", 1].content == before:
            report = await heard.next()
            assert {each.model for each in report.versions} <= {"n"}
        assert heard.versions["n", 1].stages == ("pre", "predict")


async def test_a_version_that_cannot_be_loaded_says_why_and_of_what_content(tmp_path):
    async with telling(tmp_path, "pre") as process, hearing(process) as heard:
        process.life.model("m", pre_py=BROKEN)
        await process.offer()
        await heard.until(lambda: heard.state() is State.UNAVAILABLE)
        told = heard.versions["m", 1]
        assert "pre.py line 1: SyntaxError" in told.reason
        assert told.content
        assert (told.stages, told.seen, told.resident) == (("pre", "predict"), None, False)


async def test_what_serves_keeps_its_content_while_its_successor_is_not_there(tmp_path):
    async with telling(tmp_path) as process, hearing(process) as heard:
        process.life.model("m", post_py=POST)
        await process.offer()
        await heard.until(lambda: heard.state() is State.READY)
        good = heard.versions["m", 1]
        process.life.model("m", pre_py=BROKEN)
        await process.offer()
        await heard.until(lambda: heard.versions["m", 1].reason != "")
        told = heard.versions["m", 1]
        assert (told.state, told.content, told.stages) == (State.READY, good.content, ("predict", "post"))
        assert told.reason.startswith("serving what it was before")


async def test_what_is_unloaded_is_told_of_and_what_is_gone_is_gone(tmp_path):
    async with telling(tmp_path) as process, hearing(process) as heard:
        process.life.model("m")
        await process.offer()
        await heard.until(lambda: heard.state() is State.READY)
        await process.offer("m")
        await heard.until(lambda: heard.state() is State.UNAVAILABLE)
        assert heard.versions["m", 1].reason == UNLOADED
        process.life.offers.clear()
        await process.offer()
        await process.life.manager.settle("m")
        await heard.until(lambda: not heard.versions)
        async with hearing(process) as late:
            assert late.versions == {}


async def test_what_is_gone_is_told_to_all_who_listen_and_then_forgotten(tmp_path):
    async with telling(tmp_path) as process, hearing(process) as quick, hearing(process) as slow:
        for round_ in range(3):
            process.life.model(f"m{round_}")
            await process.offer()
            await quick.until(lambda: quick.state(f"m{round_}") is State.READY)  # noqa: B023
            del process.life.offers[f"m{round_}"]
            await process.offer()
            await process.life.manager.settle(f"m{round_}")
            await quick.until(lambda: not quick.versions)
        told = await slow.next()
        assert {(each.model, each.gone) for each in told.versions} == {
            ("m0", True),
            ("m1", True),
            ("m2", True),
        }


async def test_a_stage_that_a_version_does_not_have_is_told_by_no_tier(tmp_path):
    async with telling(tmp_path, "pre") as process, hearing(process) as heard:
        process.life.model("bare")
        process.life.model("m", pre_py=PRE)
        await process.offer()
        await heard.until(lambda: heard.state() is State.READY)
        assert heard.versions.keys() == {("m", 1)}


async def test_a_model_that_cannot_be_read_is_told_of_without_a_version(tmp_path):
    async with telling(tmp_path) as process, hearing(process) as heard:
        process.life.model("m")
        offer = process.life.offers["m"]
        process.life.offers["m"] = type(offer)(
            name="m", directory=offer.directory, config=None, problem="config.pbtxt line 1: no"
        )
        await process.offer()
        await heard.until(lambda: heard.state("m", None) is not None)
        assert heard.versions["m", None].reason == "config.pbtxt line 1: no"


async def test_an_ensemble_is_told_of_by_a_predict_tier_that_does_not_serve_it(tmp_path):
    async with telling(tmp_path, "predict") as process, hearing(process) as heard:
        process.life.model("a", pre_py=PRE)
        process.life.ensemble("both", over("a", "a"))
        await process.offer()
        await heard.until(lambda: heard.state("both") is State.READY)
        told = heard.versions["both", 1]
        assert (told.platform, told.stages) == ("ensemble", ())
        assert told.seen is not None
        assert [spec.name for spec in told.seen.inputs] == ["X"]
        assert model_config_pb2.ModelConfig.FromString(told.config).ensemble_scheduling.step
        assert process.life.manager.ready_versions("both") == []
        await process.offer("both")
        await heard.until(lambda: heard.state("both") is None)


async def test_whoever_listens_late_hears_everything_first(tmp_path):
    async with telling(tmp_path) as process:
        process.life.model("m", 1, 2)
        await process.offer()
        async with hearing(process) as heard:
            await heard.until(lambda: heard.state("m", 1) is heard.state("m", 2) is State.READY)
        async with hearing(process) as late:
            assert late.versions == heard.versions
            assert late.last.instance == heard.last.instance


async def test_a_process_says_at_once_that_it_is_ready_or_about_to_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "SIGN_OF_LIFE_S", 600)
    async with telling(tmp_path) as process, hearing(process) as heard:
        said = [heard.last.ready]
        for phase in (Phase.SERVING, Phase.LEAVING):
            process.station.move_to(phase)
            process.reports.look()
            said.append((await heard.next()).ready)
        assert said == [False, True, False]


async def test_without_news_there_are_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "SIGN_OF_LIFE_S", 0.01)
    async with telling(tmp_path) as process, hearing(process) as heard:
        report = await heard.next()
        assert (report.whole, report.versions) == (False, ())


async def test_how_hard_it_is_pressed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "SIGN_OF_LIFE_S", 0.01)
    async with telling(tmp_path) as process, hearing(process) as heard:
        process.life.model("m")
        await process.offer()
        process.life.manager.facts("m").tally.pressure.note(0.75, 10, 2**62)
        await heard.until(lambda: heard.last.saturation == 0.75)


async def test_more_listeners_than_there_may_be_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "MOST_LISTENERS", 1)
    async with telling(tmp_path) as process:
        async with hearing(process):
            with pytest.raises(StreamsFull, match="1 gateways and tiers watch this process already"):
                await anext(process.reports.listen())
        async with hearing(process):
            pass


async def test_a_process_that_is_to_leave_says_so_as_its_last_word(tmp_path):
    async with telling(tmp_path) as process:
        process.station.move_to(Phase.SERVING)
        early = process.reports.listen()
        assert not (await anext(early)).leaving
        process.station.move_to(Phase.LEAVING)
        process.reports.end()
        for reports in (early, process.reports.listen()):
            last = [each async for each in reports]
            assert [(each.leaving, each.ready, each.versions) for each in last] == [(True, False, ())]

import numpy as np

from server.domain.request import InferRequest
from server.domain.stage import Span
from server.stages.explaining import of_step, timings
from tests.lifecycle.shelf import Shelf
from tests.stages.tier import tier

PRE = "def preprocess(tensors):\n    return tensors\n"
POST = "def postprocess(tensors):\n    return tensors\n"
X = {"x": np.zeros((1, 2), np.float32)}


async def asked(tmp_path, parameters, **texts):
    shelf = Shelf(tmp_path / "m")
    async with tier() as one:
        await one.serve(shelf.offer(shelf.put(**texts)))
        return (await one.ask(inputs=X, parameters=parameters)).parameters


async def test_who_asks_is_told_where_the_time_went(tmp_path):
    told = await asked(tmp_path, {"explain": "timing"})
    assert list(told) == ["timing.predict.queue_us", "timing.predict.compute_us", "timing.total_us"]
    assert told["timing.predict.queue_us"] + told["timing.predict.compute_us"] <= told["timing.total_us"]


async def test_every_stage_of_a_version_is_told_in_its_order(tmp_path):
    told = await asked(tmp_path, {"explain": "timing"}, pre_py=PRE, post_py=POST)
    assert [part for part in told if part.endswith("compute_us")] == [
        "timing.pre.compute_us",
        "timing.predict.compute_us",
        "timing.post.compute_us",
    ]
    assert sum(value for part, value in told.items() if part != "timing.total_us") <= told["timing.total_us"]


async def test_who_does_not_ask_is_told_nothing(tmp_path):
    assert await asked(tmp_path, {}) == {}
    assert await asked(tmp_path, {"explain": "the weather"}) == {}


def test_the_way_to_a_stage_is_told_with_that_stage():
    spans = [Span("pre", 0, 5_000, transfer_ns=7_000), Span("predict", 1_000, 2_000, 8)]
    told = timings(InferRequest("m", "", {}), spans, transfer_ns=9_000)
    assert told["timing.pre.transfer_us"] == 9
    assert told["timing.predict.transfer_us"] == 7


def test_what_a_step_took_is_told_with_its_place_and_its_model():
    assert of_step(2, "m", {"timing.total_us": 4}) == {"timing.step2.m.total_us": 4}

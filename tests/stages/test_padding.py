"""Requests of different lengths share runs of a real model, and none can tell by its answer."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from server.domain.configuration import DynamicBatching, ModelConfig
from server.domain.errors import InvalidRequest
from server.domain.padding import Padding, TensorDim
from server.repository.configuration import read_json
from server.wire.configuration import model_config
from tests.e2e.workshop import attentive, times
from tests.lifecycle.shelf import Shelf
from tests.stages.tier import Tier, tier

LENGTHS = range(5, 61)
PADDING = Padding(
    buckets=(16, 32, 64),
    mask_input="mask",
    outputs=(TensorDim("contexts"), TensorDim("scores", 0), TensorDim("scores", 1)),
)
BATCHING = DynamicBatching(max_queue_delay_microseconds=100_000)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


def words(length: int, rows: int = 1) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 100, size=(rows, length))


async def serve(at: Tier, shelf: Shelf, padding: Padding | None, **facts) -> None:
    facts.setdefault("max_batch_size", 8)
    config = ModelConfig(name="m", dynamic_batching=BATCHING, padding=padding, **facts)
    await at.serve(shelf.offer(shelf.put(model=attentive()), config=config))


async def answers_without_padding(shelf: Shelf) -> list[dict[str, np.ndarray]]:
    async with tier() as at:
        await serve(at, shelf, None, max_batch_size=1)
        return [
            (await at.ask(ids=words(length), mask=np.ones((1, length), np.int64))).outputs
            for length in LENGTHS
        ]


async def test_lengths_from_5_to_60_share_runs_and_have_the_answers_that_they_have_alone(shelf):
    alone = await answers_without_padding(shelf)
    async with tier() as at:
        await serve(at, shelf, PADDING)
        together = await asyncio.gather(*(at.ask(ids=words(length)) for length in LENGTHS))
        tally = at.tally
    for one, answer, length in zip(alone, together, LENGTHS, strict=True):
        assert list(answer.outputs) == ["contexts", "scores", "mean"]
        assert answer.outputs["contexts"].shape == (1, length, 4)
        assert answer.outputs["scores"].shape == (1, length, length)
        for name, array in answer.outputs.items():
            np.testing.assert_allclose(array, one[name], rtol=1e-5, atol=1e-5)
    assert tally.inference_count == len(LENGTHS) == tally.success.count
    assert tally.inference_count / tally.execution_count >= 4


async def test_what_padding_adds_is_counted(shelf):
    async with tier() as at:
        await serve(at, shelf, PADDING)
        await at.ask(ids=words(10, rows=2))
        await at.ask(ids=words(32))
        fill = at.tally.fills["length"]
    assert (fill.real, fill.added) == (2 * 10 + 32, 2 * 6)


async def test_a_client_may_send_its_own_mask_beside_others_that_send_none(shelf):
    async with tier() as at:
        await serve(at, shelf, PADDING)
        shorter = words(6)
        own = np.array([[1] * 6 + [0] * 4])
        padded_by_hand = np.concatenate([shorter, np.full((1, 4), 50)], axis=1)
        by_hand, plain = await asyncio.gather(at.ask(ids=padded_by_hand, mask=own), at.ask(ids=shorter))
    assert by_hand.batch_rows == plain.batch_rows == 2, "they have shared a run"
    assert by_hand.outputs["contexts"].shape == (1, 10, 4)
    np.testing.assert_allclose(by_hand.outputs["mean"], plain.outputs["mean"], rtol=1e-5)


async def test_the_configuration_that_clients_read_asks_for_the_same_when_it_is_sent_back(shelf):
    parameters = {"tercet.pad_buckets": "16,32", "tercet.pad_mask_input": "mask", "tercet.pad_rows_to": "2,4"}
    given = {"max_batch_size": 8, "parameters": {k: {"string_value": v} for k, v in parameters.items()}}
    config = read_json(json.dumps(given), "m").config
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=attentive()), config=config))
        shown = model_config(at.manager.facts("m"))
    assert {tensor["name"]: tensor["optional"] for tensor in shown["input"]} == {"ids": False, "mask": True}
    again = read_json(json.dumps(shown), "m").config
    assert (again.padding, again.pad_rows_to) == (config.padding, config.pad_rows_to)


async def test_a_request_beyond_the_last_bucket_is_refused_and_is_no_failure(shelf):
    async with tier() as at:
        await serve(at, shelf, PADDING)
        with pytest.raises(InvalidRequest, match="'ids' for model 'm' has length 65, but the longest"):
            await at.ask(ids=words(65))
        with pytest.raises(InvalidRequest, match=r"'ids' and 'mask' .* same length, but have 6 and 5"):
            await at.ask(ids=words(6), mask=np.ones((1, 5), np.int64))
        with pytest.raises(InvalidRequest, match=r"expected 2 inputs but got 1 inputs .* missing 'ids'"):
            await at.ask(mask=np.ones((1, 5), np.int64))
        assert at.tally.fail.count == 0


async def test_pre_and_post_processing_see_lengths_without_padding(shelf):
    pre = """
def preprocess(inputs):
    return {"ids": inputs["ids"][:, 1:]}
"""
    post = """
OUTPUTS = [{"name": "length", "datatype": "INT64", "shape": [-1, 1]}]
import numpy
def postprocess(outputs):
    rows, length, _ = outputs["contexts"].shape
    return {"length": numpy.full((rows, 1), length)}
"""
    async with tier() as at:
        config = ModelConfig(name="m", max_batch_size=8, dynamic_batching=BATCHING, padding=PADDING)
        version = shelf.put(model=attentive(), pre_py=pre, post_py=post)
        await at.serve(shelf.offer(version, config=config))
        told = await asyncio.gather(*(at.ask(ids=words(length)) for length in (5, 9)))
    assert [answer.outputs["length"].tolist() for answer in told] == [[[4]], [[8]]]
    assert told[0].batch_rows == 2


async def test_a_run_is_filled_up_to_the_rows_that_the_model_likes_and_only_real_rows_are_counted(shelf):
    async with tier() as at:
        config = ModelConfig(name="m", max_batch_size=8, dynamic_batching=BATCHING, pad_rows_to=(2, 8))
        await at.serve(shelf.offer(shelf.put(model=times(2, 1)), config=config))
        rows = np.arange(5, dtype=np.float32).reshape(5, 1)
        answers = await asyncio.gather(*(at.ask(x=rows[[at_]]) for at_ in range(5)))
        tally = at.tally
        assert [answer.outputs["y"].tolist() for answer in answers] == [[[2.0 * at_]] for at_ in range(5)]
        assert {answer.batch_rows for answer in answers} == {5}
        assert (tally.inference_count, tally.execution_count, tally.success.count) == (5, 1, 5)
        assert (tally.fills["rows"].real, tally.fills["rows"].added) == (5, 3)

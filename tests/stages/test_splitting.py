"""Requests of more rows than a run may have: cut, run in pieces, and answered once."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from server.domain.configuration import (
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    QueuePolicy,
)
from server.domain.errors import DeadlineExceeded, InferenceFailed, InvalidRequest, QueueFull
from server.domain.padding import Padding
from server.stages.splitting import cut
from tests.e2e.workshop import FLOAT, INT64, attentive, slow, value, written
from tests.lifecycle.shelf import Shelf
from tests.lifecycle.waiting import until
from tests.stages.tier import Tier, tier

BATCHING = DynamicBatching(max_queue_delay_microseconds=20_000)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


async def serve(at: Tier, shelf: Shelf, model: bytes = b"", **facts) -> None:
    """With one instance, so that pieces run one after the other."""
    facts = {"max_batch_size": 4, "dynamic_batching": BATCHING, "split_pieces": 4, **facts}
    facts["instance_groups"] = (InstanceGroup(kind=InstanceKind.CPU, count=1),)
    await at.serve(shelf.offer(shelf.put(model=model), config=ModelConfig(name="m", **facts)))


def numbered(rows: int) -> np.ndarray:
    return np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)


@given(rows=st.integers(1, 60), most=st.integers(1, 20))
def test_pieces_have_all_rows_in_order_and_only_the_last_is_not_full(rows, most):
    asked = {"x": numbered(rows), "at": np.arange(rows)}
    pieces = cut(asked, rows, most)
    assert [count for _, count in pieces[:-1]] == [most] * (len(pieces) - 1)
    assert 1 <= pieces[-1][1] <= most
    assert [len(inputs["at"]) for inputs, _ in pieces] == [count for _, count in pieces]
    for name, array in asked.items():
        np.testing.assert_array_equal(np.concatenate([inputs[name] for inputs, _ in pieces]), array)


async def test_a_split_request_has_one_answer_with_all_its_rows_in_order(shelf):
    async with tier() as at:
        await serve(at, shelf)
        answer = await at.ask(inputs={"x": numbered(11)}, id="seven")
        assert (answer.id, answer.version, answer.batch_rows) == ("seven", "1", 4)
        np.testing.assert_array_equal(answer.outputs["y"], numbered(11) + 1)
        assert answer.queue_ns > 0
        assert answer.compute_ns > 0


async def test_it_is_counted_as_one_request_with_all_its_rows(shelf):
    async with tier() as at:
        await serve(at, shelf)
        await at.ask(x=numbered(11))
        tally = at.tally
        assert (tally.inference_count, tally.execution_count) == (11, 3)
        spans = (tally.success, tally.queue, tally.compute_input, tally.compute_infer, tally.compute_output)
        assert [span.count for span in spans] == [1] * 5
        assert tally.pending == 0


async def test_its_last_piece_shares_a_run_with_others(shelf):
    async with tier() as at:
        await serve(at, shelf)
        large, small = await asyncio.gather(at.ask(x=numbered(7)), at.ask(x=numbered(1)))
        np.testing.assert_array_equal(large.outputs["y"], numbered(7) + 1)
        np.testing.assert_array_equal(small.outputs["y"], numbered(1) + 1)
        assert at.tally.execution_count == 2


async def test_a_request_that_needs_more_pieces_than_allowed_is_refused(shelf):
    async with tier() as at:
        await serve(at, shelf)
        assert (await at.ask(x=numbered(16))).outputs["y"].shape == (16, 2)
        sentence = (
            "inference request batch-size must be <= 16 for 'm', got 17; it is split into at most 4 runs"
        )
        with pytest.raises(InvalidRequest, match=sentence):
            await at.ask(x=numbered(17))


async def test_without_the_opt_in_the_refusal_is_tritons(shelf):
    async with tier() as at:
        await serve(at, shelf, split_pieces=0)
        with pytest.raises(InvalidRequest) as caught:
            await at.ask(x=numbered(5))
        assert str(caught.value) == "inference request batch-size must be <= 4 for 'm', got 5"


async def test_without_the_dynamic_batcher_each_piece_runs_alone(shelf):
    async with tier() as at:
        await serve(at, shelf, dynamic_batching=None)
        np.testing.assert_array_equal((await at.ask(x=numbered(9))).outputs["y"], numbered(9) + 1)
        assert at.tally.execution_count == 3


async def test_a_request_whose_pieces_do_not_all_find_a_place_leaves_none_behind(shelf):
    crowded = DynamicBatching(default_queue_policy=QueuePolicy(max_queue_size=2))
    async with tier() as at:
        await serve(at, shelf, dynamic_batching=crowded)
        with pytest.raises(QueueFull):
            await at.ask(x=numbered(12))
        assert (at.tally.pending, at.tally.execution_count) == (0, 0)
        assert at.tally.failures["REJECTED"] == 1
        assert (await at.ask(x=numbered(8))).outputs["y"].shape == (8, 2)


async def test_one_piece_that_fails_fails_the_request_once(shelf):
    thirds = written(
        [helper.make_node("Gather", ["three", "at"], ["y"])],
        [value("at", INT64, "n", 1)],
        [value("y", FLOAT, "n", 1)],
        three=np.ones(3, np.float32),
    )
    async with tier() as at:
        await serve(at, shelf, thirds)
        poisoned = np.zeros((10, 1), np.int64)
        poisoned[5] = 7
        with pytest.raises(InferenceFailed, match="out of"):
            await at.ask(at=poisoned)
        assert at.tally.failures == {"REJECTED": 0, "CANCELED": 0, "BACKEND": 1, "OTHER": 0}
        assert (at.tally.fail.count, at.tally.success.count, at.tally.pending) == (1, 0, 0)
        assert at.tally.execution_count == 1, "the first piece ran, the last went along with the second"
        assert (at.tally.queue.count, at.tally.compute_infer.count) == (0, 0), "of requests that failed"
        assert (await at.ask(at=np.zeros((10, 1), np.int64))).outputs["y"].shape == (10, 1)


async def test_whoever_leaves_takes_all_waiting_pieces_along(shelf):
    async with tier() as at:
        await serve(at, shelf, slow(), max_batch_size=1, dynamic_batching=DynamicBatching())
        asking = asyncio.create_task(at.ask(rounds=np.full((3, 1), 3000)))
        await until(lambda: at.tally.pending == 2)
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
        assert at.tally.pending == 0
        await at.ask(rounds=np.array([[1]]))
        assert at.tally.execution_count == 2, "the piece that was running, and the request that came behind"
        assert at.tally.failures == {"REJECTED": 0, "CANCELED": 1, "BACKEND": 0, "OTHER": 0}


async def test_a_deadline_that_passes_between_two_pieces_ends_the_request_once(shelf):
    async with tier() as at:
        await serve(at, shelf, slow(), max_batch_size=1, dynamic_batching=DynamicBatching())
        with pytest.raises(DeadlineExceeded, match="timeout expired for model 'm'"):
            await at.ask(inputs={"rounds": np.full((3, 1), 3000)}, within_s=0.05)
        assert at.tally.pending == 0
        await at.ask(rounds=np.array([[1]]))
        assert at.tally.execution_count == 2
        assert at.tally.failures == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 0, "OTHER": 0}


async def test_the_queue_policys_timeout_holds_for_each_piece(shelf):
    hurried = DynamicBatching(
        default_queue_policy=QueuePolicy(default_timeout_microseconds=20_000), max_queue_delay_microseconds=0
    )
    async with tier() as at:
        await serve(at, shelf, slow(), max_batch_size=1, dynamic_batching=hurried)
        with pytest.raises(DeadlineExceeded):
            await at.ask(rounds=np.full((3, 1), 3000))
        assert (at.tally.pending, at.tally.failures["REJECTED"]) == (0, 1)


async def test_a_request_is_padded_as_a_whole_and_then_split(shelf):
    async with tier() as at:
        padding = Padding(buckets=(8,), mask_input="mask")
        await serve(at, shelf, attentive(), padding=padding, pad_rows_to=(4,))
        ids = np.random.default_rng(1).integers(0, 100, size=(6, 5))
        answer = await at.ask(ids=ids)
        assert answer.outputs["contexts"].shape == (6, 5, 4)
        for row in range(6):
            alone = await at.ask(ids=ids[[row]])
            np.testing.assert_allclose(answer.outputs["mean"][row], alone.outputs["mean"][0], rtol=1e-5)
        assert at.tally.fills["rows"].added == 2 * 8 * 2 + 6 * 3 * 8 * 2


async def test_pre_and_post_processing_see_the_whole_request(shelf):
    pre = "def preprocess(inputs): return {'x': inputs['x'][::-1]}"
    post = "def postprocess(outputs): return {'y': outputs['y'] * len(outputs['y'])}"
    async with tier() as at:
        config = ModelConfig(name="m", max_batch_size=4, dynamic_batching=BATCHING, split_pieces=4)
        await at.serve(shelf.offer(shelf.put(pre_py=pre, post_py=post), config=config))
        answer = await at.ask(x=numbered(6))
        np.testing.assert_array_equal(answer.outputs["y"], (numbered(6)[::-1] + 1) * 6)

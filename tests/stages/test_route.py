"""The way of one request through the stages of its version: real models, real code, real threads."""

import asyncio
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
import structlog
from onnx import helper

from server.domain.configuration import DynamicBatching, ModelConfig, QueuePolicy
from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    ModelNotFound,
    QueueFull,
    StageFailed,
)
from tests.e2e.workshop import FLOAT, INT64, slow, value, written
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until
from tests.stages.gate import Gate
from tests.stages.tier import tier

LENGTHS = """
import numpy

INPUTS = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]

def preprocess(inputs):
    if any(text == b"" for (text,) in inputs["text"]):
        raise ValueError("text must not be empty")
    if any(text == b"boo" for (text,) in inputs["text"]):
        raise LookupError("a secret of the code")
    return {"x": numpy.array([[len(text), 0] for (text,) in inputs["text"]], numpy.float32)}
"""
"""x = the length of the text."""

SUMS = """
OUTPUTS = [
    {"name": "sum", "datatype": "FP32", "shape": [-1]},
    {"name": "y", "datatype": "FP32", "shape": [-1, 2]},
]

def postprocess(outputs):
    if (outputs["y"] == 6).any():
        raise ValueError("six is not for sale")
    if (outputs["y"] == 8).any():
        raise LookupError("a secret of the code")
    return {"sum": outputs["y"].sum(axis=1), "y": outputs["y"]}
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def texts(*words: bytes) -> np.ndarray:
    return np.array([[word] for word in words], object)


# A version without code of its own.


async def test_a_request_is_answered_by_the_version_that_it_found(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(1), shelf.put(2)))
        newest = await at.ask(x=row(0, 0))
        assert (newest.version, newest.outputs["y"].tolist()) == ("2", [[2, 2]])
        first = await at.ask(inputs={"x": row(0, 0)}, version="1", id="seven")
        assert (first.model, first.version, first.id) == ("m", "1", "seven")
        assert first.outputs["y"].tolist() == [[1, 1]]
        with pytest.raises(ModelNotFound, match="version 3 is not found"):
            await at.ask(inputs={"x": row(0, 0)}, version="3")


async def test_an_answer_tells_of_the_run_that_made_it(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put()))
        one, two = await asyncio.gather(at.ask(x=row(1, 1)), at.ask(x=row(2, 2)))
        assert (one.outputs["y"].tolist(), two.outputs["y"].tolist()) == ([[2, 2]], [[3, 3]])
        assert one.batch_rows == two.batch_rows == 2
        assert one.compute_ns > 0
        assert one.queue_ns > 0


async def test_what_the_caller_gets_wrong_is_refused_before_it_is_scheduled_and_not_counted(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put()))
        with pytest.raises(InvalidRequest, match=r"Expected \[-1,2\], got \[1,3\]"):
            await at.ask(x=row(1, 2, 3))
        with pytest.raises(InvalidRequest, match="unexpected inference output 'z'"):
            await at.ask(inputs={"x": row(1, 2)}, outputs=("z",))
        assert at.tally.fail.count == at.tally.queue.count == at.tally.success.count == 0
        assert set(at.tally.failures.values()) == {0}


async def test_a_success_is_counted_once_with_the_time_of_the_whole_way(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=LENGTHS)))
        began = monotonic()
        await at.ask(text=texts(b"one", b"two"))
        took_ns = (monotonic() - began) * 1e9
        tally = at.tally
        assert (tally.success.count, tally.inference_count, tally.execution_count) == (1, 2, 1)
        assert tally.compute_infer.ns < tally.success.ns < took_ns
        assert sum(tally.stage("pre").counts) == 1


async def test_a_caller_who_leaves_is_counted_as_cancelled(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow())))
        asking = asyncio.create_task(at.ask(rounds=np.array([[100]])))
        await asyncio.sleep(0)
        assert at.tally.pending == 1
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
        assert (at.tally.failures["CANCELED"], at.tally.pending) == (1, 0)


async def test_a_request_whose_time_is_over_while_it_runs_is_told_so_and_counted_as_rejected(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow())))
        with pytest.raises(DeadlineExceeded, match="timeout expired for model 'm'"):
            await at.ask(inputs={"rounds": np.array([[2000]])}, within_s=0.02)
        assert at.tally.failures["REJECTED"] == 1


@pytest.mark.parametrize("overridable", [False, True])
async def test_a_request_may_not_lengthen_the_time_that_the_queue_policy_gives_it(shelf, overridable):
    policy = QueuePolicy(default_timeout_microseconds=1000, allow_timeout_override=overridable)
    batching = DynamicBatching(max_queue_delay_microseconds=50_000, default_queue_policy=policy)
    config = ModelConfig(name="m", max_batch_size=4, dynamic_batching=batching)
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=config))
        with pytest.raises(DeadlineExceeded):
            await at.ask(x=row(0, 0))
        with pytest.raises(DeadlineExceeded):
            await at.ask(inputs={"x": row(0, 0)}, within_s=10)


# Pre- and post-processing.


async def test_pre_processing_turns_what_clients_send_into_what_the_model_takes(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=LENGTHS)))
        answer = await at.ask(text=texts(b"one", b"three"))
        assert answer.outputs["y"].tolist() == [[4, 1], [6, 1]]


async def test_post_processing_turns_what_the_model_gives_into_what_clients_see(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=LENGTHS, post_py=SUMS)))
        answer = await at.ask(text=texts(b"one"))
        assert list(answer.outputs) == ["sum", "y"]
        assert answer.outputs["sum"].tolist() == [5]
        only = await at.ask(inputs={"text": texts(b"one")}, outputs=("y", "sum"))
        assert list(only.outputs) == ["y", "sum"]
        with pytest.raises(InvalidRequest, match="unexpected inference output 'x'"):
            await at.ask(inputs={"text": texts(b"one")}, outputs=("x",))


async def test_staged_requests_that_come_together_run_together(shelf):
    async with tier(threads=4) as at:
        batching = DynamicBatching(max_queue_delay_microseconds=200_000)
        config = ModelConfig(name="m", max_batch_size=4, dynamic_batching=batching)
        await at.serve(shelf.offer(shelf.put(pre_py=LENGTHS), config=config))
        words = [b"a", b"bb", b"cc c", b"ddddd"]
        answers = await asyncio.gather(*(at.ask(text=texts(word)) for word in words))
        assert [answer.outputs["y"][0, 0] for answer in answers] == [2, 3, 5, 6]
        assert [answer.batch_rows for answer in answers] == [4] * 4


@pytest.mark.parametrize(
    ("word", "sentence"), [(b"", "text must not be empty"), (b"fives", "six is not for sale")]
)
async def test_a_value_error_of_the_code_is_the_clients_in_the_codes_own_words(shelf, word, sentence):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=LENGTHS, post_py=SUMS)))
        with pytest.raises(InvalidRequest) as caught:
            await at.ask(text=texts(word))
        assert str(caught.value) == sentence
        assert at.tally.fail.count == 0


@pytest.mark.parametrize(("word", "stage"), [(b"boo", "pre"), (b"sevenup", "post")])
async def test_any_other_error_names_the_stage_and_the_request_and_keeps_its_cause_for_the_log(
    shelf, word, stage
):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=LENGTHS, post_py=SUMS)))
        with structlog.testing.capture_logs() as lines, pytest.raises(StageFailed) as caught:
            await at.ask(inputs={"text": texts(word)}, id="request 9")
        sentence = str(caught.value)
        assert f"the {stage} stage of model 'm' version 1 failed" in sentence
        assert "request id request 9" in sentence
        assert "secret" not in sentence
        (line,) = [line for line in lines if line["event"] == "stage_failed"]
        assert (line["stage"], line["request_id"]) == (stage, "request 9")
        assert isinstance(line["exc_info"], LookupError)
        assert at.tally.failures["BACKEND"] == 1
        assert (await at.ask(text=texts(b"good"))).outputs["sum"].tolist() == [6]


async def test_a_request_without_an_id_gets_one_that_its_log_lines_share(shelf):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=LENGTHS)))
        with structlog.testing.capture_logs() as lines, pytest.raises(StageFailed) as caught:
            await at.ask(text=texts(b"boo"))
        (line,) = [line for line in lines if line["event"] == "stage_failed"]
        assert str(caught.value).endswith(f"request id {line['request_id']}")


async def test_what_pre_processing_makes_must_fit_the_model_or_the_code_is_at_fault(shelf):
    wrong = "def preprocess(inputs): return {'x': inputs['x'][:, :1]}"
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=wrong)))
        with structlog.testing.capture_logs() as lines, pytest.raises(StageFailed, match="the pre stage"):
            await at.ask(x=row(1, 2))
        (line,) = [line for line in lines if line["event"] == "pre_output_misfit"]
        assert "Expected [-1,2], got [1,1]" in line["reason"]
        assert at.tally.failures["BACKEND"] == 1


async def test_post_processing_that_withholds_an_output_is_at_fault(shelf):
    forgetful = SUMS.replace('"y": outputs["y"]}', "}")
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(post_py=forgetful)))
        with structlog.testing.capture_logs() as lines, pytest.raises(StageFailed, match="the post stage"):
            await at.ask(x=row(1, 2))
        assert [line["missing"] for line in lines if line["event"] == "stage_output_missing"] == [["y"]]
        answer = await at.ask(inputs={"x": row(1, 2)}, outputs=("sum",))
        assert answer.outputs["sum"].tolist() == [5]


async def test_a_model_that_fails_is_told_apart_from_its_code(shelf):
    third = written(
        [helper.make_node("Gather", ["three", "at"], ["y"])],
        [value("at", INT64, "n", 1)],
        [value("y", FLOAT, "n", 1)],
        three=np.ones(3, np.float32),
    )
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=third, pre_py="def preprocess(inputs): return inputs")))
        with pytest.raises(InferenceFailed, match=r"^model 'm' version 1 failed: .*out of"):
            await at.ask(inputs={"at": np.array([[7]])})
        assert at.tally.failures["BACKEND"] == 1


@pytest.mark.parametrize("function", ["preprocess", "postprocess"])
async def test_a_deadline_that_passes_inside_a_stage_is_told_at_once(shelf, gate, function):
    code = {f"{function.removesuffix('process')}_py": gate.code(function)}
    async with tier(threads=1) as at:
        await at.serve(shelf.offer(shelf.put(**code)))
        with pytest.raises(DeadlineExceeded):
            await at.ask(inputs={"x": row(1, 2)}, within_s=0.1)
        assert gate.begun == 1, "the code has begun, and is not waited for"
        assert at.tally.failures == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 0, "OTHER": 0}
        gate.open()
        assert (await at.ask(x=row(1, 2))).outputs["y"].tolist() == [[2, 3]]


async def test_when_the_line_for_a_stage_is_full_the_next_is_refused_and_the_others_are_answered(shelf, gate):
    async with tier(threads=1, waiting=1) as at:
        await at.serve(shelf.offer(shelf.put(pre_py=gate.code("preprocess"))))
        asking = [asyncio.create_task(at.ask(x=row(1, 2))) for _ in range(2)]
        await until(lambda: gate.begun == 1)
        with pytest.raises(QueueFull, match="model 'm' already has 2 requests waiting"):
            await at.ask(x=row(1, 2))
        assert at.tally.failures["REJECTED"] == 1
        gate.open()
        assert [answer.outputs["y"].tolist() for answer in await asyncio.gather(*asking)] == [[[2, 3]]] * 2


async def test_a_caller_who_leaves_while_it_waits_for_a_stage_takes_its_work_along(shelf, gate):
    async with tier(threads=1) as at:
        await at.serve(shelf.offer(shelf.put(pre_py=gate.code("preprocess"))))
        first, leaver = (asyncio.create_task(at.ask(x=row(1, 2))) for _ in range(2))
        await until(lambda: gate.begun == 1)
        leaver.cancel()
        await asyncio.wait((leaver,))
        gate.open()
        await first
        await at.ask(x=row(1, 2))
        assert gate.begun == 2, "of three requests one left before its turn"
        assert at.tally.failures["CANCELED"] == 1


@pytest.mark.parametrize("function", ["preprocess", "postprocess"])
async def test_a_version_lives_while_a_request_is_between_its_stages(shelf, gate, function):
    code = {f"{function.removesuffix('process')}_py": gate.code(function)}
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(1, plus(10), **code)))
        asking = asyncio.create_task(at.ask(x=row(0, 0)))
        await until(lambda: gate.begun == 1)
        await at.serve(shelf.offer(shelf.put(1, plus(20))))
        assert (await at.ask(x=row(0, 0))).outputs["y"].tolist() == [[20, 20]]
        with structlog.testing.capture_logs() as lines:
            gate.open()
            assert (await asking).outputs["y"].tolist() == [[10, 10]]
            await until(lambda: "version_unloaded" in [line["event"] for line in lines])


async def test_an_unloaded_model_answers_the_requests_that_it_has(shelf, gate):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=gate.code("preprocess"))))
        asking = asyncio.create_task(at.ask(x=row(0, 0)))
        await until(lambda: gate.begun == 1)
        await at.serve()
        with pytest.raises(ModelNotFound):
            await at.ask(x=row(0, 0))
        gate.open()
        assert (await asking).outputs["y"].tolist() == [[1, 1]]


async def test_stages_never_run_on_the_event_loop(shelf):
    telling = (
        "import threading\ndef preprocess(inputs):\n    raise ValueError(threading.current_thread().name)"
    )
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=telling)))
        with pytest.raises(InvalidRequest, match=r"^stage_\d+$"):
            await at.ask(x=row(0, 0))

"""`ModelStreamInfer`: many requests on one call, by NVIDIA's client and by both gRPC fronts."""

import queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.e2e.line import HALF_A_SECOND, busy, executions, question, until, waiting
from tests.e2e.scrape import metric
from tests.e2e.streaming import Streams, aio, blocking
from tests.e2e.test_access_line import line_of
from tests.e2e.triton import tensors
from tests.server_process import Server

X = np.array([[1, 2]], np.float32)
ROUND = np.ones((1, 1), np.int64)
UNKNOWN = "Request for unknown model: 'nobody' is not found"


@pytest.fixture(params=[blocking, aio], ids=["blocking", "aio"])
def streams(request: pytest.FixtureRequest) -> Streams:
    opened: Streams = request.param
    return opened


async def test_every_request_of_a_stream_is_answered_under_its_id(each_workshop: Server, streams: Streams):
    async with streams(each_workshop) as stream:
        for number in range(200):
            await stream.ask("double", {"x": X * number}, request_id=str(number))
        told = [await stream.told() for _ in range(200)]
        assert await stream.done() == []
    answers = {each.message.id: each.array("y") for each in told}
    assert len(answers) == 200
    for number in range(200):
        np.testing.assert_array_equal(answers[str(number)], X * number * 2)


async def test_answers_come_as_they_are_ready_not_in_the_order_of_asking(
    each_workshop: Server, streams: Streams
):
    async with streams(each_workshop) as stream:
        await stream.ask("slow", {"rounds": ROUND * HALF_A_SECOND}, request_id="slow")
        await stream.ask("double", {"x": X}, request_id="quick")
        assert [(await stream.told()).message.id for _ in range(2)] == ["quick", "slow"]


async def test_requests_without_an_id_are_answered_in_the_order_of_asking(
    each_workshop: Server, streams: Streams
):
    """Nothing else would tell their answers apart."""
    async with streams(each_workshop) as stream:
        await stream.ask("slow", {"rounds": ROUND * HALF_A_SECOND})
        await stream.ask("nobody", {"x": X})
        await stream.ask("double", {"x": X})
        await stream.ask("double", {"x": X}, request_id="quick")
        told = [await stream.told() for _ in range(4)]
        assert await stream.done() == []
    assert told[0].message.id == "quick"
    assert told[1].message.model_name == "slow"
    assert told[2].error is not None
    assert told[3].message.model_name == "double"


async def test_an_error_is_a_message_in_the_stream_which_goes_on(each_workshop: Server, streams: Streams):
    async with streams(each_workshop) as stream:
        await stream.ask("nobody", {"x": X}, request_id="lost")
        error = (await stream.told()).error
        assert error is not None
        assert (error.message(), error.status()) == (UNKNOWN, None)
        await stream.ask("double", {"x": X}, request_id="found")
        assert (await stream.told()).message.id == "found"
        assert await stream.done() == []


async def test_a_stream_may_ask_to_end_with_its_first_error_and_its_status(
    each_workshop: Server, streams: Streams
):
    async with streams(each_workshop, {"triton_grpc_error": "true"}) as stream:
        await stream.ask("double", {"x": X}, request_id="before")
        assert (await stream.told()).message.id == "before"
        await stream.ask("nobody", {"x": X}, request_id="lost")
        error = (await stream.told()).error
        assert error is not None
        assert (error.message(), error.status()) == (UNKNOWN, "StatusCode.NOT_FOUND")


@pytest.mark.parametrize("asked", [{"parameters": {}}, {"enable_empty_final_response": True}])
async def test_the_one_answer_of_a_request_says_that_it_is_the_last(
    each_workshop: Server, asked: dict[str, Any]
):
    """Triton says so of a model that is not decoupled whether it was asked to or not."""
    async with blocking(each_workshop) as stream:
        await stream.ask("double", {"x": X}, request_id="only", **asked)
        message = (await stream.told()).message
        assert message.parameters["triton_final_response"].bool_param is True
        assert await stream.done() == []


def test_a_refusal_names_the_request_that_it_refuses(each_workshop: Server):
    request = service_pb2.ModelInferRequest(model_name="nobody", model_version="3", id="lost")
    with grpc.insecure_channel(each_workshop.grpc) as channel:
        (told,) = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request]))
    assert told.error_message == UNKNOWN
    response = told.infer_response
    assert (response.id, response.model_name, response.model_version) == ("lost", "nobody", "3")
    assert response.parameters["triton_final_response"].bool_param is True


async def test_what_is_in_flight_when_the_client_is_done_is_answered(each_workshop: Server, streams: Streams):
    async with streams(each_workshop) as stream:
        await stream.ask("slow", {"rounds": ROUND * HALF_A_SECOND}, request_id="slow")
        await stream.ask("double", {"x": X}, request_id="quick")
        assert {told.message.id for told in await stream.done()} == {"quick", "slow"}


async def test_a_stream_without_a_request_ends_well(each_workshop: Server, streams: Streams):
    async with streams(each_workshop) as stream:
        assert await stream.done() == []


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_a_stream_may_be_compressed(each_workshop: Server, compression: str):
    """Streams are grpcio's, behind the fast front too."""
    told: queue.Queue[Any] = queue.Queue()
    x = np.ones((4, 10_000), np.float32)
    with triton.InferenceServerClient(each_workshop.grpc) as client:
        client.start_stream(lambda *one, **both: told.put(both), compression_algorithm=compression)
        client.async_stream_infer("double", tensors(triton, {"x": x}))
        answer = told.get(timeout=20)
        client.stop_stream()
    assert answer["error"] is None
    np.testing.assert_array_equal(answer["result"].as_numpy("y"), 2 * x)


async def test_the_stages_of_a_model_are_run_for_streams_too(each_workshop: Server, streams: Streams):
    async with streams(each_workshop) as stream:
        await stream.ask("picky", {"x": np.full((1, 1), 3, np.float32)}, request_id="good")
        await stream.ask("picky", {"x": np.full((1, 1), -3, np.float32)}, request_id="bad")
        told = [await stream.told() for _ in range(2)]
        assert await stream.done() == []
    (error,) = [each.error for each in told if each.error]
    assert "x must not be below 0" in error.message()
    (good,) = [each for each in told if not each.error]
    assert good.array("y").tolist() == [[6]]


# Cancelling, and time that runs out


def left(server: Server) -> float:
    """How many callers of `slow` have gone away."""
    return metric(server, "nv_inference_request_failure", model="slow", reason="CANCELED")


async def test_a_client_that_cancels_its_stream_takes_its_queued_work_along(
    each_workshop: Server, streams: Streams
):
    before, left_before = executions(each_workshop), left(each_workshop)
    name = f"cancelled-{streams.__name__}"
    async with streams(each_workshop) as stream, busy(each_workshop) as client:
        await stream.ask("slow", {"rounds": ROUND}, request_id=name)
        await until(lambda: waiting(each_workshop) == 2)
        await stream.cancel()
        await until(lambda: left(each_workshop) > left_before)
        last = await client.post("/v2/models/slow/infer", json=question())
    assert last.status_code == 200
    assert executions(each_workshop) - before == 3  # the two that kept it busy, and the one that came behind
    assert line_of(each_workshop, name)["status"] == 1


async def test_a_client_that_cancels_in_mid_run_harms_nobody(each_workshop: Server, streams: Streams):
    before = executions(each_workshop)
    async with streams(each_workshop) as stream:
        await stream.ask("slow", {"rounds": ROUND * HALF_A_SECOND}, request_id="one")
        await stream.ask("slow", {"rounds": ROUND}, request_id="two")
        await until(lambda: waiting(each_workshop) == 1)
        await stream.cancel()
    async with streams(each_workshop) as stream:
        await stream.ask("slow", {"rounds": ROUND}, request_id="another")
        assert (await stream.told()).message.id == "another"
    assert executions(each_workshop) - before == 2


async def test_a_request_of_a_stream_has_a_deadline_of_its_own(each_workshop: Server, streams: Streams):
    before = executions(each_workshop)
    async with streams(each_workshop) as stream, busy(each_workshop):
        await stream.ask("slow", {"rounds": ROUND}, request_id="late", timeout=100_000)
        error = (await stream.told()).error
        assert error is not None
        assert error.message() == "Request timeout expired for model 'slow'"
        await stream.ask("double", {"x": X}, request_id="later")
        assert (await stream.told()).message.id == "later"
    assert executions(each_workshop) - before == 2


async def test_the_deadline_of_a_stream_takes_its_queued_work_along(each_workshop: Server, streams: Streams):
    before = executions(each_workshop)
    async with busy(each_workshop) as client:
        async with streams(each_workshop, timeout_s=0.5) as stream:
            await stream.ask("slow", {"rounds": ROUND}, request_id="late")
            told = await stream.told()
            assert told.error is not None
            # the request's own refusal may come just before the end of the stream
            while told.error.status() is None:
                told = await stream.told()
                assert told.error is not None
            assert told.error.status() == "StatusCode.DEADLINE_EXCEEDED"
        await until(lambda: waiting(each_workshop) < 2)
        last = await client.post("/v2/models/slow/infer", json=question())
    assert last.status_code == 200
    assert executions(each_workshop) - before == 3


# What an operator sees


async def test_each_request_of_a_stream_is_counted_and_has_its_line(each_workshop: Server, streams: Streams):
    def counted() -> int:
        (told,) = each_workshop.client.get("/v2/models/double/stats").json()["model_stats"]
        count: int = told["inference_stats"]["success"]["count"]
        return count

    before, name = counted(), f"counted-{streams.__name__}"
    async with streams(each_workshop) as stream:
        for number in range(3):
            await stream.ask("double", {"x": X}, request_id=f"{name}-{number}")
        await stream.ask("nobody", {"x": X}, request_id=f"{name}-lost")
        for _ in range(4):
            await stream.told()
        assert await stream.done() == []
    assert counted() - before == 3
    for number in range(3):
        line = line_of(each_workshop, f"{name}-{number}")
        assert (line["door"], line["model"], line["version"], line["status"]) == ("grpc", "double", "1", 0)
        assert (line["rows"], line["compute_us"] > 0) == (1, True)
    lost = line_of(each_workshop, f"{name}-lost")
    assert (lost["model"], lost["status"], lost["batch_rows"]) == ("nobody", 5, 0)


def test_reflection_shows_the_stream_as_one_of_both_ways(each_workshop: Server):
    with grpc.insecure_channel(each_workshop.grpc) as channel:
        described = ProtoReflectionDescriptorDatabase(channel)
        file = described.FindFileContainingSymbol("inference.GRPCInferenceService")
    (method,) = [
        method for service in file.service for method in service.method if method.name == "ModelStreamInfer"
    ]
    assert (method.client_streaming, method.server_streaming) == (True, True)
    assert method.output_type == ".inference.ModelStreamInferResponse"

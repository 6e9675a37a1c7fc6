"""NVIDIA's gRPC client, blocking and asyncio, works as it is; so does any client of the standard services."""

import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.e2e.golden import EXAMPLES, golden
from tests.e2e.triton import INFERENCE_STATS, SAMPLES_SERVED, Ask, asking, tensors
from tests.server_process import Server

IRIS = golden("iris/1/examples/one_of_each.json")


@pytest.fixture(params=[triton, triton_aio], ids=["blocking", "aio"])
async def ask(request: pytest.FixtureRequest, each_server: Server) -> AsyncIterator[Ask]:
    async with asking(request.param, each_server.grpc) as ask:
        yield ask


@pytest.fixture(params=[triton, triton_aio], ids=["blocking", "aio"])
async def ask_workshop(request: pytest.FixtureRequest, each_workshop: Server) -> AsyncIterator[Ask]:
    async with asking(request.param, each_workshop.grpc) as ask:
        yield ask


# Health and metadata


async def test_the_server_is_live_and_ready(ask: Ask):
    assert await ask("is_server_live") is True
    assert await ask("is_server_ready") is True


async def test_the_server_tells_its_name_version_and_what_it_can_do(ask: Ask):
    told = await ask("get_server_metadata")
    assert told.name == "tercet"
    assert told.version
    assert {"binary_tensor_data", "classification", "model_repository", "statistics"} <= set(told.extensions)


async def test_every_version_that_serves_is_ready_and_no_other_is(ask: Ask):
    assert await ask("is_model_ready", "digits") is True
    assert await ask("is_model_ready", "digits", "1") is True
    assert await ask("is_model_ready", "digits", "2") is True
    assert await ask("is_model_ready", "digits", "3") is False
    assert await ask("is_model_ready", "nobody") is False


async def test_metadata_says_what_goes_in_and_what_comes_out(ask: Ask):
    assert await ask("get_model_metadata", "iris", as_json=True) == {
        "name": "iris",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "measurements", "datatype": "FP32", "shape": ["-1", "4"]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": ["-1", "1"]},
            {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "3"]},
        ],
    }


async def test_metadata_names_all_versions_or_the_one_that_was_asked_for(ask: Ask):
    assert (await ask("get_model_metadata", "digits")).versions == ["1", "2"]
    told = await ask("get_model_metadata", "digits", "1")
    assert told.versions == ["1"]
    assert told.platform == "pytorch_libtorch"
    assert [(each.name, each.datatype, list(each.shape)) for each in told.inputs] == [
        ("IMAGE", "BYTES", [-1, 1])
    ]


async def test_the_configuration_has_what_the_model_file_filled_in(ask: Ask):
    told = (await ask("get_model_config", "iris")).config
    assert (told.name, told.backend, told.platform) == ("iris", "onnxruntime", "onnxruntime_onnx")
    assert told.max_batch_size == 4
    assert [(each.name, each.data_type, list(each.dims)) for each in told.input] == [
        ("measurements", 11, [4])  # TYPE_FP32
    ]
    assert told.HasField("dynamic_batching")
    assert (await ask("get_model_config", "digits", "2")).config.version_policy.HasField("all")


async def test_the_index_has_every_version_with_its_state(ask: Ask):
    told = await ask("get_model_repository_index")
    assert [(each.name, each.version) for each in told.models] == SAMPLES_SERVED
    assert {(each.state, each.reason) for each in told.models} == {("READY", "")}


# Statistics


async def test_statistics_count_what_was_asked(ask: Ask):
    async def told() -> Any:
        (one,) = (await ask("get_inference_statistics", "iris", "1")).model_stats
        return one

    before = await told()
    await ask("infer", "iris", tensors(triton, IRIS.inputs))
    after = await told()
    assert (after.name, after.version) == ("iris", "1")
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 1
    assert after.last_inference / 1000 == pytest.approx(time.time(), abs=30)
    assert {field.name for field, _ in after.inference_stats.ListFields()} == INFERENCE_STATS
    ran = INFERENCE_STATS - {"fail", "cache_hit", "cache_miss"}
    for name in INFERENCE_STATS:
        now, then = getattr(after.inference_stats, name), getattr(before.inference_stats, name)
        assert now.count - then.count == (name in ran), name
        assert (now.ns > then.ns) == (name in ran), name
    assert 3 in [spans.batch_size for spans in after.batch_stats]


async def test_statistics_of_all_models_name_each_version(ask: Ask):
    told = (await ask("get_inference_statistics")).model_stats
    assert [(each.name, each.version) for each in told] == SAMPLES_SERVED


async def test_statistics_of_an_unknown_model_are_refused(ask: Ask):
    with pytest.raises(InferenceServerException, match=r"requested model 'nobody' is not available") as no:
        await ask("get_inference_statistics", "nobody")
    assert no.value.status() == "StatusCode.INVALID_ARGUMENT"


# Inference


@pytest.mark.parametrize("path", EXAMPLES)
async def test_every_golden_example_gets_its_golden_answer(ask: Ask, path: str):
    example = golden(path)
    answer = await ask("infer", example.model, tensors(triton, example.inputs), example.version)
    told = answer.get_response()
    assert (told.model_name, told.model_version) == (example.model, example.version)
    assert [output.name for output in told.outputs] == list(example.outputs)
    for name, expected in example.outputs.items():
        found = answer.as_numpy(name)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=example.tolerance, atol=example.tolerance)


async def test_without_a_version_the_highest_answers(ask: Ask, seven: bytes):
    answer = await ask("infer", "digits", tensors(triton, {"IMAGE": np.array([[seven]], object)}))
    assert answer.get_response().model_version == "2"
    assert answer.as_numpy("digit").tolist() == [[7]]


async def test_only_the_outputs_asked_for_come_back_and_in_that_order(ask: Ask):
    for names in (["label"], ["probabilities", "label"]):
        outputs = [triton.InferRequestedOutput(name) for name in names]
        answer = await ask("infer", "iris", tensors(triton, IRIS.inputs), outputs=outputs)
        assert [output.name for output in answer.get_response().outputs] == names
        assert answer.as_numpy("label").tolist() == [[0], [1], [2]]


async def test_the_request_id_comes_back(ask: Ask):
    answer = await ask("infer", "iris", tensors(triton, IRIS.inputs), request_id="order-66")
    assert answer.get_response().id == "order-66"


async def test_classes_have_their_labels_where_the_model_has_a_label_file(ask_workshop: Ask):
    scores = np.array([[0.1, 0.9, 0.5], [7, -1, 2]], np.float32)
    outputs = [triton.InferRequestedOutput("y", class_count=2)]
    answer = await ask_workshop("infer", "animals", tensors(triton, {"x": scores}), outputs=outputs)
    assert answer.as_numpy("y").tolist() == [
        [b"0.900000:1:dog", b"0.500000:2:emu"],
        [b"7.000000:0:cat", b"2.000000:2:emu"],
    ]


async def test_texts_go_in_and_come_out(ask_workshop: Ask):
    said = np.array([[b"one"], [b"zwei und drei"], ["四".encode()], [b""]], object)
    answer = await ask_workshop("infer", "echo", tensors(triton, {"said": said}))
    assert answer.as_numpy("heard").tolist() == said.tolist()


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
async def test_messages_may_be_compressed(ask_workshop: Ask, packing: str):
    x = np.arange(4 * 1000, dtype=np.float32).reshape(4, 1000)
    answer = await ask_workshop("infer", "double", tensors(triton, {"x": x}), compression_algorithm=packing)
    np.testing.assert_array_equal(answer.as_numpy("y"), 2 * x)


async def test_a_message_may_be_larger_than_grpc_takes_by_itself(ask_workshop: Ask):
    x = np.ones((2, 2**20), np.float32)  # 8 MiB there, and 8 MiB back
    answer = await ask_workshop("infer", "double", tensors(triton, {"x": x}))
    assert (answer.as_numpy("y") == 2).all()


def test_elements_may_come_typed_instead_of_raw(each_server: Server):
    request = service_pb2.ModelInferRequest(model_name="iris")
    tensor = request.inputs.add(name="measurements", datatype="FP32", shape=[3, 4])
    tensor.contents.fp32_contents.extend(IRIS.inputs["measurements"].ravel().tolist())
    with grpc.insecure_channel(each_server.grpc) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert triton.InferResult(answer).as_numpy("label").tolist() == [[0], [1], [2]]


def test_many_requests_of_one_client_are_answered_each_with_its_own(each_server: Server):
    rows = [IRIS.inputs["measurements"][index % 3 : index % 3 + 1] for index in range(24)]
    answers: list[Future[Any]] = [Future() for _ in rows]
    with triton.InferenceServerClient(each_server.grpc) as client:
        for row, told in zip(rows, answers, strict=True):
            client.async_infer(
                "iris",
                tensors(triton, {"measurements": row}),
                lambda result, error, told=told: (
                    told.set_exception(error) if error else told.set_result(result)
                ),
            )
        labels = [told.result(10).as_numpy("label").item() for told in answers]
    assert labels == [0, 1, 2] * 8


# Refusals


@pytest.mark.parametrize(
    ("model", "version", "inputs", "status", "sentence"),
    [
        ("nobody", "", IRIS.inputs, "NOT_FOUND", "Request for unknown model: 'nobody' is not found"),
        ("iris", "77", IRIS.inputs, "NOT_FOUND", "Request for unknown model: 'iris' version 77 is not found"),
        (
            "iris",
            "one",
            IRIS.inputs,
            "INVALID_ARGUMENT",
            "failed to get model version from specified version string 'one' "
            "(details: it is neither a number nor a label) for model 'iris'",
        ),
        (
            "iris",
            "",
            {"measurements": np.zeros((1, 3), np.float32)},
            "INVALID_ARGUMENT",
            "unexpected shape for input 'measurements' for model 'iris'. Expected [-1,4], got [1,3]",
        ),
    ],
)
async def test_a_refusal_reaches_the_caller_in_words(
    ask: Ask, model: str, version: str, inputs: dict[str, np.ndarray], status: str, sentence: str
):
    with pytest.raises(InferenceServerException) as refusal:
        await ask("infer", model, tensors(triton, inputs), version)
    assert refusal.value.status() == f"StatusCode.{status}"
    assert refusal.value.message() == sentence


# The standard services beside it


def test_the_standard_health_service_says_serving(each_server: Server):
    with grpc.insecure_channel(each_server.grpc) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for service in ("", "inference.GRPCInferenceService"):
            told = check(health_pb2.HealthCheckRequest(service=service))
            assert told.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refusal:
            check(health_pb2.HealthCheckRequest(service="nothing"))
    assert refusal.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_describes_the_services_and_their_messages(each_server: Server):
    with grpc.insecure_channel(each_server.grpc) as channel:
        described = ProtoReflectionDescriptorDatabase(channel)
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(described.get_services())
        file = described.FindFileContainingSymbol("inference.GRPCInferenceService")
        methods = {method.name for service in file.service for method in service.method}
    assert {"ModelInfer", "ModelStatistics", "RepositoryModelLoad"} <= methods

"""NVIDIA's HTTP client, blocking and asyncio, works as it is."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as http
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

from tests.e2e.golden import EXAMPLES, golden
from tests.e2e.triton import INFERENCE_STATS, SAMPLES_SERVED, Ask, asking, tensors
from tests.server_process import Server

IRIS = golden("iris/1/examples/one_of_each.json")
DIABETES = golden("diabetes/1/examples/two_patients.json")


@pytest.fixture(params=[http, http_aio], ids=["blocking", "aio"])
async def ask(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Ask]:
    async with asking(request.param, server.http) as ask:
        yield ask


@pytest.fixture(params=[http, http_aio], ids=["blocking", "aio"])
async def ask_workshop(request: pytest.FixtureRequest, workshop: Server) -> AsyncIterator[Ask]:
    async with asking(request.param, workshop.http) as ask:
        yield ask


def images(*files: bytes) -> dict[str, np.ndarray]:
    return {"IMAGE": np.array(files, object).reshape(-1, 1)}


# Health and metadata


async def test_the_server_is_live_and_ready(ask: Ask):
    assert await ask("is_server_live") is True
    assert await ask("is_server_ready") is True


async def test_the_server_tells_its_name_version_and_what_it_can_do(ask: Ask):
    told = await ask("get_server_metadata")
    assert told["name"] == "tercet"
    assert told["version"]
    assert {"binary_tensor_data", "classification", "model_repository", "statistics"} <= set(
        told["extensions"]
    )


async def test_every_version_that_serves_is_ready_and_no_other_is(ask: Ask):
    assert await ask("is_model_ready", "digits") is True
    assert await ask("is_model_ready", "digits", "1") is True
    assert await ask("is_model_ready", "digits", "2") is True
    assert await ask("is_model_ready", "digits", "3") is False
    assert await ask("is_model_ready", "nobody") is False


async def test_metadata_says_what_goes_in_and_what_comes_out(ask: Ask):
    assert await ask("get_model_metadata", "iris") == {
        "name": "iris",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "measurements", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1, 1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        ],
    }


async def test_metadata_names_all_versions_or_the_one_that_was_asked_for(ask: Ask):
    assert (await ask("get_model_metadata", "digits"))["versions"] == ["1", "2"]
    told = await ask("get_model_metadata", "digits", "1")
    assert told["versions"] == ["1"]
    assert told["platform"] == "pytorch_libtorch"
    assert told["inputs"] == [{"name": "IMAGE", "datatype": "BYTES", "shape": [-1, 1]}]


async def test_the_configuration_has_what_the_model_file_filled_in(ask: Ask):
    told = await ask("get_model_config", "iris")
    assert (told["name"], told["backend"], told["platform"]) == ("iris", "onnxruntime", "onnxruntime_onnx")
    assert told["max_batch_size"] == 4
    assert [(each["name"], each["data_type"], each["dims"]) for each in told["input"]] == [
        ("measurements", "TYPE_FP32", [4])
    ]
    assert "dynamic_batching" in told
    assert (await ask("get_model_config", "digits", "2"))["version_policy"] == {"all": {}}


async def test_the_index_has_every_version_with_its_state(ask: Ask):
    assert await ask("get_model_repository_index") == [
        {"name": name, "version": version, "state": "READY"} for name, version in SAMPLES_SERVED
    ]


# Statistics


async def test_statistics_count_what_was_asked(ask: Ask):
    async def told() -> dict[str, Any]:
        (one,) = (await ask("get_inference_statistics", "iris", "1"))["model_stats"]
        return one

    before = await told()
    await ask("infer", "iris", tensors(http, IRIS.inputs))
    after = await told()
    assert (after["name"], after["version"]) == ("iris", "1")
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 1
    assert after["last_inference"] / 1000 == pytest.approx(time.time(), abs=30)
    assert after["inference_stats"].keys() == INFERENCE_STATS
    ran = INFERENCE_STATS - {"fail", "cache_hit", "cache_miss"}
    for name in INFERENCE_STATS:
        gained = {
            unit: after["inference_stats"][name][unit] - before["inference_stats"][name][unit]
            for unit in ("count", "ns")
        }
        assert gained["count"] == (name in ran), name
        assert (gained["ns"] > 0) == (name in ran), name
    assert 3 in [spans["batch_size"] for spans in after["batch_stats"]]


async def test_statistics_of_all_models_name_each_version(ask: Ask):
    told = (await ask("get_inference_statistics"))["model_stats"]
    assert [(each["name"], each["version"]) for each in told] == SAMPLES_SERVED


async def test_statistics_of_an_unknown_model_are_refused(ask: Ask):
    with pytest.raises(InferenceServerException, match=r"requested model 'nobody' is not available"):
        await ask("get_inference_statistics", "nobody")


# Inference


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("path", EXAMPLES)
async def test_every_golden_example_gets_its_golden_answer(ask: Ask, path: str, binary: bool):
    example = golden(path)
    has_files = any(array.dtype == object for array in example.inputs.values())  # no text: never in JSON here
    answer = await ask(
        "infer",
        example.model,
        tensors(http, example.inputs, binary_data=binary or has_files),
        example.version,
        outputs=[http.InferRequestedOutput(name, binary_data=binary) for name in example.outputs],
    )
    told = answer.get_response()
    assert (told["model_name"], told["model_version"]) == (example.model, example.version)
    for name, expected in example.outputs.items():
        found = answer.as_numpy(name)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=example.tolerance, atol=example.tolerance)
        assert ("data" in answer.get_output(name)) is not binary


async def test_without_a_version_the_highest_answers(ask: Ask, seven: bytes):
    answer = await ask("infer", "digits", tensors(http, images(seven)))
    assert answer.get_response()["model_version"] == "2"
    assert answer.as_numpy("digit").tolist() == [[7]]


async def test_outputs_are_binary_or_json_each_as_it_is_asked_for(ask: Ask):
    outputs = [
        http.InferRequestedOutput("probabilities", binary_data=False),
        http.InferRequestedOutput("label", binary_data=True),
    ]
    answer = await ask("infer", "iris", tensors(http, IRIS.inputs), outputs=outputs)
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["probabilities", "label"]
    assert answer.get_output("label")["parameters"] == {"binary_data_size": 24}
    assert "data" in answer.get_output("probabilities")
    for name, expected in IRIS.outputs.items():
        np.testing.assert_allclose(answer.as_numpy(name), expected, atol=IRIS.tolerance)


async def test_inputs_are_binary_or_json_in_one_request(ask: Ask):
    halves = list(DIABETES.inputs.items())
    mixed = tensors(http, dict(halves[:5]), binary_data=False) + tensors(
        http, dict(halves[5:]), binary_data=True
    )
    answer = await ask("infer", "diabetes", mixed)
    np.testing.assert_allclose(
        answer.as_numpy("progression"), DIABETES.outputs["progression"], rtol=DIABETES.tolerance
    )


async def test_only_the_outputs_asked_for_come_back(ask: Ask):
    answer = await ask(
        "infer", "iris", tensors(http, IRIS.inputs), outputs=[http.InferRequestedOutput("label")]
    )
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["label"]
    assert answer.as_numpy("label").tolist() == [[0], [1], [2]]


async def test_the_request_id_comes_back(ask: Ask):
    answer = await ask("infer", "iris", tensors(http, IRIS.inputs), request_id="order-66")
    assert answer.get_response()["id"] == "order-66"
    assert "id" not in (await ask("infer", "iris", tensors(http, IRIS.inputs))).get_response()


async def test_classification_gives_the_best_classes_first(ask: Ask):
    outputs = [http.InferRequestedOutput("probabilities", class_count=2)]
    answer = await ask("infer", "iris", tensors(http, IRIS.inputs), outputs=outputs)
    found = answer.as_numpy("probabilities")
    assert found.shape == (3, 2)
    best = [element.decode().split(":") for element in found[:, 0]]
    assert [int(index) for _, index in best] == [0, 1, 2]
    for (likelihood, index), row in zip(best, IRIS.outputs["probabilities"], strict=True):
        assert float(likelihood) == pytest.approx(row[int(index)], abs=1e-4)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
async def test_classes_have_their_labels_where_the_model_has_a_label_file(ask_workshop: Ask, binary: bool):
    scores = np.array([[0.1, 0.9, 0.5], [7, -1, 2]], np.float32)
    outputs = [http.InferRequestedOutput("y", binary_data=binary, class_count=2)]
    answer = await ask_workshop("infer", "animals", tensors(http, {"x": scores}), outputs=outputs)
    found = [
        [str(element, "utf-8") if binary else element for element in row] for row in answer.as_numpy("y")
    ]
    assert found == [["0.900000:1:dog", "0.500000:2:emu"], ["7.000000:0:cat", "2.000000:2:emu"]]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
async def test_texts_go_in_and_come_out(ask_workshop: Ask, binary: bool):
    said = np.array([["one"], ["zwei und drei"], ["四"], [""]], object)
    outputs = [http.InferRequestedOutput("heard", binary_data=binary)]
    answer = await ask_workshop(
        "infer", "echo", tensors(http, {"said": said}, binary_data=binary), outputs=outputs
    )
    heard = answer.as_numpy("heard")
    assert [str(each, "utf-8") if binary else each for each in heard.ravel()] == said.ravel().tolist()


@pytest.mark.parametrize("answer_by", [None, "gzip", "deflate"])
@pytest.mark.parametrize("ask_by", [None, "gzip", "deflate"])
async def test_requests_and_answers_may_be_compressed(
    ask_workshop: Ask, ask_by: str | None, answer_by: str | None
):
    x = np.arange(4 * 1000, dtype=np.float32).reshape(4, 1000)
    answer = await ask_workshop(
        "infer",
        "double",
        tensors(http, {"x": x}),
        request_compression_algorithm=ask_by,
        response_compression_algorithm=answer_by,
    )
    np.testing.assert_array_equal(answer.as_numpy("y"), 2 * x)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_answer_is_smaller_and_its_json_length_is_that_before_compression(
    workshop: Server, encoding: str
):
    body, length = http.InferenceServerClient.generate_request_body(
        tensors(http, {"x": np.ones((4, 1000), np.float32)})
    )
    headers = {"Inference-Header-Content-Length": str(length), "Accept-Encoding": encoding}
    with workshop.client.stream("POST", "/v2/models/double/infer", content=body, headers=headers) as answer:
        on_the_wire = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == encoding
    assert len(on_the_wire) == int(answer.headers["content-length"]) < 1000
    unpacked = httpx.Response(200, headers={"content-encoding": encoding}, content=on_the_wire).content
    result = http.InferenceServerClient.parse_response_body(
        unpacked, header_length=int(answer.headers["inference-header-content-length"])
    )
    np.testing.assert_array_equal(result.as_numpy("y"), np.full((4, 1000), 2, np.float32))


def test_a_body_that_the_client_made_beforehand_is_answered(server: Server):
    body, length = http.InferenceServerClient.generate_request_body(tensors(http, IRIS.inputs))
    answer = server.client.post(
        "/v2/models/iris/infer", content=body, headers={"Inference-Header-Content-Length": str(length)}
    )
    result = http.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["inference-header-content-length"])
    )
    assert result.as_numpy("label").tolist() == [[0], [1], [2]]


@pytest.mark.parametrize("model", ["digits", "iris"])
def test_a_raw_body_is_the_one_input(server: Server, seven: bytes, model: str):
    body = seven if model == "digits" else IRIS.inputs["measurements"][1].tobytes()
    answer = server.client.post(
        f"/v2/models/{model}/infer", content=body, headers={"Inference-Header-Content-Length": "0"}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    result = http.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["inference-header-content-length"])
    )
    assert result.as_numpy("digit" if model == "digits" else "label").tolist() == (
        [[7]] if model == "digits" else [[1]]
    )


def test_many_requests_of_one_client_are_answered_each_with_its_own(server: Server):
    with http.InferenceServerClient(server.http, concurrency=8) as client:
        rows = [IRIS.inputs["measurements"][index % 3 : index % 3 + 1] for index in range(24)]
        waiting = [client.async_infer("iris", tensors(http, {"measurements": row})) for row in rows]
        labels = [each.get_result().as_numpy("label").item() for each in waiting]
    assert labels == [0, 1, 2] * 8


# Refusals


@pytest.mark.parametrize(
    ("model", "version", "inputs", "status", "sentence"),
    [
        ("nobody", "", IRIS.inputs, "404", "Request for unknown model: 'nobody' is not found"),
        ("iris", "77", IRIS.inputs, "404", "Request for unknown model: 'iris' version 77 is not found"),
        (
            "iris",
            "",
            {"measurements": np.zeros((1, 3), np.float32)},
            "400",
            "unexpected shape for input 'measurements' for model 'iris'. Expected [-1,4], got [1,3]",
        ),
        (
            "iris",
            "",
            {"measurements": np.zeros((5, 4), np.float32)},
            "400",
            "inference request batch-size must be <= 4 for 'iris', got 5",
        ),
    ],
)
async def test_a_refusal_reaches_the_caller_in_words(
    ask: Ask, model: str, version: str, inputs: dict[str, np.ndarray], status: str, sentence: str
):
    with pytest.raises(InferenceServerException) as refusal:
        await ask("infer", model, tensors(http, inputs), version)
    assert refusal.value.status() == status
    assert refusal.value.message() == sentence

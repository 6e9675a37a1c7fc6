"""kserve's REST and gRPC clients work as they are; see `kserve_calls.py` for what they do."""

from typing import Any

import numpy as np
import pytest

from tests.e2e.golden import golden

EXAMPLES = {
    "iris": golden("iris/1/examples/one_of_each.json"),
    "diabetes": golden("diabetes/1/examples/two_patients.json"),
    "digits": golden("digits/2/examples/seven.json"),
    "digits_onnx": golden("digits_onnx/1/examples/seven.json"),
}


@pytest.fixture(params=["rest", "grpc"])
def calls(request: pytest.FixtureRequest, came_of: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return came_of[request.param]


def test_the_server_and_its_models_are_live_and_ready(calls: dict[str, Any]):
    assert calls["live"] is True
    assert calls["ready"] is True
    assert calls["iris is ready"] is True
    assert calls["nobody is ready"] is False


def test_the_v1_client_finds_the_server_alive(came_of: dict[str, dict[str, Any]]):
    assert came_of["rest"]["live by v1"] is True


@pytest.mark.parametrize("model", EXAMPLES)
def test_every_model_gives_its_golden_answer(calls: dict[str, Any], model: str):
    asked = [call for call in calls if call.split(" in ")[0] == model]
    for call in asked:
        assert calls[call]["model"] == model
        assert calls[call]["outputs"].keys() == EXAMPLES[model].outputs.keys()
        for name, expected in EXAMPLES[model].outputs.items():
            np.testing.assert_allclose(calls[call]["outputs"][name], expected, rtol=1e-4, atol=1e-4)


def test_the_request_id_comes_back(calls: dict[str, Any]):
    assert calls["iris"]["id"] == "7"


def test_the_highest_version_answers_and_says_so(came_of: dict[str, dict[str, Any]]):
    assert came_of["grpc"]["digits"]["version"] == "2"  # the REST client drops what the server says


def test_the_outputs_that_were_named_are_given(calls: dict[str, Any]):
    assert calls["one output"]["outputs"].keys() == {"label"}


def test_a_dict_is_asked_and_a_graphs_address_answers(came_of: dict[str, dict[str, Any]]):
    calls = came_of["rest"]
    assert calls["a dict"]["outputs"].keys() == EXAMPLES["iris"].outputs.keys()
    assert calls["a graph"]["model_name"] == "iris"
    assert {output["name"] for output in calls["a graph"]["outputs"]} == EXAMPLES["iris"].outputs.keys()


def test_headers_go_both_ways(came_of: dict[str, dict[str, Any]]):
    assert came_of["rest"]["iris with headers"] == [
        400,
        "the header tercet-timeout-ms must be a whole number of milliseconds above 0",
    ]
    assert came_of["rest"]["headers of the answer"]["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("call", "codes", "sentence"),
    [
        ("unknown model", (404, "NOT_FOUND"), "Request for unknown model: 'nobody' is not found"),
        (
            "wrong shape",
            (400, "INVALID_ARGUMENT"),
            "unexpected shape for input 'measurements' for model 'iris'. Expected [-1,4], got [1,3]",
        ),
    ],
)
def test_a_refusal_reaches_the_caller_in_words(
    calls: dict[str, Any], call: str, codes: tuple[int, str], sentence: str
):
    code, said = calls[call]
    assert code in codes
    assert said == sentence

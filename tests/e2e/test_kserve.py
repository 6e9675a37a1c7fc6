"""kserve's REST and gRPC clients work as they are; see `kserve_calls.py` for what they do."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.e2e.golden import golden
from tests.e2e.scrape import metric
from tests.e2e.workshop import ONE_BY_ONE, put, slow
from tests.server_process import ROOT, Server, running

EXAMPLES = {
    "iris": golden("iris/1/examples/one_of_each.json"),
    "diabetes": golden("diabetes/1/examples/two_patients.json"),
    "digits": golden("digits/2/examples/seven.json"),
    "digits_onnx": golden("digits_onnx/1/examples/seven.json"),
}


Came = dict[str, dict[str, Any]]
"""Protocol -> call -> what came of it."""


def asked(*whom: str) -> Any:
    command = [sys.executable, "-m", "tests.e2e.kserve_calls", *whom]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def came_of(server: Server) -> Came:
    came: Came = asked("samples", server.http, server.grpc)
    return came


@pytest.fixture(scope="module")
def came_of_workshop(workshop: Server) -> Came:
    came: Came = asked("workshop", workshop.http, workshop.grpc)
    return came


@pytest.fixture(scope="module")
def like_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "slow", slow(), ONE_BY_ONE)
    log = tmp_path_factory.mktemp("log") / "log"
    with running(log, folder, options=["--overload-status=triton"]) as server:
        yield server


@pytest.fixture(params=["rest", "grpc"])
def calls(request: pytest.FixtureRequest, came_of: Came) -> dict[str, Any]:
    return came_of[request.param]


def test_the_server_and_its_models_are_live_and_ready(calls: dict[str, Any]):
    assert calls["live"] is True
    assert calls["ready"] is True
    assert calls["iris is ready"] is True
    assert calls["nobody is ready"] is False


def test_the_v1_client_finds_the_server_alive(came_of: Came):
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


def test_the_highest_version_answers_and_says_so(came_of: Came):
    assert came_of["grpc"]["digits"]["version"] == "2"  # the REST client drops what the server says


def test_the_outputs_that_were_named_are_given(calls: dict[str, Any]):
    assert calls["one output"]["outputs"].keys() == {"label"}


def test_a_dict_is_asked_and_a_graphs_address_answers(came_of: Came):
    calls = came_of["rest"]
    assert calls["a dict"]["outputs"].keys() == EXAMPLES["iris"].outputs.keys()
    assert calls["a graph"]["model_name"] == "iris"
    assert {output["name"] for output in calls["a graph"]["outputs"]} == EXAMPLES["iris"].outputs.keys()


def test_headers_go_both_ways(came_of: Came):
    assert came_of["rest"]["iris with headers"] == [
        400,
        "the header tercet-timeout-ms must be a whole number of milliseconds above 0",
    ]
    assert came_of["rest"]["headers of the answer"]["content-type"] == "application/octet-stream"


def test_a_caller_may_lose_its_patience(came_of_workshop: Came):
    assert came_of_workshop["rest"]["too long"] == "ReadTimeout"
    assert came_of_workshop["grpc"]["too long"][0] == "DEADLINE_EXCEEDED"
    for calls in came_of_workshop.values():
        assert calls["in time"]["outputs"] == {"y": [[1.0]]}


def test_parameters_reach_the_models_own_code(came_of_workshop: Came):
    sent = {"unit": "cm", "depth": 3, "lit": True, "sequence_id": 5, "sequence_start": True}
    for calls in came_of_workshop.values():
        ((before,),) = calls["parameters"]["outputs"]["before"]
        request_id, parameters, _ = json.loads(before)
        assert (request_id, parameters) == ("7", sent)


def test_an_odd_name_is_understood(came_of_workshop: Came):
    for calls in came_of_workshop.values():
        assert calls["odd name is ready"] is True
        assert calls["odd name"]["outputs"] == {"y": [[2.0]]}
        assert calls["odd name"]["model"] == "größe: 2.5 kg & more"


def crowded(server: Server) -> tuple[int, int, set[str]]:
    """Of eight calls at once, those that were refused; what the server refused in all; and the codes."""
    before = metric(server, "nv_inference_request_failure", model="slow", reason="REJECTED")
    refusals = [came for came in asked("crowd", server.grpc) if isinstance(came, list)]
    after = metric(server, "nv_inference_request_failure", model="slow", reason="REJECTED")
    return len(refusals), int(after - before), {code for code, _ in refusals}


def test_the_grpc_client_does_not_try_again_where_the_queue_is_full(workshop: Server):
    refused, attempts, codes = crowded(workshop)
    assert codes == {"RESOURCE_EXHAUSTED"}
    assert attempts == refused >= 1


def test_by_tritons_own_code_it_does(like_triton: Server):
    refused, attempts, codes = crowded(like_triton)
    assert codes <= {"UNAVAILABLE"}
    assert attempts > refused


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
